"""The optimizer is the published AdamW, and does what AdamW does."""

from __future__ import annotations

import inspect
import math

import torch
from torch import nn

from gptladder.model.config import Recipe
from gptladder.rungs import RECIPES
from gptladder.training.optimizers import adamw


def test_published_settings_are_adamws_own_defaults():
    optimizer = adamw(nn.Linear(2, 3), RECIPES["published"])
    defaults = {name: p.default for name, p in inspect.signature(torch.optim.AdamW).parameters.items()}
    assert optimizer.defaults["lr"] == 3e-4
    assert optimizer.defaults["betas"] == defaults["betas"] == (0.9, 0.999)
    assert optimizer.defaults["weight_decay"] == defaults["weight_decay"] == 0.01
    assert optimizer.defaults["eps"] == defaults["eps"]


def test_a_recipes_settings_arrive():
    optimizer = adamw(nn.Linear(2, 3), Recipe("gpt", learning_rate=0.5, beta2=0.9, weight_decay=0.3))
    assert (optimizer.defaults["lr"], optimizer.defaults["betas"], optimizer.defaults["weight_decay"]) == (0.5, (0.9, 0.9), 0.3)


def test_every_weight_is_trained():
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Embedding(4, 3))
    held = [p for group in adamw(model, RECIPES["laptop"]).param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in model.parameters()}


def test_three_steps_by_hand():
    """Decay the weight, then move by the ratio of two running means, each corrected for its start at zero."""
    recipe = Recipe("gpt", learning_rate=0.1, beta2=0.8, weight_decay=0.5)
    model = nn.Linear(1, 1, bias=False).double()
    model.weight.data.fill_(2.0)
    optimizer, weight, mean, square = adamw(model, recipe), 2.0, 0.0, 0.0
    for step, slope in enumerate((3.0, -1.0, 0.5), start=1):
        model.weight.grad = torch.full_like(model.weight, slope)
        optimizer.step()
        mean, square = 0.9 * mean + 0.1 * slope, 0.8 * square + 0.2 * slope**2
        weight -= 0.1 * 0.5 * weight
        weight -= 0.1 * (mean / (1 - 0.9**step)) / (math.sqrt(square / (1 - 0.8**step)) + 1e-8)
        assert math.isclose(model.weight.item(), weight, abs_tol=1e-12)
