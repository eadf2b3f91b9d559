"""The speed of training: seconds to a loss, tokens a second, share of the processor's peak, memory; peers beside ours.

    python benchmarks/train.py [--peer nanogpt=PATH] [--peer lecture=PATH] [--rounds 3] [--only losses|speed]

`losses` times whole commands, from start to the validation that proves the loss: ours, and nanoGPT's train.py by its
README's line for CPUs. `speed` times single steps at equal shapes and arithmetic: float32, AdamW, dropout on. Ours and
the peers take turns, each in a process of its own; medians count. About an hour with both peers on two cores.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

import peers
from gptladder.cpu import products_by_onednn
from gptladder.model.config import Recipe
from gptladder.provenance import gflops
from gptladder.rungs import RECIPES
from report import TINY_RECIPE, arguments, in_child, median, print_table, text, write

LECTURE_LOSS, LECTURE_STEPS = 1.4873, 5000  # where the published lecture run ends, by its own estimate
PUBLISHED = RECIPES["published"]
SHAPES: dict[str, Recipe] = {
    "nanoGPT's for CPUs, 12 x 64": replace(
        PUBLISHED, batch_size=12, block_size=64, n_layer=4, n_head=4, n_embd=128, precision="float32"
    ),
    "published, 64 x 256": replace(PUBLISHED, precision="float32"),
}
TINY = {"tiny": Recipe("gpt", block_size=16, n_layer=1, n_head=2, n_embd=16, dropout=0.1, batch_size=4)}
STEPS = {"nanoGPT's for CPUs, 12 x 64": 60, "published, 64 x 256": 1, "tiny": 2}


def our_time_to(loss: float, *arguments: str) -> dict[str, Any]:
    """Run `gptladder train` until it prints a validation loss of at most `loss`; return the seconds since its start."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "gptladder", "train", "--out", f"{folder}/run", *arguments]
        seconds, seen = None, []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                if found := re.search(r"validation loss (\d+\.\d+)", line):
                    seen.append(float(found[1]))
                    if seen[-1] <= loss and seconds is None:
                        seconds = time.perf_counter() - began
            if process.wait() != 0:
                raise SystemExit(f"{' '.join(command)} failed:\n{process.stderr.read() if process.stderr else ''}")
        recorded = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
    return {"seconds": seconds, "losses": seen, "last": recorded[-1], "arguments": arguments}


def losses(checkouts: dict[str, Path], rounds: int, tiny: bool) -> dict[str, Any]:
    """Time whole commands: ours to the loss of nanoGPT's README line and to the lecture's; nanoGPT by that line."""
    results: dict[str, Any] = {"sprint": [], "laptop": [], "nanogpt": []}
    corpus = text(tiny)
    short = TINY_RECIPE if tiny else ()
    sprint = short or ("--recipe", "sprint")
    target = 9.0 if tiny else 1.89
    for _ in range(rounds):
        if "nanogpt" in checkouts:
            with peers.copied(checkouts["nanogpt"]) as folder:
                peers.prepare_nanogpt(folder, corpus)
                changes = ["--max_iters=2", "--eval_interval=1", "--eval_iters=1", "--n_layer=1"] if tiny else []
                seconds = peers.run_nanogpt(folder, *changes)
                loss = in_child({"task": "loss_of_nanogpt", "folder": str(folder)})["answer"]
            results["nanogpt"].append({"seconds": seconds, "loss": loss})
            target = max(entry["loss"] for entry in results["nanogpt"]) if not tiny else target
        results["sprint"].append(our_time_to(target, *sprint))
        results["laptop"].append(our_time_to(9.0 if tiny else LECTURE_LOSS, *(short or ("--recipe", "laptop"))))
    return {**results, "target": target}


def speed(checkouts: dict[str, Path], rounds: int, shapes: dict[str, Recipe]) -> dict[str, Any]:
    """Time single steps at equal shapes: tokens a second, share of the matrix-multiply peak, memory."""
    results: dict[str, Any] = {}
    for name, recipe in shapes.items():
        tasks: dict[str, dict[str, Any]] = {"ours": {"task": "steps_of_ours", "recipe": asdict(recipe)}}
        if "nanogpt" in checkouts:
            tasks["nanogpt"] = {**tasks["ours"], "task": "steps_of_nanogpt", "path": str(checkouts["nanogpt"])}
        if "lecture" in checkouts and name != "nanoGPT's for CPUs, 12 x 64":
            tasks["lecture"] = {"task": "steps_of_lecture", "path": str(checkouts["lecture"])}
            if name == "tiny":
                tasks["lecture"]["shape"] = {"batch_size": 4, "block_size": 16, "n_embd": 16, "n_head": 2, "n_layer": 1}
        rows: dict[str, dict[str, list[float]]] = {who: {"seconds": [], "memory": []} for who in tasks}
        peaks = []
        for _ in range(rounds):
            peaks.append(1e9 * max(gflops(), with_onednn()))  # of both libraries, so that the peak is the processor's
            for who, task in tasks.items():
                answer = in_child({**task, "steps": STEPS[name]})
                rows[who]["seconds"].append(median(answer["answer"]))
                rows[who]["memory"].append(answer["peak_memory"])
        work = floating_point_operations(recipe)
        results[name] = {
            "peak": median(peaks),
            "operations_per_step": work,
            **{
                who: {
                    "seconds_per_step": row["seconds"],
                    "tokens_per_second": recipe.batch_size * recipe.block_size / median(row["seconds"]),
                    "share_of_peak": work / median(row["seconds"]) / median(peaks),
                    "peak_memory": max(row["memory"]),
                }
                for who, row in rows.items()
            },
        }
    return results


def with_onednn() -> float:
    """Float32 products by oneDNN, 10^9 operations a second."""
    with products_by_onednn():
        return gflops()


def floating_point_operations(recipe: Recipe, vocab_size: int = 65) -> int:
    """Return the operations of one training step: six per weight and token, and attention's (Chowdhery et al. 2022, B)."""
    C, T = recipe.n_embd, recipe.block_size
    weights = recipe.n_layer * 12 * C * C + C * vocab_size
    return (6 * weights + 12 * recipe.n_layer * C * T) * recipe.batch_size * T


def show_losses(results: dict[str, Any]) -> None:
    """Print the table of `losses`."""
    rows = []
    for who, words in (("sprint", "gptladder, recipe sprint"), ("laptop", "gptladder, recipe laptop")):
        seconds = [entry["seconds"] for entry in results[who]]
        reached = "not reached" if None in seconds else f"{median(seconds):.1f}"
        wanted = results["target"] if who == "sprint" else LECTURE_LOSS
        rows.append((words, f"{wanted:.4f}", reached, f"{median([entry['losses'][-1] for entry in results[who]]):.4f}"))
    for entry in results["nanogpt"][:1]:
        seconds = [entry["seconds"] for entry in results["nanogpt"]]
        rows.append(("nanoGPT, README line for CPUs", "", f"{median(seconds):.1f}", f"{entry['loss']:.4f}"))
    print_table("Whole commands", ("", "loss wanted", "seconds", "loss at the end"), rows)


def show_speed(results: dict[str, Any]) -> None:
    """Print the table of `speed`."""
    for name, result in results.items():
        whose = [who for who in result if isinstance(result[who], dict)]
        rows = [
            (
                who,
                f"{result[who]['tokens_per_second']:,.0f}",
                f"{result['ours']['tokens_per_second'] / result[who]['tokens_per_second']:.2f}",
                f"{result[who]['share_of_peak']:.0%}",
                f"{result[who]['peak_memory'] / 1e6:,.0f}",
            )
            for who in whose
        ]
        title = f"Steps at equal shapes: {name}; peak {result['peak'] / 1e9:.0f} GFLOP/s"
        print_table(title, ("", "tokens/s", "ours / it", "of peak", "MB"), rows)


def main() -> None:
    """Measure, print each table as soon as it is known, and write the JSON."""
    parser = arguments(__doc__, "train.json", peers.NAMES)
    parser.add_argument("--only", choices=("losses", "speed"), help="one half of it")
    given = parser.parse_args()
    checkouts = dict(given.peer)
    text(given.tiny)  # said now if it is missing, not after half an hour
    results: dict[str, Any] = {"threads": torch.get_num_threads(), "laptop_recipe": asdict(RECIPES["laptop"])}
    if given.only != "losses":
        results["speed"] = speed(checkouts, given.rounds, TINY if given.tiny else SHAPES)
        show_speed(results["speed"])
        write(given.out, results)
    if given.only != "speed":
        results["losses"] = losses(checkouts, given.rounds, given.tiny)
        show_losses(results["losses"])
    write(given.out, results)
    print(f"\nwritten: {given.out}")


if __name__ == "__main__":
    main()
