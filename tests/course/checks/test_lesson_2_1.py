"""Probes of lesson 2.1 that have a logic of their own: each tells what it must, and only that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from gptladder.course.checks.check import Mistake
from gptladder.course.checks.lesson_2_1 import (
    CHECKS,
    bigram_alone,
    loss_gradient,
    loss_large,
    loss_mean,
    loss_slices,
    loss_uniform,
    moves_alone,
    uniform_agrees,
    uniform_values,
)
from gptladder.course.checks.probes import normal
from gptladder.course.examination.in_process import run_probe
from gptladder.course.source.packages import reference


def with_loss(cross_entropy):
    return lambda module: SimpleNamespace(cross_entropy=cross_entropy)


def with_uniform(uniform_loss):
    return lambda module: SimpleNamespace(uniform_loss=uniform_loss)


def torchs_own(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def safe_but_wrong(logits, targets):
    return -logits.softmax(-1).gather(-1, targets.unsqueeze(-1)).clamp(min=1e-9).log().mean()


def problems(probe, opened):
    check = next(check for check in CHECKS if check.probe is probe)
    return check.judge(run_probe(check, opened), {})


@pytest.mark.parametrize("probe", [loss_uniform, loss_mean, loss_gradient, loss_large, loss_slices])
def test_the_laws_of_the_loss_hold_of_torchs_own(probe):
    assert problems(probe, with_loss(torchs_own)) is None


def test_a_clamped_probability_is_finite_and_wrong():
    assert "is 20.7" in problems(loss_large, with_loss(safe_but_wrong))


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda logits, targets: torchs_own(logits, targets).item(), "returned a float"),
        (lambda logits, targets: torchs_own(logits, targets).view(1), r"shape \(1,\)"),
        (lambda logits, targets: torchs_own(logits, targets).detach(), "without a gradient"),
    ],
)
def test_a_loss_is_one_number_with_its_graph(loss, said):
    with pytest.raises(Mistake, match=said):
        problems(loss_gradient, with_loss(loss))


def test_a_view_of_a_slice_is_told_by_its_cure():
    with pytest.raises(Mistake, match="use reshape"):
        problems(loss_slices, with_loss(lambda logits, targets: torchs_own(logits, targets.view(-1, 1).view(targets.shape))))


def test_the_uniform_loss_is_a_number():
    assert problems(uniform_agrees, with_uniform(lambda size: float(torch.tensor(size).double().log()))) is None
    with pytest.raises(Mistake, match="returned a Tensor"):
        problems(uniform_values, with_uniform(lambda size: torch.tensor(size).log()))


def test_only_the_changed_position_may_move():
    assert moves_alone(run_probe(next(check for check in CHECKS if check.probe is bigram_alone), reference), {}) is None
    before = normal(2, 5, 3)
    own, other = before.clone(), before.clone()
    own[:, 2] += 1
    other[:, 2:4] += 1
    assert moves_alone({"before": before, "after": own, "changed": 2}, {}) is None
    assert "position 3 moved: only its own should" in moves_alone({"before": before, "after": other, "changed": 2}, {})
    assert "its logits did not move" in moves_alone({"before": before, "after": before, "changed": 2}, {})
    assert "shape (2, 5, 3)" in moves_alone({"before": before, "after": before[:, 1:], "changed": 2}, {})
    assert "shape (2, 5, 3)" in moves_alone({"before": before, "after": before, "changed": 5}, {})
