"""The one list: modules, lessons, objectives, exercises and questions, read from course.toml and nowhere else."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

COURSE = Path(__file__).parent / "course.toml"
KINDS = ("explain", "trace", "calculate", "judge")  # what a question asks for; an objective's verb is one of them


class CourseError(ValueError):
    """The course contradicts itself: a mistake of ours, found when it is built, never shown to a learner."""


@dataclass(frozen=True)
class Module:
    """A part of the course: some lessons."""

    id: str  # "3"
    title: str


@dataclass(frozen=True)
class Lesson:
    """One sitting: what it teaches, and the rungs that can be trained after it."""

    id: str  # "3.3"
    title: str
    rungs: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The id of the module it belongs to."""
        return self.id.split(".")[0]


@dataclass(frozen=True)
class Objective:
    """What the learner can do after the lesson. Evidence of another kind than its verb's does not count."""

    id: str  # "3.3a"
    verb: str  # one of KINDS
    text: str

    @property
    def lesson(self) -> str:
        """The id of its lesson."""
        return self.id[:-1]


@dataclass(frozen=True)
class Exercise:
    """A function that the learner writes."""

    id: str  # "3.3-head"
    file: str  # in the package: "model/attention.py"
    name: str  # in the file: "Head.forward"
    objectives: tuple[str, ...]
    minutes: int
    allowed: str  # what may be used, as the end of a sentence
    hints: tuple[str, ...]  # from gentle to nearly the answer

    @property
    def lesson(self) -> str:
        """The id of its lesson."""
        return self.id.split("-")[0]

    @property
    def module(self) -> str:
        """The file as a dotted name: model.attention."""
        return self.file.removesuffix(".py").replace("/", ".")


@dataclass(frozen=True)
class Wrong:
    """A wrong answer that somebody who thinks so would give, and what to tell them."""

    says: str
    thinks: str  # the misconception, for the instructor's summary
    feedback: str


@dataclass(frozen=True)
class Question:
    """One question. A trace or a calculation draws its numbers from the function called `draw`, for each learner anew."""

    id: str  # "3.3a-1"
    objective: str
    kind: str  # one of KINDS
    ask: str
    because: str  # the reasoning, shown afterwards
    answer: str = ""  # of a question with choices
    wrong: tuple[Wrong, ...] = ()
    draw: str = ""  # for trace and calculate: a function of draws.py
    exhibit: str = ""  # for judge: what is shown with it, a function of exhibits.py

    @property
    def lesson(self) -> str:
        """The id of its lesson."""
        return self.objective[:-1]


@dataclass(frozen=True)
class Course:
    """The whole list, in order."""

    version: int
    modules: tuple[Module, ...]
    lessons: tuple[Lesson, ...]
    objectives: tuple[Objective, ...]
    exercises: tuple[Exercise, ...]
    questions: tuple[Question, ...]

    def exercise(self, id: str) -> Exercise:
        """By id. KeyError where there is none."""
        return {exercise.id: exercise for exercise in self.exercises}[id]

    def exercises_up_to(self, lesson: str) -> tuple[Exercise, ...]:
        """Those of this lesson and of all before it: two-part ids of digits order as text does."""
        return tuple(exercise for exercise in self.exercises if exercise.lesson <= lesson)

    def evidence_for(self, objective: str) -> tuple[str, ...]:
        """The ids of all questions and exercises that show this objective, in the course's order."""
        return (
            *(exercise.id for exercise in self.exercises if objective in exercise.objectives),
            *(question.id for question in self.questions if question.objective == objective),
        )


def _build(kind: Any, entry: Mapping[str, Any]) -> Any:  # noqa: ANN401  any of the dataclasses above
    """One entry as its dataclass, lists as tuples. CourseError on a field missing, unknown or of another type."""
    known = {field.name: field for field in fields(kind)}
    place = f"{kind.__name__.lower()} {entry.get('id', entry)}"
    if unknown := entry.keys() - known.keys():
        raise CourseError(f"{place}: unknown {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if missing := [name for name, field in known.items() if field.default is MISSING and name not in entry]:
        raise CourseError(f"{place}: {', '.join(missing)} missing")
    values = {
        name: tuple(_build(Wrong, item) if isinstance(item, dict) else item for item in value)
        if isinstance(value, list)
        else value
        for name, value in entry.items()
    }
    for name, value in values.items():
        wanted = {"str": str, "int": int}.get(str(known[name].type), tuple)
        if not isinstance(value, wanted) or value == "" or (wanted is tuple and name in ("hints", "objectives") and not value):
            raise CourseError(f"{place}: {name} is {value!r}; it must be a {wanted.__name__} that is not empty")
    return kind(**values)


def read(text: str) -> Course:
    """The course that this TOML describes. CourseError on what it does not know, misses, repeats or does not serve."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"course.toml: {error}") from None
    kinds = {"module": Module, "lesson": Lesson, "objective": Objective, "exercise": Exercise, "question": Question}
    if unknown := content.keys() - kinds.keys() - {"version"}:
        raise CourseError(f"course.toml: unknown table {', '.join(sorted(unknown))}")
    if not isinstance(content.get("version"), int):
        raise CourseError("course.toml: version is missing; it is a whole number")
    lists = {f"{name}s": tuple(_build(kind, entry) for entry in content.get(name, ())) for name, kind in kinds.items()}
    course = Course(content["version"], **lists)
    _check(course)
    return course


def _require_all(place: str, given: Iterable[str], known: Iterable[str]) -> None:
    if strange := sorted(set(given) - set(known)):
        raise CourseError(f"{place}: {', '.join(strange)} is not in the course")


def _check(course: Course) -> None:
    lessons, objectives = ({entry.id for entry in entries} for entries in (course.lessons, course.objectives))
    ids = [entry.id for group in (course.modules, course.lessons, course.objectives) for entry in group]
    ids += [entry.id for group in (course.exercises, course.questions) for entry in group]
    if twice := sorted({id for id in ids if ids.count(id) > 1}):
        raise CourseError(f"course.toml: {', '.join(twice)} stands there twice")
    for lesson in course.lessons:
        _require_all(f"lesson {lesson.id}", [lesson.module], [module.id for module in course.modules])
    for objective in course.objectives:
        _require_all(f"objective {objective.id}", [objective.lesson], lessons)
        _require_all(f"the verb of {objective.id}", [objective.verb], KINDS)
        if not any(q.objective == objective.id and q.kind == objective.verb for q in course.questions):
            raise CourseError(f"objective {objective.id}: no question of the kind {objective.verb!r} serves it")
    for exercise in course.exercises:
        _require_all(f"exercise {exercise.id}", exercise.objectives, objectives)
        _require_all(f"exercise {exercise.id}", [exercise.lesson], lessons)
    for question in course.questions:
        _require_all(f"question {question.id}", [question.objective], objectives)
        _check_question(question)
    for empty in [lesson.id for lesson in course.lessons if all(lesson.id != o.lesson for o in course.objectives)]:
        raise CourseError(f"lesson {empty}: it has no objective")


def _check_question(question: Question) -> None:
    """Choices have an answer and at least three wrong ones; what is drawn has neither."""
    _require_all(f"the kind of {question.id}", [question.kind], KINDS)
    if question.kind in ("trace", "calculate"):
        if not question.draw or question.answer or question.wrong:
            raise CourseError(f"question {question.id}: a {question.kind} has a `draw` and neither answer nor wrong")
        return
    choices = [question.answer, *(wrong.says for wrong in question.wrong)]
    if len(question.wrong) < 3 or not question.answer or len(set(choices)) < len(choices):
        raise CourseError(f"question {question.id}: it needs an answer and at least three wrong ones, all different")
    if question.kind == "judge" and not question.exhibit:
        raise CourseError(f"question {question.id}: to judge, there must be an exhibit: real curves, samples or programs")


@cache
def course() -> Course:
    """The course of this package."""
    return read(COURSE.read_text(encoding="utf-8"))
