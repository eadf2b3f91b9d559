"""The changes that the field made since the GPT of 2019: one small part for each, with its paper.

B batch, T time (S keys when they differ), C channels (n_embd), H heads, D head size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .block import Block
from .cache import CachingModule, KeyValueCache
from .config import GPTConfig, require
from .dropout import dropout
from .gpt import LanguageModel
from .kernels import attend
from .rms_norm import rms_norm


class RMSNorm(nn.Module):
    """Scaling of each token's channels to a mean square of 1, without a mean and without weights (Zhang and Sennrich 2019)."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.n_embd = n_embd

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C): 1, 7 become 1/5, 7/5, since their mean square is 25."""
        return rms_norm(x)


class Rotary(nn.Module):
    """Positions as rotations of queries and keys: a score then depends on how far apart the two are (Su et al. 2021)."""

    def __init__(self, head_size: int, block_size: int, slowest: float = 1000.0) -> None:
        """Set the speeds: the first pair of channels turns 1 radian a token, the last about 1 in `slowest` tokens."""
        super().__init__()
        self.cosines: Tensor
        self.sines: Tensor
        require(head_size % 2 == 0, "head_size", head_size, "even, since rotary positions turn channels in pairs")
        half = head_size // 2
        speeds = slowest ** (-torch.arange(half) / half)  # (D / 2,) radians a token
        angles = torch.outer(torch.arange(block_size), speeds)  # (T, D / 2)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """(B, H, T, D) -> (B, H, T, D), for the tokens from position `start` on.

        A token at position 0 stays as it is, and every vector keeps its length.
        """
        end = start + x.size(-2)
        if end > self.cosines.size(0):
            raise ValueError(f"{end} tokens do not fit {self.cosines.size(0)} positions: give the last ones")
        cosines, sines = (table[start:end].to(x.dtype) for table in (self.cosines, self.sines))  # (T, D / 2)
        left, right = x.chunk(2, dim=-1)  # channel i turns with channel i + D / 2
        return torch.cat([left * cosines - right * sines, left * sines + right * cosines], dim=-1)


class NoRotation(nn.Module):
    """The layer that takes the place of `Rotary` in a model whose embedding knows the positions."""

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Return x as it is."""
        return x


class StackedLinear(nn.Module):
    """Several linear layers without biases that read the same input, computed as one product.

    Its weight keeps a dimension for them, so that an optimizer can treat them as several matrices.
    """

    def __init__(self, count: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, out_features, in_features))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., count * out_features), the first layer's outputs first."""
        return F.linear(x, self.weight.flatten(0, 1))


class ModernAttention(CachingModule):
    """Causal attention whose queries and keys are first normed (Henry et al. 2020), then rotated to their positions.

    Normed, no score can exceed sqrt(D), so a high learning rate cannot make attention freeze on one token.
    """

    def __init__(self, config: GPTConfig, norm: nn.Module, rotary: nn.Module) -> None:
        """Keep `norm`, which works on (..., D), and `rotary`, on (B, H, T, D). No layer here has a bias."""
        super().__init__()
        self.config = config
        self.qkv = StackedLinear(3, config.n_embd, config.n_embd)  # all heads' queries, keys and values
        self.norm, self.rotary = norm, rotary
        self.project = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.dropout = dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C). With a cache, x holds the new tokens only."""
        B, T, _ = x.shape
        start = 0 if self.cache is None else self.cache.length
        qkv = self.qkv(x).view(B, T, 3, self.config.n_head, -1)  # (B, T, 3, H, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        q, k = self.rotary(self.norm(q), start), self.rotary(self.norm(k), start)
        out = attend(q, k, v) if self.cache is None else self.cache.attend(q, k, v)  # a cache: to all tokens so far
        return self.dropout(self.project(out.transpose(1, 2).flatten(2)))  # (B, H, T, D) -> (B, T, C)

    def new_cache(self, block_size: int) -> KeyValueCache:
        """Return an empty cache for the rotated keys and the values."""
        return KeyValueCache(block_size)


class SquaredReLU(nn.Module):
    """max(0, x) squared: 3 becomes 9 (So et al. 2021)."""

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...), of any shape."""
        return torch.relu(x).square()


class ModernFeedForward(nn.Module):
    """Two layers without biases, and any activation between them; each position passes through by itself."""

    def __init__(self, config: GPTConfig, activation: nn.Module) -> None:
        super().__init__()
        self.expand = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.activation = activation
        self.contract = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)
        self.dropout = dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C), by way of (B, T, 4C)."""
        return self.dropout(self.contract(self.activation(self.expand(x))))


class ModernBlock(Block):
    """The classic block, pre-norm and residual, with any norm, attention and feed-forward."""

    attention: nn.Module  # type: ignore[assignment]  # any that maps (B, T, C) to (B, T, C)
    feed_forward: nn.Module  # type: ignore[assignment]

    def __init__(self, n_embd: int, norm: Callable[[int], nn.Module], attention: nn.Module, feed_forward: nn.Module) -> None:
        nn.Module.__init__(self)
        self.attention_norm, self.attention = norm(n_embd), attention
        self.feed_forward_norm, self.feed_forward = norm(n_embd), feed_forward


class SoftCap(nn.Module):
    """A layer that keeps numbers within +-limit, smoothly, so that no logit runs away (Gemma Team 2024, section 2)."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...), of any shape: at limit 15 a 15 becomes 11.4, a 1 becomes 0.999."""
        return self.limit * torch.tanh(x / self.limit)


class CappedLinear(nn.Linear):
    """A linear layer without bias, its outputs capped."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)
        self.cap = SoftCap(15.0)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., V), within +-15."""
        capped: Tensor = self.cap(super().forward(x))
        return capped


def start_as_gpt2(model: LanguageModel) -> None:
    """Give every matrix normal weights with a spread of 0.02, as in the GPT of 2019; the unembedding's is 0.002."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.002 if name == "unembed.weight" else 0.02)


def start_from_zero(model: LanguageModel) -> None:
    """Start layers that read the residual stream at a spread of 1/sqrt(fan in), layers that write to it at zero.

    So every block begins as the identity, however deep the model is, and the first prediction is uniform (Zhang et al.
    2019). The table of pairs starts at zero too, the table of tokens at a spread of 1.
    """
    for name, parameter in model.named_parameters():
        if name.endswith("token.weight"):
            nn.init.normal_(parameter)
        elif name.endswith(("project.weight", "contract.weight", "pair.weight", "unembed.weight")):
            nn.init.zeros_(parameter)
        elif parameter.dim() > 1:
            nn.init.normal_(parameter, std=parameter.size(-1) ** -0.5)
