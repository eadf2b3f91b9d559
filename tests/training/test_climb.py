"""The climb: every rung trained, judged and reported, and nothing trained in vain."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gptladder import corpus as corpora
from gptladder.checkpoint import Run
from gptladder.corpus import Corpus
from gptladder.errors import InputError
from gptladder.model.config import Recipe
from gptladder.model.controls import CONTROLS
from gptladder.model.ladder import RUNGS, Rung
from gptladder.rungs import RECIPES, build
from gptladder.training.climb import SAMPLE, LadderRow, climb, row_of, verdict
from gptladder.training.metrics import read_metrics
from gptladder.training.plots import ladder_plot
from gptladder.training.run import Training, begin

CPU = torch.device("cpu")
SMALL_RUNGS = [rung for rung in RUNGS if rung.name != "gpt"]
RUNG = {rung.name: rung for rung in (*RUNGS, *CONTROLS)}


@pytest.fixture
def short_recipes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recipe]:
    """All recipes, cut to four steps of two blocks; without pictures, which would take longer."""
    for name, recipe in RECIPES.items():
        small = replace(recipe, steps=4, batch_size=2, evaluate_every=2, block_size=8, n_embd=8, n_layer=1, n_head=1)
        monkeypatch.setitem(RECIPES, name, small)
    monkeypatch.setattr("gptladder.training.run.loss_plot", lambda *_: None)
    monkeypatch.setattr("gptladder.training.climb.ladder_plot", lambda *_: None)
    return RECIPES


def to_the_end(training: Training) -> None:
    for _ in training.steps():
        pass


def climbed(
    folder: Path, rungs: list[Rung | Run], corpus: Corpus, train: Callable[[Training], None] = to_the_end
) -> list[LadderRow]:
    return list(climb(folder, rungs, corpus, 3, CPU, train))


# --- verdicts ---


@pytest.mark.parametrize("name", RUNG)
def test_a_loss_is_inside_above_or_below_the_band(name: str):
    rung, recipe = RUNG[name], RECIPES[RUNG[name].recipe]
    middle = rung.expected_loss

    def judged(loss: float) -> str:
        return verdict(rung, recipe, corpora.SHA256, loss)

    assert judged(middle) == judged(middle + 0.99 * rung.band) == judged(middle - 0.99 * rung.band) == "inside"
    assert judged(middle + 1.01 * rung.band) == judged(9.0) == "above"
    assert judged(middle - 1.01 * rung.band) == judged(0.0) == "below: leak suspected"


def test_a_loss_that_is_no_number_is_not_inside():
    assert verdict(RUNG["bigram"], RECIPES["bigram"], corpora.SHA256, float("inf")) == "above"
    assert verdict(RUNG["bigram"], RECIPES["bigram"], corpora.SHA256, float("nan")) == "above"


def test_the_band_lies_around_the_published_loss_and_is_three_hundredths_at_least():
    for rung in RUNG.values():
        assert rung.band >= 0.03
        if rung.published_loss is not None:
            assert rung.expected_loss == rung.published_loss


def test_another_text_or_another_recipe_is_not_comparable():
    rung, recipe = RUNG["layernorm"], RECIPES["layernorm"]
    assert verdict(rung, recipe, Corpus("mine", "text").sha256, rung.expected_loss) == "not comparable"
    assert verdict(rung, replace(recipe, steps=10), corpora.SHA256, rung.expected_loss) == "not comparable"


# --- the report ---


def test_the_report_has_the_schema_of_the_contract(tmp_path: Path, short_recipes: dict[str, Recipe], small_corpus: Corpus):
    rows = climbed(tmp_path / "climb", SMALL_RUNGS, small_corpus)
    report = json.loads((tmp_path / "climb" / "ladder.json").read_text())
    assert set(report) == {"machine", "versions", "seed", "corpus", "rungs"}
    assert report["seed"] == 3
    assert report["corpus"] == {"name": "small", "sha256": small_corpus.sha256}
    assert report["versions"]["torch"] == torch.__version__
    assert report["machine"]["processor"]["cores"] > 0
    assert len(report["rungs"]) == 7
    for row in report["rungs"]:
        assert set(row) == {"rung", "adds", "parameters", "seconds", "validation_loss", "published_loss", "verdict"}
    assert [LadderRow(**row) for row in report["rungs"]] == rows


def test_each_row_says_what_its_run_says(tmp_path: Path, short_recipes: dict[str, Recipe], small_corpus: Corpus):
    rows = climbed(tmp_path / "climb", SMALL_RUNGS, small_corpus)
    assert [row.rung for row in rows] == [
        *("bigram", "average", "attention", "multihead", "feedforward", "residual", "layernorm")
    ]
    for row in rows:
        run = Run.open(tmp_path / "climb" / row.rung)
        last = read_metrics(run.folder)[-1]
        model = build(row.rung, short_recipes[row.rung].config(len(set(small_corpus.text))))
        assert row.parameters == sum(parameter.numel() for parameter in model.parameters())
        assert (last["step"], row.validation_loss, row.seconds) == (4, last["validation_loss"], last["train_seconds"])
        assert (run.config.recipe_name, run.config.seed) == (row.rung, 3)
        assert (row.adds, row.published_loss, row.verdict) == (
            RUNG[row.rung].adds,
            RUNG[row.rung].published_loss,
            "not comparable",
        )


def test_the_samples_come_from_every_rung(tmp_path: Path, short_recipes: dict[str, Recipe], small_corpus: Corpus):
    rows = climbed(tmp_path / "climb", SMALL_RUNGS[:3], small_corpus)
    text = (tmp_path / "climb" / "samples.txt").read_text()
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        _, _, rest = text.partition(f"=== {row.rung}: {row.validation_loss:.3f} ===\n")
        sample = rest.partition(f"\n\n=== {following.rung}")[0] if following else rest[:-1]
        assert len(sample) == SAMPLE
        assert set(sample) <= set(small_corpus.text)


def test_the_picture_is_one(
    tmp_path: Path, short_recipes: dict[str, Recipe], small_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gptladder.training.climb.ladder_plot", ladder_plot)
    climbed(tmp_path / "climb", SMALL_RUNGS[:2], small_corpus)
    assert (tmp_path / "climb" / "ladder.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_same_seed_climbs_the_same_ladder(tmp_path: Path, short_recipes: dict[str, Recipe], small_corpus: Corpus):
    first, second = (climbed(tmp_path / name, SMALL_RUNGS[2:4], small_corpus) for name in "ab")
    assert [replace(row, seconds=0) for row in first] == [replace(row, seconds=0) for row in second]
    assert (tmp_path / "a" / "samples.txt").read_text() == (tmp_path / "b" / "samples.txt").read_text()


def test_controls_and_the_gpt_rung_climb_like_the_others(
    tmp_path: Path, short_recipes: dict[str, Recipe], small_corpus: Corpus
):
    rows = climbed(tmp_path / "climb", [RUNG["gpt"], *CONTROLS], small_corpus)
    assert [row.rung for row in rows] == ["gpt", "plain", "postnorm"]
    assert Run.open(tmp_path / "climb" / "gpt").config.recipe_name == "published"


def test_a_climb_broken_off_keeps_the_rungs_before(tmp_path: Path, short_recipes: dict[str, Recipe], small_corpus: Corpus):
    def falls_at_the_third(training: Training) -> None:
        if training.recipe.rung == "attention":
            raise KeyboardInterrupt
        to_the_end(training)

    with pytest.raises(KeyboardInterrupt):
        climbed(tmp_path / "climb", SMALL_RUNGS, small_corpus, falls_at_the_third)
    report = json.loads((tmp_path / "climb" / "ladder.json").read_text())
    assert [row["rung"] for row in report["rungs"]] == ["bigram", "average"]


# --- a finished run among the rungs ---


def test_a_finished_run_gives_its_row_without_training(
    tmp_path: Path, short_recipes: dict[str, Recipe], small_corpus: Corpus, run_folder: Path
):
    trained = []
    rows = climbed(
        tmp_path / "climb", [RUNG["bigram"], Run.open(run_folder)], small_corpus, lambda t: (trained.append(t), to_the_end(t))
    )
    assert [training.recipe.rung for training in trained] == ["bigram"]
    last = read_metrics(run_folder)[-1]
    assert (rows[1].rung, rows[1].validation_loss, rows[1].published_loss) == ("gpt", last["validation_loss"], 1.48)
    assert "=== gpt: " in (tmp_path / "climb" / "samples.txt").read_text()
    assert not (tmp_path / "climb" / "gpt").exists()


def stop_after_ten_steps(folder: Path) -> None:
    shutil.rmtree(folder / "state" / "step-000000020")
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:-1]))


def test_an_unfinished_run_is_refused_before_anything_is_trained(tmp_path: Path, small_corpus: Corpus, run_folder: Path):
    stop_after_ten_steps(run_folder)
    with pytest.raises(InputError, match=f"{run_folder} is not finished; finish it with: gptladder resume {run_folder}"):
        climbed(tmp_path / "climb", [RUNG["bigram"], Run.open(run_folder)], small_corpus)
    assert not (tmp_path / "climb").exists()


def test_a_run_that_read_another_text_is_refused_before_anything_is_trained(tmp_path: Path, run_folder: Path):
    with pytest.raises(InputError, match="was trained on another text than other is now"):
        climbed(tmp_path / "climb", [RUNG["bigram"], Run.open(run_folder)], Corpus("other", "abc\n" * 100))
    assert not (tmp_path / "climb").exists()


def test_a_run_that_was_hardly_begun_is_not_finished(tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus):
    steps = begin(tmp_path / "run", "laptop", small_recipe, small_corpus, 1, CPU).steps()
    next(steps)
    steps.close()
    with pytest.raises(InputError, match="is not finished"):
        row_of(Run.open(tmp_path / "run"))


# --- the real text ---


@pytest.mark.slow
def test_every_small_rung_lands_inside_its_band(tmp_path: Path, tinyshakespeare: Corpus):
    """About a minute and a half: the ladder as published, on the real text."""
    rows = climbed(tmp_path / "climb", SMALL_RUNGS, tinyshakespeare)
    assert {row.rung: row.verdict for row in rows} == {rung.name: "inside" for rung in SMALL_RUNGS}
    assert [row.parameters for row in rows] == [4225, 4416, 7488, 7488, 8544, 41856, 42304]
