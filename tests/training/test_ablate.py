"""What each idea is worth: a row per idea, measured against the classic model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from gptladder.batches import Batches
from gptladder.checkpoint import Run
from gptladder.corpus import Corpus
from gptladder.errors import InputError
from gptladder.model.config import Recipe
from gptladder.model.fusing import fuse, fused_cross_entropy
from gptladder.model.modern import ABLATIONS, MODERN_RECIPES
from gptladder.rungs import build
from gptladder.tokenizer import CharTokenizer
from gptladder.training.ablate import AblationRow, ablate, seconds_to
from gptladder.training.loop import train
from gptladder.training.metrics import read_metrics
from gptladder.training.optimizers import make_optimizer
from gptladder.training.run import Training
from gptladder.training.schedules import learning_rate

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {"block_size": 8, "n_layer": 1, "n_head": 2, "n_embd": 8, "batch_size": 4}
TINY = tuple(
    (rung, replace(recipe, **SIZES, steps=20, warmup_steps=2, evaluate_every=5))
    for rung, recipe in ABLATIONS
    if rung.adds in ("classic", "RMS norm", "all together")
)


@pytest.fixture(autouse=True)
def _no_curve(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gptladder.training.run.loss_plot", lambda *_: None)


def to_the_end(training: Training) -> None:
    for _ in training.steps():
        pass


def ablated(folder: Path, corpus: Corpus, train: Callable[[Training], None] = to_the_end) -> list[AblationRow]:
    return list(ablate(folder, corpus, 3, CPU, train, TINY))


# --- the seconds to a loss ---


def evaluations(*pairs: tuple[float, float]) -> list[dict[str, Any]]:
    """Lines of metrics, with one between each two that measured nothing."""
    lines = []
    for seconds, loss in pairs:
        lines += [{"train_seconds": seconds, "validation_loss": loss}, {"train_seconds": seconds + 0.5, "train_loss": 0.0}]
    return lines


@pytest.mark.parametrize(
    ("loss", "seconds"),
    [
        (3.0, 10.0),  # at an evaluation
        (3.5, 5.0),  # half way between two
        (2.25, 25.0),  # three quarters
        (2.0, 30.0),  # at the last
        (1.99, None),  # never
        (4.5, None),  # there already before it began
    ],
)
def test_the_seconds_to_a_loss_lie_on_straight_lines(loss: float, seconds: float | None):
    assert seconds_to(loss, evaluations((0, 4.0), (10, 3.0), (30, 2.0))) == (
        seconds if seconds is None else pytest.approx(seconds)
    )


def test_the_first_time_counts():
    assert seconds_to(2.5, evaluations((0, 4.0), (10, 2.0), (20, 3.0), (30, 2.0))) == pytest.approx(7.5)


def test_without_two_evaluations_nothing_was_reached():
    assert seconds_to(2.0, []) is None
    assert seconds_to(2.0, evaluations((0, 1.0))) is None


# --- the ablation ---


def test_each_idea_is_one_change_of_the_classic_model():
    (classic, settings), *ideas, (everything, together) = ABLATIONS
    assert (classic.adds, settings.optimizer) == ("classic", "adamw")
    assert (everything.adds, together.optimizer) == ("all together", "muon")
    for rung, recipe in ideas:
        assert replace(recipe, rung=settings.rung, optimizer="adamw") == settings
        assert (recipe.optimizer == "muon") == (rung.adds == "Muon")
    names = [rung.name for rung, _ in ABLATIONS]
    assert len(set(names)) == len(names)
    assert all(rung.name == recipe.rung for rung, recipe in ABLATIONS)


def test_each_row_says_what_its_run_says(tmp_path: Path, small_corpus: Corpus):
    rows = ablated(tmp_path / "out", small_corpus)
    assert [row.adds for row in rows] == ["classic", "RMS norm", "all together"]
    for row, (rung, recipe) in zip(rows, TINY, strict=True):
        run, lines = Run.open(tmp_path / "out" / rung.name), read_metrics(tmp_path / "out" / rung.name)
        model = build(rung.name, recipe.config(len(set(small_corpus.text))))
        assert (run.config.rung, run.config.seed) == (rung.name, 3)
        assert run.config.recipe.optimizer == recipe.optimizer
        assert row.parameters == sum(parameter.numel() for parameter in model.parameters())
        assert (lines[-1]["step"], row.validation_loss) == (20, lines[-1]["validation_loss"])
        assert row.seconds == lines[-1]["train_seconds"]
        assert row.gain == rows[0].validation_loss - row.validation_loss
        assert row.seconds_to_classic == seconds_to(rows[0].validation_loss, lines)


def test_the_classic_model_gains_nothing_and_reaches_its_own_loss(tmp_path: Path, small_corpus: Corpus):
    classic = ablated(tmp_path / "out", small_corpus)[0]
    assert classic.gain == 0
    assert classic.seconds_to_classic is not None
    assert classic.seconds_to_classic <= classic.seconds


def test_the_report_holds_all_that_makes_it_comparable(tmp_path: Path, small_corpus: Corpus):
    rows = ablated(tmp_path / "out", small_corpus)
    report = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert set(report) == {"machine", "versions", "seed", "corpus", "recipe", "precision", "rows"}
    assert report["seed"] == 3
    assert report["corpus"] == {"name": "small", "sha256": small_corpus.sha256}
    assert report["versions"]["torch"] == torch.__version__
    assert report["precision"] == Run.open(tmp_path / "out" / TINY[0][0].name).config.plan.precision
    assert Recipe(TINY[0][0].name, **report["recipe"]) == TINY[0][1]
    assert [AblationRow(**row) for row in report["rows"]] == rows


def test_the_same_seed_gives_the_same_losses(tmp_path: Path, small_corpus: Corpus):
    first, second = ([row.validation_loss for row in ablated(tmp_path / name, small_corpus)] for name in "ab")
    assert first == second
    assert len(set(first)) == len(first)


def test_a_training_that_was_stopped_is_no_row_and_those_before_it_stay(tmp_path: Path, small_corpus: Corpus):
    def stops_at_the_second(training: Training) -> None:
        if training.recipe.rung == TINY[1][0].name:
            training.stop()
        to_the_end(training)

    with pytest.raises(InputError, match=rf"{TINY[1][0].name} was stopped before its end; begin again with another --out"):
        ablated(tmp_path / "out", small_corpus, stops_at_the_second)
    report = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert [row["adds"] for row in report["rows"]] == ["classic"]


def test_the_command_prints_the_table(gptladder: Callable[..., Any], small_file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ablate, "__defaults__", (TINY,))
    code, out, err = gptladder("ablate", "--corpus", small_file, "--device", "cpu", "--out", "out")
    assert (code, err) == (0, "")
    table = out[out.index("What each idea is worth") :]
    for row in json.loads(Path("out/ablation.json").read_text())["rows"]:
        (line,) = [line for line in table.splitlines() if line.strip().startswith(f"{row['adds']} ")]
        assert f"{row['parameters']:,}" in line
        assert f"{row['validation_loss']:.4f}" in line
        assert f"{row['gain']:+.4f}" in line
    assert "written: out/ablation.json" in table


# --- the real text ---


def short_training(recipe: Recipe, text: str, seed: int) -> float:
    tokenizer = CharTokenizer.of(text)
    batches = Batches(torch.tensor(tokenizer.encode(text)), recipe.batch_size, recipe.block_size)
    torch.manual_seed(seed)
    model = fuse(build(recipe.rung, recipe.config(len(tokenizer))))
    rate, optimizer = partial(learning_rate, recipe), make_optimizer(model, recipe)
    *_, last = train(model, optimizer, batches, recipe.steps, recipe.steps, seed, rate, fused_cross_entropy)
    assert last.validation_loss is not None
    return last.validation_loss


def test_the_modern_model_ends_in_its_band_far_below_the_classic_one(tinyshakespeare: Corpus):
    """The laptop recipe made small, in float32 to be the same everywhere: 2.148, 2.134, 2.134 with seeds 1 to 3."""
    recipe = replace(
        MODERN_RECIPES["laptop"],
        **{"block_size": 32, "n_layer": 2, "n_head": 2, "n_embd": 64, "batch_size": 16, "steps": 150},
        **{
            "warmup_steps": 10,
            "precision": "float32",
            "dropout": 0.0,
            "weight_decay": 0.1,
            "learning_rate": 6e-3,
            "decay": 0.6,
        },
    )
    classic = replace(recipe, rung="ablate-0-classic", optimizer="adamw", learning_rate=4e-3)
    modern_loss = short_training(recipe, tinyshakespeare.text, 1)
    assert modern_loss == pytest.approx(2.139, abs=0.03)
    assert modern_loss < short_training(classic, tinyshakespeare.text, 1) - 0.2  # 2.51, 2.48, 2.46
