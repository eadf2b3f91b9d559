"""Models that note how they are called, and an optimizer that needs nothing: what lesson 2.2's functions are tried on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .probes import normal

V = 7  # different tokens


class Notes(list[Any]):
    """A list that a copy of its model shares."""

    def __deepcopy__(self, memo: object) -> Notes:
        return self


class Table(nn.Module):
    """Logits from the present token alone, (B, T) -> (B, T, V); it notes how it is called."""

    def __init__(self, weight: Tensor | None = None) -> None:
        """`weight`: (V, V), unit-scale numbers if there is none."""
        super().__init__()
        self.table = nn.Embedding.from_pretrained(normal(V, V) if weight is None else weight.clone(), freeze=False)
        self.modes, self.graphs, self.contexts = Notes(), Notes(), Notes()

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Each token's row."""
        self.modes.append(self.training)
        self.graphs.append(torch.is_grad_enabled())
        self.contexts.append(tokens.clone())
        return self.table(tokens)


class Summing(Table):
    """Logits from all tokens up to the present one: what is left out of the context shows."""

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """The sum of all rows so far, each place with a weight of its own, so that order counts too."""
        return (super().forward(tokens) * torch.arange(2, tokens.size(1) + 2).sqrt().view(-1, 1)).cumsum(dim=1)


class Descent:
    """Gradient descent with momentum, called as torch's optimizers are: these load a compiler first, which takes seconds."""

    def __init__(self, model: nn.Module, lr: float, momentum: float = 0.0) -> None:
        """All parameters of the model, one rate."""
        self.param_groups: list[dict[str, Any]] = [{"params": list(model.parameters()), "lr": lr, "momentum": momentum}]
        self.steps = 0
        self.speeds = [torch.zeros_like(weight) for weight in model.parameters()]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients."""
        for weight in self.param_groups[0]["params"]:
            weight.grad = None if set_to_none or weight.grad is None else torch.zeros_like(weight)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401  the closure's loss, if there is one
        """Down the slope; weights without a gradient stay."""
        loss = None if closure is None else closure()
        group = self.param_groups[0]
        self.steps += 1
        with torch.no_grad():
            for weight, speed in zip(group["params"], self.speeds, strict=True):
                if weight.grad is not None:
                    speed.mul_(group["momentum"]).add_(weight.grad)
                    weight.sub_(group["lr"] * speed)
        return loss


def cycle(weight: float = 9.0) -> Tensor:
    """A table that has learned 0, 1, 2, ..., V - 1, 0, ...: after i comes i + 1."""
    return weight * torch.eye(V).roll(1, dims=1)


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy by torch."""
    return nn.functional.cross_entropy(logits.reshape(-1, logits.size(-1)), targets.reshape(-1))


def squares(logits: Tensor, targets: Tensor) -> Tensor:
    """Another loss, of which cross-entropy knows nothing."""
    return (logits - targets.unsqueeze(-1)).square().mean()
