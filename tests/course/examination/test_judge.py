"""Our process: it says what is wrong, keeps the record, starts its worker again, and never imports what the learner wrote."""

from __future__ import annotations

import sys

import psutil
import pytest
import torch

from gptladder.course.checks import BY_EXERCISE
from gptladder.course.examination import judge
from gptladder.course.examination.examiner import Examiner, location, mention, untouched
from gptladder.course.examination.judge import Outcome, Verdict, judged
from gptladder.course.outline import course
from gptladder.course.workspace.layout import HOME, LOCK

HEAD, FILE = "3.3-head", "model/attention.py"


def head():
    return course().exercise(HEAD)


def results():
    """What the reference gives, as if a learner's process had."""
    return {check.name: dict(judge.wanted(check)) for check in BY_EXERCISE[HEAD]}


# --- judged


def test_the_references_results_pass():
    verdict = judged(head(), Outcome(results=results()))
    assert verdict.passed
    assert (verdict.mutant, verdict.note, verdict.problem) == (None, None, "")


def test_no_result_is_a_fail():
    verdict = judged(head(), Outcome())
    assert not verdict.passed
    assert all(finding.problem for finding in verdict.findings)
    assert not Verdict(HEAD, ()).passed, "and so is no finding"


@pytest.mark.parametrize("missing", [check.name for check in BY_EXERCISE[HEAD]])
def test_one_missing_result_is_a_fail(missing):
    found = results()
    del found[missing]
    verdict = judged(head(), Outcome(results=found, code=-9, where="mygpt/x.py:3"))
    assert [finding.check for finding in verdict.findings if finding.problem] == [missing]
    assert "ended by signal 9" in verdict.problem
    assert verdict.where == "mygpt/x.py:3"


def test_results_under_other_names_are_a_fail():
    verdict = judged(head(), Outcome(results={name: {} for name in results()}))
    assert not verdict.passed


@pytest.mark.parametrize("value", [None, "x", 10**400, [[]], torch.empty(0), torch.zeros(2, dtype=torch.bool)])
def test_results_that_make_no_sense_are_a_fail_in_words(value):
    found = results()
    for name, result in found.items():
        found[name] = dict.fromkeys(result, value)
    verdict = judged(head(), Outcome(results=found))
    assert not verdict.passed
    assert "Traceback" not in verdict.problem


def test_a_number_too_large_for_a_float_is_a_fail_in_words():
    check = next(
        check for check in BY_EXERCISE["2.1-uniform"] if any(isinstance(v, float) for v in judge.wanted(check).values())
    )
    found = {name: 10**400 if isinstance(value, float) else value for name, value in judge.wanted(check).items()}
    verdict = judged(course().exercise("2.1-uniform"), Outcome(results={check.name: found}))
    assert not verdict.passed


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"kind": "mistake", "says": "it is wrong"}, "it is wrong"),
        ({"kind": "changed", "says": "replaces torch.exp"}, "it replaces torch.exp; everything else uses that too"),
        ({"kind": "forbidden", "says": "it imports gptladder"}, "write the function yourself"),
        (
            {"kind": "unreadable", "says": "invalid syntax", "file": "mygpt/a.py"},
            "Python cannot read mygpt/a.py: invalid syntax",
        ),
        ({"kind": "SystemExit", "says": ""}, "it ends the program"),
        ({"kind": "MemoryError", "says": ""}, "more memory"),
        ({"kind": "RuntimeError", "says": "DefaultCPUAllocator: can't allocate memory"}, "more memory"),
        ({"kind": "NotImplementedError", "says": "exercise 3.2-softmax"}, "not written yet (exercise 3.2-softmax)"),
        ({"kind": "NotImplementedError", "says": ""}, "raises NotImplementedError"),
        ({"kind": "KeyError", "says": "'a'"}, "stops with KeyError: 'a'"),
        ({"kind": "ValueError", "says": ""}, "stops with ValueError"),
    ],
)
def test_errors_in_words(error, words):
    assert words in judge.error_in_words(error)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome(ended="time", seconds=20.2), "still running after 20 s"),
        (Outcome(ended="memory", peak=3 * 2**30), "it took 3.0 GiB of memory"),
        (Outcome(ended="output"), "printed over a megabyte"),
        (Outcome(ended="died"), "could not be started"),
        (Outcome(ended="killed"), "was killed"),
        (Outcome(code=7), "with code 7"),
        (Outcome(code=-11), "by signal 11"),
    ],
)
def test_endings_in_words(outcome, words):
    assert words in judge.no_result_in_words(outcome)


# --- where


def test_the_place_of_a_function(project):
    text = project.text(FILE).split("(B, T, C) -> (B, T, D): softmax")[0]
    assert location(project.folder, head()) == f"mygpt/{FILE}:{text.count(chr(10))}"


@pytest.mark.parametrize("content", [b"def (", b"\0", b"'\xff'", b"", b"x = " + b"-" * 100_000 + b"1"])
def test_the_place_in_a_file_that_cannot_be_read_is_the_file(project, content):
    project.write(FILE, content)
    assert location(project.folder, head()) == f"mygpt/{FILE}"


def test_the_place_in_a_file_that_is_not_there_is_the_file(project):
    project.path(FILE).unlink()
    assert location(project.folder, head()) == f"mygpt/{FILE}"


def test_the_line_that_mentions_a_word(project):
    assert mention(project.folder, "no such word") is None
    project.write("zeta.py", b"\xff\nx = '.gptladder'\n")
    assert mention(project.folder, HOME) == "mygpt/zeta.py:2"


# --- the record


@pytest.fixture
def home(tmp_path):
    """A folder with two files and a folder."""
    home = tmp_path / HOME
    (home / "old").mkdir(parents=True)
    (home / "record.json").write_bytes(b"{}\r\n")
    (home / "old" / "note").write_bytes(b"\0\xff")
    return home


def tree(folder):
    """Everything in a folder but the lock, which is ours."""
    paths = [path for path in folder.rglob("*") if path.name != LOCK]
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


def test_a_folder_that_is_left_alone(home):
    before = tree(home)
    with untouched(home) as touched:
        (home / "record.json").read_bytes()
    assert not touched()
    assert tree(home) == before


def test_a_folder_that_is_not_there(tmp_path):
    with untouched(tmp_path / HOME) as touched:
        pass
    assert not touched()
    with untouched(tmp_path / HOME) as touched:
        (tmp_path / HOME / "a").mkdir(parents=True)
        (tmp_path / HOME / "a" / "b").write_text("new")
    assert touched()
    assert not (tmp_path / HOME).exists()


def test_a_folder_is_restored_even_if_something_fails(home):
    before = tree(home)

    def fail():
        with untouched(home):
            (home / "record.json").unlink()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert tree(home) == before


# --- the worker


def test_the_judge_never_imports_the_learners_code(project, examiner):
    effect = "import sys, pathlib\npathlib.Path('effect').write_text('x')\nsys.modules['an_effect'] = sys\n"
    text = project.text(FILE).replace("import math\n", f"import math\n{effect}", 1)
    project.write(FILE, text)
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    for mine in (False, True):
        assert project.examine(examiner, HEAD, mine).passed
    assert (project.folder / "effect").exists(), "it was run, elsewhere"
    assert "an_effect" not in sys.modules
    assert not [name for name in sys.modules if name.partition(".")[0] in ("mygpt", "mutant")]
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)
    assert not any(str(project.folder) in entry for entry in sys.path)


def test_a_worker_that_was_killed_is_started_again(project, examiner):
    assert project.examine(examiner, HEAD).passed
    first = examiner.worker.pid
    psutil.Process(first).kill()
    assert project.examine(examiner, HEAD).passed
    assert examiner.worker.pid != first


def test_the_same_worker_serves_many(project, examiner):
    pids = set()
    for exercise in (HEAD, "3.2-softmax", "1.2-encode"):
        assert project.examine(examiner, exercise).passed
        pids.add(examiner.worker.pid)
    assert len(pids) == 1


def test_code_that_kills_the_worker(project):
    project.body(HEAD, "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nos.kill(os.getpid(), signal.SIGKILL)")
    with Examiner() as examiner:
        verdict = examiner.examine(project.folder, head())
    assert "was killed, twice: does the code end processes that are not its own?" in verdict.problem
    assert verdict.where


def test_a_worker_that_cannot_be_started(project):
    with Examiner(wrap=(sys.executable, "-c", "")) as examiner:
        verdict = examiner.examine(project.folder, head())
    assert "could not be started" in verdict.problem
    assert "gptladder doctor" in verdict.problem


def test_a_stopped_examiner_begins_again(project):
    examiner = Examiner()
    assert examiner.examine(project.folder, head()).passed
    examiner.stop()
    examiner.stop()
    assert examiner.worker is None


def test_a_project_given_by_a_relative_path(project, examiner, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert examiner.examine(project.folder.relative_to(tmp_path), head()).passed


def test_children_write_where_they_are_told(project, tmp_path):
    """And leave nothing there."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    project.body(HEAD, "import os\nos.abort()")
    with Examiner(scratch=scratch) as examiner:
        assert not examiner.examine(project.folder, head()).passed
    assert list(scratch.iterdir()) == []
    assert not [path for path in project.folder.iterdir() if path.name.startswith("core")]


def test_swapped_names_are_told_but_a_tensor_in_the_wrong_place_is_still_wrong(project, examiner):
    """Scores the other way round, and a mask that is made on the CPU whatever the device."""
    body = """
q, k, v = self.query(x), self.key(x), self.value(x)
scores = k @ q.mT / self.head_size**0.5
future = torch.ones(x.size(1), x.size(1)).triu(1) == 1
return self.dropout(softmax(scores.masked_fill(future, float("-inf")))) @ v
"""
    project.body("3.3-head", body)
    verdict = examiner.examine(project.folder, head())
    assert "names query and key are swapped" in verdict.note
    assert [finding.check for finding in verdict.findings if finding.problem] == ["device"]
