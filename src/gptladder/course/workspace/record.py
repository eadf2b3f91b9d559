"""A learner's project and the evidence that it keeps: what passed, when, and which code was checked.

    .gptladder/project.json   the course's version, and the seed of this learner's numbers
    .gptladder/record.json    checks, hints and solutions shown; the checks can be made again from the code
    .gptladder/answers.json   the learner's answers, in their own words

Only the verbs write here, and each file is written whole or not at all.
"""

from __future__ import annotations

import ast
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from ...errors import InputError
from ...files import write_atomically
from ..outline import Course, Exercise, course
from ..source.packages import graft
from ..source.reference import reference_text
from .evidence import Answer, AnswerEvidence, CheckEvidence, Facts, Record, State, answers_from_json
from .layout import HOME, LOCK, MYGPT, PROJECT, looks_like_project

RECORD, ANSWERS = "record.json", "answers.json"
Read = TypeVar("Read")


@dataclass
class Project:
    """A learner's folder and its evidence. `notes` say, once, what had to be mended when it was opened."""

    folder: Path
    learner_seed: int
    record: Record = field(default_factory=Record)
    answers: Mapping[str, AnswerEvidence] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    damaged: bool = False  # the record was lost, so every exercise should be checked again

    @property
    def home(self) -> Path:
        """The folder in which the verbs keep the evidence."""
        return self.folder / HOME

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Read the evidence again, let the caller change it, and write it, while no other verb can write."""
        self.home.mkdir(exist_ok=True)
        with FileLock(self.home / LOCK):
            self.load()
            yield
            answers = {question: asdict(entry) for question, entry in self.answers.items()}
            for name, content in ((RECORD, self.record.to_json()), (ANSWERS, answers)):
                write_atomically(self.home / name, _json_bytes(content))

    def load(self) -> None:
        """Read record and answers from the disk; a damaged file is set aside and noted."""
        known = len(self.notes)
        self.record = _read(self.home / RECORD, self.notes, Record.from_json) or Record()
        self.damaged = self.damaged or len(self.notes) > known
        self.answers = _read(self.home / ANSWERS, self.notes, answers_from_json) or {}

    def note_check(self, exercise: str, passed: bool, mutant: str | None, code: str | None = None) -> None:
        """Keep the result of a check with the hash of the code that was checked (by default, of the code as it is now)."""
        seen = code or code_hash(self.folder, course().exercise(exercise))
        with self.changing():
            checks = {**self.record.checks, exercise: CheckEvidence(passed, now(), seen, mutant)}
            self.record = replace(self.record, checks=checks)

    def note_answer(self, question: str, answer: Answer, right: bool) -> None:
        """Keep an answer and whether it was right; the newest counts."""
        with self.changing():
            tries = self.answers[question].tries + 1 if question in self.answers else 1
            self.answers = {**self.answers, question: AnswerEvidence(answer, right, now(), tries)}

    def next_hint(self, exercise: str) -> int:
        """Return how many hints to show now: one more than the last time, at most as many as there are."""
        with self.changing():
            count = min(self.record.hints.get(exercise, 0) + 1, len(course().exercise(exercise).hints))
            self.record = replace(self.record, hints={**self.record.hints, exercise: count})
        return count

    def note_solution(self, exercise: str) -> None:
        """Keep that the solution was shown before the exercise had passed."""
        with self.changing():
            self.record = replace(self.record, given_up={**self.record.given_up, exercise: now()})

    def state_of(self, evidence: str) -> State:
        """Return the state of an exercise or a question."""
        if evidence in {exercise.id for exercise in course().exercises}:
            entry = self.record.checks.get(evidence)
            if entry is None:
                return "open"
            fresh = entry.code == code_hash(self.folder, course().exercise(evidence))
            return ("done" if fresh else "stale") if entry.passed else "wrong"
        answer = self.answers.get(evidence)
        return "open" if answer is None else "done" if answer.right else "wrong"

    def date_of(self, evidence: str) -> str | None:
        """Return when the exercise was last checked or the question last answered."""
        entry = self.record.checks.get(evidence) or self.answers.get(evidence)
        return entry.date if entry else None

    def unfinished(self) -> Exercise | None:
        """Return the first exercise, in the course's order, that has not passed with the code as it is now."""
        return next((exercise for exercise in course().exercises if self.state_of(exercise.id) != "done"), None)


@dataclass(frozen=True)
class Evidence:
    """One exercise or question, with its state and the date of its newest check or answer."""

    id: str
    state: State
    date: str | None


@dataclass(frozen=True)
class Progress:
    """An objective with all of its evidence."""

    objective: str
    text: str
    evidence: tuple[Evidence, ...]

    @property
    def date(self) -> str:
        """The day of the newest evidence; empty if there is none."""
        return max((piece.date[:10] for piece in self.evidence if piece.date), default="")

    @property
    def met(self) -> bool:
        """True if all of its evidence is done."""
        return all(piece.state == "done" for piece in self.evidence)

    @property
    def share(self) -> float:
        """The share of its evidence that is done, from 0 to 1."""
        return sum(piece.state == "done" for piece in self.evidence) / len(self.evidence)


def progress(project: Project, chosen: Course | None = None) -> tuple[Progress, ...]:
    """Return every objective of the course, in order, with its evidence."""
    chosen = chosen or course()
    return tuple(
        Progress(
            objective.id,
            objective.text,
            tuple(Evidence(id, project.state_of(id), project.date_of(id)) for id in chosen.evidence_for(objective.id)),
        )
        for objective in chosen.objectives
    )


def now() -> str:
    """Return the date and time in the form that evidence carries."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def code_hash(folder: Path, exercise: Exercise) -> str:
    """Return the hash of an exercise's file without the other exercises in it.

    Comments and layout do not count; the learner's own helpers do.
    """
    path = folder / MYGPT / exercise.file
    reference = reference_text(exercise.file)
    others = {e.name: reference for e in course().exercises if e.file == exercise.file and e.id != exercise.id}
    try:
        code = ast.dump(graft(path.read_text(encoding="utf-8"), str(path), others))
    except (OSError, SyntaxError, ValueError, RecursionError):
        code = _bytes_of(path).hex()
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def project_folder(start: Path | None = None) -> Path | None:
    """Return the folder of the project that holds this one (by default, the current folder); None if there is none."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / HOME / PROJECT).is_file() or looks_like_project(folder):
            return folder
    return None


def find_project(start: Path | None = None) -> Project:
    """Open the project that holds this folder. InputError if there is none, or if its course is not the one we teach."""
    folder = project_folder(start)
    if folder is None:
        where = (start or Path.cwd()).resolve()
        raise InputError(f"no project in {where} or above it; go into one, or make one: gptladder new DIR")
    return open_project(folder)


def open_project(folder: Path) -> Project:
    """Open the project in this very folder; what is damaged or missing is made again, and its notes say so."""
    notes: list[str] = []
    path = folder / HOME / PROJECT
    lost = not path.exists()
    if lost:
        path.parent.mkdir(exist_ok=True)
        notes.append(
            f"{HOME}/{PROJECT} is missing in {folder} (was it copied without its hidden files?); it is made again, "
            "with new numbers in the questions"
        )
    facts = _read(path, notes, Facts.from_json) or Facts(course().version)
    version = facts.course_version
    if version != course().version:
        cure = (
            "update gptladder" if version > course().version else "make a new one (gptladder new DIR) and copy mygpt/ into it"
        )
        versions = f"version {version} of the course, and this gptladder teaches version {course().version}"
        raise InputError(f"{folder} belongs to {versions}; {cure}")
    seed = secrets.randbits(31) if facts.learner_seed is None else facts.learner_seed
    text = _json_bytes(replace(facts, learner_seed=seed).to_json())
    if _bytes_of(path) != text:
        write_atomically(path, text)
    project = Project(folder, seed, notes=notes)
    project.load()
    project.damaged = project.damaged or (lost and not (project.home / RECORD).exists())
    return project


def _json_bytes(content: object) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _read(path: Path, notes: list[str], parse: Callable[[object], Read]) -> Read | None:
    """Read a JSON file; None if there is none. One that cannot be parsed is set aside, and a note says so."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        pass
    aside = path.with_name(f"{path.name}.damaged-{datetime.now():%Y%m%d-%H%M%S-%f}")
    path.rename(aside)
    notes.append(f"{path.name} was damaged; it is kept as {HOME}/{aside.name}, and a new one is made")
    return None
