"""A training in its run folder: what it records, and that stopping it, killing it or filling the disk loses nothing."""

from __future__ import annotations

import copy
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from gptladder import checkpoint
from gptladder.batches import Batches
from gptladder.checkpoint import Run
from gptladder.corpus import Corpus, load
from gptladder.errors import InputError
from gptladder.model.config import Recipe
from gptladder.model.fusing import unfuse
from gptladder.tensors import load_tensors
from gptladder.training.clock import TimedStep
from gptladder.training.loop import evaluate
from gptladder.training.loss import uniform_loss
from gptladder.training.plan import precision_for
from gptladder.training.run import LOG_EVERY, Training, begin, evaluate_run, read_metrics, resume

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _no_curve(monkeypatch: pytest.MonkeyPatch):
    """A picture takes longer than all else here; `trained` has one."""
    monkeypatch.setattr("gptladder.training.run.loss_plot", lambda *_: None)


def training_in(folder: Path, recipe: Recipe, corpus: Corpus, seed: int = 1, fused: bool = True) -> Training:
    return begin(folder, "laptop", recipe, corpus, seed, CPU, fused)


def finish(training: Training) -> list[TimedStep]:
    return list(training.steps())


def numbers(folder: Path) -> list[tuple[int, float | None, float | None]]:
    """What metrics.jsonl says, the clock left out."""
    return [(line["step"], line.get("train_loss"), line.get("validation_loss")) for line in read_metrics(folder)]


def weights(file: Path) -> dict[str, torch.Tensor]:
    return load_tensors(file)[0]


def same_weights(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def last_state(folder: Path) -> Path:
    return Run.open(folder).states()[-1]


def assert_same_run(one: Path, other: Path) -> None:
    """The same numbers, the same best weights, and last states equal in weights and optimizer, bit for bit."""
    assert numbers(one) == numbers(other)
    assert same_weights(one / "model.safetensors", other / "model.safetensors")
    assert last_state(one).name == last_state(other).name
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert same_weights(last_state(one) / name, last_state(other) / name)


# --- what is recorded ---


def test_the_config_has_the_keys_of_the_contract_and_their_values(trained: Path, small_recipe: Recipe, small_text: str):
    config = json.loads((trained / "config.json").read_text())
    assert set(config) == {
        *("format", "rung", "recipe", "model", "training", "corpus"),
        *("seed", "plan", "evaluation_limit", "versions"),
    }
    assert config["format"] == "gptladder-run-2"
    assert (config["rung"], config["recipe"], config["seed"]) == ("gpt", "laptop", 1)
    plan = {"device": "cpu", "threads": 1, "compiled": False, "fused": True, "precision": "float32"}
    assert config["plan"] == {**plan, "slices": 1, "onednn": False}
    assert config["evaluation_limit"] is None
    assert config["model"] == asdict(small_recipe.config(len(set(small_text))))
    assert set(config["corpus"]) == {"name", "sha256", "stand_in"}
    assert config["corpus"]["sha256"] == Corpus("", small_text).sha256
    assert config["corpus"]["stand_in"] is False
    assert config["versions"]["torch"] == torch.__version__
    assert Run.open(trained).config.recipe == small_recipe


def test_the_metrics_have_the_keys_of_the_contract(trained: Path):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 10, 20]
    always = {"step", "seconds", "train_seconds", "tokens_per_second"}
    assert [set(line) for line in lines] == [
        always | {"validation_loss"},
        *[always | {"train_loss", "validation_loss"}] * 2,
    ]


def test_every_tenth_step_is_logged_and_validation_only_where_it_was_measured(
    tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus
):
    finish(training_in(tmp_path / "run", replace(small_recipe, steps=45, evaluate_every=20), small_corpus))
    lines = read_metrics(tmp_path / "run")
    assert LOG_EVERY == 10
    assert [line["step"] for line in lines] == [0, 10, 20, 30, 40, 45]
    assert [line["step"] for line in lines if "validation_loss" in line] == [0, 20, 40, 45]


def test_time_goes_forward_and_training_is_a_part_of_it(trained: Path):
    lines = read_metrics(trained)
    assert lines[0]["train_seconds"] == 0
    for before, after in pairwise(lines):
        assert before["seconds"] < after["seconds"]
        assert 0 < after["train_seconds"] - before["train_seconds"] < after["seconds"] - before["seconds"]
        assert after["tokens_per_second"] > 0


def test_an_untrained_model_knows_nothing_and_a_trained_one_something(trained: Path, small_text: str):
    (_, _, untrained), *_, (_, _, after) = numbers(trained)
    assert untrained == pytest.approx(uniform_loss(len(set(small_text))), abs=0.05)
    assert after < untrained - 0.3


def test_the_steps_that_are_yielded_are_those_that_are_written(tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus):
    steps = finish(training_in(tmp_path / "run", small_recipe, small_corpus))
    assert [step.step for step in steps] == list(range(21))
    logged = [(s.step, None if s.train_loss is None else s.train_loss.item(), s.validation_loss) for s in steps[::10]]
    assert numbers(tmp_path / "run") == logged


@pytest.mark.parametrize("losses", [(4.0, 3.0, 1.5, 2.5), (4.0, 3.0, 2.5, 1.5), (4.0, 5.0, 6.0, 7.0), (4.0, 3.0, 3.0, 3.0)])
def test_the_best_weights_are_those_of_the_lowest_validation_loss(
    losses: tuple[float, ...], tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
):
    """Of two equal losses the first counts."""
    told = iter(losses)
    monkeypatch.setattr("gptladder.training.loop.evaluate", lambda *_: next(told))
    training = training_in(tmp_path / "run", replace(small_recipe, steps=3, evaluate_every=1), small_corpus)
    seen = [unfuse(copy.deepcopy(training.model)).state_dict() for _ in training.steps()]
    best = losses.index(min(losses))
    assert (training.best_step, training.best_loss) == (best, losses[best])
    kept = Run.open(tmp_path / "run").model().state_dict()
    same = [all(torch.equal(kept[name], weight) for name, weight in weights.items()) for weights in seen]
    assert same == [step == best for step in range(4)]


def test_the_loss_that_is_recorded_is_the_loss_of_what_is_kept(trained: Path, small_corpus: Corpus, small_recipe: Recipe):
    run, recorded = Run.open(trained), min(loss for *_, loss in numbers(trained))
    assert evaluate_run(run, small_corpus, CPU).loss == pytest.approx(recorded, abs=1e-6)
    batches = Batches(torch.tensor(run.tokenizer.encode(small_corpus.text)), 1, small_recipe.block_size)
    assert evaluate(run.model(), batches.all_blocks("validation")) == pytest.approx(recorded, abs=1e-5)  # written out


def test_the_states_are_the_newest_two_and_the_last_is_the_end(trained: Path):
    assert [state.name for state in Run.open(trained).states()] == ["step-000000010", "step-000000020"]


def test_the_folder_holds_what_the_contract_says_and_nothing_else(trained: Path):
    assert {path.name for path in trained.iterdir()} == {
        *("config.json", "tokenizer.json", "model.safetensors", "state", "metrics.jsonl", "loss.png")
    }


def test_a_loss_that_is_no_number_ends_the_run_in_one_line(tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus):
    training = training_in(tmp_path / "run", replace(small_recipe, learning_rate=1e30), small_corpus)
    said = r"the loss is nan after step 10: learning_rate 1e[+]30 is too much for this recipe; .* --set learning_rate=0\.006$"
    with pytest.raises(InputError, match=said):  # what the recipe called laptop has
        finish(training)
    assert Run.open(tmp_path / "run").model() is not None


@pytest.mark.parametrize(("name", "rate", "advised"), [("laptop", 1e9, 6e-3), ("laptop", 3e-3, 1e-3), ("my own", 0.3, 0.1)])
def test_the_rate_that_is_advised_can_be_followed(
    name: str,
    rate: float,
    advised: float,
    tmp_path: Path,
    small_recipe: Recipe,
    small_corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
):
    """That of the recipe where a larger one was given, otherwise a third."""
    monkeypatch.setattr("gptladder.training.loop.evaluate", lambda *_: float("nan"))
    recipe = replace(small_recipe, learning_rate=rate)
    with pytest.raises(InputError) as error:
        finish(begin(tmp_path / "run", name, recipe, small_corpus, 1, CPU))
    assert str(error.value).endswith(f"--set learning_rate={advised:g}")


# --- the same seed, the same numbers ---


def test_a_seed_repeats_and_another_does_not(tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        torch.manual_seed(len(name) * seed)  # what was drawn before does not matter
        finish(training_in(tmp_path / name, small_recipe, small_corpus, seed))
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert all(a[1:] != c[1:] for a, c in zip(numbers(tmp_path / "a"), numbers(tmp_path / "c"), strict=True))


def test_the_written_out_model_learns_the_same_without_dropout(tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus):
    recipe = replace(small_recipe, dropout=0.0)
    for name, fused in (("fused", True), ("written", False)):
        finish(training_in(tmp_path / name, recipe, small_corpus, fused=fused))
    assert Run.open(tmp_path / "written").config.plan.fused is False
    fused, written = numbers(tmp_path / "fused"), numbers(tmp_path / "written")
    assert [loss for *_, loss in written] == pytest.approx([loss for *_, loss in fused], abs=1e-4)
    names = weights(last_state(tmp_path / "written") / "model.safetensors").keys()
    assert names == weights(tmp_path / "written" / "model.safetensors").keys()
    assert names != weights(last_state(tmp_path / "fused") / "model.safetensors").keys()


def modern(recipe: Recipe, precision: str) -> Recipe:
    """What the default recipe is made of, as small as the small one."""
    return replace(recipe, rung="modern", optimizer="muon", precision=precision, warmup_steps=3, decay=0.5)


def test_the_modern_recipe_is_recorded_with_the_precision_that_was_chosen(
    tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus
):
    recipe = modern(small_recipe, "mixed")
    training_in(tmp_path / "run", recipe, small_corpus)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["rung"], config["training"]["optimizer"], config["training"]["precision"]) == ("modern", "muon", "mixed")
    assert config["plan"]["precision"] == str(precision_for(recipe, CPU)).removeprefix("torch.")
    assert Run.open(tmp_path / "run").config.recipe == recipe
    training_in(tmp_path / "written", recipe, small_corpus, fused=False)
    assert Run.open(tmp_path / "written").config.plan.precision == "float32"


# --- stopped, killed, resumed ---


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("stop_at", [0, 1, 7, 10, 19])
def test_stopped_and_resumed_is_uninterrupted(
    stop_at: int, fused: bool, tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus
):
    finish(training_in(tmp_path / "whole", small_recipe, small_corpus, fused=fused))
    training = training_in(tmp_path / "stopped", small_recipe, small_corpus, fused=fused)
    last = None
    for last in training.steps():
        if last.step == stop_at:
            training.stop()
    assert last.step == training.done == stop_at + 1  # the step under way is finished
    assert last_state(tmp_path / "stopped").name == f"step-{stop_at + 1:09d}"
    torch.manual_seed(99)
    resumed = resume(tmp_path / "stopped", small_corpus)
    assert resumed.done == stop_at + 1
    assert [step.step for step in resumed.steps()] == list(range(stop_at + 2, 21))
    extra = [line for line in numbers(tmp_path / "stopped") if line not in numbers(tmp_path / "whole")]
    assert [step for step, *_ in extra] == ([stop_at + 1] if (stop_at + 1) % LOG_EVERY else [])  # the stop itself is logged
    drop_line(tmp_path / "stopped", [step for step, *_ in extra])
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize("precision", ["float32", "mixed"])
@pytest.mark.parametrize("stop_at", [0, 12])
def test_a_modern_run_stopped_and_resumed_is_uninterrupted(
    stop_at: int, precision: str, tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus
):
    """Muon's momentum and AdamW's moments come back; the precision is that of the run, whatever this machine would choose."""
    recipe = modern(small_recipe, precision)
    if precision == "mixed" and precision_for(recipe, CPU) == torch.float32:
        pytest.skip("this CPU does not multiply bfloat16 natively")
    finish(training_in(tmp_path / "whole", recipe, small_corpus))
    training = training_in(tmp_path / "stopped", recipe, small_corpus)
    for step in training.steps():
        if step.step == stop_at:
            training.stop()
    resumed = resume(tmp_path / "stopped", small_corpus)
    assert [step.step for step in resumed.steps()] == list(range(stop_at + 2, 21))
    drop_line(tmp_path / "stopped", [stop_at + 1])
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")
    moments = weights(last_state(tmp_path / "stopped") / "optimizer.safetensors")
    assert {name.rpartition("/")[2] for name in moments} == {"momentum", "step", "exp_avg", "exp_avg_sq"}


@pytest.mark.parametrize("at", [0, 10, 20])
@pytest.mark.parametrize("times", [1, 2])
def test_stopped_in_an_evaluation_and_resumed_is_uninterrupted(
    at: int,
    times: int,
    tmp_path: Path,
    small_recipe: Recipe,
    small_corpus: Corpus,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """The step before the evaluation is kept, and the evaluation made up for; also if that is stopped as well."""
    monkeypatch.setattr("gptladder.training.run.GRACE_SECONDS", 0)
    training = training_in(tmp_path / "run", small_recipe, small_corpus)
    for time_ in range(times):
        training = resume(tmp_path / "run", small_corpus) if time_ else training
        told = []

        def stop(fraction: float, training: Training = training, told: list[float] = told) -> None:
            told.append(fraction)
            if training.done == at and fraction == 0:
                training.stop()

        training.on_evaluation = stop
        before = [step.step for step in training.steps()]
        assert before == ([] if time_ else list(range(at)))
        assert (training.done, training.stopping, training.finished, told[-1]) == (at, True, False, 0)
    resumed = resume(tmp_path / "run", small_corpus)
    assert (resumed.done, resumed.finished) == (at, False)
    assert [step.step for step in resumed.steps()] == list(range(at, 21))
    assert_same_run(tmp_path / "run", trained)
    assert resume(tmp_path / "run", small_corpus).finished


def test_an_evaluation_that_is_nearly_done_is_finished(tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus):
    training = training_in(tmp_path / "run", small_recipe, small_corpus)
    training.on_evaluation = lambda fraction: training.stop() if training.done == 10 and fraction == 0 else None
    assert [step.step for step in training.steps()] == list(range(11))
    assert numbers(tmp_path / "run")[-1][2] is not None


@pytest.mark.parametrize("done", [0, 10])
def test_a_stop_before_the_first_step_trains_nothing(
    done: int, tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus, run_folder: Path, trained: Path
):
    shutil.rmtree(run_folder / "state" / "step-000000020")
    training = resume(run_folder, small_corpus) if done else training_in(tmp_path / "new", small_recipe, small_corpus)
    training.stop()
    assert finish(training) == []
    assert training.done == done
    finish(resume(training.run.folder, small_corpus))
    assert_same_run(training.run.folder, trained)


# --- a finished run, and more steps ---


def test_more_steps_go_on_from_the_state_by_the_longer_schedule(
    run_folder: Path, trained: Path, small_recipe: Recipe, small_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
):
    rates: list[tuple[int, float]] = []
    monkeypatch.setattr("gptladder.training.run.learning_rate", lambda recipe, step: rates.append((recipe.steps, step)) or 0.01)
    assert resume(run_folder, small_corpus).finished
    training = resume(run_folder, small_corpus, steps=25)
    assert (training.done, training.finished, training.recipe) == (20, False, replace(small_recipe, steps=25))
    assert Run.open(run_folder).config == replace(Run.open(trained).config, recipe=training.recipe)
    assert [step.step for step in finish(training)] == [21, 22, 23, 24, 25]
    assert rates == [(25, step) for step in (21, 22, 23, 24, 25)]
    assert training.finished
    assert numbers(run_folder)[:3] == numbers(trained)
    assert [step for step, *_ in numbers(run_folder)] == [0, 10, 20, 25]
    assert Run.open(run_folder).model() is not None


def test_a_longer_run_is_stopped_and_resumed_like_any_other(tmp_path: Path, trained: Path, small_corpus: Corpus):
    for name in ("whole", "stopped"):
        shutil.copytree(trained, tmp_path / name)
    finish(resume(tmp_path / "whole", small_corpus, steps=30))
    training = resume(tmp_path / "stopped", small_corpus, steps=30)
    for step in training.steps():
        if step.step == 24:
            training.stop()
    finish(resume(tmp_path / "stopped", small_corpus))
    drop_line(tmp_path / "stopped", [25])
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize("steps", [-1, 0, 19])
def test_fewer_steps_are_refused_and_change_nothing(steps: int, run_folder: Path, trained: Path, small_corpus: Corpus):
    with pytest.raises(InputError, match=rf"trains to step 20, not to {steps}; give --steps a larger number"):
        resume(run_folder, small_corpus, steps=steps)
    assert (run_folder / "config.json").read_bytes() == (trained / "config.json").read_bytes()


def test_a_run_that_is_killed_while_it_gets_more_steps_is_whole(
    tmp_path: Path, run_folder: Path, small_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    with photographed(run_folder, tmp_path / "album", monkeypatch):
        resume(run_folder, small_corpus, steps=25)
    steps = [Run.open(photograph).config.recipe.steps for photograph in sorted((tmp_path / "album").iterdir())]
    assert set(steps) == {20, 25}
    assert steps == sorted(steps)
    for photograph in (tmp_path / "album").iterdir():
        assert resume(photograph, small_corpus, steps=25).done == 20


# --- a huge text ---


def test_a_huge_split_is_evaluated_in_part_and_that_is_recorded_and_said(
    tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus, trained: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gptladder.training.evaluation.EVALUATION_LIMIT", 100)
    training = training_in(tmp_path / "run", small_recipe, small_corpus)
    assert training.note.startswith("each evaluation reads 96 of the validation split's 363 targets")
    assert training.run.config.evaluation_limit == 100
    for step in training.steps():
        if step.step == 12:
            training.stop()
    found = evaluate_run(Run.open(tmp_path / "run"), small_corpus, CPU)
    assert (found.targets, found.split_targets) == (96, 363)
    assert found.loss == pytest.approx(training.best_loss, abs=1e-6)
    monkeypatch.undo()  # the rule of the run is kept, whatever the rule is now
    monkeypatch.setattr("gptladder.training.run.loss_plot", lambda *_: None)
    finish(resume(tmp_path / "run", small_corpus))
    whole, part = numbers(trained), numbers(tmp_path / "run")
    assert [(step, loss) for step, loss, _ in part if step != 13] == [(step, loss) for step, loss, _ in whole]
    assert all(0 < abs(a[2] - b[2]) < 0.3 for a, b in zip(whole, [line for line in part if line[0] != 13], strict=True))


def drop_line(folder: Path, steps: list[int]) -> None:
    lines = [line for line in read_metrics(folder) if line["step"] not in steps]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@contextmanager
def photographed(folder: Path, album: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Copies the folder whenever a file is about to be flushed, renamed or removed: all that a kill could leave behind."""
    busy = False

    def before(act: Callable[..., Any]) -> Callable[..., Any]:
        def photograph_and_act(*args: Any, **options: Any) -> Any:
            nonlocal busy
            if not busy and folder.exists():
                busy = True
                shutil.copytree(folder, album / f"{len(list(album.iterdir())):03d}")
                busy = False
            return act(*args, **options)

        return photograph_and_act

    album.mkdir()
    with monkeypatch.context() as patch:
        for name in ("fsync", "rename", "replace", "unlink", "rmdir"):
            patch.setattr(os, name, before(getattr(os, name)))
        yield


def test_killed_at_any_moment_and_resumed_is_uninterrupted(
    tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a kill, other than a power cut, does not care
    recipe = replace(small_recipe, steps=15, evaluate_every=5)  # the third save removes the first state
    training = training_in(tmp_path / "whole", recipe, small_corpus)
    with photographed(tmp_path / "whole", tmp_path / "album", monkeypatch):
        finish(training)
    photographs = sorted((tmp_path / "album").iterdir())
    assert len(photographs) > 50
    done = [resume_and_compare(photograph, tmp_path / "whole", small_corpus) for photograph in photographs]
    assert sorted(set(done)) == [0, 5, 10, 15]
    assert done == sorted(done)  # what was saved once is never lost again


def resume_and_compare(photograph: Path, whole: Path, corpus: Corpus) -> int:
    training = resume(photograph, corpus)
    done = training.done
    finish(training)
    assert_same_run(whole, photograph)
    return done


SCRIPT = """
import sys, torch
from pathlib import Path
from gptladder.corpus import load
from gptladder.model.config import Recipe
from gptladder.training.run import begin, resume
folder, text = Path(sys.argv[1]), load(sys.argv[2])
recipe = Recipe("gpt", 8, 1, 2, 8, 0.2, batch_size=4, steps=300, learning_rate=1e-2, evaluate_every=10)
training = resume(folder, text) if folder.exists() else begin(folder, "laptop", recipe, text, 1, torch.device("cpu"))
for step in training.steps():
    pass
"""


def killed_when(reached: Callable[[], bool], folder: Path, file: Path) -> bool:
    """Trains in a process of its own and ends it with SIGKILL at that moment; False if it came to its end before."""
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(file)]) as process:
        limit = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < limit:
            if reached():
                process.send_signal(signal.SIGKILL)
                return process.wait() == -signal.SIGKILL
            time.sleep(0.001)
        process.kill()
    return False


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_process_killed_three_times_ends_where_an_undisturbed_one_does(
    tmp_path: Path, small_file: Path, small_recipe: Recipe
):
    def saving(after: int) -> Callable[[], bool]:
        states = tmp_path / "killed" / "state"
        return lambda: any(path.name > f".step-{after:09d}" for path in states.glob(".step-*"))

    def trained_to(step: int) -> Callable[[], bool]:
        return lambda: (tmp_path / "killed" / "state" / f"step-{step:09d}").exists()

    for moment in (trained_to(20), saving(60), saving(150)):
        assert killed_when(moment, tmp_path / "killed", small_file)
    recipe, corpus = replace(small_recipe, steps=300), load(str(small_file))
    finish(resume(tmp_path / "killed", corpus))
    finish(training_in(tmp_path / "whole", recipe, corpus))
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_the_clock_goes_on_after_a_resume(tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus):
    training = training_in(tmp_path / "run", small_recipe, small_corpus)
    for step in training.steps():
        if step.step == 11:
            training.stop()
    before = read_metrics(tmp_path / "run")[-1]
    finish(resume(tmp_path / "run", small_corpus))
    after = read_metrics(tmp_path / "run")[-1]
    assert (before["step"], after["step"]) == (12, 20)
    assert after["seconds"] > before["seconds"]
    assert after["train_seconds"] > before["train_seconds"]


def test_resuming_a_finished_run_changes_nothing(run_folder: Path, trained: Path, small_corpus: Corpus):
    training = resume(run_folder, small_corpus)
    assert finish(training) == []
    assert training.done == training.recipe.steps
    assert_same_run(run_folder, trained)


def test_a_last_line_cut_short_by_a_crash_is_written_again(run_folder: Path, trained: Path, small_corpus: Corpus):
    shutil.rmtree(run_folder / "state" / "step-000000020")
    with (run_folder / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 30, "train_lo')
    finish(resume(run_folder, small_corpus))
    assert_same_run(run_folder, trained)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff\n", b"[1]\n[2]\n", b'{"loss": 1}\n', b"[1]\n", b"a\nb\n"])
def test_metrics_by_another_hand_are_refused(content: bytes, run_folder: Path, small_corpus: Corpus):
    (run_folder / "metrics.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=r"metrics\.jsonl is damaged in line 1"):
        resume(run_folder, small_corpus)
    assert (run_folder / "metrics.jsonl").read_bytes() == content


def test_a_run_without_metrics_is_not_resumed(run_folder: Path, small_corpus: Corpus):
    (run_folder / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match=r"metrics\.jsonl is missing"):
        resume(run_folder, small_corpus)


@pytest.mark.parametrize(
    "change", [lambda text: text[:-1], lambda text: text + "\n", lambda text: text.replace("king", "knig")]
)
def test_a_changed_corpus_is_refused(change: Callable[[str], str], run_folder: Path, small_text: str):
    with pytest.raises(InputError, match=r"was trained on another text than mine is now \(it has changed since\)"):
        resume(run_folder, Corpus("mine", change(small_text)))


# --- unfit text ---


@pytest.mark.parametrize("text", ["a", "to be or", "x" * 9])
def test_a_text_shorter_than_a_block_makes_no_folder(text: str, tmp_path: Path, small_recipe: Recipe):
    with pytest.raises(InputError, match=r"corpus mine: a text of .* tokens is too short"):
        training_in(tmp_path / "run", small_recipe, Corpus("mine", text))
    assert not list(tmp_path.iterdir())


def test_a_run_knows_only_its_own_characters(trained: Path):
    with pytest.raises(InputError, match="corpus other: unknown character 'Q' at position 3"):
        evaluate_run(Run.open(trained), Corpus("other", "\nthQueen " * 100), CPU)


# --- the disk is full ---


@pytest.mark.parametrize("at", [0, 1, 2, 5, 9, 10, 14])
def test_a_full_disk_costs_no_more_than_the_steps_since_the_last_save(
    at: int, tmp_path: Path, small_recipe: Recipe, small_corpus: Corpus, trained: Path, monkeypatch: pytest.MonkeyPatch
):
    training = training_in(tmp_path / "run", small_recipe, small_corpus)
    steps = training.steps()
    next(steps)  # step 0 is saved
    calls, fsync = [], os.fsync

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            list(steps)
    run = Run.open(tmp_path / "run")
    assert run.model() is not None
    assert not list((tmp_path / "run").rglob(".*"))
    assert resume(tmp_path / "run", small_corpus).done in (0, 10)
    finish(resume(tmp_path / "run", small_corpus))
    assert_same_run(trained, tmp_path / "run")


def test_a_metrics_file_that_cannot_be_written_ends_the_run_and_loses_nothing(
    run_folder: Path, small_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
):
    shutil.rmtree(run_folder / "state" / "step-000000020")
    training = resume(run_folder, small_corpus)
    monkeypatch.setattr(checkpoint, "METRICS", "no-such-folder/metrics.jsonl")
    with pytest.raises(OSError, match="no-such-folder"):
        finish(training)
    assert last_state(run_folder).name == "step-000000010"
