"""Lesson 3.1: functions that average the past, and the model that takes its tokens through a list of layers.

`average_softmax` of lesson 3.2 must be the same function as the two of this lesson, so all three have the same checks.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from .check import Check, Mistake, Opened, Results, agree, beside, equal, gives, past_stays
from .pretend_gpu import lies_there, stays_there
from .probes import SIZES, call, config, fill, new_from, normal, prefixed, tokens, with_gradients

MODEL = "LanguageModel.forward"
V = 11


def averaged(my: Opened, name: str, x: Tensor) -> Tensor:
    """Return the output of that function for x; raise Mistake unless it has x's shape."""
    y = call(getattr(my("model.averaging"), name), x, whose=name)
    if y.shape != x.shape:
        raise Mistake(f"{name} gives shape {tuple(y.shape)} for x {tuple(x.shape)}; the output must have the shape of x")
    return y


def shape(my: Opened, name: str) -> Results:
    """Return the output's shapes for sizes that all differ, a single token among them."""
    function = getattr(my("model.averaging"), name)
    return {f"the shape for x {(B, T, C)}": list(call(function, normal(B, T, C), whose=name).shape) for B, T, _, C in SIZES}


def causality(my: Opened, name: str) -> Results:
    """Return the outputs for x, and for x with other vectors from one position on."""
    x = normal(2, 7, 3)
    return {"before": averaged(my, name, x), "after": averaged(my, name, new_from(x, 4)), "changed": 4}


def first(my: Opened, name: str) -> Results:
    """Return the first position's output beside its input: there is nothing else to average."""
    x = normal(2, 7, 3)
    return beside(averaged(my, name, x)[:, 0], x[:, 0])


def constant(my: Opened, name: str) -> Results:
    """Return the output for a text with the same vector at every position, beside that text."""
    x = normal(2, 1, 3).expand(2, 7, 3).contiguous()
    return beside(averaged(my, name, x), x)


def order(my: Opened, name: str) -> Results:
    """Return the last position's output for a text read backwards, beside the one for the text itself."""
    x = normal(2, 7, 3)
    return beside(averaged(my, name, x.flip(1).contiguous())[:, -1], averaged(my, name, x)[:, -1])


def example(my: Opened, name: str) -> Results:
    """Return the output for the docstring's numbers, beside the means that it gives."""
    y = averaged(my, name, torch.tensor([2.0, 4.0, 9.0]).view(1, 3, 1))
    return beside(y.flatten(), torch.tensor([2.0, 3.0, 5.0]))


def dtype(my: Opened, name: str) -> Results:
    """Return the output's dtype for single precision."""
    torch.set_default_dtype(torch.float32)
    return {"the dtype for float32": str(averaged(my, name, normal(1, 6, 2, dtype=torch.float32)).dtype)}


def device(my: Opened, name: str) -> Results:
    """Return where the work is done for an x on a GPU."""
    return stays_there(getattr(my("model.averaging"), name), normal(2, 5, 3), whose=name)


def values(my: Opened, name: str) -> Results:
    """Return outputs and gradients at several sizes."""
    results: Results = {}
    for B, T, _, C in SIZES:
        found = with_gradients(getattr(my("model.averaging"), name), normal(B, T, C), whose=name)
        results |= prefixed(f"B = {B}, T = {T}, C = {C}", found)
    return results


def averaging_checks(exercise: str, name: str) -> tuple[Check, ...]:
    """Return the checks of one of the three functions."""
    backwards = agree(
        "the order of the past does not count, so the last position must get the same for the text read backwards"
    )
    same = agree("when every position holds the same vector, every mean must be that vector")
    numbers = gives("2, 4, 9 must become 2, 3, 5")
    return (
        Check(exercise, "shape", "(B, T, C) stays (B, T, C)", partial(shape, name=name), equal),
        Check(exercise, "causality", "no position sees a later one", partial(causality, name=name), past_stays, law=True),
        Check(
            exercise,
            "first",
            "position 0 stays itself",
            partial(first, name=name),
            agree("position 0 has only itself to average, so it must stay as it is"),
            law=True,
        ),
        Check(exercise, "constant", "the mean of equal numbers is that number", partial(constant, name=name), same, law=True),
        Check(exercise, "order", "every position of the past counts the same", partial(order, name=name), backwards, law=True),
        Check(exercise, "example", "2, 4, 9 become 2, 3, 5", partial(example, name=name), numbers, law=True),
        Check(exercise, "dtype", "the output has x's dtype", partial(dtype, name=name), equal),
        Check(exercise, "device", "the work is done where x lies", partial(device, name=name), lies_there(name), law=True),
        Check(exercise, "values", "the mean of positions 0..t, with its gradients", partial(values, name=name), equal),
    )


class TinyEmbedding(nn.Module):
    """An embedding without weights, whose output depends on every token and on every position."""

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, T) -> (B, T, 3)."""
        if positions is None:
            positions = torch.arange(tokens.size(1), device=tokens.device)
        a, b = tokens / V, positions.expand_as(tokens) / 7
        return torch.stack([a, b, a * b + 1], dim=-1)


class SineLayer(nn.Module):
    """A layer that works on each position by itself, writes its number into `ran`, and does not commute with the others."""

    def __init__(self, number: int, ran: list[int]) -> None:
        super().__init__()
        self.number, self.ran = number, ran

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        self.ran.append(self.number)
        return torch.sin(x * (self.number + 1) + self.number)


def sine_model(my: Opened, count: int = 3) -> nn.Module:
    """Return a LanguageModel of sine layers; its list `ran` says which of them ran, in order."""
    ran: list[int] = []
    layers = [SineLayer(number, ran) for number in range(count)]
    model = fill(my("model.gpt").LanguageModel(config(my), TinyEmbedding(), layers, nn.Linear(3, V, bias=False)))
    model.ran = ran  # type: ignore[assignment]
    return model


def by_hand(model: nn.Module, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
    """Return the logits that the model of sine layers must give."""
    x = TinyEmbedding()(tokens, positions)
    for number in range(len(model.layers)):  # type: ignore[arg-type]
        x = SineLayer(number, [])(x)
    return model.unembed(x)  # type: ignore[operator]


def model_of(my: Opened, C: int, layers: int) -> nn.Module:
    """Return a LanguageModel with its own Embedding and torch's layers."""
    middle = [nn.Tanh() if number % 2 else nn.Linear(C, C) for number in range(layers)]
    gpt = my("model.gpt")
    return fill(
        gpt.LanguageModel(config(my), gpt.Embedding(config(my, n_embd=C, n_head=1)), middle, nn.Linear(C, V, bias=False))
    )


def model_shape(my: Opened) -> Results:
    """Return the output's shapes for sizes that all differ, a single token among them."""
    return {
        f"the shape for tokens {(B, T)}": list(call(sine_model(my), tokens(B, T, vocab_size=V), whose=MODEL).shape)
        for B, T, _, _ in SIZES
    }


def model_causality(my: Opened) -> Results:
    """Return the logits for a text, and for one with other tokens from one position on. Sine layers see one position each."""
    ids = tokens(2, 7, vocab_size=V)
    changed = torch.cat([ids[:, :4], (ids[:, 4:] + 1) % V], dim=1)
    model = sine_model(my)
    return {"before": call(model, ids, whose=MODEL), "after": call(model, changed, whose=MODEL), "changed": 4}


def model_layers(my: Opened) -> Results:
    """Return which layers ran, in order, beside all of them."""
    model = sine_model(my)
    call(model, tokens(2, 5, vocab_size=V), whose=MODEL)
    return beside(list(model.ran), [0, 1, 2])  # type: ignore[arg-type]


def model_chain(my: Opened) -> Results:
    """Return the logits beside those made by hand, with layers whose order matters."""
    model, ids = sine_model(my), tokens(2, 5, vocab_size=V)
    return beside(call(model, ids, whose=MODEL), by_hand(model, ids))


def model_positions(my: Opened) -> Results:
    """Return the logits for positions other than 0, 1, 2, ..., without layers, beside those made by hand."""
    model, ids, positions = sine_model(my, 0), tokens(2, 5, vocab_size=V), torch.tensor([6, 2, 3, 5, 1])
    return beside(call(model, ids, positions, whose=MODEL), by_hand(model, ids, positions))


def model_dtype(my: Opened) -> Results:
    """Return the logits' dtype for a model in single precision."""
    torch.set_default_dtype(torch.float32)
    y = call(model_of(my, 4, 2).float(), tokens(1, 6, vocab_size=V), whose=MODEL)
    return {"the dtype for float32": str(y.dtype)}


def model_device(my: Opened) -> Results:
    """Return where the work is done for tokens and weights on a GPU."""
    model = model_of(my, 4, 2)
    return stays_there(model, tokens(2, 5, vocab_size=V), whose=MODEL, module=model)


def model_values(my: Opened) -> Results:
    """Return outputs and gradients with no layer, with one and with three, with positions and without."""
    results: Results = {}
    for (B, T, _, C), layers in zip(SIZES, (3, 1, 0), strict=True):
        model, ids = model_of(my, C, layers), tokens(B, T, vocab_size=V)
        positions = (torch.arange(6, 6 - T, -1),) if layers == 1 else ()
        found = with_gradients(model, ids, *positions, whose=MODEL, module=model)
        results |= prefixed(f"B = {B}, T = {T}, C = {C}, {layers} layers", found)
    return results


CHECKS = (
    *averaging_checks("3.1-loop", "average_loop"),
    *averaging_checks("3.1-matrix", "average_matrix"),
    Check("3.1-model", "shape", "logits at every position: (B, T) becomes (B, T, V)", model_shape, equal),
    Check(
        "3.1-model",
        "causality",
        "logits look at no later token where the layers do not",
        model_causality,
        past_stays,
        law=True,
    ),
    Check(
        "3.1-model",
        "layers",
        "every layer runs once, in order",
        model_layers,
        agree("layers 0, 1 and 2 must each run once, in this order; these ran: {found}", numbers=False),
        law=True,
    ),
    Check(
        "3.1-model",
        "chain",
        "embed, then each layer reads the output of the one before, then unembed, and nothing else",
        model_chain,
        agree("the logits must be unembed(last layer(... first layer(embed(tokens))))"),
        law=True,
    ),
    Check(
        "3.1-model",
        "positions",
        "positions that are given reach embed",
        model_positions,
        agree("with positions 6, 2, 3, 5, 1 and no layers the logits must be unembed(embed(tokens, positions))"),
        law=True,
    ),
    Check("3.1-model", "dtype", "the logits have the weights' dtype", model_dtype, equal),
    Check("3.1-model", "device", "the work is done where the tokens lie", model_device, lies_there(MODEL, "tokens"), law=True),
    Check("3.1-model", "values", "the logits with the gradients of all weights", model_values, equal),
)
