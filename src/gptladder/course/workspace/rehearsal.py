"""A project rehearsed: a rung trained for a few steps by the project's own train.py, with what its lesson asks for written."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

from ...checkpoint import Run
from ...errors import InputError
from ...sampling.writer import stream_run
from ...training.metrics import read_metrics
from ..outline import course
from .make import project_files, write_project

STEPS = 3
CHARACTERS = 4000  # of the stand-in text, to train on
SECONDS = 120.0
# A project stands on its own feet: any import of gptladder fails in there.
ALONE = """
import runpy, sys
sys.modules["gptladder"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_script(project: Path, script: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """A script of a project with these words, in a process of its own, where gptladder cannot be imported."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    command = [sys.executable, "-c", ALONE, script, *map(str, words)]
    return subprocess.run(
        command,
        cwd=project,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=SECONDS,
        check=False,
    )


def train_args(rung: str, text: Path, out: Path, steps: int = STEPS) -> tuple[str | Path, ...]:
    """The words for train.py that make a training of any rung short."""
    return (rung, "--steps", str(steps), "--text", text, "--out", out, "--device", "cpu")


def rehearse(folder: Path, rung: str, lesson: str) -> str | None:
    """Whether a project with the exercises up to a lesson written trains a rung and writes: the problem in words, or None.

    The project is made in `folder`, which must be new or empty. Its run folder must be one that gptladder reads.
    """
    filled = [exercise.id for exercise in course().exercises_up_to(lesson)]
    write_project(folder, project_files(filled=filled))
    text, out = folder / "data" / "short.txt", folder / "runs" / "rehearsal"
    text.write_bytes((folder / "data" / "stand_in.txt").read_bytes()[:CHARACTERS])
    try:
        result = run_script(folder, "train.py", *train_args(rung, text.resolve(), out.resolve()))
    except subprocess.TimeoutExpired:
        return f"train.py is not done after {SECONDS:.0f} s"
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["nothing said"])[-1]
        return f"train.py ends with code {result.returncode}: {last}"
    if "not written yet" in result.stdout:
        return f"it trains but cannot write: {result.stdout.strip().splitlines()[-1]}"
    try:
        run = Run.open(out)
        written = "".join(stream_run(run, count=5))
        losses = [line["validation_loss"] for line in read_metrics(out) if "validation_loss" in line]
    except InputError as error:
        return f"gptladder cannot read the run folder: {error}"
    if run.config["rung"] != rung or len(written) != 5 or len(losses) != 2 or not all(map(math.isfinite, losses)):
        return f"the run folder holds {run.config['rung']} with the losses {losses}, and writes {written!r}"
    return None
