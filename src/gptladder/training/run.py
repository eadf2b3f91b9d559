"""A training in its run folder: the loop, with everything recorded that is needed to look back and to go on."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoint, cpu
from ..corpus import Corpus
from ..errors import InputError, as_input_error
from ..files import write_atomically
from ..model.config import Recipe
from ..model.fusing import fuse, fused_cross_entropy
from ..provenance import versions
from ..run_config import CorpusIdentity, Plan, RunConfig, StateFacts
from ..rungs import RECIPES, build
from ..tokenizer import CharTokenizer
from .clock import Clock, TimedStep
from .compilation import choose_compilation, compile_now
from .devices import choose_device
from .evaluation import EvaluationBatches, StoppedInEvaluation, limit_for
from .loop import Step, evaluate, train, training_step
from .loss import cross_entropy
from .metrics import LOG_EVERY, metrics_of, read_metrics
from .optimizers import make_optimizer
from .plan import choose_plan, dtype_of, products_of
from .plots import loss_plot
from .schedules import learning_rate
from .slices import compute_in, step_in_slices
from .texts import check_corpus, tokens_of

GRACE_SECONDS = 0.5  # for which an evaluation under way goes on after a stop: one that is nearly done is not lost


@dataclass
class Training:
    """A model on its way from step `done` to the recipe's last, in a run folder. `begin` or `resume` make one."""

    run: checkpoint.Run
    plan: Plan  # how it runs here: as the run's own, but not compiled where no compiler is installed any more
    batches: EvaluationBatches
    model: nn.Module  # fused, unless the plan says otherwise
    optimizer: torch.optim.Optimizer
    started: float  # time.perf_counter() when the command began
    before: StateFacts = field(default_factory=StateFacts)  # where it goes on from
    note: str = ""  # what a user should know about how it runs
    on_evaluation: Callable[[float], None] = lambda fraction: None  # told how much of an evaluation is done, 0 to 1
    stopping: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.done, self.best_step = self.before.step, self.before.best_step
        self.best_loss = math.inf if self.before.best_loss is None else self.before.best_loss
        device = torch.device(self.plan.device)
        self.clock = Clock(self.started, device, self.before.seconds, self.before.train_seconds)
        self._stop_at = math.inf
        # The loss of a step whose evaluation is still to come: it is broken off with the training, and made up for on resuming.
        self._unevaluated = None if self.before.unevaluated_loss is None else torch.tensor(self.before.unevaluated_loss)

    @property
    def recipe(self) -> Recipe:
        """The recipe that it is trained by."""
        return self.run.config.recipe

    @property
    def seed(self) -> int:
        """The seed of weights, batches and dropout."""
        return self.run.config.seed

    @property
    def finished(self) -> bool:
        """True if nothing is left to do; `resume` with more steps goes on."""
        return self.done >= self.recipe.steps and self._unevaluated is None

    def stop(self) -> None:
        """Ask it to save and end: after the step under way, or in the middle of an evaluation or of compiling.

        May be called from a signal handler or another thread, also before the first step.
        """
        self.stopping, self._stop_at = True, time.perf_counter() + GRACE_SECONDS

    def steps(self) -> Iterator[TimedStep]:
        """Train, record, and yield each step; when it ends the run folder holds best, last, metrics and curve."""
        self.batches.begins = self.clock.evaluation_begins
        self.batches.progress = lambda fraction: self.on_evaluation(fraction)
        self.batches.stopping = lambda: time.perf_counter() >= self._stop_at
        with products_of(self.plan):
            try:
                yield from self._recorded()
            except StoppedInEvaluation:
                self._save_state()
        config = self.run.config
        title = f"{config.rung}, recipe {config.recipe_name}, {Path(config.corpus.name).name}"
        loss_plot(read_metrics(self.run.folder), title, config.model.vocab_size, self.run.folder / "loss.png")

    def _recorded(self) -> Iterator[TimedStep]:
        loss_function = fused_cross_entropy if self.plan.fused else cross_entropy
        if self.plan.compiled and not self.finished:
            compile_now(self.model, self.batches, self.plan.slices, loss_function, lambda: self.stopping)
        if self.stopping:
            return
        with (self.run.folder / checkpoint.METRICS).open("a") as metrics:
            for step in self.clock.time(self._loop(loss_function), self.recipe.batch_size * self.recipe.block_size, self.done):
                stopping = self.stopping  # read once: a signal may come at any moment
                if step.validation_loss is not None or step.step % LOG_EVERY == 0 or stopping:
                    metrics.write(json.dumps(metrics_of(step)) + "\n")
                    metrics.flush()
                if step.validation_loss is not None:
                    self._unevaluated = None
                    self._keep_best(step.step, step.validation_loss)
                if step.validation_loss is not None or stopping:
                    self._save_state()
                yield step
                if stopping:
                    break

    def _loop(self, loss_function: Callable[[Tensor, Tensor], Tensor]) -> Iterator[Step]:
        """The training loop, behind the evaluation that the last sitting broke off."""
        if self._unevaluated is not None:
            loss = evaluate(self.model, self.batches.all_blocks("validation"), loss_function)
            yield Step(self.done, self._unevaluated, loss)
        yield from train(
            self.model,
            self.optimizer,
            self.batches,
            steps=self.recipe.steps,
            evaluate_every=self.recipe.evaluate_every,
            seed=self.seed,
            learning_rate=partial(learning_rate, self.recipe),
            loss_function=loss_function,
            done=self.done,
            take_step=self._take_step,
        )

    def _take_step(self, *arguments: Any) -> Tensor:  # noqa: ANN401  as `training_step` has them
        sliced = partial(step_in_slices, self.plan.slices) if self.plan.slices > 1 else training_step
        loss = sliced(*arguments)
        self.done += 1
        evaluating = self.done % self.recipe.evaluate_every == 0 or self.done == self.recipe.steps
        self._unevaluated = loss if evaluating else None
        return loss

    def _keep_best(self, step: int, loss: float) -> None:
        if not math.isfinite(loss):
            rate, name = self.recipe.learning_rate, self.run.config.recipe_name
            usual = RECIPES[name].learning_rate if name in RECIPES else rate
            advised = f"{usual:g}" if rate > usual else f"{rate / 3:.1g}"
            raise InputError(
                f"the loss is {loss} after step {step}: learning_rate {rate:g} is too much for this recipe; "
                f"train again with --set learning_rate={advised}"
            )
        if loss < self.best_loss:
            self.best_step, self.best_loss = step, loss
            self.run.save_model(self.model, step, loss)

    def _save_state(self) -> None:
        facts = StateFacts(
            self.done,
            self.clock.seconds(),
            self.clock.train_seconds,
            self.best_step,
            self.best_loss if math.isfinite(self.best_loss) else None,
            None if self._unevaluated is None else self._unevaluated.item(),
        )
        self.run.save_state(self.model, self.optimizer, facts)


def _batches(recipe: Recipe, corpus: Corpus, tokenizer: CharTokenizer, device: torch.device) -> EvaluationBatches:
    with as_input_error(f"corpus {corpus.name}: "):
        tokens = tokens_of(tokenizer, corpus.text).to(device)
        return EvaluationBatches(tokens, recipe.batch_size, recipe.block_size)


def _model(recipe: Recipe, vocab_size: int, seed: int, device: torch.device) -> nn.Module:
    """The untrained model in its written-out form."""
    cpu.keep_freed_memory()
    torch.manual_seed(seed)
    with as_input_error():
        return build(recipe.rung, recipe.config(vocab_size)).to(device)


def _prepared(model: nn.Module, recipe: Recipe, plan: Plan) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The model as the plan has it, and the optimizer of its weights."""
    model = compute_in(fuse(model) if plan.fused else model, dtype_of(plan))
    return model, make_optimizer(model, recipe, dtype_of(plan))


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
    """Begin a training by the recipe called `name` in a new run folder. InputError if the folder or the text is unfit."""
    started = time.perf_counter() if started is None else started
    checkpoint.check_out(folder)
    tokenizer = CharTokenizer.of(corpus.text)
    batches = _batches(recipe, corpus, tokenizer, device)
    batches.limit = limit_for(batches)
    untrained = _model(recipe, len(tokenizer), seed, device)
    plan, note = choose_plan(recipe, untrained, device, fused)
    model, optimizer = _prepared(untrained, recipe, plan)
    identity = CorpusIdentity(corpus.name, corpus.sha256, corpus.stand_in)
    config = RunConfig(
        *(name, recipe, recipe.config(len(tokenizer)), identity, seed, plan, batches.limit, versions()),
    )
    run = checkpoint.create(folder, config, tokenizer, model, optimizer)
    return Training(run, plan, batches, model, optimizer, started, note=_joined(note, batches.note()))


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def resume(folder: Path, corpus: Corpus, started: float | None = None, steps: int | None = None) -> Training:
    """Return the training of a run folder, where its newest state left it. InputError if run, text or device do not fit.

    With `steps`, the recipe has that many steps from now on, also in the run's config.json: the learning rate follows the
    longer recipe from here. A finished run comes back as a training that is `finished`.
    """
    started = time.perf_counter() if started is None else started
    run = checkpoint.Run.open(folder)
    check_corpus(run, corpus)
    config = run.config if steps is None else _lengthened(run, steps)
    recipe, plan = config.recipe, config.plan
    device = choose_device(plan.device)
    torch.set_num_threads(plan.threads)  # another number would round sums otherwise
    batches = _batches(recipe, corpus, run.tokenizer, device)
    batches.limit = config.evaluation_limit
    model, optimizer = _prepared(_model(recipe, len(run.tokenizer), config.seed, device), recipe, plan)
    compiled, note = choose_compilation(plan.compiled)
    run.model()  # best weights that are damaged are found now, not after hours of training
    facts = run.load_state(model, optimizer)
    run = run if config == run.config else run.with_config(config)
    # What was logged after the state is trained and logged again; so is step 0 by a training that begins there.
    logged = facts.step if facts.unevaluated_loss is None else facts.step - 1
    kept = [line for line in read_metrics(folder) if line["step"] <= logged and facts.step > 0]
    write_atomically(folder / checkpoint.METRICS, "".join(json.dumps(line) + "\n" for line in kept).encode())
    plan = replace(plan, compiled=compiled)
    return Training(run, plan, batches, model, optimizer, started, facts, _joined(note, batches.note()))


def _lengthened(run: checkpoint.Run, steps: int) -> RunConfig:
    recipe = run.config.recipe
    if steps < recipe.steps:
        raise InputError(f"{run.folder} trains to step {recipe.steps}, not to {steps}; give --steps a larger number")
    return replace(run.config, recipe=replace(recipe, steps=steps))


@dataclass(frozen=True)
class Evaluation:
    """The loss of a run's best model on a validation split, and how much of the split was read."""

    loss: float
    targets: int
    split_targets: int


def evaluate_run(
    run: checkpoint.Run, corpus: Corpus, device: torch.device, progress: Callable[[float], None] = lambda fraction: None
) -> Evaluation:
    """Evaluate a run's best model on a corpus's validation split, in part if it is huge, as a training does.

    `progress` is told how much is done, 0 to 1. InputError if the run does not know a character.
    """
    batches = _batches(run.config.recipe, corpus, run.tokenizer, device)
    batches.limit, batches.progress = limit_for(batches), progress
    model = fuse(run.model()).to(device)
    loss = evaluate(model, batches.all_blocks("validation"), fused_cross_entropy)
    return Evaluation(loss, batches.targets("validation"), len(batches.splits["validation"]) - 1)
