"""Settings that no model or training can have are refused, in words."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace

import pytest

from gptladder.model.config import GPTConfig, Recipe, require
from laws import ODD


@pytest.mark.parametrize("name", ["vocab_size", "block_size", "n_layer", "n_head", "n_embd"])
@pytest.mark.parametrize("value", [0, -3])
def test_sizes_are_positive(name, value):
    with pytest.raises(ValueError, match=rf"^{name} is {value}; it must be 1 or more$"):
        replace(ODD, **{name: value})


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, math.nan])
def test_dropout_is_a_share_below_one(value):
    with pytest.raises(ValueError, match=rf"^dropout is {value}; it must be 0 or more and less than 1$"):
        replace(ODD, dropout=value)


def test_heads_share_the_width_evenly():
    with pytest.raises(ValueError, match="n_embd is 10; it must be a multiple of n_head 4"):
        GPTConfig(vocab_size=2, block_size=1, n_layer=1, n_head=4, n_embd=10, dropout=0.0)
    assert replace(ODD, n_embd=12, n_head=4).head_size == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("steps", -1),
        ("evaluate_every", 0),
        ("warmup_steps", -1),
        ("weight_decay", -0.1),
        ("weight_decay", math.inf),
        ("learning_rate", 0.0),
        ("learning_rate", -1e-3),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("decay", -0.1),
        ("decay", 1.1),
        ("beta2", 1.0),
        ("beta2", -0.1),
        ("block_size", 0),
        ("n_layer", 0),
        ("n_head", 5),
        ("dropout", 1.0),
        ("optimizer", "sgd"),
        ("optimizer", "AdamW"),
        ("precision", "bfloat16"),
        ("precision", ""),
    ],
)
def test_a_recipe_refuses_what_no_training_can_have(name, value):
    with pytest.raises(ValueError, match=rf"{'n_embd' if name == 'n_head' else name} is .*; it must be "):
        Recipe("attention", **{name: value})


@pytest.mark.parametrize(
    ("name", "allowed"), [("optimizer", ("adamw", "muon")), ("precision", ("float32", "mixed"))], ids=["optimizer", "precision"]
)
def test_what_there_is_to_choose_from_is_taken_and_named(name, allowed):
    assert [getattr(Recipe("gpt", **{name: value}), name) for value in allowed] == list(allowed)
    with pytest.raises(ValueError, match=f"^{name} is other; it must be one of {', '.join(allowed)}$"):
        Recipe("gpt", **{name: "other"})


def test_a_recipe_describes_its_model():
    recipe = Recipe("gpt", block_size=7, n_layer=2, n_head=3, n_embd=15, dropout=0.25)
    assert recipe.config(11) == GPTConfig(11, 7, 2, 3, 15, 0.25)


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        ODD.n_layer = 3


def test_require_lets_good_values_pass():
    require(True, "anything", 1, "1")
    with pytest.raises(ValueError, match=r"^pages is -1; it must be 0 or more$"):
        require(False, "pages", -1, "0 or more")
