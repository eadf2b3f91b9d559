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
    """Two layers, four times as wide in between, that each position passes through by itself.

    Vaswani et al. 2017, section 3.3.
    """

    def __init__(self, config: GPTConfig) -> None:
        """Set `expand` (C -> 4C), `contract` (4C -> C) and `dropout`.

        C = 32 makes 4,224 + 4,128 parameters.
        """
        super().__init__()
        self.expand = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.contract = nn.Linear(4 * config.n_embd, config.n_embd)
        self.dropout = dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C), by way of (B, T, 4C): 32 channels become 128, then 32 again."""
        # Without the ReLU two linear layers could do no more than one.
        hidden = torch.relu(self.expand(x))  # (B, T, 4C)
        return self.dropout(self.contract(hidden))


class LayerNorm(nn.Module):
    """Each token's channels scaled to mean 0 and variance 1, then a learned gain and shift.

    Ba et al. 2016.
    """

    def __init__(self, n_embd: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps  # keeps a constant token from dividing by zero
        self.weight = nn.Parameter(torch.ones(n_embd))
        self.bias = nn.Parameter(torch.zeros(n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C), over the last dimension alone: 1, 3 become -1, 1.

        The variance is divided by C, not by C - 1.
        """
        mean = x.mean(dim=-1, keepdim=True)
        variance = x.var(dim=-1, keepdim=True, correction=0)
        return self.weight * (x - mean) / torch.sqrt(variance + self.eps) + self.bias


class Block(nn.Module):
    """Attention, then feed-forward: each reads a normalised x, and its output is added to x.

    This is the pre-norm block (Xiong et al. 2020).
    """

    def __init__(self, config: GPTConfig, norm: Callable[[int], nn.Module] = LayerNorm) -> None:
        """`norm` makes a layer for C channels; `nn.Identity` makes one that does nothing."""
        super().__init__()
        self.attention_norm = norm(config.n_embd)
        self.attention = MultiHeadAttention(config, project=nn.Linear(config.n_embd, config.n_embd))
        self.feed_forward_norm = norm(config.n_embd)
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C). With both parts zero, x comes out as it went in.

        So the gradient has an open road through any number of blocks.
        """
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))
