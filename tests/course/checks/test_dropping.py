"""What is wrong with a dropout is told, whatever was drawn."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gptladder.course.checks.dropping import (
    SOMEWHERE,
    by_chance,
    dropout_results,
    drops,
    drops_weights,
    multiplied,
    told_share,
    weight_dropout_results,
)
from gptladder.course.checks.probes import normal, only

pytestmark = pytest.mark.usefixtures("float64")


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
        (only(1.0), "about 0% of the output is dropped, where config.dropout is 0.5"),
        (Dropping(0.1, 1 / 0.9), "about 10% of the output is dropped"),
        (Dropping(0.5, 1.0), "must become 1/(1 - p) = 2, but it becomes 1"),
        (nn.Dropout(0.5), "but it becomes different numbers"),
        (Dropping(0.5, 2.0, always=True), "in eval()"),
    ],
)
def test_what_is_wrong_with_a_dropout_is_told(layer, words):
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        found.append(dropout_results(layer, normal(20, 50), 0.5, whose="f"))
    assert found[0] == found[1]
    problem = drops(found[0], {}) or ""
    assert words in problem
    assert bool(words) == bool(problem)


def test_a_dropout_that_is_missing_and_one_that_stands_elsewhere_are_told_apart():
    found = dropout_results(only(1.0), normal(20, 50), 0.5, whose="f")
    assert "nothing is dropped" in drops(found | {SOMEWHERE: False}, {})
    assert "self.dropout must come last" in drops(found | {SOMEWHERE: True}, {})


def test_a_share_is_told_where_chance_cannot_explain_it():
    assert by_chance(0.52, 0.5, 1000)
    assert not by_chance(0.52, 0.5, 100_000)
    assert told_share(0.52, 0.5, 1000) == 0.5
    assert told_share(0.52, 0.5, 100_000) == 0.52
    assert told_share(0.31, 0.5, 1000) == 0.3
    assert told_share(0.0, 0.0, 10) == 0.0


def test_factors_are_told_in_words():
    x = normal(40)
    assert multiplied(1.25 * x, x) == "1.25"
    assert multiplied(2 * x * (x > 0), x) == "0 or 2"
    assert multiplied(x + 1, x) == "different numbers"
    assert multiplied(x[:0], x[:0]).startswith("nothing")
    assert multiplied(x[:3], x) == "something of shape (3,)"


class Attention(nn.Module):
    """Two heads of size 3 that average the first two tokens' values (the input itself), with one of several dropouts."""

    def __init__(self, fate) -> None:
        super().__init__()
        self.fate = fate

    def forward(self, x):
        heads = torch.stack(x.chunk(2, dim=-1), dim=1)  # (B, 2, T, 3)
        weights = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
        weights = weights.expand(*heads.shape[:2], 2, 2)
        return torch.cat((self.fate(weights, heads, self.training)).unbind(dim=1), dim=-1)


def kept(*shape, p=0.25):
    return (torch.rand(shape) >= p) / (1 - p)


def of_weights(w, v, training):
    return w * kept(*w.shape) @ v if training else w @ v


def of_outputs(w, v, training):
    return (w @ v) * kept(*v.shape) if training else w @ v


def of_values(w, v, training):
    return w @ (v * kept(*v.shape)) if training else w @ v


def of_rows(w, v, training):
    return (w * kept(*w.shape[:3], 1)) @ v if training else w @ v


def of_heads_together(w, v, training):
    return (w * kept(w.size(0), 1, 1, 1)) @ v if training else w @ v


def twice_as_much(w, v, training):
    return w * kept(*w.shape, p=0.5) @ v if training else w @ v


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        (of_weights, ""),
        (lambda w, v, training: w @ v, "no attention weight is dropped"),
        (lambda w, v, training: of_weights(w, v, True), "in eval() nothing may be dropped"),
        (of_outputs, "either 0 or 1.33333 times"),  # numbers of the output, one by one
        (of_values, "either 0 or 1.33333 times"),
        (lambda w, v, training: of_weights(w, v, training) * (0.75 if training else 1), "either 0 or 1.33333 times"),
        (twice_as_much, "either 0 or 1.33333 times"),
        (lambda w, v, training: 4 / 3 * w @ v if training else w @ v, "either 0 or 1.33333 times"),
        (lambda w, v, training: 0 * w @ v if training else w @ v, "either 0 or 1.33333 times"),
        (of_rows, "each must be dropped or kept by itself"),
        (of_heads_together, "each must be dropped or kept by itself"),
    ],
)
def test_a_weight_is_dropped_whole_and_by_itself(fate, words):
    x, found = normal(1, 2, 6), []
    for seed in range(2):
        torch.manual_seed(seed)
        found.append(weight_dropout_results(Attention(fate), x, x[0, 0].view(2, 3), 0.25, whose="f"))
    assert found[0] == found[1]
    problem = drops_weights(found[0], {}) or ""
    assert words in problem
    assert bool(words) == bool(problem)


def test_dropout_of_outputs_and_of_values_have_different_results():
    x = normal(1, 2, 6)
    one, other = (weight_dropout_results(Attention(fate), x, x[0, 0].view(2, 3), 0.25, "f") for fate in (of_outputs, of_values))
    assert {name for name in one if one[name] != other[name]} == {"single numbers become 0"}
