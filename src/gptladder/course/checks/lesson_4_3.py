"""Lesson 4.3: layer norm."""

from __future__ import annotations

import torch
from torch import nn

from .check import Check, Opened, Results, agree, beside, equal
from .pretend_gpu import forms, keeps_form
from .probes import SIZES, call, fill, normal, other_tokens, prefixed, with_gradients

NORM = "LayerNorm.forward"


def _norm(my: Opened, C: int, eps: float = 1e-5) -> nn.Module:
    """Return a layer norm whose gains and shifts all differ."""
    return fill(my("model.block").LayerNorm(C, eps=eps))


def _plain(my: Opened, C: int) -> nn.Module:
    """Return a layer norm with gains 1 and shifts 0, as it begins."""
    return my("model.block").LayerNorm(C).double()


def norm_forms(my: Opened) -> Results:
    """Return the output's shape, dtype and device for two to four dimensions."""
    return forms(_norm(my, 6), (2, 5, 6), (3, 1, 6), (7, 6), (2, 3, 4, 6), whose=NORM)


def norm_each(my: Opened) -> Results:
    """Return the other tokens' outputs when one token is changed, beside those when it is not."""
    return other_tokens(_norm(my, 6), normal(2, 5, 6), whose=NORM)


def norm_moments(my: Opened) -> Results:
    """Return means and variances for numbers so large that eps does not show, and the output of the worked example."""
    y = call(_plain(my, 6), 1000 * normal(2, 5, 6) + 300, whose=NORM)
    means, variances = y.mean(dim=-1), y.var(dim=-1, correction=0)
    example = call(_plain(my, 2), torch.tensor([[[1000.0, 3000.0]]]), whose=NORM)
    return (
        beside(means, torch.zeros_like(means), "mean")
        | beside(variances, torch.ones_like(variances), "variance")
        | beside(example, torch.tensor([[[-1.0, 1.0]]]), "example")
    )


def norm_invariant(my: Opened) -> Results:
    """Return the output with a number added to each token and with each token multiplied, beside the one for x."""
    norm, x = _norm(my, 6), 1000 * normal(2, 5, 6)
    y = call(norm, x, whose=NORM)
    shifted = call(norm, x + 500 * normal(2, 5, 1, seed=1), whose=NORM)
    scaled = call(norm, x * (1 + normal(2, 5, 1, seed=2) ** 2), whose=NORM)
    return beside(shifted, y, "shifted") | beside(scaled, y, "scaled")


@torch.no_grad()
def norm_gain(my: Opened) -> Results:
    """Return the output with gains and shifts, beside one without them to which both are applied."""
    x = normal(2, 5, 6)
    norm, plain = _norm(my, 6), call(_plain(my, 6), x, whose=NORM)
    return beside(call(norm, x, whose=NORM), plain * norm.weight + norm.bias)  # type: ignore[operator]


def norm_constant(my: Opened) -> Results:
    """Return the output for tokens whose channels are all the same, so that their variance is 0, beside the bias."""
    norm = _norm(my, 6)
    return beside(call(norm, torch.full((1, 2, 6), 3.0), whose=NORM), norm.bias.expand(1, 2, 6))  # type: ignore[operator]


def norm_values(my: Opened) -> Results:
    """Return outputs and gradients at several sizes, also with an eps so large that it shows."""
    results: Results = {}
    for B, T, _, C in SIZES:
        for eps in (1e-5, 0.1):
            norm = _norm(my, C, eps)
            found = with_gradients(norm, normal(B, T, C), whose=NORM, module=norm)
            results |= prefixed(f"B = {B}, T = {T}, C = {C}, eps = {eps}", found)
    return results


EACH = (
    "mean and variance must be taken over the last dimension only:"
    " when one token is changed, the outputs for the other tokens must stay as they were"
)
MOMENTS = {
    "mean": "with gain 1 and shift 0 the mean of each token must be 0",
    "variance": "with gain 1 and shift 0 the variance of each token must be 1",
    "example": "1000, 3000 must become -1, 1",
}
INVARIANT = {
    "shifted": "when a number is added to all channels of a token, the output must stay the same",
    "scaled": "when all channels of a token are multiplied by a number above 1, the output must stay the same",
}
GAIN = "the normalised x must be multiplied by self.weight, and then self.bias must be added"
CONSTANT = (
    "a token of equal numbers has variance 0, and self.eps, added to it, prevents a division by 0: the output must be self.bias"
)
NORM_ID = "4.3-layernorm"
CHECKS = (
    Check(NORM_ID, "shape", "any shape stays as it is, with x's dtype, where x lies", norm_forms, keeps_form(NORM)),
    Check(NORM_ID, "each", "each token is normalised by itself", norm_each, agree(EACH), law=True),
    Check(NORM_ID, "moments", "mean 0 and variance 1 at gain 1 and shift 0", norm_moments, agree(MOMENTS), law=True),
    Check(
        NORM_ID,
        "invariant",
        "adding a number to a token, or multiplying it, changes nothing",
        norm_invariant,
        agree(INVARIANT),
        law=True,
    ),
    Check(NORM_ID, "gain", "a gain, then a shift for each channel", norm_gain, agree(GAIN), law=True),
    Check(NORM_ID, "constant", "a token of equal numbers causes no division by 0", norm_constant, agree(CONSTANT), law=True),
    Check(NORM_ID, "values", "weight * (x - mean) / sqrt(variance + eps) + bias, with its gradients", norm_values, equal),
)
