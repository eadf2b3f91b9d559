"""A learner's project and what is known of it: evidence with its date and the code that it saw.

    .gptladder/project.json   the course's version, and the seed of this learner's numbers
    .gptladder/record.json    what was checked, hinted and shown; it can be made again from code and answers
    .gptladder/answers.json   the learner's answers, in their own words

Only the verbs write here, each file whole or not at all.
"""

from __future__ import annotations

import ast
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from ...errors import InputError
from ...files import write_atomically
from ..outline import Course, Exercise, course
from ..source.packages import graft
from ..source.reference import reference_texts
from .layout import HOME, LOCK, MYGPT, PROJECT

RECORD, ANSWERS = "record.json", "answers.json"
FORMAT = 1
Migration = Callable[[dict[str, Any]], dict[str, Any]]
MIGRATIONS: dict[int, Migration] = {}  # course version -> what makes its project.json one of the next version


@dataclass
class Project:
    """A learner's folder. `notes` are to be said once: what had to be mended when it was opened."""

    folder: Path
    learner_seed: int
    record: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    damaged: bool = False  # the record was lost: it should be made again from the code

    @property
    def home(self) -> Path:
        """Where the verbs keep what they know."""
        return self.folder / HOME

    @contextmanager
    def changing(self) -> Iterator[None]:
        """What is changed inside is kept, and so is what another verb has written since this one began."""
        self.home.mkdir(exist_ok=True)
        with FileLock(self.home / LOCK):
            self.load()
            yield
            for name, content in ((RECORD, {"format": FORMAT, **self.record}), (ANSWERS, self.answers)):
                write_atomically(self.home / name, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())

    def load(self) -> None:
        """Record and answers as they are on the disk; what is damaged is set aside and noted."""
        known = len(self.notes)
        record = _read(self.home / RECORD, self.notes, _is_record)
        self.damaged = self.damaged or len(self.notes) > known
        self.record = {key: value for key, value in (record or {}).items() if key != "format"}
        self.answers = _read(self.home / ANSWERS, self.notes, _is_answers) or {}

    def note_check(self, exercise: str, passed: bool, mutant: str | None, code: str | None = None) -> None:
        """Keeps what a check found, and the hash of the code that it saw: that of now if none is given."""
        seen = code or code_hash(self.folder, course().exercise(exercise))
        with self.changing():
            entry = {"passed": passed, "date": now(), "code": seen, "mutant": mutant}
            self.record.setdefault("checks", {})[exercise] = entry

    def note_answer(self, question: str, answer: Any, right: bool) -> None:  # noqa: ANN401  as quiz.mark takes it
        """Keeps an answer, and whether it was right; the newest counts."""
        with self.changing():
            tries = self.answers.get(question, {}).get("tries", 0) + 1
            self.answers[question] = {"answer": answer, "right": right, "date": now(), "tries": tries}

    def next_hint(self, exercise: str) -> int:
        """How many hints to show now: one more than the last time, and never more than there are."""
        with self.changing():
            hints = self.record.setdefault("hints", {})
            hints[exercise] = min(hints.get(exercise, 0) + 1, len(course().exercise(exercise).hints))
        return int(hints[exercise])

    def note_solution(self, exercise: str) -> None:
        """Keeps that the solution was shown to somebody who gave up."""
        with self.changing():
            self.record.setdefault("given_up", {})[exercise] = now()

    def state_of(self, evidence: str) -> str:
        """Of an exercise or question: done, stale (the code has changed since), wrong or open."""
        if evidence in {exercise.id for exercise in course().exercises}:
            entry = self.record.get("checks", {}).get(evidence)
            if entry is None:
                return "open"
            fresh = entry["code"] == code_hash(self.folder, course().exercise(evidence))
            return ("done" if fresh else "stale") if entry["passed"] else "wrong"
        answer = self.answers.get(evidence)
        return "open" if answer is None else "done" if answer["right"] else "wrong"

    def date_of(self, evidence: str) -> str | None:
        """When that was last seen."""
        entry = self.record.get("checks", {}).get(evidence) or self.answers.get(evidence)
        return entry["date"] if entry else None

    def unfinished(self) -> Exercise | None:
        """The first exercise, in the course's order, that has not passed as it stands."""
        return next((exercise for exercise in course().exercises if self.state_of(exercise.id) != "done"), None)


@dataclass(frozen=True)
class Progress:
    """An objective with the state and date of each piece of its evidence."""

    objective: str
    text: str
    evidence: tuple[tuple[str, str, str | None], ...]  # id, state, date

    @property
    def date(self) -> str:
        """The day of the newest piece; empty if there is none."""
        return max((date[:10] for _, _, date in self.evidence if date), default="")

    @property
    def met(self) -> bool:
        """All of its evidence is there and fresh."""
        return all(state == "done" for _, state, _ in self.evidence)

    @property
    def share(self) -> float:
        """How much of its evidence is there and fresh, from 0 to 1."""
        return sum(state == "done" for _, state, _ in self.evidence) / len(self.evidence)


def progress(project: Project, chosen: Course | None = None) -> tuple[Progress, ...]:
    """Every objective of the course, in order."""
    chosen = chosen or course()
    return tuple(
        Progress(
            objective.id,
            objective.text,
            tuple((id, project.state_of(id), project.date_of(id)) for id in chosen.evidence_for(objective.id)),
        )
        for objective in chosen.objectives
    )


def now() -> str:
    """The date and time as evidence carries it."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def code_hash(folder: Path, exercise: Exercise) -> str:
    """Of the exercise's file without the other exercises in it: comments and layout do not count, helpers do."""
    path = folder / MYGPT / exercise.file
    texts = reference_texts()
    others = {e.name: texts[e.file] for e in course().exercises if e.file == exercise.file and e.id != exercise.id}
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


def find_project(start: Path | None = None) -> Project:
    """The project that holds this folder. InputError if there is none, or if it is of a course that we do not know."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / HOME / PROJECT).is_file():
            return open_project(folder)
    raise InputError(f"no project in {start} or above it; go into one, or make one: gptladder new DIR")


def open_project(folder: Path) -> Project:
    """The project in this very folder; what is damaged is set aside and said in its notes."""
    notes: list[str] = []
    path = folder / HOME / PROJECT
    facts = _read(path, notes, lambda content: isinstance(content.get("course_version"), int))
    if facts is None:
        facts = {"course_version": course().version, "learner_seed": None}
    version = facts["course_version"]
    while version < course().version and version in MIGRATIONS:
        facts = MIGRATIONS[version](facts)
        version = facts["course_version"]
        notes.append(f"this project was of an older course; it is now of course version {version}")
    if version != course().version:
        cure = (
            "update gptladder" if version > course().version else "make a new one (gptladder new DIR) and copy mygpt/ into it"
        )
        raise InputError(f"{folder} is of course version {version}, this gptladder teaches {course().version}; {cure}")
    if not isinstance(facts.get("learner_seed"), int):
        facts["learner_seed"] = secrets.randbits(31)
    text = (json.dumps(facts, indent=2) + "\n").encode()
    if _bytes_of(path) != text:
        write_atomically(path, text)
    project = Project(folder, facts["learner_seed"], notes=notes)
    project.load()
    return project


def _is_record(content: dict[str, Any]) -> bool:
    checks = content.get("checks", {})
    return (
        content.get("format") == FORMAT
        and all(isinstance(content.get(name, {}), dict) for name in ("checks", "hints", "given_up"))
        and all(isinstance(entry, dict) and {"passed", "date", "code"} <= entry.keys() for entry in checks.values())
    )


def _is_answers(content: dict[str, Any]) -> bool:
    return all(isinstance(entry, dict) and {"answer", "right", "date"} <= entry.keys() for entry in content.values())


def _read(path: Path, notes: list[str], fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """The JSON object in a file, if it is one that fits; else it is set aside, and a note says so. None if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and fits(content):
            return content
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        pass
    aside = path.with_name(f"{path.name}.damaged-{datetime.now():%Y%m%d-%H%M%S-%f}")
    path.rename(aside)
    notes.append(f"{path.name} was damaged; it is kept as {HOME}/{aside.name}, and made anew")
    return None
