"""What all code shares: changes to Python and torch are noticed, named and put back."""

from __future__ import annotations

import builtins
import math

import pytest
import torch
from torch import nn

from gptladder.course.examination.guards import SharedState


@pytest.fixture
def shared():
    shared = SharedState()
    yield shared
    shared.restore_names()
    torch.set_default_dtype(torch.float32)


def test_no_change_is_noted_where_none_was_made(shared):
    for dtype in (torch.float32, torch.float64, torch.float32):
        torch.set_default_dtype(dtype)
        shared.reset()
    nn.Linear(2, 2)(torch.ones(1, 2)).sum().backward()
    shared.reset()
    assert shared.changes == []


def test_what_is_replaced_is_put_back(shared):
    kept = (torch.softmax, nn.Module.__call__, nn.Linear.forward, math.sqrt, len)
    torch.softmax = nn.Module.__call__ = nn.Linear.forward = math.sqrt = None
    builtins.len = lambda x: 0
    shared.restore_names()
    assert (torch.softmax, nn.Module.__call__, nn.Linear.forward, math.sqrt, len) == kept
    assert nn.Linear(2, 3)(torch.ones(2)).shape == (3,)
    assert {says for says, _ in shared.changes} == {
        *("replaces builtins.len", "replaces math.sqrt", "replaces torch.softmax"),
        *("replaces torch.nn.Module.__call__", "replaces torch.nn.Linear.forward"),
    }


def test_what_is_taken_away_is_put_back(shared):
    kept = torch.exp
    del torch.exp
    shared.restore_names()
    assert torch.exp is kept


def test_an_inherited_name_that_is_covered_is_noticed(shared):
    """Most of a tensor's methods are those of its C base."""
    torch.Tensor.softmax = lambda self, dim: self
    shared.restore_names()
    assert shared.changes == [("replaces torch.Tensor.softmax", "softmax")]
    assert torch.zeros(2).softmax(0).tolist() == [0.5, 0.5]


def test_new_names_are_allowed(shared):
    torch.my_own = torch.Tensor.my_own = 1
    shared.restore_names()
    del torch.my_own, torch.Tensor.my_own
    assert shared.changes == []


def test_settings_are_reset(shared):
    torch.set_default_dtype(torch.bfloat16)
    torch.set_grad_enabled(False)
    torch.set_default_device("meta")
    shared.reset()
    assert torch.get_default_dtype() == torch.float64
    assert torch.is_grad_enabled()
    assert torch.zeros(1).device.type == "cpu"
    assert [name for _, name in shared.changes] == ["set_default_dtype", "set_default_device", "set_grad_enabled"]
