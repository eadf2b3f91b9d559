"""What the verbs print: a training as it goes, tables, warnings. Nothing here computes a result."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from ..model.config import Recipe
from ..sampling.writer import stream_run
from ..training.ablate import AblationRow
from ..training.climb import Row
from ..training.loop import Step
from ..training.run import Training, versions
from .commands import command

WIDE = 110  # columns of what goes into a file or a pipe
console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
errors = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else WIDE)
SAMPLE = 500  # characters shown when a training ends
REFRESH_SECONDS = 0.2


def warn_stand_in(note: str) -> None:
    """Says loudly that this is not Shakespeare."""
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
    """Says that a run goes on under other versions than it began with, where it does: its numbers may then differ."""
    then, now = run.config["versions"], versions()
    if then != now:
        changes = ", ".join(f"{name} {then.get(name)} -> {now[name]}" for name in now if then.get(name) != now[name])
        errors.print(f"[yellow]note[/yellow] other versions than this run began with: {escape(changes)}")


def show_recipe(name: str, recipe: Recipe) -> None:
    """Every setting with its name, as `--set` takes it."""
    print(f"recipe {name} (rung {recipe.rung})")
    for setting, value in asdict(recipe).items():
        if setting != "rung":
            print(f"  {setting} = {value}")


@contextmanager
def _stopped_by_signal(training: Training) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) asks the training to end well; a second one ends it at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        training.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def follow(training: Training) -> None:
    """Runs a training and shows it. If it is stopped: how to go on, and exit code 130."""
    recipe, run = training.recipe, training.run
    parameters = sum(parameter.numel() for parameter in training.model.parameters())
    plan = f"{recipe.steps:,} steps of {recipe.batch_size} x {recipe.block_size} tokens on {run.config['device']}"
    name = f"[bold]{recipe.rung}[/bold] by the recipe {run.config['recipe']}"
    console.print(f"{name}: {parameters:,} parameters, {plan}, in {escape(str(run.folder))}", soft_wrap=True)
    if training.note:
        errors.print(f"[yellow]note[/yellow] {escape(training.note)}")
    progress = Progress(
        TextColumn("step {task.completed:,.0f}/{task.total:,.0f}"),
        BarColumn(bar_width=24),
        TextColumn("loss {task.fields[loss]}  {task.fields[speed]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
    )
    shown, speed = 0.0, 0.0
    with _stopped_by_signal(training), progress:
        task = progress.add_task("", total=recipe.steps, completed=training.done, loss="...", speed="")
        for step in training.steps():
            speed = step.tokens_per_second if speed == 0 else 0.98 * speed + 0.02 * step.tokens_per_second
            if step.train_loss is not None and step.seconds - shown > REFRESH_SECONDS:
                shown = step.seconds
                loss, rate = f"{step.train_loss.item():.3f}", f"{speed:,.0f} tokens/s"
                progress.update(task, completed=step.step, loss=loss, speed=rate)
            if step.validation_loss is not None:
                console.print(_evaluation_line(step, recipe))
    if training.stopping:
        console.print(f"stopped after step {training.done:,}; nothing is lost. Go on with:")
        print(f"  {command('train', '--resume', run.folder)}")
        raise typer.Exit(130)


def _evaluation_line(step: Step, recipe: Recipe) -> str:
    trained = "" if step.train_loss is None else f"   training loss {step.train_loss.item():.3f}   {step.train_seconds:,.0f} s"
    return f"step {step.step:>{len(str(recipe.steps))}}   validation loss {step.validation_loss:.4f}{trained}"


def show_result(training: Training) -> None:
    """The loss reached, some text, and where to go from here."""
    run = training.run
    console.print(
        f"\nvalidation loss [bold]{training.best_loss:.4f}[/bold] (best, at step {training.best_step:,}); it writes:\n"
    )
    for text in stream_run(run, count=SAMPLE, seed=training.seed):
        sys.stdout.write(text)
        sys.stdout.flush()
    prompt = ("--prompt", "ROMEO:") if run.tokenizer.ids.keys() >= set("ROMEO:") else ()
    print(f"\n\nNext, let it write more:\n  {command('sample', run.folder, *prompt, '--tokens', '1000')}")


def show_ladder(rows: Sequence[Row], folder: Path) -> None:
    """The table of a climb, and where its report lies."""
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
    """The table of an ablation, and where its report lies."""
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


def show_evaluation(loss: float, run: Run, corpus: Corpus) -> None:
    """A loss, and what it means: the perplexity, and the uniform guess beside it."""
    vocab_size = run.model_config.vocab_size
    print(f"{run.folder} on {corpus.name}: validation loss {loss:.4f} nats per character")
    print(f"  perplexity {math.exp(loss):.2f} of {vocab_size} characters; a uniform guess has loss {math.log(vocab_size):.4f}")
