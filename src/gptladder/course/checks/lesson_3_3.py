"""Lesson 3.3: one head of self-attention."""

from __future__ import annotations

import torch
from torch import nn

from .check import Check, Opened, Results, agree, beside, equal, past_stays
from .dropping import drops_weights, weight_dropout_results
from .pretend_gpu import lies_there, stays_there
from .probes import SIZES, call, config, fill, names_of, new_from, normal, prefixed, with_gradients

HEAD = "Head.forward"


def head(my: Opened, C: int, D: int, dropout: float = 0.0) -> nn.Module:
    """Return a head with known weights of unit scale, in eval mode."""
    return fill(my("model.attention").Head(config(my, n_embd=C, n_head=1, dropout=dropout), D)).eval()


def head_names(my: Opened) -> Results:
    """Return the names and shapes of a head's parameters."""
    return {"the parameters": names_of(my("model.attention").Head(config(my), 5))}


def head_shapes(my: Opened) -> Results:
    """Return the output's shapes for sizes that all differ, a single token among them."""
    return {
        f"the shape for x {(B, T, 6)} and D = {D}": list(call(head(my, 6, D), normal(B, T, 6), whose=HEAD).shape)
        for B, T, _, D in SIZES
    }


def head_causality(my: Opened) -> Results:
    """Return the outputs for x, and for x with other tokens from one position on."""
    module, x = head(my, 6, 4), normal(2, 7, 6)
    return {"before": call(module, x, whose=HEAD), "after": call(module, new_from(x, 4), whose=HEAD), "changed": 4}


@torch.no_grad()
def head_blend(my: Opened) -> Results:
    """Return the output when all queries are zero, so that all scores are equal, beside the means of the values."""
    module, x = head(my, 6, 4), normal(2, 5, 6)
    module.query.weight.zero_()  # type: ignore[union-attr, operator]
    means = module.value(x).cumsum(dim=1) / torch.arange(1, 6).view(1, 5, 1)  # type: ignore[operator]
    return beside(call(module, x, whose=HEAD), means)


@torch.no_grad()
def head_dropout(my: Opened) -> Results:
    """Return what dropout does to the weights of a text of two tokens."""
    module, x = head(my, 6, 4, dropout=0.25), normal(1, 2, 6)
    values = module.value(x)[:, 0]  # type: ignore[operator]
    return weight_dropout_results(module, x, values, 0.25, whose=HEAD)


def head_dtype(my: Opened) -> Results:
    """Return the output's dtype for single precision."""
    torch.set_default_dtype(torch.float32)
    y = call(head(my, 5, 4).float(), normal(1, 6, 5, dtype=torch.float32), whose=HEAD)
    return {"the dtype for float32": str(y.dtype)}


def head_device(my: Opened) -> Results:
    """Return where the work is done for x and weights on a GPU."""
    module = head(my, 6, 4)
    return stays_there(module, normal(2, 5, 6), whose=HEAD, module=module)


def head_values(my: Opened) -> Results:
    """Return outputs and gradients at several sizes."""
    results: Results = {}
    for B, T, _, D in SIZES:
        module = head(my, 6, D)
        found = with_gradients(module, normal(B, T, 6), whose=HEAD, module=module)
        results |= prefixed(f"B = {B}, T = {T}, C = 6, D = {D}", found)
    return results


CHECKS = (
    Check("3.3-head", "shape", "(B, T, C) becomes (B, T, D)", head_shapes, equal),
    Check("3.3-head", "parameters", "query, key and value, C -> D, without bias", head_names, equal),
    Check("3.3-head", "causality", "no position sees a later one", head_causality, past_stays, law=True),
    Check(
        "3.3-head",
        "mean",
        "equal scores give the plain mean of the past",
        head_blend,
        agree("when all queries are zero, all scores are equal, and position t must get the mean of values 0..t"),
        law=True,
    ),
    Check("3.3-head", "dropout", "the attention weights pass through self.dropout", head_dropout, drops_weights, law=True),
    Check("3.3-head", "dtype", "the output has x's dtype", head_dtype, equal),
    Check("3.3-head", "device", "the work is done where x lies", head_device, lies_there(HEAD), law=True),
    Check("3.3-head", "values", "causal_softmax(q k^T / sqrt(D)) v, with its gradients", head_values, equal),
)
