"""A model made ready to write: its matrices laid out for the one token that each step brings.

B batch, T time, C channels in, N channels out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.cache import Caches
from ..model.efficient import exchange, fuse
from ..model.parts import CappedLinear, SideBySide


class RowSum(nn.Module):
    """A linear layer for one token at a time: y = x_1 w_1 + ... + x_C w_C, a weighted sum of rows, one row per input.

    One token needs each weight once, so reading them is all the time there is. On a CPU torch's bag of embeddings, the
    same sum, reads more than twice as fast as its product of a matrix and a vector; each thread reads a bag of its own.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """`weight` (N, C) and `bias` (N,) as a linear layer has them."""
        super().__init__()
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        N, C = weight.shape
        self.bags = torch.get_num_threads() if N % torch.get_num_threads() == 0 else 1
        parts = [part.t() for part in self.weight.chunk(self.bags)]  # a part of the outputs each: (C, N / bags)
        self.rows = torch.cat(parts).contiguous()  # (bags * C, N / bags)
        self.every_row = torch.arange(self.bags * C)
        self.first_rows = torch.arange(self.bags) * C

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, N). Several tokens at once are a matrix product."""
        if x.size(0) * x.size(1) > 1:
            return F.linear(x, self.weight, self.bias)
        inputs = torch.cat([x.view(-1)] * self.bags)
        # what F.embedding_bag(..., mode="sum", per_sample_weights=inputs) calls once it has checked its arguments
        y = torch.embedding_bag(self.rows, self.every_row, self.first_rows, False, 0, False, inputs)[0].view(1, 1, -1)
        return y if self.bias is None else y.add_(self.bias)


def for_writing(model: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The same function, computed in `dtype`, in place; the model can only be read from then on."""
    model = fuse(model).eval()
    if not Caches(model, block_size=1):
        return model  # a bigram, say: it is read anew at each step, and there is little to read
    model = model.to(dtype)
    if next(model.parameters()).device.type != "cpu":
        return model
    return exchange(
        model,
        {
            nn.Linear: lambda linear: RowSum(linear.weight, linear.bias),
            SideBySide: lambda linears: RowSum(linears.weight.flatten(0, 1), None),
            CappedLinear: lambda linear: nn.Sequential(RowSum(linear.weight, None), linear.cap),
        },
    )
