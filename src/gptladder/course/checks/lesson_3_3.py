"""Lesson 3.3: one head of self-attention."""

from __future__ import annotations

import torch
from torch import nn

from .check import Check, Opened, Results, agree, all_true, difference, equal, past_stays
from .pretend_gpu import stays_there
from .probes import SIZES, call, config, fill, names_of, new_from, normal, prefixed, with_gradients

HEAD = "Head.forward"


def head(my: Opened, C: int, D: int, dropout: float = 0.0) -> nn.Module:
    """A head with lively weights."""
    return fill(my("model.attention").Head(config(my, n_embd=C, n_head=1, dropout=dropout), D)).eval()


def head_names(my: Opened) -> Results:
    """The parameters of a head by name."""
    return {"the parameters": names_of(my("model.attention").Head(config(my), 5))}


def head_shapes(my: Opened) -> Results:
    """Sizes that are all different, a single token among them."""
    return {
        f"the shape for x {(B, T, 6)} and head size {D}": list(call(head(my, 6, D), normal(B, T, 6), whose=HEAD).shape)
        for B, T, _, D in SIZES
    }


def head_causality(my: Opened) -> Results:
    """All tokens from one position on are changed."""
    module, x = head(my, 6, 4), normal(2, 7, 6)
    return {"before": call(module, x, whose=HEAD), "after": call(module, new_from(x, 4), whose=HEAD), "changed": 4}


@torch.no_grad()
def head_blend(my: Opened) -> Results:
    """With all queries zero every key fits alike."""
    module, x = head(my, 6, 4), normal(2, 5, 6)
    module.query.weight.zero_()  # type: ignore[union-attr, operator]
    means = module.value(x).cumsum(dim=1) / torch.arange(1, 6).view(1, 5, 1)  # type: ignore[operator]
    return {"found": call(module, x, whose=HEAD), "must_be": means}


@torch.no_grad()
def head_dropout(my: Opened) -> Results:
    """Texts of one token: a weight of 1 is all there is to drop. `longer` is not judged: it tells mistakes from one another."""
    module, x = head(my, 6, 4, dropout=0.5), normal(64, 1, 6)
    torch.manual_seed(0)
    whole, again = call(module, x, whose=HEAD), call(module, x, whose=HEAD)
    module.train()
    return {
        "whole": whole,
        "again": again,
        "dropped": call(module, x, whose=HEAD),
        "longer": call(module, normal(2, 5, 6), whose=HEAD),
    }


def head_dtype(my: Opened) -> Results:
    """Numbers of single precision in, the same out."""
    torch.set_default_dtype(torch.float32)
    y = call(head(my, 5, 4).float(), normal(1, 6, 5, dtype=torch.float32), whose=HEAD)
    return {"the dtype for float32": str(y.dtype)}


def head_device(my: Opened) -> Results:
    """Where x and the weights lie, all is done."""
    module = head(my, 6, 4)
    return stays_there(module, normal(2, 5, 6), whose=HEAD, module=module)


def head_values(my: Opened) -> Results:
    """Outputs and gradients at several sizes."""
    results: Results = {}
    for B, T, _, D in SIZES:
        module = head(my, 6, D)
        found = with_gradients(module, normal(B, T, 6), whose=HEAD, module=module)
        results |= prefixed(f"B = {B}, T = {T}, C = 6, D = {D}", found)
    return results


def drops_weights(got: Results, wanted: Results) -> str | None:
    """Of outputs for single tokens: `whole` and `again` in eval(), and `dropped` while training: 0 or twice the whole."""
    whole, dropped = got["whole"], got["dropped"]
    if difference(got["again"], whole):
        return "in eval() nothing may be dropped, but two calls give two results; self.dropout knows when to"
    if not difference(dropped, whole):
        return "while training nothing is dropped: the attention weights pass through self.dropout before they meet the values"
    gone, kept = ((dropped - factor * whole).abs().amax(dim=-1) < 1e-6 for factor in (0, 2))
    if not (gone | kept).all():
        return (
            "a single token has one weight, so while training with p = 0.5 the output must be 0 or twice what it is in eval():"
            " what passes through self.dropout is the attention weights, after softmax"
        )
    return None if gone.any() and kept.any() else "while training every weight meets the same fate: each is dropped by itself"


CHECKS = (
    Check("3.3-head", "shape", "(B, T, C) becomes (B, T, D)", head_shapes, equal),
    Check("3.3-head", "parameters", "query, key and value, C -> D, without bias", head_names, equal),
    Check("3.3-head", "causality", "no position sees a later one", head_causality, past_stays, law=True),
    Check(
        "3.3-head",
        "mean",
        "equal scores give the plain mean of the past",
        head_blend,
        agree("with all queries zero, position t must be the mean of values 0..t"),
        law=True,
    ),
    Check("3.3-head", "dropout", "the attention weights pass through self.dropout", head_dropout, drops_weights, law=True),
    Check("3.3-head", "dtype", "the output has x's dtype", head_dtype, equal),
    Check("3.3-head", "device", "the work is done where x lies", head_device, all_true, law=True),
    Check("3.3-head", "values", "causal_softmax(q k^T / sqrt(D)) v, with its gradients", head_values, equal),
)
