"""Probes and judges of writing: each tells what it must, and only that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gptladder.course.checks.lesson_2_2_writing import CASES, CHECKS, ends_what_is_written, fits, generate_reading
from gptladder.course.source.packages import reference


def test_what_the_model_reads_fits_and_ends_what_is_written():
    got = generate_reading(reference)
    assert (fits(got, {}), ends_what_is_written(got, {})) == (None, None)
    _, T, block_size, _ = CASES[0]
    name = f"a prompt of {T} tokens at block_size {block_size}, what the model is given at step 2"
    assert got[name].shape == (1, T + 1)
    longer = got | {name: torch.zeros(1, 9, dtype=torch.int64)}
    assert fits(longer, {}) == "the model is given 9 tokens, more than its block_size 8"
    assert "before the second token, the prompt and what was chosen end in" in ends_what_is_written(longer, {})
    turned = got | {name: got[name].flip(1)}
    assert f"but the model is given {got[name][0].flip(0).tolist()}" in ends_what_is_written(turned, {})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda count: count, None),
        (lambda count: max(count, 1), "for count 0 it yields 1 tokens"),
        (lambda count: count + (count == 1), "for count 1 it yields 2 tokens"),
        (lambda count: min(count, 8), "for count 9 it yields 8 tokens"),
    ],
)
def test_every_count_must_be_right(wrong, said):
    def generate(model, prompt, count, block_size, sampling, generator):
        return [prompt[:, -1]] * wrong(count)

    check = next(check for check in CHECKS if check.name == "count")
    my = SimpleNamespace(generate=generate, Sampling=SimpleNamespace)
    assert check.judge(check.probe(lambda module: my), {}) == said
