"""The mean of the past, the first step towards attention, computed in three ways.

B batch, T time, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def average_loop(x: Tensor) -> Tensor:
    """(B, T, C) -> (B, T, C): position t becomes the mean of positions 0..t.

    2, 4, 9 become 2, 3, 5. This is the definition, as a loop; the next two functions compute the
    same, faster.
    """
    means = [x[:, : t + 1].mean(dim=1) for t in range(x.size(1))]  # T times (B, C)
    return torch.stack(means, dim=1)


def average_matrix(x: Tensor) -> Tensor:
    """(B, T, C) -> (B, T, C): the same means by one matrix product. 2, 4, 9 become 2, 3, 5.

    Row t of the lower-triangular weights holds 1/(t + 1) up to t, then zeros for the future.
    """
    ones = torch.ones(x.size(1), x.size(1), dtype=x.dtype, device=x.device).tril()  # (T, T)
    weights = ones / ones.sum(dim=1, keepdim=True)  # each row sums to 1
    return weights @ x  # (T, T) @ (B, T, C) -> (B, T, C)


def average_softmax(x: Tensor) -> Tensor:
    """(B, T, C) -> (B, T, C): the same means from scores. 2, 4, 9 become 2, 3, 5.

    The scores are 0 for the past and minus infinity for the future, so softmax gives each position
    of the past the same weight. Attention will compute the scores from the tokens, and it will
    average values computed from x in place of x itself.
    """
    scores = torch.zeros(x.size(1), x.size(1), dtype=x.dtype, device=x.device)  # (T, T)
    future = torch.ones_like(scores).triu(diagonal=1).bool()
    weights = torch.softmax(scores.masked_fill(future, float("-inf")), dim=-1)
    return weights @ x


class Average(nn.Module):
    """Uniform causal averaging as a layer without parameters: (B, T, C) -> (B, T, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C): each position becomes the mean of the past, itself included."""
        return average_matrix(x)
