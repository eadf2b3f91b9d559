"""A step in slices is the step, and a model in another precision computes nearly the same."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch

from gptladder.model.config import GPTConfig
from gptladder.model.fusing import fused_cross_entropy
from gptladder.rungs import build
from gptladder.training.loop import training_step
from gptladder.training.slices import compute_in, step_in_slices
from laws import B, T, rung, tokens_of

FLOAT32, BFLOAT16 = torch.float32, torch.bfloat16


@pytest.mark.parametrize("name", ["modern", "gpt"])
def test_mixed_logits_and_gradients_are_float32_and_close(name):
    plain = rung(name, fused=True).float().train()
    mixed = compute_in(copy.deepcopy(plain), BFLOAT16)
    tokens, targets = tokens_of(B, T), tokens_of(B, T, seed=1)
    logits, expected = mixed(tokens), plain(tokens)
    assert logits.dtype == FLOAT32
    assert 0 < (logits - expected).abs().max() < 0.1 * expected.std()
    for out in (logits, expected):
        fused_cross_entropy(out, targets).backward()
    for (label, one), other in zip(mixed.named_parameters(), plain.parameters(), strict=True):
        assert (one.dtype, one.grad.dtype) == (FLOAT32, FLOAT32), label
        assert (one.grad - other.grad).norm() < 0.1 * other.grad.norm(), label


def test_a_model_in_float32_is_left_alone():
    model = rung("gpt").float()
    assert compute_in(model, FLOAT32) is model
    assert "forward" not in vars(model)


@pytest.mark.parametrize("slices", [1, 2, 3, 5, 7])
def test_a_step_in_slices_is_the_step(slices):
    """Five texts in slices of unequal sizes: the same loss, gradients and update as all at once."""
    config = GPTConfig(11, block_size=7, n_layer=2, n_head=2, n_embd=12, dropout=0.0)
    torch.manual_seed(0)
    whole = build("gpt", config).double()
    sliced = copy.deepcopy(whole)
    x, y = torch.randint(11, (2, 5, 7))
    losses = []
    for model, step in ((whole, training_step), (sliced, partial(step_in_slices, slices))):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses.append(step(model, optimizer, x, y, fused_cross_entropy).double())
    assert torch.allclose(losses[0], losses[1], atol=1e-6)
    for (name, one), other in zip(whole.named_parameters(), sliced.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12), name
        assert torch.allclose(one.grad, other.grad, rtol=0, atol=1e-12), name
