"""Helpers that all benchmarks share: where the numbers come from, the processor's peak, tables, JSON."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gptladder.corpus import STAND_IN, Corpus, load, local_tinyshakespeare
from gptladder.provenance import machine, peaks, versions

HERE = Path(__file__).resolve().parent
TINY = "GPTLADDER_BENCHMARK_IS_TINY"  # in the environment of children
# A recipe of our command line that trains and evaluates within seconds.
_SMALL = ("n_layer=1", "n_head=1", "n_embd=16", "block_size=32", "evaluate_every=1")
TINY_RECIPE = ("--corpus", "stand-in", "--steps", "2", *(word for setting in _SMALL for word in ("--set", setting)))


def provenance() -> dict[str, Any]:
    """Return the machine with the peaks of its products, versions, commit and command."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "machine": {**asdict(machine()), "memory_gib": round(memory / 2**30, 1)},
        "peaks": peaks(),
        "versions": versions(),
        "commit": _commit(),
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
    }


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short=12", "HEAD") + (" and changes" if git("status", "--porcelain", "--", "../src") else "")


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_child(task: dict[str, Any]) -> dict[str, Any]:
    """Return what `measure.py` answers to a task. It runs in a process of its own, with fresh memory and threads."""
    done = subprocess.run(
        [sys.executable, str(HERE / "measure.py"), json.dumps(task)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{task} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def median(rounds: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(rounds)


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table whose first column is words and whose others are numbers."""
    cells = [[str(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    print(f"\n{title}")
    for row in cells:
        print(
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
    sys.stdout.flush()


def arguments(doc: str | None, out: str, peers: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return a parser with the options that all share: --out, --rounds, --tiny and, where there are peers, --peer NAME=PATH."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(out), help=f"where the JSON goes, default {out}")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds; medians count")
    parser.add_argument(
        "--tiny", action="store_true", help="seconds instead of minutes, to see that it runs; the numbers mean nothing"
    )
    if peers:
        parser.add_argument(
            *("--peer", "--peers"),
            action="append",
            default=[],
            type=lambda text: _peer(text, peers),
            metavar="NAME=PATH",
            help=f"a checkout to run beside ours; NAME is {' or '.join(peers)}; repeatable",
        )
    return parser


def _peer(text: str, names: Sequence[str]) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if name not in names or not path or not Path(path).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=PATH with NAME of {', '.join(names)} and PATH a folder")
    return name, Path(path).resolve()


def text(tiny: bool = False) -> Corpus:
    """Return TinyShakespeare, since losses on another text could not be compared. With --tiny it is the stand-in."""
    if tiny:
        os.environ[TINY] = "1"
    if TINY in os.environ:
        return load(STAND_IN)
    found = local_tinyshakespeare()
    if found is None:
        raise SystemExit("TinyShakespeare is not here: set GPTLADDER_DATA to the folder that holds it")
    return found


def write(out: Path, results: dict[str, Any]) -> None:
    """Write the results together with their provenance: the commit, machine and versions that made them."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({**provenance(), **results}, indent=2) + "\n")
