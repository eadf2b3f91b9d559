"""The ablation: what each idea of the modern rung is worth, alone on top of the classic model and all together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch

from ..corpus import Corpus
from ..errors import InputError
from ..files import write_atomically
from ..model.config import Recipe
from ..model.ladder import Rung
from ..model.modern import ABLATIONS
from ..provenance import machine, versions
from .metrics import read_metrics
from .run import Training, begin


@dataclass(frozen=True)
class AblationRow:
    """One row of the table: one idea."""

    adds: str
    parameters: int
    validation_loss: float  # after the same steps for all
    gain: float  # how much lower that is than the loss of the classic model
    seconds: float  # of training, for all steps
    seconds_to_classic: float | None  # of training, until the final loss of the classic model; None if never


def seconds_to(loss: float, lines: Sequence[Mapping[str, float]]) -> float | None:
    """Return when a training first reached a loss, on straight lines between its evaluations; None if it did not."""
    evaluated = [(line["train_seconds"], line["validation_loss"]) for line in lines if "validation_loss" in line]
    for (before, higher), (after, lower) in pairwise(evaluated):
        if lower <= loss < higher:
            return before + (after - before) * (higher - loss) / (higher - lower)
    return None


def ablate(
    folder: Path,
    corpus: Corpus,
    seed: int,
    device: torch.device,
    train: Callable[[Training], None],
    ablations: tuple[tuple[Rung, Recipe], ...] = ABLATIONS,
) -> Iterator[AblationRow]:
    """Train the classic model and each change of it in a run folder below `folder`, and yield its row.

    ablation.json holds the rows so far. `train` runs a training to its end; if it raises, the rows before it stay.
    """
    rows: list[AblationRow] = []
    for rung, recipe in ablations:
        training = begin(folder / rung.name, rung.recipe, recipe, corpus, seed, device)
        train(training)
        if not training.finished:
            raise InputError(f"{training.run.folder} was stopped before its end; begin again with another --out")
        lines = read_metrics(training.run.folder)
        last = lines[-1]
        classic = rows[0].validation_loss if rows else last["validation_loss"]
        row = AblationRow(
            rung.adds,
            sum(parameter.numel() for parameter in training.run.model().parameters()),
            last["validation_loss"],
            classic - last["validation_loss"],
            last["train_seconds"],
            seconds_to(classic, lines),
        )
        rows.append(row)
        report = {
            "machine": asdict(machine()),
            "versions": versions(),
            "seed": seed,
            "corpus": {"name": corpus.name, "sha256": corpus.sha256},
            "recipe": {name: value for name, value in asdict(recipe).items() if name not in ("rung", "optimizer")},
            "precision": training.run.config.plan.precision,
            "rows": [asdict(row) for row in rows],
        }
        write_atomically(folder / "ablation.json", (json.dumps(report, indent=2) + "\n").encode())
        yield row
