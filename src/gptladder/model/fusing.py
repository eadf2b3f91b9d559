"""The same model, faster: one call each in place of the written-out parts, put in from outside and taken out again.

B batch, T time (S keys when they differ), C channels, H heads, D head size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Head, MultiHeadAttention
from .block import LayerNorm
from .cache import CachingModule, KeyValueCache
from .config import GPTConfig
from .dropout import Dropout
from .kernels import attend, drop


class FusedAttention(CachingModule):
    """`MultiHeadAttention` with one product for all queries, keys and values, and attention as one call."""

    def __init__(self, config: GPTConfig, n_head: int, qkv: nn.Linear, project: nn.Module, dropout: nn.Module) -> None:
        """`qkv` (C -> 3 * H * D): the rows of all query weights, head after head, then the keys', then the values'."""
        super().__init__()
        self.config, self.n_head = config, n_head
        self.qkv = qkv
        self.project, self.dropout = project, dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C). With a cache, x holds the new tokens only: one new on 3 old attends to all 4.

        `self.cache` is None or has `attend`. In training `attend` drops weights at the rate `self.config.dropout`.
        """
        B, T, _ = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.n_head, -1)  # (B, T, 3, H, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()  # (B, H, T, D) each
        if self.cache is None:
            out = attend(q, k, v, self.config.dropout if self.training else 0.0)
        else:
            out = self.cache.attend(q, k, v)  # to all tokens so far
        return self.dropout(self.project(out.transpose(1, 2).flatten(2)))  # (B, H, T, D) -> (B, T, H * D)

    def new_cache(self, block_size: int) -> KeyValueCache:
        """Room for the keys and values of all heads."""
        return KeyValueCache(block_size)


class FusedHead(FusedAttention):
    """A `Head` that stands alone, as in the rung `attention`."""


class FusedDropout(Dropout):
    """`Dropout` that draws its random bits faster."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return drop(x, self.p) if self.training else x


def _joined(parts: Sequence[Tensor]) -> nn.Parameter:
    """The rows of several weights as one weight, gradients included."""
    whole = nn.Parameter(torch.cat([part.detach() for part in parts]), requires_grad=parts[0].requires_grad)
    gradients = [part.grad for part in parts if part.grad is not None]
    whole.grad = torch.cat(gradients) if len(gradients) == len(parts) else None
    return whole


def _parted(whole: Tensor, count: int) -> list[nn.Parameter]:
    """The inverse of `_joined`: equal shares of the rows."""
    parts = [nn.Parameter(rows.clone(), whole.requires_grad) for rows in whole.detach().chunk(count)]
    if whole.grad is not None:
        for part, rows in zip(parts, whole.grad.chunk(count), strict=True):
            part.grad = rows.clone()
    return parts


def _qkv(heads: Sequence[Head]) -> nn.Linear:
    layers = [*(h.query for h in heads), *(h.key for h in heads), *(h.value for h in heads)]
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        qkv = nn.Linear(layers[0].in_features, sum(layer.out_features for layer in layers), bias=False)
    qkv.weight = _joined([layer.weight for layer in layers])
    return qkv


def _fuse_head(head: Head) -> nn.Module:
    return FusedHead(head.config, 1, _qkv([head]), nn.Identity(), nn.Identity())


def _fuse_heads(attention: MultiHeadAttention) -> nn.Module:
    heads = [head for head in attention.heads if isinstance(head, Head)]
    return FusedAttention(heads[0].config, len(heads), _qkv(heads), fuse(attention.project), fuse(attention.dropout))


def _give_weights(heads: Iterable[Any], fused: FusedAttention) -> None:
    weights = _parted(fused.qkv.weight, 3 * fused.n_head)
    for i, head in enumerate(heads):
        head.query.weight, head.key.weight, head.value.weight = weights[i :: fused.n_head]


def _unfuse_head(fused: FusedAttention) -> nn.Module:
    with torch.device("meta"):
        head = Head(fused.config, fused.qkv.out_features // 3)
    _give_weights([head], fused)
    return head


def _unfuse_heads(fused: FusedAttention) -> nn.Module:
    with torch.device("meta"):
        attention = MultiHeadAttention(fused.config, project=nn.Identity())
    _give_weights(attention.heads, fused)
    attention.project = unfuse(fused.project)
    return attention


def _other_norm(norm: LayerNorm | nn.LayerNorm, other: Callable[..., LayerNorm | nn.LayerNorm]) -> nn.Module:
    made = other(norm.weight.size(0), eps=norm.eps)
    made.weight, made.bias = norm.weight, norm.bias
    return made


_TO_FUSED: dict[type[nn.Module], Callable[..., nn.Module]] = {
    Head: _fuse_head,
    MultiHeadAttention: _fuse_heads,
    LayerNorm: lambda norm: _other_norm(norm, nn.LayerNorm),
    Dropout: lambda dropout: FusedDropout(dropout.p),
}
_TO_WRITTEN_OUT: dict[type[nn.Module], Callable[..., nn.Module]] = {
    FusedHead: _unfuse_head,
    FusedAttention: _unfuse_heads,
    nn.LayerNorm: lambda norm: _other_norm(norm, LayerNorm),
    FusedDropout: lambda dropout: Dropout(dropout.p),
}


def exchange(module: nn.Module, makers: Mapping[type[nn.Module], Callable[..., nn.Module]]) -> nn.Module:
    """Puts what its type's maker makes of it in place of each part that has one; of the rest, in place of their parts."""
    if make := makers.get(type(module)):
        return make(module).train(module.training)
    for name, child in module.named_children():
        setattr(module, name, exchange(child, makers))
    return module


def fuse(model: nn.Module) -> nn.Module:
    """Torch's kernels in place of the written-out parts, in place: the same function of the same numbers.

    Gradients come along. Build the optimizer afterwards: attention's weights are new parameters.
    """
    return exchange(model, _TO_FUSED)


def unfuse(model: nn.Module) -> nn.Module:
    """The exact inverse of `fuse`, in place: weights and gradients bit for bit, under the written-out names."""
    return exchange(model, _TO_WRITTEN_OUT)


def fused_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, T, V), (B, T) -> (): torch's kernel for what `training.loss.cross_entropy` writes out."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
