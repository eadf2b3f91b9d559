"""The whole ladder, one rung after the other, each judged against its published loss."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from .. import corpus as corpora
from ..checkpoint import Run
from ..corpus import Corpus
from ..errors import InputError
from ..files import write_atomically
from ..model.config import Recipe
from ..model.ladder import Rung
from ..rungs import RECIPES, rung_named
from ..sampling.writer import stream_run
from .metrics import read_metrics
from .plots import ladder_plot
from .run import Training, begin, check_corpus, recipe_of, versions

SAMPLE = 300  # characters of text that each rung shows
INSIDE, ABOVE, BELOW, NOT_COMPARABLE = "inside", "above", "below: leak suspected", "not comparable"


@dataclass(frozen=True)
class Row:
    """A rung that was climbed: one row of the table."""

    rung: str
    adds: str
    parameters: int
    seconds: float  # of training, evaluation left out
    validation_loss: float  # at the last step
    published_loss: float | None
    verdict: str


def verdict(rung: Rung, recipe: Recipe, corpus_sha256: str, loss: float) -> str:
    """Inside, above or below the rung's band; "not comparable" on another text or with other settings than its own."""
    if corpus_sha256 != corpora.SHA256 or recipe != RECIPES[rung.recipe]:
        return NOT_COMPARABLE
    if loss < rung.expected_loss - rung.band:
        return BELOW
    return INSIDE if loss <= rung.expected_loss + rung.band else ABOVE  # a loss that is no number is not inside


def row_of(run: Run) -> Row:
    """The row of a finished run. InputError if it is not finished."""
    rung, recipe = rung_named(run.config["rung"]), recipe_of(run)
    last = next((line for line in reversed(read_metrics(run.folder)) if "validation_loss" in line), None)
    if last is None or last["step"] < recipe.steps:
        raise InputError(f"{run.folder} is not finished; finish it with: gptladder resume {run.folder}")
    return Row(
        rung.name,
        rung.adds,
        sum(parameter.numel() for parameter in run.model().parameters()),
        last["train_seconds"],
        last["validation_loss"],
        rung.published_loss,
        verdict(rung, recipe, run.config["corpus"]["sha256"], last["validation_loss"]),
    )


def climb(
    folder: Path,
    rungs: Sequence[Rung | Run],
    corpus: Corpus,
    seed: int,
    device: torch.device,
    train: Callable[[Training], None],
) -> Iterator[Row]:
    """Trains each rung in a run folder of its own below `folder` and yields its row; writes the report after each.

    A finished `Run` among the rungs gives its row without training; InputError before anything is trained if it is
    unfinished or read another text. `train` runs a training to its end; if it raises, the report keeps the rungs before.
    """
    for item in rungs:
        if isinstance(item, Run):
            check_corpus(item, corpus)
            row_of(item)
    report = Report(folder, corpus, seed)
    for item in rungs:
        if isinstance(item, Run):
            yield report.add(item)
            continue
        recipe = RECIPES[item.recipe]
        training = begin(folder / item.name, item.recipe, recipe, corpus, seed, device)
        train(training)
        yield report.add(training.run)


def machine() -> dict[str, Any]:
    """What the seconds of a report were measured on."""
    return {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()}


class Report:
    """What a climb leaves beside its run folders: ladder.json, ladder.png, samples.txt."""

    def __init__(self, folder: Path, corpus: Corpus, seed: int) -> None:
        self.folder, self.corpus, self.seed = folder, corpus, seed
        self.rows: list[Row] = []
        self.samples: list[str] = []

    def add(self, run: Run) -> Row:
        """Adds a finished run and writes all three files anew, so that a climb broken off keeps what it has."""
        row = row_of(run)
        self.rows.append(row)
        self.samples.append(f"=== {row.rung}: {row.validation_loss:.3f} ===\n{sample_of(run, self.seed)}\n")
        write_atomically(self.folder / "ladder.json", (json.dumps(self.as_json(), indent=2) + "\n").encode())
        write_atomically(self.folder / "samples.txt", "\n".join(self.samples).encode())
        rows: list[dict[str, Any]] = [asdict(row) for row in self.rows]
        ladder_plot(rows, f"The ladder on {Path(self.corpus.name).name}", self.folder / "ladder.png")
        return row

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "machine": machine(),
            "versions": versions(),
            "seed": self.seed,
            "corpus": {"name": self.corpus.name, "sha256": self.corpus.sha256},
            "rungs": [asdict(row) for row in self.rows],
        }


def sample_of(run: Run, seed: int) -> str:
    """Some text by a run's best model."""
    return "".join(stream_run(run, count=SAMPLE, seed=seed))
