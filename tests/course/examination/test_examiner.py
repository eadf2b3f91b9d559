"""The examiner: it restores the record, starts its worker again, and never imports what the learner wrote."""

from __future__ import annotations

import sys

import psutil
import pytest
import torch

from gptladder.course.examination.examiner import Examiner, untouched
from gptladder.course.outline import course
from gptladder.course.workspace.layout import HOME, LOCK

pytestmark = pytest.mark.process

HEAD, FILE = "3.3-head", "model/attention.py"


def head():
    return course().exercise(HEAD)


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
    """Return everything in a folder except the lock, which we write ourselves."""
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
    assert (project.folder / "effect").exists(), "it was run, in another process"
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


def test_an_examiner_that_was_stopped_starts_again(project):
    examiner = Examiner()
    assert examiner.examine(project.folder, head()).passed
    examiner.stop()
    examiner.stop()
    assert examiner.worker is None


def test_a_project_given_by_a_relative_path(project, examiner, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert examiner.examine(project.folder.relative_to(tmp_path), head()).passed


def test_children_write_to_the_scratch_folder_and_leave_nothing_there(project, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    project.body(HEAD, "import os\nos.abort()")
    with Examiner(scratch=scratch) as examiner:
        assert not examiner.examine(project.folder, head()).passed
    assert list(scratch.iterdir()) == []
    assert not [path for path in project.folder.iterdir() if path.name.startswith("core")]


def test_swapped_names_are_told_but_a_tensor_in_the_wrong_place_is_still_wrong(project, examiner):
    """Queries and keys change places, and the mask is made on the CPU whatever the device."""
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
