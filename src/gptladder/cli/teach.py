"""Handing in and grading: the last of the learner's verbs, and the instructor's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

TEACH = "Teach"
app = typer.Typer()
course_app = typer.Typer(help="Prove that the course keeps its word: course verify.", no_args_is_help=True)


@app.command(rich_help_panel=TEACH)
def submit(
    out: Annotated[Path | None, typer.Option(help="The archive; PROJECT-submission.zip if left out.")] = None,
) -> None:
    """Pack a project's code, answers and record into one archive to hand in."""
    from ..course.workspace import handin, record

    project = record.find_project()
    for note in project.notes:
        print(f"note: {note}", file=sys.stderr)
    out = out or Path(f"{project.folder.name}-submission.zip")
    count = handin.write_submission(project, out)
    print(f"written: {out}, {count} files: your code, answers and record; no text, no runs")


@app.command(rich_help_panel=TEACH)
def grade(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="With one archive or project folder for each learner.")],
    table: Annotated[Path, typer.Option("--csv", metavar="OUT", help="The table to write.")],
) -> None:
    """Grade a folder of submissions, offline: credit per objective, known mistakes, the class."""
    from ..course import grade as grading

    wrap = grading.bubblewrap()
    if not wrap:
        print(
            "note: bubblewrap is not at hand, so submissions run with your rights; grade only what you would run",
            file=sys.stderr,
        )
    total = len(grading.submissions_in(folder))
    graded = []
    for entry in grading.grade(folder, table, wrap=wrap):
        graded.append(entry)
        passed = sum(verdict.passed for verdict in entry.verdicts.values())
        said = f"refused: {entry.refused}" if entry.refused else f"{entry.score:.0%}, {passed} exercises"
        print(f"{len(graded):>3} of {total}  {entry.name}: {said}", flush=True)
    if common := grading.commonest(graded):
        print("\nThe commonest mistakes")
        for count, what in common:
            print(f"  {count:>3}  {what}")
    print(f"written: {table}")


@course_app.command()
def verify() -> None:
    """Prove that every exercise fails as shipped, every answer passes, every wrong version is caught."""
    from ..course import verify as verification

    problems = 0
    for line, is_problem in verification.verify():
        print(line, flush=True)
        problems += is_problem
    if problems:
        print(f"error: {problems} promises of the course are not kept, see above", file=sys.stderr)
        raise typer.Exit(1)
