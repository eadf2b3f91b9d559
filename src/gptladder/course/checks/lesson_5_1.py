"""Lesson 5.1: dropout, and the whole GPT."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .check import Check, Mistake, Opened, Results, beside, cases, difference, equal, facts, past_stays, same_names
from .dropping import SIGMAS, by_chance, multiplied, told_share
from .pretend_gpu import forms, keeps_form
from .probes import (
    NO_GRADIENT,
    call,
    config,
    fill,
    names_of,
    normal,
    one_token_changed,
    prefixed,
    seeded,
    tokens,
    with_gradients,
)

DROPOUT, GPT = "Dropout.forward", "a GPT"
ROWS, COLUMNS = 200, 250
LN_65 = math.log(65)


def _dropout(my: Opened, p: float) -> nn.Module:
    return my("model.dropout").Dropout(p).train()


def dropout_forms(my: Opened) -> Results:
    """Return the output's shapes for one to four dimensions, its dtype and device."""
    return forms(_dropout(my, 0.4), (2, 5, 6), (7,), (3, 1), (2, 3, 4, 5), whose=DROPOUT)


def dropout_eval(my: Opened) -> Results:
    """Return by what x is multiplied in eval(), and in training with p = 0."""
    x = normal(5, 7)
    return {
        "in eval(), factor": multiplied(call(_dropout(my, 0.5).eval(), x, whose=DROPOUT), x),
        "with p = 0, factor": multiplied(call(_dropout(my, 0.0), x, whose=DROPOUT), x),
    }


def dropout_share(my: Opened) -> Results:
    """Return which share of 50,000 ones is dropped, and whether each number is dropped by itself."""
    results: Results = {}
    for p in (0.2, 0.5):
        dropped = call(_dropout(my, p), torch.ones(ROWS, COLUMNS), whose=DROPOUT) == 0
        results |= prefixed(f"p = {p}", shares(dropped.double(), p))
    return results


def shares(dropped: Tensor, p: float) -> Results:
    """Return the share of ones in a matrix, and whether each row and column has that share, as when each is drawn alone."""
    share = dropped.mean().item()
    alone = all(by_chance(row, share, COLUMNS) for row in dropped.mean(dim=1).tolist())
    alone &= all(by_chance(column, share, ROWS) for column in dropped.mean(dim=0).tolist())
    return {"p": p, "alone": alone, "share": told_share(share, p, dropped.numel()) if alone else p}


def drops_a_share(got: Results, wanted: Results) -> str | None:
    """Judge `shares`: each number is dropped by itself, and a share p of them is."""
    for case in (name.removesuffix(", alone") for name in got if name.endswith(", alone")):
        if not got[f"{case}, alone"]:
            return "whole rows or columns are dropped together; each number must be dropped or kept by itself"
        if (share := got[f"{case}, share"]) != got[f"{case}, p"]:
            return f"with {case} about {share:.0%} of the numbers become 0"
    return None


def dropout_scale(my: Opened) -> Results:
    """Return by what the numbers that survive are multiplied."""
    x, results = normal(40, 50), Results()
    for p in (0.2, 0.5):
        y = call(_dropout(my, p), x, whose=DROPOUT)
        results[f"p = {p}, factor"] = multiplied(y[y != 0], x[y != 0])
    return results


def dropout_fresh(my: Opened) -> Results:
    """Return whether two calls of one layer and a call of another layer drop different numbers."""
    layer, ones = _dropout(my, 0.5), torch.ones(20, 50)
    masks = [call(layer, ones, whose=DROPOUT) != 0, call(layer, ones, whose=DROPOUT) != 0]
    masks.append(call(_dropout(my, 0.5), ones, whose=DROPOUT) != 0)
    return {"different": not any(torch.equal(a, b) for i, a in enumerate(masks) for b in masks[:i])}


def dropout_gradient(my: Opened) -> Results:
    """Return whether the gradient of the sum of the output is what each number was multiplied by."""
    x = normal(20, 30).requires_grad_()
    y = call(_dropout(my, 0.2), x, whose=DROPOUT)
    if not y.requires_grad:
        raise Mistake(f"{DROPOUT} returned {NO_GRADIENT}")
    (gradient,) = torch.autograd.grad(y.sum(), x)
    return {"follows": difference(gradient, y.detach() / x.detach()) is None}


def _gpt(my: Opened, **settings: float) -> nn.Module:
    return my("model.gpt").GPT(config(my, **settings))


def _fresh(my: Opened) -> nn.Module:
    """Return a new model, large enough for its weights' spread to show."""
    return _gpt(my, vocab_size=65, block_size=16, n_layer=2, n_head=2, n_embd=32)


def gpt_names(my: Opened) -> Results:
    """Return the names and shapes of the parameters for two depths and sizes."""
    return {
        f"the parameters for n_layer = {n_layer}": names_of(_gpt(my, n_layer=n_layer, n_head=2, n_embd=n_embd))
        for n_layer, n_embd in ((1, 6), (3, 4))
    }


def gpt_blocks(my: Opened) -> Results:
    """Return how many blocks there are, and whether they begin with different weights."""
    results: Results = {}
    for n_layer in (1, 3):
        layers = _gpt(my, n_layer=n_layer).layers
        blocks = [layer for layer in layers if isinstance(layer, my("model.block").Block)]  # type: ignore[union-attr]
        firsts = [next(block.attention.parameters()) for block in blocks]
        alike = any(torch.equal(a, b) for i, a in enumerate(firsts) for b in firsts[:i])
        results |= prefixed(f"n_layer = {n_layer}", {"blocks": len(blocks), "different weights": not alike})
    return results


def begins(weight: Tensor, spread: float) -> tuple[float, float]:
    """Return the spread and the mean of these weights: exactly `spread` and 0 if they can be so by chance."""
    found, mean = weight.std().item(), weight.mean().item()
    room = SIGMAS / math.sqrt(2 * weight.numel()) + 0.15  # chance, and ways of drawing that cut off the extremes
    centred = abs(mean) <= SIGMAS * found / math.sqrt(weight.numel())
    return spread if abs(found / spread - 1) <= room else float(f"{found:.1g}"), 0.0 if centred else float(f"{mean:.1g}")


def gpt_spread(my: Opened) -> Results:
    """Return how every parameter of a new model begins, beside how it must begin.

    For a matrix these are its spread and its mean; for a vector, its number if all are the same, and nothing if they differ.
    """
    results: Results = {}
    for name, parameter in sorted(_fresh(my).named_parameters()):
        weight = parameter.detach()
        if weight.dim() >= 2:
            spread = 0.002 if name.startswith("unembed") else 0.02
            results |= beside(list(begins(weight, spread)), [spread, 0.0], case=name)
        else:
            alike = bool((weight == weight[0]).all())
            results |= beside([weight[0].item()] if alike else [], [1.0 if name.endswith("weight") else 0.0], case=name)
    return results


def begins_right(got: Results, wanted: Results) -> str | None:
    """Judge `gpt_spread`."""
    for name, found, right in cases(got):
        if len(right) == 1 and found != right:
            return f"all numbers of {name} must begin at {right[0]:g}"
        if found[0] != right[0]:
            return f"{name} begins with a spread of about {found[0]:g}, where {right[0]:g} is right"
        if found != right:
            return f"{name} begins with a mean of about {found[1]:g}, where 0 is right"
    return None


@torch.no_grad()
def gpt_first_loss(my: Opened) -> Results:
    """Return where the loss of a new model on random tokens of 65 kinds lies."""
    model, ids = _fresh(my), tokens(8, 16, vocab_size=65)
    targets = torch.randint(65, (8, 16), generator=seeded(1))
    logits = call(model, ids, whose="a new GPT")
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()
    return {"first loss": "near" if abs(loss - LN_65) < 0.02 else "above" if loss > LN_65 else "below"}


@torch.no_grad()
def gpt_last_norm(my: Opened) -> Results:
    """Return whether what the unembedding reads is normalised when the embeddings are large."""
    model = _fresh(my)
    for table in model.embed.parameters():  # type: ignore[union-attr]
        table.mul_(100)
    model.unembed = nn.Identity()
    read = call(model, tokens(2, 7, vocab_size=65), whose=GPT)
    means, variances = read.mean(dim=-1), read.var(dim=-1, correction=0)
    return {"normalised": bool((means.abs() < 1e-3).all() and ((variances - 1).abs() < 1e-3).all())}


def gpt_unembedding(my: Opened) -> Results:
    """Return whether the unembedding has a bias, and whether its weight is one of the embedding's."""
    model = _gpt(my)
    shared = any(model.unembed.weight is weight for weight in model.embed.parameters())  # type: ignore[union-attr]
    return {"bias": getattr(model.unembed, "bias", None) is not None, "shared": shared}


@torch.no_grad()
def gpt_positions(my: Opened) -> Results:
    """Return whether a token that stands at every position gets the same logits everywhere."""
    y = call(fill(_gpt(my)).eval(), torch.full((1, 7), 3), whose=GPT)
    return {"alike": difference(y[:, 1:], y[:, :1].expand(1, 6, 11)) is None}


@torch.no_grad()
def gpt_causality(my: Opened) -> Results:
    """Return the logits for a text, and for the text with one token changed, in a model with known weights."""
    return one_token_changed(fill(_gpt(my)).eval(), tokens(2, 7, vocab_size=11), whose=GPT)


def gpt_values(my: Opened) -> Results:
    """Return logits and gradients for known weights at several sizes, also for fewer tokens than block_size."""
    results: Results = {}
    for B, T, H, D, n_layer in ((2, 5, 3, 4, 2), (3, 1, 2, 5, 1)):
        model = fill(_gpt(my, block_size=6, n_layer=n_layer, n_head=H, n_embd=H * D)).eval()
        found = with_gradients(model, tokens(B, T, vocab_size=11), whose=GPT, module=model)
        results |= prefixed(f"B = {B}, T = {T}, {n_layer} layers of {H} heads", found)
    return results


ID_DROPOUT, ID_GPT = "5.1-dropout", "5.1-gpt"
EVAL = {"factor": "{case} x must come out as it went in, but it is multiplied by {found}"}
SCALE = {"factor": "with {case} what survives must be multiplied by 1/(1 - p), so that the mean stays; the factor is {found}"}
FRESH = {"different": "two calls drop the same numbers; draw new random numbers at each call, and set no seed"}
FOLLOWS = {"follows": "the gradient must be 0 for numbers that were dropped and 1/(1 - p) for the others"}
BLOCKS = {
    "blocks": "with {case} the number of blocks in self.layers is {found}",
    "different weights": "several blocks begin with the same weights; make a new Block each time",
}
LAST_NORM = {"normalised": "what the unembedding reads is not normalised; the last of the layers must be a LayerNorm"}
UNEMBEDDING = {
    "bias": "the unembedding has a bias; make it with bias=False",
    "shared": "the unembedding shares the weights of the token table; here it has weights of its own",
}
FIRST_LOSS = {
    "first loss": "the first loss of a new model is {found} ln 65 = 4.174;"
    " it should be near that, which is the loss of a model that gives all 65 characters the same probability"
}
POSITIONS = {"alike": "a token gets the same logits wherever it stands; use Embedding, which adds positions"}
CHECKS = (
    Check(ID_DROPOUT, "shape", "any shape stays as it is, with x's dtype, where x lies", dropout_forms, keeps_form(DROPOUT)),
    Check(ID_DROPOUT, "eval", "in eval(), and with p = 0, nothing changes", dropout_eval, facts(EVAL), law=True),
    Check(ID_DROPOUT, "share", "a share p becomes 0, each number by itself", dropout_share, drops_a_share, law=True),
    Check(
        ID_DROPOUT,
        "scale",
        "what survives grows by 1/(1 - p), so the mean stays",
        dropout_scale,
        facts(SCALE),
        law=True,
    ),
    Check(ID_DROPOUT, "fresh", "each call drops other numbers", dropout_fresh, facts(FRESH), law=True),
    Check(ID_DROPOUT, "gradient", "no gradient where a number was dropped", dropout_gradient, facts(FOLLOWS), law=True),
    Check(ID_GPT, "parameters", "embed, layers and unembed hold these parameters and no others", gpt_names, same_names),
    Check(ID_GPT, "blocks", "n_layer blocks, each with weights of its own", gpt_blocks, facts(BLOCKS), law=True),
    Check(ID_GPT, "last norm", "a layer norm stands before the unembedding", gpt_last_norm, facts(LAST_NORM), law=True),
    Check(ID_GPT, "unembedding", "without bias, with weights of its own", gpt_unembedding, facts(UNEMBEDDING), law=True),
    Check(
        ID_GPT,
        "spread",
        "weights begin with a spread of 0.02, the unembedding's with 0.002, biases at 0",
        gpt_spread,
        begins_right,
        law=True,
    ),
    Check(
        ID_GPT,
        "first loss",
        "a new model guesses: its loss is near ln V",
        gpt_first_loss,
        facts(FIRST_LOSS),
        law=True,
    ),
    Check(ID_GPT, "positions", "the position of a token makes a difference", gpt_positions, facts(POSITIONS), law=True),
    Check(ID_GPT, "causality", "no position sees a later one", gpt_causality, past_stays, law=True),
    Check(ID_GPT, "values", "with given weights, the right logits and gradients", gpt_values, equal),
)
