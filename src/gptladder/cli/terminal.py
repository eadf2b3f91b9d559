"""Printing for the verbs: a training as it goes, tables, warnings. Nothing here computes a result."""

from __future__ import annotations

import errno
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..checkpoint import Run
from ..corpus import FILE, URL, Corpus
from ..errors import InputError
from ..model.config import Recipe
from ..provenance import versions
from ..sampling.writer import stream_run
from ..training.ablate import AblationRow
from ..training.climb import LadderRow
from ..training.clock import TimedStep
from ..training.run import Evaluation, Training
from .commands import command

WIDE = 110  # columns of what goes into a file or a pipe
console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
errors = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else WIDE)
SAMPLE = 500  # characters shown when a training ends
REFRESH_SECONDS = 0.2


def warn_stand_in(note: str) -> None:
    """Warn loudly that this text is not Shakespeare."""
    errors.print(
        Panel(
            "Training text: the stand-in, about 1 MB written by this project's own GPT. It is not Shakespeare.\n"
            f"Why: {escape(note)}.\n"
            f"For the real text: save {URL}\n"
            f"as FOLDER/{FILE} and set GPTLADDER_DATA=FOLDER; or give a text of your own with --corpus FILE.\n"
            "Losses on the stand-in cannot be compared with published ones.",
            title="STAND-IN CORPUS",
            border_style="yellow",
        )
    )


def warn_other_versions(run: Run) -> None:
    """Warn if a run goes on under other versions than it began with: its numbers may then differ."""
    then, now = run.config.versions, versions()
    if then != now:
        changes = ", ".join(f"{name} {then.get(name)} -> {now[name]}" for name in now if then.get(name) != now[name])
        errors.print(f"[yellow]note[/yellow] this run began with other versions: {escape(changes)}")


def show_corpus(corpus: Corpus) -> None:
    """Print what is about to be learned from, before hours are spent on it."""
    files = f"{corpus.files:,} files, " if corpus.files > 1 else ""
    passed_over = f"; passed over: {', '.join(corpus.passed_over)}" if corpus.passed_over else ""
    size = f"{files}{len(corpus.text):,} characters, {len(set(corpus.text)):,} different"
    console.print(escape(f"text: {corpus.name}, {size}{passed_over}"), soft_wrap=True)


def show_recipe(name: str, recipe: Recipe) -> None:
    """Print every setting with its name, as `--set` takes it."""
    print(f"recipe {name} (rung {recipe.rung})")
    for setting, value in asdict(recipe).items():
        if setting != "rung":
            print(f"  {setting} = {value}")


class _Stops:
    """The handler of Ctrl-C and SIGTERM in a training: the first one asks it to stop and save, the second ends it at once."""

    def __init__(self, training: Training) -> None:
        self.training, self.at_once = training, False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.training.stopping:
            self.training.stop()
            _say_at_once("stopping; Ctrl-C again ends at once")
            return
        self.at_once = True
        raise KeyboardInterrupt

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle both signals inside the block; afterwards the handlers from before are back."""
        before = {number: signal.signal(number, self) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _say_at_once(line: str) -> None:
    """Write a line to the terminal, from a signal handler: print may be what the signal interrupted."""
    with suppress(OSError):
        os.write(2, f"\n{line}\n".encode())


def follow(training: Training) -> None:
    """Run a training and show it. If it is stopped: how to go on, and exit code 130."""
    recipe, run = training.recipe, training.run
    parameters = sum(parameter.numel() for parameter in training.model.parameters())
    plan = f"{recipe.steps:,} steps of {recipe.batch_size} x {recipe.block_size} tokens on {run.config.plan.device}"
    name = f"[bold]{recipe.rung}[/bold] by the recipe {run.config.recipe_name}"
    console.print(f"{name}: {parameters:,} parameters, {plan}, in {escape(str(run.folder))}", soft_wrap=True)
    if training.note:
        errors.print(f"[yellow]note[/yellow] {escape(training.note)}")
    stops = _Stops(training)
    try:
        with stops.handled():
            _show_steps(training)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"{error.strerror}; make room, then go on with: {_going_on(training)}") from None
    except BaseException:
        if not stops.at_once:
            raise  # otherwise the interruption caused it: a compiler whose processes were ended raises such errors
    if stops.at_once:
        console.print("stopped; everything that was saved is kept. Go on with:")
    elif training.stopping:
        console.print(f"stopped after step {training.done:,}; nothing is lost. Go on with:")
    else:
        return
    print(f"  {_going_on(training)}")
    raise typer.Exit(130)


def _going_on(training: Training) -> str:
    return command("resume", training.run.folder)


def _show_steps(training: Training) -> None:
    progress = Progress(
        TextColumn("step {task.completed:,.0f}/{task.total:,.0f}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[doing]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
    )
    recipe, shown, speed = training.recipe, 0.0, 0.0
    begins = "compiling the model" if training.plan.compiled else ""
    with progress:
        task = progress.add_task("", total=recipe.steps, completed=training.done, doing=begins)
        training.on_evaluation = lambda done: progress.update(task, completed=training.done, doing=f"evaluating, {done:.0%}")
        for step in training.steps():
            speed = step.tokens_per_second if speed == 0 else 0.98 * speed + 0.02 * step.tokens_per_second
            if step.train_loss is not None and step.seconds - shown > REFRESH_SECONDS:
                shown = step.seconds
                progress.update(task, completed=step.step, doing=f"loss {step.train_loss.item():.3f}  {speed:,.0f} tokens/s")
            if step.validation_loss is not None:
                console.print(_evaluation_line(step, recipe))


def _evaluation_line(step: TimedStep, recipe: Recipe) -> str:
    trained = "" if step.train_loss is None else f"   training loss {step.train_loss.item():.3f}   {step.train_seconds:,.0f} s"
    return f"step {step.step:>{len(str(recipe.steps))}}   validation loss {step.validation_loss:.4f}{trained}"


def show_result(training: Training) -> None:
    """Print the loss reached, some text, and the next command."""
    run = training.run
    console.print(
        f"\nvalidation loss [bold]{training.best_loss:.4f}[/bold] (best, at step {training.best_step:,}); it writes:\n"
    )
    for text in stream_run(run, count=SAMPLE, seed=training.seed):
        sys.stdout.write(text)
        sys.stdout.flush()
    prompt = ("--prompt", "ROMEO:") if run.tokenizer.ids.keys() >= set("ROMEO:") else ()
    print(f"\n\nNext, let it write more:\n  {command('sample', run.folder, *prompt, '--tokens', '1000')}")


def say_finished(training: Training) -> None:
    """Say that a resumed run had nothing left to do, and how to train it on."""
    steps = training.recipe.steps
    print(f"This run was finished before: step {training.done:,} of {steps:,}. To train it on:")
    print(f"  {command('resume', training.run.folder, '--steps', str(2 * steps))}")


def show_ladder(rows: Sequence[LadderRow], folder: Path) -> None:
    """Print the table of a climb, and where its report lies."""
    table = Table(title="The ladder", title_justify="left", box=SIMPLE, padding=0, pad_edge=False)
    table.add_column("rung", no_wrap=True)
    table.add_column("adds")
    for name in ("parameters", "seconds", "validation\nloss", "published\nloss"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for row in rows:
        published = "" if row.published_loss is None else f"{row.published_loss:.2f}"
        table.add_row(
            *(row.rung, row.adds, f"{row.parameters:,}", f"{row.seconds:.0f}"),
            *(f"{row.validation_loss:.3f}", published, row.verdict),
        )
    console.print(table)
    best = min((row for row in rows if (folder / row.rung).is_dir()), key=lambda row: row.validation_loss)
    print(f"written: {folder}/ladder.json, ladder.png, samples.txt. Next, let the best of them write more:")
    print(f"  {command('sample', folder / best.rung)}")


def show_ablation(rows: Sequence[AblationRow], folder: Path) -> None:
    """Print the table of an ablation, and where its report lies."""
    table = Table(title="What each idea is worth", title_justify="left", box=SIMPLE, padding=0, pad_edge=False)
    table.add_column("classic, and", no_wrap=True)
    for name in ("parameters", "validation\nloss", "gain", "seconds", "seconds to the\nclassic loss"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        reached = "never" if row.seconds_to_classic is None else f"{row.seconds_to_classic:.1f}"
        table.add_row(
            *(row.adds, f"{row.parameters:,}", f"{row.validation_loss:.4f}"),
            *(f"{row.gain:+.4f}", f"{row.seconds:.1f}", reached),
        )
    console.print(table)
    print(f"written: {folder}/ablation.json")


@contextmanager
def progress_of_evaluation() -> Iterator[Callable[[float], None]]:
    """Show how much of an evaluation is done. Inside, call the function that this gives with the fraction, 0 to 1."""
    columns = (TextColumn("evaluating"), BarColumn(bar_width=24), TextColumn("{task.percentage:.0f}%"))
    bar = Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal)
    with bar:
        task = bar.add_task("", total=1.0)
        yield lambda done: bar.update(task, completed=done)


def show_evaluation(found: Evaluation, run: Run, corpus: Corpus) -> None:
    """Print a loss and what it means: the perplexity, and the loss of a uniform guess."""
    loss, vocab_size = found.loss, run.model_config.vocab_size
    part = "" if found.targets == found.split_targets else f", on {found.targets:,} of {found.split_targets:,} targets"
    print(f"{run.folder} on {corpus.name}: validation loss {loss:.4f} nats per character{part}")
    print(f"  perplexity {math.exp(loss):.2f} of {vocab_size} characters; a uniform guess has loss {math.log(vocab_size):.4f}")
