"""The learner's tensors compared with the reference's: which are the same, and which is the first that differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import torch
from torch import Tensor

from ..checks.check import TOLERANCE
from .tracing import RETURNED

How = Literal[
    "same",
    "transposed",  # the same numbers with the dimensions in another order
    "differs",
    "unknown",  # the reference has no tensor of this name or with these values
]


@dataclass(frozen=True)
class ComparedTensor:
    """One tensor of the learner's, and the reference's tensor that it corresponds to."""

    name: str
    tensor: Tensor
    counterpart: str | None  # the reference's name for it
    how: How
    wanted: Tensor | None = None
    first: bool = False  # whether it is the first that differs


def compare(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> list[ComparedTensor]:
    """Return every tensor of `mine`, in its order, matched by value first (in any order of dimensions), then by name."""
    found: list[ComparedTensor] = []
    right = RETURNED in mine and RETURNED in theirs and _close(mine[RETURNED], theirs[RETURNED])
    for name, tensor in mine.items():
        counterpart, how = _match(name, tensor, theirs)
        if right and how == "differs":  # the result is right: another way, which uses the name for something different
            counterpart, how = None, "unknown"
        first = how == "differs" and not any(compared.first for compared in found)
        wanted = None if counterpart is None else theirs[counterpart]
        found.append(ComparedTensor(name, tensor, counterpart, how, wanted, first))
    return found


def _match(name: str, tensor: Tensor, theirs: Mapping[str, Tensor]) -> tuple[str | None, How]:
    # If several tensors hold these values, the one of the same name is taken. The result is compared with the result only.
    names = [name] if name == RETURNED else sorted(theirs, key=lambda other: other != name)
    for other in names:
        if other in theirs and _close(tensor, theirs[other]):
            return other, "same"
    for other in names:
        if name != RETURNED and _transposed(tensor, theirs[other]):
            return other, "transposed"
    return (name, "differs") if name in theirs else (None, "unknown")


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(
        one.double(), other.double(), rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True
    )


def _transposed(one: Tensor, other: Tensor) -> bool:
    if one.dim() != other.dim() or not 2 <= one.dim() <= 5 or sorted(one.shape) != sorted(other.shape):
        return False
    return any(_close(one.permute(order), other) for order in permutations(range(one.dim())) if list(order) != sorted(order))
