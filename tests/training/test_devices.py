"""Which processor, which recipe."""

from __future__ import annotations

import pytest
import torch

from gptladder.errors import InputError
from gptladder.rungs import RECIPES
from gptladder.training import devices


@pytest.fixture
def machine(monkeypatch):
    """A machine with as many CUDA devices as asked for, and perhaps an Apple GPU."""

    def made(cuda=0, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return made


@pytest.mark.parametrize(
    ("cuda", "mps", "kinds"),
    [(0, False, ["cpu"]), (2, False, ["cuda", "cpu"]), (0, True, ["mps", "cpu"])],
)
def test_the_fastest_comes_first_and_is_chosen(machine, cuda, mps, kinds):
    machine(cuda, mps)
    assert devices.available() == kinds
    assert devices.choose_device().type == kinds[0]


def test_a_named_device_is_taken(machine):
    machine(cuda=2)
    assert devices.choose_device("cpu") == torch.device("cpu")
    assert devices.choose_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["abacus", "", "cuda", "cuda:0", "mps", "cpu:x", "meta"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(machine, name):
    machine()
    with pytest.raises(InputError, match=rf"no device '{name}' here; there is cpu"):
        devices.choose_device(name)


def test_a_card_that_is_not_there_is_refused(machine):
    machine(cuda=2)
    with pytest.raises(InputError, match="no device 'cuda:2' here; there is cuda, cpu"):
        devices.choose_device("cuda:2")


def test_a_cpu_trains_the_laptop_recipe_and_an_accelerator_the_published_one():
    assert [devices.default_recipe(torch.device(kind)) for kind in ("cpu", "cuda", "mps")] == [
        "laptop",
        "published",
        "published",
    ]
    assert {devices.default_recipe(torch.device(kind)) for kind in ("cpu", "cuda")} <= set(RECIPES)
