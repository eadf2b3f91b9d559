"""Writes text with a model that you trained: `python generate.py --prompt "ROMEO:"`.

A run folder is read with suspicion: nothing in it is run or unpickled, and a file that has changed since is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import traceback
from collections.abc import Mapping
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
DEVICE = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def stop(message: str) -> NoReturn:
    """Ends the program with one line in place of a traceback, and exit code 2."""
    print(" ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def not_written(error: NotImplementedError) -> str:
    """Which exercise is missing, and in which file. Any other error of that kind is raised again."""
    exercise = str(error).removeprefix("exercise ")
    if exercise == str(error):
        raise error
    file = Path(traceback.extract_tb(error.__traceback__)[-1].filename).resolve()
    place = file.relative_to(PROJECT).as_posix() if file.is_relative_to(PROJECT) else str(file)
    return f"{place}: exercise {exercise} is not written yet; gptladder check {exercise} tells more"


def fingerprint(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> str:
    """A hash that shows any change of tensors (on the CPU) and facts. `gptladder` computes the same."""
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def newest_run() -> Path:
    """The run in `runs/` whose weights were saved last."""
    weights = sorted(Path("runs").glob(f"[!.]*/{WEIGHTS}"), key=lambda file: file.stat().st_mtime)
    return weights[-1].parent if weights else stop("no run in runs/; train one: python train.py")


def load(run: Path) -> tuple[nn.Module, CharTokenizer, GPTConfig]:
    """The best model of a run, its alphabet and its size. Ends the program if a file is missing, changed or foreign."""
    try:
        small = {name: (run / name).read_bytes() for name in (CONFIG, TOKENIZER)}
        with safe_open(run / WEIGHTS, framework="pt") as file:
            facts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no dict
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in small.items()}
        if facts.pop("sha256", "") != fingerprint(tensors, facts) or not hashes.items() <= facts.items():
            raise ValueError("a file has changed since it was saved")
        about = json.loads(small[CONFIG])
        build = {rung.name: rung.build for rung in RUNGS}[about["rung"]]
        config, tokenizer = GPTConfig(**about["model"]), CharTokenizer.from_json(small[TOKENIZER].decode())
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        stop(f"{run} is damaged or no run of this project ({error}); give another, or train one: python train.py")
    model = build(config)  # outside of `try`: a mistake in your own code should show its traceback
    try:
        model.load_state_dict(tensors)  # strictly: every name and every shape
    except RuntimeError as error:
        stop(f"{run} was trained with another mygpt than there is now: {str(error).splitlines()[-1]}")
    return model.eval(), tokenizer, config


def write(run: Path, prompt: str, count: int, sampling: Sampling, seed: int, device: str) -> None:
    """Prints the prompt and `count` characters after it, each as soon as it is chosen. No prompt stands for a new line."""
    model, tokenizer, config = load(run)
    try:
        tokens = tokenizer.encode(prompt or ("\n" if "\n" in tokenizer.ids else tokenizer.alphabet[0]))
    except ValueError as error:
        stop(f"the prompt: {error}")
    context, generator = torch.tensor([tokens], device=device), torch.Generator(device).manual_seed(seed)
    print(prompt, end="", flush=True)
    for token in generate(model.to(device), context, count, config.block_size, sampling, generator):
        print(tokenizer.decode(token.tolist()), end="", flush=True)
    print()


def main() -> None:
    """Reads the command line and writes."""
    parser = argparse.ArgumentParser(description="Write text with a model that train.py trained.")
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help="a run folder; the newest in runs/ if left out")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="the text to continue; a new line if left out")
    parser.add_argument("--tokens", type=int, default=500, metavar="N", help="characters to write; default %(default)s")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="X", help="below 1 safer, above 1 wilder, 0 greedy")
    parser.add_argument("--top-k", type=int, metavar="K", help="draw among the K likeliest only (needs exercise 5.2-top-k)")
    parser.add_argument("--top-p", type=float, metavar="P", help="draw among the fewest that hold probability P together")
    parser.add_argument("--seed", type=int, metavar="N", help="the same seed writes the same text on the same machine")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default=DEVICE, help="default here: %(default)s")
    options = parser.parse_args()
    run, seed = options.run or newest_run(), options.seed
    if seed is None:
        seed = time.time_ns() % 1_000_000
        print(f"{run}, --seed {seed}", file=sys.stderr)
    try:
        sampling = Sampling(options.temperature, options.top_k, options.top_p)
    except ValueError as error:
        stop(str(error))
    try:
        write(run, options.prompt, options.tokens, sampling, seed, options.device)
    except NotImplementedError as error:
        stop(not_written(error))
    except OSError as error:
        stop(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
