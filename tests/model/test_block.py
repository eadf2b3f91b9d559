"""Feed-forward, layer norm, and the three ways to put a block together."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from gptladder.model.block import Block, FeedForward, LayerNorm
from gptladder.model.controls import PlainBlock, PostNormBlock
from laws import ODD, C, lively, normal, past_stays

BLOCKS = pytest.mark.parametrize("kind", [Block, PlainBlock, PostNormBlock])


def without_parts(block):
    """The block with attention and feed-forward giving zero."""
    for last in (block.attention.project, block.feed_forward.contract):
        last.weight.data.zero_()
        last.bias.data.zero_()
    return block


# layer norm


@pytest.mark.parametrize("shape", [(C,), (2, C), (2, 7, C), (1, 1, C)])
def test_layer_norm_is_torchs_in_values_and_gradients(shape):
    ours = lively(LayerNorm(C))
    theirs = nn.LayerNorm(C).double()
    theirs.load_state_dict(ours.state_dict())
    upstream = normal(*shape, seed=2)
    gradients = []
    for norm in (ours, theirs):
        x = (3 * normal(*shape) + 2).requires_grad_()
        y = norm(x)
        (y * upstream).sum().backward()
        gradients.append((y, x.grad, norm.weight.grad, norm.bias.grad))
    for mine, torchs in zip(*gradients, strict=True):
        assert torch.allclose(mine, torchs, atol=1e-10)


def test_layer_norm_by_hand():
    norm, x = lively(LayerNorm(C)), normal(2, 3, C)
    for b in range(2):
        for t in range(3):
            numbers = x[b, t].tolist()
            mean = sum(numbers) / C
            deviation = math.sqrt(sum((n - mean) ** 2 for n in numbers) / C + norm.eps)
            expected = [
                w * (n - mean) / deviation + s
                for w, n, s in zip(norm.weight.tolist(), numbers, norm.bias.tolist(), strict=True)
            ]
            assert torch.allclose(norm(x)[b, t], torch.tensor(expected, dtype=torch.float64), atol=1e-10)


def test_layer_norm_worked_number():
    normed = LayerNorm(2)(torch.tensor([1.0, 3.0]))
    assert torch.allclose(normed, torch.tensor([-1.0, 1.0]), atol=1e-5)


def test_layer_norm_begins_as_torchs():
    assert torch.equal(LayerNorm(C).weight, torch.ones(C))
    assert torch.equal(LayerNorm(C).bias, torch.zeros(C))
    assert LayerNorm(C).eps == nn.LayerNorm(C).eps


def test_layer_norm_of_a_constant_token_is_its_shift():
    norm = lively(LayerNorm(C))
    assert torch.allclose(norm(torch.full((1, C), 7.0, dtype=torch.float64)), norm.bias, atol=1e-10)


# feed-forward


def test_feed_forward_by_hand():
    layer, x = lively(FeedForward(ODD)), normal(2, 3, C)
    expand, contract = layer.expand, layer.contract
    for b in range(2):
        for t in range(3):
            hidden = [
                max(0.0, sum(w * n for w, n in zip(row, x[b, t].tolist(), strict=True)) + bias)
                for row, bias in zip(expand.weight.tolist(), expand.bias.tolist(), strict=True)
            ]
            output = [
                sum(w * h for w, h in zip(row, hidden, strict=True)) + bias
                for row, bias in zip(contract.weight.tolist(), contract.bias.tolist(), strict=True)
            ]
            assert torch.allclose(layer(x)[b, t], torch.tensor(output, dtype=torch.float64), atol=1e-10)


def test_feed_forward_widens_32_to_128_and_back():
    layer = FeedForward(replace(ODD, n_embd=32, n_head=4))
    assert layer.expand.weight.shape == (128, 32)
    assert layer.contract.weight.shape == (32, 128)


def test_feed_forward_treats_each_position_by_itself():
    layer, x = lively(FeedForward(ODD)), normal(2, 7, C)
    assert torch.allclose(layer(x)[:, 3:4], layer(x[:, 3:4]), atol=1e-12)


# blocks


@pytest.mark.parametrize("norm", [LayerNorm, nn.Identity])
def test_block_is_its_parts_added_to_what_they_read(norm):
    block, x = lively(Block(ODD, norm)), normal(2, 7, C)
    middle = x + block.attention(block.attention_norm(x))
    assert torch.allclose(block(x), middle + block.feed_forward(block.feed_forward_norm(middle)), atol=1e-12)


def test_plain_block_is_its_parts_in_a_row():
    block, x = lively(PlainBlock(ODD, nn.Identity)), normal(2, 7, C)
    assert torch.allclose(block(x), block.feed_forward(block.attention(x)), atol=1e-12)


def test_post_norm_block_normalises_each_sum():
    block, x = lively(PostNormBlock(ODD)), normal(2, 7, C)
    middle = block.attention_norm(x + block.attention(x))
    assert torch.allclose(block(x), block.feed_forward_norm(middle + block.feed_forward(middle)), atol=1e-12)


@pytest.mark.parametrize("norm", [LayerNorm, nn.Identity])
def test_block_without_parts_is_an_open_road(norm):
    block, x = without_parts(lively(Block(ODD, norm))), normal(2, 7, C)
    x.requires_grad_()
    y = block(x)
    (y * normal(2, 7, C, seed=1)).sum().backward()
    assert torch.equal(y, x)
    assert torch.allclose(x.grad, normal(2, 7, C, seed=1), atol=1e-12)


def test_plain_block_without_parts_loses_all():
    block = without_parts(lively(PlainBlock(ODD, nn.Identity)))
    assert torch.equal(block(normal(2, 7, C)), torch.zeros(2, 7, C, dtype=torch.float64))


def test_post_norm_block_gives_tokens_of_mean_0_and_variance_1():
    block = lively(PostNormBlock(ODD))
    for norm in (block.attention_norm, block.feed_forward_norm):
        norm.weight.data.fill_(1.0)
        norm.bias.data.zero_()
    y = block(normal(2, 7, C))
    assert y.mean(-1).abs().max() < 1e-12
    assert (y.var(-1, correction=0) - 1).abs().max() < 1e-4


@BLOCKS
def test_change_the_future_and_the_past_stays(kind):
    assert past_stays(lively(kind(ODD)), normal(2, 7, C), normal(2, 7, C, seed=1))


@BLOCKS
def test_all_three_have_the_same_parts_under_the_same_names(kind):
    assert {name: p.shape for name, p in kind(ODD).named_parameters()} == {
        name: p.shape for name, p in Block(ODD).named_parameters()
    }


@BLOCKS
def test_dropout_acts_in_training_and_only_there(kind):
    block, x = lively(kind(replace(ODD, dropout=0.3))), normal(2, 7, C)
    torch.manual_seed(0)
    assert not torch.equal(block.train()(x), block(x))
    assert torch.equal(block.eval()(x), lively(kind(ODD)).eval()(x))
