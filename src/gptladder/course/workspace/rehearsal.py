"""A rehearsal of a learner's project: its own train.py trains a rung for a few steps.

The exercises up to the rung's lesson are filled in with the reference.
"""

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
# A project must do without gptladder: any import of it fails in this process.
ALONE = """
import runpy, sys
sys.modules["gptladder"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_script(project: Path, script: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script of a project with these arguments in a process of its own, where gptladder cannot be imported."""
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
    """Return the arguments for train.py that make a training of any rung short."""
    return (rung, "--steps", str(steps), "--text", text, "--out", out, "--device", "cpu")


def rehearse(folder: Path, rung: str, lesson: str) -> str | None:
    """Make a project with the exercises up to a lesson written, train a rung in it and let it write.

    Returns the problem in words, or None. `folder` must be new or empty. gptladder must be able to read the run folder.
    """
    filled = [exercise.id for exercise in course().exercises_up_to(lesson)]
    write_project(folder, project_files(filled=filled))
    text, out = folder / "data" / "short.txt", folder / "runs" / "rehearsal"
    text.write_bytes((folder / "data" / "stand_in.txt").read_bytes()[:CHARACTERS])
    try:
        result = run_script(folder, "train.py", *train_args(rung, text.resolve(), out.resolve()))
    except subprocess.TimeoutExpired:
        return f"train.py has not ended after {SECONDS:.0f} s"
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["it printed no error"])[-1]
        return f"train.py ends with code {result.returncode}: {last}"
    if "not written yet" in result.stdout:
        return f"it trains but cannot write: {result.stdout.strip().splitlines()[-1]}"
    try:
        run = Run.open(out)
        written = "".join(stream_run(run, count=5))
        losses = [line["validation_loss"] for line in read_metrics(out) if "validation_loss" in line]
    except InputError as error:
        return f"gptladder cannot read the run folder: {error}"
    if run.config.rung != rung or len(written) != 5 or len(losses) != 2 or not all(map(math.isfinite, losses)):
        return f"the run folder holds {run.config.rung} with the losses {losses}, and writes {written!r}"
    return None
