"""Writes every measured table of README.md and docs/measurements.md from the reports in docs/.

    python benchmarks/tables.py

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. A folder of docs/ that holds reports is one kind of
processor. A test fails while a table differs from its report, so no measured number is typed by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gptladder.rungs import RECIPES, build
from report import median

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", DOCS / "measurements.md")
SMALL, PUBLISHED = "nanoGPT's for CPUs, 12 x 64", "published, 64 x 256"  # the shapes of benchmarks/train.py
WEIGHTS = {
    "float32, 1": "ours, one text",
    "bfloat16, 1": "ours, one text, `--weights bfloat16`",
    "float32, 64": "ours, 64 texts",
    "bfloat16, 64": "ours, 64 texts, `--weights bfloat16`",
}
VOCABULARY = 65  # of TinyShakespeare
Report = dict[str, Any]
Rows = list[list[str]]


def report(name: str) -> Report:
    """Read docs/NAME.json."""
    found: Report = json.loads((DOCS / f"{name}.json").read_text())
    return found


def hosts() -> list[str]:
    """Return the folders of docs/ that hold a report about training, one for each kind of processor."""
    return sorted({path.parent.name for path in DOCS.glob("*/train*.json")}, reverse=True)


def training(host: str) -> Report:
    """Merge a host's reports about training: `speed` and `losses`, made in one run or in two."""
    merged: Report = {}
    for path in sorted((DOCS / host).glob("train*.json")):
        merged |= json.loads(path.read_text())
    return merged


def processor_name(found: Report) -> str:
    """Name a processor for a table's head. Reports of before provenance recorded it say no more than its name."""
    machine = found["machine"]["processor"]
    if isinstance(machine, str):
        return f"{machine}, AVX-512 with bfloat16"
    best = "AVX-512 with bfloat16" if "avx512_bf16" in machine["instruction_sets"] else "AVX2"
    return f"{machine['name']}, family {machine['family']} model {machine['model']}, {best}"


def markdown(heads: Sequence[str], rows: Rows) -> str:
    """Return a table whose first column is words and whose others are numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def ladder() -> str:
    """Return the rungs that `gptladder climb --controls` trained."""
    rows = [
        [
            *(f"`{row['rung']}`", row["adds"], f"{row['parameters']:,}", f"{row['seconds']:.0f}"),
            *(f"{row['validation_loss']:.3f}", "" if row["published_loss"] is None else f"{row['published_loss']:.2f}"),
            row["verdict"],
        ]
        for row in report("ladder")["rungs"]
    ]
    return markdown(["rung", "adds", "parameters", "seconds", "validation loss", "published", "verdict"], rows)


def losses(host: str) -> str:
    """Return whole commands, from start to the validation that proves the loss, and the lecture's estimate from its step."""
    found = training(host)
    rows: Rows = []
    names = (("sprint", "`gptladder train --recipe sprint`"), ("laptop", "`gptladder train` (what `make train` runs)"))
    for who, words in names:
        runs = found["losses"][who]
        seconds = [run["seconds"] for run in runs]
        reached = "" if None in seconds else f"{median(seconds):,.0f}"
        rows.append([words, reached, f"{median([run['losses'][-1] for run in runs]):.3f}"])
    if theirs := found["losses"]["nanogpt"]:
        whole, ends = (median([run[key] for run in theirs]) for key in ("seconds", "loss"))
        rows.insert(1, ["nanoGPT's `train.py` by its README's line for CPUs", f"{whole:,.0f}", f"{ends:.3f}"])
    if lecture := found["speed"][PUBLISHED].get("lecture"):
        step = median(lecture["seconds_per_step"])
        words = f"the lecture's `gpt.py`: 5,000 steps of {step:.1f} s each, not run to the end"
        rows.append([words, f"{5000 * step:,.0f}", "1.487 (published)"])
    return markdown(["", "seconds", "validation loss"], rows)


def speed(host: str) -> str:
    """Return single steps at equal shapes and arithmetic."""
    rows: Rows = []
    for shapes, name in ((SMALL, "12 x 64, 4 layers of 128"), (PUBLISHED, "64 x 256, 6 layers of 384")):
        result = training(host)["speed"][shapes]
        for who in ("ours", "nanogpt", "lecture"):
            if who in result:
                rate = result[who]["tokens_per_second"]
                rows.append(
                    [
                        *(name, who, f"{rate:,.0f}", f"{result['ours']['tokens_per_second'] / rate:.2f}"),
                        *(f"{result[who]['share_of_peak']:.0%}", f"{result[who]['peak_memory'] / 1e6:,.0f}"),
                    ]
                )
    return markdown(["shapes", "whose", "tokens/s", "ours / it", "of the peak", "MB"], rows)


def writing(host: str) -> str:
    """Return the writing of 255 characters after one."""
    rows: Rows = []
    for name, result in report(f"{host}/sample")["writing"].items():
        rates = result["tokens_per_second"]
        theirs = rates.get("nanogpt")
        if theirs is not None:
            rows.append([name, "nanoGPT's `generate`", f"{theirs:,.0f}", "1.0"])
        for key, words in WEIGHTS.items():
            if key in rates:
                rows.append([name, words, f"{rates[key]:,.0f}", "" if theirs is None else f"{rates[key] / theirs:.1f}"])
    return markdown(["model", "whose", "tokens/s", "times nanoGPT's"], rows)


def ratios() -> str:
    """Return how many times as fast as nanoGPT we are, a column for each kind of processor."""
    rows: Rows = [["training, 12 x 64 tokens a step"], ["training, 64 x 256"], ["share of the peak there"]]
    rows += [[f"writing, 10.8 M parameters: {words.removeprefix('ours, ')}"] for words in WEIGHTS.values()]
    for host in hosts():
        found = training(host)["speed"]
        for row, shapes in zip(rows, (SMALL, PUBLISHED), strict=False):
            ours, theirs = (found[shapes][who]["tokens_per_second"] for who in ("ours", "nanogpt"))
            row.append(f"{ours / theirs:.2f}")
        rows[2].append(f"{found[PUBLISHED]['ours']['share_of_peak']:.0%}")
        path = DOCS / host / "sample.json"
        rates = json.loads(path.read_text())["writing"]["published, 10.8 M"]["tokens_per_second"] if path.exists() else {}
        for row, key in zip(rows[3:], WEIGHTS, strict=True):
            row.append(f"{rates[key] / rates['nanogpt']:.1f}" if key in rates else "not measured")
    heads = [processor_name(training(host)) for host in hosts()]
    return markdown(["times nanoGPT's speed", *heads], rows)


def ablation() -> str:
    """Return what each idea of the modern rung is worth."""
    rows = [
        [
            *(row["adds"], f"{row['parameters']:,}", f"{row['validation_loss']:.3f}", f"{row['gain']:+.3f}"),
            *(f"{row['seconds']:.0f}", "never" if row["seconds_to_classic"] is None else f"{row['seconds_to_classic']:.0f}"),
        ]
        for row in report("avx512/ablation")["rows"]
    ]
    heads = ["classic, and", "parameters", "validation loss", "gain", "seconds", "seconds to the classic loss"]
    return markdown(heads, rows)


def recipes() -> str:
    """Return the recipes of the modern rung with their losses by seed, and the published one."""
    measured: Report = report("recipes")["recipes"]
    rows: Rows = []
    for name in ("sprint", "laptop", "patient", "published"):
        recipe, found = RECIPES[name], measured.get(name)
        model = build(recipe.rung, recipe.config(VOCABULARY))
        parameters = sum(parameter.numel() for parameter in model.parameters())
        ends = ", ".join(f"{loss:.3f}" for loss in found["losses"]) if found else "not run to its end"
        minutes = f"{median(found['train_seconds']) / 60:.1f}" if found else ""
        trained = f"{recipe.steps:,} steps of {recipe.batch_size} x {recipe.block_size}"
        rows.append([f"`{name}`", f"{parameters:,}", trained, ends, minutes])
    return markdown(["recipe", "parameters", "trained for", "loss at the end, seeds 1, 2, 3", "minutes of training"], rows)


def course(host: str) -> str:
    """Return how long a learner and an instructor wait."""
    found = report(f"{host}/course")
    rows = [
        ["one check, the whole command", f"{median(found['check']['cold']):.1f}"],
        ["the same check on the next save (`--watch`)", f"{median(found['check']['warm']):.2f}"],
        ["`grade`, a class of thirty, one endless, one that eats memory", f"{found['grade']['seconds']:.0f}"],
    ]
    if "verify" in found:
        rows.append(["`course verify`", f"{found['verify']:.0f}"])
    return markdown(["", "seconds"], rows)


def scaling(host: str) -> str:
    """Return milliseconds of a step when one thing grows and the rest stays."""
    found = report(f"{host}/scaling")["scaling"]
    rows = [[axis, *(f"{p['value']:.0f}: {1000 * p['seconds']:.0f}" for p in points)] for axis, points in found.items()]
    return markdown(["", *(f"x {factor}" for factor in ("1/4", "1/2", "1", "2", "4"))], rows)


def machine(host: str) -> str:
    """Return a paragraph: what a host's figures were measured on, and by which command and commit."""
    lines = []
    for path in sorted((DOCS / host).glob("*.json")):
        found = json.loads(path.read_text())
        if "command" not in found:
            continue
        peaks = found.get("peaks") or {}
        said = "".join(f", {name} {value:.0f} GFLOP/s" for name, value in peaks.items())
        lines.append(f"- `{found['command']}`: {found['date']}, commit {found['commit']}{said}; `docs/{host}/{path.name}`")
    first = processor_name(training(host))
    versions = training(host)["versions"]
    return "\n".join([f"**{first}**, torch {versions['torch']}, Python {versions['python']}.\n", *lines])


TABLES: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (ladder, losses, speed, writing, ratios, ablation, recipes, course, scaling, machine)
}


def filled(page: str) -> str:
    """Return the page with each table made again from its report."""

    def made(found: re.Match[str]) -> str:
        name, *words = found[1].split()
        return f"<!-- table: {found[1]} -->\n\n{TABLES[name](*words)}\n\n<!-- end -->"

    return re.sub(r"<!-- table: ([^>]+?) -->\n.*?<!-- end -->", made, page, flags=re.DOTALL)


def main() -> None:
    """Write both pages."""
    for page in PAGES:
        page.write_text(filled(page.read_text()))
        print(f"written: {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
