"""Judges of the checks of lesson 3.2: each fails on what it must catch, and only on that."""

from __future__ import annotations

import math

import pytest
import torch

from gptladder.course.checks.check import Mistake
from gptladder.course.checks.lesson_3_2 import (
    causal_large,
    rises,
    shuts_out,
    softmax_large,
    survives,
    weights_of,
)
from gptladder.course.checks.probes import normal
from gptladder.course.source.packages import reference

pytestmark = pytest.mark.usefixtures("float64")


def test_weights_rise_with_scores():
    assert rises({"weights": torch.tensor([0.1, 0.2, 0.7])}, {}) is None
    assert "0.1 follows 0.2" in rises({"weights": torch.tensor([0.2, 0.1, 0.7])}, {})
    assert "0.2 follows 0.2" in rises({"weights": torch.tensor([0.2, 0.2, 0.6])}, {})
    assert "nan" in rises({"weights": torch.tensor([0.2, math.nan, 0.6])}, {})


def test_large_scores_are_survived_or_the_way_out_is_told():
    assert survives(softmax_large(reference), {}) is None
    overflowed = survives({"weights": torch.tensor([[math.nan, 0.0]])}, {})
    assert "10,000" in overflowed
    assert "largest score is 0" in overflowed
    assert "largest" not in survives({"weights": torch.tensor([[0.5, 0.6]])}, {})  # another mistake, so no advice on this one


def test_a_mask_that_a_score_can_reach_is_told():
    weights = causal_large(reference)["weights"]
    assert shuts_out({"weights": weights}, {}) is None
    leaky = weights.clone()
    leaky[0, 0, :2] = 0.5
    assert "the future gets a weight of 0.5" in shuts_out({"weights": leaky}, {})
    swallowed = weights.clone()
    swallowed[0, 0, 0] = math.nan
    assert "mask them first" in shuts_out({"weights": swallowed}, {})
    assert "a row sums to 2" in shuts_out({"weights": 2 * weights}, {})


def test_the_shape_is_told_where_a_law_needs_it():
    with pytest.raises(Mistake, match=r"softmax gives shape \(2,\) for scores \(2, 3\)"):
        weights_of(lambda name: type("module", (), {"softmax": lambda scores: scores.sum(-1)}), "softmax", normal(2, 3))
