"""The questions of a lesson as one learner gets them, and the marking of answers. Nothing here prints.

A choice is answered with its own text, a drawn question with {name of the gap: what was typed}; so answers can be kept as
JSON and marked again by anybody who knows the learner's seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..outline import Course, CourseError, Question, course
from .blanks import Blank, Dice, read_answer
from .draws import DRAWN
from .exhibits import EXHIBITS

EXHIBITED: dict[str, Callable[[], str]] = {exhibit.__name__: exhibit for exhibit in EXHIBITS}


@dataclass(frozen=True)
class Item:
    """A question as this learner sees it: something shown (or ""), then either choices in an order of theirs, or gaps."""

    question: Question
    shown: str
    choices: tuple[str, ...] = ()
    blanks: tuple[Blank, ...] = ()


@dataclass(frozen=True)
class MarkedBlank:
    """One gap: what was given, whether it is right, and if it could not be read, why."""

    name: str
    given: str
    right: bool
    problem: str  # a sentence, or ""
    answer: str
    why: str


@dataclass(frozen=True)
class Marked:
    """What an answer is worth, and what to say about it."""

    right: bool
    because: str  # the reasoning, shown whatever the answer was
    blanks: tuple[MarkedBlank, ...] = ()
    feedback: str = ""  # to the wrong choice that was taken
    thinks: str = ""  # what somebody thinks who takes it


def seed_of(question: Question, learner_seed: int) -> int:
    """The seed of one question's numbers and order for one learner."""
    digest = hashlib.blake2b(f"{learner_seed}/{question.id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def item(question: Question, learner_seed: int) -> Item:
    """The question as this learner sees it. CourseError if what it names is not there."""
    seed = seed_of(question, learner_seed)
    if question.draw:
        drawn = _known(DRAWN, question, question.draw)(seed)
        return Item(question, drawn.shown, blanks=drawn.blanks)
    choices = Dice(seed).shuffled((question.answer, *(wrong.says for wrong in question.wrong)))
    shown = _known(EXHIBITED, question, question.exhibit)() if question.exhibit else ""
    return Item(question, shown, choices=tuple(choices))


def _known(there: Mapping[str, Any], question: Question, name: str) -> Any:  # noqa: ANN401  a draw or an exhibit
    if name not in there:
        raise CourseError(f"question {question.id}: there is no {name!r}; there are {', '.join(there)}")
    return there[name]


def items(lesson: str, learner_seed: int, chosen: Course | None = None) -> tuple[Item, ...]:
    """The questions of a lesson, in the order of its objectives."""
    chosen = chosen or course()
    objectives = [objective.id for objective in chosen.objectives]
    asked = [question for question in chosen.questions if question.lesson == lesson]
    return tuple(item(question, learner_seed) for question in sorted(asked, key=lambda q: objectives.index(q.objective)))


def mark(question: Question, answer: object, learner_seed: int) -> Marked:
    """Marks an answer as JSON brings it; anything that is none is wrong, in words."""
    if question.draw:
        drawn = _known(DRAWN, question, question.draw)(seed_of(question, learner_seed))
        given = answer if isinstance(answer, dict) else {}
        blanks = tuple(_mark_blank(blank, given.get(blank.name)) for blank in drawn.blanks)
        return Marked(all(blank.right for blank in blanks), question.because, blanks)
    if answer == question.answer:
        return Marked(True, question.because)
    taken = next((wrong for wrong in question.wrong if wrong.says == answer), None)
    if taken is None:
        return Marked(False, question.because, feedback="That is none of the choices; take one of those shown.")
    return Marked(False, question.because, feedback=taken.feedback, thinks=taken.thinks)


def _mark_blank(blank: Blank, given: object) -> MarkedBlank:
    text = str(given) if isinstance(given, str | int | float) else ""
    try:
        right, problem = read_answer(text, blank), ""
    except ValueError as error:
        right, problem = False, str(error)
    return MarkedBlank(blank.name, text, right, problem, blank.answer_text, blank.why)


def problems(chosen: Course | None = None) -> Iterator[str]:
    """What the questions name and is not there, and what is there and no question names."""
    questions = (chosen or course()).questions
    for there, named in ((DRAWN, {q.id: q.draw for q in questions}), (EXHIBITED, {q.id: q.exhibit for q in questions})):
        yield from (f"question {id}: there is no {name!r}" for id, name in named.items() if name and name not in there)
        yield from (f"{name}: no question uses it" for name in there if name not in named.values())
