"""The rungs as data: sizes, recipes, published losses, and where an untrained model begins."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from gptladder.model.block import Block, LayerNorm
from gptladder.model.config import Recipe
from gptladder.model.controls import CONTROLS, PlainBlock, PostNormBlock
from gptladder.model.ladder import RUNGS
from gptladder.rungs import ALL, RECIPES
from gptladder.training.loss import cross_entropy, uniform_loss
from laws import ODD, seeded

PARAMETERS = {
    "bigram": 4_225,
    "average": 4_416,
    "attention": 7_488,
    "multihead": 7_488,
    "feedforward": 8_544,
    "plain": 41_856,
    "residual": 41_856,
    "layernorm": 42_304,
    "postnorm": 41_856 + 3 * 2 * 64,
}
SMALL = {
    **{"block_size": 8, "batch_size": 32, "n_embd": 32, "dropout": 0.0, "optimizer": "adamw", "precision": "float32"},
    **{"weight_decay": 0.01, "beta2": 0.999, "warmup_steps": 0, "decay": 0.0},
}


def built(name, vocab_size=65):
    return ALL[name].build(RECIPES[ALL[name].recipe].config(vocab_size))


def parameters(name):
    with torch.device("meta"):
        return sum(p.numel() for p in built(name).parameters())


def test_the_ladder_in_order():
    assert [rung.name for rung in RUNGS] == [
        *("bigram", "average", "attention", "multihead", "feedforward", "residual", "layernorm", "gpt")
    ]
    assert [rung.name for rung in CONTROLS] == ["plain", "postnorm"]


def test_published_losses():
    assert {rung.name: rung.published_loss for rung in RUNGS} == {
        "bigram": 2.49,
        "average": None,
        "attention": 2.40,
        "multihead": 2.28,
        "feedforward": 2.24,
        "residual": 2.08,
        "layernorm": 2.06,
        "gpt": 1.48,
    }
    assert all(rung.published_loss is None for rung in CONTROLS)


@pytest.mark.parametrize("rung", ALL.values(), ids=ALL)
def test_a_rung_is_expected_near_its_published_loss(rung):
    assert rung.expected_loss == pytest.approx(rung.published_loss or rung.expected_loss, abs=0.03)
    assert 0 < rung.expected_loss < math.log(65)
    assert rung.band >= 0.03


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name):
    assert parameters(name) == PARAMETERS[name]


def test_parameter_count_of_the_published_gpt():
    v, t, layers, c = 65, 256, 6, 384
    norm = 2 * c
    block = 3 * c * c + (c * c + c) + (c * 4 * c + 4 * c) + (4 * c * c + c) + 2 * norm
    assert parameters("gpt") == v * c + t * c + layers * block + norm + c * v
    assert round(parameters("gpt") / 1e6, 2) == 10.79


def test_parameter_count_of_the_modern_gpt():
    v, layers, c = 65, 4, 192
    assert parameters("modern") == v * c + (v + 1) * v * c + layers * 12 * c * c + c * v == 2_618_112


@pytest.mark.parametrize("name", PARAMETERS)
def test_small_settings_are_the_published_ones(name):
    recipe = asdict(RECIPES[ALL[name].recipe])
    assert {key: recipe[key] for key in SMALL} == SMALL
    bigram = name == "bigram"
    assert (recipe["steps"], recipe["learning_rate"]) == ((3000, 1e-2) if bigram else (5000, 1e-3))
    blocks = name in ("plain", "residual", "postnorm", "layernorm")
    assert recipe["n_layer"] == (3 if blocks else 1)
    assert recipe["n_head"] == (4 if blocks or name in ("multihead", "feedforward") else 1)


def test_the_published_recipe_exactly():
    assert RECIPES["published"] == Recipe(
        rung="gpt",
        block_size=256,
        n_layer=6,
        n_head=6,
        n_embd=384,
        dropout=0.2,
        batch_size=64,
        steps=5000,
        learning_rate=3e-4,
        warmup_steps=0,
        decay=0.0,
        optimizer="adamw",
        weight_decay=0.01,
        beta2=0.999,
        precision="float32",
        evaluate_every=500,
    )


@pytest.mark.parametrize("name", ALL)
def test_a_rungs_recipe_trains_that_rung(name):
    assert RECIPES[ALL[name].recipe].rung == name


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains_a_rung_that_exists(recipe):
    assert RECIPES[recipe].rung in ALL


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("gpt", "modern")])
@pytest.mark.parametrize("seed", range(3))
def test_untrained_loss_is_that_of_knowing_nothing(name, seed):
    torch.manual_seed(seed)
    model, tokens = built(name), torch.randint(65, (257, 9), generator=seeded(seed))
    with torch.no_grad():
        loss = cross_entropy(model(tokens[:, :-1]), tokens[:, 1:]).item()
    assert abs(loss - uniform_loss(65)) < 0.05


@pytest.mark.parametrize("recipe", ["laptop", "published"])
@pytest.mark.parametrize("seed", range(2))
def test_untrained_loss_of_a_gpt_is_that_of_knowing_nothing(recipe, seed):
    torch.manual_seed(seed)
    config = RECIPES[recipe].config(65)
    model = ALL[RECIPES[recipe].rung].build(config).eval()
    with torch.no_grad():
        logits = model(torch.randint(65, (3, min(200, config.block_size)), generator=seeded(seed)))
    loss = (logits.logsumexp(-1, keepdim=True) - logits).mean().item()  # over all targets, each as likely
    assert abs(loss - uniform_loss(65)) < 0.05


@pytest.mark.parametrize("name", ALL)
def test_unembedding_has_no_bias(name):
    model = ALL[name].build(ODD)
    assert name == "bigram" or model.unembed.bias is None


@pytest.mark.parametrize(
    ("name", "block", "norm", "extra"),
    [
        ("plain", PlainBlock, nn.Identity, 0),
        ("residual", Block, nn.Identity, 0),
        ("postnorm", PostNormBlock, LayerNorm, 0),
        ("layernorm", Block, LayerNorm, 1),
        ("gpt", Block, LayerNorm, 1),
    ],
)
def test_the_blocks_of_a_rung(name, block, norm, extra):
    layers = list(ALL[name].build(replace(ODD, n_layer=3)).layers)
    assert [type(layer) for layer in layers] == [block] * 3 + [LayerNorm] * extra
    assert all(type(layer.attention_norm) is type(layer.feed_forward_norm) is norm for layer in layers[:3])
