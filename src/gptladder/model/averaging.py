"""The past, averaged: the first step towards attention, three times the same.

B batch, T time, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def average_loop(x: Tensor) -> Tensor:
    """(B, T, C) -> (B, T, C): position t becomes the mean of positions 0..t. 2, 4, 9 become 2, 3, 5.

    The definition, said with a loop; the next two functions say it faster.
    """
    means = [x[:, : t + 1].mean(dim=1) for t in range(x.size(1))]  # T times (B, C)
    return torch.stack(means, dim=1)


def average_matrix(x: Tensor) -> Tensor:
    """(B, T, C) -> (B, T, C): the same means by one matrix product. 2, 4, 9 become 2, 3, 5.

    Row t of the lower-triangular weights holds 1/(t + 1) up to t, then zeros: no look into the future.
    """
    ones = torch.ones(x.size(1), x.size(1), dtype=x.dtype, device=x.device).tril()  # (T, T)
    weights = ones / ones.sum(dim=1, keepdim=True)  # each row sums to 1
    return weights @ x  # (T, T) @ (B, T, C) -> (B, T, C)


def average_softmax(x: Tensor) -> Tensor:
    """(B, T, C) -> (B, T, C): the same means from scores. 2, 4, 9 become 2, 3, 5.

    All scores are 0 and the future's are minus infinity, so softmax shares the weight equally among the past.
    In attention the tokens make the scores, and values made from x are averaged in place of x.
    """
    scores = torch.zeros(x.size(1), x.size(1), dtype=x.dtype, device=x.device)  # (T, T)
    future = torch.ones_like(scores).triu(diagonal=1).bool()
    weights = torch.softmax(scores.masked_fill(future, float("-inf")), dim=-1)
    return weights @ x


class Average(nn.Module):
    """Uniform causal averaging as a layer without parameters: (B, T, C) -> (B, T, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the past, itself included."""
        return average_matrix(x)
