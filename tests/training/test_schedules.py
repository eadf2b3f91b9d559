"""The learning rate as a function of the step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptladder.model.config import Recipe
from gptladder.training.schedules import learning_rate


def rates(**settings):
    recipe = Recipe("bigram", **settings)
    return [learning_rate(recipe, step) for step in range(1, recipe.steps + 1)]


def test_worked_number():
    expected = [0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]
    assert rates(learning_rate=1.0, steps=10, warmup_steps=2, decay=0.4) == pytest.approx(expected, abs=1e-12)


def test_constant_by_default():
    assert rates(steps=7, learning_rate=3e-4) == [3e-4] * 7


def test_warm_up_rises_in_equal_steps_to_the_full_rate():
    assert rates(learning_rate=1.0, steps=6, warmup_steps=4) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1], abs=1e-12)


def test_decay_over_all_steps_falls_in_equal_steps_toward_zero():
    assert rates(learning_rate=1.0, steps=4, decay=1.0) == pytest.approx([0.8, 0.6, 0.4, 0.2], abs=1e-12)


@given(st.integers(1, 60), st.integers(0, 80), st.floats(0, 1), st.floats(1e-6, 10))
def test_never_zero_never_above_the_full_rate_never_down_and_up_again(steps, warmup_steps, decay, top):
    found = rates(learning_rate=top, steps=steps, warmup_steps=warmup_steps, decay=decay)
    assert all(0 < rate <= top for rate in found)
    peak = found.index(max(found))
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)


@given(st.integers(1, 60), st.integers(0, 30), st.floats(0, 1), st.integers(1, 60))
def test_the_rate_scales_with_the_recipes(steps, warmup_steps, decay, step):
    one, three = (
        learning_rate(
            Recipe("bigram", steps=steps, warmup_steps=warmup_steps, decay=decay, learning_rate=top), min(step, steps)
        )
        for top in (1.0, 3.0)
    )
    assert three == pytest.approx(3 * one, rel=1e-12)
