"""What a check is: something done with a package, and a judgement of what came of it.

The same probe runs twice: on the learner's package in the learner's process, on the reference in ours. So a probe imports
nothing of this package but these helpers, and hands back plain values: tensors, numbers, words and lists of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

Opened = Callable[[str], ModuleType]  # my("model.attention") -> that module of the package under test
Value = Any  # a tensor, a number, a word, or a list of these two
Results = dict[str, Value]
Judgement = Callable[[Results, Results], str | None]  # got, wanted -> what is wrong, or None

TOLERANCE = 1e-6


class Mistake(Exception):
    """Raised by a probe: what is wrong, in a sentence, where there is nothing to compare."""


@dataclass(frozen=True)
class Check:
    """One thing that an exercise must get right. `law`: it holds of every right answer, whatever the reference returns."""

    exercise: str  # "3.3-head"
    name: str  # "causality"
    wants: str  # in a plain sentence
    probe: Callable[[Opened], Results]
    judge: Judgement
    law: bool = False


def equal(got: Results, wanted: Results) -> str | None:
    """Everything as the reference has it: shapes first (comparing broadcasts), then dtype, then values at 1e-6."""
    for name, value in wanted.items():
        if name not in got:
            return f"{name} is missing"
        problem = difference(got[name], value)
        if problem:
            return f"{name}: {problem}"
    return None


def difference(got: Value, wanted: Value) -> str | None:
    """What differs between two values, in words; None if nothing does."""
    if isinstance(wanted, Tensor) and isinstance(got, Tensor):
        return _tensor_difference(got, wanted)
    if isinstance(wanted, float) and isinstance(got, int | float) and not isinstance(got, bool):
        same = got == wanted or abs(got - wanted) <= TOLERANCE * max(1.0, abs(wanted))
        return None if same else f"{_short(got)}, where {_short(wanted)} is right"
    if type(got) is not type(wanted):
        return f"a {type(got).__name__} where a {type(wanted).__name__} is right"
    return None if got == wanted else f"{_short(got)}, where {_short(wanted)} is right"


def _short(value: Value) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _tensor_difference(got: Tensor, wanted: Tensor) -> str | None:
    if got.shape != wanted.shape:
        return f"shape {tuple(got.shape)}, where {tuple(wanted.shape)} is right"
    if got.dtype != wanted.dtype:
        return f"dtype {_kind(got)}, where {_kind(wanted)} is right"
    if got.numel() == 0:
        return None
    if not got.is_floating_point():
        wrong = got != wanted
    else:
        if not torch.isfinite(got).all() and torch.isfinite(wanted).all():
            return f"{_first(~torch.isfinite(got))} is {got[~torch.isfinite(got)][0].item()}, no number"
        wrong = ~torch.isclose(got.double(), wanted.double(), rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    if not wrong.any():
        return None
    first = f"{_first(wrong)} is {_short(got[wrong][0].item())}, where {_short(wanted[wrong][0].item())} is right"
    share = wrong.double().mean().item()
    return first if wrong.numel() == 1 else f"{first}; {share:.0%} of the numbers differ" if share >= 0.01 else first


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _first(where: Tensor) -> str:
    place = where.nonzero()[0].tolist()
    return f"at {place}" if place else "it"


def same(one: Results, other: Results) -> bool:
    """Whether two runs of a probe gave the same, to the tolerance."""
    return one.keys() == other.keys() and equal(one, other) is None


def past_stays(got: Results, wanted: Results) -> str | None:
    """Of results `before` and `after` (..., T, ...) with T as dimension 1, and `changed`: position t < changed did not move."""
    before, after, changed = got["before"], got["after"], got["changed"]
    if before.shape != after.shape or before.dim() < 2 or before.size(1) <= changed:
        return f"shape {tuple(before.shape)}, where position is dimension 1"
    if before[:, :changed].isnan().any():
        t = int(before[:, :changed].isnan().nonzero()[0][1])
        return f"the output at position {t} is nan: are all of its scores masked, its own too?"
    moved = ~torch.isclose(before[:, :changed], after[:, :changed], rtol=TOLERANCE, atol=TOLERANCE)
    if not moved.any():
        return None
    t = int(moved.nonzero()[0][1])
    return f"token {changed} was changed, and the output at position {t} moved: it sees the future"


def rows_sum_to_one(got: Results, wanted: Results) -> str | None:
    """Every tensor's last dimension is a distribution: nothing negative, a sum of 1."""
    for name, weights in got.items():
        sums = weights.sum(dim=-1)
        if not torch.allclose(sums, torch.ones_like(sums), rtol=TOLERANCE, atol=TOLERANCE):
            wrong = (sums - 1).abs().nan_to_num(torch.inf).argmax()
            return f"{name}: a row sums to {sums.flatten()[wrong].item():.6g}, where 1 is right"
        if (weights < 0).any():
            return f"{name}: a weight is {weights.min().item():.6g}; none may be negative"
    return None


def all_true(got: Results, wanted: Results) -> str | None:
    """Every result is a word that says what is wrong, or empty: for laws that the probe itself can see."""
    return next((str(value) for value in got.values() if value), None)


def agree(words: str) -> Judgement:
    """A law that ties two results: `found` is what `must_be` is, or else these words and where the two part."""

    def judge(got: Results, wanted: Results) -> str | None:
        problem = difference(got["found"], got["must_be"])
        return f"{words}, but {problem}" if problem else None

    return judge


def gives(words: str) -> Judgement:
    """As `agree`, of a few numbers, all of which are shown."""

    def judge(got: Results, wanted: Results) -> str | None:
        found, must_be = got["found"], got["must_be"]
        problem = difference(found, must_be)
        if problem and found.shape == must_be.shape and found.dtype == must_be.dtype:
            problem = f"gave {', '.join(f'{number:.4g}' for number in found.flatten().tolist())}"
        return f"{words}, but {problem}" if problem else None

    return judge


def same_names(got: Results, wanted: Results) -> str | None:
    """Lists of names, in any order: which are missing, and which are too many."""
    for place, names in wanted.items():
        parts = {"missing": [n for n in names if n not in got[place]], "too many": [n for n in got[place] if n not in names]}
        if any(parts.values()):
            told = [
                f"{words}: {', '.join(names[:4])}{' and others' * (len(names) > 4)}" for words, names in parts.items() if names
            ]
            return f"{place}: {'; '.join(told)}"
    return None


def inside(low: float, high: float) -> Callable[[Results, Results], str | None]:
    """Every number lies between these two: for losses, which are never the same twice."""

    def judge(got: Mapping[str, Value], wanted: Mapping[str, Value]) -> str | None:
        for name, value in got.items():
            if not low <= value <= high:
                return f"{name} is {value:.4g}, where {low:g} to {high:g} is right"
        return None

    return judge
