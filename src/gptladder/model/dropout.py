"""Dropout: numbers are left out at random in training, so that no unit comes to rely on another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import require


class Dropout(nn.Module):
    """A layer that zeroes numbers with probability p while training (Srivastava et al. 2014)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        require(0 <= p < 1, "dropout", p, "0 or more and less than 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...), of any shape.

        With p = 0.2 a 1.0 that survives becomes 1.25, so that the mean stays the same. In `eval()`
        nothing changes.
        """
        if not self.training:
            return x
        survives = torch.rand_like(x) >= self.p
        return x * survives / (1 - self.p)


def dropout(p: float) -> nn.Module:
    """Return the layer for this p. For p = 0 it is one that does nothing."""
    return Dropout(p) if p > 0 else nn.Identity()
