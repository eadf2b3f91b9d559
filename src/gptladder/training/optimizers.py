"""The optimizer that a recipe asks for: AdamW, or Muon for the blocks' matrices and AdamW for the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..model.config import Recipe

# Five steps of x -> a x + b x^3 + c x^5, each with the coefficients that are best after the steps before it
# (Amsel et al. 2025, "The Polar Express", table 1: the first five, made a little safer for rounding errors).
QUINTICS = (
    (8.2051, -22.9019, 16.4607),
    (4.0664, -2.8612, 0.5184),
    (3.9096, -2.8234, 0.5250),
    (3.2856, -2.4153, 0.4853),
    (2.2779, -1.6198, 0.3985),
)


def orthogonalised(matrices: Tensor) -> Tensor:
    """(..., M, N) -> (..., M, N): the same singular vectors with all singular values near 1, by Newton-Schulz iteration.

    It needs matrix products only, takes all matrices at once, and keeps their dtype.
    """
    if matrices.size(-2) > matrices.size(-1):
        return orthogonalised(matrices.mT).mT
    x = matrices / (1.02 * torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)  # no singular value above 1
    for a, b, c in QUINTICS:
        square = x @ x.mT  # (..., M, M)
        x = a * x + (b * square + c * square @ square) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, so that no direction is drowned by a stronger one (Jordan et al. 2024).

    Scaled as in Liu et al. 2025 ("Muon is scalable"): an entry moves as far as under AdamW, so that both share one
    learning rate and one weight decay. Parameters are matrices (M, N), or several side by side (K, M, N).
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Keep the settings. The iteration runs in `dtype`: bfloat16 suffices, and is faster where the processor has it."""
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient once. Matrices of equal shape are made orthogonal together."""
        for group in self.param_groups:
            updates: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = self._with_momentum(parameter, parameter.grad, group["momentum"])
                    updates[tuple(sorted(parameter.shape[-2:]))].append((parameter, update))
            for members in updates.values():
                self._apply(members, group["lr"], group["weight_decay"])

    def _with_momentum(self, parameter: nn.Parameter, gradient: Tensor, momentum: float) -> Tensor:
        """Return the gradient blended with those before it, one step ahead (Nesterov): (K, M, N), K = 1 for one matrix."""
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(state["momentum"], momentum).view(-1, *parameter.shape[-2:])

    def _apply(self, members: list[tuple[nn.Parameter, Tensor]], lr: float, weight_decay: float) -> None:
        wide = torch.cat([update if update.size(-2) <= update.size(-1) else update.mT for _, update in members])
        shares = orthogonalised(wide.to(self.dtype)).to(wide.dtype).split([update.size(0) for _, update in members])
        for (parameter, update), share in zip(members, shares, strict=True):
            direction = share if update.size(-2) <= update.size(-1) else share.mT
            parameter.mul_(1 - lr * weight_decay)
            parameter.add_(direction.reshape(parameter.shape), alpha=-lr * 0.2 * max(parameter.shape[-2:]) ** 0.5)


class CombinedOptimizer(torch.optim.Optimizer):
    """Several optimizers, each with parameters of its own, behind one interface: their groups and states joined."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Let each optimizer work on the joined state, and on its own groups among the joined ones."""
        groups = iter(self.param_groups)
        for optimizer in self.optimizers:
            optimizer.state = self.state
            optimizer.param_groups = [next(groups) for _ in optimizer.param_groups]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the groups and state that were saved. Torch builds new ones for that, so they are shared again."""
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step with each optimizer."""
        for optimizer in self.optimizers:
            optimizer.step()


def adamw(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter 2019) in torch's fused form: several times faster, also on a CPU."""
    return torch.optim.AdamW(
        parameters,
        lr=recipe.learning_rate,
        betas=(0.9, recipe.beta2),
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def make_optimizer(model: nn.Module, recipe: Recipe, dtype: torch.dtype = torch.float32) -> torch.optim.Optimizer:
    """Return AdamW for all weights, or Muon in `dtype` for the matrices of a model's layers and AdamW for the others."""
    if recipe.optimizer == "adamw":
        return adamw(model.parameters(), recipe)
    matrices = [weight for name, weight in model.named_parameters() if name.startswith("layers.") and weight.dim() > 1]
    rest = [weight for name, weight in model.named_parameters() if not (name.startswith("layers.") and weight.dim() > 1)]
    optimizers = [Muon(matrices, recipe.learning_rate, weight_decay=recipe.weight_decay, dtype=dtype)] if matrices else []
    return CombinedOptimizer(*optimizers, *([adamw(rest, recipe)] if rest else []))
