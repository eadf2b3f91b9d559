"""The transformer's block: look around, then think, each added to what was there.

B batch, T time, C channels (n_embd).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .attention import MultiHeadAttention
from .config import GPTConfig
from .dropout import dropout


class FeedForward(nn.Module):
    """Each position by itself through two layers, four times as wide in between (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, config: GPTConfig) -> None:
        """Sets `expand` (C -> 4C), `contract` (4C -> C) and `dropout`; C = 32 makes 4,224 + 4,128 parameters."""
        super().__init__()
        narrow, wide = config.n_embd, 4 * config.n_embd
        self.expand = nn.Linear(narrow, wide)
        self.contract = nn.Linear(wide, narrow)
        self.dropout = dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C), by way of (B, T, 4C): a C of 32 is widened to 128 and brought back."""
        hidden = torch.relu(self.expand(x))  # (B, T, 4C): without the ReLU two linear layers would do no more than one
        return self.dropout(self.contract(hidden))


class LayerNorm(nn.Module):
    """Each token's channels to mean 0 and variance 1, then a learned gain and shift (Ba et al. 2016)."""

    def __init__(self, n_embd: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps  # keeps a constant token from dividing by zero
        self.weight = nn.Parameter(torch.ones(n_embd))
        self.bias = nn.Parameter(torch.zeros(n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C), over the last dimension alone: 1, 3 become -1, 1 (variance divided by C, not by C - 1)."""
        mean = x.mean(dim=-1, keepdim=True)
        variance = x.var(dim=-1, keepdim=True, correction=0)
        return self.weight * (x - mean) / torch.sqrt(variance + self.eps) + self.bias


class Block(nn.Module):
    """Attention, then feed-forward, each normalised before and added after: pre-norm (Xiong et al. 2020)."""

    def __init__(self, config: GPTConfig, norm: Callable[[int], nn.Module] = LayerNorm) -> None:
        """`norm` makes a layer for C channels; `nn.Identity` makes one that does nothing."""
        super().__init__()
        self.attention_norm = norm(config.n_embd)
        self.attention = MultiHeadAttention(config, project=nn.Linear(config.n_embd, config.n_embd))
        self.feed_forward_norm = norm(config.n_embd)
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C). With both parts zero, x comes out as it went in: the gradient's open road."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))
