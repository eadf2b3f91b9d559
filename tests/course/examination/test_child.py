"""What a child hands back: plain values and tensors of their own memory."""

from __future__ import annotations

import math

import numpy
import pytest
import torch
from torch import nn

from gptladder.course.checks.check import Mistake
from gptladder.course.examination import child


@pytest.mark.parametrize("value", [1, 1.5, "word", None, True, [1, [2.0, "x"]], {"a": [1]}, math.inf])
def test_plain_values(value):
    assert child.plain("it", value) == value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (numpy.int64(1), "it holds a numpy.int64, where plain values are wanted"),
        ([1, torch.tensor(1)], "it holds a torch.Tensor"),
        ({1, 2}, "it holds a builtins.set"),
        ([10**10_000], "it cannot be compared: Exceeds the limit"),
        ({(1, 2): 3}, "it cannot be compared: keys must be str"),
    ],
)
def test_values_that_are_not_plain(value, words):
    with pytest.raises(Mistake, match=words):
        child.plain("it", value)


def test_values_that_hold_themselves():
    value = []
    value.append(value)
    with pytest.raises(Mistake, match="it cannot be compared: Circular"):
        child.plain("it", value)


@pytest.mark.parametrize(
    "tensor", [torch.ones(2, 3).mT, torch.ones(1).expand(3), torch.ones(4)[1:3], nn.Parameter(torch.ones(2)), torch.ones(())]
)
def test_tensors_are_copied(tensor):
    copy = child.copied("it", tensor)
    assert torch.equal(copy, tensor)
    assert copy.is_contiguous()
    assert not copy.requires_grad
    assert copy.data_ptr() != tensor.data_ptr()


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.empty(2, device="meta"), "it lies on the device meta, not the CPU"),
        (torch.ones(2, dtype=torch.complex64), r"it is a tensor of torch\.complex64"),
        (torch.eye(2).to_sparse(), "sparse_coo"),
    ],
)
def test_tensors_that_cannot_be_compared(tensor, words):
    with pytest.raises(Mistake, match=words):
        child.copied("it", tensor)
