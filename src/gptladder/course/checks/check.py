"""The form of a check: a probe does something with a package and returns values; a judge says whether they are right.

The same probe runs twice: on the learner's package in the learner's process, on the reference in ours. So a probe imports
nothing of this package but these helpers, and hands back plain values: tensors, numbers, words and lists of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
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
    """The exception that a probe raises when there is nothing to compare: its words say what is wrong."""


@dataclass(frozen=True)
class Check:
    """One thing that an exercise must get right. `law`: it is true of every right answer, whatever the reference returns."""

    exercise: str  # "3.3-head"
    name: str  # "causality"
    wants: str  # in a plain sentence
    probe: Callable[[Opened], Results]
    judge: Judgement
    law: bool = False


def equal(got: Results, wanted: Results) -> str | None:
    """Judge that every result is the reference's: first shapes (comparing would broadcast), then dtypes, then values."""
    for name, value in wanted.items():
        if name not in got:
            return f"{name} is missing"
        problem = difference(got[name], value)
        if problem:
            return f"{name}: {problem}"
    return None


def difference(got: Value, wanted: Value) -> str | None:
    """Return what differs between two values, in words; None if they are the same to 1e-6. nan is the same as nan."""
    if isinstance(wanted, Tensor) and isinstance(got, Tensor):
        return _tensor_difference(got, wanted)
    if isinstance(wanted, float) and isinstance(got, int | float) and not isinstance(got, bool):
        both_nan = math.isnan(got) and math.isnan(wanted)
        same = got == wanted or both_nan or abs(got - wanted) <= TOLERANCE * max(1.0, abs(wanted))
        return None if same else f"{_short(got)}, where {_short(wanted)} is right"
    if type(got) is not type(wanted):
        return f"{a_kind(got)} where {a_kind(wanted)} is right"
    return None if got == wanted else f"{_short(got)}, where {_short(wanted)} is right"


def a_kind(value: object) -> str:
    """Return the name of a value's type after its article: "a Tensor", "an int"."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def _short(value: Value) -> str:
    text = f"{value + 0.0:.6g}" if isinstance(value, float) else repr(value)  # + 0.0: -0 is shown as 0
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
            return f"{_first(~torch.isfinite(got))} is {got[~torch.isfinite(got)][0].item()}, not a finite number"
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
    return f"the number at {place}" if place else "it"


def same(one: Results, other: Results) -> bool:
    """Return whether two runs of a probe gave the same results, to the tolerance."""
    return one.keys() == other.keys() and equal(one, other) is None


def past_stays(got: Results, wanted: Results) -> str | None:
    """Judge two outputs (B, T, ...) for tokens that differ from position `changed` on: before it, they must agree."""
    before, after, changed = got["before"], got["after"], got["changed"]
    if before.shape != after.shape or before.dim() < 2 or before.size(1) <= changed:
        return f"shape {tuple(before.shape)}, where position is dimension 1"
    if before[:, :changed].isnan().any():
        t = int(before[:, :changed].isnan().nonzero()[0][1])
        return f"the output at position {t} is nan: does it take in no token at all? It must take in at least its own"
    moved = ~torch.isclose(before[:, :changed], after[:, :changed], rtol=TOLERANCE, atol=TOLERANCE)
    if not moved.any():
        return None
    t = int(moved.nonzero()[0][1])
    return f"token {changed} was changed, and the output at position {t} moved: it sees the future"


def rows_sum_to_one(got: Results, wanted: Results) -> str | None:
    """Judge that the last dimension of every tensor is a distribution: no number is negative, and they sum to 1."""
    for name, weights in got.items():
        sums = weights.sum(dim=-1)
        if not torch.allclose(sums, torch.ones_like(sums), rtol=TOLERANCE, atol=TOLERANCE):
            wrong = (sums - 1).abs().nan_to_num(torch.inf).argmax()
            return f"{name}: a row sums to {sums.flatten()[wrong].item():.6g}, where 1 is right"
        if (weights < 0).any():
            return f"{name}: a weight is {weights.min().item():.6g}; none may be negative"
    return None


FOUND, MUST_BE = "found", "must be"


def beside(found: Value, must_be: Value, case: str = "") -> Results:
    """Return two results for `agree` and `gives`: a value, and what it must be in this case (which may have a name)."""
    prefix = f"{case}: " if case else ""
    return {f"{prefix}{FOUND}": found, f"{prefix}{MUST_BE}": must_be}


def cases(got: Results) -> Iterator[tuple[str, Value, Value]]:
    """Yield each case of `beside`: its name, what was found and what it must be."""
    for name, value in got.items():
        if name.endswith(FOUND):
            prefix = name.removesuffix(FOUND)
            yield prefix.removesuffix(": "), value, got[f"{prefix}{MUST_BE}"]


def agree(words: str | Mapping[str, str], numbers: bool = True) -> Judgement:
    """Return a judge of `beside`: in every case, what was found is what it must be.

    If it is not, the judge says `words` (one sentence, or one for each case) and, unless `numbers` is false, where the two
    differ. In the words, {case} stands for the case's name, {found} for what was found, {right} for what it must be.
    """

    def judge(got: Results, wanted: Results) -> str | None:
        for case, found, must_be in cases(got):
            if problem := difference(found, must_be):
                said = (words if isinstance(words, str) else words[case]).replace("{case}", case)
                said = said.replace("{found}", _short(found)).replace("{right}", _short(must_be))
                if not numbers:
                    return said
                return f"{said}, but {problem}" if isinstance(found, Tensor) else f"{said}, but it is {problem}"
        return None

    return judge


def gives(words: str) -> Judgement:
    """Return a judge like `agree` for a few numbers: it shows all that were found."""

    def judge(got: Results, wanted: Results) -> str | None:
        for case, found, must_be in cases(got):
            problem = difference(found, must_be)
            if problem and found.shape == must_be.shape and found.dtype == must_be.dtype:
                problem = f"gave {', '.join(f'{number:.4g}' for number in found.flatten().tolist())}"
            if problem:
                return f"{words.replace('{case}', case)}, but {problem}"
        return None

    return judge


def facts(sentences: Mapping[str, str]) -> Judgement:
    """Return a judge of facts: each must be what it is for the reference; if it is not, the judge says the fact's sentence.

    A result's name is the fact's, or a case and the fact: "remembers" judges both "remembers" and "p = 0.5, remembers".
    In the sentence, {case} stands for the case ("p = 0.5") and {found} for the result.
    """

    def judge(got: Results, wanted: Results) -> str | None:
        for name, must_be in wanted.items():
            fact = max((fact for fact in sentences if f", {name}".endswith(f", {fact}")), key=len, default="")
            if fact and difference(got.get(name), must_be):
                case = name.removesuffix(fact).removesuffix(", ")
                return sentences[fact].replace("{found}", str(got.get(name))).replace("{case}", case)
        return None

    return judge


def in_turn(*judges: Judgement) -> Judgement:
    """Return a judge that asks these one after another and says what the first of them finds."""

    def judge(got: Results, wanted: Results) -> str | None:
        return next((problem for one in judges if (problem := one(got, wanted))), None)

    return judge


def same_names(got: Results, wanted: Results) -> str | None:
    """Judge lists of names, in any order: say which are missing and which are too many."""
    for place, names in wanted.items():
        parts = {"missing": [n for n in names if n not in got[place]], "too many": [n for n in got[place] if n not in names]}
        if any(parts.values()):
            told = [
                f"{words}: {', '.join(names[:4])}{' and others' * (len(names) > 4)}" for words, names in parts.items() if names
            ]
            return f"{place}: {'; '.join(told)}"
    return None


def inside(low: float, high: float) -> Callable[[Results, Results], str | None]:
    """Return a judge of losses, which never come out quite alike: every number must lie between these two."""

    def judge(got: Mapping[str, Value], wanted: Mapping[str, Value]) -> str | None:
        for name, value in got.items():
            if not low <= value <= high:
                return f"{name} is {value:.4g}, where {low:g} to {high:g} is right"
        return None

    return judge
