"""The skeleton, its embedding, and the start of a GPT."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from gptladder.model.block import Block, LayerNorm
from gptladder.model.gpt import GPT, Embedding, LanguageModel, initialise
from gptladder.rungs import build
from laws import ODD, B, C, T, V, lively, rung, tokens_of


class Note(nn.Module):
    """A layer that multiplies and adds, so that order shows."""

    def __init__(self, factor, summand):
        super().__init__()
        self.factor, self.summand = factor, summand

    def forward(self, x):
        return self.factor * x + self.summand


def test_embedding_adds_what_a_token_is_and_where_it_stands():
    embed, tokens = lively(Embedding(ODD)), tokens_of(B, 5)
    x = embed(tokens)
    for b in range(B):
        for t in range(5):
            assert torch.equal(x[b, t], embed.token.weight[tokens[b, t]] + embed.position.weight[t])


def test_embedding_counts_positions_from_zero_unless_given():
    embed, tokens = lively(Embedding(ODD)), tokens_of(B, T)
    assert torch.equal(embed(tokens[:, 3:], torch.arange(3, T)), embed(tokens)[:, 3:])
    assert not torch.equal(embed(tokens[:, 3:]), embed(tokens)[:, 3:])


def test_embedding_refuses_more_tokens_than_the_context_holds():
    with pytest.raises(ValueError, match=r"8 tokens given; the context holds 7: pass the last ones"):
        Embedding(ODD)(tokens_of(B, 8))


def test_language_model_goes_through_embedding_layers_and_unembedding_in_order():
    embed, unembed = lively(Embedding(ODD)), lively(nn.Linear(C, V, bias=False), seed=1)
    model = LanguageModel(ODD, embed, [Note(2, 1), Note(3, -1), Note(1, 5)], unembed)
    tokens = tokens_of(B, T)
    assert torch.allclose(model(tokens), unembed(3 * (2 * embed(tokens) + 1) - 1 + 5), atol=1e-12)


def test_language_model_passes_positions_on():
    model = LanguageModel(ODD, lively(Embedding(ODD)), [], nn.Identity())
    tokens, positions = tokens_of(B, 2), torch.tensor([4, 1])
    assert torch.equal(model(tokens, positions), model.embed(tokens, positions))


def test_32_by_8_tokens_give_256_predictions():
    model = GPT(replace(ODD, block_size=8))
    assert model(tokens_of(32, 8)).flatten(0, 1).shape == (256, V)


def test_gpt_is_blocks_and_a_last_norm():
    model = rung("gpt")
    x = model.embed(tokens_of(B, T))
    for block in list(model.layers)[: ODD.n_layer]:
        assert type(block) is Block
        x = block(x)
    assert type(model.layers[-1]) is LayerNorm
    assert len(model.layers) == ODD.n_layer + 1
    assert torch.allclose(model(tokens_of(B, T)), model.unembed(model.layers[-1](x)), atol=1e-12)
    assert model.unembed.bias is None


def test_gpt_begins_as_gpt_2_but_for_a_quieter_unembedding():
    torch.manual_seed(0)
    model = GPT(replace(ODD, vocab_size=97, n_embd=96, block_size=89))
    tables = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Embedding)]
    assert len(tables) == 3 + ODD.n_layer * (3 * ODD.n_head + 3)
    for name, module in tables:
        weight, spread = module.weight, 0.002 if name == "unembed" else 0.02
        assert abs(weight.std().item() - spread) < 5 * spread / (2 * weight.numel()) ** 0.5, name
        assert abs(weight.mean().item()) < 5 * spread / weight.numel() ** 0.5, name
        assert getattr(module, "bias", None) is None or not module.bias.any(), name


def test_initialise_leaves_norms_alone():
    model = build("layernorm", ODD)
    initialise(model, spread=lambda layer: 1.0, unembedding=1.0)
    norms = [module for module in model.modules() if isinstance(module, LayerNorm)]
    assert len(norms) == 2 * ODD.n_layer + 1
    assert all(torch.equal(norm.weight, torch.ones(C)) for norm in norms)


def test_every_position_has_its_own_prediction():
    model = rung("gpt")
    logits = model(torch.zeros(1, T, dtype=torch.int64))[0]
    assert torch.cdist(logits, logits).add(torch.eye(T)).min() > 1e-3
