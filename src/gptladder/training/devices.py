"""The choice of the processor to train on."""

from __future__ import annotations

from typing import Literal

import torch

from ..errors import InputError

DeviceKind = Literal["cpu", "cuda", "mps"]


def available() -> list[DeviceKind]:
    """Return the kinds of device that this machine and this build of torch can use, the fastest first."""
    kinds: list[DeviceKind] = []
    if torch.cuda.is_available():
        kinds.append("cuda")
    if torch.backends.mps.is_available():
        kinds.append("mps")
    return [*kinds, "cpu"]


def choose_device(name: str | None = None) -> torch.device:
    """Return the device of that name, or the fastest. InputError if torch does not know it or this machine has none."""
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
    """Return the recipe that `gptladder train` takes by itself: one that ends in minutes on that device."""
    return "laptop" if device.type == "cpu" else "published"
