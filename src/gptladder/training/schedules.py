"""How the learning rate moves: pure functions of the step."""

from __future__ import annotations

from ..model.config import Recipe


def learning_rate(recipe: Recipe, step: int) -> float:
    """The rate for step 1..steps: up in a line over the warm-up, level, and down in a line towards zero at the end.

    With learning_rate 1, 10 steps, warmup_steps 2 and decay 0.4: 0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2.
    """
    up = step / recipe.warmup_steps if step < recipe.warmup_steps else 1.0
    decay_steps = recipe.decay * recipe.steps
    left = recipe.steps - step + 1
    down = left / (decay_steps + 1) if left < decay_steps + 1 else 1.0
    return recipe.learning_rate * min(up, down)
