"""Lesson 4.3: layer norm."""

from __future__ import annotations

import torch
from torch import nn

from .check import Check, Opened, Results, all_true, difference, equal
from .pretend_gpu import forms
from .probes import SIZES, all_but_one, call, fill, normal, prefixed, with_gradients

NORM = "LayerNorm.forward"


def _norm(my: Opened, C: int, eps: float = 1e-5) -> nn.Module:
    """With lively gains and shifts."""
    return fill(my("model.block").LayerNorm(C, eps=eps))


def _plain(my: Opened, C: int) -> nn.Module:
    """With gains 1 and shifts 0, as it begins."""
    return my("model.block").LayerNorm(C).double()


def norm_forms(my: Opened) -> Results:
    """Shape, dtype and device, with more dimensions and fewer."""
    return forms(_norm(my, 6), (2, 5, 6), (3, 1, 6), (7, 6), (2, 3, 4, 6), whose=NORM)


def norm_each(my: Opened) -> Results:
    """One token is changed: the others stay."""
    norm, x = _norm(my, 6), normal(2, 5, 6)
    changed = x.clone()
    changed[1, 2] = 3 * normal(6, seed=1)
    moved = difference(call(norm, changed, whose=NORM)[all_but_one(2, 5)], call(norm, x, whose=NORM)[all_but_one(2, 5)])
    return {
        "others": f"one token was changed, and another moved: {moved}; normalise over the last dimension alone" if moved else ""
    }


def norm_moments(my: Opened) -> Results:
    """Tokens far from zero and widely spread, so that eps does not count; and the worked example."""
    y = call(_plain(my, 6), 1000 * normal(2, 5, 6) + 300, whose=NORM)
    means, variances = y.mean(dim=-1), y.var(dim=-1, correction=0)
    example = call(_plain(my, 2), torch.tensor([[[1000.0, 3000.0]]], dtype=torch.float64), whose=NORM)
    off_mean, off_variance = difference(means, torch.zeros_like(means)), difference(variances, torch.ones_like(variances))
    off_example = difference(example, torch.tensor([[[-1.0, 1.0]]], dtype=torch.float64))
    return {
        "mean": f"with gain 1 and shift 0 each token's mean must be 0, but {off_mean}" if off_mean else "",
        "variance": f"with gain 1 and shift 0 each token's variance must be 1, but {off_variance}" if off_variance else "",
        "example": f"1000, 3000 must become -1, 1, but {off_example}" if off_example else "",
    }


def norm_invariant(my: Opened) -> Results:
    """To each token another number is added, and each is multiplied by another."""
    norm, x = _norm(my, 6), 1000 * normal(2, 5, 6)
    y = call(norm, x, whose=NORM)
    shifted = difference(call(norm, x + 500 * normal(2, 5, 1, seed=1), whose=NORM), y)
    scaled = difference(call(norm, x * (1 + normal(2, 5, 1, seed=2) ** 2), whose=NORM), y)
    return {
        "shift": f"a number added to all channels of a token must change nothing, but {shifted}" if shifted else "",
        "scale": f"a token made larger must give the same, but {scaled}" if scaled else "",
    }


@torch.no_grad()
def norm_gain(my: Opened) -> Results:
    """The same tokens with gains and shifts, and without."""
    x = normal(2, 5, 6)
    norm, plain = _norm(my, 6), call(_plain(my, 6), x, whose=NORM)
    problem = difference(call(norm, x, whose=NORM), plain * norm.weight + norm.bias)  # type: ignore[operator]
    return {
        "gain": f"the normalised x must be multiplied by self.weight, then self.bias added, but {problem}" if problem else ""
    }


def norm_constant(my: Opened) -> Results:
    """A token whose channels are all the same has variance 0."""
    norm = _norm(my, 6)
    y = call(norm, torch.full((1, 2, 6), 3.0), whose=NORM)
    if not torch.isfinite(y).all():
        return {"constant": "a token of equal numbers divides by zero; self.eps, added to the variance, keeps it from that"}
    problem = difference(y, norm.bias.expand(1, 2, 6))  # type: ignore[operator]
    return {"constant": f"a token of equal numbers must become self.bias, but {problem}" if problem else ""}


def norm_values(my: Opened) -> Results:
    """Outputs and gradients at several sizes, with an eps that counts."""
    results: Results = {}
    for B, T, _, C in SIZES:
        for eps in (1e-5, 0.1):
            norm = _norm(my, C, eps)
            found = with_gradients(norm, normal(B, T, C), whose=NORM, module=norm)
            results |= prefixed(f"B = {B}, T = {T}, C = {C}, eps = {eps}", found)
    return results


CHECKS = (
    Check("4.3-layernorm", "shape", "any shape stays, of x's dtype, where x lies", norm_forms, equal),
    Check("4.3-layernorm", "each", "each token is normalised by itself", norm_each, all_true, law=True),
    Check("4.3-layernorm", "moments", "mean 0 and variance 1 at gain 1 and shift 0", norm_moments, all_true, law=True),
    Check("4.3-layernorm", "invariant", "adding to a token or scaling it changes nothing", norm_invariant, all_true, law=True),
    Check("4.3-layernorm", "gain", "a gain, then a shift for each channel", norm_gain, all_true, law=True),
    Check("4.3-layernorm", "constant", "a token of equal numbers divides by no zero", norm_constant, all_true, law=True),
    Check(
        "4.3-layernorm", "values", "weight * (x - mean) / sqrt(variance + eps) + bias, with its gradients", norm_values, equal
    ),
)
