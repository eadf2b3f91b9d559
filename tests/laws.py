"""What many tests share: small models of every rung with lively weights, and the law that the future is not seen."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gptladder.model.cache import Caches
from gptladder.model.config import GPTConfig
from gptladder.model.fusing import fuse
from gptladder.model.modern_parts import StackedLinear
from gptladder.rungs import ALL, build

NAMES = tuple(ALL)
# no two sizes alike, so that no swapped pair of dimensions goes unseen; D is even, since rotary positions turn pairs
B, H, T, D, V, C = 2, 3, 7, 8, 11, 24
ODD = GPTConfig(vocab_size=V, block_size=T, n_layer=2, n_head=H, n_embd=C, dropout=0.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Unit-scale float64 numbers."""
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def tokens_of(batch: int, length: int, vocab_size: int = V, seed: int = 0) -> Tensor:
    return torch.randint(vocab_size, (batch, length), generator=seeded(seed))


@torch.no_grad()
def lively(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64, its outputs of unit scale, no bias 0 and no gain 1: what is forgotten then shows."""
    generator = seeded(seed)
    module.double()
    for part in module.modules():
        for name, weight in part.named_parameters(recurse=False):
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            if isinstance(part, nn.Linear | StackedLinear) and name == "weight":
                noise = 1.5 * noise / weight.size(-1) ** 0.5
            elif not isinstance(part, nn.Linear | nn.Embedding) and name == "weight":
                noise = 1 + noise / 3
            weight.copy_(noise)
    return module


def rung(name: str, config: GPTConfig = ODD, fused: bool = False, seed: int = 0) -> nn.Module:
    """A rung or control with lively weights, in eval mode."""
    model = lively(build(name, config), seed).eval()
    return fuse(model) if fused else model


@torch.no_grad()
def read_in_pieces(model: nn.Module, tokens: Tensor, sizes: tuple[int, ...], caches: Caches | None = None) -> Tensor:
    """The model's answer to tokens that come a few at a time, remembered in caches."""
    pieces, known = [], 0
    with caches or Caches(model, tokens.size(1)):
        for size in sizes:
            places = torch.arange(known, known + size)
            pieces.append(model(tokens[:, places], places))
            known += size
    return torch.cat(pieces, dim=1)


def changes_from(t: int, function: Callable[[Tensor], Tensor], x: Tensor, other: Tensor) -> tuple[float, float]:
    """How much outputs before t and from t on move when the inputs from t on are replaced by `other`'s."""
    moved = (function(torch.cat([x[:, :t], other[:, t:]], dim=1)) - function(x)).abs()
    return moved[:, :t].max().item(), moved[:, t:].max().item()


def past_stays(function: Callable[[Tensor], Tensor], x: Tensor, other: Tensor) -> bool:
    """Change the future and the past stays, at every cut. `x` (B, T) or (B, T, C); `other` differs from it everywhere."""
    assert (x != other).all()
    changes = [changes_from(t, function, x, other) for t in range(1, x.size(1))]
    assert all(later > 1e-3 for _, later in changes), "the outputs do not depend on the inputs: nothing was tested"
    return all(earlier <= 1e-12 for earlier, _ in changes)
