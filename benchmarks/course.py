"""The time that a learner and an instructor wait: for a check, cold and warm; for a graded class; for `course verify`.

    python benchmarks/course.py [--rounds 3]

The class is thirty archives: right ones, ones with known mistakes, one that never ends and one that eats memory. About ten
minutes on two cores.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gptladder.course.bank import versions
from gptladder.course.examination.examiner import Examiner
from gptladder.course.outline import course
from gptladder.course.source.functions import with_body
from gptladder.course.workspace import handin, record
from gptladder.course.workspace.layout import MYGPT
from gptladder.course.workspace.make import project_files, write_project
from report import arguments, median, print_table, timed, write

EXERCISE = "3.3-head"
CLASS, TINY_CLASS = 30, 3
ENDLESS = "while True:\n    pass\n"
HOG = "import torch\nheld = []\nwhile True:\n    held.append(torch.ones(2**24))\n"


def command(*words: str, cwd: Path, fine: tuple[int, ...] = (0,)) -> float:
    """Return the seconds that `gptladder` takes with these arguments."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "gptladder", *words], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode not in fine:
        raise SystemExit(f"gptladder {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - began


def checking(rounds: int) -> dict[str, Any]:
    """Time the check of one exercise: as a whole command, and in a worker that is warm, as `check --watch` runs it."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        write_project(project, project_files(completed=True))
        cold = [command("check", EXERCISE, cwd=project) for _ in range(rounds)]
        exercise = course().exercise(EXERCISE)
        with Examiner() as examiner:
            examiner.examine(project, exercise)
            warm = [timed(lambda: examiner.examine(project, exercise)) for _ in range(rounds)]
    return {"cold": cold, "warm": warm}


def make_class(folder: Path, size: int) -> None:
    """Write archives to grade: the first never ends, the second eats memory, every second one after them has three mistakes."""
    wrong = [mutant for mutant in versions.mutants() if not mutant.right]
    for number in range(size):
        path = folder.parent / "making" / f"learner{number:02}"
        write_project(path, project_files(completed=True))
        package = path / MYGPT
        if number < 2:
            member = package / "model" / "config.py"
            member.write_text(member.read_text() + (ENDLESS, HOG)[number])
        elif number % 2:
            for mutant in wrong[number * 7 :: 97][:3]:
                exercise = course().exercise(mutant.exercise)
                member = package / exercise.file
                member.write_text(with_body(member.read_text(), exercise.name, mutant.body))
        handin.write_submission(record.open_project(path), folder / f"{path.name}.zip")


def grading(size: int) -> dict[str, Any]:
    """Time the whole command on a class; every archive must have its row."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "in"
        folder.mkdir()
        make_class(folder, size)
        table = Path(scratch) / "grades.csv"
        seconds = command("grade", str(folder), "--csv", str(table), cwd=Path(scratch))
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    if len(rows) != size:
        raise SystemExit(f"{size} archives, {len(rows)} rows")
    return {"seconds": seconds, "scores": {row["submission"]: float(row["score"]) for row in rows}}


def main() -> None:
    """Measure, print the table, and write the JSON."""
    given = arguments(__doc__, "course.json").parse_args()
    size = TINY_CLASS if given.tiny else CLASS
    results: dict[str, Any] = {"check": checking(given.rounds), "grade": grading(size)}
    rows = [
        ("one check, the whole command", f"{median(results['check']['cold']):.1f}"),
        ("one check, in watch mode", f"{median(results['check']['warm']):.2f}"),
        (f"grading {size} submissions", f"{results['grade']['seconds']:.0f}"),
    ]
    if not given.tiny:
        results["verify"] = command("course", "verify", cwd=Path.cwd())
        rows.append(("course verify", f"{results['verify']:.0f}"))
    print_table("Waiting", ("", "seconds"), rows)
    write(given.out, results)
    print(f"\nwritten: {given.out}")


if __name__ == "__main__":
    main()
