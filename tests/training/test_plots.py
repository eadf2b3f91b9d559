"""The pictures show what the numbers say."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from gptladder.training import plots

Points = set[tuple[float, float]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Axes]:
    """Draws, and hands out the axes in place of the file."""

    def call(plot: Callable[..., None], *args: Any) -> Axes:
        figures = []
        monkeypatch.setattr(Figure, "savefig", lambda self, path: figures.append(self))
        plot(*args, tmp_path / "picture.png")
        (axes,) = figures[0].axes
        return axes

    return call


def lines(axes: Axes, color: str) -> Points:
    """All points of the lines of that color, the dotted one across the whole picture left out."""
    return {
        tuple(map(float, point))
        for line in axes.lines
        if line.get_color() == color and line.get_linestyle() != ":"
        for point in line.get_xydata()
    }


def dots(axes: Axes, label: str) -> Points:
    return {tuple(map(float, dot)) for c in axes.collections if c.get_label() == label for dot in c.get_offsets()}


def row(loss: float, published: float | None = None, name: str = "bigram", adds: str = "one part") -> dict[str, Any]:
    return {"rung": name, "adds": adds, "validation_loss": loss, "published_loss": published}


METRICS = [
    {"step": 0, "validation_loss": 4.2},
    {"step": 10, "train_loss": 3.5},
    {"step": 20, "train_loss": 3.0, "validation_loss": 2.75},
    {"step": 30, "train_loss": 2.5, "validation_loss": 3.25},
]


@pytest.mark.parametrize("count", range(5))
def test_the_curve_goes_through_every_number(count: int, drawn: Callable[..., Axes]):
    """As early as one likes: a run that was stopped at once has a picture too."""
    axes = drawn(plots.loss_plot, METRICS[:count], "a run", 65)
    assert lines(axes, plots.WARM) == {(m["step"], m["validation_loss"]) for m in METRICS[:count] if "validation_loss" in m}
    assert lines(axes, plots.SOFT) == {(m["step"], m["train_loss"]) for m in METRICS[:count] if "train_loss" in m}


def test_the_best_loss_is_written_where_it_was_reached(drawn: Callable[..., Axes]):
    axes = drawn(plots.loss_plot, METRICS, "a run", 65)
    assert [text.xy for text in axes.texts if text.get_text() == "2.750"] == [(20, 2.75)]


def test_the_uniform_guess_is_where_a_training_begins(drawn: Callable[..., Axes]):
    axes = drawn(plots.loss_plot, METRICS, "a run", 65)
    across = [line.get_ydata() for line in axes.lines if line.get_linestyle() == ":"]
    assert [list(heights) for heights in across] == [[math.log(65)] * 2]
    assert "uniform guess: ln 65" in [text.get_text() for text in axes.texts]


def test_the_ladder_puts_each_rung_at_its_loss(drawn: Callable[..., Axes]):
    rows = [row(2.5, 2.49, name="one"), row(2.8, name="two"), row(1.9, 2.0, name="three")]
    axes = drawn(plots.ladder_plot, rows, "The ladder")
    assert dots(axes, "measured") == {(2.5, 0), (2.8, 1), (1.9, 2)}
    assert dots(axes, "published") == {(2.49, 0), (2.0, 2)}
    bottom, top = axes.get_ylim()
    assert top < bottom  # the first rung on top
    assert {"2.500", "2.800", "1.900"} <= {text.get_text() for text in axes.texts}


def test_the_ladder_names_each_rung_and_what_it_adds(drawn: Callable[..., Axes]):
    axes = drawn(plots.ladder_plot, [row(2.5, name="one", adds="a table"), row(2.3, name="two", adds="a head")], "The ladder")
    labels = [label.get_text() for label in axes.get_yticklabels()]
    for label, words in zip(labels, (("one", "a table"), ("two", "a head")), strict=True):
        assert all(word in label for word in words)


@pytest.mark.parametrize("count", [1, 10])
def test_the_picture_is_a_png_that_grows_with_the_ladder(count: int, tmp_path: Path):
    plots.ladder_plot([row(2 + place / 10, name=f"rung{place}") for place in range(count)], "Ladder", tmp_path / "ladder.png")
    assert (tmp_path / "ladder.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    height, width, _ = imread(tmp_path / "ladder.png").shape
    assert width == 8 * 150
    assert 70 * count < height < 300 + 100 * count


def test_the_curve_is_in_the_file(tmp_path: Path):
    plots.loss_plot(METRICS, "a run", 65, tmp_path / "loss.png")
    warm = np.array([int(plots.WARM[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    distance = np.abs(imread(tmp_path / "loss.png")[:, :, :3] - warm).max(axis=2)
    assert (distance < 0.02).sum() > 100


# --- other people's settings ---

DRAW = """
import sys
from pathlib import Path
from gptladder.training.plots import loss_plot
assert "matplotlib" not in sys.modules
loss_plot([{"step": 0, "validation_loss": 4.2}], sys.argv[1], 65, Path("picture.png"))
"""


def drawn_under(folder: Path, title: str = "a run", **settings: str) -> tuple[str, bytes]:
    """What a process with these settings says, and the picture that it leaves."""
    (folder / "matplotlibrc.user").write_bytes(b"text.usetex: True\nnonsense: 3\nfont.family: caf\xe9\n")
    environment = {name: value for name, value in os.environ.items() if name not in ("MPLBACKEND", "MATPLOTLIBRC", "DISPLAY")}
    command = [sys.executable, "-c", DRAW, title]
    done = subprocess.run(
        command, cwd=folder, env={**environment, **settings}, capture_output=True, encoding="utf-8", check=False, timeout=100
    )
    return done.stdout + done.stderr, (folder / "picture.png").read_bytes()


def test_a_picture_is_the_same_whatever_the_settings_and_nothing_is_said(tmp_path: Path):
    said, picture = drawn_under(tmp_path)
    assert said == ""
    notebook = "module://matplotlib_inline.backend_inline"
    assert drawn_under(tmp_path, MPLBACKEND=notebook, MATPLOTLIBRC=str(tmp_path / "matplotlibrc.user")) == ("", picture)


def test_letters_that_the_font_lacks_are_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Warnings are errors in tests."""
    plots.loss_plot(METRICS, "\u7ea2\u697c\u68a6", 65, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_settings_of_the_caller_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MPLBACKEND", "svg")
    monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", 7.0)
    plots.loss_plot(METRICS, "a run", 65, tmp_path / "picture.png")
    assert (os.environ["MPLBACKEND"], matplotlib.rcParams["lines.linewidth"]) == ("svg", 7.0)
    assert "MATPLOTLIBRC" not in os.environ
