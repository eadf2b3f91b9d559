"""Judges of the attention checks that have a logic of their own: each fails on what it must catch, and only on that."""

from __future__ import annotations

import math

import pytest
import torch

from gptladder.course import checks
from gptladder.course.checks.check import Mistake
from gptladder.course.checks.lesson_3_1 import AnyEmbedding, AnyLayer, averaged, by_hand, model_positions, stand_ins
from gptladder.course.checks.lesson_3_2 import (
    causal_large,
    rises,
    shuts_out,
    softmax_large,
    survives,
    weights_of,
)
from gptladder.course.checks.lesson_3_3 import drops_weights, head
from gptladder.course.checks.probes import normal, tokens
from gptladder.course.examination.in_process import run_probe
from gptladder.course.source.packages import reference

ALL = tuple(check for check in checks.ALL if check.exercise.startswith("3."))


@pytest.fixture(autouse=True)
def _float64():
    """As in a probe: what is made without a dtype has float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


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


WHOLE = normal(64, 1, 4)
FATE = (torch.arange(64) % 3 > 0).double().view(64, 1, 1)


def test_a_weight_is_dropped_whole():
    def judged(dropped, again=WHOLE):
        return drops_weights({"whole": WHOLE, "again": again, "dropped": dropped, "longer": None}, {})

    assert judged(2 * WHOLE * FATE) is None
    assert "nothing is dropped" in judged(WHOLE)
    assert "in eval() nothing may be dropped" in judged(2 * WHOLE * FATE, again=2 * WHOLE * FATE)
    assert "0 or twice" in judged(2 * WHOLE * (normal(64, 1, 4) > 0))  # numbers of the output, one by one
    assert "0 or twice" in judged(WHOLE * FATE)  # what is left is not made larger
    assert "each is dropped by itself" in judged(2 * WHOLE)
    assert "each is dropped by itself" in judged(0 * WHOLE)


@pytest.mark.parametrize("check", ALL, ids=lambda check: f"{check.exercise} {check.name}")
def test_the_reference_passes(check):
    """And one asks nothing of the reference's own results, but for the order of layers; so it is given none."""
    got = run_probe(check, reference)
    assert check.judge(got, {} if check.law and check.name != "layers" else got) is None


def test_the_first_check_that_is_no_law_calls_the_function():
    """A trace is taken there."""
    for exercise in dict.fromkeys(check.exercise for check in ALL):
        first = next(check for check in ALL if check.exercise == exercise and not check.law)
        assert first.name == "shape"


def test_laws_of_a_shape_tell_the_shape():
    with pytest.raises(Mistake, match=r"softmax gives shape \(2,\) for scores \(2, 3\)"):
        weights_of(lambda name: type("module", (), {"softmax": lambda scores: scores.sum(-1)}), "softmax", normal(2, 3))
    with pytest.raises(Mistake, match=r"average_loop gives shape \(2, 3\) for x \(2, 5, 3\)"):
        averaged(lambda name: type("module", (), {"average_loop": lambda x: x.mean(1)}), "average_loop", normal(2, 5, 3))


def test_stand_ins_tell_tokens_positions_and_order_apart():
    ids = tokens(2, 5, vocab_size=11)
    embed, positions = AnyEmbedding(), torch.tensor([6, 2, 3, 5, 1])
    assert torch.equal(embed(ids), embed(ids, torch.arange(5)))
    assert (embed(ids) - embed(ids, positions)).abs().amax(dim=-1).gt(1e-3).all()
    assert (embed(ids) - embed((ids + 1) % 11)).abs().amax(dim=-1).gt(1e-3).all()
    ran = []
    first, second = AnyLayer(0, ran), AnyLayer(1, ran)
    x = embed(ids)
    assert (first(second(x)) - second(first(x))).abs().max() > 0.1
    assert ran == [1, 0, 0, 1]


def test_the_model_of_stand_ins_is_what_is_made_by_hand():
    model, ids = stand_ins(reference), tokens(2, 5, vocab_size=11)
    torch.testing.assert_close(model(ids), by_hand(model, ids))
    assert model.ran == [0, 1, 2]
    found = model_positions(reference)
    assert found["found"].shape == (2, 5, 11)


def test_a_head_is_lively_and_drops_only_where_it_is_told():
    assert (head(reference, 6, 4).query.weight.std() > 0.3).item()
    assert head(reference, 6, 4, dropout=0.5).dropout.p == 0.5
    assert not head(reference, 6, 4, dropout=0.5).training
