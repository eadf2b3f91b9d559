"""Self-attention, written out: every token looks back and takes what it needs.

B batch, T time, C channels (n_embd), H heads, D head size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .config import GPTConfig
from .dropout import dropout


def softmax(scores: Tensor) -> Tensor:
    """(..., N) -> (..., N): each row becomes weights of 0 or more that sum to 1.

    Scores 0, ln 3 become 1/4, 3/4. Scores of 1,000 do not overflow; a score of minus infinity gets
    weight 0.
    """
    shifted = scores - scores.amax(dim=-1, keepdim=True)  # same result, and exp cannot overflow
    exponentials = shifted.exp()
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


def causal_softmax(scores: Tensor) -> Tensor:
    """(..., T, T) -> (..., T, T): softmax over the keys that are not in the query's future.

    Equal scores give row t the weights 1/(t + 1) up to t, then zeros. The mask comes first: rows
    masked after softmax would no longer sum to 1, and the future would still count in every sum.
    """
    ones = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)  # (T, T)
    future = ones.triu(diagonal=1)  # true above the diagonal
    return softmax(scores.masked_fill(future, float("-inf")))


class Head(nn.Module):
    """One head of causal self-attention (Vaswani et al. 2017, section 3.2.1).

    A token's query asks, every token's key answers, and the values of those that fit are averaged.
    """

    def __init__(self, config: GPTConfig, head_size: int) -> None:
        """Set `query`, `key` and `value` (C -> D, without bias) and `dropout`.

        C = 32 and D = 8 make 3 x 256 weights.
        """
        super().__init__()
        self.config, self.head_size = config, head_size
        self.query = nn.Linear(config.n_embd, head_size, bias=False)
        self.key = nn.Linear(config.n_embd, head_size, bias=False)
        self.value = nn.Linear(config.n_embd, head_size, bias=False)
        self.dropout = dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, D): softmax(q k^T / sqrt(D)) v, with the future masked.

        The attention weights pass through `dropout`. With all queries zero, position t gets the
        plain mean of values 0..t.
        """
        q, k, v = self.query(x), self.key(x), self.value(x)  # (B, T, D) each
        scores = q @ k.transpose(-2, -1)  # (B, T, T): row t holds how well each key fits query t
        # A sum of D products spreads like sqrt(D): unscaled, one key would get all the weight.
        scores = scores / math.sqrt(self.head_size)
        weights = causal_softmax(scores)  # (B, T, T)
        return self.dropout(weights) @ v  # (B, T, T) @ (B, T, D) -> (B, T, D)


class MultiHeadAttention(nn.Module):
    """Several small heads side by side, each free to look for something else (section 3.2.2)."""

    def __init__(self, config: GPTConfig, project: nn.Module) -> None:
        """Set `config`, `heads` (n_head of head_size), `project` and `dropout`.

        4 heads at C = 32 are 8 wide. `project` (C -> C) mixes what the heads found; `nn.Identity()`
        leaves it side by side.
        """
        super().__init__()
        self.config = config
        heads = [Head(config, config.head_size) for _ in range(config.n_head)]  # D = C / H
        self.heads = nn.ModuleList(heads)
        self.project = project
        self.dropout = dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C): the heads' outputs side by side, through `project` and `dropout`.

        With 4 heads of 8, channels 0..7 are the first head's, before projection.
        """
        found = torch.cat([head(x) for head in self.heads], dim=-1)  # H * (B, T, D) -> (B, T, C)
        return self.dropout(self.project(found))
