"""Grading a folder of submissions, offline, from code and answers alone: what a submitted record claims is not read.

This is no sandbox. Limits of time, memory and output keep honest mistakes from stopping the rest; code that means harm can do
what its user can, unless bubblewrap is installed, which then shuts it off from the network and from writing.
"""

from __future__ import annotations

import csv
import io
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..files import write_atomically
from .examination.examiner import Examiner
from .examination.verdict import Finding, Verdict
from .outline import course
from .questions import quiz
from .workspace import handin
from .workspace.layout import HOME, PROJECT
from .workspace.record import ANSWERS

SECONDS, MEMORY = 10.0, 2**30  # for one exercise
STRIKES, IMPATIENT_SECONDS = 3, 3.0  # once this many exercises ran out of time, the others of that submission get less
NOTES = (".txt", ".md", ".csv", ".tsv", ".xlsx", ".ods", ".html", ".json", ".log")  # the instructor's own files
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula


@dataclass
class Graded:
    """The grade of one submission, and its reasons."""

    name: str
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    answers: dict[str, quiz.Marked] = field(default_factory=dict)
    refused: str = ""  # why nothing could be graded

    def evidence(self, id: str) -> bool:
        """Return whether an exercise passed or a question was answered rightly; what is missing did not."""
        if id in self.verdicts:
            return self.verdicts[id].passed
        return id in self.answers and self.answers[id].right

    def share(self, objective: str) -> float:
        """Return the partial credit for an objective: the share of its evidence that is there, from 0 to 1."""
        ids = course().evidence_for(objective)
        return sum(self.evidence(id) for id in ids) / len(ids)

    @property
    def score(self) -> float:
        """The mean credit over all objectives, from 0 to 1."""
        return sum(self.share(objective.id) for objective in course().objectives) / len(course().objectives)


def submissions_in(folder: Path) -> list[Path]:
    """Return what a folder of submissions holds, in order of name: folders, archives, and files that may be meant as such.

    Hidden files and NOTES are left out. InputError if nothing remains.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the one that holds the submissions")
    found = [path for path in sorted(folder.iterdir()) if path.name[0] != "." and not _is_note(path)]
    if not found:
        raise InputError(f"{folder} holds neither .zip archives nor folders; `gptladder submit` makes such an archive")
    return found


def notes_in(folder: Path) -> list[str]:
    """Return the names of the files that are passed over, since they look like notes of the instructor's own."""
    return [path.name for path in sorted(folder.iterdir()) if path.name[0] != "." and _is_note(path)]


def _is_note(path: Path) -> bool:
    return path.suffix.lower() in NOTES and path.is_file()


class Ongoing:
    """The examiners at work, so that another thread can stop them all."""

    def __init__(self) -> None:
        self.examiners: set[Examiner] = set()
        self.stopped = False

    def stop(self) -> None:
        """End every examiner; whoever grades with one stops before the next exercise."""
        self.stopped = True
        for examiner in tuple(self.examiners):
            examiner.stop()


def name_of(path: Path) -> str:
    """Return the name of a submission: its file or folder, without the ending of an archive."""
    return path.name[: -len(handin.suffix_of(path)) or None] if path.is_file() else path.name


def grade_one(path: Path, scratch: Path, wrap: tuple[str, ...] = (), ongoing: Ongoing | None = None) -> Graded:
    """Return the grade of one submission, whatever it holds: its errors become the reason why it was refused."""
    graded = Graded(name_of(path))
    with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as folder:
        try:
            project = _project_of(path, Path(folder))
        except (InputError, OSError, shutil.Error) as error:
            graded.refused = str(error)
            return graded
        _grade_exercises(graded, project, Path(folder), wrap, ongoing or Ongoing())
        _grade_answers(graded, project)
    return graded


def _project_of(path: Path, folder: Path) -> Path:
    """Return the submission's project, unpacked or copied into an empty folder. InputError says why it cannot be."""
    found = handin.submission_in(path) if path.is_dir() else path
    if not found.is_dir():
        if not handin.suffix_of(found):
            kind = f"a {found.suffix} file" if found.suffix else "a file"
            raise InputError(f"it is {kind}; what can be opened are folders, {', '.join(handin.READERS)}")
        return handin.unpack(found, folder)
    project = folder / "project"
    ignored = shutil.ignore_patterns("runs", "data", ".venv", ".git")
    return Path(shutil.copytree(found, project, symlinks=True, ignore=ignored))


def _grade_exercises(graded: Graded, project: Path, folder: Path, wrap: tuple[str, ...], ongoing: Ongoing) -> None:
    strikes = 0
    out = folder / "out"
    out.mkdir()
    with Examiner(SECONDS, MEMORY, wrapped(wrap, out), out) as examiner:
        ongoing.examiners.add(examiner)
        for exercise in course().exercises:
            if ongoing.stopped:
                break
            try:
                verdict = examiner.examine(project, exercise)
            except Exception as error:  # nothing that a submission does may cost another its grade
                problem = f"it could not be examined ({type(error).__name__}: {error})"
                verdict = Verdict(exercise.id, (Finding("examined", "the checks run", problem),))
            graded.verdicts[exercise.id] = verdict
            strikes += verdict.out_of_time
            if strikes == STRIKES:
                examiner.seconds = IMPATIENT_SECONDS
        ongoing.examiners.discard(examiner)


def _grade_answers(graded: Graded, project: Path) -> None:
    """Mark the answers once more, with the numbers that the project's own seed draws."""
    facts, answers = _json(project / HOME / PROJECT), _json(project / HOME / ANSWERS)
    seed = facts.get("learner_seed")
    for question in course().questions:
        entry = answers.get(question.id)
        if not isinstance(entry, dict) or not isinstance(seed, int):
            continue
        try:
            graded.answers[question.id] = quiz.mark(question, entry.get("answer"), seed)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # an answer that cannot be read counts as missing


def _json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def bubblewrap() -> tuple[str, ...]:
    """Return the command that shuts a worker off from network and disk; empty where none works."""
    if not shutil.which("bwrap"):
        return ()
    command = (
        *("bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *("--unshare-net", "--unshare-pid", "--die-with-parent"),
    )
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if tried.returncode == 0 else ()


def wrapped(command: tuple[str, ...], writable: Path) -> tuple[str, ...]:
    """Return that command with one folder that may be written."""
    return (*command, "--bind", str(writable), str(writable)) if command else ()


def grade(folder: Path, table: Path, workers: int | None = None, wrap: tuple[str, ...] = ()) -> Generator[Graded]:
    """Yield every submission of a folder as soon as it is graded; the table holds all so far, at any moment.

    InputError before the first if the table cannot be written. Whoever stops early waits for nothing.
    """
    paths = submissions_in(folder)
    _check_table(table)
    waiting, results = iter(paths), queue.SimpleQueue[tuple[Path, Graded]]()
    ongoing = Ongoing()

    def work() -> None:
        while not ongoing.stopped and (path := next(waiting, None)) is not None:
            try:
                graded = grade_one(path, Path(scratch), wrap, ongoing)
            except Exception as error:  # nothing that a submission does may cost another its grade
                graded = Graded(name_of(path), refused=f"it could not be graded ({type(error).__name__}: {error})")
            results.put((path, graded))

    done: dict[Path, Graded] = {}
    with tempfile.TemporaryDirectory(prefix="gptladder-grade-", ignore_cleanup_errors=True) as scratch:
        try:
            for _ in range(workers or min(4, os.cpu_count() or 1)):
                threading.Thread(target=work, daemon=True).start()  # nobody waits for a daemon at the program's end
            while len(done) < len(paths):
                path, graded = _next_result(results)
                done[path] = graded
                _write_table(table, [done[path] for path in paths if path in done], last=len(done) == len(paths))
                yield graded
        finally:
            ongoing.stop()


def _next_result(results: queue.SimpleQueue[tuple[Path, Graded]]) -> tuple[Path, Graded]:
    while True:
        with suppress(queue.Empty):
            return results.get(timeout=0.5)  # Windows does not interrupt a wait without a limit


def _check_table(table: Path) -> None:
    """Raise InputError unless a table can be written there: now, not after hours of grading."""
    try:
        if table.exists():
            table.open("r+b").close()  # refuses a folder, and on Windows a table that a spreadsheet holds open
        tempfile.TemporaryFile(dir=table.parent).close()
    except OSError as error:
        raise InputError(f"the table {table} cannot be written ({error.strerror}); give another path with --csv") from None


def _write_table(table: Path, graded: list[Graded], last: bool) -> None:
    try:
        write_atomically(table, as_csv(graded).encode("utf-8-sig"))  # by the mark, spreadsheets know that it is UTF-8
    except OSError:  # somebody may be looking at it; the next submission writes all rows again
        if last:
            raise


def as_csv(graded: Iterable[Graded]) -> str:
    """Return a table with a row per submission: score, why it was refused, credit per objective, exercises, questions."""
    chosen = course()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    objectives, exercises = [o.id for o in chosen.objectives], [e.id for e in chosen.exercises]
    questions = [question.id for question in chosen.questions]
    writer.writerow(["submission", "score", "refused", *objectives, *exercises, *questions])
    for entry in graded:
        writer.writerow(
            [
                harmless(entry.name),
                f"{entry.score:.4f}",
                harmless(entry.refused),
                *(f"{entry.share(id):.3f}" for id in objectives),
                *(_cell(entry.verdicts.get(id)) for id in exercises),
                *("right" if entry.evidence(id) else "wrong" if id in entry.answers else "" for id in questions),
            ]
        )
    return out.getvalue()


def harmless(text: str) -> str:
    """Return the text so that no spreadsheet takes it for a formula: after an apostrophe if it begins like one."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _cell(verdict: Verdict | None) -> str:
    if verdict is None:
        return "fail: no result"
    if verdict.passed:
        return "pass"
    if verdict.mutant:
        return f"fail: {verdict.mutant.id}"
    return f"fail: {verdict.problem}" if verdict.begun else "fail: not written"


def commonest(graded: Iterable[Graded], most: int = 10) -> list[tuple[int, str]]:
    """Return the misconceptions of the class, the commonest first: how many share it, and what it is."""
    counted: Counter[str] = Counter()
    for entry in graded:
        for verdict in entry.verdicts.values():
            if not verdict.passed and verdict.begun:
                known = verdict.mutant
                counted[f"{verdict.exercise}: {known.thinks if known else verdict.problem[:90]}"] += 1
        for id, marked in entry.answers.items():
            if not marked.right and marked.thinks:
                counted[f"{id}: {marked.thinks}"] += 1
    return [(count, what) for what, count in counted.most_common(most)]
