"""Tensors as lines of text, with `?` for what is to be filled in."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ..blanks import Place, entry_name

if TYPE_CHECKING:
    from torch import Tensor


def line(label: str, *cells: str, note: str = "") -> str:
    """Return a label, its cells in columns and a note. A cell `?` is asked for, a cell `.` is not shown."""
    return f"  {label:<20}{''.join(f'{cell:>8}' for cell in cells):<16}    {note}".rstrip()


def table(
    name: str,
    tensor: Tensor,
    asked: Collection[Place] = (),
    hidden: Collection[Place] = (),
    shape: bool = True,
    note: str = "",
) -> list[str]:
    """Return a tensor as lines: its name and shape, then one line for each row. Entries `asked` are `?`, those `hidden` `.`."""
    head = f"{name}  {tuple(tensor.shape) if shape else 'shape ?'}"
    found = [f"{head:<42}{note}".rstrip()]
    finite = [value for value in tensor.flatten().tolist() if math.isfinite(value)]
    digits = 0 if all(abs(value - round(value)) < 1e-9 for value in finite) else 3
    for place in places(tensor.shape[:-1]):
        cells = []
        for i, value in enumerate(tensor[place].tolist()):
            shown = f"{value + 0.0:.{digits}f}" if math.isfinite(value) else str(value)
            cells.append("?" if (*place, i) in asked else "." if (*place, i) in hidden else shown)
        found.append(line(entry_name(name, place) if place else "", *cells))
    return found


def places(shape: Sequence[int]) -> list[Place]:
    """Return every place of a tensor of this shape, in order."""
    found: list[Place] = [()]
    for size in shape:
        found = [(*place, i) for place in found for i in range(size)]
    return found


def lines(*parts: str | list[str]) -> str:
    """Return one text made of lines and lists of lines."""
    return "\n".join(one for part in parts for one in ([part] if isinstance(part, str) else part))


def weighted_sum(weights: Tensor, values: Tensor) -> str:
    """Return a weighted sum written out: "0.5 x 3 + 0.5 x 4"."""
    return " + ".join(f"{w:.3g} x {v:.3g}" for w, v in zip(weights.tolist(), values.tolist(), strict=True))
