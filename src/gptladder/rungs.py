"""All rungs and recipes that the command line knows, under their names."""

from __future__ import annotations

from dataclasses import fields, replace

from torch import nn

from .errors import InputError, as_input_error, did_you_mean
from .model import ladder
from .model.config import GPTConfig, Recipe
from .model.controls import CONTROL_RECIPES, CONTROLS
from .model.ladder import RUNGS, Rung
from .model.modern import ABLATIONS, MODERN_RECIPES, MODERN_RUNG

ALL: dict[str, Rung] = {rung.name: rung for rung in (*RUNGS, MODERN_RUNG, *CONTROLS)}
RECIPES: dict[str, Recipe] = {**ladder.RECIPES, **MODERN_RECIPES, **CONTROL_RECIPES}


def rung_named(name: str) -> Rung:
    """Return the rung or control of that name. InputError lists those that there are."""
    if name not in ALL:
        raise InputError(f"no rung {name!r}; {did_you_mean(name, ALL)}there are {', '.join(ALL)}")
    return ALL[name]


def build(name: str, config: GPTConfig) -> nn.Module:
    """Build the model of that rung (or of an ablation), untrained, in its written-out form."""
    ablations = {rung.name: rung for rung, _ in ABLATIONS}
    return (ablations.get(name) or rung_named(name)).build(config)


def recipe_for(rung: str | None, recipe: str | None, default: str) -> tuple[str, Recipe]:
    """Return a recipe's name and settings: the one named, otherwise the rung's own, otherwise `default`.

    InputError if it does not exist or belongs to another rung.
    """
    own = None if rung is None else rung_named(rung).recipe
    name = recipe or own or default
    if name not in RECIPES:
        raise InputError(f"no recipe {name!r}; {did_you_mean(name, RECIPES)}there are {', '.join(RECIPES)}")
    chosen = RECIPES[name]
    if rung is not None and chosen.rung != rung:
        raise InputError(f"recipe {name!r} trains the rung {chosen.rung!r}, not {rung!r}; leave one of the two out")
    return name, chosen


def changed(recipe: Recipe, settings: list[str]) -> Recipe:
    """Return the recipe with `name=value` settings in place of its own. InputError if a name is unknown or a value unfit."""
    types = {field.name: type(getattr(recipe, field.name)) for field in fields(recipe) if field.name != "rung"}
    values: dict[str, float | str] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in types:
            guess = did_you_mean(name, types) if name not in types else ""
            raise InputError(f"no setting {setting!r}; {guess}give name=value, with a name of {', '.join(types)}")
        try:
            values[name] = types[name](text)
        except ValueError:
            kind = "a whole number" if types[name] is int else "a number"
            raise InputError(f"{name}={text} does not fit: {name} is {kind}, now {getattr(recipe, name)}") from None
    with as_input_error():
        return replace(recipe, **values)  # type: ignore[arg-type]  # each value has its field's own type
