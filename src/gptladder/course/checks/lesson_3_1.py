"""Lesson 3.1 and an exercise of 3.2: three functions that average the past, and the model that layers stand in.

The three have one set of checks, since they must be the same function.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from .check import Check, Mistake, Opened, Results, agree, all_true, equal, gives, past_stays
from .pretend_gpu import stays_there
from .probes import SIZES, call, config, fill, new_from, normal, prefixed, tokens, with_gradients

MODEL = "LanguageModel.forward"
V = 11


def averaged(my: Opened, name: str, x: Tensor) -> Tensor:
    """What that function makes of x. Mistake unless it has x's shape."""
    y = call(getattr(my("model.averaging"), name), x, whose=name)
    if y.shape != x.shape:
        raise Mistake(f"{name} gives shape {tuple(y.shape)} for x {tuple(x.shape)}, which must stay as it is")
    return y


def shape(my: Opened, name: str) -> Results:
    """Sizes that are all different, a single token among them."""
    function = getattr(my("model.averaging"), name)
    return {f"the shape for x {(B, T, C)}": list(call(function, normal(B, T, C), whose=name).shape) for B, T, _, C in SIZES}


def causality(my: Opened, name: str) -> Results:
    """All from one position on is changed."""
    x = normal(2, 7, 3)
    return {"before": averaged(my, name, x), "after": averaged(my, name, new_from(x, 4)), "changed": 4}


def first(my: Opened, name: str) -> Results:
    """The first position has nothing else to average."""
    x = normal(2, 7, 3)
    return {"found": averaged(my, name, x)[:, 0], "must_be": x[:, 0]}


def constant(my: Opened, name: str) -> Results:
    """The same vector at every position."""
    x = normal(2, 1, 3).expand(2, 7, 3).contiguous()
    return {"found": averaged(my, name, x), "must_be": x}


def order(my: Opened, name: str) -> Results:
    """The text forwards and backwards: the last position has seen the same."""
    x = normal(2, 7, 3)
    return {"found": averaged(my, name, x.flip(1).contiguous())[:, -1], "must_be": averaged(my, name, x)[:, -1]}


def example(my: Opened, name: str) -> Results:
    """The docstring's numbers."""
    y = averaged(my, name, torch.tensor([2.0, 4.0, 9.0]).view(1, 3, 1))
    return {"found": y.flatten(), "must_be": torch.tensor([2.0, 3.0, 5.0])}


def dtype(my: Opened, name: str) -> Results:
    """Numbers of single precision in, the same out."""
    torch.set_default_dtype(torch.float32)
    return {"the dtype for float32": str(averaged(my, name, normal(1, 6, 2, dtype=torch.float32)).dtype)}


def device(my: Opened, name: str) -> Results:
    """Where x lies, all is done."""
    return stays_there(getattr(my("model.averaging"), name), normal(2, 5, 3), whose=name)


def values(my: Opened, name: str) -> Results:
    """Outputs and gradients at several sizes."""
    results: Results = {}
    for B, T, _, C in SIZES:
        found = with_gradients(getattr(my("model.averaging"), name), normal(B, T, C), whose=name)
        results |= prefixed(f"B = {B}, T = {T}, C = {C}", found)
    return results


def averaging_checks(exercise: str, name: str) -> tuple[Check, ...]:
    """The checks of one of the three."""
    backwards = agree("the order of the past does not count, so the last position's mean is the same for the text backwards")
    same = agree("where every position holds the same, so does every mean")
    numbers = gives("2, 4, 9 must become 2, 3, 5")
    return (
        Check(exercise, "shape", "(B, T, C) stays (B, T, C)", partial(shape, name=name), equal),
        Check(exercise, "causality", "no position sees a later one", partial(causality, name=name), past_stays, law=True),
        Check(
            exercise,
            "first",
            "position 0 stays itself",
            partial(first, name=name),
            agree("position 0 is the mean of itself alone"),
            law=True,
        ),
        Check(exercise, "constant", "the mean of equal numbers is that number", partial(constant, name=name), same, law=True),
        Check(exercise, "order", "all of the past counts alike", partial(order, name=name), backwards, law=True),
        Check(exercise, "example", "2, 4, 9 become 2, 3, 5", partial(example, name=name), numbers, law=True),
        Check(exercise, "dtype", "the output has x's dtype", partial(dtype, name=name), equal),
        Check(exercise, "device", "the work is done where x lies", partial(device, name=name), all_true, law=True),
        Check(exercise, "values", "the mean of positions 0..t, with its gradients", partial(values, name=name), equal),
    )


class AnyEmbedding(nn.Module):
    """Stands in for an embedding: what comes out depends on every token and on every position."""

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, T) -> (B, T, 3)."""
        if positions is None:
            positions = torch.arange(tokens.size(1), device=tokens.device)
        a, b = tokens / V, positions.expand_as(tokens) / 7
        return torch.stack([a, b, a * b + 1], dim=-1)


class AnyLayer(nn.Module):
    """Stands in for a layer: works at each position by itself, gives another result in another order, notes that it ran."""

    def __init__(self, number: int, ran: list[int]) -> None:
        super().__init__()
        self.number, self.ran = number, ran

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        self.ran.append(self.number)
        return torch.sin(x * (self.number + 1) + self.number)


def stand_ins(my: Opened, count: int = 3) -> nn.Module:
    """A LanguageModel of stand-ins; its list `ran` says which layers ran, in order."""
    ran: list[int] = []
    layers = [AnyLayer(number, ran) for number in range(count)]
    model = fill(my("model.gpt").LanguageModel(config(my), AnyEmbedding(), layers, nn.Linear(3, V, bias=False)))
    model.ran = ran  # type: ignore[assignment]
    return model


def by_hand(model: nn.Module, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
    """What the model of stand-ins must give."""
    x = AnyEmbedding()(tokens, positions)
    for number in range(len(model.layers)):  # type: ignore[arg-type]
        x = AnyLayer(number, [])(x)
    return model.unembed(x)  # type: ignore[operator]


def model_of(my: Opened, C: int, layers: int) -> nn.Module:
    """A LanguageModel with its own Embedding and plain layers."""
    middle = [nn.Tanh() if number % 2 else nn.Linear(C, C) for number in range(layers)]
    gpt = my("model.gpt")
    return fill(
        gpt.LanguageModel(config(my), gpt.Embedding(config(my, n_embd=C, n_head=1)), middle, nn.Linear(C, V, bias=False))
    )


def model_shape(my: Opened) -> Results:
    """Sizes that are all different, a single token among them."""
    return {
        f"the shape for tokens {(B, T)}": list(call(stand_ins(my), tokens(B, T, vocab_size=V), whose=MODEL).shape)
        for B, T, _, _ in SIZES
    }


def model_causality(my: Opened) -> Results:
    """All tokens from one position on are changed; no layer of these looks at another position."""
    ids = tokens(2, 7, vocab_size=V)
    changed = torch.cat([ids[:, :4], (ids[:, 4:] + 1) % V], dim=1)
    model = stand_ins(my)
    return {"before": call(model, ids, whose=MODEL), "after": call(model, changed, whose=MODEL), "changed": 4}


def model_layers(my: Opened) -> Results:
    """Which layers run, in which order."""
    model = stand_ins(my)
    call(model, tokens(2, 5, vocab_size=V), whose=MODEL)
    return {"the layers that ran": list(model.ran)}  # type: ignore[arg-type]


def model_chain(my: Opened) -> Results:
    """The result of layers that do not commute."""
    model, ids = stand_ins(my), tokens(2, 5, vocab_size=V)
    return {"found": call(model, ids, whose=MODEL), "must_be": by_hand(model, ids)}


def model_positions(my: Opened) -> Results:
    """Positions that are not 0, 1, 2, ..., without a layer between."""
    model, ids, positions = stand_ins(my, 0), tokens(2, 5, vocab_size=V), torch.tensor([6, 2, 3, 5, 1])
    return {"found": call(model, ids, positions, whose=MODEL), "must_be": by_hand(model, ids, positions)}


def model_dtype(my: Opened) -> Results:
    """A model of single precision."""
    torch.set_default_dtype(torch.float32)
    y = call(model_of(my, 4, 2).float(), tokens(1, 6, vocab_size=V), whose=MODEL)
    return {"the dtype for float32": str(y.dtype)}


def model_device(my: Opened) -> Results:
    """Where the tokens and the weights lie, all is done."""
    model = model_of(my, 4, 2)
    return stays_there(model, tokens(2, 5, vocab_size=V), whose=MODEL, module=model, given="tokens")


def model_values(my: Opened) -> Results:
    """Outputs and gradients with no layer, with one and with three, with positions and without."""
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
    Check("3.1-model", "layers", "every layer runs once, in order", model_layers, equal, law=True),
    Check(
        "3.1-model",
        "chain",
        "embed, each layer on what the one before gave, unembed, and nothing else",
        model_chain,
        agree("the logits are unembed(last layer(... first layer(embed(tokens))))"),
        law=True,
    ),
    Check(
        "3.1-model",
        "positions",
        "positions, where they are given, reach embed",
        model_positions,
        agree("with positions 6, 2, 3, 5, 1 and no layers the logits are unembed(embed(tokens, positions))"),
        law=True,
    ),
    Check("3.1-model", "dtype", "the logits have the weights' dtype", model_dtype, equal),
    Check("3.1-model", "device", "the work is done where the tokens lie", model_device, all_true, law=True),
    Check("3.1-model", "values", "the logits with the gradients of all weights", model_values, equal),
)
