"""Attention and dropout as one call each, made for training on a CPU.

B batch, T time (S keys when they differ), H heads, D head size.

Why not torch's own? Its fused attention is made for GPUs. In training on two CPU cores it takes up
to five times as long as the products that it stands for, and over twice as long in bfloat16.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Attention weights of up to this many bytes are computed at once and kept for the backward pass.
BYTES_AT_ONCE = 2**23
# Beyond that they are computed in tiles of this many weights, which fit the processor's caches.
TILE = 2**20
Context = Any  # what torch hands from a forward to its backward; it has no public type


def keep_mask(like: Tensor, rate: float) -> Tensor:
    """Return numbers of the shape and dtype of `like`: 0 with probability `rate`, otherwise 1.

    Each needs 16 random bits (so `rate` is rounded to 1/65,536), and they are drawn four at a time:
    several times faster than drawing a random float each. `like` must be on a CPU.
    """
    drawn = torch.empty(-(-like.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = drawn.view(torch.int16)[: like.numel()].view(like.shape)
    dropped = min(round(rate * 2**16), 2**16 - 1)  # how many of the 65,536 values mean 0: never all
    # The result is written as numbers, since multiplying by truth values would be slow.
    return torch.ge(bits, dropped - 2**15, out=torch.empty_like(like))


def drop(x: Tensor, rate: float) -> Tensor:
    """Dropout, (...) -> (...), of any shape.

    Each number becomes 0 with probability `rate`; the others are divided by 1 - rate.
    """
    if x.device.type != "cpu" or rate == 0:
        return F.dropout(x, rate)
    return (x * keep_mask(x, rate)).mul_(1 / (1 - rate))


def future_of(tokens: int, keys: int, device: torch.device) -> Tensor:
    """Return the mask (T, S): true where a key lies in a query's future.

    The queries belong to the last T of the S keys.
    """
    return torch.ones(tokens, keys, dtype=torch.bool, device=device).triu(keys - tokens + 1)


def attend(q: Tensor, k: Tensor, v: Tensor, rate: float = 0.0) -> Tensor:
    """Causal softmax(q k^T / sqrt(D)) v: (B, H, T, D), (B, H, S, D) twice -> (B, H, T, D).

    The queries belong to the last T of S keys: one new token on 3 old ones sees all 4. Attention
    weights are dropped with probability `rate`.
    """
    tokens, keys = q.size(-2), k.size(-2)
    if q.device.type != "cpu" or (tokens < keys and not torch.is_grad_enabled()):
        # torch's own. Its is_causal lines the first query up with the first key, so it is right
        # only for as many queries as keys; a single new token sees all keys and needs no mask.
        allowed = ~future_of(tokens, keys, q.device) if 1 < tokens < keys else None
        causal = tokens == keys
        return F.scaled_dot_product_attention(q, k, v, allowed, rate, causal)
    future = future_of(tokens, keys, q.device)
    mask = q.new_zeros(tokens, keys).masked_fill_(future, float("-inf"))
    batch, heads = q.shape[:2]
    q, k, v = (part.flatten(0, 1) for part in (q, k, v))  # (B * H, T or S, D)
    if q.size(0) * mask.nbytes > BYTES_AT_ONCE:
        out = attend_in_tiles(q, k, v, mask, rate)
    else:
        out = drop(attention_weights(q, k, mask), rate) @ v
    return out.unflatten(0, (batch, heads))


def attention_weights(q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    """(B * H, T, D), (B * H, S, D) and what is added to the scores, (T, S) -> (B * H, T, S)."""
    return torch.baddbmm(mask, q, k.mT, alpha=1 / math.sqrt(q.size(-1))).softmax(dim=-1)


def attend_in_tiles(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, rate: float) -> Tensor:
    """(B * H, T, D), (B * H, S, D) twice and (T, S) -> (B * H, T, D): a few heads at a time."""
    return TiledAttention.apply(q, k, v, mask, rate)  # type: ignore[no-untyped-call]


class TiledAttention(torch.autograd.Function):
    """Attention for a few heads at a time, after Dao et al. 2022.

    The weights of a tile, (rows, T, S), stay in the processor's caches. They are not kept for the
    backward pass but computed a second time there: kept, they would be read from memory six times.
    """

    @staticmethod
    def forward(ctx: Context, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, rate: float) -> Tensor:
        """(B * H, T, D), (B * H, S, D) twice, (T, S) -> (B * H, T, D)."""
        rows = max(1, TILE // mask.numel())
        out, kept = torch.empty_like(q), []
        for i in range(0, q.size(0), rows):
            tile = slice(i, i + rows)
            weights = attention_weights(q[tile], k[tile], mask)
            if rate > 0:
                keep = keep_mask(weights, rate)
                weights = weights.mul_(keep).mul_(1 / (1 - rate))
                kept.append(keep.bool())
            out[tile] = weights @ v[tile]
        ctx.save_for_backward(q, k, v, mask, out, *kept)
        ctx.rows, ctx.rate = rows, rate
        return out

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Return the gradients of q, k and v, in their shapes."""
        q, k, v, mask, out, *kept = ctx.saved_tensors
        scale = 1 / math.sqrt(q.size(-1))
        # A row's scores have the gradient w * (g - sum(w * g)): w are the row's weights, g their
        # gradients. That sum equals grad . out, whatever was dropped.
        row_sums = (grad * out).sum(dim=-1, keepdim=True)  # (B * H, T, 1)
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for number, i in enumerate(range(0, q.size(0), ctx.rows)):
            tile = slice(i, i + ctx.rows)
            weights = attention_weights(q[tile], k[tile], mask)
            grad_weights, dropped = grad[tile] @ v[tile].mT, weights
            if ctx.rate > 0:
                keep = kept[number].to(weights.dtype)
                dropped = (weights * keep).mul_(1 / (1 - ctx.rate))
                grad_weights = grad_weights.mul_(keep).mul_(1 / (1 - ctx.rate))
            grad_v[tile] = dropped.mT @ grad[tile]
            grad_scores = grad_weights.sub_(row_sums[tile]).mul_(weights).mul_(scale)
            grad_q[tile] = grad_scores @ k[tile]
            grad_k[tile] = grad_scores.mT @ q[tile]
        return grad_q, grad_k, grad_v, None, None
