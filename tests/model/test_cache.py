"""What is remembered changes the speed alone: read piece by piece is read at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gptladder.model.cache import Caches, CachingModule, KeyValueCache
from gptladder.model.fusing import fuse
from gptladder.model.kernels import attend
from gptladder.rungs import build
from laws import NAMES, ODD, B, D, H, T, normal, read_in_pieces, rung, tokens_of

WITH_ATTENTION = pytest.mark.parametrize("name", [name for name in NAMES if name not in ("bigram", "average")])
BLOCKS = pytest.mark.parametrize("name", ["layernorm", "modern"])


def remembering(model):
    return [part for part in model.modules() if isinstance(part, CachingModule)]


# keys and values


def test_append_is_concatenation():
    cache = KeyValueCache(T)
    keys, values = normal(B, H, T, D), normal(B, H, T, D, seed=1)
    for start, end in ((0, 3), (3, 4), (4, 6), (6, 7)):
        all_keys, all_values = cache.append(keys[:, :, start:end], values[:, :, start:end])
        assert torch.equal(all_keys, keys[:, :, :end])
        assert torch.equal(all_values, values[:, :, :end])
        assert cache.length == end


def test_three_held_and_one_new_are_four():
    cache = KeyValueCache(T)
    cache.append(normal(B, H, 3, D), normal(B, H, 3, D))
    assert cache.append(normal(B, H, 1, D), normal(B, H, 1, D))[0].size(2) == 4


def test_a_cleared_cache_forgets_but_keeps_its_room():
    cache = KeyValueCache(T)
    cache.append(normal(B, H, T, D), normal(B, H, T, D))
    room = cache.keys.data_ptr(), cache.values.data_ptr()
    cache.clear()
    fresh = normal(B, H, 2, D, seed=5)
    keys, values = cache.append(fresh, -fresh)
    assert torch.equal(keys, fresh)
    assert torch.equal(values, -fresh)
    assert (cache.keys.data_ptr(), cache.values.data_ptr()) == room


def test_attending_with_a_cache_is_attending_to_all_that_came():
    cache = KeyValueCache(T)
    q, k, v = (normal(B, H, T, D, seed=seed) for seed in range(3))
    pieces = [cache.attend(*(part[:, :, start:end] for part in (q, k, v))) for start, end in ((0, 3), (3, 4), (4, T))]
    assert torch.allclose(torch.cat(pieces, dim=2), attend(q, k, v), rtol=0, atol=1e-12)


@pytest.mark.parametrize("held", [0, 5, 7])
def test_too_many_tokens_are_refused_and_nothing_changes(held):
    cache, keys = KeyValueCache(T), normal(B, H, 8, D)
    if held:
        cache.append(keys[:, :, :held], keys[:, :, :held])
    with pytest.raises(ValueError, match="8 tokens do not fit a cache of 7; clear it"):
        cache.append(keys[:, :, held:], keys[:, :, held:])
    assert cache.length == held
    assert not held or torch.equal(cache.keys[:, :, :held], keys[:, :, :held])


@BLOCKS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("batch", [B, 9])
def test_a_cache_takes_on_the_dtype_of_what_comes(name, dtype, batch):
    model = fuse(build(name, ODD)).to(dtype)
    caches = Caches(model, T)
    logits = read_in_pieces(model, tokens_of(batch, T), (3, 1), caches)
    tables = [table for cache in caches.caches if isinstance(cache, KeyValueCache) for table in (cache.keys, cache.values)]
    assert [(table.dtype, *table.shape) for table in tables] == [(dtype, batch, H, T, D)] * 2 * ODD.n_layer
    assert logits.dtype == dtype


# a model's caches


@pytest.mark.parametrize("name", NAMES)
def test_one_cache_for_each_part_that_remembers(name):
    alone = {"bigram": 0, "average": 0, "attention": 1, "multihead": 1, "feedforward": 1, "modern": ODD.n_layer + 2}
    caches = Caches(rung(name, fused=True), T)
    assert len(caches.caches) == alone.get(name, ODD.n_layer)
    assert bool(caches) is (name not in ("bigram", "average"))
    assert bool(Caches(rung(name), T)) is (name == "modern")  # the written-out parts remember nothing


@WITH_ATTENTION
@pytest.mark.parametrize("batch", [1, 3, 9])
@pytest.mark.parametrize("sizes", [(7,), (1,) * 7, (3, 1, 3), (1, 6), (2, 3, 2), (6, 1)])
def test_tokens_read_in_pieces_are_tokens_read_at_once(name, sizes, batch):
    tokens = tokens_of(batch, T)
    assert torch.allclose(read_in_pieces(rung(name, fused=True), tokens, sizes), rung(name)(tokens), atol=1e-10)


@BLOCKS
def test_caches_cleared_read_another_text_as_new_ones_do(name):
    model = rung(name, fused=True)
    caches = Caches(model, T)
    read_in_pieces(model, tokens_of(B, T), (3, 4), caches)
    caches.clear()
    other = tokens_of(B, T, seed=1)
    assert torch.equal(read_in_pieces(model, other, (2, 4), caches), read_in_pieces(model, other, (2, 4)))


@BLOCKS
def test_caches_keep_what_they_hold_until_the_next_time(name):
    """Between two pieces the model reads something else, without its caches."""
    model, tokens = rung(name, fused=True), tokens_of(B, T)
    caches = Caches(model, T)
    first = read_in_pieces(model, tokens, (4,), caches)
    model(tokens_of(1, 5, seed=3))
    with torch.no_grad(), caches:
        rest = model(tokens[:, 4:], torch.arange(4, T))
    assert torch.allclose(torch.cat([first, rest], dim=1), model(tokens), atol=1e-10)


@BLOCKS
def test_two_sets_of_caches_read_two_texts_in_turns(name):
    model, texts = rung(name, fused=True), [tokens_of(B, 4), tokens_of(3, 4, seed=1)]
    both, found = [Caches(model, T), Caches(model, T)], [[], []]
    for t in range(4):
        for caches, text, answers in zip(both, texts, found, strict=True):
            with torch.no_grad(), caches:
                answers.append(model(text[:, t : t + 1], torch.tensor([t])))
    for text, answers in zip(texts, found, strict=True):
        assert torch.allclose(torch.cat(answers, dim=1), model(text), atol=1e-10)


@BLOCKS
def test_caches_are_lent_only_as_long_as_the_block_lasts(name):
    model = rung(name, fused=True)
    caches, parts = Caches(model, T), remembering(model)
    with caches as entered:
        assert entered is caches
        assert all(part.cache is cache for part, cache in zip(parts, caches.caches, strict=True))
    assert [part.cache for part in parts] == [None] * len(parts)


@BLOCKS
@pytest.mark.parametrize(("held", "new"), [(7, 1), (1, 7)])
def test_too_many_tokens_are_refused_in_words_and_the_caches_come_back(name, held, new):
    model, tokens = rung(name, fused=True), tokens_of(B, T)
    caches = Caches(model, T)
    read_in_pieces(model, tokens, (held,), caches)
    with pytest.raises(ValueError, match="8 tokens do not fit"), caches:
        model(tokens[:, :new])
    assert all(part.cache is None for part in remembering(model))


@BLOCKS
def test_a_cache_is_no_part_of_the_models_weights(name):
    model = rung(name, fused=True)
    names = list(model.state_dict())
    with Caches(model, T):
        model(tokens_of(B, 3))
        assert list(model.state_dict()) == names


def test_a_part_that_remembers_must_say_how():
    class Part(CachingModule):
        pass

    with pytest.raises(NotImplementedError):
        Caches(nn.Sequential(Part()), T)
