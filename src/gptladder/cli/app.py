"""The command line: verbs in groups. Each imports what it needs when it is called, so `--help` answers at once."""

from __future__ import annotations

import errno
import sys
import time
from io import TextIOWrapper
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from .. import __version__
from ..errors import InputError, as_input_error
from . import learn, teach
from .commands import as_typed

if TYPE_CHECKING:
    from ..corpus import Corpus

TRAIN = "Train"


class GroupedHelp(TyperGroup):
    """A help page with the verbs under the name of their group."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  typer's own types have no public name
        """Writes one section per group, in the order of definition."""
        commands = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        for group, members in groupby(commands, key=lambda pair: getattr(pair[1], "rich_help_panel", None)):
            with formatter.section(str(group)):
                formatter.write_dl([(name, command.get_short_help_str(100)) for name, command in members])


app = typer.Typer(
    cls=GroupedHelp,
    rich_markup_mode=None,
    add_completion=False,
    help="Understand a GPT by building it, rung by rung, from a bigram table to one that writes Shakespeare.",
)

RunArgument = Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run folder; the newest in runs/ if left out.")]
CorpusOption = Annotated[
    str | None, typer.Option("--corpus", help="tinyshakespeare (default), stand-in, or the path of a text file or folder.")
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps; the fastest here if left out.")]
SEED_MAX = 2**63 - 1


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Handles what comes before a verb, and notes when the command began."""
    context.obj = time.perf_counter()
    if version:
        print(f"gptladder {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        if not learn.show_standing():
            print(context.get_help())
        raise typer.Exit


@app.command(rich_help_panel=TRAIN)
def train(
    context: typer.Context,
    rung: Annotated[str | None, typer.Argument(metavar="[RUNG]", help="A rung, trained by its own recipe.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe by name; laptop on a CPU, published on a GPU.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change one setting; repeatable.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="The same as --set steps=N.")] = None,
    corpus: CorpusOption = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; runs/RUNG-DATE-TIME if left out.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=SEED_MAX, help="Default 1.")] = None,
    device: DeviceOption = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped or killed.")] = None,
    written_out: Annotated[
        bool, typer.Option("--written-out", help="Train the parts as written, without torch's kernels.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the recipe and train nothing.")] = False,
) -> None:
    """Train a model: the device's default recipe, or a rung's own."""
    from .. import checkpoint, rungs
    from ..training import devices, run
    from . import terminal

    if resume is not None:
        own = {
            "RUNG": rung,
            "--recipe": recipe,
            "--set": set_,
            "--steps": steps,
            "--out": out,
            "--seed": seed,
            "--device": device,
            "--written-out": written_out or None,
            "--show": show or None,
        }
        if given := [name for name, value in own.items() if value is not None]:
            raise InputError(f"{', '.join(given)} with --resume: a run goes on as it began; leave that out")
        opened = checkpoint.Run.open(resume)
        training = run.resume(resume, _corpus(corpus or opened.config["corpus"]["name"]), context.obj)
        terminal.warn_other_versions(opened)
    else:
        chosen_device = devices.choose_device(device)
        name, settings = rungs.recipe_for(rung, recipe, devices.default_recipe(chosen_device))
        settings = rungs.changed(settings, [*(set_ or []), *([f"steps={steps}"] if steps is not None else [])])
        if show:
            terminal.show_recipe(name, settings)
            return
        folder = out or checkpoint.new_folder(settings.rung)
        checkpoint.check_out(folder)
        seed = 1 if seed is None else seed
        training = run.begin(folder, name, settings, _corpus(corpus), seed, chosen_device, not written_out, context.obj)
    terminal.follow(training)
    terminal.show_result(training)


@app.command(rich_help_panel=TRAIN)
def climb(
    out: Annotated[Path | None, typer.Option(help="Where to put the report; runs/climb-DATE-TIME if left out.")] = None,
    corpus: CorpusOption = None,
    seed: Annotated[int, typer.Option(min=0, max=SEED_MAX)] = 1,
    controls: Annotated[bool, typer.Option("--controls", help="Add the two controls, plain and postnorm.")] = False,
    gpt: Annotated[Path | None, typer.Option(metavar="RUN", help="Take the row of the gpt rung from a finished run.")] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Train the gpt rung too, by the published recipe (hours on a CPU).")
    ] = False,
    ablate: Annotated[
        str | None,
        typer.Option(metavar="RUNG", help="Instead: what each idea of that rung is worth, alone and together; modern."),
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Train the seven small rungs, one after the other, and judge each against its published loss."""
    from .. import checkpoint
    from ..model.controls import CONTROLS
    from ..model.ladder import RUNGS, Rung
    from ..training import devices
    from ..training.climb import Row
    from ..training.climb import climb as climb_rungs
    from . import terminal

    if gpt is not None and all_:
        raise InputError("--gpt with --all: the one takes the gpt row from a run, the other trains it; leave one out")
    if ablate is not None:
        if ablate != "modern":
            raise InputError(f"no ablation of {ablate!r}; there is one of modern")
        if gpt is not None or all_ or controls:
            raise InputError("--ablate with --gpt, --all or --controls: it is no climb; leave the others out")
        _ablate(out or checkpoint.new_folder("ablate"), corpus, seed, device)
        return
    folder = out or checkpoint.new_folder("climb")
    checkpoint.check_out(folder)
    chosen: list[Rung | checkpoint.Run] = [rung for rung in RUNGS if rung.name != "gpt" or all_]
    if gpt is not None:
        finished = checkpoint.Run.open(gpt)
        if finished.config["rung"] != "gpt":
            raise InputError(f"{gpt} is a run of the rung {finished.config['rung']!r}; --gpt takes one of the rung 'gpt'")
        chosen.append(finished)
    chosen += CONTROLS if controls else ()
    rows: list[Row] = []
    try:
        for row in climb_rungs(folder, chosen, _corpus(corpus), seed, devices.choose_device(device), terminal.follow):
            rows.append(row)  # what was climbed before an interruption is shown too
    finally:
        if rows:
            terminal.show_ladder(rows, folder)


def _ablate(folder: Path, corpus: str | None, seed: int, device: str | None) -> None:
    from .. import checkpoint
    from ..training import devices
    from ..training.ablate import AblationRow, ablate
    from . import terminal

    checkpoint.check_out(folder)
    rows: list[AblationRow] = []
    try:
        for row in ablate(folder, _corpus(corpus), seed, devices.choose_device(device), terminal.follow):
            rows.append(row)
    finally:
        if rows:
            terminal.show_ablation(rows, folder)


@app.command(rich_help_panel=TRAIN)
def sample(
    run: RunArgument = None,
    prompt: Annotated[str, typer.Option(help="The text to continue; empty begins a new line.")] = "",
    tokens: Annotated[int, typer.Option(min=0, help="How many characters to write.")] = 500,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest; 1 draws as learned.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw among the k likeliest only.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw among the fewest that hold probability p together.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many continuations, written side by side.")] = 1,
    weights: Annotated[str, typer.Option(help="float32, or bfloat16: rounded, less to read, faster.")] = "float32",
    seed: Annotated[int | None, typer.Option(min=0, max=SEED_MAX, help="The same seed writes the same text.")] = None,
    device: DeviceOption = None,
) -> None:
    """Write text with a trained model."""
    from .. import checkpoint
    from ..sampling.choose import Sampling
    from ..sampling.writer import DTYPES, encode_prompt, load_for_writing, stream_text, write_texts
    from ..training.devices import choose_device

    if weights not in DTYPES:
        raise InputError(f"no weights in {weights!r}; there are {', '.join(DTYPES)}")

    with as_input_error():
        sampling = Sampling(temperature, top_k, top_p)
    opened = checkpoint.Run.open(run or checkpoint.newest_run())
    with as_input_error("prompt: "):
        encode_prompt(opened.tokenizer, prompt)
    drawn = time.time_ns() % 1_000_000 if seed is None else seed
    model = load_for_writing(opened, choose_device(device), DTYPES[weights])
    block_size = opened.model_config.block_size
    if seed is None:
        print(f"{opened.folder}, --seed {drawn}", file=sys.stderr)
    if samples > 1:
        for i, text in enumerate(
            write_texts(model, opened.tokenizer, block_size, samples, prompt, tokens, sampling, drawn), start=1
        ):
            print(f"--- {i} ---\n{prompt}{text}")
        return
    sys.stdout.write(prompt)
    for text in stream_text(model, opened.tokenizer, block_size, prompt, tokens, sampling, drawn):
        sys.stdout.write(text)
        sys.stdout.flush()
    sys.stdout.write("\n")


@app.command(rich_help_panel=TRAIN)
def evaluate(run: RunArgument = None, corpus: CorpusOption = None, device: DeviceOption = None) -> None:
    """Measure a trained model's loss on the whole validation split."""
    from .. import checkpoint
    from ..training.devices import choose_device
    from ..training.run import check_corpus, evaluate_run
    from . import terminal

    opened = checkpoint.Run.open(run or checkpoint.newest_run())
    text = _corpus(corpus or opened.config["corpus"]["name"])
    if corpus is None:
        check_corpus(opened, text)
    terminal.show_evaluation(evaluate_run(opened, text, choose_device(device)), opened, text)


@app.command(rich_help_panel=TRAIN)
def doctor() -> None:
    """Look at this machine: Python, torch, devices, threads, compiler, disk, data; name each cure."""
    from . import doctor as examination

    findings = examination.examine()
    examination.report(findings)
    if any(finding.serious for finding in findings):
        raise typer.Exit(1)


app.add_typer(learn.app)
app.add_typer(teach.app)
app.add_typer(teach.course_app, name="course", rich_help_panel=teach.TEACH)


def _corpus(name: str | None) -> Corpus:
    """The corpus of that name, with a loud word if it is the stand-in."""
    from .. import corpus as corpora
    from . import terminal

    found = corpora.load(name or corpora.TINYSHAKESPEARE)
    if found.stand_in:
        terminal.warn_stand_in(found.note)
    return found


def main() -> None:
    """The program: exit code 0 done, 2 a mistake in what was given (said in one line), 130 stopped by Ctrl-C."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a redirected Windows console may not know every character
    try:
        sys.exit(app(prog_name="gptladder", standalone_mode=False))
    except TyperException as error:
        _fail(error.format_message(), error.exit_code)
    except InputError as error:
        _fail(str(error), 2)
    except ImportError as error:
        _fail(f"something that is needed does not load ({error}); see what: gptladder doctor", 2)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(
            words in str(error) for words in ("out of memory", "allocate memory")
        ):
            raise
        _fail("that does not fit into the memory; less: --set batch_size=..., n_embd=..., n_layer=... or block_size=...", 2)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        cure = "make room; a run begun goes on with --resume RUN" if full else "look at that path, or give another"
        _fail(f"{error.strerror or error}{where}; {cure}", 2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)


def _fail(message: str, code: int) -> None:
    print(f"error: {as_typed(' '.join(message.split()), typer.main.get_group(app).commands)}", file=sys.stderr)
    sys.exit(code)
