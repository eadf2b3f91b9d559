"""The learner's verbs: a project, its exercises, its questions, how far it has come."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from ..course.examination.examiner import Examiner
    from ..course.examination.verdict import Verdict
    from ..course.outline import Exercise
    from ..course.questions.quiz import Item
    from ..course.workspace.record import Project

LEARN = "Learn"
WATCH_SECONDS = 0.2
app = typer.Typer()
ExerciseArgument = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="Such as 3.3-head; the next unfinished if left out.")
]


@app.command(rich_help_panel=LEARN)
def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The project's folder, or with --zip the archive's name.")],
    completed: Annotated[bool, typer.Option("--completed", help="Everything written: to read, train and change.")] = False,
    zip_: Annotated[bool, typer.Option("--zip", help="Write DIR.zip instead, the same bytes each time.")] = False,
) -> None:
    """Make a project: mygpt/ with the exercises to write, train.py, generate.py, a text."""
    from ..course.workspace.make import check_free, project_files, write_project, zipped
    from ..files import write_atomically

    files = project_files(completed)
    if zip_:
        archive = folder if folder.suffix == ".zip" else folder.with_name(f"{folder.name}.zip")
        check_free(archive)
        archive.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(archive, zipped(archive.stem, files))
        print(f"written: {archive}")
        return
    write_project(folder, files)
    first = "python train.py bigram" if completed else "gptladder check"
    kind = "the completed" if completed else "a starter"
    print(f"made: {folder}, {kind} project. Begin with its README.md; then\n  cd {folder}\n  {first}")


def _project() -> Project:
    from ..course.workspace import record

    project = record.find_project()
    for note in project.notes:
        print(f"note: {note}", file=sys.stderr)
    if project.damaged:
        _rebuild(project)
    return project


def _rebuild(project: Project) -> None:
    """The record made again from what it is a record of."""
    from ..course.examination.examiner import Examiner
    from ..course.outline import course

    print("note: checking every exercise again, to make the record anew", file=sys.stderr)
    with Examiner() as examiner:
        for exercise in course().exercises:
            _examine(examiner, project, exercise)


def _examine(examiner: Examiner, project: Project, exercise: Exercise, mine: bool = False) -> Verdict:
    """The verdict on an exercise, kept as evidence unless it stands on more than the exercise alone."""
    from ..course.workspace.record import code_hash

    code = code_hash(project.folder, exercise)  # before: what is saved meanwhile was not seen
    verdict = examiner.examine(project.folder, exercise, mine)
    if verdict.begun and not mine:
        project.note_check(exercise.id, verdict.passed, verdict.mutant.id if verdict.mutant else None, code)
    return verdict


def _exercise(project: Project, id: str | None) -> Exercise | None:
    """The one named, or the next unfinished; None if all are done. InputError lists those that there are."""
    from ..course.outline import course

    if id is None:
        return project.unfinished()
    try:
        return course().exercise(id)
    except KeyError:
        raise InputError(f"no exercise {id!r}; there are {', '.join(e.id for e in course().exercises)}") from None


@app.command(rich_help_panel=LEARN)
def check(
    id: ExerciseArgument = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again whenever a file is saved; goes on when it passes.")] = False,
    mine: Annotated[bool, typer.Option("--mine", help="With your own code in all other exercises too.")] = False,
) -> None:
    """Say whether an exercise is right, and if not, what exactly is wrong."""
    project = _project()
    exercise = _exercise(project, id)
    if exercise is None:
        print("Every exercise has passed. Train your own GPT: python train.py; see how far you are: gptladder progress")
        return
    from ..course.examination.examiner import Examiner

    with Examiner() as examiner:
        if not watch:
            passed = _check_once(examiner, project, exercise, mine)
            raise typer.Exit(0 if passed else 1)
        _watch(examiner, project, exercise, mine)


def _check_once(examiner: Examiner, project: Project, exercise: Exercise, mine: bool) -> bool:
    from . import words

    verdict = _examine(examiner, project, exercise, mine)
    for line in words.verdict_lines(verdict):
        print(line)
    if verdict.passed:
        following = project.unfinished()
        print(f"  passed. {f'Next: {following.id}' if following else 'That was the last one: python train.py'}")
    else:
        print(f"  Stuck? gptladder hint {exercise.id}" + (f"   gptladder trace {exercise.id}" if verdict.begun else ""))
    return verdict.passed


def _watch(examiner: Examiner, project: Project, exercise: Exercise | None, mine: bool) -> None:
    """Checks, waits for a change, checks again; when one passes, the next one begins."""
    while exercise is not None:
        seen = _times(project.folder)
        print(f"\n--- {time.strftime('%H:%M:%S')} ---")
        if _check_once(examiner, project, exercise, mine):
            following = project.unfinished()
            if following is None or following.id == exercise.id:
                return
            exercise = following
            continue
        print("  waiting for you to save (Ctrl-C ends)", flush=True)
        while _times(project.folder) == seen:
            time.sleep(WATCH_SECONDS)


def _times(folder: Path) -> dict[Path, int]:
    found = {}
    for path in (folder / "mygpt").rglob("*.py"):
        try:
            found[path] = path.stat().st_mtime_ns
        except FileNotFoundError:  # an editor that saves by renaming
            continue
    return found


@app.command(rich_help_panel=LEARN)
def hint(id: ExerciseArgument = None) -> None:
    """Show one more hint for an exercise, from gentle to nearly the answer."""
    from . import words

    project = _project()
    exercise = _exercise(project, id)
    if exercise is None:
        print("Every exercise has passed; there is nothing left to hint at.")
        return
    shown = project.next_hint(exercise.id)
    print(f"{exercise.id}: {exercise.name} in mygpt/{exercise.file}")
    for i, text in enumerate(exercise.hints[:shown], start=1):
        print(words.wrapped(f"{i} of {len(exercise.hints)}: {text}"))
    if shown == len(exercise.hints):
        print(f"  That was the last one. Where does it part from the reference? gptladder trace {exercise.id}")


@app.command(rich_help_panel=LEARN)
def solution(
    id: Annotated[str, typer.Argument(metavar="ID", help="Such as 3.3-head.")],
    give_up: Annotated[bool, typer.Option("--give-up", help="Before it has passed; this is recorded.")] = False,
) -> None:
    """Show how the reference writes an exercise, once yours has passed."""
    from ..course.source.functions import function_text
    from ..course.source.reference import reference_texts

    project = _project()
    exercise = _exercise(project, id)
    if exercise is None:
        return
    if project.state_of(exercise.id) != "done":
        if not give_up:
            raise InputError(f"{id} has not passed as it stands; gptladder check {id}, or see it now with --give-up (recorded)")
        project.note_solution(exercise.id)
    print(function_text(reference_texts()[exercise.file], exercise.name))


@app.command(rich_help_panel=LEARN)
def trace(id: ExerciseArgument = None) -> None:
    """Show what your function computes, name by name, beside the reference, and where the two first part."""
    from ..course.examination import divergence
    from ..course.examination.examiner import Examiner, untouched
    from ..course.examination.in_process import run_traced
    from . import words

    project = _project()
    exercise = _exercise(project, id)
    if exercise is None:
        print("Every exercise has passed; name one to trace it: gptladder trace 3.3-head")
        return
    with Examiner() as examiner, untouched(project.home):
        outcome = examiner.run(project.folder, exercise, trace=True)
    if not isinstance(outcome.trace, dict):
        reason = outcome.trace or "it did not return"
        print(f"{exercise.id}: nothing to trace: {reason}; see gptladder check {exercise.id}")
        raise typer.Exit(1)
    rows = divergence.compare(outcome.trace, run_traced(exercise))
    print(f"{exercise.id}: {exercise.name}, its first call in the check; your tensors in your code's order")
    for line in words.trace_lines(rows):
        print(line)


@app.command(rich_help_panel=LEARN)
def quiz(
    lesson: Annotated[str, typer.Argument(metavar="LESSON", help="Such as 3.3.")],
    again: Annotated[bool, typer.Option("--again", help="Ask also what you have answered rightly.")] = False,
) -> None:
    """Ask a lesson's questions, with numbers of your own; say why each answer is right or wrong."""
    from ..course.outline import course
    from ..course.questions import quiz as asking
    from . import words

    if lesson not in (lessons := [entry.id for entry in course().lessons]):
        raise InputError(f"no lesson {lesson!r}; there are {', '.join(lessons)}")
    project = _project()
    waiting = [
        item for item in asking.items(lesson, project.learner_seed) if again or project.state_of(item.question.id) != "done"
    ]
    if not waiting:
        print(f"All questions of lesson {lesson} are answered rightly; --again asks them once more.")
    for number, item in enumerate(waiting, start=1):
        for line in words.question_lines(item, number, len(waiting)):
            print(line)
        answer = _answer(item)
        if answer is None:
            print(f"\nStopped; what you have answered is kept. Go on: gptladder quiz {lesson}")
            return
        marked = asking.mark(item.question, answer, project.learner_seed)
        project.note_answer(item.question.id, answer, marked.right)
        for line in words.marked_lines(marked):
            print(line)


def _answer(item: Item) -> str | dict[str, str] | None:
    """What the learner types: a choice's number, or a value for each gap. None at the end of the input."""
    if not item.choices:
        given: dict[str, str] = {}
        for blank in item.blanks:
            typed = _typed(f"  {blank.name} ({blank.form}): ")
            if typed is None:
                return None
            given[blank.name] = typed
        return given
    while True:
        typed = _typed(f"  1 to {len(item.choices)}: ")
        if typed is None:
            return None
        if typed.isdecimal() and 1 <= int(typed) <= len(item.choices):
            return item.choices[int(typed) - 1]
        print(f"  {typed!r} is none of them; type a number from 1 to {len(item.choices)}")


def _typed(prompt: str) -> str | None:
    try:
        return input(prompt).strip()
    except EOFError:
        return None


@app.command(rich_help_panel=LEARN)
def progress(
    html: Annotated[bool, typer.Option("--html", help="A page, to stdout.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs, to stdout.")] = False,
) -> None:
    """Show which objectives are met, by what evidence of which day."""
    from ..course.workspace import record
    from . import words

    if html and json:
        raise InputError("--html with --json: one page at a time; leave one out")
    project = _project()
    found = record.progress(project)
    if html or json:
        print(words.progress_html(found) if html else words.progress_json(found))
        return
    for line in words.progress_lines(found, project):
        print(line)
