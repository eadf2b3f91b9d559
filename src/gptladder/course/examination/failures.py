"""Errors of the learner's code, described: their kind, their words, and the learner's line that they came from."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from pathlib import Path

from ..checks.check import Mistake
from ..workspace.layout import MYGPT
from .protocol import Failure, Job, Place

LONGEST = 300  # characters of an error's words


def failure_from(error: BaseException, job: Job) -> Failure:
    """Describe an error, with the innermost line of the learner's own that it came through."""
    frames = ((f.f_code.co_filename, line, f.f_code.co_qualname) for f, line in traceback.walk_tb(error.__traceback__))
    place, root = learners_place(job, frames), job.project / MYGPT
    if isinstance(error, Mistake):
        return Failure("mistake", str(error), place)
    if isinstance(error, SyntaxError) and Path(str(error.filename)).is_relative_to(root):
        file = Path(str(error.filename)).relative_to(job.project).as_posix()
        line = error.lineno if isinstance(error.lineno, int) else 1
        return Failure("unreadable", str(error.msg)[:LONGEST], Place(file, line))
    if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] == MYGPT:
        return Failure("mistake", f"{error.name} cannot be imported: its file is missing", place)
    return Failure("raised", words_of(error), place, type(error).__name__[:LONGEST])


def learners_place(job: Job, frames: Iterable[tuple[str, int, str]]) -> Place | None:
    """Return the innermost place in the learner's own code. Frames are (file, line, function), the innermost last.

    Functions that were filled with the reference's body stand in the learner's files but are not the learner's own.
    """
    root, own, found = job.project / MYGPT, job.function.rpartition(".")[2], None
    for filename, line, function in frames:
        if Path(filename).is_relative_to(root):
            member = Path(filename).relative_to(root).as_posix()
            filled = set(job.filled.get(member, ()))
            filled |= {name.rpartition(".")[2] for name in filled} - {own}  # a stack file names functions without their class
            if function.partition(".<locals>")[0] not in filled:
                found = Place(f"{MYGPT}/{member}", line)
    return found


def words_of(error: BaseException) -> str:
    """Return the first line of an error's message; nothing if it has none, or if its own __str__ fails."""
    try:
        return next((line.strip()[:LONGEST] for line in str(error).splitlines() if line.strip()), "")
    except BaseException:
        return ""
