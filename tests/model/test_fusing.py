"""Fused is written out: same function, same gradients, and back again to the last bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from gptladder.model import attention, block, dropout
from gptladder.model.fusing import FusedAttention, FusedDropout, FusedHead, fuse, fused_cross_entropy, replace_modules, unfuse
from gptladder.training.loss import cross_entropy
from laws import NAMES, ODD, B, C, D, T, V, lively, normal, past_stays, rung, tokens_of

EVERY_RUNG = pytest.mark.parametrize("name", NAMES)
WITH_ATTENTION = pytest.mark.parametrize("name", [name for name in NAMES if name not in ("bigram", "average")])
WRITTEN_OUT = (attention.Head, attention.MultiHeadAttention, block.LayerNorm, dropout.Dropout)
FUSED = (FusedAttention, FusedHead, nn.LayerNorm, FusedDropout)


def backward(model, tokens, loss=cross_entropy):
    loss(model(tokens), tokens_of(*tokens.shape, seed=9)).backward()
    return model


def gradients(model):
    return {name: p.grad for name, p in model.named_parameters()}


def kinds(model):
    return {type(module) for module in model.modules()}


# fuse and unfuse


@EVERY_RUNG
@pytest.mark.parametrize("length", [1, 4, T])
def test_fused_outputs_are_the_written_out_ones(name, length):
    tokens = tokens_of(B, length)
    assert torch.allclose(rung(name, fused=True)(tokens), rung(name)(tokens), atol=1e-10)


@EVERY_RUNG
@pytest.mark.parametrize("length", [1, T])
def test_fused_gradients_are_the_written_out_ones(name, length):
    tokens = tokens_of(B, length)
    written_out = backward(rung(name), tokens)
    fused = unfuse(backward(rung(name, fused=True), tokens, fused_cross_entropy))
    for key, gradient in gradients(written_out).items():
        other = gradients(fused)[key]
        assert gradient is not None, key
        assert torch.allclose(other, gradient, atol=1e-10), key
    if length > 1:
        assert all(gradient.abs().max() > 1e-6 for gradient in gradients(written_out).values())


@EVERY_RUNG
def test_fused_training_is_the_written_out_training(name):
    models = [rung(name), rung(name, fused=True)]
    for model in models:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for step in range(3):
            optimizer.zero_grad()
            backward(model, tokens_of(B, T, seed=step))
            optimizer.step()
    models[1] = unfuse(models[1])
    for key, weight in models[0].state_dict().items():
        assert torch.allclose(models[1].state_dict()[key], weight, atol=1e-8), key


@EVERY_RUNG
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("there", "back"), [(fuse, unfuse), (unfuse, fuse)])
def test_each_undoes_the_other_to_the_last_bit(name, training, there, back):
    before, model = (
        backward(rung(name, replace(ODD, dropout=0.2), fused=back is fuse), tokens_of(B, T)).train(training) for _ in range(2)
    )
    model = back(there(model))
    assert list(model.state_dict()) == list(before.state_dict())
    for key, weight in before.named_parameters():
        assert torch.equal(model.get_parameter(key), weight), key
        assert torch.equal(model.get_parameter(key).grad, weight.grad), key
    modes = [[(key, type(part), part.training) for key, part in m.named_modules()] for m in (model, before)]
    assert modes[0] == modes[1]
    assert str(model) == str(before)  # sizes and dropout rates too
    assert torch.equal(model.eval()(tokens_of(B, T)), before.eval()(tokens_of(B, T)))


@EVERY_RUNG
def test_no_gradient_stays_no_gradient(name):
    model = unfuse(fuse(rung(name)))
    assert all(gradient is None for gradient in gradients(model).values())


@EVERY_RUNG
def test_fuse_replaces_every_written_out_part_and_unfuse_every_fused_one(name):
    model = rung(name, replace(ODD, dropout=0.2))
    assert not kinds(model) & set(FUSED)
    assert not kinds(fuse(model)) & set(WRITTEN_OUT)
    assert not kinds(unfuse(model)) & set(FUSED)


@EVERY_RUNG
def test_fuse_works_in_place_and_keeps_the_count_of_weights(name):
    model = rung(name)
    count = sum(p.numel() for p in model.parameters())
    assert fuse(model) is model
    assert sum(p.numel() for p in model.parameters()) == count
    assert unfuse(model) is model


@EVERY_RUNG
def test_neither_draws_a_random_number(name):
    model = rung(name, replace(ODD, dropout=0.2))
    before = torch.get_rng_state()
    unfuse(fuse(model))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_part_alone_can_be_fused():
    for part, kind in ((attention.Head(ODD, D), FusedHead), (block.LayerNorm(C), nn.LayerNorm)):
        part, x = lively(part), normal(B, T, C)
        expected = part(x)
        fused = fuse(part)
        assert type(fused) is kind
        assert torch.allclose(fused(x), expected, atol=1e-10)
        assert type(unfuse(fused)) is type(part)
        assert torch.equal(unfuse(fused)(x), expected)


def test_the_weights_are_one_product_heads_in_order_queries_keys_values():
    attended = lively(attention.MultiHeadAttention(ODD, nn.Linear(C, C)))
    rows = [layer.weight for kind in ("query", "key", "value") for layer in (getattr(h, kind) for h in attended.heads)]
    expected = torch.cat(rows).clone()
    fused = fuse(attended)
    assert type(fused.qkv) is nn.Linear
    assert fused.qkv.bias is None
    assert torch.equal(fused.qkv.weight, expected)


def test_replacing_goes_as_deep_as_it_must_and_no_deeper():
    """What a maker made is left alone, the rest is searched through, and training or not is kept."""
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh(), nn.ReLU()).eval(), nn.ModuleList([nn.Sigmoid()]))
    swap = {nn.ReLU: lambda old: nn.Sequential(nn.Tanh()), nn.Tanh: lambda old: nn.ReLU()}
    found = replace_modules(model, swap)
    assert found is model
    assert [type(m).__name__ for m in found.modules()] == [
        *("Sequential", "Sequential", "Tanh"),
        *("Sequential", "ReLU", "Sequential", "Tanh"),
        *("ModuleList", "Sigmoid"),
    ]
    assert [m.training for m in found.modules()] == [True] * 3 + [False] * 4 + [True] * 2


def test_the_norms_epsilon_is_kept():
    norm = block.LayerNorm(C, eps=0.5)
    assert fuse(norm).eps == 0.5
    assert unfuse(fuse(norm)).eps == 0.5


@WITH_ATTENTION
@pytest.mark.parametrize("fused", [False, True])
def test_training_with_dropout_moves_every_weight(name, fused):
    torch.manual_seed(0)
    model = rung(name, replace(ODD, dropout=0.2), fused).train()
    first, second = model(tokens_of(B, T)), model(tokens_of(B, T))
    assert torch.isfinite(first).all()
    assert not torch.equal(first, second)
    backward(model, tokens_of(32, T, seed=4))
    assert all(gradient.abs().sum() > 0 for gradient in gradients(model).values())


@EVERY_RUNG
@pytest.mark.parametrize("fused", [False, True])
def test_eval_switches_dropout_off(name, fused):
    dropping = rung(name, replace(ODD, dropout=0.9), fused)
    assert torch.allclose(dropping(tokens_of(B, T)), rung(name)(tokens_of(B, T)), atol=1e-10)


def test_fused_cross_entropy_is_the_written_out_one():
    results = []
    for loss in (cross_entropy, fused_cross_entropy):
        logits = (3 * normal(B, T, 11)).requires_grad_()
        value = loss(logits, tokens_of(B, T))
        value.backward()
        results.append((value.detach(), logits.grad))
    for written_out, fused in zip(*results, strict=True):
        assert torch.allclose(fused, written_out, atol=1e-12)


# the future


@EVERY_RUNG
@pytest.mark.parametrize("fused", [False, True])
def test_change_the_future_and_the_past_stays(name, fused):
    tokens = tokens_of(B, T)
    assert past_stays(rung(name, fused=fused), tokens, (tokens + 1 + tokens_of(B, T, V - 2, seed=5)) % V)


def test_the_law_catches_a_leak_in_a_whole_model(monkeypatch):
    monkeypatch.setattr(attention, "causal_softmax", lambda scores: torch.softmax(scores, dim=-1).tril())
    tokens = tokens_of(B, T)
    assert not past_stays(rung("layernorm"), tokens, (tokens + 3) % 11)
