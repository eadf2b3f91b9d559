"""Cross-entropy by hand, by torch, and by what it must do."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gptladder.training.loss import cross_entropy, uniform_loss
from laws import normal, tokens_of

SHAPES = pytest.mark.parametrize(("batch", "length", "vocab_size"), [(2, 7, 11), (3, 1, 5), (1, 1, 2), (1, 4, 1)])


def by_hand(logits, targets):
    """The mean of -ln p(target), number by number."""
    losses = []
    for rows, answers in zip(logits.tolist(), targets.tolist(), strict=True):
        for row, answer in zip(rows, answers, strict=True):
            total = sum(math.exp(number) for number in row)
            losses.append(-math.log(math.exp(row[answer]) / total))
    return sum(losses) / len(losses)


@SHAPES
def test_is_the_hand_computation(batch, length, vocab_size):
    logits, targets = 2 * normal(batch, length, vocab_size), tokens_of(batch, length, vocab_size)
    assert math.isclose(cross_entropy(logits, targets).item(), by_hand(logits, targets), abs_tol=1e-12)


@SHAPES
def test_is_torchs_in_value_and_gradient(batch, length, vocab_size):
    targets, results = tokens_of(batch, length, vocab_size), []
    for loss in (cross_entropy, lambda x, y: F.cross_entropy(x.flatten(0, 1), y.flatten())):
        logits = (2 * normal(batch, length, vocab_size)).requires_grad_()
        value = loss(logits, targets)
        value.backward()
        results.append((value.detach(), logits.grad))
    for ours, torchs in zip(*results, strict=True):
        assert torch.allclose(ours, torchs, atol=1e-12)


def test_gradient_is_probability_minus_truth():
    logits, targets = normal(2, 7, 11).requires_grad_(), tokens_of(2, 7)
    cross_entropy(logits, targets).backward()
    expected = (logits.detach().softmax(-1) - F.one_hot(targets, 11)) / 14
    assert torch.allclose(logits.grad, expected, atol=1e-12)


def test_worked_number():
    loss = cross_entropy(torch.tensor([[[0.0, math.log(3)]]], dtype=torch.float64), torch.tensor([[1]]))
    assert math.isclose(loss.item(), math.log(4 / 3), abs_tol=1e-12)
    assert round(loss.item(), 3) == 0.288


@pytest.mark.parametrize("shift", [-1e4, 30.0, 1e4])
def test_a_shift_of_all_logits_changes_nothing(shift):
    logits, targets = normal(2, 7, 11), tokens_of(2, 7)
    assert torch.allclose(cross_entropy(logits + shift, targets), cross_entropy(logits, targets), atol=1e-10)


def test_positions_of_very_different_scale_do_not_disturb_each_other():
    logits, targets = normal(2, 7, 11), tokens_of(2, 7)
    far = torch.arange(14.0, dtype=torch.float64).view(2, 7, 1) * 1e3
    assert torch.allclose(cross_entropy(logits + far, targets), cross_entropy(logits, targets), atol=1e-10)


def test_certainty_costs_nothing_when_right_and_its_margin_when_wrong():
    logits = torch.tensor([[[800.0, 0.0, 0.0]]], dtype=torch.float64)
    assert cross_entropy(logits, torch.tensor([[0]])).item() == 0.0
    assert cross_entropy(logits, torch.tensor([[2]])).item() == 800.0


@pytest.mark.parametrize("vocab_size", [1, 2, 65, 50257])
def test_uniform_loss_is_that_of_equal_logits(vocab_size):
    equal = torch.full((1, 3, vocab_size), 0.7, dtype=torch.float64)
    loss = cross_entropy(equal, tokens_of(1, 3, vocab_size)).item()
    assert math.isclose(uniform_loss(vocab_size), loss, abs_tol=1e-12)


def test_uniform_loss_worked_number():
    assert math.isclose(uniform_loss(65), math.log(65), abs_tol=1e-12)
    assert round(uniform_loss(65), 3) == 4.174
