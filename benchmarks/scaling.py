"""The growth of a training step's cost with width, depth, context and batch.

    python benchmarks/scaling.py [--rung modern] [--rounds 3]

From one middle shape, each of the four is halved and doubled by itself, and a step is timed at each. The JSON is
written and, beside it, a plot with both axes in powers of two, on which a cost that grows like x^p is a line of slope p. A few
minutes on two cores.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gptladder.rungs import RECIPES, rung_named
from report import arguments, in_child, median, print_table, write

MIDDLE = replace(RECIPES["laptop"], block_size=128, n_layer=4, n_head=4, n_embd=128, batch_size=16, precision="float32")
TINY = replace(MIDDLE, block_size=8, n_layer=2, n_head=1, n_embd=16, batch_size=2)
AXES = {"width": "n_embd", "depth": "n_layer", "context": "block_size", "batch": "batch_size"}
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
STEPS = 4


def measure(rung: str, rounds: int, tiny: bool) -> dict[str, list[dict[str, float]]]:
    """Return, for each axis, the seconds of a step at each of its values."""
    middle = replace(TINY if tiny else MIDDLE, rung=rung)
    results: dict[str, list[dict[str, float]]] = {}
    for axis, setting in AXES.items():
        results[axis] = []
        for factor in (1.0, 2.0) if tiny else FACTORS:
            value = int(getattr(middle, setting) * factor)
            changes: dict[str, Any] = {setting: value}
            if setting == "n_embd":
                changes["n_head"] = max(1, int(middle.n_head * factor))  # heads of the same size, more of them
            task = {"task": "steps_of_ours", "recipe": asdict(replace(middle, **changes)), "steps": STEPS}
            seconds = [median(in_child(task)["answer"]) for _ in range(rounds)]
            results[axis].append({"value": value, "seconds": median(seconds)})
    return results


def slope(points: list[dict[str, float]]) -> float:
    """Return the power p of seconds ~ value^p between the two largest values."""
    (a, b) = points[-2:]
    return math.log(b["seconds"] / a["seconds"]) / math.log(b["value"] / a["value"])


def plot(results: dict[str, list[dict[str, float]]], title: str, out: Path) -> None:
    """Draw four curves, seconds against value, both axes logarithmic."""
    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for axis, points in results.items():
        values, seconds = [point["value"] for point in points], [point["seconds"] for point in points]
        axes.plot(values, seconds, marker="o", label=f"{axis} (grows like x^{slope(points):.1f})")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlabel("channels, blocks, tokens of context, texts in a batch")
    axes.set_ylabel("seconds per step")
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(out)


def main() -> None:
    """Measure, print, draw, and write the JSON."""
    parser = arguments(__doc__, "scaling.json")
    parser.add_argument("--rung", default="modern")
    given = parser.parse_args()
    rung_named(given.rung)
    results = measure(given.rung, 1 if given.tiny else given.rounds, given.tiny)
    middle = asdict(replace(TINY if given.tiny else MIDDLE, rung=given.rung))
    for axis, points in results.items():
        rows = [(f"{point['value']:.0f}", f"{point['seconds'] * 1000:.1f}") for point in points]
        print_table(f"{axis}: grows like x^{slope(points):.2f} at the end", (AXES[axis], "ms per step"), rows)
    write(given.out, {"middle": middle, "scaling": results})
    plot(results, f"A training step of {given.rung} on a CPU", given.out.with_suffix(".png"))
    print(f"\nwritten: {given.out}, {given.out.with_suffix('.png')}")


if __name__ == "__main__":
    main()
