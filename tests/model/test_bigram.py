"""One table: its rows are the predictions, its optimum the counts."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from gptladder.model.bigram import Bigram
from gptladder.training.loss import cross_entropy
from laws import ODD, V, lively, rung, tokens_of


def test_each_token_gets_its_row_wherever_it_stands():
    model = rung("bigram")
    tokens = tokens_of(2, 5)
    logits = model(tokens)
    for b in range(2):
        for t in range(5):
            assert torch.equal(logits[b, t], model.table.weight[tokens[b, t]])


def test_positions_change_nothing():
    model, tokens = rung("bigram"), tokens_of(2, 5)
    assert torch.equal(model(tokens, torch.arange(5) + 3), model(tokens))


def test_zero_logits_give_every_token_an_equal_chance():
    model = Bigram(replace(ODD, vocab_size=65)).double()
    model.table.weight.data.zero_()
    logits = model(tokens_of(2, 5, 65))
    assert torch.allclose(logits.softmax(-1), torch.full_like(logits, 1 / 65), atol=1e-12)
    loss = cross_entropy(logits, tokens_of(2, 5, 65, seed=1)).item()
    assert math.isclose(loss, math.log(65), abs_tol=1e-12)
    assert round(loss, 3) == 4.174


def test_logarithms_of_counts_are_the_best_table():
    """At the counted frequencies the slope is zero: no change of the table predicts this text better."""
    tokens = tokens_of(1, 2001, 4, seed=1)
    pairs = torch.zeros(V, V, dtype=torch.float64)
    for a, b in zip(tokens[0, :-1], tokens[0, 1:], strict=True):
        pairs[a, b] += 1
    model = lively(Bigram(ODD))
    model.table.weight.data.copy_((pairs / pairs.sum(1, keepdim=True)).log().nan_to_num(0.0, neginf=-1e3))
    cross_entropy(model(tokens[:, :-1]), tokens[:, 1:]).backward()
    assert model.table.weight.grad.abs().max() < 1e-12
