"""Lesson 5.2, fused attention: all heads at once, the same function of the same weights."""

from __future__ import annotations

import torch
from torch import nn

from .check import Check, Opened, Results, agree, beside, equal, past_stays
from .dropping import SOMEWHERE, dropout_results, drops, drops_weights, weight_dropout_results
from .pretend_gpu import forms, keeps_form
from .probes import (
    SIZES,
    call,
    config,
    ends_in_projection,
    fill,
    normal,
    one_token_changed,
    only,
    prefixed,
    projected,
    with_gradients,
)

FUSED = "FusedAttention.forward"


def _written_out(my: Opened, H: int, D: int, project: nn.Module | None = None, dropout: float = 0.0) -> nn.Module:
    """Return MultiHeadAttention with known weights, in eval mode."""
    settings = config(my, n_head=H, n_embd=H * D, dropout=dropout)
    project = project or nn.Linear(H * D, H * D)
    return fill(my("model.attention").MultiHeadAttention(settings, project=project)).eval()


def _fused(my: Opened, H: int, D: int, project: nn.Module | None = None, dropout: float = 0.0) -> nn.Module:
    """Return fused attention with the same weights."""
    return my("model.fusing").fuse(_written_out(my, H, D, project, dropout))


def fused_forms(my: Opened) -> Results:
    """Return the output's shape, dtype and device; one of the shapes has a single token."""
    return forms(_fused(my, 3, 4), (2, 5, 12), (3, 1, 12), (1, 7, 12), whose=FUSED)


def fused_causality(my: Opened) -> Results:
    """Return the outputs for x, and for x with one token changed."""
    return one_token_changed(_fused(my, 3, 4), normal(2, 7, 12), whose=FUSED)


@torch.no_grad()
def fused_same(my: Opened) -> Results:
    """Return the output beside that of the written-out attention with the same weights, and of a head that stands alone."""
    results: Results = {}
    for B, T, H, D in SIZES:
        x = normal(B, T, H * D)
        wanted = _written_out(my, H, D)(x)
        results |= beside(
            call(_fused(my, H, D), x, whose=FUSED),
            wanted,
            f"MultiHeadAttention with the same weights (H = {H}, D = {D}, T = {T})",
        )
    x, head = normal(2, 5, 6), fill(my("model.attention").Head(config(my, n_head=1, n_embd=6), 6)).eval()
    wanted = head(x)
    return results | beside(call(my("model.fusing").fuse(head), x, whose=FUSED), wanted, "a single Head with the same weights")


@torch.no_grad()
def fused_cache(my: Opened) -> Results:
    """Return the outputs for seven tokens that come in pieces, with a cache, beside those of the written-out attention."""
    x, results = normal(2, 7, 12), Results()
    wanted = _written_out(my, 3, 4)(x)
    for sizes in ((7,), (4, 1, 1, 1), (2, 3, 2)):
        attention = _fused(my, 3, 4)
        attention.cache = attention.new_cache(7)  # type: ignore[operator]
        pieces = [call(attention, piece, whose=FUSED) for piece in x.split(sizes, dim=1)]
        results |= beside(torch.cat(pieces, dim=1), wanted, ", ".join(map(str, sizes)))
    return results


@torch.no_grad()
def fused_weights_dropped(my: Opened) -> Results:
    """Return what dropout does to the weights of a text of two tokens, in each of three heads."""
    H, D, p = 3, 4, 0.25
    attention, x = _fused(my, H, D, nn.Identity(), dropout=p), normal(1, 2, H * D)
    attention.dropout = nn.Identity()
    values = attention.qkv(x)[0, 0].view(3, H, D)[2]  # type: ignore[operator]
    return weight_dropout_results(attention, x, values, p, whose=FUSED)


def fused_dropout(my: Opened) -> Results:
    """Return what dropout does to an output of nothing but ones, and whether `self.dropout` has any effect on another one."""
    attention = _fused(my, 3, 4, nn.Identity(), dropout=0.5)
    attention.dropout = only(0.0)
    somewhere = bool((call(attention, normal(4, 7, 12), whose=FUSED) == 0).all())
    last = dropout_results(_fused(my, 3, 4, only(1.0), dropout=0.5), normal(4, 7, 12), 0.5, whose=FUSED)
    return last | {SOMEWHERE: somewhere}


def fused_project(my: Opened) -> Results:
    """Return the output when the projection returns nothing but 7."""
    return projected(_fused(my, 3, 4, only(7.0)), normal(2, 5, 12), whose=FUSED)


def fused_values(my: Opened) -> Results:
    """Return outputs and gradients at several sizes."""
    results: Results = {}
    for B, T, H, D in (*SIZES, (2, 3, 1, 5)):
        attention = _fused(my, H, D)
        found = with_gradients(attention, normal(B, T, H * D), whose=FUSED, module=attention)
        results |= prefixed(f"B = {B}, T = {T}, H = {H}, D = {D}", found)
    return results


ID = "5.2-fused"
SAME = "the output must equal that of {case}"
CACHE = "with a cache, a text in pieces of {case} tokens must give the same output as the whole text at once"
CHECKS = (
    Check(ID, "shape", "(B, T, C) stays (B, T, C), with x's dtype, where x lies", fused_forms, keeps_form(FUSED)),
    Check(ID, "causality", "no position sees a later one", fused_causality, past_stays, law=True),
    Check(ID, "project", "the heads' outputs pass through self.project", fused_project, ends_in_projection, law=True),
    Check(ID, "same", "the output of MultiHeadAttention with the same weights", fused_same, agree(SAME), law=True),
    Check(ID, "cache", "with a cache, piece by piece, the same output", fused_cache, agree(CACHE), law=True),
    Check(
        ID,
        "weights dropped",
        "attention weights are dropped, and only in training",
        fused_weights_dropped,
        drops_weights,
        law=True,
    ),
    Check(ID, "dropout", "self.dropout comes last", fused_dropout, drops, law=True),
    Check(ID, "values", "the output and its gradients", fused_values, equal),
)
