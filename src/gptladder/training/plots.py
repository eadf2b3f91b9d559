"""The two pictures that are saved: the curve of a run, and the ladder."""

from __future__ import annotations

import io
import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_atomically

INK, SOFT, WARM, COOL = "#22313f", "#95a5a6", "#c0562f", "#2a6f97"


@contextmanager
def _own_settings() -> Iterator[None]:
    """Let matplotlib draw by its own defaults inside the block: without a display, and whatever the user's settings are.

    Anything started from a notebook inherits a $MPLBACKEND that matplotlib refuses, and a matplotlibrc may ask for LaTeX.
    Nothing is said about letters that the font lacks; they are drawn as boxes.
    """
    logger = logging.getLogger("matplotlib")
    level, before = logger.level, {name: os.environ.pop(name, None) for name in ("MPLBACKEND", "MATPLOTLIBRC")}
    logger.setLevel(logging.ERROR)
    os.environ["MATPLOTLIBRC"] = os.devnull
    try:
        import matplotlib.figure
    except ValueError as error:  # a matplotlibrc in this folder is read first, and may be broken
        raise InputError(f"matplotlib cannot read the file matplotlibrc in this folder ({error}); remove it") from None
    finally:
        del os.environ["MATPLOTLIBRC"]
        os.environ.update({name: value for name, value in before.items() if value is not None})
        logger.setLevel(level)
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    return figure, axes


def _save(figure: Any, path: Path) -> None:  # noqa: ANN401  matplotlib is imported when it draws
    picture = io.BytesIO()
    figure.savefig(picture)
    write_atomically(path, picture.getvalue())


@_own_settings()
def loss_plot(metrics: Sequence[Mapping[str, float]], title: str, vocab_size: int, path: Path) -> None:
    """Draw training and validation loss against the step, and the loss of a uniform guess, ln V, as a dotted line."""
    figure, axes = _figure(7, 4)
    train = [(line["step"], line["train_loss"]) for line in metrics if "train_loss" in line]
    validation = [(line["step"], line["validation_loss"]) for line in metrics if "validation_loss" in line]
    axes.axhline(math.log(vocab_size), color=SOFT, linewidth=1, linestyle=":")
    axes.annotate(f"uniform guess: ln {vocab_size}", (1, math.log(vocab_size)), xycoords=("axes fraction", "data"),
                  xytext=(0, 3), textcoords="offset points", ha="right", color=SOFT, fontsize=8)  # fmt: skip
    if train:
        axes.plot(*zip(*train, strict=True), color=SOFT, linewidth=0.7, label="training (one batch)")
    if validation:
        # No line from the untrained model to the first evaluation: it would run above a curve that fell at once.
        axes.plot(*validation[0], color=WARM, marker="o", markersize=4)
    if validation[1:]:
        axes.plot(*zip(*validation[1:], strict=True), color=WARM, marker="o", markersize=4, label="validation (whole split)")
        step, loss = min(validation, key=lambda point: point[1])
        axes.annotate(f"{loss:.3f}", (step, loss), xytext=(0, 9), textcoords="offset points",
                      ha="center", color=WARM, fontsize=10, fontweight="bold")  # fmt: skip
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    if axes.get_legend_handles_labels()[0]:  # a run that was stopped at once has nothing to label
        axes.legend(frameon=False, fontsize=9)
    _save(figure, path)


@_own_settings()
def ladder_plot(rows: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Draw a dot for each rung at its validation loss, a mark at the published loss, and what the rung adds."""
    figure, axes = _figure(8, 1.1 + 0.5 * len(rows))
    losses, places = [row["validation_loss"] for row in rows], range(len(rows))
    published = [(row["published_loss"], place) for place, row in enumerate(rows) if row["published_loss"] is not None]
    axes.grid(axis="y", color=SOFT, alpha=0.4, linewidth=0.8)
    axes.set_axisbelow(True)
    if published:
        axes.scatter(*zip(*published, strict=True), marker="|", s=420, linewidth=2.5, color=WARM, label="published")
    axes.scatter(losses, places, s=60, color=COOL, zorder=3, label="measured")
    for place, row in enumerate(rows):
        axes.annotate(f"{row['validation_loss']:.3f}", (row["validation_loss"], place), xytext=(12, 0),
                      textcoords="offset points", va="center", fontsize=10, color=INK)  # fmt: skip
    axes.set_yticks(places, [f"$\\bf{{{row['rung']}}}$\n{row['adds']}" for row in rows], linespacing=1.3)
    axes.tick_params(axis="y", length=0, labelsize=8.5)
    axes.spines["left"].set_visible(False)
    axes.invert_yaxis()
    axes.margins(x=0.13, y=0.08)
    axes.set_xlabel("validation loss (nats per character), lower is better", color=INK, fontsize=9)
    axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    _save(figure, path)
