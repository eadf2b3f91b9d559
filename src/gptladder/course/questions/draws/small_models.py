"""Small modules of the reference, for the shapes and the values that questions ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ....model.config import GPTConfig

Module = TypeVar("Module", bound="nn.Module")


def doubles(values: Any) -> Tensor:  # noqa: ANN401  a number, or lists of numbers to any depth
    """Return a tensor in double precision."""
    import torch

    return torch.tensor(values, dtype=torch.float64)


def small_config(**sizes: int) -> GPTConfig:
    """Return the configuration of a small model, with these sizes instead of its own."""
    from ....model.config import GPTConfig

    return GPTConfig(**{"vocab_size": 65, "block_size": 8, "n_layer": 1, "n_head": 1, "n_embd": 4, "dropout": 0, **sizes})


def build(make: Callable[[], Module]) -> Module:
    """Build a module, and leave torch's random numbers as they were.

    Real modules of small sizes: torch's `meta` device, which has shapes and no numbers, loads torch's compiler (2 seconds).
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        return make()


def build_with_weights(make: Callable[[], Module], weights: dict[str, Tensor]) -> Module:
    """Build a module with these weights, in evaluation mode and without gradients."""
    module = build(make)
    module.load_state_dict(weights, assign=True)
    return module.requires_grad_(False).eval()


def parameter_count(module: nn.Module) -> int:
    """Return the number of a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
