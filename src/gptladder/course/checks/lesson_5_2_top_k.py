"""Lesson 5.2, sampling: only the k largest logits of each row stay in play."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .check import Check, Opened, Results, agree, beside, equal
from .probes import call, normal

TOP_K = "keep_top_k"


def _kept(my: Opened, logits: Tensor, k: int) -> Tensor:
    return call(my("sampling.choose").keep_top_k, logits, k, whose=TOP_K)


def _left(my: Opened, logits: Tensor, k: int) -> list[int]:
    """Return how many tokens of each row are left."""
    return (_kept(my, logits, k) > -math.inf).sum(dim=-1).tolist()


def top_k_forms(my: Opened) -> Results:
    """Return the output's shape and dtype for several sizes."""
    return {
        f"the output's {what} for float32 logits {shape} and k = {k}": value
        for shape, k in (((2, 5), 3), ((3, 1), 1), ((1, 7), 2))
        for y in [_kept(my, normal(*shape, dtype=torch.float32), k)]
        for what, value in (("shape", list(y.shape)), ("dtype", str(y.dtype).removeprefix("torch.")))
    }


def top_k_count(my: Opened) -> Results:
    """Return how many tokens are left for every k, when all logits are different, beside k."""
    logits, results = normal(3, 7), Results()
    for k in range(1, 8):
        results |= beside(_left(my, logits, k), [k] * 3, f"k = {k}")
    return results


def top_k_largest(my: Opened) -> Results:
    """Return the logits that are left, beside the k largest and minus infinity for the others."""
    logits, results = normal(3, 7), Results()
    ranks = logits.argsort(dim=1, descending=True).argsort(dim=1)
    for k in (1, 3):
        results |= beside(_kept(my, logits, k), logits.masked_fill(ranks >= k, -math.inf), f"k = {k}")
    return results


def top_k_rows(my: Opened) -> Results:
    """Return what is left of rows of very different size, beside what is left when each row comes alone."""
    logits = normal(3, 7) + torch.tensor([[0.0], [50.0], [-50.0]])
    alone = torch.cat([_kept(my, logits[i : i + 1], 2) for i in range(3)])
    return beside(_kept(my, logits, 2), alone)


def top_k_ties(my: Opened) -> Results:
    """Return how many tokens are left of rows with equal logits, the docstring's among them, beside the right number."""
    results: Results = {}
    for row, k, right in (((3.0, 2.0, 2.0, 1.0), 2, 3), ((1.0, 1.0, 1.0, 1.0), 1, 4), ((1.0, 2.0, 3.0, 3.0), 1, 2)):
        written = ", ".join(f"{logit:g}" for logit in row)
        results |= beside(_left(my, torch.tensor([row]), k)[0], right, f"{written} with k = {k}")
    return results


def top_k_all(my: Opened) -> Results:
    """Return what is left with a k beyond the vocabulary, beside the logits."""
    logits = normal(2, 5)
    return beside(_kept(my, logits, 9), logits)


def top_k_values(my: Opened) -> Results:
    """Return the logits that are left, at several sizes."""
    return {f"V = {V}, k = {k}": _kept(my, 3 * normal(B, V), k) for B, V, k in ((2, 5, 3), (3, 1, 1), (1, 11, 4))}


ID = "5.2-top-k"
COUNT = "{case} leaves {found} tokens in three rows of 7, where {right} is right"
LARGEST = "with {case} the k largest of each row must stay as they were, and the others must become minus infinity"
ROWS = "each row must keep its own k largest, whatever the other rows hold"
TIES = "of the logits {case}, {right} must stay, since logits equal to the k-th largest stay with it; {found} did"
CHECKS = (
    Check(ID, "shape", "(B, V) stays (B, V), with the logits' dtype", top_k_forms, equal),
    Check(ID, "count", "k tokens of each row stay", top_k_count, agree(COUNT, numbers=False), law=True),
    Check(ID, "largest", "the largest stay as they were, the rest is minus infinity", top_k_largest, agree(LARGEST), law=True),
    Check(ID, "rows", "each row by itself", top_k_rows, agree(ROWS), law=True),
    Check(ID, "ties", "logits equal to the k-th largest stay with it", top_k_ties, agree(TIES, numbers=False), law=True),
    Check(
        ID, "all", "a k larger than V keeps all", top_k_all, agree("with k = 9 all of 5 logits must stay as they were"), True
    ),
    Check(ID, "values", "the logits that are left", top_k_values, equal),
)
