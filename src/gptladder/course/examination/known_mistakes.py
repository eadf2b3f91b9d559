"""Known mistakes: which mutant of the bank, if any, gives exactly what the learner's code gave."""

from __future__ import annotations

from functools import cache

from ..bank.versions import Version, mutants, texts_with
from ..checks import BY_EXERCISE
from ..checks.check import Mistake, Results, same
from ..outline import Exercise
from ..source import packages
from .in_process import PROBE_LOCK, run_probe
from .protocol import Failure, Report

# These checks say where a tensor lies and what its dtype is. That tells nothing about a misconception,
# unless a mutant stands for just that.
SIDE_CHECKS = frozenset({"device", "dtype"})


def known_mistake(exercise: Exercise, report: Report) -> Version | None:
    """Return the mutant of this exercise that gives the same results and failures as the report; None if there is none."""
    return next((mutant for mutant in mutants() if mutant.exercise == exercise.id and same_as(mutant, report)), None)


@cache
def mutant_results(mutant: Version) -> dict[str, Results | str]:
    """Return what each check's probe gives on a mutant: its results, or the error that it ends in, as `_error` has it."""
    found: dict[str, Results | str] = {}
    with PROBE_LOCK, packages.from_texts("mutant", texts_with(mutant)) as opened:
        for check in BY_EXERCISE[mutant.exercise]:
            try:
                found[check.name] = run_probe(check, opened.open)
            except Mistake as mistake:
                found[check.name] = str(mistake)
            except Exception as error:
                found[check.name] = type(error).__name__
    return found


def same_as(mutant: Version, report: Report) -> bool:
    """Return whether the report could be the mutant's: equal results, and errors of the same class or the same words."""
    skipped = SIDE_CHECKS - {mutant.caught_by}
    theirs = {name: value for name, value in mutant_results(mutant).items() if name not in skipped}
    errors = {name: _error(failure) for name, failure in report.failures.items() if name not in skipped}
    results = {name: value for name, value in report.results.items() if name not in skipped}
    if not results or errors != {name: value for name, value in theirs.items() if isinstance(value, str)}:
        return False
    try:
        given = {name: value for name, value in theirs.items() if not isinstance(value, str)}
        return results.keys() == given.keys() and all(same(results[name], value) for name, value in given.items())
    except Exception:  # the learner's results cannot even be compared
        return False


def _error(failure: Failure) -> str:
    """Return a mistake's words, otherwise the error's class."""
    return failure.says if failure.kind == "mistake" else failure.error or failure.kind
