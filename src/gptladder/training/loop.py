"""The whole training loop: draw a batch, take a step, and now and then evaluate.

It yields what happened and prints nothing, so that a terminal, a plot, a web page and a test can
all use it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..batches import Batches
from .loss import cross_entropy

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """The result of one step. Step 0 is the untrained model."""

    step: int
    train_loss: Tensor | None  # of this batch, before its update; reading it makes a GPU wait
    validation_loss: float | None  # on evaluation steps


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    loss_function: Loss = cross_entropy,
) -> Tensor:
    """Take one step down the slope of this batch: forward, loss, backward, update.

    Return the loss before the update, detached. The model is put into training mode first.
    Gradients add up until they are cleared: without `zero_grad`, step 2 would follow the slopes of
    batches 1 and 2.
    """
    model.train()
    optimizer.zero_grad()
    loss = loss_function(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def evaluate(
    model: nn.Module,
    blocks: Iterable[tuple[Tensor, Tensor]],
    loss_function: Loss = cross_entropy,
) -> float:
    """Return the mean loss over all targets of these blocks, with dropout off.

    The model's mode is put back afterwards. A block of 8 targets at 2.0 and one of 2 at 1.0 give
    1.8: targets count alike, blocks do not.
    """
    was_training = model.training
    model.eval()
    total, count = torch.zeros((), dtype=torch.float64), 0
    for x, y in blocks:
        total += loss_function(model(x), y).cpu().double() * y.numel()
        count += y.numel()
    model.train(was_training)
    return total.item() / count


def seed_for(*parts: int | str) -> int:
    """Return a seed of 63 bits from numbers and words, such as (seed, step, "batch").

    It is the same on every machine.
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    steps: int,
    evaluate_every: int,
    seed: int = 0,
    learning_rate: Callable[[int], float] | None = None,
    loss_function: Loss = cross_entropy,
    done: int = 0,
    take_step: Callable[..., Tensor] = training_step,
) -> Iterator[Step]:
    """Train from step `done` + 1 to `steps`, in place, and yield a `Step` after each.

    With `done` 0 the untrained model is evaluated and yielded first, as step 0. Batch and dropout
    are functions of (seed, step): a run that stops and goes on later is the run that never stopped.
    `learning_rate` maps a step to its rate; without one the optimizer keeps its own.
    `take_step` is called as `training_step` is.
    """
    if done == 0:
        yield Step(0, None, evaluate(model, batches.all_blocks("validation"), loss_function))
    for step in range(done + 1, steps + 1):
        if learning_rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step)
        generator = torch.Generator().manual_seed(seed_for(seed, step, "batch"))
        x, y = batches.get_batch("train", generator)
        torch.manual_seed(seed_for(seed, step, "dropout"))
        train_loss = take_step(model, optimizer, x, y, loss_function)
        validation_loss = None
        if step % evaluate_every == 0 or step == steps:
            blocks = batches.all_blocks("validation")
            validation_loss = evaluate(model, blocks, loss_function)
        yield Step(step, train_loss, validation_loss)
