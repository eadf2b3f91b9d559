"""Probes and judges of the training step and of evaluation: each tells what it must, and only that."""

from __future__ import annotations

import torch

from gptladder.course.checks.fakes import V
from gptladder.course.checks.lesson_2_2_training import in_blocks, takes_a_step
from gptladder.course.checks.probes import normal


def test_blocks_hold_every_token_once():
    x = torch.arange(24).view(2, 12)
    blocks = list(in_blocks(x, x + 1, (5, 5, 2)))
    assert [tuple(y.shape) for _, y in blocks] == [(2, 5), (2, 5), (2, 2)]
    assert torch.equal(torch.cat([y for _, y in blocks], dim=1), x + 1)


def test_weights_that_do_not_move_have_their_reason():
    weights = normal(V, V)
    still = {"found": weights, "must be": weights + 1, "before": weights}
    assert takes_a_step({"found": weights, "must be": weights.clone(), "before": weights + 1, "steps": 1}, {}) is None
    assert takes_a_step(still | {"steps": 0}, {}).endswith("optimizer.step() is never called")
    assert "finds no gradients: is backward missing" in takes_a_step(still | {"steps": 1}, {})
    assert "w - 0.5 x gradient, but the number at [0, 0]" in takes_a_step(still | {"before": weights - 1, "steps": 1}, {})
