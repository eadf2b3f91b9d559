"""Our process: it has the learner's code run elsewhere, compares what came back, and says in words what is wrong.

It never imports a line of the learner's. Exercise N is judged with every other exercise the reference's, unless the
learner wants all of it their own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch

from ..bank.versions import Version, mutants, texts_with
from ..checks import BY_EXERCISE
from ..checks.check import Check, Mistake, Results, same
from ..outline import Exercise
from ..source import packages
from .tracing import traced

NOT_BEGUN = "NotImplementedError"
BESIDE = {"device", "dtype"}  # checks that say nothing of a misconception
ONE_AT_A_TIME = threading.RLock()  # probes of ours change torch's default dtype and the import system, which all threads share


@dataclass(frozen=True)
class Finding:
    """What one check saw."""

    check: str
    wants: str
    problem: str | None  # in words; None if it passed


@dataclass(frozen=True)
class Verdict:
    """What became of one exercise."""

    exercise: str
    findings: tuple[Finding, ...]
    where: str | None = None  # "mygpt/model/attention.py:41"
    mutant: Version | None = None  # the known mistake that gives exactly this
    note: str | None = None  # said even of a pass
    begun: bool = True
    out_of_time: bool = False
    printed: str = ""  # what the learner's code wrote
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Every check passed, and there was at least one."""
        return bool(self.findings) and all(finding.problem is None for finding in self.findings)

    @property
    def problem(self) -> str:
        """The first thing that is wrong."""
        return next((finding.problem for finding in self.findings if finding.problem), "")


@dataclass
class Outcome:
    """What a child handed back: per check its results, or its error; and how the child ended."""

    results: dict[str, Results] = field(default_factory=dict)
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: str = "done"
    code: int = 0
    peak: int = 0
    seconds: float = 0.0
    printed: str = ""
    where: str | None = None  # the learner's line at which it was stopped
    trace: Any = None


@cache
def wanted(check: Check) -> Results:
    """What the reference gives."""
    return run_probe(check, packages.reference)


@contextmanager
def in_float64() -> Iterator[None]:
    """What probes run under: a tensor made without a dtype is float64, one thread; afterwards all is as it was."""
    with ONE_AT_A_TIME:
        dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(1)  # on tensors as tiny as these, a second one only costs
        torch.manual_seed(0)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_num_threads(threads)


def run_probe(check: Check, opened: packages.Opened) -> Results:
    """A probe on code of ours."""
    with in_float64():
        return check.probe(opened)


def run_traced(exercise: Exercise, checks: tuple[Check, ...]) -> dict[str, torch.Tensor]:
    """What the reference's function holds in the call that `trace` shows."""
    with in_float64():
        return traced(packages.reference, exercise.module, exercise.name, checks)


@cache
def mutant_results(mutant: Version) -> dict[str, Results | str]:
    """What a wrong version gives, per check: results, or the words of the error that it ends in."""
    found: dict[str, Results | str] = {}
    with ONE_AT_A_TIME, packages.from_texts("mutant", texts_with(mutant)) as opened:
        for check in BY_EXERCISE[mutant.exercise]:
            try:
                found[check.name] = run_probe(check, opened.open)
            except Mistake as mistake:
                found[check.name] = str(mistake)
            except Exception as error:
                found[check.name] = type(error).__name__
    return found


def same_as(mutant: Version, outcome: Outcome) -> bool:
    """Whether this outcome is the mutant's; errors count as the same by kind or words.

    Where a tensor lies and of which dtype it is says nothing of the misconception, unless the mutant stands for just that.
    """
    beside = BESIDE - {mutant.caught_by}
    theirs = {name: value for name, value in mutant_results(mutant).items() if name not in beside}
    errors = {
        name: e["says"] if e["kind"] == "mistake" else e["kind"] for name, e in outcome.errors.items() if name not in beside
    }
    results = {name: value for name, value in outcome.results.items() if name not in beside}
    if not results or errors != {name: value for name, value in theirs.items() if isinstance(value, str)}:
        return False
    try:
        given = {name: value for name, value in theirs.items() if not isinstance(value, str)}
        return results.keys() == given.keys() and all(same(results[name], value) for name, value in given.items())
    except Exception:  # what came back cannot even be compared
        return False


def judged(exercise: Exercise, outcome: Outcome) -> Verdict:
    """Each check's finding, and the known mistake that gives exactly this, if there is one."""
    findings: list[Finding] = []
    where, begun = None, True
    problem: str | None
    for check in BY_EXERCISE[exercise.id]:
        error = outcome.errors.get(check.name)
        if error is not None:
            problem = error_in_words(error)
            if error.get("file"):
                where = where or f"{error['file']}:{error['line'] or 1}"
            begun = begun and not (error["kind"] == NOT_BEGUN and error["says"] == f"exercise {exercise.id}")
        elif check.name in outcome.results:
            problem = judgement(check, outcome.results[check.name])
        else:
            problem, where = no_result_in_words(outcome), where or outcome.where
        findings.append(Finding(check.name, check.wants, problem))
    verdict = Verdict(exercise.id, tuple(findings), where, begun=begun, out_of_time=outcome.ended == "time")
    if verdict.passed or not begun:
        return verdict
    known = next((m for m in mutants() if m.exercise == exercise.id and same_as(m, outcome)), None)
    if known is not None and known.right:
        findings = [f if f.check in BESIDE else replace(f, problem=None) for f in findings]
        return replace(verdict, findings=tuple(findings), note=known.says)
    return replace(verdict, mutant=known)


def judgement(check: Check, got: Results) -> str | None:
    """What is wrong with these results; a judgement that stumbles over them is a fail too."""
    try:
        return check.judge(got, wanted(check))
    except Exception as error:
        return f"what came back cannot be compared ({type(error).__name__}: {error})"


def error_in_words(error: dict[str, Any]) -> str:
    """An error of the learner's process as a sentence."""
    kind, says = error["kind"], error["says"]
    if kind == "mistake":
        return str(says)
    if kind == "changed":
        return f"it {says}; everything else uses that too, so leave it as it is"
    if kind == "forbidden":
        return f"{says}, which holds the answers; write the function yourself"
    if kind == NOT_BEGUN:
        return f"not written yet ({says})" if says.startswith("exercise") else f"raises NotImplementedError: {says}"
    if kind == "MemoryError" or "DefaultCPUAllocator" in says:
        return "it asks for more memory than a check may take: does something grow without end, or is a size wrong?"
    if kind == "SystemExit":
        return "it ends the program (sys.exit or exit); a function returns"
    if kind == "unreadable":
        return f"Python cannot read {error['file']}: {says}"
    return f"stops with {kind}: {says}" if says else f"stops with {kind}"


def no_result_in_words(outcome: Outcome) -> str:
    """Why a check has no result."""
    limits = {
        "time": f"still running after {outcome.seconds:.0f} s, so it was stopped: does a loop never end?",
        "memory": f"it took {outcome.peak / 2**30:.1f} GiB of memory, so it was stopped: does something grow without end?",
        "output": "it printed over a megabyte, so it was stopped: is there a print in a loop?",
        "died": "the process that runs the checks could not be started; see what: gptladder doctor",
        "killed": "the process that runs the checks was killed, twice: does the code end processes that are not its own?",
    }
    if outcome.ended in limits:
        return limits[outcome.ended]
    if outcome.code < 0:
        return f"the process was ended by signal {-outcome.code} before there was a result: a crash, or a kill"
    return f"the process ended with code {outcome.code} before there was a result: does something call os._exit?"
