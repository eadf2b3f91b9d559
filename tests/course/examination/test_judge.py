"""The judge: what it says about results, failures and missing results."""

from __future__ import annotations

import pytest
import torch

from gptladder.course.checks import BY_EXERCISE
from gptladder.course.examination import judge
from gptladder.course.examination.in_process import wanted
from gptladder.course.examination.judge import verdict_on
from gptladder.course.examination.protocol import Answer, Failure, Place, Report
from gptladder.course.examination.verdict import Verdict
from gptladder.course.outline import course

HEAD = "3.3-head"


def head():
    return course().exercise(HEAD)


def raised(error, says="", place=None):
    return Failure("raised", says, place, error)


def results():
    """What the reference gives, as if a learner's process had."""
    return {check.name: dict(wanted(check)) for check in BY_EXERCISE[HEAD]}


def test_the_references_results_pass():
    verdict = verdict_on(head(), Report(results=results()))
    assert verdict.passed
    assert (verdict.mutant, verdict.note, verdict.problem) == (None, None, "")


def test_no_result_is_a_fail():
    verdict = verdict_on(head(), Report())
    assert not verdict.passed
    assert all(finding.problem for finding in verdict.findings)
    assert not Verdict(HEAD, ()).passed, "and so is no finding"


@pytest.mark.parametrize("missing", [check.name for check in BY_EXERCISE[HEAD]])
def test_one_missing_result_is_a_fail(missing):
    found = results()
    del found[missing]
    verdict = verdict_on(head(), Report(Answer(code=-9, place=Place("mygpt/x.py", 3)), found))
    assert [finding.check for finding in verdict.findings if finding.problem] == [missing]
    assert "ended by signal 9" in verdict.problem
    assert verdict.where == "mygpt/x.py:3"


def test_results_under_other_names_are_a_fail():
    verdict = verdict_on(head(), Report(results={name: {} for name in results()}))
    assert not verdict.passed


@pytest.mark.parametrize("value", [None, "x", 10**400, [[]], torch.empty(0), torch.zeros(2, dtype=torch.bool)])
def test_results_that_make_no_sense_are_a_fail_in_words(value):
    found = results()
    for name, result in found.items():
        found[name] = dict.fromkeys(result, value)
    verdict = verdict_on(head(), Report(results=found))
    assert not verdict.passed
    assert "Traceback" not in verdict.problem


def test_a_number_too_large_for_a_float_is_a_fail_in_words():
    check = next(check for check in BY_EXERCISE["2.1-uniform"] if any(isinstance(v, float) for v in wanted(check).values()))
    found = {name: 10**400 if isinstance(value, float) else value for name, value in wanted(check).items()}
    verdict = verdict_on(course().exercise("2.1-uniform"), Report(results={check.name: found}))
    assert not verdict.passed


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (Failure("mistake", "it is wrong"), "it is wrong"),
        (Failure("changes_shared", "replaces torch.exp"), "it replaces torch.exp; everything else uses that too"),
        (Failure("imports_reference", "it imports gptladder"), "write the function yourself"),
        (
            Failure("unreadable", "invalid syntax", Place("mygpt/a.py", 3)),
            "Python cannot read mygpt/a.py, line 3: invalid syntax",
        ),
        (raised("SystemExit"), "it ends the program"),
        (raised("MemoryError"), "more memory"),
        (raised("RuntimeError", "DefaultCPUAllocator: can't allocate memory"), "more memory"),
        (raised("NotImplementedError", "exercise 3.2-softmax"), "not written yet (exercise 3.2-softmax)"),
        (raised("NotImplementedError"), "raises NotImplementedError"),
        (raised("KeyError", "'a'"), "stops with KeyError: 'a'"),
        (raised("ValueError"), "stops with ValueError"),
        (raised("AttributeError", "'GPT' object has no attribute '_parameters'"), "begin __init__ with super().__init__()"),
        (raised("RuntimeError", "mat1 and mat2 shapes cannot be multiplied"), "multiplied; the shapes do not fit: print them"),
        (Failure("raised", "no", Place("mygpt/a.py", 3), "ValueError"), "stops at line 3 with ValueError: no"),
        (
            raised("NameError", "name 'ids' is not defined"),
            "name 'ids' is not defined; is the name misspelt, is `self.` missing",
        ),
        (
            raised("AttributeError", "cannot assign module before Module.__init__() call"),
            "begin __init__ with super().__init__()",
        ),
    ],
)
def test_failures_in_words(failure, words):
    assert words in judge.failure_in_words(failure)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer("time", seconds=20.2), "still running after 20 s"),
        (Answer("memory", peak_bytes=3 * 2**30), "it took 3.0 GiB of memory"),
        (Answer("output"), "printed over a megabyte"),
        (Answer("died"), "could not be started"),
        (Answer("killed"), "was killed"),
        (Answer(code=7), "with code 7"),
        (Answer(code=-11), "by signal 11"),
    ],
)
def test_endings_in_words(answer, words):
    assert words in judge.no_result_in_words(answer)


# --- the starter's raise among the learner's lines


def unwritten(*names, exercise=HEAD):
    """A report in which these checks met the starter's raise, and the others gave what the reference gives."""
    failure = raised("NotImplementedError", f"exercise {exercise}", Place("mygpt/x.py", 3))
    return Report(
        results={name: found for name, found in results().items() if name not in names},
        failures=dict.fromkeys(names, failure),
    )


def test_a_function_left_as_in_the_starter_is_not_begun():
    verdict = verdict_on(head(), unwritten("values", "causality"))
    assert not verdict.begun
    assert verdict.problem == f"not written yet (exercise {HEAD})"


def test_a_raise_left_among_own_lines_is_begun_and_said():
    verdict = verdict_on(head(), unwritten("values", "causality"), {HEAD: "remove that line"})
    assert (verdict.begun, verdict.mutant, verdict.where) == (True, None, "mygpt/x.py:3")
    said = {finding.check: finding.problem for finding in verdict.findings if finding.problem}
    assert said == {"values": "remove that line", "causality": "remove that line"}


def test_a_raise_left_in_another_exercise_is_said_of_that_one():
    report = unwritten("values", exercise="3.2-softmax")
    assert verdict_on(head(), report, {HEAD: "not this"}).problem == "not written yet (exercise 3.2-softmax)"
    assert verdict_on(head(), report, {"3.2-softmax": "remove that line"}).problem == "remove that line"
