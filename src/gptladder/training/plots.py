"""The two pictures that are saved: a run's curve and the ladder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

INK, SOFT, WARM, COOL = "#22313f", "#95a5a6", "#c0562f", "#2a6f97"


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    return figure, axes


def loss_plot(metrics: Sequence[dict[str, Any]], title: str, vocab_size: int, path: Path) -> None:
    """Training and validation loss against the step, with the loss of a uniform guess, ln V, as the place to begin."""
    figure, axes = _figure(7, 4)
    train = [(line["step"], line["train_loss"]) for line in metrics if "train_loss" in line]
    validation = [(line["step"], line["validation_loss"]) for line in metrics if "validation_loss" in line]
    axes.axhline(math.log(vocab_size), color=SOFT, linewidth=1, linestyle=":")
    axes.annotate(f"uniform guess: ln {vocab_size}", (1, math.log(vocab_size)), xycoords=("axes fraction", "data"),
                  xytext=(0, 3), textcoords="offset points", ha="right", color=SOFT, fontsize=8)  # fmt: skip
    if train:
        axes.plot(*zip(*train, strict=True), color=SOFT, linewidth=0.7, label="training (one batch)")
    axes.plot(
        *zip(*validation, strict=True), color=WARM, linewidth=2, marker="o", markersize=3.5, label="validation (whole split)"
    )
    if validation:
        step, loss = min(validation, key=lambda point: point[1])
        axes.annotate(f"{loss:.3f}", (step, loss), xytext=(0, 9), textcoords="offset points",
                      ha="center", color=WARM, fontsize=10, fontweight="bold")  # fmt: skip
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path)


def ladder_plot(rows: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """One bar a rung, as long as its validation loss, with a mark where the published loss lies."""
    figure, axes = _figure(8, 0.9 + 0.5 * len(rows))
    names = [row["rung"] for row in rows]
    losses = [row["validation_loss"] for row in rows]
    low = math.floor(min(losses) * 5) / 5 - 0.2
    axes.barh(names, [loss - low for loss in losses], left=low, color=COOL, height=0.62)
    for place, row in enumerate(rows):
        axes.annotate(f"{row['validation_loss']:.3f}", (row["validation_loss"], place), xytext=(6, 0),
                      textcoords="offset points", va="center", fontsize=9, color=INK)  # fmt: skip
        axes.annotate(row["adds"], (low, place), xytext=(6, 0), textcoords="offset points", va="center",
                      fontsize=8, color="white")  # fmt: skip
        if row["published_loss"] is not None:
            mark = axes.plot([row["published_loss"]] * 2, [place - 0.36, place + 0.36], color=WARM, linewidth=2.5)
            mark[0].set_label("published" if "published" not in axes.get_legend_handles_labels()[1] else "")
    axes.invert_yaxis()
    axes.set_xlim(low, max(losses) + 0.15)
    axes.set_xlabel("validation loss (nats per character); shorter is better")
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9, loc="lower right")
    figure.savefig(path)
