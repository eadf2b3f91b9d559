"""The speed of writing: one stream, 64 streams, the first character; nanoGPT's `generate` beside ours.

    python benchmarks/sample.py [--peer nanogpt=PATH] [--rounds 3]

A prompt of one token and 255 new ones, greedy, at several sizes. nanoGPT's model is given our weights, so that both
must write the same text; that they do is part of the report. About ten minutes on two cores.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from report import TINY_RECIPE, arguments, in_child, median, print_table, write

TOKENS = 255
SIZES: dict[str, tuple[str, dict[str, int]]] = {
    "published, 10.8 M": ("gpt", {"block_size": 256, "n_layer": 6, "n_head": 6, "n_embd": 384}),
    "laptop, 2.6 M": ("modern", {"block_size": 256, "n_layer": 4, "n_head": 6, "n_embd": 192}),
    "nanoGPT's for CPUs, 0.8 M": ("gpt", {"block_size": 64, "n_layer": 4, "n_head": 4, "n_embd": 128}),
}
TINY = {"tiny": ("gpt", {"block_size": 16, "n_layer": 1, "n_head": 2, "n_embd": 16})}
OURS = (("float32", 1), ("bfloat16", 1), ("float32", 64), ("bfloat16", 64))


def writing(
    checkouts: dict[str, Path],
    rounds: int,
    sizes: dict[str, tuple[str, dict[str, int]]],
    tokens: int,
    ours: Sequence[tuple[str, int]] = OURS,
) -> dict[str, Any]:
    """Measure tokens a second, ours and theirs in turn."""
    results: dict[str, Any] = {}
    for name, (rung, config) in sizes.items():
        tasks: dict[str, dict[str, Any]] = {
            f"{dtype}, {streams}": {
                **{"task": "sampling_of_ours", "rung": rung, "config": config, "dtype": dtype, "streams": streams},
                **{"tokens": tokens, "rounds": 2},
            }
            for dtype, streams in ours
        }
        if "nanogpt" in checkouts and rung == "gpt":
            path = str(checkouts["nanogpt"])
            tasks["nanogpt"] = {"task": "sampling_of_nanogpt", "path": path, "config": config, "tokens": tokens, "rounds": 2}
        answers: dict[str, list[dict[str, Any]]] = {who: [] for who in tasks}
        for _ in range(rounds):
            for who, task in tasks.items():
                answers[who].append(in_child(task)["answer"])
        rates = {who: median([rate for answer in given for rate in answer["rates"]]) for who, given in answers.items()}
        written = {who: given[0]["text"] for who, given in answers.items()}
        # When the context is full, ours keeps half of it and nanoGPT slides it on. The texts must agree until then.
        same = min(tokens, config["block_size"] - 1)
        results[name] = {
            "tokens_per_second": rates,
            "same_text_as_nanogpt": written["nanogpt"][:same] == written["float32, 1"][:same] if "nanogpt" in written else None,
        }
    return results


def first_character(rounds: int, tiny: bool = False) -> list[float]:
    """Time `gptladder sample` from its start to its first character, with a barely trained model of the laptop recipe."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "gptladder"]
        short = TINY_RECIPE if tiny else ("--steps", "1", "--corpus", "stand-in")
        train = [*command, "train", "--recipe", "laptop", *short, "--out", f"{folder}/run"]
        subprocess.run(train, capture_output=True, check=True)
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            with subprocess.Popen([*command, "sample", f"{folder}/run", "--seed", "1"], stdout=subprocess.PIPE) as process:
                if process.stdout is None or not process.stdout.read(1):
                    raise SystemExit("gptladder sample wrote nothing")
                times.append(time.perf_counter() - began)
                process.communicate()
    return times


def show(results: dict[str, Any]) -> None:
    """The tables."""
    for name, result in results["writing"].items():
        rates = result["tokens_per_second"]
        theirs = rates.get("nanogpt")
        rows = [(who, f"{rate:,.0f}", "" if theirs is None else f"{rate / theirs:.1f}") for who, rate in rates.items()]
        print_table(f"Writing {name}: weights, streams", ("", "tokens/s", "times nanoGPT's"), rows)
        if theirs is not None:
            print("the same text as nanoGPT's:", "yes" if result["same_text_as_nanogpt"] else "NO")
    print(f"\nfirst character after {median(results['first_character']):.1f} s")


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = arguments(__doc__, "sample.json", ("nanogpt",))
    parser.add_argument("--float32", action="store_true", help="leave bfloat16 out, which some processors only emulate")
    given = parser.parse_args()
    ours = [(dtype, streams) for dtype, streams in OURS if dtype == "float32" or not given.float32]
    sizes, tokens = (TINY, 8) if given.tiny else (SIZES, TOKENS)
    results = {
        "threads": torch.get_num_threads(),
        "tokens": tokens,
        "writing": writing(dict(given.peer), given.rounds, sizes, tokens, ours),
        "first_character": first_character(given.rounds, given.tiny),
    }
    show(results)
    write(given.out, results)
    print(f"written: {given.out}")


if __name__ == "__main__":
    main()
