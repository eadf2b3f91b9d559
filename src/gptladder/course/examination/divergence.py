"""The learner's tensors beside the reference's: which are the same, and where they first part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor

from ..checks.check import TOLERANCE
from .tracing import RETURNED


@dataclass(frozen=True)
class Row:
    """One tensor of the learner's, and its counterpart."""

    name: str
    tensor: Tensor
    counterpart: str | None  # the reference's name for it
    how: str  # same, transposed, differs, or unknown: nothing of the reference's has this name or these values
    wanted: Tensor | None = None
    first: bool = False  # the first that differs


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(
        one.double(), other.double(), rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True
    )


def _transposed(one: Tensor, other: Tensor) -> bool:
    if one.dim() != other.dim() or not 2 <= one.dim() <= 5 or sorted(one.shape) != sorted(other.shape):
        return False
    return any(_close(one.permute(order), other) for order in permutations(range(one.dim())) if list(order) != sorted(order))


def compare(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> list[Row]:
    """Every tensor of mine, in its order: matched by value first (in any order of dimensions), then by name."""
    rows: list[Row] = []
    right = RETURNED in mine and RETURNED in theirs and _close(mine[RETURNED], theirs[RETURNED])
    for name, tensor in mine.items():
        counterpart, how = _match(name, tensor, theirs)
        if right and how == "differs":  # another way there, with the same names: only the last value of a name is seen
            counterpart, how = None, "unknown"
        first = how == "differs" and not any(row.first for row in rows)
        rows.append(Row(name, tensor, counterpart, how, None if counterpart is None else theirs[counterpart], first))
    return rows


def _match(name: str, tensor: Tensor, theirs: Mapping[str, Tensor]) -> tuple[str | None, str]:
    # Its own name first, where several hold these values; what is returned must be just what is returned there.
    names = [name] if name == RETURNED else sorted(theirs, key=lambda other: other != name)
    for how, alike in (("same", _close), ("transposed", _transposed)):
        for other in names:
            if other in theirs and alike(tensor, theirs[other]) and (how == "same" or name != RETURNED):
                return other, how
    return (name, "differs") if name in theirs else (None, "unknown")
