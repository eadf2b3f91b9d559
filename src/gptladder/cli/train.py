"""The verbs that train models and use them: train, resume, climb, ablate, sample, evaluate; and the doctor."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError, as_input_error

if TYPE_CHECKING:
    from ..checkpoint import Run
    from ..corpus import Corpus
    from ..tokenizer import CharTokenizer

TRAIN = "Train"
SEED_MAX = 2**63 - 1
app = typer.Typer()
RunArgument = Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run folder; the newest in runs/ if left out.")]
CorpusOption = Annotated[
    str | None, typer.Option("--corpus", help="tinyshakespeare (default), stand-in, or the path of a text file or folder.")
]
SameCorpusOption = Annotated[
    str | None, typer.Option("--corpus", help="Where the text is now; where it was when the run began if left out.")
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps; the fastest here if left out.")]
SeedOption = Annotated[int, typer.Option(min=0, max=SEED_MAX, help="The same seed trains the same models.")]


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
    seed: Annotated[int, typer.Option(min=0, max=SEED_MAX, help="The same seed trains the same model.")] = 1,
    device: DeviceOption = None,
    written_out: Annotated[
        bool, typer.Option("--written-out", help="Train the parts as written, without torch's kernels.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the recipe and train nothing.")] = False,
) -> None:
    """Train a model: the device's default recipe, or a rung's own."""
    from .. import checkpoint, rungs
    from ..training import devices, run
    from . import terminal

    _refuse_text_as_rung(rung)
    chosen_device = devices.choose_device(device)
    name, settings = rungs.recipe_for(rung, recipe, devices.default_recipe(chosen_device))
    settings = rungs.changed(settings, [*(set_ or []), *([f"steps={steps}"] if steps is not None else [])])
    if show:
        terminal.show_recipe(name, settings)
        return
    folder = out or checkpoint.new_folder(settings.rung)
    checkpoint.check_out(folder)
    text = _corpus_to_train_on(corpus)
    training = run.begin(folder, name, settings, text, seed, chosen_device, not written_out, context.obj)
    terminal.follow(training)
    terminal.show_result(training)


@app.command(rich_help_panel=TRAIN)
def resume(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run that was stopped, killed or finished.")],
    corpus: SameCorpusOption = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Train on to step N, also where the run was finished.")] = None,
) -> None:
    """Go on with a run where it was stopped, or train a finished one on."""
    from .. import checkpoint
    from ..training import run as training_run
    from . import terminal

    opened = checkpoint.Run.open(run)
    training = training_run.resume(run, _corpus_of(opened, corpus), context.obj, steps)
    terminal.warn_other_versions(opened)
    if training.finished:
        terminal.say_finished(training)
        return
    terminal.follow(training)
    terminal.show_result(training)


@app.command(rich_help_panel=TRAIN)
def climb(
    out: Annotated[Path | None, typer.Option(help="Where to put the report; runs/climb-DATE-TIME if left out.")] = None,
    corpus: CorpusOption = None,
    seed: SeedOption = 1,
    controls: Annotated[bool, typer.Option("--controls", help="Add the two controls, plain and postnorm.")] = False,
    gpt: Annotated[Path | None, typer.Option(metavar="RUN", help="Take the row of the gpt rung from a finished run.")] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Train the gpt rung too, by the published recipe (hours on a CPU).")
    ] = False,
    device: DeviceOption = None,
) -> None:
    """Train the seven small rungs, one after the other, and judge each against its published loss."""
    from .. import checkpoint
    from ..model.controls import CONTROLS
    from ..model.ladder import RUNGS, Rung
    from ..training import devices
    from ..training.climb import LadderRow
    from ..training.climb import climb as climb_rungs
    from . import terminal

    if gpt is not None and all_:
        raise InputError("--gpt with --all: the one takes the gpt row from a run, the other trains it; leave one out")
    folder = out or checkpoint.new_folder("climb")
    checkpoint.check_out(folder)
    chosen: list[Rung | checkpoint.Run] = [rung for rung in RUNGS if rung.name != "gpt" or all_]
    if gpt is not None:
        finished = checkpoint.Run.open(gpt)
        if finished.config.rung != "gpt":
            raise InputError(f"{gpt} is a run of the rung {finished.config.rung!r}; --gpt takes one of the rung 'gpt'")
        chosen.append(finished)
    chosen += CONTROLS if controls else ()
    rows: list[LadderRow] = []
    try:
        text, chosen_device = _corpus_to_train_on(corpus), devices.choose_device(device)
        for row in climb_rungs(folder, chosen, text, seed, chosen_device, terminal.follow):
            rows.append(row)
    finally:
        if rows:  # after an interruption too: what was climbed before it is shown
            terminal.show_ladder(rows, folder)


@app.command(rich_help_panel=TRAIN)
def ablate(
    out: Annotated[Path | None, typer.Option(help="Where to put the report; runs/ablate-DATE-TIME if left out.")] = None,
    corpus: CorpusOption = None,
    seed: SeedOption = 1,
    device: DeviceOption = None,
) -> None:
    """Measure what each idea of the modern rung is worth, alone and together."""
    from .. import checkpoint
    from ..training import ablate as ablation
    from ..training import devices
    from . import terminal

    folder = out or checkpoint.new_folder("ablate")
    checkpoint.check_out(folder)
    rows: list[ablation.AblationRow] = []
    try:
        text, chosen_device = _corpus_to_train_on(corpus), devices.choose_device(device)
        for row in ablation.ablate(folder, text, seed, chosen_device, terminal.follow):
            rows.append(row)
    finally:
        if rows:
            terminal.show_ablation(rows, folder)


@app.command(rich_help_panel=TRAIN)
def sample(
    run: RunArgument = None,
    prompt: Annotated[str, typer.Option(help=r"The text to continue; \n is a new line. Empty begins a new line.")] = "",
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
    prompt = _with_new_lines(prompt, opened.tokenizer)
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
    """Measure a trained model's loss on the validation split: all of it, or evenly spaced blocks of a huge one."""
    from .. import checkpoint
    from ..training.devices import choose_device
    from ..training.run import evaluate_run
    from ..training.texts import check_corpus
    from . import terminal

    opened = checkpoint.Run.open(run or checkpoint.newest_run())
    text = _corpus_of(opened, corpus)
    if corpus is None:
        check_corpus(opened, text)
    with terminal.progress_of_evaluation() as progress:
        found = evaluate_run(opened, text, choose_device(device), progress)
    terminal.show_evaluation(found, opened, text)


@app.command(rich_help_panel=TRAIN)
def doctor() -> None:
    """Look at this machine: Python, torch, devices, threads, compiler, disk, data; name each cure."""
    from . import doctor as examination

    observations = examination.examine()
    examination.report(observations)
    if any(observation.serious for observation in observations):
        raise typer.Exit(1)


def _corpus(name: str | None) -> Corpus:
    """Load the corpus of that name, with a warning if it is the stand-in."""
    from .. import corpus as corpora
    from . import terminal

    found = corpora.load(name or corpora.TINYSHAKESPEARE)
    if found.stand_in:
        terminal.warn_stand_in(found.note)
    return found


def _corpus_to_train_on(name: str | None) -> Corpus:
    """Load the corpus of that name and say what was read, before hours are spent on it."""
    from . import terminal

    found = _corpus(name)
    terminal.show_corpus(found)
    return found


def _corpus_of(run: Run, given: str | None) -> Corpus:
    """Load the text that is given, otherwise the text that a run was trained on."""
    if given is not None:
        return _corpus(given)
    try:
        return _corpus(run.config.corpus.name)
    except InputError as error:
        raise InputError(f"{error}; {run.folder} was trained on it: if it has moved, say where with --corpus") from None


def _refuse_text_as_rung(rung: str | None) -> None:
    """Raise InputError if a text stands where a rung should; it names the option that takes a text."""
    from .. import corpus, rungs
    from .commands import command

    if rung and rung not in rungs.ALL and (Path(rung).exists() or Path(rung).suffix.lower() in corpus.SUFFIXES):
        raise InputError(f"{rung} is no rung but a text; train on it with: {command('train', '--corpus', rung)}")


def _with_new_lines(prompt: str, tokenizer: CharTokenizer) -> str:
    r"""Return the prompt with a typed `\n` as the new line it stands for, unless the alphabet has a backslash of its own."""
    return prompt if "\\" in tokenizer.ids else prompt.replace("\\n", "\n")
