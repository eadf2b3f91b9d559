"""Which processor to train on."""

from __future__ import annotations

import torch

from ..errors import InputError


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
