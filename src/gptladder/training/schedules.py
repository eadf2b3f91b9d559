"""The learning rate over a training: a pure function of the step."""

from __future__ import annotations

from ..model.config import Recipe


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the rate for step 1..steps: up in a line, then level, then down in a line.

    It rises over the first warmup_steps and falls towards zero over the last `decay` of all steps.
    With learning_rate 1, 10 steps, warmup_steps 2 and decay 0.4: 0.5, 1, 1, 1, 1, 1, 0.8, 0.6,
    0.4, 0.2.
    """
    up = step / recipe.warmup_steps if step < recipe.warmup_steps else 1.0
    decay_steps = recipe.decay * recipe.steps
    left = recipe.steps - step + 1
    down = left / (decay_steps + 1) if left < decay_steps + 1 else 1.0
    return recipe.learning_rate * min(up, down)
