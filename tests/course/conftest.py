"""What the course's tests share: a finished project to spoil, and one process that runs learners' code for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from gptladder.course import outline
from gptladder.course.examination.examiner import Examiner
from gptladder.course.examination.verdict import Verdict
from gptladder.course.source.functions import with_body
from gptladder.course.workspace.layout import MYGPT
from gptladder.course.workspace.make import project_files, write_project


@pytest.fixture(scope="session")
def examiner():
    """Memory enough for what is right, time enough for a busy machine; a test may lower both."""
    with Examiner(seconds=60.0, memory=700 * 2**20) as examiner:
        yield examiner


@pytest.fixture
def impatient(examiner: Examiner):
    """The same one with a second for a job: for code that never ends."""
    before, examiner.seconds = examiner.seconds, 1.0
    yield examiner
    examiner.seconds = before


@dataclass
class Project:
    """A learner's project in which everything is right until something is replaced."""

    folder: Path

    def path(self, member: str) -> Path:
        return self.folder / MYGPT / member

    def write(self, member: str, content: str | bytes) -> None:
        self.path(member).write_bytes(content.encode() if isinstance(content, str) else content)

    def text(self, member: str) -> str:
        return self.path(member).read_text(encoding="utf-8")

    def body(self, exercise: str, body: str, before: str = "") -> None:
        """Another body for an exercise, and lines in front of the code of its file."""
        found = outline.course().exercise(exercise)
        text = with_body(self.text(found.file), found.name, body)
        marker = "from __future__ import annotations\n"
        self.write(found.file, text.replace(marker, marker + before, 1))

    def line(self, member: str, mark: str) -> str:
        """Where the mark stands in a file, as verdicts say it."""
        lines = self.text(member).splitlines()
        return f"{MYGPT}/{member}:{next(number for number, line in enumerate(lines, start=1) if mark in line)}"

    def examine(self, examiner: Examiner, exercise: str, mine: bool = False) -> Verdict:
        """The verdict; and the process that gave it is still there, with nothing of the learner's left running."""
        verdict = examiner.examine(self.folder, outline.course().exercise(exercise), mine)
        assert examiner.worker is not None
        assert examiner.worker.poll() is None
        assert psutil.Process(examiner.worker.pid).children(recursive=True) == []
        assert verdict.passed or verdict.where, "a fail names its place"
        assert verdict.passed or verdict.problem
        return verdict


@pytest.fixture(scope="session")
def completed_files() -> dict[str, bytes]:
    """The completed project, path to content."""
    return project_files(completed=True)


@pytest.fixture
def project(tmp_path: Path, completed_files: dict[str, bytes]) -> Project:
    """A completed project of one's own, to spoil."""
    write_project(tmp_path / "project", completed_files)
    return Project(tmp_path / "project")
