"""The same model, faster: torch's kernels in place of the written-out parts, and a cache of keys and values.

B batch, T time (S keys when they differ), C channels, H heads, D head size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Head, MultiHeadAttention
from .block import LayerNorm
from .config import GPTConfig
from .dropout import Dropout


class KeyValueCache:
    """The keys and values of the tokens seen so far, so that a new token costs one token's work."""

    def __init__(self, batch_size: int, n_head: int, block_size: int, head_size: int, like: Tensor) -> None:
        """Room for block_size tokens, with the dtype and device of `like`."""
        self.keys = like.new_empty(batch_size, n_head, block_size, head_size)
        self.values = torch.empty_like(self.keys)
        self.length = 0  # tokens held; set to 0 to forget them

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, T, D) each -> (B, H, S, D) each: all so far, the new ones last; 3 tokens held and 1 new give S = 4.

        ValueError when they do not fit: the sampler clears the cache before that.
        """
        end = self.length + keys.size(-2)
        if end > self.keys.size(-2):
            raise ValueError(f"{end} tokens do not fit a cache of {self.keys.size(-2)}; clear it and give the last ones")
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class FusedAttention(nn.Module):
    """`MultiHeadAttention` with one product for all queries, keys and values and torch's attention kernel."""

    def __init__(self, config: GPTConfig, n_head: int, qkv: nn.Parameter, project: nn.Module, dropout: nn.Module) -> None:
        """`qkv` (3 * H * D, C): the rows of all query weights, head after head, then the keys', then the values'."""
        super().__init__()
        self.config, self.n_head = config, n_head
        self.qkv = qkv
        self.project = project
        self.dropout = dropout
        self.cache: KeyValueCache | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C). With a cache, x holds the new tokens only: one new on 3 old is a mask of shape (1, 4)."""
        B, T, _ = x.shape
        qkv = F.linear(x, self.qkv).view(B, T, 3, self.n_head, -1)  # (B, T, 3, H, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        mask = None
        if self.cache is not None:
            k, v = self.cache.append(k, v)  # (B, H, S, D)
            # is_causal would align the first query with the first key; new queries belong to the last keys
            mask = torch.ones(T, k.size(-2), dtype=torch.bool, device=x.device).tril(k.size(-2) - T)
        rate = self.config.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=rate, is_causal=mask is None)
        return self.dropout(self.project(out.transpose(1, 2).flatten(2)))  # (B, H, T, D) -> (B, T, H * D)


class FusedHead(FusedAttention):
    """A `Head` that stands alone, as in the rung `attention`."""


def _joined(parts: Sequence[Tensor]) -> nn.Parameter:
    """The rows of several weights as one weight, gradients included."""
    whole = nn.Parameter(torch.cat([part.detach() for part in parts]), requires_grad=parts[0].requires_grad)
    gradients = [part.grad for part in parts if part.grad is not None]
    whole.grad = torch.cat(gradients) if len(gradients) == len(parts) else None
    return whole


def _parted(whole: nn.Parameter, count: int) -> list[nn.Parameter]:
    """The inverse of `_joined`: equal shares of the rows."""
    parts = [nn.Parameter(rows.clone(), whole.requires_grad) for rows in whole.detach().chunk(count)]
    if whole.grad is not None:
        for part, rows in zip(parts, whole.grad.chunk(count), strict=True):
            part.grad = rows.clone()
    return parts


def _weights(heads: Sequence[Head]) -> nn.Parameter:
    layers = [*(h.query for h in heads), *(h.key for h in heads), *(h.value for h in heads)]
    return _joined([layer.weight for layer in layers])


def _fuse_head(head: Head) -> nn.Module:
    return FusedHead(head.config, 1, _weights([head]), nn.Identity(), nn.Identity())


def _fuse_heads(attention: MultiHeadAttention) -> nn.Module:
    heads = [head for head in attention.heads if isinstance(head, Head)]
    return FusedAttention(attention.config, len(heads), _weights(heads), fuse(attention.project), fuse(attention.dropout))


def _give_weights(heads: Iterable[Any], fused: FusedAttention) -> None:
    weights = _parted(fused.qkv, 3 * fused.n_head)
    for i, head in enumerate(heads):
        head.query.weight, head.key.weight, head.value.weight = weights[i :: fused.n_head]


def _unfuse_head(fused: FusedAttention) -> nn.Module:
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        head = Head(fused.config, fused.qkv.size(0) // 3)
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
    Dropout: lambda dropout: nn.Dropout(dropout.p),
}
_TO_WRITTEN_OUT: dict[type[nn.Module], Callable[..., nn.Module]] = {
    FusedHead: _unfuse_head,
    FusedAttention: _unfuse_heads,
    nn.LayerNorm: lambda norm: _other_norm(norm, LayerNorm),
    nn.Dropout: lambda dropout: Dropout(dropout.p),
}


def _exchange(module: nn.Module, makers: dict[type[nn.Module], Callable[..., nn.Module]]) -> nn.Module:
    if make := makers.get(type(module)):
        return make(module).train(module.training)
    for name, child in module.named_children():
        setattr(module, name, _exchange(child, makers))
    return module


def fuse(model: nn.Module) -> nn.Module:
    """Torch's kernels in place of the written-out parts, in place: the same function of the same numbers.

    Gradients come along. Build the optimizer afterwards: attention's weights are new parameters.
    """
    return _exchange(model, _TO_FUSED)


def unfuse(model: nn.Module) -> nn.Module:
    """The exact inverse of `fuse`, in place: weights and gradients bit for bit, under the written-out names."""
    return _exchange(model, _TO_WRITTEN_OUT)


def fused_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, T, V), (B, T) -> (): torch's kernel for what `training.loss.cross_entropy` writes out."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def _attentions(model: nn.Module) -> list[FusedAttention]:
    return [module for module in model.modules() if isinstance(module, FusedAttention)]


def new_caches(model: nn.Module, batch_size: int, block_size: int) -> list[KeyValueCache]:
    """An empty cache for each fused attention of the model; none for a model without."""
    caches = []
    for attention in _attentions(model):
        head_size = attention.qkv.size(0) // (3 * attention.n_head)
        caches.append(KeyValueCache(batch_size, attention.n_head, block_size, head_size, like=attention.qkv))
    return caches


@contextmanager
def lent(model: nn.Module, caches: Sequence[KeyValueCache]) -> Iterator[None]:
    """Attaches the caches for as long as the block lasts; afterwards the model is as it was, whatever happened."""
    attentions = _attentions(model)
    try:
        for attention, cache in zip(attentions, caches, strict=True):
            attention.cache = cache
        yield
    finally:
        for attention in attentions:
            attention.cache = None
