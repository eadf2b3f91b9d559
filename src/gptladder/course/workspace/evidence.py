"""The typed contents of the three files in which a project's evidence is kept. Each is read strictly, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import UnionType
from typing import Any, Literal

FORMAT = 1  # of record.json
State = Literal["done", "stale", "wrong", "open"]  # stale: it passed, and the code has changed since
Answer = str | dict[str, str]  # the text of a choice, or what was typed into each gap


@dataclass(frozen=True)
class CheckEvidence:
    """The result of an exercise's newest check."""

    passed: bool
    date: str
    code: str  # the hash of the code that was checked
    mutant: str | None  # the id of the known mistake that the code makes

    @classmethod
    def from_json(cls, content: object) -> CheckEvidence:
        """Read an entry of record.json. ValueError if it is anything else."""
        return cls(**_entry(content, passed=bool, date=str, code=str, mutant=str | None))


@dataclass(frozen=True)
class AnswerEvidence:
    """The newest answer to a question."""

    answer: Answer
    right: bool
    date: str
    tries: int

    @classmethod
    def from_json(cls, content: object) -> AnswerEvidence:
        """Read an entry of answers.json. ValueError if it is anything else."""
        found = cls(**_entry(content, answer=str | dict, right=bool, date=str, tries=int))
        if isinstance(found.answer, dict):
            _table(found.answer, str)
        return found


@dataclass(frozen=True)
class Record:
    """The content of record.json, each table by exercise."""

    checks: Mapping[str, CheckEvidence] = field(default_factory=dict)
    hints: Mapping[str, int] = field(default_factory=dict)  # how many were shown
    given_up: Mapping[str, str] = field(default_factory=dict)  # when the solution was shown before the exercise had passed

    @classmethod
    def from_json(cls, content: object) -> Record:
        """Read the content of record.json. ValueError if it is anything else."""
        tables = _table(content, dict | int)
        if tables.pop("format", None) != FORMAT or tables.keys() - {"checks", "hints", "given_up"}:
            raise ValueError("not a record of this format")
        checks = {id: CheckEvidence.from_json(entry) for id, entry in _table(tables.get("checks", {}), dict).items()}
        return cls(checks, _table(tables.get("hints", {}), int), _table(tables.get("given_up", {}), str))

    def to_json(self) -> dict[str, object]:
        """Return what record.json holds."""
        return {"format": FORMAT, **asdict(self)}


@dataclass(frozen=True)
class Facts:
    """The content of project.json: the course's version, and the seed, which is drawn when a project is first opened."""

    course_version: int
    learner_seed: int | None = None

    @classmethod
    def from_json(cls, content: object) -> Facts:
        """Read the content of project.json. ValueError if it is anything else.

        Other keys are passed over: a project of another course may have them, and is refused by its version.
        """
        wanted = {"course_version", "learner_seed"}
        found = {name: value for name, value in _table(content, object).items() if name in wanted}
        return cls(**_entry({"learner_seed": None, **found}, course_version=int, learner_seed=int | None))

    def to_json(self) -> dict[str, object]:
        """Return what project.json holds."""
        return asdict(self)


def answers_from_json(content: object) -> dict[str, AnswerEvidence]:
    """Read the content of answers.json, by question. ValueError if it is anything else."""
    return {question: AnswerEvidence.from_json(entry) for question, entry in _table(content, dict).items()}


def _table(content: object, kind: type | UnionType) -> dict[str, Any]:
    """Return a copy of a JSON object whose values are all of this type. ValueError if it is anything else."""
    if not isinstance(content, dict) or not all(isinstance(value, kind) for value in content.values()):
        raise ValueError(f"not a table of {kind}")
    return dict(content)


def _entry(content: object, **kinds: type | UnionType) -> dict[str, Any]:
    """Return a JSON object that has exactly these fields, each of its type. ValueError if it is anything else."""
    found = _table(content, object)
    if found.keys() != kinds.keys() or not all(isinstance(found[name], kind) for name, kind in kinds.items()):
        raise ValueError(f"not an entry of {', '.join(kinds)}")
    return found
