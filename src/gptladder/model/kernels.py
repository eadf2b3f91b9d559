"""Attention and dropout as one call each, and what is faster than torch's own kernels on a CPU.

B batch, T time (S keys when they differ), H heads, D head size. LOG.md has the measurements: in training on two cores
torch's fused attention takes up to five times as long as the products it stands for, in bfloat16 always over twice.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 2**20  # attention weights worked on at a time, where all of them together would not fit the processor's caches
WHOLE = 2**23  # bytes of attention weights up to which they are worked on all at once, and kept for the way back


def survivors(like: Tensor, rate: float) -> Tensor:
    """Of the shape and dtype of `like` (on a CPU), each 1 with probability 1 - rate (to 1/65,536), else 0.

    Sixteen random bits an element, drawn four elements at a time: several times faster than a random float each.
    """
    drawn = torch.empty(-(-like.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = drawn.view(torch.int16)[: like.numel()].view(like.shape)
    dropped = min(round(rate * 2**16), 2**16 - 1)  # of the 65,536 values; all of them would not fit the comparison
    return torch.ge(bits, dropped - 2**15, out=torch.empty_like(like))  # as numbers: products with truth values are slow


def drop(x: Tensor, rate: float) -> Tensor:
    """Dropout: each number becomes 0 with probability `rate`, the others grow by 1/(1 - rate). Any shape to the same."""
    if x.device.type != "cpu" or rate == 0:
        return F.dropout(x, rate)
    return (x * survivors(x, rate)).mul_(1 / (1 - rate))


def rms_norm(x: Tensor) -> Tensor:
    """(..., C) -> (..., C), each row to a mean square of 1: over three times as fast as torch's on a CPU, with its gradient."""
    return RMSScaling.apply(x) if x.device.type == "cpu" else F.rms_norm(x, x.shape[-1:])  # type: ignore[no-untyped-call]


class RMSScaling(torch.autograd.Function):
    """y = x / sqrt(mean(x^2) + eps) over the last dimension, in few passes over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        """(..., C) -> (..., C). Sums are at least float32."""
        precise = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, keepdim=True, dim=-1, dtype=precise)
        scale = (length.square() / x.size(-1) + torch.finfo(precise).eps).rsqrt().to(x.dtype)  # (..., 1)
        y = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ANN401
        """The gradient of x: what is along y was scaled away, the rest is scaled as x was."""
        y, scale = ctx.saved_tensors
        along = (grad * y).mean(keepdim=True, dim=-1)
        return torch.addcmul(grad, y, along, value=-1).mul_(scale)


def _future(tokens: int, keys: int, device: torch.device) -> Tensor:
    """(T, S), true where a key lies in a query's future: the queries are the last tokens, and the last keys are theirs."""
    return torch.ones(tokens, keys, device=device, dtype=torch.bool).triu(keys - tokens + 1)


def attend(q: Tensor, k: Tensor, v: Tensor, rate: float = 0.0) -> Tensor:
    """Causal softmax(q k^T / sqrt(D)) v: (B, H, T, D), (B, H, S, D) twice -> (B, H, T, D).

    The queries belong to the last T of S keys; one new token on 3 old sees all 4. Weights are dropped at `rate`.
    """
    if q.dtype != k.dtype:  # a cache may hold more precise numbers than the model computes
        return attend(q.to(k.dtype), k, v, rate).to(q.dtype)
    length, keys = q.size(-2), k.size(-2)
    if q.device.type != "cpu" or (length < keys and not torch.is_grad_enabled()):
        # is_causal aligns the first query with the first key, so it is right only where they are equally many
        allowed = ~_future(length, keys, q.device) if 1 < length < keys else None
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=rate, is_causal=length == keys)
    mask = q.new_zeros(length, keys).masked_fill_(_future(length, keys, q.device), float("-inf"))
    batch, heads = q.shape[:2]
    q, k, v = (part.flatten(0, 1) for part in (q, k, v))  # (B * H, T or S, D)
    in_tiles = q.size(0) * mask.nbytes > WHOLE
    out = _tiled(q, k, v, mask, rate) if in_tiles else drop(_weights(q, k, mask), rate) @ v
    return out.unflatten(0, (batch, heads))


def _weights(q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    return torch.baddbmm(mask, q, k.mT, alpha=1 / math.sqrt(q.size(-1))).softmax(dim=-1)


def _tiled(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, rate: float) -> Tensor:
    return TiledAttention.apply(q, k, v, mask, rate)  # type: ignore[no-untyped-call]


def keep_tiles_eager() -> None:
    """To be called before a model is compiled: unrolled, the loop over tiles would take minutes to compile."""
    global _tiled  # no decorator above: it would load torch's compiler, two seconds, for everybody
    _tiled = torch.compiler.disable(_tiled)


class TiledAttention(torch.autograd.Function):
    """Attention over a few heads at a time, its weights made anew on the way back (Dao et al. 2022).

    So they stay in the processor's caches and are never kept: (B * H, T, S) numbers that are written once would be
    read from memory six times.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, rate: float) -> Tensor:  # noqa: ANN401
        """(B * H, T, D), (B * H, S, D) twice, (T, S) -> (B * H, T, D)."""
        rows = max(1, TILE // mask.numel())
        out, kept = torch.empty_like(q), []
        for i in range(0, q.size(0), rows):
            tile = slice(i, i + rows)
            weights = _weights(q[tile], k[tile], mask)
            if rate > 0:
                survived = survivors(weights, rate)
                weights = weights.mul_(survived).mul_(1 / (1 - rate))
                kept.append(survived.bool())
            out[tile] = weights @ v[tile]
        ctx.save_for_backward(q, k, v, mask, out, *kept)
        ctx.rows, ctx.rate = rows, rate
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # noqa: ANN401
        """The gradients of q, k and v, of the shapes of q, k and v."""
        q, k, v, mask, out, *kept = ctx.saved_tensors
        scale = 1 / math.sqrt(q.size(-1))
        # softmax passes back w * (g - sum of w * g over its row); that sum is grad . out, whatever was dropped
        row_sums = (grad * out).sum(keepdim=True, dim=-1)  # (B * H, T, 1)
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for number, i in enumerate(range(0, q.size(0), ctx.rows)):
            tile = slice(i, i + ctx.rows)
            weights = _weights(q[tile], k[tile], mask)
            grad_weights, dropped = grad[tile] @ v[tile].mT, weights
            if ctx.rate > 0:
                survived = kept[number].to(weights.dtype)
                dropped = (weights * survived).mul_(1 / (1 - ctx.rate))
                grad_weights = grad_weights.mul_(survived).mul_(1 / (1 - ctx.rate))
            grad_v[tile] = dropped.mT @ grad[tile]
            grad_scores = grad_weights.sub_(row_sums[tile]).mul_(weights).mul_(scale)
            grad_q[tile] = grad_scores @ k[tile]
            grad_k[tile] = grad_scores.mT @ q[tile]
        return grad_q, grad_k, grad_v, None, None
