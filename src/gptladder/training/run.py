"""A training inside its run folder: the loop, with everything recorded that is needed to look back and to go on."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import __version__, checkpoint, cpu
from ..batches import Batches
from ..corpus import Corpus
from ..errors import InputError, as_input_error
from ..files import write_atomically
from ..model.config import Recipe
from ..model.fusing import fuse, fused_cross_entropy
from ..rungs import build
from ..tokenizer import CharTokenizer
from .devices import choose_device
from .loop import Step, evaluate, train, training_step
from .loss import cross_entropy
from .metrics import LOG_EVERY, metrics_of, read_metrics
from .optimizers import make_optimizer
from .plan import (
    choose_compilation,
    compile_now,
    compute_in,
    precision_for,
    products_for,
    slices_for,
    step_in_slices,
    worth_compiling,
)
from .plots import loss_plot
from .schedules import learning_rate


def versions() -> dict[str, str]:
    """What must be the same for the numbers to be the same."""
    return {"gptladder": __version__, "torch": torch.__version__, "python": platform.python_version()}


@dataclass
class Training:
    """A model on its way from step `done` to the recipe's last, in a run folder. `begin` or `resume` make one."""

    run: checkpoint.Run
    recipe: Recipe
    seed: int
    batches: Batches
    model: nn.Module  # fused, unless the run says otherwise
    optimizer: torch.optim.Optimizer
    started: float  # time.perf_counter() when the command began
    done: int = 0
    seconds_before: float = 0.0  # of the sittings before this one
    train_seconds_before: float = 0.0
    best_step: int = 0
    best_loss: float = math.inf
    note: str = ""  # what a user should know about how it runs
    compiled: bool = False
    stopping: bool = field(default=False, init=False)

    def stop(self) -> None:
        """After the step under way, save and end. May be called from a signal handler or another thread."""
        self.stopping = True

    def steps(self) -> Iterator[Step]:
        """Trains, records, and yields each step; when it ends the run folder holds best, last, metrics and curve."""
        with products_for(self.recipe, torch.device(self.run.config["device"]), _dtype_of(self.run)):
            yield from self._steps()

    def _steps(self) -> Iterator[Step]:
        loss_function = fused_cross_entropy if self.run.config["fused"] else cross_entropy
        if self.compiled:
            compile_now(self.model, self.batches, self._slices(), loss_function)
        setup_seconds = self.seconds_before + time.perf_counter() - self.started
        steps = train(
            self.model,
            self.optimizer,
            self.batches,
            steps=self.recipe.steps,
            evaluate_every=self.recipe.evaluate_every,
            seed=self.seed,
            learning_rate=partial(learning_rate, self.recipe),
            loss_function=loss_function,
            done=self.done,
            take_step=self._take_step(),
        )
        with (self.run.folder / checkpoint.METRICS).open("a") as metrics:
            for step in steps:
                step = replace(
                    step,
                    seconds=step.seconds + setup_seconds,
                    train_seconds=step.train_seconds + self.train_seconds_before,
                )
                stopping = self.stopping  # read once: a signal may come at any moment
                if step.validation_loss is not None or step.step % LOG_EVERY == 0 or stopping:
                    metrics.write(json.dumps(metrics_of(step)) + "\n")
                    metrics.flush()
                if step.validation_loss is not None or stopping:
                    self._save(step)
                self.done = step.step
                yield step
                if stopping:
                    break
        title = f"{self.recipe.rung}, recipe {self.run.config['recipe']}, {Path(self.run.config['corpus']['name']).name}"
        loss_plot(read_metrics(self.run.folder), title, self.run.model_config.vocab_size, self.run.folder / "loss.png")

    def _slices(self) -> int:
        device, dtype = torch.device(self.run.config["device"]), _dtype_of(self.run)
        return slices_for(self.recipe, device, dtype) if self.run.config["fused"] else 1

    def _take_step(self) -> Callable[..., Tensor]:
        return partial(step_in_slices, self._slices()) if self._slices() > 1 else training_step

    def _save(self, step: Step) -> None:
        if step.validation_loss is not None and not math.isfinite(step.validation_loss):
            rate = self.recipe.learning_rate
            raise InputError(
                f"the loss is {step.validation_loss} after step {step.step}: learning_rate {rate} is too much for this recipe; "
                f"train anew with less: --set learning_rate={rate / 3:.1g}"
            )
        if step.validation_loss is not None and step.validation_loss < self.best_loss:
            self.best_step, self.best_loss = step.step, step.validation_loss
            self.run.save_model(self.model, step.step, step.validation_loss)
        self.run.save_state(
            self.model,
            self.optimizer,
            {
                "step": step.step,
                "seconds": step.seconds,
                "train_seconds": step.train_seconds,
                "best_step": self.best_step,
                "best_loss": self.best_loss,
            },
        )


def _dtype_of(run: checkpoint.Run) -> torch.dtype:
    """What the run's products are computed in."""
    return torch.bfloat16 if run.config.get("precision") == "bfloat16" else torch.float32


def _prepare(
    recipe: Recipe, corpus: Corpus, seed: int, device: torch.device, fused: bool, dtype: torch.dtype
) -> tuple[CharTokenizer, Batches, nn.Module, torch.optim.Optimizer]:
    cpu.keep_freed_memory()
    tokenizer = CharTokenizer.of(corpus.text)
    with as_input_error(f"corpus {corpus.name}: "):
        batches = Batches(torch.tensor(tokenizer.encode(corpus.text), device=device), recipe.batch_size, recipe.block_size)
    torch.manual_seed(seed)
    with as_input_error():
        model = build(recipe.rung, recipe.config(len(tokenizer))).to(device)
    model = compute_in(fuse(model) if fused else model, dtype)
    return tokenizer, batches, model, make_optimizer(model, recipe, dtype)


def begin(
    folder: Path,
    name: str,
    recipe: Recipe,
    corpus: Corpus,
    seed: int,
    device: torch.device,
    fused: bool = True,
    started: float | None = None,
) -> Training:
    """A new training of the recipe called `name`, in a new run folder. InputError if the folder or the text is unfit.

    It takes the number of threads that torch has (all cores, unless $OMP_NUM_THREADS says otherwise) and records it.
    """
    started = time.perf_counter() if started is None else started
    checkpoint.check_out(folder)
    dtype = precision_for(recipe, device) if fused else torch.float32
    tokenizer, batches, model, optimizer = _prepare(recipe, corpus, seed, device, fused, dtype)
    compiled, note = choose_compilation(fused and worth_compiling(recipe, model, device, dtype))
    config = asdict(recipe.config(len(tokenizer)))
    run = checkpoint.create(
        folder,
        {
            "rung": recipe.rung,
            "recipe": name,
            "model": config,
            "training": {key: value for key, value in asdict(recipe).items() if key not in config and key != "rung"},
            "corpus": {"name": corpus.name, "sha256": corpus.sha256, "stand_in": corpus.stand_in},
            "seed": seed,
            "device": str(device),
            "threads": torch.get_num_threads(),
            "compiled": compiled,
            "fused": fused,
            "precision": str(dtype).removeprefix("torch."),
            "versions": versions(),
        },
        tokenizer,
        model,
        optimizer,
        {"step": 0, "seconds": 0.0, "train_seconds": 0.0, "best_step": 0, "best_loss": None},
    )
    return Training(run, recipe, seed, batches, model, optimizer, started, note=note, compiled=compiled)


def recipe_of(run: checkpoint.Run) -> Recipe:
    """The recipe that a run was trained by, from its config.json. InputError if that is none."""
    model = {key: value for key, value in run.config["model"].items() if key != "vocab_size"}
    try:
        return Recipe(rung=run.config["rung"], **model, **run.config["training"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{run.folder / checkpoint.CONFIG} holds no recipe of this version: {error}") from None


def check_corpus(run: checkpoint.Run, corpus: Corpus) -> None:
    """InputError unless this is the text that the run was trained on, to the last character."""
    if corpus.sha256 != run.config["corpus"]["sha256"]:
        reason = f" ({corpus.note})" if corpus.stand_in else " (it has changed since)"
        raise InputError(f"{run.folder} was trained on another text than {corpus.name} is now{reason}; bring that text back")


def resume(folder: Path, corpus: Corpus, started: float | None = None, steps: int | None = None) -> Training:
    """The training of a run folder, where its newest state left it; to step `steps` if given.

    InputError if run, text or device do not fit.
    """
    started = time.perf_counter() if started is None else started
    run = checkpoint.Run.open(folder)
    check_corpus(run, corpus)
    recipe = recipe_of(run) if steps is None else replace(recipe_of(run), steps=steps)
    device = choose_device(run.config["device"])
    torch.set_num_threads(run.config["threads"])  # another number would round sums otherwise
    _, batches, model, optimizer = _prepare(recipe, corpus, run.config["seed"], device, run.config["fused"], _dtype_of(run))
    compiled, note = choose_compilation(run.config["compiled"])
    run.model()  # best weights that are damaged are found now, not after hours of training
    facts = run.load_state(model, optimizer)
    try:
        training = Training(
            *(run, recipe, run.config["seed"], batches, model, optimizer, started),
            done=facts["step"],
            seconds_before=facts["seconds"],
            train_seconds_before=facts["train_seconds"],
            best_step=facts["best_step"],
            best_loss=math.inf if facts["best_loss"] is None else facts["best_loss"],
            note=note,
            compiled=compiled,
        )
    except KeyError as error:
        raise InputError(f"the newest state of {folder} lacks {error}; remove it to resume from the one before") from None
    # What was logged after the state is trained and logged again; so is step 0 by a training that begins there.
    kept = [line for line in read_metrics(folder) if line["step"] <= training.done and training.done > 0]
    write_atomically(folder / checkpoint.METRICS, "".join(json.dumps(line) + "\n" for line in kept).encode())
    return training


def evaluate_run(run: checkpoint.Run, corpus: Corpus, device: torch.device) -> float:
    """The loss of a run's best model on a corpus's whole validation split. InputError if it does not know a character."""
    with as_input_error(f"corpus {corpus.name}: "):
        tokens = torch.tensor(run.tokenizer.encode(corpus.text), device=device)
        batches = Batches(tokens, 1, run.model_config.block_size)
    model = fuse(run.model()).to(device)
    return evaluate(model, batches.all_blocks("validation"), fused_cross_entropy)
