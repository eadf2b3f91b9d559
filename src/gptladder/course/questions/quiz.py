"""The questions of a lesson as one learner gets them, and the marking of answers. Nothing here prints.

The answer to a choice is the text of that choice; the answer to a question with gaps is {name of the gap: what was typed}. So
answers can be kept as JSON, and whoever knows the learner's seed can mark them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ..outline import Course, CourseError, Question, course
from .blanks import Blank, GapText, read_answer
from .draws import DRAWS
from .exhibits import EXHIBITS
from .stable_random import StableRandom

EXHIBITS_BY_NAME: dict[str, Callable[[], str]] = {exhibit.__name__: exhibit for exhibit in EXHIBITS}
T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """A question as one learner sees it: a text to look at (or ""), then either choices in an order of their own, or gaps."""

    question: Question
    shown: str
    choices: tuple[str, ...] = ()
    blanks: tuple[Blank, ...] = ()


@dataclass(frozen=True)
class MarkedBlank:
    """The mark of one gap."""

    name: str
    given: str  # what was typed
    right: bool
    problem: str  # why it could not be read, in a sentence, or ""
    answer: str  # the right one
    why: str  # how to get it


@dataclass(frozen=True)
class Marked:
    """The mark of an answer, and what to say about it."""

    right: bool
    because: str  # the reasoning, shown whatever the answer was
    blanks: tuple[MarkedBlank, ...] = ()
    feedback: str = ""  # on the wrong choice that was taken
    thinks: str = ""  # the misconception behind that choice


def seed_of(question: Question, learner_seed: int) -> int:
    """Return the seed for the numbers, or the order of the choices, that one learner gets in one question."""
    digest = hashlib.blake2b(f"{learner_seed}/{question.id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def item(question: Question, learner_seed: int) -> Item:
    """Return the question as this learner sees it. CourseError if there is no draw or exhibit of the name it gives."""
    if question.draw:
        drawn = _drawn(question, learner_seed)
        return Item(question, drawn.shown, blanks=drawn.blanks)
    choices = StableRandom(seed_of(question, learner_seed)).shuffled(
        (question.answer, *(wrong.says for wrong in question.wrong))
    )
    shown = _named(EXHIBITS_BY_NAME, question, question.exhibit)() if question.exhibit else ""
    return Item(question, shown, choices=tuple(choices))


def _drawn(question: Question, learner_seed: int) -> GapText:
    return _named(DRAWS, question, question.draw)(seed_of(question, learner_seed))


def _named(there: Mapping[str, T], question: Question, name: str) -> T:
    if name not in there:
        raise CourseError(f"question {question.id}: there is no {name!r}; there are {', '.join(there)}")
    return there[name]


def items(lesson: str, learner_seed: int, chosen: Course | None = None) -> tuple[Item, ...]:
    """Return the questions of a lesson, in the order of its objectives."""
    chosen = chosen or course()
    objectives = [objective.id for objective in chosen.objectives]
    asked = [question for question in chosen.questions if question.lesson == lesson]
    return tuple(item(question, learner_seed) for question in sorted(asked, key=lambda q: objectives.index(q.objective)))


def mark(question: Question, answer: object, learner_seed: int) -> Marked:
    """Mark an answer, which may be any value from JSON. A value that cannot be an answer is wrong, and the mark says why."""
    if question.draw:
        given = answer if isinstance(answer, dict) else {}
        blanks = tuple(_mark_blank(blank, given.get(blank.name)) for blank in _drawn(question, learner_seed).blanks)
        return Marked(all(blank.right for blank in blanks), question.because, blanks)
    if answer == question.answer:
        return Marked(True, question.because)
    taken = next((wrong for wrong in question.wrong if wrong.says == answer), None)
    if taken is None:
        return Marked(False, question.because, feedback="That is not one of the choices: take one of those shown.")
    return Marked(False, question.because, feedback=taken.feedback, thinks=taken.thinks)


def _mark_blank(blank: Blank, given: object) -> MarkedBlank:
    text = str(given) if isinstance(given, str | int | float) else ""
    try:
        right, problem = read_answer(text, blank), ""
    except ValueError as error:
        right, problem = False, str(error)
    return MarkedBlank(blank.name, text, right, problem, blank.answer_text, blank.why)


def problems(chosen: Course | None = None) -> Iterator[str]:
    """Yield every draw and exhibit that a question names but that does not exist, and every one that no question uses."""
    questions = (chosen or course()).questions
    for there, named in (
        (DRAWS, {q.id: q.draw for q in questions}),
        (EXHIBITS_BY_NAME, {q.id: q.exhibit for q in questions}),
    ):
        yield from (f"question {id}: there is no {name!r}" for id, name in named.items() if name and name not in there)
        yield from (f"{name}: no question uses it" for name in there if name not in named.values())
