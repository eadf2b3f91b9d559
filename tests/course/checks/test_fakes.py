"""Models and an optimizer that lesson 2.2's checks use: each does what it says."""

from __future__ import annotations

import copy

import pytest
import torch

from gptladder.course.checks.fakes import Descent, Summing, Table, V, cycle, mean_loss
from gptladder.course.checks.probes import normal, tokens


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_descent_is_torchs_sgd(momentum):
    ours, theirs = Table(), Table()
    pairs = [(ours, Descent(ours, 0.5, momentum)), (theirs, torch.optim.SGD(theirs.parameters(), lr=0.5, momentum=momentum))]
    for model, optimizer in pairs:
        for seed in range(3):
            optimizer.zero_grad()
            x = tokens(2, 3, vocab_size=V, seed=seed)
            mean_loss(model(x), x).backward()
            optimizer.step()
    torch.testing.assert_close(ours.table.weight, theirs.table.weight)


def test_descent_leaves_weights_without_a_gradient_and_calls_a_closure():
    model = Table()
    optimizer = Descent(model, 0.5)
    before = model.table.weight.detach().clone()
    assert optimizer.step(lambda: 7) == 7
    assert torch.equal(model.table.weight, before)
    assert optimizer.steps == 1


@pytest.mark.parametrize("set_to_none", [True, False])
def test_descent_clears_gradients(set_to_none):
    model = Table()
    model.table.weight.grad = normal(V, V)
    Descent(model, 0.5).zero_grad(set_to_none)
    assert (model.table.weight.grad is None) if set_to_none else not model.table.weight.grad.any()


def test_what_a_copy_of_a_table_is_asked_is_noted_in_the_original():
    model = Table().train()
    copy.deepcopy(model).eval()(tokens(1, 2, vocab_size=V))
    assert model.modes == [False]


def test_a_cycle_counts_and_a_sum_needs_every_token():
    assert Table(cycle())(torch.tensor([[0, V - 1]])).argmax(dim=-1).tolist() == [[1, 0]]
    x = tokens(1, 5, vocab_size=V)
    moved = x.clone()
    moved[0, 0] = (x[0, 0] + 1) % V
    whole, other, shorter, turned = (Summing()(row)[0, -1] for row in (x, moved, x[:, 1:], x[:, [1, 0, 2, 3, 4]]))
    assert not any(torch.allclose(whole, part) for part in (other, shorter, turned))
