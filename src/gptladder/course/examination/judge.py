"""The judge: it compares what a learner's code gave with what the reference gives, and says in words what is wrong.

It runs in our own process and never imports a line of the learner's. An exercise is judged with the reference's bodies in all
other exercises, unless the learner asks for their own (`check --mine`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..checks import BY_EXERCISE
from ..checks.check import Check, Results
from ..outline import Exercise
from .in_process import wanted
from .known_mistakes import SIDE_CHECKS, known_mistake
from .protocol import Answer, Failure, Report
from .verdict import Finding, Verdict


def verdict_on(exercise: Exercise, report: Report, leftovers: Mapping[str, str] | None = None) -> Verdict:
    """Return what each check found, and the known mistake that gives exactly this, if there is one.

    `leftovers`: for exercises whose function has lines of the learner's beside the starter's `raise`, what to say about it.
    """
    leftovers = leftovers or {}
    findings: list[Finding] = []
    where, begun, left_over = None, True, False
    problem: str | None
    for check in BY_EXERCISE[exercise.id]:
        failure = report.failures.get(check.name)
        if failure is not None:
            where = where or (str(failure.place) if failure.place else None)
            leftover = leftovers.get(failure.unwritten or "")
            if leftover:
                problem, left_over = leftover, True
            else:
                problem = failure_in_words(failure)
                begun = begun and failure.unwritten != exercise.id
        elif check.name in report.results:
            problem = comparison(check, report.results[check.name])
        else:
            problem = no_result_in_words(report.answer)
            where = where or (str(report.answer.place) if report.answer.place else None)
        findings.append(Finding(check.name, check.wants, problem))
    verdict = Verdict(exercise.id, tuple(findings), where, begun=begun, out_of_time=report.answer.ended == "time")
    if verdict.passed or left_over or not begun:
        return verdict
    known = known_mistake(exercise, report)
    if known is not None and known.right:
        findings = [f if f.check in SIDE_CHECKS else replace(f, problem=None) for f in findings]
        return replace(verdict, findings=tuple(findings), note=known.says)
    return replace(verdict, mutant=known)


def comparison(check: Check, got: Results) -> str | None:
    """Return what is wrong with these results. Results that the check cannot even compare are wrong too."""
    try:
        return check.judge(got, wanted(check))
    except Exception as error:
        return f"what came back cannot be compared ({type(error).__name__}: {error})"


def failure_in_words(failure: Failure) -> str:
    """Return a failure as a sentence for the learner."""
    says = failure.says
    if failure.kind == "mistake":
        return says
    if failure.kind == "changes_shared":
        return f"it {says}; everything else uses that too, so leave it as it is"
    if failure.kind == "imports_reference":
        return f"{says}, which holds the answers; write the function yourself"
    if failure.kind == "unreadable":
        place = f"{failure.place.file}, line {failure.place.line}" if failure.place else "a file"
        return f"Python cannot read {place}: {says}"
    if failure.unwritten:
        return f"not written yet ({says})"
    if failure.error == "NotImplementedError":
        return f"raises NotImplementedError: {says}" if says else "raises NotImplementedError"
    if failure.error == "MemoryError" or "DefaultCPUAllocator" in says:
        return "it asks for more memory than a check may take: does something grow without end, or is a size wrong?"
    if failure.error == "SystemExit":
        return "it ends the program (sys.exit or exit); use `return` to leave the function"
    line = f" at line {failure.place.line}" if failure.place else ""
    return f"stops{line} with {failure.error}{f': {says}' if says else ''}{cure(failure)}"


def cure(failure: Failure) -> str:
    """Return what to look for after an error whose own words tell a beginner too little; empty for every other error."""
    if failure.error == "NameError":
        return "; is the name misspelt, is `self.` missing in front of it, or is it not imported in this file?"
    if "before Module.__init__() call" in failure.says or failure.says.endswith("has no attribute '_parameters'"):
        return "; begin __init__ with super().__init__()"
    if failure.error == "RuntimeError" and any(word in failure.says for word in ("shape", "size", "dimension")):
        return "; the shapes do not fit: print them above that line"
    return ""


def no_result_in_words(answer: Answer) -> str:
    """Return why a check has no result, as a sentence for the learner."""
    if answer.ended == "time":
        return f"still running after {answer.seconds:.0f} s, so it was stopped: does a loop never end?"
    if answer.ended == "memory":
        taken = f"it took {answer.peak_bytes / 2**30:.1f} GiB of memory"
        return f"{taken}, so it was stopped: does something grow without end?"
    if answer.ended == "output":
        return "it printed over a megabyte, so it was stopped: is there a print in a loop?"
    if answer.ended == "died":
        return "the process that runs the checks could not be started; to find out why, run: gptladder doctor"
    if answer.ended == "killed":
        return "the process that runs the checks was killed, twice: does the code end processes that are not its own?"
    if answer.code < 0:
        return f"the process was ended by signal {-answer.code} before there was a result: it crashed, or something killed it"
    return f"the process ended with code {answer.code} before there was a result: does something call os._exit?"
