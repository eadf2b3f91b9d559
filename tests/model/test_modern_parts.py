"""What the field changed, part by part, against sums in plain Python."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from gptladder.model.block import Block, LayerNorm
from gptladder.model.modern_parts import (
    CappedLinear,
    ModernAttention,
    ModernBlock,
    ModernFeedForward,
    NoRotation,
    RMSNorm,
    Rotary,
    SoftCap,
    SquaredReLU,
    StackedLinear,
    start_from_zero,
)
from gptladder.rungs import build
from gptladder.training.loss import cross_entropy, uniform_loss
from laws import ODD, B, C, D, H, T, V, lively, normal, past_stays, tokens_of

LENGTHS = pytest.mark.parametrize("length", [1, 2, T])
HEADS = pytest.mark.parametrize("heads_like", ["modern", "classic"])


@pytest.fixture
def _doubles():
    """Tables are made in float64, as precise as the sums by hand."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


PRECISELY = pytest.mark.usefixtures("_doubles")


def numbers(nested):
    return torch.tensor(nested, dtype=torch.float64)


def linear(weight, vector):
    return [sum(w * n for w, n in zip(row, vector, strict=True)) for row in weight]


def normed(vector):
    return [n / math.sqrt(sum(m * m for m in vector) / len(vector)) for n in vector]


def turned(vector, position):
    half, out = len(vector) // 2, list(vector)
    for i in range(half):
        angle = position * 1000 ** (-i / half)
        left, right = vector[i], vector[i + half]
        out[i] = left * math.cos(angle) - right * math.sin(angle)
        out[i + half] = left * math.sin(angle) + right * math.cos(angle)
    return out


def attended(attention, x, modern):
    """One text (T, C), head by head and number by number."""
    queries, keys, values = attention.qkv.weight.tolist()
    rows = [[] for _ in x]
    for h in range(H):
        mine = slice(h * D, (h + 1) * D)
        q, k, v = ([linear(weight[mine], token) for token in x] for weight in (queries, keys, values))
        if modern:
            q, k = ([turned(normed(vector), t) for t, vector in enumerate(part)] for part in (q, k))
        for t in range(len(x)):
            fits = [math.exp(sum(a * b for a, b in zip(q[t], k[s], strict=True)) / math.sqrt(D)) for s in range(t + 1)]
            rows[t] += [sum(fit * v[s][d] for s, fit in enumerate(fits)) / sum(fits) for d in range(D)]
    return [linear(attention.project.weight.tolist(), row) for row in rows]


def modern_attention(heads_like="modern", config=ODD):
    parts = (RMSNorm(D), Rotary(D, T)) if heads_like == "modern" else (nn.Identity(), NoRotation())
    return lively(ModernAttention(config, *parts))


def modern_block(config=ODD):
    feed_forward = ModernFeedForward(config, SquaredReLU())
    return lively(ModernBlock(C, RMSNorm, modern_attention(config=config), feed_forward))


# norm


@pytest.mark.parametrize("shape", [(C,), (B, C), (B, T, C), (1, 1, C), (B, H, T, C)])
def test_rms_norm_by_hand(shape):
    x = 3 * normal(*shape) + 2
    expected = [normed(row) for row in x.view(-1, C).tolist()]
    assert torch.allclose(RMSNorm(C)(x), numbers(expected).view(shape), atol=1e-10)


def test_rms_norm_worked_number():
    assert torch.allclose(RMSNorm(2)(torch.tensor([1.0, 7.0])), torch.tensor([0.2, 1.4]), atol=1e-6)


def test_rms_norm_learns_nothing_does_not_see_a_scale_and_bears_zeros():
    norm, x = RMSNorm(C), normal(B, T, C)
    assert list(norm.parameters()) == []
    assert torch.allclose(norm(1000 * x), norm(x), atol=1e-12)
    assert torch.equal(norm(torch.zeros(1, C)), torch.zeros(1, C))


# positions


@PRECISELY
@LENGTHS
@pytest.mark.parametrize("head_size", [2, 6, D])
def test_rotary_by_hand(length, head_size):
    x = normal(B, H, length, head_size)
    expected = [[[turned(row, t) for t, row in enumerate(head)] for head in text] for text in x.tolist()]
    assert torch.allclose(Rotary(head_size, T)(x), numbers(expected), atol=1e-12)


def test_rotary_leaves_position_0_as_it_is_and_every_length():
    x = normal(B, H, T, D)
    y = Rotary(D, T)(x)
    assert torch.equal(y[:, :, 0], x[:, :, 0])
    assert torch.allclose(y.norm(dim=-1), x.norm(dim=-1), atol=1e-6)
    assert (y - x)[:, :, 1:].abs().amax(dim=-1).min() > 1e-2


@PRECISELY
def test_how_well_a_key_fits_depends_on_the_distance_alone():
    rotary, query, key = Rotary(D, T), normal(D), normal(D, seed=1)
    q, k = (rotary(vector.expand(1, 1, T, D))[0, 0] for vector in (query, key))
    scores = q @ k.T  # (T, T)
    for distance in range(1 - T, T):
        assert (scores.diagonal(distance) - scores.diagonal(distance)[0]).abs().max() < 1e-12
    assert torch.cdist(scores[0, :, None], scores[0, :, None]).add(torch.eye(T)).min() > 1e-3  # and no two are alike


@pytest.mark.parametrize("start", range(T))
def test_rotary_from_a_position_on_is_the_rest_of_the_whole(start):
    rotary, x = Rotary(D, T), normal(B, H, T, D)
    assert torch.equal(rotary(x[:, :, start:], start), rotary(x)[:, :, start:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rotary_keeps_the_dtype_and_adds_nothing_to_the_weights(dtype):
    rotary = Rotary(D, T)
    assert rotary(normal(B, H, T, D).to(dtype)).dtype == dtype
    assert dict(rotary.state_dict()) == {}


@pytest.mark.parametrize("head_size", [1, 5])
def test_rotary_refuses_heads_that_cannot_be_paired(head_size):
    with pytest.raises(ValueError, match=f"^head_size is {head_size}; it must be even, since rotary positions turn"):
        Rotary(head_size, T)


@pytest.mark.parametrize(("start", "length"), [(0, 8), (1, 7), (7, 1)])
def test_rotary_refuses_positions_that_it_has_not(start, length):
    with pytest.raises(ValueError, match="8 tokens do not fit 7 positions"):
        Rotary(D, T)(normal(B, H, length, D), start)


def test_no_rotation_changes_nothing():
    x = normal(B, H, T, D)
    assert NoRotation()(x, 3) is x


# attention


@pytest.mark.parametrize(("count", "inputs", "outputs"), [(1, 3, 5), (3, 5, 2), (2, 4, 4)])
def test_stacked_linear_layers_are_one_after_the_other(count, inputs, outputs):
    layers, x = lively(StackedLinear(count, inputs, outputs)), normal(B, T, inputs)
    expected = [
        [[n for weight in layers.weight.tolist() for n in linear(weight, token)] for token in text] for text in x.tolist()
    ]
    assert torch.allclose(layers(x), numbers(expected), atol=1e-12)


@PRECISELY
@LENGTHS
@HEADS
@pytest.mark.parametrize("gradients", [True, False])
def test_attention_is_the_loop(length, heads_like, gradients):
    attention, x = modern_attention(heads_like), normal(B, length, C)
    expected = numbers([attended(attention, text, heads_like == "modern") for text in x.tolist()])
    with torch.set_grad_enabled(gradients):
        assert torch.allclose(attention(x), expected, atol=1e-10)


def test_attention_does_not_see_how_long_queries_and_keys_are():
    attention, x = modern_attention(), normal(B, T, C)
    expected = attention(x)
    attention.qkv.weight.data[:2] *= 1000
    assert torch.allclose(attention(x), expected, atol=1e-10)


def test_attention_knows_positions():
    """Unlike the classic one: the order of the earlier tokens matters to the last."""
    x = normal(B, T, C)
    mixed = x[:, [3, 0, 5, 1, 4, 2, 6]]
    moved = [(modern_attention(kind)(mixed) - modern_attention(kind)(x))[:, -1].abs().max() for kind in ("modern", "classic")]
    assert moved[0] > 1e-2
    assert moved[1] < 1e-12


# feed-forward


def test_squared_relu_by_hand():
    x = normal(3, 5)
    expected = [[max(0.0, n) ** 2 for n in row] for row in x.tolist()]
    assert torch.allclose(SquaredReLU()(x), numbers(expected), atol=1e-12)
    assert SquaredReLU()(torch.tensor([3.0, -3.0])).tolist() == [9.0, 0.0]


@LENGTHS
@pytest.mark.parametrize(
    ("activation", "by_hand"),
    [(SquaredReLU, lambda n: max(0.0, n) ** 2), (nn.ReLU, lambda n: max(0.0, n)), (nn.Tanh, math.tanh)],
)
def test_feed_forward_by_hand(length, activation, by_hand):
    layer, x = lively(ModernFeedForward(ODD, activation())), normal(B, length, C)
    expand, contract = layer.expand.weight.tolist(), layer.contract.weight.tolist()
    expected = [[linear(contract, [by_hand(n) for n in linear(expand, token)]) for token in text] for text in x.tolist()]
    assert layer.expand.out_features == 4 * C
    assert torch.allclose(layer(x), numbers(expected), atol=1e-10)


# blocks


@PRECISELY
@LENGTHS
def test_block_by_hand(length):
    block, x = modern_block(), normal(B, length, C)
    expand, contract = block.feed_forward.expand.weight.tolist(), block.feed_forward.contract.weight.tolist()
    for text, found in zip(x.tolist(), block(x), strict=True):
        looked = attended(block.attention, [normed(token) for token in text], modern=True)
        middle = [[n + a for n, a in zip(*both, strict=True)] for both in zip(text, looked, strict=True)]
        thought = [linear(contract, [max(0.0, n) ** 2 for n in linear(expand, normed(token))]) for token in middle]
        expected = [[n + f for n, f in zip(*both, strict=True)] for both in zip(middle, thought, strict=True)]
        assert torch.allclose(found, numbers(expected), atol=1e-9)


def test_a_block_of_classic_parts_is_the_classic_block():
    """The same weights in both, the classic one's biases at zero."""
    classic = lively(Block(ODD))
    block = lively(ModernBlock(C, LayerNorm, modern_attention("classic"), ModernFeedForward(ODD, nn.ReLU())))
    for layer in (classic.attention.project, classic.feed_forward.expand, classic.feed_forward.contract):
        layer.bias.data.zero_()
    for i, kind in enumerate(("query", "key", "value")):
        block.attention.qkv.weight.data[i] = torch.cat([getattr(head, kind).weight for head in classic.attention.heads])
    for name, weight in block.named_parameters():
        if "qkv" not in name:
            weight.data.copy_(classic.get_parameter(name))
    x = normal(B, T, C)
    assert torch.allclose(block(x), classic(x), atol=1e-10)


def test_change_the_future_and_the_past_stays():
    x, other = normal(B, T, C), normal(B, T, C, seed=1)
    assert past_stays(modern_attention(), x, other)
    assert past_stays(modern_block(), x, other)


def test_dropout_acts_in_training_and_only_there():
    block, x = modern_block(replace(ODD, dropout=0.3)), normal(B, T, C)
    torch.manual_seed(0)
    assert not torch.equal(block.train()(x), block(x))
    assert torch.equal(block.eval()(x), modern_block()(x))


# logits


@pytest.mark.parametrize("limit", [15.0, 2.0])
def test_cap_by_hand(limit):
    x = 3 * limit * normal(3, 5)
    y = SoftCap(limit)(x)
    assert torch.allclose(y, numbers([[limit * math.tanh(n / limit) for n in row] for row in x.tolist()]), atol=1e-12)
    assert y.abs().max() <= limit
    assert torch.equal(y.flatten().argsort(), x.flatten().argsort())


def test_cap_worked_numbers():
    assert SoftCap(15.0)(torch.tensor([15.0, 1.0, 0.0])).tolist() == pytest.approx([11.424, 0.99852, 0.0], abs=1e-3)


def test_capped_linear_by_hand():
    layer, x = lively(CappedLinear(C, V)), 10 * normal(B, T, C)
    expected = [
        [[15 * math.tanh(n / 15) for n in linear(layer.weight.tolist(), token)] for token in text] for text in x.tolist()
    ]
    assert layer.bias is None
    assert torch.allclose(layer(x), numbers(expected), atol=1e-10)


# how weights begin

WIDE = replace(ODD, vocab_size=97, n_embd=96, block_size=89)


def spreads_are(model, expected):
    """Normal with mean 0 and the spread of each weight's name (or of its parent's), zeros where that is 0."""
    tables = {name: weight for name, weight in model.named_parameters() if weight.dim() > 1}
    for name, weight in tables.items():
        spread = expected[name.split(".")[-2]]
        assert abs(weight.std().item() - spread) <= 5 * spread / (2 * weight.numel()) ** 0.5, name
        assert abs(weight.mean().item()) <= 5 * spread / weight.numel() ** 0.5, name
    return {name.split(".")[-2] for name in tables} == set(expected)


def test_classic_parts_begin_as_gpt_2_but_for_a_quieter_unembedding():
    torch.manual_seed(0)
    names = ("token", "position", "qkv", "project", "expand", "contract")
    model = build("ablate-0-classic", WIDE)
    assert spreads_are(model, {**dict.fromkeys(names, 0.02), "unembed": 0.002})
    norms = [module for module in model.modules() if isinstance(module, LayerNorm)]
    assert len(norms) == 2 * WIDE.n_layer + 2
    assert all(torch.equal(norm.weight, torch.ones(96)) and not norm.bias.any() for norm in norms)


def test_a_start_from_zero_has_these_spreads():
    torch.manual_seed(0)
    reads, writes = dict.fromkeys(("qkv", "expand"), 96**-0.5), dict.fromkeys(("project", "contract", "pair", "unembed"), 0.0)
    assert spreads_are(build("modern", WIDE), {"token": 1.0, **reads, **writes})


@pytest.mark.parametrize("name", ["modern", "ablate-5-a-start-from-zero"])
def test_from_zero_every_block_is_the_identity_and_the_first_prediction_uniform(name):
    model, x, tokens = build(name, replace(ODD, n_layer=5)).double(), normal(B, T, C), tokens_of(B, T)
    blocks = [layer for layer in model.layers if isinstance(layer, ModernBlock)]
    assert len(blocks) == 5
    assert all(torch.equal(block(x), x) for block in blocks)
    assert cross_entropy(model(tokens), tokens_of(B, T, seed=1)).item() == pytest.approx(uniform_loss(V), abs=1e-12)


def test_a_start_from_zero_leaves_norms_alone():
    model = build("ablate-0-classic", ODD)
    start_from_zero(model)
    assert all(torch.equal(m.weight, torch.ones(C)) for m in model.modules() if isinstance(m, LayerNorm))
