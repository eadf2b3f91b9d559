"""Grading a folder of submissions, offline: all is derived again from code and answers; what a record claims is not read.

This is no sandbox. Limits of time, memory and output keep honest mistakes from stopping the rest; code that means harm can do
what its user can, unless bubblewrap is installed, which then shuts it off from the network and from writing.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_atomically
from .examination.examiner import Examiner
from .examination.verdict import Finding, Verdict
from .outline import course
from .questions import quiz
from .workspace import handin
from .workspace.layout import HOME, PROJECT
from .workspace.record import ANSWERS

SECONDS, MEMORY = 10.0, 2**30  # for one exercise
STRIKES, IMPATIENT_SECONDS = 3, 3.0  # after so many exercises that ran out of time, the others of this submission get less


@dataclass
class Graded:
    """What one submission is worth, and why."""

    name: str
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    answers: dict[str, quiz.Marked] = field(default_factory=dict)
    refused: str = ""  # why nothing could be graded

    def evidence(self, id: str) -> bool:
        """Whether an exercise passed or a question was answered rightly; what is missing is a fail."""
        if id in self.verdicts:
            return self.verdicts[id].passed
        return id in self.answers and self.answers[id].right

    def share(self, objective: str) -> float:
        """Partial credit: the share of the objective's evidence that is there, from 0 to 1."""
        ids = course().evidence_for(objective)
        return sum(self.evidence(id) for id in ids) / len(ids)

    @property
    def score(self) -> float:
        """The mean over all objectives, from 0 to 1."""
        return sum(self.share(objective.id) for objective in course().objectives) / len(course().objectives)


def submissions_in(folder: Path) -> list[Path]:
    """Archives and project folders, in order of name. InputError if there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the one that holds the submissions")
    found = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".") and (p.is_dir() or p.suffix.lower() == ".zip")]
    if not found:
        raise InputError(f"{folder} holds neither .zip archives nor folders; `gptladder submit` makes such an archive")
    return found


def grade_one(path: Path, scratch: Path, wrap: tuple[str, ...] = ()) -> Graded:
    """One submission, whatever it holds: no error of its own gets out."""
    graded = Graded(path.stem if path.suffix.lower() == ".zip" else path.name)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        try:
            if path.is_dir():
                original = handin.project_in(path)
                project = Path(folder) / "project"
                shutil.copytree(
                    original, project, symlinks=True, ignore=shutil.ignore_patterns("runs", "data", ".venv", ".git")
                )
            else:
                project = handin.unpack(path, Path(folder))
        except (InputError, OSError, shutil.Error) as error:
            graded.refused = str(error)
            return graded
        _grade_exercises(graded, project, Path(folder), wrap)
        _grade_answers(graded, project)
    return graded


def _grade_exercises(graded: Graded, project: Path, folder: Path, wrap: tuple[str, ...]) -> None:
    strikes = 0
    out = folder / "out"
    out.mkdir()
    with Examiner(SECONDS, MEMORY, wrapped(wrap, out), out) as examiner:
        for exercise in course().exercises:
            try:
                verdict = examiner.examine(project, exercise)
            except Exception as error:  # nothing that a submission does may cost another its grade
                problem = f"it could not be examined ({type(error).__name__}: {error})"
                verdict = Verdict(exercise.id, (Finding("examined", "the checks run", problem),))
            graded.verdicts[exercise.id] = verdict
            strikes += verdict.out_of_time
            if strikes == STRIKES:
                examiner.seconds = IMPATIENT_SECONDS


def _grade_answers(graded: Graded, project: Path) -> None:
    """Marks the answers again, with the numbers that the project's own seed draws."""
    facts, answers = _json(project / HOME / PROJECT), _json(project / HOME / ANSWERS)
    seed = facts.get("learner_seed")
    for question in course().questions:
        entry = answers.get(question.id)
        if not isinstance(entry, dict) or not isinstance(seed, int):
            continue
        try:
            graded.answers[question.id] = quiz.mark(question, entry.get("answer"), seed)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # an answer that cannot be read is no answer


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def bubblewrap() -> tuple[str, ...]:
    """The command that shuts a worker off from network and disk, where there is one that works; else nothing."""
    if not shutil.which("bwrap"):
        return ()
    command = (
        "bwrap",
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--unshare-net",
        "--unshare-pid",
        "--die-with-parent",
    )
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if tried.returncode == 0 else ()


def wrapped(command: tuple[str, ...], writable: Path) -> tuple[str, ...]:
    """That command with one folder that may be written."""
    return (*command, "--bind", str(writable), str(writable)) if command else ()


def grade(folder: Path, table: Path, workers: int | None = None, wrap: tuple[str, ...] = ()) -> Iterator[Graded]:
    """Every submission of a folder as soon as it is graded; the table holds all so far, at any moment."""
    paths = submissions_in(folder)
    done: dict[Path, Graded] = {}
    with (
        tempfile.TemporaryDirectory(prefix="gptladder-grade-") as scratch,
        ThreadPoolExecutor(workers or min(4, os.cpu_count() or 1)) as pool,
    ):
        waiting = {pool.submit(grade_one, path, Path(scratch), wrap): path for path in paths}
        for finished in as_completed(waiting):
            done[waiting[finished]] = finished.result()
            write_atomically(table, as_csv(done[path] for path in paths if path in done).encode("utf-8"))
            yield done[waiting[finished]]


def as_csv(graded: Iterable[Graded]) -> str:
    """One row a submission: score, why it was refused, objectives (0 to 1), exercises (or what is wrong), questions."""
    chosen = course()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    objectives, exercises = [o.id for o in chosen.objectives], [e.id for e in chosen.exercises]
    questions = [question.id for question in chosen.questions]
    writer.writerow(["submission", "score", "refused", *objectives, *exercises, *questions])
    for entry in graded:
        writer.writerow(
            [
                entry.name,
                f"{entry.score:.4f}",
                entry.refused,
                *(f"{entry.share(id):.3f}" for id in objectives),
                *(_cell(entry.verdicts.get(id)) for id in exercises),
                *("right" if entry.evidence(id) else "wrong" if id in entry.answers else "" for id in questions),
            ]
        )
    return out.getvalue()


def _cell(verdict: Verdict | None) -> str:
    if verdict is None:
        return "fail: no result"
    if verdict.passed:
        return "pass"
    if verdict.mutant:
        return f"fail: {verdict.mutant.id}"
    return f"fail: {verdict.problem}" if verdict.begun else "fail: not written"


def commonest(graded: Iterable[Graded], most: int = 10) -> list[tuple[int, str]]:
    """The misconceptions of the class, the commonest first: how many share it, and what it is."""
    counted: Counter[str] = Counter()
    for entry in graded:
        for verdict in entry.verdicts.values():
            if not verdict.passed and verdict.begun:
                known = verdict.mutant
                counted[f"{verdict.exercise}: {known.thinks if known else verdict.problem[:90]}"] += 1
        for id, marked in entry.answers.items():
            if not marked.right and marked.thinks:
                counted[f"{id}: {marked.thinks}"] += 1
    return [(count, what) for what, count in counted.most_common(most)]
