"""Evaluation of a split: whole, or in part by one rule; its progress; and a stop in the middle."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from gptladder.batches import Batches
from gptladder.training import evaluation
from gptladder.training.evaluation import EVALUATION_LIMIT, EvaluationBatches, StoppedInEvaluation, limit_for

TOKENS = torch.arange(10_000)  # of which the last 1,000 are for validation


def batches(block_size=7, limit=None):
    made = EvaluationBatches(TOKENS, 2, block_size)
    made.limit = limit
    return made


def pairs(blocks):
    return [(x.tolist(), y.tolist()) for x, y in blocks]


@pytest.mark.parametrize("limit", [None, 999, 10_000])
def test_a_split_within_the_limit_is_read_whole(limit):
    ours = batches(limit=limit)
    assert pairs(ours.all_blocks("validation")) == pairs(Batches(TOKENS, 2, 7).all_blocks("validation"))
    assert (ours.targets("validation"), ours.note()) == (999, "")


@pytest.mark.parametrize(("block_size", "limit"), [(7, 998), (7, 500), (7, 7), (8, 100), (9, 17), (300, 998)])
def test_a_longer_one_in_whole_blocks_evenly_spaced(block_size, limit):
    ours = batches(block_size, limit)
    rows = [(row, after) for x, y in ours.all_blocks("validation") for row, after in zip(x.tolist(), y.tolist(), strict=True)]
    chosen, whole = limit // block_size, 999 // block_size
    starts = [9000 + (i * whole // chosen) * block_size for i in range(chosen)]
    assert rows == [
        (list(range(start, start + block_size)), list(range(start + 1, start + block_size + 1))) for start in starts
    ]
    assert ours.targets("validation") == len(rows) * block_size <= limit
    gaps = {b - a for a, b in pairwise(starts)}
    assert not gaps or max(gaps) - min(gaps) <= block_size
    assert pairs(ours.all_blocks("validation")) == pairs(ours.all_blocks("validation"))
    assert ours.note() == f"each evaluation reads {len(rows) * block_size:,} of the validation split's 999 targets, " + (
        "evenly spaced, always the same"
    )


def test_a_limit_below_one_block_is_none():
    assert pairs(batches(10, 9).all_blocks("validation")) == pairs(batches(10).all_blocks("validation"))


def test_the_rule_is_for_huge_splits_alone(monkeypatch):
    """TinyShakespeare's 111,539 targets, and the stand-in's as many, are always read whole."""
    assert EVALUATION_LIMIT > 111_539
    assert limit_for(batches()) is None
    monkeypatch.setattr(evaluation, "EVALUATION_LIMIT", 999)
    assert limit_for(batches()) is None
    monkeypatch.setattr(evaluation, "EVALUATION_LIMIT", 998)
    assert limit_for(batches()) == 998


@pytest.mark.parametrize("limit", [None, 500])
def test_progress_goes_from_nothing_to_all(limit, monkeypatch):
    monkeypatch.setattr("gptladder.batches.TOKENS_AT_ONCE", 70)
    monkeypatch.setattr(evaluation, "TOKENS_AT_ONCE", 70)
    ours, seen, began = batches(limit=limit), [], []
    ours.progress, ours.begins = seen.append, lambda: began.append(len(seen))
    blocks = list(ours.all_blocks("validation"))
    assert began == [0]
    assert len(seen) == len(blocks) + 1 > 5
    assert (seen[0], seen[-1]) == (0, 1)
    assert seen == sorted(set(seen))


def test_a_stop_comes_before_the_next_blocks(monkeypatch):
    monkeypatch.setattr("gptladder.batches.TOKENS_AT_ONCE", 70)
    ours, seen = batches(), []
    ours.stopping = lambda: len(seen) == 3
    with pytest.raises(StoppedInEvaluation):
        seen.extend(ours.all_blocks("validation"))
    assert len(seen) == 3
