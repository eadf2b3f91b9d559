"""Attention against loops in plain Python, and the law of the future, which catches every known leak."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from gptladder.model.attention import Head, MultiHeadAttention, causal_softmax, softmax
from gptladder.model.fusing import fuse
from laws import ODD, C, D, H, lively, normal, past_stays

LENGTHS = pytest.mark.parametrize("length", [1, 2, 7])


def linear(weight, vector):
    return [sum(w * x for w, x in zip(row, vector, strict=True)) for row in weight]


def head_by_hand(head, x):
    """One head on one sequence (T, C), number by number."""
    query, key, value = (layer.weight.tolist() for layer in (head.query, head.key, head.value))
    blended = []
    for t in range(len(x)):
        asked = linear(query, x[t])
        scores = []
        for s in range(t + 1):
            answered = linear(key, x[s])
            scores.append(sum(a * b for a, b in zip(asked, answered, strict=True)) / math.sqrt(len(asked)))
        total = sum(math.exp(score) for score in scores)
        output = [0.0] * len(value)
        for s in range(t + 1):
            weight = math.exp(scores[s]) / total
            output = [o + weight * v for o, v in zip(output, linear(value, x[s]), strict=True)]
        blended.append(output)
    return blended


def heads_by_hand(attention, x):
    """All heads on one sequence, side by side, then projected."""
    found = [head_by_hand(head, x) for head in attention.heads]
    joined = [[number for head in found for number in head[t]] for t in range(len(x))]
    if isinstance(attention.project, nn.Identity):
        return joined
    weight, bias = attention.project.weight.tolist(), attention.project.bias.tolist()
    return [[y + b for y, b in zip(linear(weight, row), bias, strict=True)] for row in joined]


def batched(by_hand, module, x):
    return torch.tensor([by_hand(module, row) for row in x.tolist()], dtype=torch.float64)


def heads(project=None, config=ODD):
    return lively(MultiHeadAttention(config, project or nn.Linear(config.n_embd, config.n_embd)))


# softmax


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 3, 5, 7)])
def test_softmax_rows_are_torchs_and_sum_to_one(shape):
    scores = 3 * normal(*shape)
    weights = softmax(scores)
    assert torch.allclose(weights, torch.softmax(scores, dim=-1), atol=1e-12)
    assert torch.allclose(weights.sum(-1), torch.ones(shape[:-1], dtype=torch.float64), atol=1e-12)
    assert (weights > 0).all()


def test_softmax_worked_number():
    weights = softmax(torch.tensor([0.0, math.log(3)], dtype=torch.float64))
    assert torch.allclose(weights, torch.tensor([0.25, 0.75], dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("shift", [-1e4, 5.0, 1e4])
def test_softmax_does_not_see_a_shift_and_does_not_overflow(shift):
    scores = normal(3, 5)
    assert torch.allclose(softmax(scores + shift), softmax(scores), atol=1e-10)


def test_softmax_gradient_is_torchs():
    upstream, ours, theirs = normal(3, 5, seed=1), normal(3, 5).requires_grad_(), normal(3, 5).requires_grad_()
    (softmax(ours) * upstream).sum().backward()
    (torch.softmax(theirs, -1) * upstream).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)


@LENGTHS
def test_causal_softmax_shares_all_weight_among_the_past(length):
    weights = causal_softmax(normal(2, 3, length, length))
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3, length, dtype=torch.float64), atol=1e-12)
    assert torch.equal(weights.triu(1), torch.zeros_like(weights))
    assert (weights.tril() > 0).sum() == 6 * length * (length + 1) // 2


@LENGTHS
def test_causal_softmax_is_softmax_of_each_row_cut_off_at_its_token(length):
    scores = normal(2, length, length)
    weights = causal_softmax(scores)
    for t in range(length):
        assert torch.allclose(weights[:, t, : t + 1], torch.softmax(scores[:, t, : t + 1], -1), atol=1e-12)


def test_causal_softmax_of_equal_scores():
    weights = causal_softmax(torch.full((4, 4), 2.5, dtype=torch.float64))
    expected = [[1, 0, 0, 0], [1 / 2, 1 / 2, 0, 0], [1 / 3, 1 / 3, 1 / 3, 0], [1 / 4] * 4]
    assert torch.allclose(weights, torch.tensor(expected, dtype=torch.float64), atol=1e-12)


# heads


@LENGTHS
def test_head_is_the_loop(length):
    head, x = lively(Head(ODD, D)), normal(2, length, C)
    assert torch.allclose(head(x), batched(head_by_hand, head, x), atol=1e-10)


@LENGTHS
@pytest.mark.parametrize("project", [nn.Identity, lambda: nn.Linear(C, C)])
def test_heads_are_the_loop(length, project):
    attention, x = heads(project()), normal(2, length, C)
    assert torch.allclose(attention(x), batched(heads_by_hand, attention, x), atol=1e-10)


@LENGTHS
@pytest.mark.parametrize("project", [nn.Identity, lambda: nn.Linear(C, C)])
def test_fused_heads_are_the_loop(length, project):
    attention, x = heads(project()), normal(2, length, C)
    expected = batched(heads_by_hand, attention, x)
    assert torch.allclose(fuse(attention)(x), expected, atol=1e-10)


def test_head_with_zero_queries_takes_the_mean_of_the_values():
    head, x = lively(Head(ODD, D)), normal(2, 7, C)
    head.query.weight.data.zero_()
    values = head.value(x)
    means = torch.stack([values[:, : t + 1].mean(1) for t in range(7)], dim=1)
    assert torch.allclose(head(x), means, atol=1e-12)


def test_head_at_the_first_position_takes_its_own_value():
    head, x = lively(Head(ODD, D)), normal(2, 7, C)
    assert torch.allclose(head(x)[:, 0], head.value(x)[:, 0], atol=1e-12)


def test_four_heads_of_8_stand_side_by_side():
    config = replace(ODD, n_embd=32, n_head=4)
    attention, x = heads(nn.Identity(), config), normal(2, 7, 32)
    output = attention(x)
    assert len(attention.heads) == 4
    for i, head in enumerate(attention.heads):
        assert torch.equal(output[:, :, 8 * i : 8 * i + 8], head(x))


def test_attention_has_no_positions_of_its_own():
    """For the last query the order of the earlier tokens makes no difference: order comes from the embedding."""
    attention, x = heads(), normal(2, 7, C)
    mixed = x[:, [3, 0, 5, 1, 4, 2, 6]]
    assert torch.allclose(attention(mixed)[:, -1], attention(x)[:, -1], atol=1e-12)


def test_no_bias_in_the_three_projections():
    attention = heads()
    assert attention(torch.zeros(1, 3, C, dtype=torch.float64)).equal(attention.project.bias.expand(1, 3, C))
    assert all(layer.bias is None for head in attention.heads for layer in (head.query, head.key, head.value))
    assert len(attention.heads) == H


# dropout inside


@pytest.mark.parametrize("fused", [False, True])
def test_dropout_on_the_weights_leaves_the_mean_where_it_was(fused):
    """A head is linear in its weights, so the mean over many masks is the answer without dropout."""
    head = lively(Head(replace(ODD, dropout=0.4), D))
    x, copies = normal(1, 4, C), 20_000
    expected = head.eval()(x)
    head = fuse(head) if fused else head
    torch.manual_seed(0)
    outputs = head.train()(x.expand(copies, -1, -1))
    error = outputs.std(dim=0) / copies**0.5
    assert (error > 0).all()
    assert ((outputs.mean(0) - expected[0]).abs() < 5 * error).all()


@pytest.mark.parametrize("fused", [False, True])
def test_dropout_on_the_first_weight_drops_the_whole_answer_or_scales_it(fused):
    """The first token has one weight, so its answer is 0 or value / (1 - p)."""
    head = lively(Head(replace(ODD, dropout=0.25), D))
    value = head.value(normal(1, 1, C))[0, 0]
    head = fuse(head).train() if fused else head.train()
    torch.manual_seed(0)
    outputs = head(normal(1, 1, C).expand(2000, -1, -1))[:, 0]
    dropped = (outputs == 0).all(dim=1)
    assert torch.allclose(outputs[~dropped], (value / 0.75).expand_as(outputs[~dropped]), atol=1e-12)
    assert abs(dropped.double().mean().item() - 0.25) < 0.05


def test_in_eval_the_dropout_setting_changes_nothing():
    x, plain = normal(2, 7, C), heads().eval()
    dropping = heads(config=replace(ODD, dropout=0.5)).eval()
    assert torch.equal(dropping(x), plain(x))


# the law of the future


def test_change_the_future_and_the_past_stays():
    x, other = normal(2, 7, C), normal(2, 7, C, seed=1)
    assert past_stays(lively(Head(ODD, D)), x, other)
    assert past_stays(heads(), x, other)
    assert past_stays(fuse(heads()), x, other)
    assert past_stays(fuse(lively(Head(ODD, D))), x, other)


def no_mask(scores):
    return torch.softmax(scores, dim=-1)


def mask_after_softmax(scores):
    return torch.softmax(scores, dim=-1).tril()


def softmax_over_queries(scores):
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return torch.softmax(scores.masked_fill(future, float("-inf")), dim=-2)


def mask_off_by_one(scores):
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(2)
    return torch.softmax(scores.masked_fill(future, float("-inf")), dim=-1)


@pytest.mark.parametrize("leak", [no_mask, mask_after_softmax, softmax_over_queries, mask_off_by_one])
def test_the_law_catches_a_leaking_head(leak, monkeypatch):
    monkeypatch.setattr("gptladder.model.attention.causal_softmax", leak)
    assert not past_stays(lively(Head(ODD, D)), normal(2, 7, C), normal(2, 7, C, seed=1))


@pytest.mark.parametrize("leak", [no_mask, mask_after_softmax, softmax_over_queries, mask_off_by_one])
def test_the_loop_catches_a_leaking_head(leak, monkeypatch):
    monkeypatch.setattr("gptladder.model.attention.causal_softmax", leak)
    head, x = lively(Head(ODD, D)), normal(2, 7, C)
    assert (head(x) - batched(head_by_hand, head, x)).abs().max() > 1e-2


@pytest.mark.parametrize("factor", [math.sqrt(D), 1 / math.sqrt(D), math.sqrt(D / C)])
def test_the_loop_catches_a_wrong_scale(factor, monkeypatch):
    monkeypatch.setattr("gptladder.model.attention.causal_softmax", lambda scores: causal_softmax(factor * scores))
    head, x = lively(Head(ODD, D)), normal(2, 7, C)
    assert (head(x) - batched(head_by_hand, head, x)).abs().max() > 1e-2
