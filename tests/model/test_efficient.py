"""Fused is written out: same function, same gradients; and a cache that changes speed alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from gptladder.model import attention, block, dropout
from gptladder.model.efficient import (
    FusedAttention,
    FusedHead,
    KeyValueCache,
    fuse,
    fused_cross_entropy,
    lent,
    new_caches,
    unfuse,
)
from gptladder.rungs import build
from gptladder.training.loss import cross_entropy
from laws import NAMES, ODD, B, C, D, H, T, lively, normal, past_stays, rung, tokens_of

EVERY_RUNG = pytest.mark.parametrize("name", NAMES)
WITH_ATTENTION = pytest.mark.parametrize("name", [name for name in NAMES if name not in ("bigram", "average")])
WRITTEN_OUT = (attention.Head, attention.MultiHeadAttention, block.LayerNorm, dropout.Dropout)
FUSED = (FusedAttention, FusedHead, nn.LayerNorm, nn.Dropout)


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
    assert past_stays(rung(name, fused=fused), tokens, (tokens + 1 + tokens_of(B, T, 9, seed=5)) % 11)


def test_the_law_catches_a_leak_in_a_whole_model(monkeypatch):
    monkeypatch.setattr(attention, "causal_softmax", lambda scores: torch.softmax(scores, dim=-1).tril())
    tokens = tokens_of(B, T)
    assert not past_stays(rung("layernorm"), tokens, (tokens + 3) % 11)


# the cache


def test_append_is_concatenation():
    cache = KeyValueCache(B, H, T, D, like=normal(1))
    keys, values = normal(B, H, T, D), normal(B, H, T, D, seed=1)
    for start, end in ((0, 3), (3, 4), (4, 6), (6, 7)):
        all_keys, all_values = cache.append(keys[:, :, start:end], values[:, :, start:end])
        assert torch.equal(all_keys, keys[:, :, :end])
        assert torch.equal(all_values, values[:, :, :end])
        assert cache.length == end


def test_three_held_and_one_new_are_four():
    cache = KeyValueCache(B, H, T, D, like=normal(1))
    cache.append(normal(B, H, 3, D), normal(B, H, 3, D))
    assert cache.append(normal(B, H, 1, D), normal(B, H, 1, D))[0].size(2) == 4


def test_a_cleared_cache_forgets():
    cache = KeyValueCache(B, H, T, D, like=normal(1))
    cache.append(normal(B, H, T, D), normal(B, H, T, D))
    cache.length = 0
    fresh = normal(B, H, 2, D, seed=5)
    assert torch.equal(cache.append(fresh, -fresh)[0], fresh)
    assert torch.equal(cache.values[:, :, :2], -fresh)


def test_too_many_tokens_are_refused_and_nothing_changes():
    cache = KeyValueCache(B, H, T, D, like=normal(1))
    held, _ = cache.append(normal(B, H, 5, D), normal(B, H, 5, D))
    held = held.clone()
    with pytest.raises(ValueError, match="8 tokens do not fit a cache of 7; clear it"):
        cache.append(normal(B, H, 3, D), normal(B, H, 3, D))
    assert cache.length == 5
    assert torch.equal(cache.keys[:, :, :5], held)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_cache_has_the_dtype_of_its_model(dtype):
    caches = new_caches(fuse(build("layernorm", ODD)).to(dtype), B, T)
    assert [cache.keys.dtype for cache in caches] == [dtype] * ODD.n_layer
    assert caches[0].keys.shape == caches[0].values.shape == (B, H, T, D)


@EVERY_RUNG
def test_one_cache_for_each_fused_attention(name):
    assert new_caches(rung(name), B, T) == []
    expected = {"bigram": 0, "average": 0, "attention": 1, "multihead": 1, "feedforward": 1}.get(name, ODD.n_layer)
    assert len(new_caches(rung(name, fused=True), B, T)) == expected


@WITH_ATTENTION
@pytest.mark.parametrize("sizes", [(7,), (1,) * 7, (3, 1, 3), (1, 6), (2, 3, 2), (6, 1)])
@torch.no_grad()
def test_tokens_read_in_pieces_are_tokens_read_at_once(name, sizes):
    model, tokens = rung(name, fused=True), tokens_of(3, T)
    pieces, known = [], 0
    with lent(model, new_caches(model, 3, T)):
        for size in sizes:
            places = torch.arange(known, known + size)
            pieces.append(model(tokens[:, places], places))
            known += size
    assert torch.allclose(torch.cat(pieces, dim=1), rung(name)(tokens), atol=1e-10)


@torch.no_grad()
def test_one_new_token_on_three_old_is_a_mask_of_1_by_4(monkeypatch):
    masks, kernel = [], nn.functional.scaled_dot_product_attention

    def noted(*tensors, attn_mask, **settings):
        masks.append(attn_mask)
        return kernel(*tensors, attn_mask=attn_mask, **settings)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", noted)
    model, tokens = rung("attention", fused=True), tokens_of(B, 4)
    with lent(model, new_caches(model, B, T)):
        model(tokens[:, :3], torch.arange(3))
        model(tokens[:, 3:], torch.arange(3, 4))
    assert masks[0].tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert masks[1].tolist() == [[True, True, True, True]]


def test_is_causal_would_not_do_with_a_cache():
    """The trap this mask avoids: torch's is_causal lines queries up with the first keys, not with the last."""
    q, k, v = normal(B, H, 1, D), normal(B, H, 4, D, seed=1), normal(B, H, 4, D, seed=2)
    wrong = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    right = nn.functional.scaled_dot_product_attention(q, k, v)  # one new token sees all four
    assert (wrong - right).abs().max() > 1e-2


def test_caches_are_lent_only_as_long_as_the_block_lasts():
    model = rung("layernorm", fused=True)
    caches, parts = new_caches(model, B, T), [m for m in model.modules() if isinstance(m, FusedAttention)]
    with lent(model, caches):
        assert [part.cache for part in parts] == caches
    assert [part.cache for part in parts] == [None] * len(parts)


def test_caches_come_back_after_an_error():
    model = rung("layernorm", fused=True)
    caches = new_caches(model, B, T)
    caches[-1].length = 1
    with pytest.raises(ValueError, match="8 tokens do not fit"), lent(model, caches):
        model(tokens_of(B, T))
    assert all(part.cache is None for part in model.modules() if isinstance(part, FusedAttention))


def test_a_wrong_number_of_caches_is_refused_and_none_stays():
    model = rung("layernorm", fused=True)
    with pytest.raises(ValueError, match="zip"), lent(model, new_caches(model, B, T)[:1]):
        pass
    assert all(part.cache is None for part in model.modules() if isinstance(part, FusedAttention))


def test_a_cache_is_no_part_of_the_models_weights():
    model = rung("layernorm", fused=True)
    names = list(model.state_dict())
    with lent(model, new_caches(model, B, T)):
        assert list(model.state_dict()) == names
