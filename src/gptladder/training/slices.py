"""A training step in slices of its batch, and a model that computes in another precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .loop import Loss


def compute_in(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Let the model compute in `dtype` whatever tolerates it, in place. Its weights and its logits stay float32."""
    if dtype == torch.float32:
        return model
    inner, kind = model.forward, next(model.parameters()).device.type

    def forward(*arguments: Tensor) -> Tensor:
        with torch.autocast(kind, dtype):
            logits: Tensor = inner(*arguments)
        return logits.float()

    model.forward = forward
    return model


def step_in_slices(
    slices: int, model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, loss_function: Loss
) -> Tensor:
    """Do what `training_step` does on the same batch, one slice after the other; gradients add up before the one update.

    The result differs by rounding only. What the forward pass of a slice computes stays in the processor's caches until
    its backward pass needs it.
    """
    model.train()
    optimizer.zero_grad()
    total = torch.zeros((), device=x.device)
    for some_x, some_y in zip(x.chunk(slices), y.chunk(slices), strict=True):
        loss = loss_function(model(some_x), some_y) * (len(some_x) / len(x))  # the mean over all, not the sum of means
        loss.backward()
        total += loss.detach()
    optimizer.step()
    return total
