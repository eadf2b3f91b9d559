"""The configuration of a run: what comes back is what was written, and nothing else is accepted."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from gptladder.errors import InputError
from gptladder.model.config import Recipe
from gptladder.run_config import CorpusIdentity, Plan, RunConfig, StateFacts

RECIPE = Recipe("gpt", n_embd=8, dropout=0.1, optimizer="muon", precision="mixed")
PLAN = Plan("cuda:1", "bfloat16", fused=True, compiled=True, slices=3, onednn=False, threads=2)
CORPUS = CorpusIdentity("text.txt", "0af", stand_in=False)
CONFIG = RunConfig("mine", RECIPE, RECIPE.config(65), CORPUS, 7, PLAN, 250_000, {"torch": "2"})


def test_a_configuration_comes_back():
    assert RunConfig.from_json(CONFIG.to_json().encode()) == CONFIG
    assert CONFIG.rung == "gpt"


@pytest.mark.parametrize("facts", [StateFacts(), StateFacts(3, 1.5, 1.25, 2, 2.5, 2.75)])
def test_facts_come_back(facts):
    assert StateFacts.from_plain(json.loads(json.dumps(asdict(facts)))) == facts


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"plan": {**asdict(PLAN), "precision": "float16"}},
            "has plan.precision 'float16'; it must be one of float32",
        ),
        ({"plan": {**asdict(PLAN), "fused": 1}}, "has plan.fused 1; it must be of type bool"),
        ({"plan": {**asdict(PLAN), "threads": True}}, "has plan.threads True; it must be of type int"),
        ({"plan": {**asdict(PLAN), "turbo": 1}}, "has plan.turbo, which this version does not know"),
        ({"mood": "good"}, "has mood, which this version does not know"),
        ({"evaluation_limit": "many"}, "has evaluation_limit 'many'; it must be of type int"),
        ({"versions": {"torch": 2}}, "has versions {'torch': 2}"),
        ({"training": {"steps": 3}}, "holds no recipe of this version: lacks training.batch_size, training.learning_rate"),
        ({"seed": None}, "has seed None; it must be of type int"),
    ],
)
def test_what_is_missing_unknown_or_of_another_type_is_named(change, said):
    content = {**json.loads(CONFIG.to_json()), **change}
    with pytest.raises(InputError) as error:
        RunConfig.from_json(json.dumps(content).encode())
    assert str(error.value).startswith(said)
