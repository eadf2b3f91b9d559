"""The climb: the whole ladder, one rung after the other, each judged against its published loss."""

from __future__ import annotations

import json
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
from ..provenance import machine, versions
from ..rungs import RECIPES, rung_named
from ..sampling.writer import stream_run
from .metrics import read_metrics
from .plots import ladder_plot
from .run import Training, begin
from .texts import check_corpus

SAMPLE = 300  # characters of text that each rung shows
INSIDE, ABOVE, BELOW, NOT_COMPARABLE = "inside", "above", "below: leak suspected", "not comparable"


@dataclass(frozen=True)
class LadderRow:
    """One row of the ladder's table: a rung that was climbed."""

    rung: str
    adds: str
    parameters: int
    seconds: float  # of training, evaluation left out
    validation_loss: float  # at the last step
    published_loss: float | None
    verdict: str


def verdict(rung: Rung, recipe: Recipe, corpus_sha256: str, loss: float) -> str:
    """Return where a loss lies: inside, above or below the rung's band.

    It is "not comparable" on another text than TinyShakespeare, or with other settings than the rung's own.
    """
    if corpus_sha256 != corpora.SHA256 or recipe != RECIPES[rung.recipe]:
        return NOT_COMPARABLE
    if loss < rung.expected_loss - rung.band:
        return BELOW
    return INSIDE if loss <= rung.expected_loss + rung.band else ABOVE  # also if the loss is not a number


def row_of(run: Run) -> LadderRow:
    """Return the row of a finished run. InputError if it is not finished."""
    rung, recipe = rung_named(run.config.rung), run.config.recipe
    last = next((line for line in reversed(read_metrics(run.folder)) if "validation_loss" in line), None)
    if last is None or last["step"] < recipe.steps:
        raise InputError(f"{run.folder} is not finished; finish it with: gptladder resume {run.folder}")
    return LadderRow(
        rung.name,
        rung.adds,
        sum(parameter.numel() for parameter in run.model().parameters()),
        last.get("train_seconds", last.get("seconds", 0.0)),  # a learner's own train.py knows only how long it took in all
        last["validation_loss"],
        rung.published_loss,
        verdict(rung, recipe, run.config.corpus.sha256, last["validation_loss"]),
    )


def climb(
    folder: Path,
    rungs: Sequence[Rung | Run],
    corpus: Corpus,
    seed: int,
    device: torch.device,
    train: Callable[[Training], None],
) -> Iterator[LadderRow]:
    """Train each rung in a run folder of its own below `folder` and yield its row; write the report after each.

    A finished `Run` among the rungs gives its row without training. InputError, before anything is trained, if it is
    unfinished or was trained on another text. `train` runs a training to its end; if it raises, the report keeps the
    rungs before.
    """
    for item in rungs:
        if isinstance(item, Run):
            check_corpus(item, corpus)
            row_of(item)
    report = LadderReport(folder, corpus, seed)
    for item in rungs:
        if isinstance(item, Run):
            yield report.add(item)
            continue
        recipe = RECIPES[item.recipe]
        training = begin(folder / item.name, item.recipe, recipe, corpus, seed, device)
        train(training)
        yield report.add(training.run)


class LadderReport:
    """The files that a climb leaves beside its run folders: ladder.json, ladder.png and samples.txt."""

    def __init__(self, folder: Path, corpus: Corpus, seed: int) -> None:
        self.folder, self.corpus, self.seed = folder, corpus, seed
        self.rows: list[LadderRow] = []
        self.samples: list[str] = []

    def add(self, run: Run) -> LadderRow:
        """Add a finished run and write all three files again, so that an interrupted climb keeps the rows it has."""
        row = row_of(run)
        self.rows.append(row)
        self.samples.append(f"=== {row.rung}: {row.validation_loss:.3f} ===\n{sample_of(run, self.seed)}\n")
        write_atomically(self.folder / "ladder.json", self.to_json().encode())
        write_atomically(self.folder / "samples.txt", "\n".join(self.samples).encode())
        rows: list[dict[str, Any]] = [asdict(row) for row in self.rows]
        ladder_plot(rows, f"The ladder on {Path(self.corpus.name).name}", self.folder / "ladder.png")
        return row

    def to_json(self) -> str:
        """Return the content of ladder.json."""
        content = {
            "machine": asdict(machine()),
            "versions": versions(),
            "seed": self.seed,
            "corpus": {"name": self.corpus.name, "sha256": self.corpus.sha256},
            "rungs": [asdict(row) for row in self.rows],
        }
        return json.dumps(content, indent=2) + "\n"


def sample_of(run: Run, seed: int) -> str:
    """Return some text that a run's best model wrote."""
    return "".join(stream_run(run, count=SAMPLE, seed=seed))
