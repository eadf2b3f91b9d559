"""What the command line knows by name."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch

from gptladder.errors import InputError
from gptladder.model.config import Recipe
from gptladder.model.controls import CONTROLS
from gptladder.model.ladder import RUNGS
from gptladder.model.modern import ABLATIONS, MODERN_RUNG
from gptladder.rungs import ALL, RECIPES, build, changed, recipe_for, rung_named
from laws import ODD, tokens_of


def test_every_rung_and_control_is_found_under_its_name():
    assert list(ALL.values()) == [*RUNGS, MODERN_RUNG, *CONTROLS]
    assert all(rung_named(name) is rung and rung.name == name for name, rung in ALL.items())


def test_an_unknown_rung_is_refused_with_those_that_are_there():
    with pytest.raises(InputError, match=r"no rung 'ladder'; there are bigram, average, .*, gpt, modern, plain, postnorm"):
        rung_named("ladder")
    with pytest.raises(InputError, match="no rung 'Bigram'"):
        build("Bigram", ODD)


@pytest.mark.parametrize("rung", [*ALL.values(), *(rung for rung, _ in ABLATIONS)], ids=lambda rung: rung.name)
def test_build_makes_what_the_rung_makes(rung):
    torch.manual_seed(0)
    ours = build(rung.name, ODD)
    torch.manual_seed(0)
    rungs = rung.build(ODD)
    assert str(ours) == str(rungs)
    assert torch.equal(ours(tokens_of(2, 7)), rungs(tokens_of(2, 7)))


# recipes


@pytest.mark.parametrize("name", ALL)
def test_a_rung_alone_brings_its_own_recipe(name):
    assert recipe_for(name, None, "laptop") == (ALL[name].recipe, RECIPES[ALL[name].recipe])


@pytest.mark.parametrize("default", ["laptop", "published"])
def test_nothing_named_takes_the_default(default):
    assert recipe_for(None, None, default) == (default, RECIPES[default])


def test_a_recipe_named_wins_over_the_rungs_own_and_the_default():
    assert recipe_for(None, "residual", "laptop") == ("residual", RECIPES["residual"])
    assert recipe_for("modern", "laptop", "published") == ("laptop", RECIPES["laptop"])


def test_a_recipe_of_another_rung_is_refused():
    with pytest.raises(InputError, match="recipe 'published' trains the rung 'gpt', not 'bigram'; leave one of the two out"):
        recipe_for("bigram", "published", "laptop")
    with pytest.raises(InputError, match="recipe 'laptop' trains the rung 'modern', not 'gpt'"):
        recipe_for("gpt", "laptop", "published")


def test_an_unknown_recipe_is_refused_with_those_that_are_there():
    there_are = "bigram, .*published, laptop, sprint, patient, plain, postnorm"
    with pytest.raises(InputError, match=f"no recipe 'soup'; there are {there_are}"):
        recipe_for(None, "soup", "laptop")


def test_an_unknown_rung_is_refused_before_its_recipe():
    with pytest.raises(InputError, match="no rung 'soup'"):
        recipe_for("soup", "published", "laptop")


# settings


def test_settings_replace_the_recipes_own_and_nothing_else():
    recipe = RECIPES["published"]
    found = changed(recipe, ["steps=7", "dropout=0.5", "learning_rate=1e-2", "optimizer=muon", "steps=9"])
    assert found == replace(recipe, steps=9, dropout=0.5, learning_rate=1e-2, optimizer="muon")
    assert changed(recipe, []) == recipe


@pytest.mark.parametrize("name", [name for name in asdict(Recipe("gpt")) if name != "rung"])
def test_every_setting_can_be_given_as_it_is_shown(name):
    recipe = RECIPES["published"]
    value = getattr(recipe, name)
    found = changed(replace(RECIPES["laptop"], n_embd=48, n_head=1), [f"{name}={value}"])
    assert getattr(found, name) == value
    assert type(getattr(found, name)) is type(value)


@pytest.mark.parametrize("setting", ["depth=3", "rung=bigram", "steps", "=3", "", "Steps=3", "vocab_size=3"])
def test_an_unknown_setting_is_refused_with_those_that_are_there(setting):
    with pytest.raises(
        InputError,
        match=f"no setting '{setting}'; (did you mean '[a-z_]+'. )?give name=value, with a name of block_size, .*every",
    ):
        changed(RECIPES["laptop"], [setting])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("steps=1.5", "steps=1.5 does not fit: steps is a whole number, now 5000"),
        ("steps=many", "steps=many does not fit: steps is a whole number"),
        ("steps=", "steps= does not fit: steps is a whole number"),
        ("dropout=half", "dropout=half does not fit: dropout is a number, now 0.2"),
        ("dropout=1.5", "dropout is 1.5; it must be 0 or more and less than 1"),
        ("learning_rate=nan", "learning_rate is nan; it must be more than 0"),
        ("n_head=5", "n_embd is 384; it must be a multiple of n_head 5"),
        ("batch_size=-1", "batch_size is -1; it must be 1 or more"),
        ("optimizer=sgd", "optimizer is sgd; it must be one of adamw, muon"),
        ("precision=", "precision is ; it must be one of float32, mixed"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(setting, message):
    with pytest.raises(InputError, match=message):
        changed(RECIPES["published"], [setting])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: rung_named("atention"), "no rung 'atention'; did you mean 'attention'? there are bigram, "),
        (lambda: recipe_for(None, "labtop", "laptop"), "no recipe 'labtop'; did you mean 'laptop'? there are "),
        (lambda: changed(RECIPES["laptop"], ["n_embed=64"]), "no setting 'n_embed=64'; did you mean 'n_embd'? give name=value"),
    ],
)
def test_what_was_meant_is_guessed(call, said):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value).startswith(said)
