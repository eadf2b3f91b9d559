"""Which processor to train on, and with how many threads."""

from __future__ import annotations

import os
from functools import cache

import torch

from ..errors import InputError
from ..model.config import Recipe

SMALL = 64  # channels up to which one thread is faster than two: the work is over before the second wakes


def available() -> list[str]:
    """The kinds of device that this machine and this build of torch can use, the fastest first."""
    kinds = []
    if torch.cuda.is_available():
        kinds.append("cuda")
    if torch.backends.mps.is_available():
        kinds.append("mps")
    return [*kinds, "cpu"]


def choose_device(name: str | None = None) -> torch.device:
    """The device of that name, or the fastest. InputError if torch does not know it or this machine has none."""
    if name is None:
        return torch.device(available()[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    count = torch.cuda.device_count() if device is not None and device.type == "cuda" else 1
    if device is None or device.type not in available() or (device.index or 0) >= count:
        raise InputError(f"no device {name!r} here; there is {', '.join(available())}")
    return device


def default_recipe(device: torch.device) -> str:
    """The recipe of `gptladder train` alone: what ends in minutes on that device."""
    return "laptop" if device.type == "cpu" else "published"


@cache
def machine_threads() -> int:
    """The number of threads that torch chose for this machine, asked once, before any training sets another."""
    return torch.get_num_threads()


def default_threads(recipe: Recipe) -> int:
    """How many threads a recipe trains fastest with on a CPU; $OMP_NUM_THREADS decides where it is set."""
    most = machine_threads()
    return 1 if recipe.n_embd <= SMALL and "OMP_NUM_THREADS" not in os.environ else most
