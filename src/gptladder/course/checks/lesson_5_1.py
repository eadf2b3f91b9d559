"""Lesson 5.1: dropout, and the whole GPT."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .check import Check, Mistake, Opened, Results, all_true, difference, equal, past_stays, same_names
from .pretend_gpu import forms
from .probes import call, config, fill, names_of, normal, prefixed, seeded, tokens, with_gradients

DROPOUT, INIT = "Dropout.forward", "GPT.__init__"
ROWS, COLUMNS = 200, 250
SIGMAS = 6  # how far a share may stray by chance before it is called wrong
LN_65 = math.log(65)


def _dropout(my: Opened, p: float) -> nn.Module:
    return my("model.dropout").Dropout(p).train()


def _dropped(my: Opened, p: float) -> Tensor:
    """What becomes of 200 x 250 ones in training."""
    return call(_dropout(my, p), torch.ones(ROWS, COLUMNS), whose=DROPOUT)


def _is_off(share: float, p: float, count: int) -> bool:
    return abs(share - p) > SIGMAS * math.sqrt(p * (1 - p) / count)


def dropout_forms(my: Opened) -> Results:
    """Shapes of one to four dimensions, dtype and device."""
    return forms(_dropout(my, 0.4), (2, 5, 6), (7,), (3, 1), (2, 3, 4, 5), whose=DROPOUT)


def dropout_eval(my: Opened) -> Results:
    """In eval(), and in training with p = 0."""
    return {
        "eval": _change(_dropout(my, 0.5).eval(), "in eval()"),
        "p = 0": _change(_dropout(my, 0.0), "with p = 0, in training too,"),
    }


def _change(layer: nn.Module, when: str) -> str:
    """Empty if the layer leaves x as it is."""
    x = normal(5, 7)
    y = call(layer, x, whose=DROPOUT)
    problem = "some of it is dropped" if (y == 0).any() else difference(y, x)
    return f"{when} x must come out as it went in, but {problem}" if problem else ""


def dropout_share(my: Opened) -> Results:
    """How many of 50,000 numbers are dropped; and whether each is for itself."""
    return {f"p = {p}": _share_problem((_dropped(my, p) == 0).double(), p) for p in (0.2, 0.5)}


def _share_problem(zeros: Tensor, p: float) -> str:
    """Empty if these could be where each number for itself was dropped with probability p."""
    share, rows, columns = zeros.mean().item(), zeros.mean(dim=1).tolist(), zeros.mean(dim=0).tolist()
    if any(_is_off(row, share, COLUMNS) for row in rows) or any(_is_off(column, share, ROWS) for column in columns):
        return "whole rows or columns share their fate; each number is dropped or kept for itself"
    return f"with p = {p} about {share:.1f} of the numbers become 0" if _is_off(share, p, ROWS * COLUMNS) else ""


def dropout_scale(my: Opened) -> Results:
    """What becomes of those that survive."""
    results: Results = {}
    for p in (0.2, 0.5):
        y = call(_dropout(my, p), x := normal(40, 50), whose=DROPOUT)
        kept = y != 0
        problem = difference(y[kept], x[kept] / (1 - p)) if kept.any() else "none did"
        factor = (y[kept] / x[kept]).median().item() if kept.any() else 0.0
        words = f"with p = {p} what survives must grow by 1/(1 - p) = {1 / (1 - p):.4g}, so that the mean stays; it grows by"
        results[f"p = {p}"] = f"{words} {factor:.4g}" if problem else ""
    return results


def dropout_fresh(my: Opened) -> Results:
    """Two calls of one layer, and one each of two layers."""
    layer, ones = _dropout(my, 0.5), torch.ones(20, 50)
    masks = [call(layer, ones, whose=DROPOUT) != 0, call(layer, ones, whose=DROPOUT) != 0]
    masks.append(call(_dropout(my, 0.5), ones, whose=DROPOUT) != 0)
    same = any(torch.equal(a, b) for i, a in enumerate(masks) for b in masks[:i])
    return {"fresh": "two calls drop the same numbers; draw anew each time, and seed nothing" if same else ""}


def dropout_gradient(my: Opened) -> Results:
    """The gradient of the sum of the output."""
    x = normal(20, 30).requires_grad_()
    y = call(_dropout(my, 0.2), x, whose=DROPOUT)
    if not y.requires_grad:
        raise Mistake(f"{DROPOUT} returned a tensor without a gradient: was it detached, or made anew from numbers?")
    (gradient,) = torch.autograd.grad(y.sum(), x)
    problem = difference(gradient, y.detach() / x.detach())
    return {"gradient": "the gradient must be 0 for what was dropped and 1/(1 - p) for the rest" if problem else ""}


def _gpt(my: Opened, **settings: float) -> nn.Module:
    return my("model.gpt").GPT(config(my, **settings))


def _fresh(my: Opened) -> nn.Module:
    """As it begins, large enough for a spread to be seen."""
    return _gpt(my, vocab_size=65, block_size=16, n_layer=2, n_head=2, n_embd=32)


def gpt_names(my: Opened) -> Results:
    """Two depths and sizes."""
    return {
        f"the parameters of {n_layer} layers": names_of(_gpt(my, n_layer=n_layer, n_head=2, n_embd=n_embd))
        for n_layer, n_embd in ((1, 6), (3, 4))
    }


def gpt_blocks(my: Opened) -> Results:
    """The blocks among all modules, and their weights."""
    results: Results = {}
    for n_layer in (1, 3):
        model = _gpt(my, n_layer=n_layer)
        blocks = [m for m in model.layers if isinstance(m, my("model.block").Block)]  # type: ignore[union-attr]
        firsts = [next(block.attention.parameters()) for block in blocks]
        alike = any(torch.equal(a, b) for i, a in enumerate(firsts) for b in firsts[:i])
        results[f"n_layer = {n_layer}"] = (
            f"with n_layer = {n_layer} there are {len(blocks)} blocks in self.layers"
            if len(blocks) != n_layer
            else "several blocks have the same weights; make each anew"
            if alike
            else ""
        )
    return results


def _spread_problem(name: str, weight: Tensor, spread: float) -> str:
    """Empty if these weights could be drawn with that spread around 0."""
    found, mean = weight.std().item(), weight.mean().item()
    room = SIGMAS / math.sqrt(2 * weight.numel()) + 0.15  # chance, and ways of drawing that cut off the extremes
    if abs(found / spread - 1) > room:
        return f"{name} begins with a spread of about {found:.1g}; {spread:g} is right"
    off = abs(mean) > SIGMAS * found / math.sqrt(weight.numel())
    return f"{name} begins around another number than 0" if off else ""


def gpt_spread(my: Opened) -> Results:
    """Every weight, bias, gain and shift of a new model."""
    results: Results = {}
    for name, parameter in sorted(_fresh(my).named_parameters()):
        weight = parameter.detach()
        if weight.dim() >= 2:
            results[name] = _spread_problem(name, weight, 0.002 if name.startswith("unembed") else 0.02)
        else:
            right = 1.0 if name.endswith("weight") else 0.0
            results[name] = "" if (weight == right).all() else f"{name} must begin with nothing but {right:.0f}"
    return results


@torch.no_grad()
def gpt_first_loss(my: Opened) -> Results:
    """The loss of a new model on random tokens of 65 kinds."""
    model, ids = _fresh(my), tokens(8, 16, vocab_size=65)
    targets = torch.randint(65, (8, 16), generator=seeded(1))
    logits = call(model, ids, whose="a new GPT")
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()
    where = "" if abs(loss - LN_65) < 0.02 else "well above" if loss > LN_65 else "below"
    return {
        "loss": where
        and f"a new model's first loss is {where} ln 65 = {LN_65:.3f}, the loss of one that knows it knows nothing"
    }


@torch.no_grad()
def gpt_last_norm(my: Opened) -> Results:
    """What the unembedding reads when the embeddings are large."""
    model = _fresh(my)
    for table in model.embed.parameters():  # type: ignore[union-attr]
        table.mul_(100)
    model.unembed = nn.Identity()
    read = call(model, tokens(2, 7, vocab_size=65), whose="a GPT")
    means, variances = read.mean(dim=-1), read.var(dim=-1, correction=0)
    right = torch.allclose(means, torch.zeros_like(means), atol=1e-3) and torch.allclose(
        variances, torch.ones_like(variances), atol=1e-3
    )
    return {"norm": "" if right else "what the unembedding reads is not normalised: a LayerNorm stands last in the layers"}


def gpt_unembedding(my: Opened) -> Results:
    """Its bias and its weight, which may not be the table's."""
    model = _gpt(my)
    if getattr(model.unembed, "bias", None) is not None:
        return {"unembed": "the unembedding has a bias; bias=False"}
    tied = any(model.unembed.weight is weight for weight in model.embed.parameters())  # type: ignore[union-attr]
    return {"unembed": "the unembedding is the token table itself; here it has weights of its own" if tied else ""}


@torch.no_grad()
def gpt_positions(my: Opened) -> Results:
    """A token twice in a row, in a filled model."""
    model = fill(_gpt(my)).eval()
    y = call(model, torch.full((1, 7), 3), whose="a GPT")
    alike = difference(y[:, 1:], y[:, :1].expand(1, 6, 11)) is None
    return {
        "positions": "the same token gets the same logits wherever it stands; use Embedding, which adds positions"
        if alike
        else ""
    }


@torch.no_grad()
def gpt_causality(my: Opened) -> Results:
    """One token is changed, in a filled model."""
    model, ids = fill(_gpt(my)).eval(), tokens(2, 7, vocab_size=11)
    changed = ids.clone()
    changed[:, 4] = (ids[:, 4] + 5) % 11
    return {"before": call(model, ids, whose="a GPT"), "after": call(model, changed, whose="a GPT"), "changed": 4}


def gpt_values(my: Opened) -> Results:
    """Logits and gradients for given weights, at several sizes; fewer tokens than block_size too."""
    results: Results = {}
    for B, T, H, D, n_layer in ((2, 5, 3, 4, 2), (3, 1, 2, 5, 1)):
        model = fill(_gpt(my, block_size=6, n_layer=n_layer, n_head=H, n_embd=H * D)).eval()
        found = with_gradients(model, tokens(B, T, vocab_size=11), whose="a GPT", module=model)
        results |= prefixed(f"B = {B}, T = {T}, {n_layer} layers of {H} heads", found)
    return results


CHECKS = (
    Check("5.1-dropout", "shape", "any shape stays, of x's dtype, where x lies", dropout_forms, equal),
    Check("5.1-dropout", "eval", "in eval(), and with p = 0, nothing changes", dropout_eval, all_true, law=True),
    Check("5.1-dropout", "share", "a share p becomes 0, each number for itself", dropout_share, all_true, law=True),
    Check("5.1-dropout", "scale", "what survives grows by 1/(1 - p), so the mean stays", dropout_scale, all_true, law=True),
    Check("5.1-dropout", "fresh", "each call drops others", dropout_fresh, all_true, law=True),
    Check("5.1-dropout", "gradient", "no gradient where a number was dropped", dropout_gradient, all_true, law=True),
    Check("5.1-gpt", "parameters", "embed, layers and unembed hold these parameters and no others", gpt_names, same_names),
    Check("5.1-gpt", "blocks", "n_layer blocks, each with weights of its own", gpt_blocks, all_true, law=True),
    Check("5.1-gpt", "last norm", "a layer norm stands before the unembedding", gpt_last_norm, all_true, law=True),
    Check("5.1-gpt", "unembedding", "without bias, with weights of its own", gpt_unembedding, all_true, law=True),
    Check(
        "5.1-gpt", "spread", "weights begin at 0.02, the unembedding's at 0.002, biases at 0", gpt_spread, all_true, law=True
    ),
    Check("5.1-gpt", "first loss", "a new model guesses: its loss is near ln V", gpt_first_loss, all_true, law=True),
    Check("5.1-gpt", "positions", "where a token stands makes a difference", gpt_positions, all_true, law=True),
    Check("5.1-gpt", "causality", "no position sees a later one", gpt_causality, past_stays, law=True),
    Check("5.1-gpt", "values", "given weights lead to the right logits and gradients", gpt_values, equal),
)
