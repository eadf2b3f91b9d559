"""Dropout: how many fall, what becomes of the rest, and when nothing happens."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gptladder.model.dropout import Dropout, dropout
from gptladder.model.fusing import FusedDropout
from laws import normal

COUNT = 100_000
BOTH = pytest.mark.parametrize("kind", [Dropout, FusedDropout])


@BOTH
@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_share_of_zeros_is_p(kind, p):
    torch.manual_seed(0)
    dropped = (kind(p)(torch.ones(COUNT)) == 0).double().mean().item()
    assert abs(dropped - p) < 4 * math.sqrt(p * (1 - p) / COUNT)


@BOTH
@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_survivors_are_scaled_so_that_the_mean_stays(kind, p):
    torch.manual_seed(0)
    x = normal(301, 7)
    y = kind(p)(x)
    survived = y != 0
    assert 0 < survived.sum() < x.numel()
    assert torch.allclose(y[survived], x[survived] / (1 - p), atol=1e-12)


@BOTH
def test_worked_number(kind):
    torch.manual_seed(0)
    assert set(kind(0.2)(torch.ones(100, dtype=torch.float64)).tolist()) == {0.0, 1.25}


@BOTH
def test_gradient_passes_where_the_number_passed(kind):
    torch.manual_seed(0)
    x = torch.ones(1000, dtype=torch.float64, requires_grad=True)
    y = kind(0.25)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


@BOTH
def test_eval_changes_nothing_and_draws_nothing(kind):
    layer, x = kind(0.9).eval(), normal(5, 7)
    before = torch.get_rng_state()
    assert torch.equal(layer(x), x)
    assert torch.equal(torch.get_rng_state(), before)


@BOTH
def test_each_call_drops_others_and_a_seed_repeats(kind):
    layer, x = kind(0.5), torch.ones(100)
    torch.manual_seed(1)
    first, second = layer(x), layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


def test_no_dropout_is_no_layer():
    assert type(dropout(0.0)) is nn.Identity
    made = dropout(0.3)
    assert isinstance(made, Dropout)
    assert made.p == 0.3


@BOTH
@pytest.mark.parametrize("p", [-0.1, 1.0, 2.0, math.nan])
def test_what_is_no_share_is_refused(kind, p):
    with pytest.raises(ValueError, match=f"dropout is {p}; it must be 0 or more and less than 1"):
        kind(p)
