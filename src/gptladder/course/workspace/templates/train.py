"""Train a rung of the ladder with your own code.

`python train.py` takes the highest rung whose exercises are written. A training leaves a run
folder, runs/RUNG-DATE-TIME, that generate.py and many commands of `gptladder` read.

It is long because it is all in one place: what surrounds the loop that you write, from top to
bottom, and nothing to look up elsewhere.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import os
import platform
import sys
import time
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import torch
from generate import (
    CONFIG,
    DEVICE,
    PROJECT,
    TOKENIZER,
    WEIGHTS,
    fingerprint,
    not_written,
    run_main,
    stop,
    typed,
    write,
)
from mygpt.batches import Batches
from mygpt.model.attention import Head
from mygpt.model.config import GPTConfig, Recipe
from mygpt.model.fusing import fuse, fused_cross_entropy, unfuse
from mygpt.model.ladder import RECIPES, RUNGS, Rung
from mygpt.sampling.choose import Sampling
from mygpt.tokenizer import CharTokenizer
from mygpt.training.loop import Step, evaluate, train, training_step
from mygpt.training.loss import cross_entropy
from mygpt.training.schedules import learning_rate
from safetensors.torch import save
from torch import nn

FORMAT = "gptladder-run-2"  # which `gptladder` reads
URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"  # of that text
STAND_IN = PROJECT / "data" / "stand_in.txt"
INPUT = PROJECT / "data" / "input.txt"
REAL_NAME = "tinyshakespeare.txt"
CACHES = (  # where `gptladder` keeps it, in the home of a user of Linux, a Mac, Windows
    ".cache/gptladder",
    "Library/Caches/gptladder",
    "AppData/Local/gptladder/gptladder/Cache",
)
LAPTOP = Recipe(  # a GPT in minutes on a CPU, where the published recipe takes most of a day
    "gpt",
    block_size=64,
    n_layer=4,
    n_head=4,
    n_embd=128,
    dropout=0.05,  # so that it is at work; so small a model would end a little lower without it
    batch_size=32,
    steps=3000,
    learning_rate=4e-3,
    warmup_steps=100,
    decay=0.9,
    weight_decay=0.1,
    beta2=0.99,
    evaluate_every=250,
)


def sha256(text: str) -> str:
    """Return the hash of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def places() -> list[Path]:
    """Return where the real text may lie.

    In the project, where `gptladder` is told to look for it, or where `gptladder` keeps it.
    """
    found = [INPUT, PROJECT / "data" / REAL_NAME]
    if folder := os.environ.get("GPTLADDER_DATA"):
        found += [Path(folder), Path(folder) / REAL_NAME]  # the text itself, or its folder
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home
        return found
    return found + [home / cache / REAL_NAME for cache in CACHES]


def read_text(given: Path | None) -> tuple[Path, str, bool]:
    """Return the text, where it was, and whether it is TinyShakespeare.

    It is the text given, otherwise the first one found, otherwise the stand-in.
    """
    path = given or next((place for place in places() if place.is_file()), STAND_IN)
    try:
        # Old Macs end a line with \r alone.
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        stop(f"{path} cannot be read ({error.strerror}); give a text file")
    except UnicodeDecodeError as error:
        stop(f"{path} cannot be read as a text in UTF-8 ({error}); save it as UTF-8 and try again")
    real = sha256(text) == SHA256
    kind = "TinyShakespeare" if real else "a text of your own"
    kind = "THE STAND-IN" if path == STAND_IN else kind
    print(f"text: {kind}, {len(text):,} characters, {path}")
    if path == STAND_IN:
        print("  A small GPT wrote it, so a loss on it cannot be compared with a published one.")
        print(f"  For the real text save {URL}\n  as {INPUT}")
    return path, text, real


def recipe_for(rung: Rung, published: bool) -> Recipe:
    """Return the rung's own recipe, or for `gpt` a smaller one unless `published` is set."""
    return RECIPES[rung.recipe] if published or rung.name != "gpt" else LAPTOP


def try_out(rung: Rung) -> None:
    """Do once, on a few tokens, all that a training does.

    NotImplementedError if it needs an exercise that is not written.
    """
    tokens = CharTokenizer.of("ab").encode("ab" * 20)
    batches = Batches(torch.tensor(tokens), batch_size=1, block_size=2)
    x, y = batches.get_batch("train")
    model = rung.build(recipe_for(rung, published=False).config(vocab_size=2))
    logits = model(x)
    cross_entropy(logits, y)
    training_step(model, torch.optim.SGD(model.parameters(), lr=0.1), x, y)
    evaluate(model, [(x, y)])


def highest_rung() -> Rung:
    """Return the highest rung whose exercises are written, or the bigram if there is none."""
    for rung in reversed(RUNGS[1:]):
        try:
            try_out(rung)
        except NotImplementedError:
            continue
        return rung
    return RUNGS[0]


def fused_is_written() -> bool:
    """Return whether exercise 5.2-fused is written, so that the model can be fused."""
    head = Head(GPTConfig(1, block_size=1, n_layer=1, n_head=1, n_embd=1, dropout=0.0), head_size=1)
    try:
        fuse(head)(torch.zeros(1, 1, 1))
    except NotImplementedError:
        return False
    return True


class RunFolder:
    """The folder that a training leaves.

    Settings are written at once, numbers as they come, weights whenever they are the best so far.
    """

    def __init__(self, folder: Path, settings: dict[str, object], tokenizer: CharTokenizer) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = json.dumps({"format": FORMAT, **settings}, indent=2)
        small = {CONFIG: config.encode(), TOKENIZER: tokenizer.to_json().encode()}
        for name, data in small.items():
            (folder / name).write_bytes(data)
        self.folder = folder
        self.hashes = {name: hashlib.sha256(data).hexdigest() for name, data in small.items()}
        self.last_step, self.best_step, self.best_loss = 0, 0, math.inf
        self.began = time.perf_counter()

    def record(self, step: Step, model: nn.Module) -> None:
        """Write every tenth step and every evaluation as a line of metrics.jsonl.

        Evaluations are printed too, and after one the weights are kept if they are the best so far.
        """
        self.last_step = step.step
        if step.validation_loss is None and step.step % 10:
            return
        loss = None if step.train_loss is None else step.train_loss.item()
        seconds = round(time.perf_counter() - self.began, 3)
        numbers = {**vars(step), "train_loss": loss, "seconds": seconds}
        line = {name: n for name, n in numbers.items() if n is not None and math.isfinite(n)}
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        if step.validation_loss is not None:
            print(f"step {step.step:>5}  {seconds:>5.0f} s", end="")
            print(f"   validation loss {step.validation_loss:.4f}", end="")
            print("" if loss is None else f"   of the last batch {loss:.4f}", flush=True)
            self.keep_best(model, step.validation_loss)

    def keep_best(self, model: nn.Module, loss: float) -> None:
        """Save the weights, under their written-out names, if the loss is the lowest so far.

        The file is replaced as a whole: if anything goes wrong, the one before stays.
        """
        if not math.isfinite(loss):
            cause = "does something in mygpt divide by zero? gptladder check"
            stop(f"the loss is {loss} after step {self.last_step}: {cause}")
        if loss >= self.best_loss:
            return
        weights = unfuse(copy.deepcopy(model)).state_dict()
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        facts = {"step": str(self.last_step), "validation_loss": repr(loss), "format": FORMAT}
        facts |= self.hashes
        new = self.folder / f".{WEIGHTS}.new"
        new.write_bytes(save(weights, {**facts, "sha256": fingerprint(weights, facts)}))
        new.replace(self.folder / WEIGHTS)
        self.best_step, self.best_loss = self.last_step, loss  # last: Ctrl-C may come at any moment


def free_folder(out: Path | None, rung: Rung) -> Path:
    """Return the folder asked for, or runs/RUNG-DATE-TIME. Nothing is ever overwritten."""
    folder = out or Path("runs") / f"{rung.name}-{datetime.now():%Y%m%d-%H%M%S}"
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        stop(f"{folder} is not empty; give a new folder with --out")
    return folder


def verdict(rung: Rung, loss: float) -> str:
    """Say what a loss on TinyShakespeare means, after a training by the rung's own recipe."""
    low, high = rung.expected_loss - rung.band, rung.expected_loss + rung.band
    if loss < low:
        cause = "can a token see its future? gptladder check"
        return f"lower than {low:.2f} is too good to be true: {cause}"
    if loss > high:
        return f"it should be below {high:.2f}: gptladder check"
    return f"as it should be, {low:.2f} to {high:.2f}"


def train_rung(rung: Rung, options: argparse.Namespace) -> None:
    """Train a model on a text, leave it in its run folder, and show what it writes."""
    path, text, real = read_text(options.text)
    tokenizer = CharTokenizer.of(text)
    tokens = torch.tensor(tokenizer.encode(text), device=options.device)
    recipe = recipe_for(rung, options.published or options.device != "cpu")
    name = "laptop-gpt" if recipe is LAPTOP else rung.recipe
    try:
        if options.steps is not None:
            recipe = replace(recipe, steps=options.steps)
        batches = Batches(tokens, recipe.batch_size, recipe.block_size)
    except ValueError as error:
        stop(str(error))
    config = recipe.config(len(tokenizer))
    fused = not options.written_out and fused_is_written()
    torch.manual_seed(options.seed)
    model = rung.build(config).to(options.device)
    loss_function = fused_cross_entropy if fused else cross_entropy
    if fused:
        model = fuse(model)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.learning_rate,
        betas=(0.9, recipe.beta2),
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    of_the_model = {"rung", *asdict(config)}
    training = {key: value for key, value in asdict(recipe).items() if key not in of_the_model}
    settings = {
        "rung": rung.name,
        "recipe": name,
        "model": asdict(config),
        "training": training,
        "corpus": {
            "name": str(path.resolve()),
            "sha256": sha256(text),
            "stand_in": path == STAND_IN,
        },
        "seed": options.seed,
        "plan": {
            "device": options.device,
            "precision": "float32",
            "fused": fused,
            "compiled": False,
            "slices": 1,
            "onednn": False,
            "threads": torch.get_num_threads(),
        },
        "evaluation_limit": None,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    run = RunFolder(free_folder(options.out, rung), settings, tokenizer)
    size = sum(parameter.numel() for parameter in model.parameters())
    kind = "with the fast parts (exercise 5.2-fused)" if fused else "with your written-out parts"
    print(f"{rung.name}: {size:,} parameters, {recipe.steps:,} steps of ", end="")
    print(f"{recipe.batch_size} x {recipe.block_size} characters")
    print(f"  {kind}, on {options.device}, into {run.folder}", flush=True)
    rate, stopped = partial(learning_rate, recipe), False
    try:
        for step in train(
            model,
            optimizer,
            batches,
            recipe.steps,
            recipe.evaluate_every,
            options.seed,
            rate,
            loss_function=loss_function,
        ):
            run.record(step, model)
    except KeyboardInterrupt:
        print(f"stopped after step {run.last_step:,}; evaluating once more; ", end="")
        print("Ctrl-C again ends it at once", flush=True)
        stopped = True
        run.keep_best(model, evaluate(model, batches.all_blocks("validation"), loss_function))
    by_the_book = real and recipe == RECIPES[rung.recipe] and not stopped
    print(f"\nvalidation loss {run.best_loss:.4f} (best, after step {run.best_step:,})", end="")
    print(f": {verdict(rung, run.best_loss)}" if by_the_book else "")
    print("It writes:")
    try:
        write(run.folder, "", 500, Sampling(), options.seed, options.device)
    except NotImplementedError as error:
        print(f"nothing yet; {not_written(error)}")
    print(f"\nMore: {typed('generate.py', run.folder, '--tokens', '1000')}")
    if stopped:
        sys.exit(130)


def main() -> None:
    """Read the command line and train."""
    names = [rung.name for rung in RUNGS]
    parser = argparse.ArgumentParser(description="Train a rung with your own code in mygpt.")
    add = parser.add_argument
    rungs = f"{', '.join(names)}; default the highest that is written"
    add("rung", nargs="?", choices=names, metavar="RUNG", help=rungs)
    add("--steps", type=int, metavar="N", help="updates of the weights; default the recipe's")
    add("--seed", type=int, default=1, metavar="N", help="another seed, another model; default 1")
    add("--text", type=Path, metavar="FILE", help="a text of your own, in UTF-8")
    add("--out", type=Path, metavar="DIR", help="the run folder; default runs/RUNG-DATE-TIME")
    add("--published", action="store_true", help="gpt as published: most of a day on a CPU")
    add("--written-out", action="store_true", help="leave out the fast parts of 5.2-fused")
    add("--device", choices=("cpu", "cuda", "mps"), default=DEVICE, help="default %(default)s")
    options = parser.parse_args()
    rung = next((rung for rung in RUNGS if rung.name == options.rung), None) or highest_rung()
    try_out(rung)
    train_rung(rung, options)


if __name__ == "__main__":
    run_main(main)
