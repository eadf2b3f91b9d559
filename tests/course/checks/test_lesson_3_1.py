"""The sine model of lesson 3.1 is what it says, and its probes tell a wrong shape in words."""

from __future__ import annotations

import pytest
import torch

from gptladder.course.checks.check import Mistake
from gptladder.course.checks.lesson_3_1 import (
    CHECKS,
    SineLayer,
    TinyEmbedding,
    averaged,
    by_hand,
    model_layers,
    model_positions,
    sine_model,
)
from gptladder.course.checks.probes import normal, tokens
from gptladder.course.source.packages import reference


def test_the_shape_is_told_where_a_law_needs_it():
    with pytest.raises(Mistake, match=r"average_loop gives shape \(2, 3\) for x \(2, 5, 3\)"):
        averaged(lambda name: type("module", (), {"average_loop": lambda x: x.mean(1)}), "average_loop", normal(2, 5, 3))


def test_the_parts_of_the_sine_model_tell_tokens_positions_and_order_apart():
    ids = tokens(2, 5, vocab_size=11)
    embed, positions = TinyEmbedding(), torch.tensor([6, 2, 3, 5, 1])
    assert torch.equal(embed(ids), embed(ids, torch.arange(5)))
    assert (embed(ids) - embed(ids, positions)).abs().amax(dim=-1).gt(1e-3).all()
    assert (embed(ids) - embed((ids + 1) % 11)).abs().amax(dim=-1).gt(1e-3).all()
    ran = []
    first, second = SineLayer(0, ran), SineLayer(1, ran)
    x = embed(ids)
    assert (first(second(x)) - second(first(x))).abs().max() > 0.1
    assert ran == [1, 0, 0, 1]


def test_the_sine_model_gives_what_is_made_by_hand(float64):
    model, ids = sine_model(reference), tokens(2, 5, vocab_size=11)
    torch.testing.assert_close(model(ids), by_hand(model, ids))
    assert model.ran == [0, 1, 2]
    found = model_positions(reference)
    assert found["found"].shape == (2, 5, 11)


def test_layers_that_are_left_out_are_told(float64):
    judge = next(check.judge for check in CHECKS if check.name == "layers")
    right = model_layers(reference)
    assert judge(right, {}) is None
    assert judge({**right, "found": [0, 2]}, {}).endswith("these ran: [0, 2]")
