"""The same model, faster: `fuse` replaces the written-out parts, `unfuse` puts them back.

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
    """`MultiHeadAttention` as one product for all queries, keys and values and one `attend`."""

    def __init__(
        self,
        config: GPTConfig,
        n_head: int,
        qkv: nn.Linear,
        project: nn.Module,
        dropout: nn.Module,
    ) -> None:
        """Keep these parts.

        `qkv` (C -> 3 * H * D) holds the rows of all query weights, head after head, then those of
        the keys, then those of the values.
        """
        super().__init__()
        self.config, self.n_head = config, n_head
        self.qkv = qkv
        self.project, self.dropout = project, dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C).

        `self.cache` is None or has `attend`. With a cache x holds the new tokens only: one new
        token on 3 old ones attends to all 4. In training `attend` drops attention weights with
        probability `self.config.dropout`.
        """
        B, T, _ = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.n_head, -1)  # (B, T, 3, H, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()  # (B, H, T, D) each
        if self.cache is None:
            out = attend(q, k, v, self.config.dropout if self.training else 0.0)
        else:
            out = self.cache.attend(q, k, v)  # to all tokens so far
        found = out.transpose(1, 2).flatten(2)  # (B, H, T, D) -> (B, T, H * D)
        return self.dropout(self.project(found))

    def new_cache(self, block_size: int) -> KeyValueCache:
        """Return an empty cache for the keys and values of all heads."""
        return KeyValueCache(block_size)


class FusedHead(FusedAttention):
    """A `Head` that stands alone, as in the rung `attention`."""


class FusedDropout(Dropout):
    """`Dropout` that draws its random bits faster."""

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...), of any shape."""
        return drop(x, self.p) if self.training else x


def _concatenate(parts: Sequence[Tensor]) -> nn.Parameter:
    """Return the rows of several weights as one weight, gradients included."""
    rows = torch.cat([part.detach() for part in parts])
    whole = nn.Parameter(rows, requires_grad=parts[0].requires_grad)
    gradients = [part.grad for part in parts if part.grad is not None]
    whole.grad = torch.cat(gradients) if len(gradients) == len(parts) else None
    return whole


def _split(whole: Tensor, count: int) -> list[nn.Parameter]:
    """Return equal shares of the rows as weights of their own: the inverse of `_concatenate`."""
    shares = whole.detach().chunk(count)
    parts = [nn.Parameter(rows.clone(), whole.requires_grad) for rows in shares]
    if whole.grad is not None:
        for part, rows in zip(parts, whole.grad.chunk(count), strict=True):
            part.grad = rows.clone()
    return parts


def _qkv(heads: Sequence[Head]) -> nn.Linear:
    layers = [*(h.query for h in heads), *(h.key for h in heads), *(h.value for h in heads)]
    out_features = sum(layer.out_features for layer in layers)
    with torch.device("meta"):  # its weights are replaced at once: no memory, no random numbers
        qkv = nn.Linear(layers[0].in_features, out_features, bias=False)
    qkv.weight = _concatenate([layer.weight for layer in layers])
    return qkv


def _fuse_head(head: Head) -> nn.Module:
    return FusedHead(head.config, 1, _qkv([head]), nn.Identity(), nn.Identity())


def _fuse_heads(attention: MultiHeadAttention) -> nn.Module:
    heads = [head for head in attention.heads if isinstance(head, Head)]
    project, dropout = fuse(attention.project), fuse(attention.dropout)
    return FusedAttention(heads[0].config, len(heads), _qkv(heads), project, dropout)


def _give_weights(heads: Iterable[Any], fused: FusedAttention) -> None:
    weights = _split(fused.qkv.weight, 3 * fused.n_head)
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


def _fuse_norm(norm: LayerNorm) -> nn.Module:
    fused = nn.LayerNorm(norm.weight.size(0), eps=norm.eps)
    fused.weight, fused.bias = norm.weight, norm.bias
    return fused


def _unfuse_norm(fused: nn.LayerNorm) -> nn.Module:
    norm = LayerNorm(fused.weight.size(0), eps=fused.eps)
    norm.weight, norm.bias = fused.weight, fused.bias
    return norm


Makers = Mapping[type[nn.Module], Callable[..., nn.Module]]  # a type: makes its replacement

_TO_FUSED: Makers = {
    Head: _fuse_head,
    MultiHeadAttention: _fuse_heads,
    LayerNorm: _fuse_norm,
    Dropout: lambda dropout: FusedDropout(dropout.p),
}
_TO_WRITTEN_OUT: Makers = {
    FusedHead: _unfuse_head,
    FusedAttention: _unfuse_heads,
    nn.LayerNorm: _unfuse_norm,
    FusedDropout: lambda dropout: Dropout(dropout.p),
}


def replace_modules(module: nn.Module, makers: Makers) -> nn.Module:
    """Replace every submodule whose type is in `makers` by what that entry makes from it.

    Descends into the others, in place. Returns the module, or its own replacement.
    """
    if make := makers.get(type(module)):
        return make(module).train(module.training)
    for name, child in module.named_children():
        setattr(module, name, replace_modules(child, makers))
    return module


def fuse(model: nn.Module) -> nn.Module:
    """Replace the written-out parts by fast ones, in place: the same function of the same weights.

    Gradients come along. Build the optimizer afterwards: attention's weights are new parameters.
    """
    return replace_modules(model, _TO_FUSED)


def unfuse(model: nn.Module) -> nn.Module:
    """Put the written-out parts back, in place: the exact inverse of `fuse`.

    Weights and gradients are the same bit for bit, under their written-out names.
    """
    return replace_modules(model, _TO_WRITTEN_OUT)


def fused_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, T, V), (B, T) -> (): what `cross_entropy` writes out, as one call to torch."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
