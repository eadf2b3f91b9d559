"""The one list of the course: modules, lessons, objectives, exercises and questions, all read from course.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

COURSE = Path(__file__).parent / "course.toml"
Kind = Literal["explain", "trace", "calculate", "judge"]  # what a question asks for, and what an objective is about
KINDS: tuple[Kind, ...] = get_args(Kind)
Entry = TypeVar("Entry")  # one of the dataclasses below


class CourseError(ValueError):
    """The course contradicts itself. This is a mistake of its authors, found by `course verify` and the tests."""


@dataclass(frozen=True)
class Module:
    """A part of the course that holds some lessons."""

    id: str  # "3"
    title: str


@dataclass(frozen=True)
class Lesson:
    """A lesson, meant for one sitting, and the rungs that can be trained after it."""

    id: str  # "3.3"
    title: str
    rungs: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The id of its module."""
        return self.id.split(".")[0]


@dataclass(frozen=True)
class Objective:
    """An ability that a lesson gives. A question asks for it only if the question's kind is the objective's verb."""

    id: str  # "3.3a"
    verb: Kind
    text: str

    @property
    def lesson(self) -> str:
        """The id of its lesson."""
        return self.id[:-1]


@dataclass(frozen=True)
class Exercise:
    """A function that the learner writes."""

    id: str  # "3.3-head"
    file: str  # within the package: "model/attention.py"
    name: str  # within the file: "Head.forward"
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
class WrongChoice:
    """A wrong choice, the misconception that leads to it, and what to tell those who take it."""

    says: str
    thinks: str  # the misconception, as the instructor's summary names it
    feedback: str


@dataclass(frozen=True)
class Question:
    """A question: with choices (explain, judge) or with numbers drawn for each learner (trace, calculate)."""

    id: str  # "3.3a-1"
    objective: str
    kind: Kind
    ask: str
    because: str  # the reasoning, shown afterwards
    answer: str = ""  # the right choice, where there are choices
    wrong: tuple[WrongChoice, ...] = ()
    draw: str = ""  # for trace and calculate: the name of a function in questions/draws
    exhibit: str = ""  # for judge: the name of a function in questions/exhibits.py, whose text is shown

    @property
    def lesson(self) -> str:
        """The id of its lesson."""
        return self.objective[:-1]


@dataclass(frozen=True)
class Course:
    """The whole list, in the order of course.toml."""

    version: int
    modules: tuple[Module, ...]
    lessons: tuple[Lesson, ...]
    objectives: tuple[Objective, ...]
    exercises: tuple[Exercise, ...]
    questions: tuple[Question, ...]

    def exercise(self, id: str) -> Exercise:
        """Return the exercise with this id. KeyError if there is none."""
        return {exercise.id: exercise for exercise in self.exercises}[id]

    def exercises_up_to(self, lesson: str) -> tuple[Exercise, ...]:
        """Return the exercises of this lesson and of all lessons before it."""
        return tuple(exercise for exercise in self.exercises if exercise.lesson <= lesson)  # "3.3" < "4.1" as text too

    def evidence_for(self, objective: str) -> tuple[str, ...]:
        """Return the ids of the exercises and then the questions for this objective, in the order of the course."""
        return (
            *(exercise.id for exercise in self.exercises if objective in exercise.objectives),
            *(question.id for question in self.questions if question.objective == objective),
        )


def _build(dataclass_: type[Entry], entry: Mapping[str, Any]) -> Entry:
    """Return one entry as its dataclass, lists as tuples. CourseError on a field missing, unknown or of the wrong type."""
    known = {field.name: field for field in fields(dataclass_)}  # type: ignore[arg-type]  # each of them is a dataclass
    place = f"{dataclass_.__name__.lower()} {entry.get('id', entry)}"
    if unknown := entry.keys() - known.keys():
        raise CourseError(f"{place}: unknown {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if missing := [name for name, field in known.items() if field.default is MISSING and name not in entry]:
        raise CourseError(f"{place}: {', '.join(missing)} missing")
    values = {
        name: tuple(_build(WrongChoice, item) if isinstance(item, dict) else item for item in value)
        if isinstance(value, list)
        else value
        for name, value in entry.items()
    }
    for name, value in values.items():
        wanted = {"str": str, "Kind": str, "int": int}.get(str(known[name].type), tuple)
        if not isinstance(value, wanted) or value == "" or (wanted is tuple and name in ("hints", "objectives") and not value):
            raise CourseError(f"{place}: {name} is {value!r}; it must be a {wanted.__name__} that is not empty")
    return dataclass_(**values)


def read(text: str) -> Course:
    """Return the course that this TOML describes. CourseError if a part is unknown, missing, repeated or unused."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"course.toml: {error}") from None
    tables = ("module", "lesson", "objective", "exercise", "question")
    if unknown := content.keys() - {"version", *tables}:
        raise CourseError(f"course.toml: unknown table {', '.join(sorted(unknown))}")
    if not isinstance(content.get("version"), int):
        raise CourseError("course.toml: version is missing; it is a whole number")
    course = Course(
        content["version"],
        modules=tuple(_build(Module, entry) for entry in content.get("module", ())),
        lessons=tuple(_build(Lesson, entry) for entry in content.get("lesson", ())),
        objectives=tuple(_build(Objective, entry) for entry in content.get("objective", ())),
        exercises=tuple(_build(Exercise, entry) for entry in content.get("exercise", ())),
        questions=tuple(_build(Question, entry) for entry in content.get("question", ())),
    )
    _check(course)
    return course


def _require_all(place: str, given: Iterable[str], known: Iterable[str]) -> None:
    if strange := sorted(set(given) - set(known)):
        raise CourseError(f"{place}: {', '.join(strange)} is not in the course")


def _check(course: Course) -> None:
    """Check that every id is there once, every reference leads somewhere, every objective has a question of its own kind."""
    lessons, objectives = ({entry.id for entry in entries} for entries in (course.lessons, course.objectives))
    ids = [entry.id for group in (course.modules, course.lessons, course.objectives) for entry in group]
    ids += [entry.id for group in (course.exercises, course.questions) for entry in group]
    if twice := sorted({id for id in ids if ids.count(id) > 1}):
        raise CourseError(f"course.toml: {', '.join(twice)} is in it twice")
    for lesson in course.lessons:
        _require_all(f"lesson {lesson.id}", [lesson.module], [module.id for module in course.modules])
    for objective in course.objectives:
        _require_all(f"objective {objective.id}", [objective.lesson], lessons)
        _require_all(f"the verb of {objective.id}", [objective.verb], KINDS)
        if not any(q.objective == objective.id and q.kind == objective.verb for q in course.questions):
            raise CourseError(f"objective {objective.id}: no question of the kind {objective.verb!r} asks for it")
    for exercise in course.exercises:
        _require_all(f"exercise {exercise.id}", exercise.objectives, objectives)
        _require_all(f"exercise {exercise.id}", [exercise.lesson], lessons)
    for question in course.questions:
        _require_all(f"question {question.id}", [question.objective], objectives)
        _check_question(question)
    for empty in [lesson.id for lesson in course.lessons if all(lesson.id != o.lesson for o in course.objectives)]:
        raise CourseError(f"lesson {empty}: it has no objective")


def _check_question(question: Question) -> None:
    """Check that a question with choices has an answer and three wrong choices or more, and a drawn question neither."""
    _require_all(f"the kind of {question.id}", [question.kind], KINDS)
    if question.kind in ("trace", "calculate"):
        if not question.draw or question.answer or question.wrong:
            raise CourseError(f"question {question.id}: a {question.kind} has a `draw`, and neither `answer` nor `wrong`")
        return
    choices = [question.answer, *(wrong.says for wrong in question.wrong)]
    if len(question.wrong) < 3 or not question.answer or len(set(choices)) < len(choices):
        raise CourseError(f"question {question.id}: it needs an `answer` and at least three `wrong` choices, all different")
    if question.kind == "judge" and not question.exhibit:
        raise CourseError(
            f"question {question.id}: a question of the kind 'judge' needs an `exhibit`: real curves, samples or programs"
        )


@cache
def course() -> Course:
    """Return the course of this package."""
    return read(COURSE.read_text(encoding="utf-8"))
