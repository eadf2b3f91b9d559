"""Attention and dropout as one call each, against sums written out, at every way they take."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import combinations

import pytest
import torch

from gptladder.model import kernels
from gptladder.model.kernels import TiledAttention, attend, drop, keep_mask
from laws import normal

# B, H, T, S, D: all keys are the queries' own, some are older, one new token, one alone
SIZES = pytest.mark.parametrize("sizes", [(2, 3, 7, 7, 5), (2, 3, 4, 7, 5), (3, 2, 1, 7, 5), (2, 3, 1, 1, 5), (1, 5, 3, 4, 1)])
# (B * H) heads at a time: all at once, or tiles of a few, the last of them smaller or larger than one
WAYS = pytest.mark.parametrize("heads_in_a_tile", [None, 0, 1, 4, 100])
RATES = (0.1, 0.2, 0.5, 0.9)


def triple(sizes):
    batch, heads, tokens, keys, width = sizes
    shapes = ((tokens, 0), (keys, 1), (keys, 2))
    return [normal(batch, heads, length, width, seed=seed).requires_grad_() for length, seed in shapes]


def by_hand(q, k, v):
    """Number by number, in plain Python: the queries are the last of the keys' tokens."""

    def head(q, k, v):
        out = []
        for t, query in enumerate(q):
            seen = range(len(k) - len(q) + t + 1)
            scores = [sum(a * b for a, b in zip(query, k[s], strict=True)) / math.sqrt(len(query)) for s in seen]
            total = sum(math.exp(score) for score in scores)
            out.append([sum(math.exp(scores[s]) / total * v[s][d] for s in seen) for d in range(len(query))])
        return out

    texts = [
        [head(*parts) for parts in zip(*heads, strict=True)] for heads in zip(*(x.tolist() for x in (q, k, v)), strict=True)
    ]
    return torch.tensor(texts, dtype=torch.float64)


def written_out(q, k, v, kept=None, rate=0.0):
    """Row by row and without a mask, for autograd to take the gradient of."""
    rows = []
    for t in range(q.size(-2)):
        end = k.size(-2) - q.size(-2) + t + 1
        scores = q[:, :, t : t + 1] @ k[:, :, :end].mT / math.sqrt(q.size(-1))
        weights = torch.softmax(scores, dim=-1)
        if kept is not None:
            weights = weights * kept[:, :, t : t + 1, :end] / (1 - rate)
        rows.append(weights @ v[:, :, :end])
    return torch.cat(rows, dim=-2)


def take(monkeypatch, sizes, heads_in_a_tile):
    """Sends attention of these sizes the way that is to be tested."""
    if heads_in_a_tile is not None:
        monkeypatch.setattr(kernels, "BYTES_AT_ONCE", 0)
        monkeypatch.setattr(kernels, "TILE", heads_in_a_tile * sizes[2] * sizes[3])


def drop_these(monkeypatch, kept):
    """`keep_mask` gives these (B * H, T, S) one tile after the other; returns how many entries each call got."""
    asked = []

    def given(like, rate):
        start = sum(asked)
        asked.append(len(like))
        return kept[start : start + len(like)].to(like.dtype)

    monkeypatch.setattr(kernels, "keep_mask", given)
    return asked


def results(function, sizes, upstream):
    """The function's values and its three gradients."""
    inputs = triple(sizes)
    out = function(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, upstream)]


def upstream_of(sizes):
    return normal(*sizes[:3], sizes[4], seed=3)


# attention


@SIZES
@WAYS
def test_attention_is_the_loop(sizes, heads_in_a_tile, monkeypatch):
    take(monkeypatch, sizes, heads_in_a_tile)
    out = attend(*triple(sizes))
    assert torch.allclose(out, by_hand(*triple(sizes)), atol=1e-12)
    assert (out.grad_fn.next_functions[0][0].name() == "TiledAttentionBackward") is (heads_in_a_tile is not None)


@SIZES
def test_without_gradients_it_is_the_loop_too(sizes):
    with torch.no_grad():
        assert torch.allclose(attend(*triple(sizes)), by_hand(*triple(sizes)), atol=1e-12)


@SIZES
@WAYS
def test_gradients_are_those_of_the_plain_formula(sizes, heads_in_a_tile, monkeypatch):
    take(monkeypatch, sizes, heads_in_a_tile)
    for ours, theirs in zip(*(results(f, sizes, upstream_of(sizes)) for f in (attend, written_out)), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


@SIZES
@WAYS
@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_with_dropout_values_and_gradients_are_those_of_the_plain_formula(sizes, heads_in_a_tile, rate, monkeypatch):
    take(monkeypatch, sizes, heads_in_a_tile)
    batch, heads, tokens, keys, _ = sizes
    kept = torch.rand(batch, heads, tokens, keys, generator=torch.Generator().manual_seed(4)) >= rate
    asked = drop_these(monkeypatch, kept.flatten(0, 1))
    ours = results(lambda *qkv: attend(*qkv, rate), sizes, upstream_of(sizes))
    theirs = results(lambda *qkv: written_out(*qkv, kept, rate), sizes, upstream_of(sizes))
    for mine, plain in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, plain, atol=1e-12)
    rows = batch * heads if heads_in_a_tile is None else max(1, heads_in_a_tile)
    assert asked == [min(rows, batch * heads - start) for start in range(0, batch * heads, rows)]


@pytest.mark.parametrize(("tokens", "keys"), [(3, 3), (2, 4), (1, 3)])
@pytest.mark.parametrize("heads_in_a_tile", [1, 2, 9])
def test_the_tiles_gradient_is_the_slope(tokens, keys, heads_in_a_tile, monkeypatch):
    sizes = (1, 5, tokens, keys, 2)
    take(monkeypatch, sizes, heads_in_a_tile)
    mask = torch.full((tokens, keys), float("-inf"), dtype=torch.float64).triu(keys - tokens + 1)
    inputs = [part.detach().flatten(0, 1).requires_grad_() for part in triple(sizes)]
    assert torch.autograd.gradcheck(lambda q, k, v: TiledAttention.apply(q, k, v, mask, 0.0), inputs, atol=1e-7)


def test_the_whole_way_is_taken_up_to_its_limit_and_the_tiles_beyond(monkeypatch):
    monkeypatch.setattr(kernels, "BYTES_AT_ONCE", 2 * 3 * 7 * 7 * 8)  # bytes, of float64
    ways = [attend(*triple((2, 3, t, 7, 5))).grad_fn.next_functions[0][0].name() for t in (7, 6)]
    ways.append(attend(*triple((2, 3, 7, 8, 5))).grad_fn.next_functions[0][0].name())
    assert [way == "TiledAttentionBackward" for way in ways] == [False, False, True]


@WAYS
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_one_seed_gives_the_same_attention_twice(heads_in_a_tile, rate, monkeypatch):
    sizes = (2, 3, 7, 7, 5)
    take(monkeypatch, sizes, heads_in_a_tile)
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(attend(*triple(sizes), rate))
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2]) is (rate == 0)


@WAYS
@SIZES
def test_change_the_future_and_the_past_stays(sizes, heads_in_a_tile, monkeypatch):
    take(monkeypatch, sizes, heads_in_a_tile)
    q, k, v = triple(sizes)
    before, tokens, keys = attend(q, k, v), sizes[2], sizes[3]
    for t in range(1, tokens):
        cut = keys - tokens + t
        others = [torch.cat([x[:, :, :cut], normal(*x.shape, seed=9)[:, :, cut:]], dim=2) for x in (k, v)]
        moved = (attend(q, *others) - before).abs().amax(dim=(0, 1, 3))
        assert moved[:t].max() == 0
        assert moved[t:].min() > 1e-3
    assert torch.isfinite(before).all()


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("tiled", [True, False])
def test_the_only_weight_is_dropped_whole_or_scaled(gradients, tiled, monkeypatch):
    """One token on itself has one weight, so its answer is 0 or value / (1 - rate)."""
    sizes = (2000, 1, 1, 1, 5)
    take(monkeypatch, sizes, 300 if tiled else None)
    torch.manual_seed(0)
    q, k, v = triple(sizes)
    with torch.set_grad_enabled(gradients):
        out = attend(q, k, v, 0.25)
    dropped = (out == 0).all(dim=-1).flatten()
    assert torch.allclose(out[~dropped], v[~dropped] / 0.75, atol=1e-12)
    assert abs(dropped.double().mean().item() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 2000)


def test_is_causal_would_not_do_with_older_keys():
    """The trap avoided: torch's is_causal lines queries up with the first keys, not with the last."""
    q, k, v = triple((2, 3, 1, 4, 5))
    wrong = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert (wrong - by_hand(q, k, v)).abs().max() > 1e-2


@pytest.mark.parametrize("tokens", [1, 4, 7])
def test_layouts_as_they_come_out_of_one_product_are_read_right(tokens):
    """(B, T, 3, H, D) permuted, not contiguous, as the modules pass them."""
    qkv = normal(2, tokens, 3, 3, 5).requires_grad_()
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    assert torch.allclose(attend(q, k, v), by_hand(q, k, v), atol=1e-12)


# dropout


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("shape", [(100_003,), (7, 11, 1301), (1, 99_991)])
def test_the_share_of_survivors_is_what_the_rate_leaves(shape, rate):
    torch.manual_seed(0)
    kept = keep_mask(torch.empty(shape), rate)
    assert kept.shape == shape
    assert kept.unique().tolist() == [0, 1]
    assert abs(kept.double().mean().item() - (1 - rate)) < 4 * math.sqrt(rate * (1 - rate) / kept.numel())


@pytest.mark.parametrize("rate", RATES)
def test_four_that_are_drawn_together_survive_each_by_itself(rate):
    torch.manual_seed(0)
    kept = keep_mask(torch.empty(400_000), rate).double().view(-1, 4)
    spread = math.sqrt(rate * (1 - rate) / len(kept))
    assert ((kept.mean(0) - (1 - rate)).abs() < 4.5 * spread).all()
    both = (1 - rate) ** 2
    for i, j in combinations(range(4), 2):
        assert abs((kept[:, i] * kept[:, j]).mean().item() - both) < 4.5 * math.sqrt(both * (1 - both) / len(kept))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_survivors_are_numbers_of_the_kind_they_are_multiplied_with_and_the_same_ones(dtype):
    torch.manual_seed(0)
    expected = keep_mask(torch.empty(1001), 0.3)
    torch.manual_seed(0)
    kept = keep_mask(torch.empty(1001, dtype=dtype), 0.3)
    assert kept.dtype == dtype
    assert torch.equal(kept.float(), expected)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2,), (3,), (5,), (3, 5, 7), (2, 0, 3)])
def test_any_number_of_elements(shape):
    kept = keep_mask(torch.empty(shape), 0.0)
    assert kept.shape == shape
    assert kept.all()


@pytest.mark.parametrize("rate", [0.9999, 0.99999, 0.999995, 1 - 1e-12])
def test_a_rate_of_almost_one_keeps_almost_nothing(rate):
    torch.manual_seed(0)
    assert keep_mask(torch.empty(10_001), rate).double().mean() < 1e-3


def test_each_call_draws_others_and_a_seed_repeats():
    torch.manual_seed(1)
    first, second = keep_mask(torch.empty(101), 0.5), keep_mask(torch.empty(101), 0.5)
    torch.manual_seed(1)
    assert torch.equal(keep_mask(torch.empty(101), 0.5), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("rate", RATES)
def test_drop_keeps_the_mean_and_scales_the_survivors(rate):
    torch.manual_seed(0)
    x = normal(301, 333).abs().mT  # not contiguous
    y = drop(x, rate)
    kept = y != 0
    assert torch.allclose(y[kept], x[kept] / (1 - rate), atol=1e-12)
    spread = (x.square().mean() * rate / (1 - rate) / x.numel()).sqrt()
    assert (y.mean() - x.mean()).abs() < 4 * spread


def test_drop_passes_the_gradient_where_the_number_passed():
    torch.manual_seed(0)
    x, upstream = normal(7, 11).requires_grad_(), normal(7, 11, seed=1)
    y = drop(x, 0.3)
    y.backward(upstream)
    assert torch.allclose(x.grad, torch.where(y != 0, upstream / 0.7, 0.0), atol=1e-12)
    assert 0 < (y == 0).sum() < 77


def test_drop_at_rate_zero_changes_nothing():
    x = normal(3, 5)
    assert torch.equal(drop(x, 0.0), x)


# imports


def test_importing_the_kernels_does_not_load_torch_s_compiler():
    script = "import sys, gptladder.model.fusing; print('torch._dynamo' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout.strip() == "False", result.stderr
