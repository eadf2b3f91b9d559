"""The doctor finds what is missing and names its cure."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from gptladder import corpus
from gptladder.cli import doctor
from gptladder.cli.doctor import Observation

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def healthy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with nothing set, a compiler, some disk and no NVIDIA driver."""
    monkeypatch.delenv("GPTLADDER_DATA", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == "c++" else None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10e12, 1e12, 9e12))
    monkeypatch.chdir(tmp_path)


def finding(subject: str) -> Observation:
    (found,) = [found for found in doctor.examine() if found.subject == subject]
    return found


def test_everything_is_looked_at_and_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch):
    def no_network(_: str) -> bytes:
        raise AssertionError("the doctor went to the network")

    monkeypatch.setattr(corpus, "download", no_network)
    subjects = [found.subject for found in doctor.examine()]
    assert subjects == ["python", "torch", "devices", "threads", "compiler", "disk", "data"]


def test_a_healthy_machine_lacks_the_text_at_most():
    assert {found.subject for found in doctor.examine() if not found.ok} <= {"data"}
    assert not finding("data").serious  # train downloads it


def no_torch(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)


def a_card_without_its_torch(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setattr("gptladder.training.devices.available", lambda: ["cpu"])
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")


def too_many_threads(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")


def threads_in_words(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "all")


def no_compiler(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)


def a_full_disk(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10e12, 10e12, 1e6))


def a_folder_of_somebody_else(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    def denied(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", denied)


def a_wrong_text(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / corpus.FILE).write_text("To be or not to be")
    monkeypatch.setenv("GPTLADDER_DATA", str(folder))


def no_text(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("GPTLADDER_DATA", str(folder))


@pytest.mark.parametrize(
    ("illness", "subject", "serious", "cure"),
    [
        (no_torch, "torch", True, "make setup"),
        (a_card_without_its_torch, "devices", False, "pip install"),
        (too_many_threads, "threads", False, "unset OMP_NUM_THREADS"),
        (threads_in_words, "threads", False, "unset OMP_NUM_THREADS"),
        (no_compiler, "compiler", False, "install"),
        (a_full_disk, "disk", True, "rm -r"),
        (a_folder_of_somebody_else, "disk", True, "cd "),
        (a_wrong_text, "data", True, "unset GPTLADDER_DATA"),
        (no_text, "data", False, "export GPTLADDER_DATA="),
    ],
)
def test_each_problem_comes_with_its_cure(
    illness: Callable[..., None], subject: str, serious: bool, cure: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    illness(monkeypatch, tmp_path)
    found = finding(subject)
    assert (found.ok, found.serious) == (False, serious)
    assert cure in found.cure


def test_threads_that_fit_are_no_problem(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert finding("threads").ok
    assert "OMP_NUM_THREADS=1" in finding("threads").found


def test_the_text_is_found_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tinyshakespeare: corpus.Corpus):
    (tmp_path / corpus.FILE).write_text(tinyshakespeare.text)
    monkeypatch.setenv("GPTLADDER_DATA", str(tmp_path))
    assert finding("data") == Observation("data", "TinyShakespeare, 1,115,394 characters")


def test_the_disk_is_left_as_it_was(tmp_path: Path):
    assert finding("disk").ok
    assert not list(tmp_path.iterdir())


def test_the_exit_code_tells_whether_a_training_can_begin(
    gptladder: Callable[..., object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    well = gptladder("doctor")
    assert (well.code, well.err) == (0, "")
    assert all(found.found.split()[0] in well.out for found in doctor.examine())
    a_wrong_text(monkeypatch, tmp_path)
    ill = gptladder("doctor")
    assert (ill.code, ill.err) == (1, "")
    assert "cure: unset GPTLADDER_DATA" in ill.out


def without_torch(verb: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own, on a machine where torch does not load."""
    script = f"import sys; sys.modules['torch'] = None; sys.argv = ['', {verb!r}]; from gptladder.cli.app import main; main()"
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60, check=False)


def test_the_doctor_speaks_even_where_torch_does_not_load(tmp_path: Path):
    result = without_torch("doctor", tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    assert re.search(r"no +torch +does not load", result.stdout)
    assert "cure: make setup" in result.stdout


def test_the_other_verbs_send_to_the_doctor_where_torch_does_not_load(tmp_path: Path):
    result = without_torch("train", tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error: a library that gptladder needs does not load")
    assert result.stderr.endswith("gptladder doctor\n")
