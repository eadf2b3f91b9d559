"""A model made ready to write computes what it computed before, and writes the same text."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gptladder.model.cache import Caches, KeyValueCache
from gptladder.model.kernels import attend
from gptladder.sampling.choose import Sampling
from gptladder.sampling.decoding import FEW_TEXTS, ROOM, BFloat16Cache, RowSum, attend_one_query, for_writing, generate_cached
from gptladder.sampling.generate import generate
from gptladder.sampling.writer import stream_text, write_texts
from gptladder.tokenizer import CharTokenizer
from laws import ODD, B, D, H, T, normal, rung, tokens_of

GREEDY = Sampling(temperature=0)
TOKENIZER = CharTokenizer("\nabcdefghij")
ROUNDING = 2.0**-8  # a number and its nearest bfloat16 differ by at most this share of it
RUNGS = pytest.mark.parametrize("name", ["attention", "gpt", "modern", "bigram"])


def ready(name, dtype=torch.float32):
    return for_writing(rung(name).float(), dtype)


def error(found, expected):
    """The root of the mean squared error, as a share of how much the expected numbers vary."""
    return ((found - expected).pow(2).mean().sqrt() / expected.std()).item()


def piece_by_piece(model, tokens):
    """The logits of the first three tokens at once, then of one after the other."""
    caches, known, logits = Caches(model, ODD.block_size), 0, []
    for piece in tokens.split([3, *[1] * (tokens.size(1) - 3)], dim=1):
        positions = torch.arange(known, known + piece.size(1))
        with caches:
            logits.append(model(piece, positions))
        known += piece.size(1)
    return torch.cat(logits, dim=1)


def tokens_written(sampler, model, prompt, count):
    return torch.stack(list(sampler(model, prompt, count, ODD.block_size, GREEDY)), dim=1)


# a weighted sum of rows


@pytest.fixture(params=[1, 2, 3], ids="{} threads".format)
def threads(request, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: request.param)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1), (3, 2)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(48, 200), (200, 48), (1, 3), (3, 1)])
def test_a_sum_of_rows_is_a_linear_layer(shape, bias, inputs, outputs, threads):
    weight, b = normal(outputs, inputs) / inputs**0.5, normal(outputs, seed=1) if bias else None
    x = normal(*shape, inputs, seed=2)
    rows = RowSum(weight.float(), None if b is None else b.float())
    y = rows(x.float())
    assert (y.shape, y.dtype) == ((*shape, outputs), torch.float32)
    assert torch.allclose(y.double(), F.linear(x, weight, b), atol=5e-6)
    assert torch.equal(rows(x.float()), y)  # the bias is not added to what is kept


@pytest.mark.parametrize("shape", [(1, 1), (2, 3)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_in_bfloat16_a_sum_is_rounded_once_at_its_end_and_once_with_its_bias(shape, bias, threads):
    weight, b = (normal(60, 40) / 40**0.5).bfloat16(), normal(60, seed=1).bfloat16() if bias else None
    x = normal(*shape, 40, seed=2).bfloat16()
    y = RowSum(weight, b)(x)
    total = F.linear(x.double(), weight.double())
    expected = total if b is None else total + b.double()
    assert y.dtype == torch.bfloat16
    assert ((y - expected).abs() <= ROUNDING * (total.abs() + expected.abs()) + 1e-5).all()


# the cache of a model in bfloat16


@pytest.mark.parametrize("texts", [1, FEW_TEXTS + 1])
def test_a_cache_that_grows_holds_what_it_held(texts):
    length = 2 * ROOM + 5
    cache = BFloat16Cache(length)
    queries, keys, values = (normal(texts, H, length, D, seed=seed) for seed in range(3))
    for _ in range(2):  # the second time in memory that holds the first
        cache.clear()
        start = 0
        for new in (3, ROOM - 4, *[1] * 5, ROOM - 1, 1, 1):
            end = start + new
            found = cache.attend(*(part[:, :, start:end] for part in (queries, keys, values)))
            assert torch.allclose(found, attend(queries, keys, values)[:, :, start:end], rtol=0, atol=1e-12)
            assert cache.length == end
            start = end
        assert start == length
        keys, values = -keys, values.flip(0)


def test_one_texts_keys_lie_right_behind_another_s():
    cache = BFloat16Cache(8 * ROOM)
    shape = FEW_TEXTS + 1, H, ROOM + 1, D
    cache.append(normal(*shape), normal(*shape, seed=1))
    for part in (cache.keys, cache.values):
        assert part.shape == (FEW_TEXTS + 1, H, 2 * ROOM, D)
        assert part.is_contiguous()


def test_what_memory_held_before_is_not_read():
    cache, tokens = BFloat16Cache(T), normal(FEW_TEXTS + 1, H, T, D)
    cache.append(tokens, tokens)
    cache.memory.fill_(torch.nan)
    cache.clear()
    assert torch.equal(cache.attend(*[tokens[:, :, :1]] * 3), tokens[:, :, :1])  # one key has all the weight


@pytest.mark.parametrize(("texts", "kept"), [(1, torch.float32), (FEW_TEXTS, torch.float32), (FEW_TEXTS + 1, torch.bfloat16)])
def test_few_texts_are_kept_in_float32_and_many_in_bfloat16(texts, kept):
    cache, tokens = BFloat16Cache(T), normal(texts, H, 3, D).bfloat16()
    keys, values = cache.append(tokens, -tokens)
    assert keys.dtype == values.dtype == kept
    assert torch.equal(keys.bfloat16(), tokens)
    assert torch.equal(values.bfloat16(), -tokens)


def test_a_query_in_bfloat16_on_keys_in_float32_is_answered_in_bfloat16():
    cache = BFloat16Cache(7)
    q, k, v = (normal(2, 3, length, 8, seed=seed).bfloat16() for seed, length in enumerate((1, 7, 7)))
    with torch.no_grad():
        cache.append(k[:, :, :6], v[:, :, :6])
        found = cache.attend(q, k[:, :, 6:], v[:, :, 6:])
        expected = attend(q.float(), k.float(), v.float())
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected, atol=2**-8)


@pytest.mark.parametrize("texts", [1, FEW_TEXTS + 1])
def test_too_many_tokens_are_refused_and_what_is_held_stays(texts):
    cache, tokens = BFloat16Cache(T), normal(texts, H, T, D).bfloat16()
    cache.append(tokens, tokens)
    with pytest.raises(ValueError, match="8 tokens do not fit a cache of 7; clear it"):
        cache.append(tokens[:, :, :1], tokens[:, :, :1])
    assert cache.length == T
    assert torch.equal(cache.keys.bfloat16(), tokens)


@pytest.mark.parametrize("seen", [1, 5, 7])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 0.03)])
def test_one_query_attends_to_the_keys_that_are_there(seen, dtype, tolerance):
    q, k, v = (normal(2, 3, length, 8, seed=seed).to(dtype) for seed, length in enumerate((1, 7, 7)))
    k[:, :, seen:] = v[:, :, seen:] = 100.0
    found = attend_one_query(q, k, v, seen)
    expected = attend(*(part.double() for part in (q, k[:, :, :seen], v[:, :, :seen])))
    assert found.dtype == dtype
    assert torch.allclose(found.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["gpt", "modern"])
def test_what_writes_in_bfloat16_has_that_cache_and_nothing_else_has(name):
    def kinds(dtype):
        return {type(cache) for cache in Caches(ready(name, dtype), T).caches if isinstance(cache, KeyValueCache)}

    assert kinds(torch.bfloat16) == {BFloat16Cache}
    assert kinds(torch.float32) == {KeyValueCache}


# the model


@RUNGS
@pytest.mark.parametrize("shape", [(1, 1), (1, T), (B, T)], ids=str)
def test_the_logits_are_those_of_the_model(name, shape):
    tokens = tokens_of(*shape)
    expected = rung(name)(tokens)
    assert torch.allclose(ready(name)(tokens).double(), expected, atol=2e-5)


@pytest.mark.parametrize("name", ["attention", "gpt", "modern"])
@pytest.mark.parametrize("batch", [1, B])
def test_the_logits_are_those_of_the_model_also_piece_by_piece(name, batch):
    tokens = tokens_of(batch, T)
    with torch.no_grad():
        assert torch.allclose(piece_by_piece(ready(name), tokens).double(), rung(name)(tokens), atol=2e-5)


@RUNGS
@pytest.mark.parametrize("read", [lambda model, tokens: model(tokens), piece_by_piece], ids=["at once", "piece by piece"])
@pytest.mark.parametrize("batch", [1, B, FEW_TEXTS + 1])
@torch.no_grad()
def test_bfloat16_gives_close_logits(name, batch, read):
    tokens = tokens_of(batch, T)
    model = ready(name, torch.bfloat16)
    expected, found = rung(name)(tokens), (model(tokens) if name == "bigram" else read(model, tokens))
    if name == "bigram":  # left as it is: it is read anew at each step
        assert torch.allclose(found.double(), expected, atol=1e-6)
    else:
        assert found.dtype == torch.bfloat16
        assert 0 < error(found, expected) < 0.03


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_capped_logits_stay_capped(dtype):
    model = rung("modern").float()
    model.unembed.weight.data *= 30  # sums of about 45
    tokens = tokens_of(1, T)
    expected = model(tokens)
    found = for_writing(model, dtype)(tokens)
    assert 14 < found.abs().max() <= 15
    assert error(found, expected) < (1e-5 if dtype == torch.float32 else 0.03)


def test_it_is_the_same_model_in_place_and_writes_without_dropout():
    model = rung("gpt").float().train()
    assert for_writing(model) is model
    assert not any(part.training for part in model.modules())
    assert not any(type(part) is nn.Linear for part in model.modules())


# the text


@RUNGS
@pytest.mark.parametrize("length", [1, 5, 20])
def test_it_writes_what_the_written_out_model_writes(name, length):
    """Past three overflows of the context."""
    prompt = tokens_of(1, length)
    expected = tokens_written(generate, rung(name), prompt, 25)
    assert torch.equal(tokens_written(generate_cached, ready(name), prompt, 25), expected)


@RUNGS
def test_several_texts_side_by_side_are_each_by_itself(name):
    prompts, model = tokens_of(5, 4), ready(name)
    together = tokens_written(generate_cached, model, prompts, 20)
    alone = [tokens_written(generate_cached, model, prompt.unsqueeze(0), 20) for prompt in prompts]
    assert torch.equal(together, torch.cat(alone))


@RUNGS
def test_greedy_samples_are_all_the_one_text(name):
    model = ready(name)
    settings = {"prompt": "badge", "count": 20, "sampling": GREEDY}
    one = "".join(stream_text(model, TOKENIZER, ODD.block_size, **settings))
    assert write_texts(model, TOKENIZER, ODD.block_size, 3, **settings) == [one] * 3
