"""Embeddings of tokens and of pairs of tokens; positions are used or refused, never ignored."""

from __future__ import annotations

import pytest
import torch

from gptladder.model.cache import Caches
from gptladder.model.gpt import Embedding
from gptladder.model.modern import ABLATIONS
from gptladder.model.modern_embeddings import PairEmbedding, TokenEmbedding
from gptladder.model.modern_parts import Rotary
from laws import NAMES, ODD, B, C, T, V, lively, rung, tokens_of

LENGTHS = pytest.mark.parametrize("length", [1, 2, T])
SHIFTED = torch.arange(1, 4)
WITH_POSITIONS = [name for name in NAMES if name not in ("bigram", "modern")]


@pytest.mark.parametrize("name", WITH_POSITIONS)
def test_a_rung_with_a_table_of_positions_uses_those_that_it_is_given(name):
    model, tokens = rung(name), tokens_of(B, 4)
    moved = (model(tokens[:, :3], SHIFTED) - model(tokens[:, :3])).abs().amax(dim=(0, 2))
    assert moved.min() > 1e-3
    assert torch.equal(model(tokens[:, :3], torch.arange(3)), model(tokens[:, :3]))


@pytest.mark.parametrize("ablation", [ablation for ablation, _ in ABLATIONS], ids=lambda ablation: ablation.name)
def test_a_modern_model_uses_positions_or_refuses_them(ablation):
    model, tokens = lively(ablation.build(ODD)).eval(), tokens_of(B, 3)
    if any(isinstance(part, Rotary) for part in model.modules()):
        with pytest.raises(ValueError, match=r"positions are \[1, 2, 3\]; they must be 0 to 2, as Rotary counts them"):
            model(tokens, SHIFTED)
    else:
        moved = (model(tokens, SHIFTED) - model(tokens)).abs().amax(dim=(0, 2))
        assert moved.min() > 1e-3
    assert torch.equal(model(tokens, torch.arange(3)), model(tokens))


@pytest.mark.parametrize("places", [[1, 2, 3], [0, 2, 1], [0, 1], [0, 1, 2, 3], [[0, 1, 2]]], ids=str)
def test_token_embedding_refuses_positions_that_are_not_counted_from_0(places):
    embed = TokenEmbedding(ODD)
    with pytest.raises(ValueError, match=r"^positions are .*; they must be 0 to 2, as Rotary counts them, or left out$"):
        embed(tokens_of(B, 3), torch.tensor(places))


def test_piece_by_piece_positions_go_on_where_the_last_piece_ended():
    embed, tokens = lively(TokenEmbedding(ODD)), tokens_of(B, T)
    caches = Caches(embed, T)
    for _ in range(2):  # the second time it has to begin again at 0
        with caches:
            pieces = [embed(tokens[:, :4], torch.arange(4)), embed(tokens[:, 4:6]), embed(tokens[:, 6:], torch.tensor([6]))]
            with pytest.raises(ValueError, match="they must be 7 to 7"):
                embed(tokens[:, 6:], torch.tensor([6]))
        assert torch.equal(torch.cat(pieces, dim=1), embed(tokens))
        caches.clear()


def test_token_embedding_is_its_row_wherever_it_stands():
    embed, tokens = lively(TokenEmbedding(ODD)), tokens_of(B, T)
    x = embed(tokens)
    assert all(torch.equal(x[b, t], embed.token.weight[tokens[b, t]]) for b in range(B) for t in range(T))
    assert torch.equal(embed(tokens, torch.arange(T)), x)


def test_token_embedding_refuses_more_tokens_than_the_context_holds():
    with pytest.raises(ValueError, match="8 tokens given; the context holds 7: pass the last ones"):
        TokenEmbedding(ODD)(tokens_of(B, 8))


@LENGTHS
@pytest.mark.parametrize("most_rows", [PairEmbedding.MOST_ROWS, 37, 1])
@pytest.mark.parametrize("inner", [TokenEmbedding, Embedding])
def test_pair_embedding_adds_the_row_of_a_token_and_the_one_before(length, most_rows, inner, monkeypatch):
    """The first token comes after one that the vocabulary lacks; more pairs than rows share them."""
    monkeypatch.setattr(PairEmbedding, "MOST_ROWS", most_rows)
    embed, tokens = lively(PairEmbedding(ODD, inner(ODD))), tokens_of(B, length)
    rows = min(most_rows, (V + 1) * V)
    assert embed.pair.weight.shape == (rows, C)
    x, plain = embed(tokens), embed.inner(tokens)
    for b, text in enumerate(tokens.tolist()):
        for t, (before, token) in enumerate(zip([V, *text], text, strict=False)):
            assert torch.equal(x[b, t], plain[b, t] + embed.pair.weight[(before * V + token) % rows])


def test_every_pair_has_a_row_of_its_own_while_there_is_room():
    embed = PairEmbedding(ODD, TokenEmbedding(ODD))
    embed.inner.token.weight.data.zero_()
    embed.pair.weight.data[:] = torch.arange(len(embed.pair.weight))[:, None]  # each row holds its number
    rows = embed(torch.cartesian_prod(torch.arange(V), torch.arange(V)))[:, :, 0]  # (V * V, 2)
    assert len(rows[:, 0].unique()) == V
    assert len(rows[:, 1].unique()) == V * V
    assert rows.unique().tolist() == list(range((V + 1) * V))


def test_pair_embedding_passes_positions_on():
    embed, tokens, places = lively(PairEmbedding(ODD, Embedding(ODD))), tokens_of(B, 3), torch.tensor([4, 0, 6])
    pairs = embed(tokens) - embed.inner(tokens)
    assert torch.allclose(embed(tokens, places), embed.inner(tokens, places) + pairs, atol=1e-12)


@pytest.mark.parametrize("sizes", [(7,), (1,) * 7, (3, 1, 3), (1, 6)])
@pytest.mark.parametrize("batch", [1, 3])
def test_pair_embedding_remembers_the_last_token_of_each_text(sizes, batch):
    embed, tokens = lively(PairEmbedding(ODD, TokenEmbedding(ODD))), tokens_of(batch, T)
    caches = Caches(embed, T)
    for _ in range(2):  # the second time it has to forget first
        caches.clear()
        with caches:
            pieces = [embed(piece) for piece in tokens.split(sizes, dim=1)]
        assert torch.equal(torch.cat(pieces, dim=1), embed(tokens))
        assert torch.equal(caches.caches[0].token, tokens[:, -1:])
