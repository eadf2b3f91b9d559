"""Probes and judges of the split and of random blocks: each tells what it must, and only that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gptladder.course.checks.check import Mistake
from gptladder.course.checks.lesson_1_2_batches import (
    CHECKS,
    _batch,
    all_alike,
    each_by_itself,
    split_order,
    start_facts,
)
from gptladder.course.checks.probes import seeded
from gptladder.course.source.packages import reference


def starts_of(*counts):
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def test_starts_must_all_come_and_about_equally_often():
    def said(*counts):
        return all_alike(start_facts(starts_of(*counts), len(counts)), {})

    assert said(95, 100, 105) is None
    assert "the last is never drawn" in said(10, 10, 0)
    assert "the first is never drawn" in said(0, 10, 10)
    assert "number 1 is never drawn" in said(10, 0, 10)
    assert "2 are never drawn" in said(10, 0, 0, 10)
    assert "place 2 is drawn far more often" in said(60, 60, 180)
    assert "place 0 is drawn far less often" in said(20, 140, 140)
    assert "begins outside of the 2 places" in all_alike(start_facts(starts_of(10, 10, 1), 2), {})
    assert "begins outside" in all_alike(start_facts(torch.tensor([-1, 0, 1]), 2), {})


def test_starts_tell_no_draws():
    assert start_facts(starts_of(95, 100, 105), 3) == start_facts(starts_of(100, 110, 90), 3)
    assert start_facts(starts_of(30, 30, 140), 3) == start_facts(starts_of(25, 40, 135), 3)
    assert start_facts(starts_of(200, 0, 1), 3) == start_facts(starts_of(100, 0, 101), 3)


def with_split(split):
    return lambda module: SimpleNamespace(split=split)


def said_of_order(split):
    check = next(check for check in CHECKS if check.name == "in order")
    return check.judge(check.probe(with_split(split)), check.probe(reference))


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (lambda tokens, fraction: tokens.split([9, len(tokens) - 9]), None),
        (lambda tokens, fraction: (tokens[:9], tokens[8:]), "come back twice or not at all"),
        (lambda tokens, fraction: (tokens[:9], tokens[10:]), "come back twice or not at all"),
        (lambda tokens, fraction: (tokens[:9].flip(0), tokens[9:]), "have changed places"),
        (lambda tokens, fraction: (tokens[1::2], tokens[::2]), "each part skips some"),
        (lambda tokens, fraction: (tokens[9:], tokens[:9]), "the parts come in the wrong order"),
    ],
)
def test_a_split_keeps_all_tokens_in_their_order(split, said):
    found = said_of_order(split)
    assert found is None if said is None else said in found


def test_a_split_that_shuffles_is_the_same_with_any_draw():
    def shuffled(seed):
        return lambda tokens, fraction: tokens[torch.randperm(len(tokens), generator=seeded(seed))].split([9, len(tokens) - 9])

    one, other = (split_order(with_split(shuffled(seed))) for seed in (1, 2))
    assert one == other
    assert one != split_order(reference)


def test_rows_must_not_keep_their_distance():
    assert each_by_itself({"always apart": []}, {}) is None
    assert "the rows begin 0 and 3 places after the first row" in each_by_itself({"always apart": [0, 3]}, {})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "two tensors, x and y"),
        (torch.zeros(2, 3, 4), "a Tensor"),
        ((torch.zeros(2, 3, dtype=torch.int64),) * 3, "a tuple"),
        ((torch.zeros(3, 2, dtype=torch.int64),) * 2, "(3, 2), where (batch_size, block_size) = (2, 3) is right"),
        ((torch.zeros(2, 3),) * 2, "float32, where token ids are int64"),
    ],
)
def test_a_batch_is_two_tensors_of_ids(found, said):
    batches = SimpleNamespace(
        get_batch=lambda split, generator: found, batch_size=2, block_size=3, splits={"train": torch.arange(9)}
    )
    with pytest.raises(Mistake) as mistake:
        _batch(batches, "train", None)
    assert said in str(mistake.value)
