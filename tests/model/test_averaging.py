"""The past, averaged three ways."""

from __future__ import annotations

import pytest
import torch

from gptladder.model.averaging import Average, average_loop, average_matrix, average_softmax
from laws import normal, past_stays

WAYS = pytest.mark.parametrize("average", [average_loop, average_matrix, average_softmax, Average()])


def average_by_hand(x):
    rows = x.tolist()
    return [
        [[sum(row[s][c] for s in range(t + 1)) / (t + 1) for c in range(len(row[t]))] for t in range(len(row))] for row in rows
    ]


@WAYS
def test_worked_number(average):
    x = torch.tensor([2.0, 4.0, 9.0], dtype=torch.float64).view(1, 3, 1)
    assert torch.allclose(average(x).flatten(), torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64), atol=1e-12)


@WAYS
@pytest.mark.parametrize("shape", [(2, 7, 5), (3, 1, 4), (1, 6, 1)])
def test_each_position_is_the_mean_of_what_came_up_to_it(average, shape):
    x = normal(*shape)
    assert torch.allclose(average(x), torch.tensor(average_by_hand(x), dtype=torch.float64), atol=1e-12)


def test_the_three_are_equal_in_values_and_gradients():
    upstream = normal(2, 7, 5, seed=1)
    results = []
    for average in (average_loop, average_matrix, average_softmax):
        x = normal(2, 7, 5).requires_grad_()
        (average(x) * upstream).sum().backward()
        results.append((average(x), x.grad))
    for values, gradients in results[1:]:
        assert torch.allclose(values, results[0][0], atol=1e-12)
        assert torch.allclose(gradients, results[0][1], atol=1e-12)


@WAYS
def test_change_the_future_and_the_past_stays(average):
    assert past_stays(average, normal(2, 7, 5), normal(2, 7, 5, seed=1))


@WAYS
def test_the_dtype_is_kept(average):
    assert average(normal(2, 3, 5).float()).dtype == torch.float32
