"""Writing with a cache: the model laid out for the one token that each step brings, and the loop over such steps.

B batch, T time (S keys when they differ), H heads, D head size, C channels in, N channels out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.cache import FEW_TEXTS, Caches, KeyValueCache
from ..model.fusing import FusedAttention, exchange, fuse
from ..model.modern_parts import CappedLinear, ModernAttention, StackedLinear
from .choose import Sampling, choose_next
from .generate import fit_context, generate

ROOM = 32  # tokens by which the memory of many texts grows


class RowSum(nn.Module):
    """A linear layer for one token at a time: y = x_1 w_1 + ... + x_C w_C, a weighted sum of rows, one row per input.

    One token needs each weight once, so reading them is all the time there is. On a CPU torch's bag of embeddings, the
    same sum, reads more than twice as fast as its product of a matrix and a vector; each thread reads a bag of its own.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """`weight` (N, C) and `bias` (N,) as a linear layer has them."""
        super().__init__()
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        # A bias is the weight of one more input, which is always 1.
        self.ones = [] if self.bias is None else [self.bias.new_ones(1)]
        columns = self.weight if self.bias is None else torch.cat([self.weight, self.bias.unsqueeze(1)], dim=1)
        N, C = columns.shape
        self.bags = torch.get_num_threads() if N % torch.get_num_threads() == 0 else 1
        parts = [part.t() for part in columns.chunk(self.bags)]  # a part of the outputs each: (C, N / bags)
        self.rows = torch.cat(parts).contiguous()  # (bags * C, N / bags)
        self.every_row = torch.arange(self.bags * C)
        self.first_rows = torch.arange(self.bags) * C

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, N). Several tokens at once are a matrix product."""
        if x.size(0) * x.size(1) > 1:
            return F.linear(x, self.weight, self.bias)
        inputs = torch.cat([x.view(-1), *self.ones] * self.bags)
        # what F.embedding_bag(..., mode="sum", per_sample_weights=inputs) calls once it has checked its arguments
        return torch.embedding_bag(self.rows, self.every_row, self.first_rows, False, 0, False, inputs)[0].view(1, 1, -1)


class CacheForMany(KeyValueCache):
    """The keys and values of many texts in bfloat16. The room grows with them, so that one text's lie right behind another's.

    Only so does oneDNN, which multiplies bfloat16 for torch, take them as they lie; where there are gaps it copies them all.
    """

    memory: Tensor | None = None  # (2, B * H * block_size * D): keys and values are the first part of each

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """As any cache."""
        end = self.length + keys.size(-2)
        if len(keys) > FEW_TEXTS and (self.length == 0 or end > self.keys.size(-2)):
            self._lay_out(keys, min(self.block_size, math.ceil(end / ROOM) * ROOM))
        return super().append(keys, values)

    def attend(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """As any cache."""
        if len(q) <= FEW_TEXTS or q.size(-2) > 1:
            return super().attend(q, keys, values)
        self.append(keys, values)
        return attend_once(q, self.keys, self.values, self.length)

    def _lay_out(self, like: Tensor, tokens: int) -> None:
        """Room for so many tokens of the kind of `like`. Those held stay, and zeros follow them."""
        B, H, _, D = like.shape
        if self.memory is None:
            self.memory = like.new_empty(2, B * H * self.block_size * D)
        held = [part[..., : self.length, :].clone() for part in (self.keys, self.values) if self.length]
        self.keys, self.values = (self.memory[i, : B * H * tokens * D].view(B, H, tokens, D).zero_() for i in range(2))
        if held:
            self.keys[:, :, : self.length], self.values[:, :, : self.length] = held


def attend_once(q: Tensor, keys: Tensor, values: Tensor, seen: int) -> Tensor:
    """(B, H, 1, D), (B, H, S, D) twice -> (B, H, 1, D): one token's attention to the first `seen` keys; all are finite.

    For many texts in bfloat16 eight times as fast as torch's own on a CPU.
    """
    batch, heads = q.shape[:2]
    q, keys, values = (part.flatten(0, 1) for part in (q, keys, values))
    scores = (q @ keys.mT).div_(math.sqrt(q.size(-1)))  # (B * H, 1, S)
    scores[..., seen:] = float("-inf")
    return (scores.softmax(dim=-1) @ values).unflatten(0, (batch, heads))


def for_writing(model: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The same function, computed in `dtype`, in place; the model can only be read from then on."""
    model = fuse(model).eval()
    if not Caches(model, block_size=1):
        return model  # a bigram, say: it is read anew at each step, and there is little to read
    model = model.to(dtype)
    if next(model.parameters()).device.type != "cpu":
        return model
    for part in model.modules():
        if dtype == torch.bfloat16 and isinstance(part, FusedAttention | ModernAttention):
            vars(part)["new_cache"] = CacheForMany
    return exchange(
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
    """(B, T) -> `count` times (B,): what `generate` yields, faster where the model's attention is fused.

    A model that has no fused attention (a bigram, say) is read anew at each step.
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
