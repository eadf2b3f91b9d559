"""The choice of the next token from logits: which tokens may be chosen, and how boldly.

B batch, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.config import require


@dataclass(frozen=True)
class Sampling:
    """The settings by which the next token is drawn. ValueError on settings that mean nothing."""

    temperature: float = 1.0  # below 1 safer, above 1 wilder, 0 always the likeliest
    top_k: int | None = None  # only among the k likeliest
    top_p: float | None = None  # only the fewest with probability p together (Holtzman et al. 2020)

    def __post_init__(self) -> None:
        temperature, k, p = self.temperature, self.top_k, self.top_p
        useful = temperature == 0 or 1e-3 <= temperature < math.inf  # below, logits would overflow
        require(useful, "temperature", temperature, "0 (greedy) or at least 0.001")
        require(k is None or k >= 1, "top_k", k, "1 or more")
        require(p is None or 0 < p <= 1, "top_p", p, "more than 0 and at most 1")


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """(B, V) -> (B, V): all but the k largest of each row become minus infinity.

    k = 1 leaves the greedy choice. Those equal to the k-th stay with it: of 3, 2, 2, 1 k = 2 leaves
    three.
    """
    k = min(k, logits.size(-1))  # there are no more than V
    kth = logits.topk(k).values[:, -1:]  # (B, 1)
    return logits.masked_fill(logits < kth, float("-inf"))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """(B, V) -> (B, V): all but the likeliest, which hold p together, become minus infinity.

    Of 0.6, 0.3, 0.1 p = 0.7 leaves two: the first alone would hold less than p.
    """
    if p == 1:
        return logits  # nothing to remove; a rounded sum may reach 1 before the last token
    ordered, order = logits.sort(descending=True)
    probabilities = torch.softmax(ordered, dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # of all likelier ones: 0 for the first
    cut = (before >= p).scatter(-1, order, before >= p)  # back to the vocabulary's order
    return logits.masked_fill(cut, float("-inf"))


def choose_next(
    logits: Tensor,
    sampling: Sampling,
    generator: torch.Generator | None = None,
) -> Tensor:
    """(B, V) -> (B,): one token per row.

    Logits 0, ln 3 at temperature 1 give token 1 three times in four. Temperature 0 takes the
    largest logit and draws nothing.
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits / sampling.temperature
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p is not None:
        logits = keep_top_p(logits, sampling.top_p)
    return torch.multinomial(torch.softmax(logits, dim=-1), 1, generator=generator).squeeze(1)
