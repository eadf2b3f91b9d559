"""The learner's verbs: make a project, write its exercises, answer its questions, see how far one has come."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .commands import command, python, quoted

if TYPE_CHECKING:
    from ..course.examination.examiner import Examiner
    from ..course.outline import Exercise
    from ..course.workspace.record import Project

LEARN = "Learn"
WATCH_SECONDS = 0.2
app = typer.Typer()
NAMES = "Such as 3.3-head, head or Head.forward, or 3.3 for the next unfinished one of a lesson"
ExerciseArgument = Annotated[str | None, typer.Argument(metavar="[ID]", help=f"{NAMES}; the next unfinished if left out.")]


@app.command(rich_help_panel=LEARN)
def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The project's folder, or with --zip the archive's name.")],
    completed: Annotated[bool, typer.Option("--completed", help="Everything written: to read, train and change.")] = False,
    zip_: Annotated[bool, typer.Option("--zip", help="Write DIR.zip instead, the same bytes each time.")] = False,
) -> None:
    """Make a project: mygpt/ with the exercises to write, train.py, generate.py, a text."""
    from ..course.workspace.layout import TRAIN
    from ..course.workspace.make import archive_path, check_free_for_archive, project_files, write_project, zipped
    from ..files import write_atomically

    files = project_files(completed)
    if zip_:
        archive = archive_path(folder)
        check_free_for_archive(archive)
        archive.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(archive, zipped(archive.stem, files))
        print(f"written: {archive}")
        return
    write_project(folder, files)
    kind = "the completed" if completed else "a starter"
    print(f"made: {folder}, {kind} project. Begin with its README.md; then")
    if folder.resolve() != Path.cwd():
        print(f"  cd {quoted(folder)}")
    print(f"  {python(TRAIN, 'bigram', inside=folder) if completed else command('check', inside=folder)}")


def _project() -> Project:
    """Open the project that holds the current folder, say what had to be mended, and make a lost record again."""
    from ..course import study
    from ..course.workspace import record

    project = record.find_project()
    for note in project.notes:
        print(f"note: {note}", file=sys.stderr)
    if project.damaged:
        from ..course.examination.examiner import Examiner

        print("note: every exercise is checked again, so that the record is whole", file=sys.stderr)
        with Examiner() as examiner:
            for _ in study.check_all(examiner, project):
                pass
    return project


def _exercise(project: Project, id: str | None) -> Exercise | None:
    """Return the exercise that is meant, by default the next unfinished one; None if all have passed."""
    from ..course import study

    return project.unfinished() if id is None else study.exercise_meant(project, id)


def _train_command(project: Project) -> str:
    from ..course.workspace.layout import TRAIN

    return python(Path(os.path.relpath(project.folder / TRAIN)))


def show_standing() -> bool:
    """Print where the learner stands and what comes next. Return whether the current folder is in a project at all."""
    from ..course import study
    from ..course.workspace import record
    from . import words

    if record.project_folder() is None:
        return False
    project = _project()
    found = study.standing(project)
    for line in words.standing_lines(found):
        print(line)
    if found.following is None:
        print(f"  every exercise has passed; train your own GPT: {_train_command(project)}")
    print(f"  all objectives: {command('progress')}; all verbs: {command('--help')}")
    return True


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
        print(f"Every exercise has passed. Train your own GPT: {_train_command(project)}")
        print(f"See which objectives you have met: {command('progress')}")
        return
    from ..course.examination.examiner import Examiner

    with Examiner() as examiner:
        if not watch:
            passed = _check_once(examiner, project, exercise, mine)
            raise typer.Exit(0 if passed else 1)
        _watch(examiner, project, exercise, mine)


def _check_once(examiner: Examiner, project: Project, exercise: Exercise, mine: bool) -> bool:
    from ..course import study
    from . import words

    verdict = study.check(examiner, project, exercise, mine)
    for line in words.verdict_lines(verdict):
        print(line)
    if verdict.passed:
        following = project.unfinished()
        print(f"  passed. {f'Next: {following.id}' if following else f'That was the last one: {_train_command(project)}'}")
    else:
        print(f"  Stuck? {command('hint', exercise.id)}" + (f"   {command('trace', exercise.id)}" if verdict.begun else ""))
    return verdict.passed


def _watch(examiner: Examiner, project: Project, exercise: Exercise | None, mine: bool) -> None:
    """Check, wait for a change and check again; when an exercise passes, go on with the next one."""
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
    from ..course import study
    from . import words

    project = _project()
    exercise = _exercise(project, id)
    if exercise is None:
        print("Every exercise has passed; no hint is needed.")
        return
    print(f"{exercise.id}: {exercise.name} in mygpt/{exercise.file}")
    shown = study.hints(project, exercise)
    for i, text in enumerate(shown, start=1):
        print(words.wrapped(f"{i} of {len(exercise.hints)}: {text}"))
    if len(shown) == len(exercise.hints):
        print(f"  That was the last one. To see where your numbers leave the right ones: {command('trace', exercise.id)}")


@app.command(rich_help_panel=LEARN)
def solution(
    id: Annotated[str, typer.Argument(metavar="ID", help=f"{NAMES}.")],
    give_up: Annotated[bool, typer.Option("--give-up", help="Before it has passed; this is recorded.")] = False,
) -> None:
    """Show how the reference writes an exercise, once yours has passed."""
    from ..course import study

    project = _project()
    exercise = study.exercise_meant(project, id)
    shown = study.solution(project, exercise, give_up)
    if shown is None:
        raise InputError(
            f"{exercise.id} has not passed as it stands; check it: {command('check', exercise.id)}; "
            f"or see the solution now, which is recorded: {command('solution', exercise.id, '--give-up')}"
        )
    print(shown)


@app.command(rich_help_panel=LEARN)
def reset(id: Annotated[str, typer.Argument(metavar="ID", help=f"{NAMES}.")]) -> None:
    """Put an exercise back as it was shipped; your version is kept beside it."""
    from ..course import study

    project = _project()
    exercise = study.exercise_meant(project, id)
    done = study.reset(project, exercise)
    name = done.file.relative_to(project.folder).as_posix()
    if done.kept is None:
        print(f"{name} was missing; the whole file is there again as shipped")
        return
    print(f"{exercise.id}: {exercise.name} in {name} is as shipped again; the rest of the file is as it was")
    print(f"  your version of the file is kept: {done.kept.relative_to(project.folder).as_posix()}")


@app.command(rich_help_panel=LEARN)
def trace(id: ExerciseArgument = None) -> None:
    """Show what your function computes, name by name, beside the reference, and the first difference."""
    from ..course import study
    from ..course.examination.examiner import Examiner
    from . import words

    project = _project()
    exercise = _exercise(project, id)
    if exercise is None:
        print(f"Every exercise has passed; name one to trace it: {command('trace', '3.3-head')}")
        return
    with Examiner() as examiner:
        traced = study.trace(examiner, project, exercise)
    if traced.problem:
        print(f"{exercise.id}: nothing to trace: {traced.problem}; see {command('check', exercise.id)}")
        raise typer.Exit(1)
    print(f"{exercise.id}: {exercise.name}, its first call in the check; your tensors in your code's order")
    for line in words.trace_lines(traced.rows):
        print(line)


@app.command(rich_help_panel=LEARN)
def quiz(
    lesson: Annotated[str, typer.Argument(metavar="LESSON", help="Such as 3.3, or an exercise of that lesson.")],
    again: Annotated[bool, typer.Option("--again", help="Ask also what you have answered rightly.")] = False,
) -> None:
    """Ask a lesson's questions, with numbers of your own; say why each answer is right or wrong."""
    from ..course import study
    from . import words
    from .asking import ask

    lesson = study.lesson_meant(lesson).id
    project = _project()
    waiting = study.questions(project, lesson, again)
    if not waiting:
        print(f"You have answered every question of lesson {lesson}. To be asked once more:")
        print(f"  {command('quiz', lesson, '--again')}")
    right = 0
    for number, item in enumerate(waiting, start=1):
        for line in words.question_lines(item, number, len(waiting)):
            print(line)
        given = ask(item)
        if given is None:
            print(f"\nStopped; your answers so far are kept. Go on: {command('quiz', lesson)}")
            return
        marked = study.answer(project, item, given).marked
        right += marked.right
        for line in words.marked_lines(marked):
            print(line)
    if waiting:
        others = f"; to be asked the others again: {command('quiz', lesson)}" if right < len(waiting) else ""
        print(f"\n{right} of {len(waiting)} right{others}")


@app.command(rich_help_panel=LEARN)
def progress(
    html: Annotated[bool, typer.Option("--html", help="A page, to stdout.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs, to stdout.")] = False,
) -> None:
    """Show which objectives are met, by what evidence of which day."""
    from ..course.workspace import record
    from . import words

    if html and json:
        raise InputError("--html with --json: only one of them can be printed; leave the other out")
    found = record.progress(_project())
    if html or json:
        print(words.progress_html(found) if html else words.progress_json(found))
        return
    for line in words.progress_lines(found):
        print(line)
