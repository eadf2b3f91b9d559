"""A training's numbers as lines of JSON: what is written of a step, and how it is read back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from .. import checkpoint
from ..errors import InputError
from .loop import Step

LOG_EVERY = 10  # steps between two lines; steps with an evaluation have one always


def metrics_of(step: Step) -> dict[str, float]:
    """A step as a line of metrics.jsonl; what was not measured, or is no number, is left out."""
    line = {
        "step": step.step,
        "seconds": round(step.seconds, 3),
        "train_seconds": round(step.train_seconds, 3),
        "train_loss": None if step.train_loss is None else step.train_loss.item(),
        "validation_loss": step.validation_loss,
        "tokens_per_second": round(step.tokens_per_second),
    }
    return {name: value for name, value in line.items() if value is not None and math.isfinite(value)}


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last one that a crash cut short is left out. InputError if it is no such file."""
    path = folder / checkpoint.METRICS
    texts = checkpoint.read(path).decode(errors="replace").splitlines()
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
            lines.append({**line, "step": int(line["step"])})
        except (ValueError, KeyError, TypeError) as error:
            if number < len(texts) or not isinstance(error, json.JSONDecodeError):
                raise InputError(f"{path} is damaged in line {number}; remove that line") from None
    return lines
