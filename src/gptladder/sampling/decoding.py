"""Decoding with caches: one new token a step, by a model rearranged for that.

`for_writing` rearranges the model, `generate_cached` is the loop. Weights lie as rows that are summed (`RowSum`), and in
bfloat16 the keys and values lie as a CPU reads them fastest (`BFloat16Cache`). The text stays the same.

B batch, T time (S keys when they differ), H heads, D head size, C channels in, N channels out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.cache import Caches, KeyValueCache
from ..model.fusing import FusedAttention, fuse, replace_modules
from ..model.kernels import attend
from ..model.modern_parts import CappedLinear, ModernAttention, StackedLinear
from .choose import Sampling, choose_next
from .generate import fit_context, generate

FEW_TEXTS = 8  # up to 8 side by side, attention is faster in float32 than in bfloat16
ROOM = 32  # tokens by which the cache of many texts grows


class RowSum(nn.Module):
    """A linear layer for one token at a time: y = x_1 w_1 + ... + x_C w_C, a weighted sum of rows, one row per input.

    For one token each weight is used once, so the time goes into reading the weights. On a CPU torch's embedding_bag
    computes the same sum and reads more than twice as fast as torch's matrix-vector product. Each thread has its own bag.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Rearrange `weight` (N, C) and `bias` (N,) of a linear layer."""
        super().__init__()
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        # A bias is the weight of one more input, which is always 1.
        self.ones = [] if self.bias is None else [self.bias.new_ones(1)]
        columns = self.weight if self.bias is None else torch.cat([self.weight, self.bias.unsqueeze(1)], dim=1)
        N, C = columns.shape
        self.bags = torch.get_num_threads() if N % torch.get_num_threads() == 0 else 1
        parts = [part.t() for part in columns.chunk(self.bags)]  # (C, N / bags): each bag makes a part of the outputs
        self.rows = torch.cat(parts).contiguous()  # (bags * C, N / bags)
        self.every_row = torch.arange(self.bags * C)
        self.first_rows = torch.arange(self.bags) * C

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, N). Several tokens at once are a matrix product, which is faster for them."""
        if x.size(0) * x.size(1) > 1:
            return F.linear(x, self.weight, self.bias)
        inputs = torch.cat([x.view(-1), *self.ones] * self.bags)
        # F.embedding_bag(..., mode="sum", per_sample_weights=inputs) calls this after checking its arguments.
        return torch.embedding_bag(self.rows, self.every_row, self.first_rows, False, 0, False, inputs)[0].view(1, 1, -1)


class BFloat16Cache(KeyValueCache):
    """The keys and values of a model that computes in bfloat16, laid out for a CPU.

    For few texts they are kept in float32, in which a CPU attends faster. For many, reading them takes the time, so they
    stay in bfloat16, half as big. oneDNN, torch's backend for bfloat16 products, copies its inputs unless they are
    contiguous; so the tensors are only a little longer than the texts and grow with them, which keeps them contiguous.
    """

    memory: Tensor | None = None  # (2, B * H * block_size * D); of many texts, keys and values are the beginning of each half

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, T, D) each -> (B, H, S, D) each: all keys and values so far, as `KeyValueCache` does."""
        end = self.length + keys.size(-2)
        if len(keys) > FEW_TEXTS:
            if self.length == 0 or end > self.keys.size(-2):
                self._grow(keys, min(self.block_size, math.ceil(end / ROOM) * ROOM))
        elif self.keys.dim() == 1:
            B, H, _, D = keys.shape
            precise = torch.promote_types(keys.dtype, torch.float32)
            self.keys, self.values = keys.new_empty(2, B, H, self.block_size, D, dtype=precise)
        return super().append(keys, values)

    def attend(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, H, T, D) three times, of the new tokens -> (B, H, T, D), as `KeyValueCache` does."""
        keys, values = self.append(keys, values)
        if len(q) > FEW_TEXTS and q.size(-2) == 1:
            return attend_one_query(q, self.keys, self.values, self.length)
        return attend(q.to(keys.dtype), keys, values).to(q.dtype)

    def _grow(self, like: Tensor, tokens: int) -> None:
        """Make the tensors `tokens` long, in the dtype of `like`. They keep what they hold; zeros follow."""
        B, H, _, D = like.shape
        if self.memory is None:
            self.memory = like.new_empty(2, B * H * self.block_size * D)
        held = [part[..., : self.length, :].clone() for part in (self.keys, self.values) if self.length]
        self.keys, self.values = (self.memory[i, : B * H * tokens * D].view(B, H, tokens, D).zero_() for i in range(2))
        if held:
            self.keys[:, :, : self.length], self.values[:, :, : self.length] = held


def attend_one_query(q: Tensor, keys: Tensor, values: Tensor, seen: int) -> Tensor:
    """(B, H, 1, D), (B, H, S, D) twice -> (B, H, 1, D): one token's attention to the first `seen` keys.

    The other keys get no weight, but they and their values must be finite. For many texts in bfloat16 on a CPU this takes
    an eighth of the time of torch's own attention.
    """
    batch, heads = q.shape[:2]
    q, keys, values = (part.flatten(0, 1) for part in (q, keys, values))
    scores = (q @ keys.mT).div_(math.sqrt(q.size(-1)))  # (B * H, 1, S)
    scores[..., seen:] = float("-inf")
    return (scores.softmax(dim=-1) @ values).unflatten(0, (batch, heads))


def for_writing(model: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Rearrange a model for decoding, in place: the same function, computed in `dtype`. It cannot be trained from then on."""
    model = fuse(model).eval()
    if not Caches(model, block_size=1):
        return model  # such as a bigram, which is read as a whole at each step; there is little to read
    model = model.to(dtype)
    if next(model.parameters()).device.type != "cpu":
        return model
    for part in model.modules():
        if dtype == torch.bfloat16 and isinstance(part, FusedAttention | ModernAttention):
            vars(part)["new_cache"] = BFloat16Cache
    return replace_modules(
        model,
        {
            nn.Linear: lambda linear: RowSum(linear.weight, linear.bias),
            StackedLinear: lambda linears: RowSum(linears.weight.flatten(0, 1), None),
            CappedLinear: lambda linear: nn.Sequential(RowSum(linear.weight, None), linear.cap),
        },
    )


@torch.inference_mode()
def generate_cached(
    model: nn.Module, prompt: Tensor, count: int, block_size: int, sampling: Sampling, generator: torch.Generator | None = None
) -> Iterator[Tensor]:
    """(B, T) -> `count` times (B,): the tokens that `generate` yields, faster if the model's attention is fused.

    A model without fused attention, such as a bigram, reads its whole context at each step, as in `generate`.
    """
    caches = Caches(model, block_size)
    if not caches:
        yield from generate(model, prompt, count, block_size, sampling, generator)
        return
    every_position = torch.arange(block_size, device=prompt.device)
    context, known = prompt, 0  # `known` tokens of the context are in the caches
    for _ in range(count):
        kept = fit_context(context, block_size)
        if kept.size(1) < context.size(1):
            context, known = kept, 0
            caches.clear()
        positions = every_position[known : context.size(1)]
        with caches:
            logits = model(context[:, known:], positions)[:, -1].float()
        known = context.size(1)
        token = choose_next(logits, sampling, generator)
        yield token
        context = torch.cat([context, token.unsqueeze(1)], dim=1)
