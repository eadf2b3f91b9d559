"""Random choices that must never change, since every answer already given is marked by them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptladder.course.outline import CourseError
from gptladder.course.questions.stable_random import StableRandom


def test_the_choices_of_a_seed_are_the_same_for_ever():
    """Were these to change, every answer already given would be marked by other numbers."""
    rng = StableRandom(2026)
    assert rng.several(8, 1, 6) == [1, 4, 4, 6, 1, 2, 4, 4]
    assert rng.shuffled("abcdef") == ["b", "f", "c", "e", "d", "a"]
    assert rng.one_of("xyz") == "x"


@given(st.integers(0, 2**63), st.integers(-5, 5), st.integers(0, 9))
def test_numbers_stay_between_both_ends(seed, low, span):
    assert set(StableRandom(seed).several(200, low, low + span)) <= set(range(low, low + span + 1))


def test_every_number_comes_up():
    assert set(StableRandom(0).several(500, 1, 6)) == {1, 2, 3, 4, 5, 6}


def test_a_draw_that_is_never_good_ends():
    with pytest.raises(CourseError, match="nothing good in 10,000 draws"):
        StableRandom(0).until(lambda: 1, lambda one: one == 2)
