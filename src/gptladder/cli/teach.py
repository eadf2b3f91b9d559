"""The verbs of handing in and grading: the learner's last one, the instructor's, and the proof of the course."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

TEACH = "Teach"
app = typer.Typer()
course_app = typer.Typer()


@course_app.callback(invoke_without_command=True)
def course(context: typer.Context) -> None:
    """Prove that the course keeps its promises: course verify."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit


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
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="With an archive or a folder for each learner, as learning platforms export them."
        ),
    ],
    table: Annotated[Path, typer.Option("--csv", metavar="OUT", help="The table to write.")],
) -> None:
    """Grade a folder of submissions, offline: credit per objective, known mistakes, the class."""
    from ..course import grade as grading

    wrap = grading.bubblewrap()
    if not wrap:
        print(
            "note: without bubblewrap, submissions run with your rights; grade only what you would run yourself",
            file=sys.stderr,
        )
    total = len(grading.submissions_in(folder))
    if notes := grading.notes_in(folder):
        print(f"passed over: {', '.join(notes)}")
    graded: list[grading.Graded] = []
    stopped = False
    ongoing = grading.grade(folder, table, wrap=wrap)
    try:
        for entry in ongoing:
            graded.append(entry)
            passed = sum(verdict.passed for verdict in entry.verdicts.values())
            said = f"refused: {entry.refused}" if entry.refused else f"{entry.score:.0%}, {passed} exercises"
            print(f"{len(graded):>3} of {total}  {entry.name}: {said}", flush=True)
    except KeyboardInterrupt:
        ongoing.close()
        stopped = True
    if common := grading.commonest(graded):
        print("\nThe commonest mistakes")
        for count, what in common:
            print(f"  {count:>3}  {what}")
    if stopped:
        kept = f", and {table} holds them" if graded else ""
        print(f"stopped: {len(graded)} of {total} are graded{kept}; begin again to grade all")
        raise typer.Exit(130)
    print(f"written: {table}")


@course_app.command()
def verify() -> None:
    """Try every exercise, answer and wrong version; say what fails."""
    from ..course import verify as verification

    problems = 0
    for line, is_problem in verification.verify():
        print(line, flush=True)
        problems += is_problem
    if problems:
        print(f"error: the course breaks {problems} of its promises, see above", file=sys.stderr)
        raise typer.Exit(1)
