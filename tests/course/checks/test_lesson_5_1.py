"""What the checks of lesson 5.1 say about shares, spreads and means: exact where chance explains them, otherwise rounded."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gptladder.course.checks import lesson_5_1 as gpt
from gptladder.course.checks.check import beside
from gptladder.course.checks.probes import prefixed


def test_shares_are_judged_by_chance():
    def said(dropped):
        return gpt.drops_a_share(prefixed("p = 0.2", gpt.shares(dropped.double(), 0.2)), {})

    torch.manual_seed(0)
    each = torch.rand(gpt.ROWS, gpt.COLUMNS)
    assert said(each < 0.2) is None
    assert said(each >= 0.2) == "with p = 0.2 about 80% of the numbers become 0"
    assert "whole rows or columns" in said((each[:1] < 0.2).expand_as(each))
    assert "whole rows or columns" in said((each[:, :1] < 0.2).expand_as(each))


@pytest.mark.parametrize("draw", [nn.init.normal_, lambda weight, std: nn.init.uniform_(weight, -std * 3**0.5, std * 3**0.5)])
def test_spreads_are_judged_by_bands(draw):
    def said(weight, spread):
        return gpt.begins_right(beside(list(gpt.begins(weight, spread)), [spread, 0.0], "w"), {})

    torch.manual_seed(0)
    assert said(draw(torch.empty(16, 32), std=0.02), 0.02) is None
    assert "about 0.02, where 0.002 is right" in said(draw(torch.empty(16, 32), std=0.02), 0.002)
    assert "a mean of about 0.02, where 0 is right" in said(draw(torch.empty(16, 32), std=0.02) + 0.02, 0.02)


def test_vectors_begin_with_one_number():
    assert gpt.begins_right(beside([1.0], [1.0], "w"), {}) is None
    for found in ([0.0], []):  # another number, and different ones
        assert gpt.begins_right(beside(found, [1.0], "w"), {}) == "all numbers of w must begin at 1"
