"""The modern rung and the ablations: each is what it says, sees no future, and writes with a cache what it writes without."""

from __future__ import annotations

import re
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from gptladder.model.block import LayerNorm
from gptladder.model.cache import Caches
from gptladder.model.fusing import fuse
from gptladder.model.gpt import Embedding
from gptladder.model.modern import ABLATIONS, CLASSIC, MODERN, MODERN_RECIPES, SMALL_STEPS, Parts, assemble
from gptladder.model.modern_embeddings import PairEmbedding, TokenEmbedding
from gptladder.model.modern_parts import (
    CappedLinear,
    ModernAttention,
    ModernBlock,
    RMSNorm,
    Rotary,
    SquaredReLU,
)
from gptladder.rungs import build
from gptladder.training.loss import cross_entropy
from gptladder.training.optimizers import make_optimizer
from laws import ODD, B, C, T, V, past_stays, read_in_pieces, rung, tokens_of

IDEAS = {rung.adds: rung.name for rung, _ in ABLATIONS}
EVERY_NAME = pytest.mark.parametrize("name", ["modern", *IDEAS.values()])
BLOCK = "layers.*."  # in a name, whichever block it is
# what each idea puts in the place of a classic part, by the part's name
NEW_PARTS = {
    "rotary positions": {"embed": TokenEmbedding, "embed.position": None, BLOCK + "attention.rotary": Rotary},
    "RMS norm": {"layers.*": RMSNorm, BLOCK + "attention_norm": RMSNorm, BLOCK + "feed_forward_norm": RMSNorm},
    "query-key norm": {BLOCK + "attention.norm": RMSNorm},
    "squared ReLU": {BLOCK + "feed_forward.activation": SquaredReLU},
    "a start from zero": {},
    "capped logits": {"unembed": CappedLinear},
    "pairs of tokens": {"embed": PairEmbedding, "embed.inner": Embedding, "embed.pair": nn.Embedding},
    "Muon": {},
}


def kinds(model):
    """The type of each part, blocks and the norms around them under one name."""
    found = {}
    for name, part in model.named_modules():
        if not isinstance(part, ModernBlock | nn.Identity) or "attention.norm" in name:
            found.setdefault(re.sub(r"\.\d+", ".*", name), set()).add(type(part))
    return found


# what each is


def test_the_ablations_in_order():
    assert list(IDEAS) == ["classic", *SMALL_STEPS, "Muon", "all together"]
    assert list(NEW_PARTS) == list(IDEAS)[1:-1]
    assert IDEAS["squared ReLU"] == "ablate-4-squared-ReLU"
    assert len(set(IDEAS.values())) == len(ABLATIONS) == 10


@pytest.mark.parametrize("idea", NEW_PARTS)
def test_an_idea_alone_changes_its_own_parts_and_no_others(idea):
    before, after = kinds(build(IDEAS["classic"], ODD)), kinds(build(IDEAS[idea], ODD))
    changed = {name: after.get(name) for name in before | after if after.get(name) != before.get(name)}
    expected = {name: None if kind is None else {kind} for name, kind in NEW_PARTS[idea].items()}
    if idea == "pairs of tokens":  # the two tables of the classic embedding are now further in
        expected |= {"embed.token": None, "embed.position": None}
        expected |= {"embed.inner.token": {nn.Embedding}, "embed.inner.position": {nn.Embedding}}
    if idea == "capped logits":
        changed.pop("unembed.cap")
    assert changed == expected


@pytest.mark.parametrize("idea", [*SMALL_STEPS, "Muon"])
def test_an_idea_alone_leaves_the_matrices_of_the_blocks_their_names_and_sizes(idea):
    matrices = [
        {name: w.shape for name, w in build(IDEAS[which], ODD).named_parameters() if name.startswith("layers.") and w.dim() > 1}
        for which in ("classic", idea)
    ]
    assert matrices[0] == matrices[1]
    assert len(matrices[0]) == 4 * ODD.n_layer


def test_classic_is_classic_and_all_together_is_the_modern_rung():
    assert {kind for kinds_of in kinds(build(IDEAS["classic"], ODD)).values() for kind in kinds_of} & {
        *(RMSNorm, Rotary, SquaredReLU, CappedLinear, PairEmbedding, TokenEmbedding)
    } == set()
    built = []
    for name in ("modern", IDEAS["all together"]):
        torch.manual_seed(0)
        built.append(build(name, ODD))
    assert str(built[0]) == str(built[1])
    assert torch.equal(built[0](tokens_of(B, T)), built[1](tokens_of(B, T)))


def test_modern_has_every_idea():
    makers = {name: maker for idea in SMALL_STEPS.values() for name, maker in idea.items()}
    assert makers.keys() == asdict(MODERN).keys()
    assert all(getattr(MODERN, name) is maker for name, maker in makers.items() if name != "embed")
    embed = MODERN.embed(ODD)
    assert (type(embed), type(embed.inner)) == (PairEmbedding, TokenEmbedding)


def test_the_recipes_differ_in_rung_and_optimizer_alone():
    recipes = {rung.adds: asdict(recipe) for rung, recipe in ABLATIONS}
    assert {rung.name: recipe.rung for rung, recipe in ABLATIONS} == {name: name for name in IDEAS.values()}
    muon = {idea for idea, recipe in recipes.items() if recipe["optimizer"] == "muon"}
    assert muon == {"Muon", "all together"}
    settings = [{**recipe, "rung": "", "optimizer": ""} for recipe in recipes.values()]
    assert all(setting == settings[0] for setting in settings)


@pytest.mark.parametrize("name", ["laptop", "sprint", "patient"])
def test_the_recipes_train_the_modern_rung_with_muon(name):
    found = MODERN_RECIPES[name]
    assert (found.rung, found.optimizer, found.precision) == ("modern", "muon", "mixed")
    assert found.config(65).head_size % 2 == 0
    assert found.steps % found.evaluate_every == 0


def test_a_model_is_its_parts_in_order():
    """Embedding, norm, blocks, norm, unembedding, with a maker called once for each place."""
    model = rung("modern", replace(ODD, n_layer=3))
    assert [type(layer) for layer in model.layers] == [RMSNorm, nn.Identity, *[ModernBlock] * 3, RMSNorm]
    x = model.embed(tokens_of(B, T))
    for layer in model.layers:
        x = layer(x)
    assert torch.allclose(model(tokens_of(B, T)), 15 * torch.tanh(x @ model.unembed.weight.T / 15), atol=1e-12)
    attentions = [part for part in model.modules() if isinstance(part, ModernAttention)]
    assert len({id(part.rotary) for part in attentions}) == 3


def test_assembled_parts_get_the_sizes_they_are_for():
    asked = {}

    def note(name, maker):
        def make(*sizes):
            asked.setdefault(name, []).append(sizes)
            return maker(*sizes)

        return make

    config = replace(ODD, n_layer=1)
    assemble(config, Parts(**{name: note(name, getattr(CLASSIC, name)) for name in Parts.__dataclass_fields__}))
    assert asked.pop("initialise")[0][0].config is config
    assert asked == {
        "embed": [(config,)],
        "norm": [(C,)] * 4,
        "query_key_norm": [(C // 3,)],
        "rotary": [(C // 3, T)],
        "activation": [()],
        "unembed": [(C, V)],
    }


def test_heads_that_cannot_be_turned_are_refused_in_words():
    with pytest.raises(ValueError, match="head_size is 5; it must be even"):
        build("modern", replace(ODD, n_embd=15))
    assert build(IDEAS["classic"], replace(ODD, n_embd=15)).config.head_size == 5


# what holds for all


@EVERY_NAME
@pytest.mark.parametrize("fused", [False, True])
def test_change_the_future_and_the_past_stays(name, fused):
    tokens = tokens_of(B, T)
    assert past_stays(rung(name, fused=fused), tokens, (tokens + 1 + tokens_of(B, T, V - 2, seed=5)) % V)


@EVERY_NAME
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("sizes", [(1,) * 7, (3, 1, 3), (1, 6), (2, 3, 2), (6, 1)])
def test_tokens_read_in_pieces_are_tokens_read_at_once(name, sizes, batch):
    model, tokens = rung(name), tokens_of(batch, T)
    assert torch.allclose(read_in_pieces(model, tokens, sizes), model(tokens), atol=1e-10)
    fused = rung(name, fused=True)
    assert torch.allclose(read_in_pieces(fused, tokens, sizes, Caches(fused, T + 4)), model(tokens), atol=1e-10)


@EVERY_NAME
@pytest.mark.parametrize("length", [1, 4, T])
def test_a_text_is_read_the_same_alone_and_beside_others(name, length):
    model, tokens = rung(name), tokens_of(3, length)
    for i in range(3):
        assert torch.allclose(model(tokens[i : i + 1]), model(tokens)[i : i + 1], atol=1e-12)


@EVERY_NAME
def test_order_matters(name):
    """Every one of them knows positions, in one way or another."""
    model, tokens = rung(name), torch.tensor([[0, 1, 2, 3, 4, 5]])
    mixed = tokens[:, [1, 0, 2, 3, 4, 5]]
    assert (model(mixed) - model(tokens))[:, -1].abs().max() > 1e-6


@EVERY_NAME
def test_dropout_acts_in_training_and_only_there(name):
    dropping, tokens = rung(name, replace(ODD, dropout=0.4), fused=True), tokens_of(B, T)
    assert torch.allclose(dropping(tokens), rung(name)(tokens), atol=1e-12)
    torch.manual_seed(0)
    assert not torch.equal(dropping.train()(tokens), dropping(tokens))


def with_gradient(model):
    return {name.split(".")[-2] for name, weight in model.named_parameters() if weight.grad.abs().max() > 0}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_from_zero_the_gradient_reaches_further_at_each_step_and_then_everything(optimizer):
    """First what predicts, then what writes to the residual stream, then what reads from it; and nothing breaks on the way."""
    torch.manual_seed(0)
    model = fuse(build("modern", ODD).double())
    updates = make_optimizer(model, replace(MODERN_RECIPES["laptop"], optimizer=optimizer), torch.float64)
    reached = []
    for step in range(3):
        tokens = tokens_of(13, T, seed=step)
        model.zero_grad()
        cross_entropy(model(tokens), tokens_of(13, T, seed=step + 10)).backward()
        reached.append(with_gradient(model))
        updates.step()
        assert all(torch.isfinite(weight).all() for weight in model.parameters())
    first, then = {"unembed"}, {"unembed", "token", "pair", "project", "contract"}
    assert reached == [first, then, then | {"qkv", "expand"}]
    assert all(weight.grad.abs().max() > 0 for weight in model.parameters())


def test_layer_norms_of_the_classic_parts_learn():
    model = rung(IDEAS["classic"])
    cross_entropy(model(tokens_of(B, T)), tokens_of(B, T, seed=1)).backward()
    norms = [part for part in model.modules() if isinstance(part, LayerNorm)]
    assert len(norms) == 2 * ODD.n_layer + 2
    assert all(weight.grad.abs().max() > 1e-6 for norm in norms for weight in norm.parameters())
