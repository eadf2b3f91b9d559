"""Probes and judges of the choice of a token: each tells what it must, and only that."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from gptladder.course.checks.lesson_2_2_choosing import choose_rows, right_shares, shares


def said_of_shares(*counts, right):
    chosen = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return right_shares(shares(chosen, right, "top_k = 2"), {})


def test_shares_are_told_beyond_six_sigmas_only():
    assert said_of_shares(2100, 1900, right=[0.5, 0.5]) is None  # 3.2 sigmas of one half
    assert said_of_shares(2100, 1900, right=[0.7, 0.3]) == (
        "with top_k = 2, token 0 comes in about 50% of the draws, where 70% is right"
    )
    assert said_of_shares(4000, 1, right=[1.0, 0.0]).endswith("token 0 comes in about 100% of the draws, where 100% is right")
    assert said_of_shares(0, 4000, right=[0.0, 1.0]) is None
    assert said_of_shares(1, 3999, right=[0.0, 1.0]) == "with top_k = 2, token 0 is drawn, which should never come"


def test_shares_tell_no_draws():
    def found(*counts):
        return shares(torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)), [0.7, 0.2, 0.1], "case")

    assert found(2800, 800, 400) == found(2750, 820, 430)
    assert found(2000, 1600, 400) == found(2030, 1580, 390)
    assert found(2000, 1600, 400) != found(2800, 800, 400)


def chooses(choose_next):
    return lambda module: SimpleNamespace(choose_next=choose_next, Sampling=SimpleNamespace)


def drawn(logits, generator):
    return torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)


def test_rows_are_chosen_each_by_itself():
    right = choose_rows(chooses(lambda logits, sampling, generator: drawn(logits, generator)))
    evenly = choose_rows(chooses(lambda logits, sampling, generator: drawn(0 * logits, generator)))
    across = choose_rows(chooses(lambda logits, sampling, generator: drawn(logits.softmax(0).log(), generator)))
    one = choose_rows(chooses(lambda logits, sampling, generator: drawn(logits[:1], generator).expand(len(logits)).clone()))
    assert list(right.values()) == [True, True, True]
    assert list(evenly.values()) == [False, False, True]
    assert list(across.values()) == [False, True, True]
    assert list(one.values()) == [False, False, False]
