"""Models that note how they are called, and a plain optimizer, to try the functions of lesson 2.2 on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .probes import normal

V = 7  # different tokens
GRAPH_KEPT = "gradients are on"  # a fact on the forward passes that a Table notes, and its sentence
WITHOUT_GRAPH = {GRAPH_KEPT: "torch notes every operation for a backward pass that never comes; keep @torch.no_grad()"}


class Notes(list[Any]):
    """A list that a model shares with its copies, so that what a copy is asked is noted too."""

    def __deepcopy__(self, memo: object) -> Notes:
        return self


class Table(nn.Module):
    """A model whose logits (B, T, V) follow from the present token alone; it notes how it is called."""

    def __init__(self, weight: Tensor | None = None) -> None:
        """`weight`: (V, V); numbers of unit scale if it is not given."""
        super().__init__()
        self.table = nn.Embedding.from_pretrained(normal(V, V) if weight is None else weight.clone(), freeze=False)
        self.modes, self.graphs, self.contexts = Notes(), Notes(), Notes()

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return each token's row, and note the mode, whether gradients are on, and the tokens."""
        self.modes.append(self.training)
        self.graphs.append(torch.is_grad_enabled())
        self.contexts.append(tokens.clone())
        return self.table(tokens)


class Summing(Table):
    """A model whose logits follow from all tokens up to the present one: if a token is left out of the context, it shows."""

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return the sum of all rows so far, each position with a weight of its own, so that order counts too."""
        return (super().forward(tokens) * torch.arange(2, tokens.size(1) + 2).sqrt().view(-1, 1)).cumsum(dim=1)


class Descent:
    """Gradient descent with momentum, with the interface of torch's optimizers. Those load a compiler first, for seconds."""

    def __init__(self, model: nn.Module, lr: float, momentum: float = 0.0) -> None:
        """Take all parameters of the model, with one rate."""
        self.param_groups: list[dict[str, Any]] = [{"params": list(model.parameters()), "lr": lr, "momentum": momentum}]
        self.steps = 0
        self.speeds = [torch.zeros_like(weight) for weight in model.parameters()]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        for weight in self.param_groups[0]["params"]:
            weight.grad = None if set_to_none or weight.grad is None else torch.zeros_like(weight)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401  the closure's loss, if there is one
        """Move the weights down the slope; those without a gradient stay."""
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
    """Return a table that has learned to count: after i comes i + 1, after V - 1 comes 0."""
    return weight * torch.eye(V).roll(1, dims=1)


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy by torch."""
    return nn.functional.cross_entropy(logits.reshape(-1, logits.size(-1)), targets.reshape(-1))


def squares(logits: Tensor, targets: Tensor) -> Tensor:
    """Return another loss, which differs from cross-entropy."""
    return (logits - targets.unsqueeze(-1)).square().mean()
