"""Every check of every exercise. They import torch and one another, never the reference."""

from __future__ import annotations

from . import attention, averaging, bigram, block, data, fast, gpt, heads, training
from .check import Check

ALL: tuple[Check, ...] = (
    *(*data.CHECKS, *bigram.CHECKS, *training.CHECKS, *averaging.CHECKS, *attention.CHECKS),
    *(*heads.CHECKS, *block.CHECKS, *gpt.CHECKS, *fast.CHECKS),
)
BY_EXERCISE: dict[str, tuple[Check, ...]] = {
    exercise: tuple(check for check in ALL if check.exercise == exercise) for exercise in dict.fromkeys(c.exercise for c in ALL)
}
