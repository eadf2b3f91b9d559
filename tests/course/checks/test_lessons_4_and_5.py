"""What the checks of modules 4 and 5 judge by themselves: devices, shares, spreads, names, a cache that is full."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gptladder.course.checks import lesson_5_1 as gpt
from gptladder.course.checks import lesson_5_2 as fast
from gptladder.course.checks.check import same_names
from gptladder.course.checks.probes import dropped, normal, only


class Dropping(nn.Module):
    """Ones, some of them dropped."""

    def __init__(self, p: float, factor: float, always: bool = False) -> None:
        super().__init__()
        self.p, self.factor, self.always = p, factor, always

    def forward(self, x):
        if not self.training and not self.always:
            return torch.ones_like(x)
        return (torch.rand_like(x) >= self.p) * self.factor


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Sequential(only(1.0), nn.Dropout(0.5)), ""),
        (Dropping(0.5, 2.0), ""),
        (only(1.0), "about 0.0 of its output is dropped"),
        (Dropping(0.1, 1 / 0.9), "about 0.1 of its output is dropped"),
        (Dropping(0.5, 1.0), "must become 1/(1 - p)"),
        (Dropping(0.5, 2.0, always=True), "in eval() too"),
    ],
)
def test_what_is_wrong_with_a_dropout_is_told(layer, words):
    torch.manual_seed(0)
    problem = dropped(layer, normal(20, 50), 0.5, whose="f")
    assert words in problem
    assert bool(words) == bool(problem)


def test_shares_are_judged_by_chance():
    torch.manual_seed(0)
    each = torch.rand(gpt.ROWS, gpt.COLUMNS)
    assert gpt._share_problem((each < 0.2).double(), 0.2) == ""
    assert "about 0.8" in gpt._share_problem((each >= 0.2).double(), 0.2)
    assert "whole rows or columns" in gpt._share_problem((each[:1] < 0.2).double().expand_as(each), 0.2)
    assert "whole rows or columns" in gpt._share_problem((each[:, :1] < 0.2).double().expand_as(each), 0.2)


@pytest.mark.parametrize("draw", [nn.init.normal_, lambda weight, std: nn.init.uniform_(weight, -std * 3**0.5, std * 3**0.5)])
def test_spreads_are_judged_by_bands(draw):
    torch.manual_seed(0)
    assert gpt._spread_problem("w", draw(torch.empty(16, 32), std=0.02), 0.02) == ""
    assert "about 0.02; 0.002 is right" in gpt._spread_problem("w", draw(torch.empty(16, 32), std=0.02), 0.002)
    assert "around another number" in gpt._spread_problem("w", draw(torch.empty(16, 32), std=0.02) + 0.02, 0.02)


def test_names_are_compared_in_any_order():
    assert same_names({"p": ["b", "a"]}, {"p": ["a", "b"]}) is None
    assert same_names({"p": ["a", "c"]}, {"p": ["a", "b"]}) == "p: missing: b; too many: c"
    assert same_names({"p": []}, {"p": list("abcdef")}) == "p: missing: a, b, c, d and others"


class Room:
    """A cache that answers what does not fit with an error, or not at all."""

    def __init__(self, error):
        self.error = error

    def append(self, keys, values):
        if self.error:
            raise self.error
        return keys, values


def test_only_a_value_error_refuses():
    assert fast._refused(Room(ValueError("full")), 3) == ""
    assert "RuntimeError" in fast._refused(Room(RuntimeError("shapes")), 3)
    assert fast._refused(Room(None), 3) == fast.TAKEN_IN
