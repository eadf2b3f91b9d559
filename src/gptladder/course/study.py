"""Studying: check an exercise and keep the result, answer a question and keep the answer, see what comes next.

A terminal, a web page and a test all call these functions. Nothing here prints.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, did_you_mean
from ..files import write_atomically
from .outline import Exercise, Lesson, course
from .questions import quiz
from .source.functions import find, function_text, with_function
from .source.packages import parse
from .source.reference import reference_text
from .workspace.evidence import Answer
from .workspace.layout import MYGPT
from .workspace.make import starter_text
from .workspace.record import Project, code_hash

if TYPE_CHECKING:
    from .examination.divergence import ComparedTensor
    from .examination.examiner import Examiner
    from .examination.verdict import Verdict

LISTED = "gptladder progress lists them all"


@dataclass(frozen=True)
class Answered:
    """An answer as it was marked. One with a gap that cannot be read is a slip, so it is not kept: ask again."""

    marked: quiz.Marked
    kept: bool


@dataclass(frozen=True)
class Traced:
    """The tensors of a learner's function beside the reference's; where there are none, the reason in words."""

    rows: tuple[ComparedTensor, ...]
    problem: str = ""


@dataclass(frozen=True)
class Reset:
    """An exercise put back as shipped: the file that was changed, and the copy of it as it was (None if it was missing)."""

    file: Path
    kept: Path | None


@dataclass(frozen=True)
class Waiting:
    """A lesson with questions that are not answered rightly yet, and how many."""

    lesson: Lesson
    count: int


@dataclass(frozen=True)
class Standing:
    """A learner's progress: how much is done, and what comes next."""

    passed: int
    total: int
    lesson: Lesson  # the one that the next exercise belongs to; the last one when all have passed
    following: Exercise | None  # the next exercise; None when all have passed
    waiting: tuple[Waiting, ...]  # the lessons up to this one that have open questions


def check(examiner: Examiner, project: Project, exercise: Exercise, mine: bool = False) -> Verdict:
    """Check an exercise and keep the result as evidence.

    An exercise that is not begun leaves no evidence. Nor does a check with the learner's own code in all other exercises
    (`mine`), since it depends on more than this exercise.
    """
    code = code_hash(project.folder, exercise)  # taken before the check: what is saved meanwhile was not checked
    verdict = examiner.examine(project.folder, exercise, mine)
    if verdict.begun and not mine:
        project.note_check(exercise.id, verdict.passed, verdict.mutant.id if verdict.mutant else None, code)
    return verdict


def check_all(examiner: Examiner, project: Project) -> Iterator[Verdict]:
    """Check every exercise, which makes a lost record again."""
    for exercise in course().exercises:
        yield check(examiner, project, exercise)


def trace(examiner: Examiner, project: Project, exercise: Exercise) -> Traced:
    """Run an exercise's first check and return what the learner's function computed, name by name."""
    from .examination import divergence
    from .examination.examiner import untouched
    from .examination.in_process import run_traced
    from .examination.judge import failure_in_words
    from .examination.protocol import Failure

    with untouched(project.home):
        outcome = examiner.run(project.folder, exercise, trace=True)
    if isinstance(outcome.trace, Failure):
        return Traced((), failure_in_words(outcome.trace))
    if outcome.trace is None:
        return Traced((), "it did not return")
    if not outcome.trace:
        return Traced((), "its first call makes no tensors")
    return Traced(tuple(divergence.compare(outcome.trace, run_traced(exercise))))


def questions(project: Project, lesson: str, again: bool = False) -> tuple[quiz.Item, ...]:
    """Return the questions of a lesson that are not answered rightly yet; with `again`, all of them."""
    found = quiz.items(lesson, project.learner_seed)
    return tuple(item for item in found if again or project.state_of(item.question.id) != "done")


def answer(project: Project, item: quiz.Item, given: Answer) -> Answered:
    """Mark an answer and keep it, unless a gap in it cannot be read."""
    marked = quiz.mark(item.question, given, project.learner_seed)
    kept = not any(blank.problem for blank in marked.blanks)
    if kept:
        project.note_answer(item.question.id, given, marked.right)
    return Answered(marked, kept)


def hints(project: Project, exercise: Exercise) -> tuple[str, ...]:
    """Return the hints shown so far and one more, and keep how many there were."""
    return exercise.hints[: project.next_hint(exercise.id)]


def solution(project: Project, exercise: Exercise, give_up: bool = False) -> str | None:
    """Return the reference's function, or None if the exercise has not passed. `give_up` shows it anyway, which is kept."""
    if project.state_of(exercise.id) != "done":
        if not give_up:
            return None
        project.note_solution(exercise.id)
    return function_text(reference_text(exercise.file), exercise.name)


def reset(project: Project, exercise: Exercise) -> Reset:
    """Put an exercise's function back as it was shipped; the rest of its file stays, and a copy of the file is kept beside it.

    InputError if there is nothing to put back, or if Python cannot read the file.
    """
    name = f"{MYGPT}/{exercise.file}"
    path, shipped = project.folder / name, starter_text(exercise.file)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, shipped.encode())
        return Reset(path, None)
    content = path.read_bytes()
    try:
        tree = parse(content, name)
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = content.decode(encoding)
        changed = with_function(text, tree, exercise.name, shipped)
        find(parse(changed.encode(encoding), name), exercise.name)
    except KeyError:
        raise InputError(
            f"{name} has no place for {exercise.name}; rename the file: the next reset then puts it there whole, as shipped"
        ) from None
    except (SyntaxError, UnicodeError) as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise InputError(
            f"Python cannot read {name}{where} ({getattr(error, 'msg', error)}), so {exercise.name} cannot be found in it; "
            "mend that, or rename the file: the next reset then puts it there whole, as shipped"
        ) from None
    if changed == text:
        raise InputError(f"{exercise.id} is as shipped already: {exercise.name} in {name}; there is nothing to reset")
    kept = path.with_name(f"{path.name}.before-reset-{datetime.now():%Y%m%d-%H%M%S-%f}")
    kept.write_bytes(content)
    write_atomically(path, changed.encode(encoding))
    return Reset(path, kept)


def standing(project: Project) -> Standing:
    """Return how many exercises have passed, the next one, and the questions that wait up to its lesson."""
    chosen = course()
    states = {exercise: project.state_of(exercise.id) for exercise in chosen.exercises}
    following = next((exercise for exercise, state in states.items() if state != "done"), None)
    lesson = chosen.lessons[-1]
    if following is not None:
        lesson = next(entry for entry in chosen.lessons if entry.id == following.lesson)
    waiting = []
    for entry in chosen.lessons[: chosen.lessons.index(lesson) + 1]:
        asked = [question for question in chosen.questions if question.lesson == entry.id]
        if count := sum(project.state_of(question.id) != "done" for question in asked):
            waiting.append(Waiting(entry, count))
    passed = sum(state == "done" for state in states.values())
    return Standing(passed, len(states), lesson, following, tuple(waiting))


def exercise_meant(project: Project, given: str) -> Exercise:
    """Return the exercise that somebody means.

    It may be called by its id, the id's tail or the function's name. A lesson, an objective, a file or a class stands for the
    next unfinished exercise in it, or for the last one if all have passed. InputError if none is meant.
    """
    if found := _matching(given, _own_names):
        if len(found) > 1:
            raise InputError(f"{given!r} can mean {len(found)} functions; say which, such as {found[0].name} or {found[0].id}")
        return found[0]
    if found := _matching(given, _group_names):
        return next((exercise for exercise in found if project.state_of(exercise.id) != "done"), found[-1])
    if any(lesson.id == given for lesson in course().lessons):
        raise InputError(f"lesson {given} has no exercise, only questions: gptladder quiz {given}")
    raise InputError(f"no exercise {given!r}; {did_you_mean(given, _all_names())}{LISTED}")


def lesson_meant(given: str) -> Lesson:
    """Return the lesson that somebody means: by its id, one of its objectives, or one of its exercises.

    InputError if none is meant.
    """
    lessons = course().lessons
    exercises = _matching(given, _own_names) or _matching(given, _group_names)
    found = {exercise.lesson for exercise in exercises}
    found |= {objective.lesson for objective in course().objectives if given in (objective.id, objective.lesson)}
    if len(found) > 1:
        raise InputError(f"{given!r} belongs to the lessons {', '.join(sorted(found))}; give one of them")
    for lesson in lessons:
        if lesson.id in found:
            return lesson
    near = did_you_mean(given, [*(lesson.id for lesson in lessons), *_all_names()])
    raise InputError(f"no lesson {given!r}; {near}they go from {lessons[0].id} to {lessons[-1].id}; {LISTED}")


def _matching(given: str, names: Callable[[Exercise], tuple[str, ...]]) -> list[Exercise]:
    """Return the exercises that have this name, in capitals or not."""
    wanted = given.strip().casefold()
    return [exercise for exercise in course().exercises if wanted in {name.casefold() for name in names(exercise)}]


def _own_names(exercise: Exercise) -> tuple[str, ...]:
    """Return the names of one exercise: 3.3-head, head, Head.forward. A name such as `forward` is shared by several."""
    return exercise.id, exercise.id.partition("-")[2], exercise.name, exercise.name.rpartition(".")[2]


def _group_names(exercise: Exercise) -> tuple[str, ...]:
    """Return the names of what an exercise is part of: its lesson, objectives, class and file."""
    path = Path(exercise.file)
    files = (exercise.file, f"{MYGPT}/{exercise.file}", path.name, path.stem, exercise.module)
    return exercise.lesson, *exercise.objectives, exercise.name.partition(".")[0], *files


def _all_names() -> list[str]:
    return [name for exercise in course().exercises for name in (*_own_names(exercise), Path(exercise.file).name)]
