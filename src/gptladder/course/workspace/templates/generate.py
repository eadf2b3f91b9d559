"""Write text with a model that you trained: `python generate.py --prompt "ROMEO:"`.

A run folder may come from anywhere: nothing in it is executed or unpickled, and a file that has
changed since it was saved is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import torch
from mygpt.model.config import GPTConfig
from mygpt.model.ladder import RUNGS
from mygpt.sampling.choose import Sampling
from mygpt.sampling.generate import generate
from mygpt.tokenizer import CharTokenizer
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
PROJECT = Path(__file__).resolve().parent
ON_A_MAC = torch.backends.mps.is_available()
DEVICE = "cuda" if torch.cuda.is_available() else "mps" if ON_A_MAC else "cpu"
NO_READER = 141  # the exit code of a program whose output nobody reads any more, as a shell has it


def use_utf8() -> None:
    """Write UTF-8 into files and pipes. A console keeps its encoding; what it lacks becomes a ?."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if stream.isatty():
                stream.reconfigure(errors="replace")
            else:
                stream.reconfigure(encoding="utf-8", errors="replace")


def run_main(work: Callable[[], None]) -> None:
    """Do a script's work. An error that is not a mistake in your code ends it in one line."""
    use_utf8()
    try:
        work()
        if sys.stdout:  # there is none where a program runs without a console
            sys.stdout.flush()
    except NotImplementedError as error:
        stop(not_written(error))
    except BrokenPipeError:  # nobody reads any more, as after `| head`: nothing to complain about
        # What is still in the buffer would complain when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(NO_READER)
    except OSError as error:
        stop(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def stop(message: str) -> NoReturn:
    """End the program with one line instead of a traceback, and exit code 2."""
    print(" ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def typed(script: str, *words: str | Path) -> str:
    """Return the command of a script beside this one, as one would paste it where one is now."""
    found = shutil.which("python")
    named = found is not None and Path(found).absolute() == Path(sys.executable).absolute()
    beside = Path(sys.argv[0]).with_name(script)
    line = ["python" if named else sys.executable, *map(str, (beside, *words))]
    return subprocess.list2cmdline(line) if os.name == "nt" else shlex.join(line)


def not_written(error: NotImplementedError) -> str:
    """Say which exercise is missing, and in which file. Raise other errors of that kind again."""
    exercise = str(error).removeprefix("exercise ")
    if exercise == str(error):
        raise error
    file = Path(traceback.extract_tb(error.__traceback__)[-1].filename).resolve()
    inside = file.is_relative_to(PROJECT)
    place = file.relative_to(PROJECT).as_posix() if inside else str(file)
    return f"{place}: exercise {exercise} is not written yet; gptladder check {exercise} tells more"


def fingerprint(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> str:
    """Return a hash of tensors (on the CPU) and facts, the same that `gptladder` computes."""
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def newest_run() -> Path:
    """Return the run in `runs/` whose weights were saved last."""
    files = list(Path("runs").glob(f"[!.]*/{WEIGHTS}"))
    if not files:
        stop(f"no run in runs/; train one: {typed('train.py')}")
    return max(files, key=lambda file: file.stat().st_mtime).parent


def load(run: Path) -> tuple[nn.Module, CharTokenizer, GPTConfig]:
    """Return the best model of a run, its alphabet and its size.

    Ends the program if a file is missing or changed, or if it is of another kind.
    """
    try:
        small = {name: (run / name).read_bytes() for name in (CONFIG, TOKENIZER)}
        with safe_open(run / WEIGHTS, framework="pt") as file:
            facts = dict(file.metadata() or {})
            names = file.keys()  # a list: this file is no dict
            tensors = {name: file.get_tensor(name) for name in names}
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in small.items()}
        right = facts.pop("sha256", "") == fingerprint(tensors, facts)
        if not right or not hashes.items() <= facts.items():
            raise ValueError("a file has changed since it was saved")
        about = json.loads(small[CONFIG])
        build = {rung.name: rung.build for rung in RUNGS}[about["rung"]]
        config = GPTConfig(**about["model"])
        tokenizer = CharTokenizer.from_json(small[TOKENIZER].decode())
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        cure = f"give another, or train one: {typed('train.py')}"
        stop(f"{run} is damaged or no run of this project ({error}); {cure}")
    model = build(config)  # not inside `try`: a mistake in your code should show its traceback
    try:
        model.load_state_dict(tensors)  # strictly: every name and every shape
    except RuntimeError as error:
        reason = str(error).splitlines()[-1]
        stop(f"{run} was trained with another mygpt than there is now: {reason}")
    return model.eval(), tokenizer, config


def write(run: Path, prompt: str, count: int, sampling: Sampling, seed: int, device: str) -> None:
    """Print the prompt and `count` characters after it, each as soon as it is chosen.

    Without a prompt the text begins after a new line, or with the first letter of an alphabet that
    has none.
    """
    model, tokenizer, config = load(run)
    first = "\n" if "\n" in tokenizer.ids else tokenizer.alphabet[0]
    if "\\" not in tokenizer.ids:
        prompt = prompt.replace("\\n", "\n")  # a shell passes on a typed \n as two letters
    try:
        tokens = tokenizer.encode(prompt or first)
    except ValueError as error:
        stop(f"the prompt: {error}")
    model = model.to(device)
    context = torch.tensor([tokens], device=device)
    generator = torch.Generator(device).manual_seed(seed)
    print(prompt, end="", flush=True)
    for token in generate(model, context, count, config.block_size, sampling, generator):
        print(tokenizer.decode(token.tolist()), end="", flush=True)
    print()


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description="Write text with a model that train.py trained.")
    add = parser.add_argument
    add("run", nargs="?", type=Path, metavar="RUN", help="a run folder; default the newest")
    add("--prompt", default="", metavar="TEXT", help="the text to continue; \\n is a new line")
    add("--tokens", type=int, default=500, metavar="N", help="characters; default %(default)s")
    add("--temperature", type=float, default=1.0, metavar="X", help="below 1 safer, above 1 wilder")
    add("--top-k", type=int, metavar="K", help="draw among the K likeliest (exercise 5.2-top-k)")
    add("--top-p", type=float, metavar="P", help="draw among the likeliest that hold P together")
    add("--seed", type=int, metavar="N", help="the same seed writes the same text on this machine")
    add("--device", choices=("cpu", "cuda", "mps"), default=DEVICE, help="default %(default)s")
    options = parser.parse_args()
    run, seed = options.run or newest_run(), options.seed
    if seed is None:
        seed = time.time_ns() % 1_000_000
        print(f"{run}, --seed {seed}", file=sys.stderr)
    try:
        sampling = Sampling(options.temperature, options.top_k, options.top_p)
    except ValueError as error:
        stop(str(error))
    write(run, options.prompt, options.tokens, sampling, seed, options.device)


if __name__ == "__main__":
    run_main(main)
