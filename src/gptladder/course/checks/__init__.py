"""Every check of every exercise, a file for each lesson (or each part of one). They import torch, never the reference."""

from __future__ import annotations

from . import (
    lesson_1_2_batches,
    lesson_1_2_tokenizer,
    lesson_2_1,
    lesson_2_2_choosing,
    lesson_2_2_training,
    lesson_2_2_writing,
    lesson_3_1,
    lesson_3_2,
    lesson_3_3,
    lesson_4_1,
    lesson_4_2,
    lesson_4_3,
    lesson_5_1,
    lesson_5_2_cache,
    lesson_5_2_fused,
    lesson_5_2_top_k,
)
from .check import Check

LESSONS = (
    *(lesson_1_2_tokenizer, lesson_1_2_batches, lesson_2_1),
    *(lesson_2_2_training, lesson_2_2_choosing, lesson_2_2_writing),
    *(lesson_3_1, lesson_3_2, lesson_3_3, lesson_4_1, lesson_4_2, lesson_4_3, lesson_5_1),
    *(lesson_5_2_top_k, lesson_5_2_cache, lesson_5_2_fused),
)
ALL: tuple[Check, ...] = tuple(check for lesson in LESSONS for check in lesson.CHECKS)
BY_EXERCISE: dict[str, tuple[Check, ...]] = {
    exercise: tuple(check for check in ALL if check.exercise == exercise) for exercise in dict.fromkeys(c.exercise for c in ALL)
}
