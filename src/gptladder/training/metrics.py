"""A training's numbers as lines of JSON: how a step is written, and how the lines are read back."""

from __future__ import annotations

import json
import math
from pathlib import Path

from .. import checkpoint
from ..errors import InputError
from .clock import TimedStep

LOG_EVERY = 10  # steps between two lines; a step with an evaluation always has one


def metrics_of(step: TimedStep) -> dict[str, float]:
    """Return a step as a line of metrics.jsonl. Numbers that were not measured, or are not finite, are left out."""
    line = {
        "step": step.step,
        "seconds": round(step.seconds, 3),
        "train_seconds": round(step.train_seconds, 3),
        "train_loss": None if step.train_loss is None else step.train_loss.item(),
        "validation_loss": step.validation_loss,
        "tokens_per_second": round(step.tokens_per_second),
    }
    return {name: value for name, value in line.items() if value is not None and math.isfinite(value)}


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Return the lines of a run's metrics.jsonl, without a last one that a crash cut short. InputError if it is damaged."""
    path = folder / checkpoint.METRICS
    texts = checkpoint.read(path).decode(errors="replace").splitlines()
    lines: list[dict[str, float]] = []
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
            lines.append({**line, "step": int(line["step"])})
        except (ValueError, KeyError, TypeError) as error:
            if number < len(texts) or not isinstance(error, json.JSONDecodeError):
                raise InputError(f"{path} is damaged in line {number}; remove that line") from None
    return lines
