"""The training loop, whole: draw a batch, take a step, now and then look at the validation split, and say so.

It yields what happened and prints nothing, so that a terminal, a plot, a web page and a test can all use it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..batches import Batches
from .loss import cross_entropy

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """What one step did. Step 0 is the untrained model."""

    step: int
    seconds: float  # since the loop began (a recorded training counts from the start of its command), all included
    train_seconds: float  # of these, spent on steps and not on evaluation
    train_loss: Tensor | None  # of this batch, before its update; a tensor, since reading it would make a GPU wait
    validation_loss: float | None  # of the whole split, on evaluation steps
    tokens_per_second: float


def training_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, loss_function: Loss = cross_entropy
) -> Tensor:
    """Forward, loss, backward, update: one step down the slope of this batch. Returns the loss before it, detached.

    The model is put into training mode first.
    Gradients add up until cleared: without `zero_grad` step 2 would follow the slopes of batches 1 and 2.
    """
    model.train()
    optimizer.zero_grad()
    loss = loss_function(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def evaluate(model: nn.Module, blocks: Iterable[tuple[Tensor, Tensor]], loss_function: Loss = cross_entropy) -> float:
    """The mean loss over all targets of these blocks, dropout off; the model's mode is put back afterwards.

    A block of 8 targets at 2.0 and one of 2 at 1.0 give 1.8: targets count alike, blocks do not.
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
    """A seed of 63 bits from any numbers and words, the same on every machine: (seed, step, "batch") and the like."""
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
    """Trains from step `done` + 1 to `steps`, in place, and yields a `Step` after each (from 0, also one before the first).

    Batch and dropout are functions of (seed, step), so a run that stops at a step and goes on from it later
    is the run that never stopped. `learning_rate` maps a step to its rate; without one the optimizer's own stays.
    `take_step` is called as `training_step` is.
    """
    began, paused, train_seconds = time.perf_counter(), 0.0, 0.0  # paused: evaluating, and what the caller did with it
    if done == 0:
        untrained = evaluate(model, batches.all_blocks("validation"), loss_function)
        yield Step(0, time.perf_counter() - began, 0.0, None, untrained, 0.0)
        paused = time.perf_counter() - began
    for step in range(done + 1, steps + 1):
        if learning_rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step)
        x, y = batches.get_batch("train", torch.Generator().manual_seed(seed_for(seed, step, "batch")))
        torch.manual_seed(seed_for(seed, step, "dropout"))
        train_loss = take_step(model, optimizer, x, y, loss_function)
        evaluating = step % evaluate_every == 0 or step == steps
        if evaluating:
            train_loss.item()  # a GPU's queue is emptied before the clock is read
        now = time.perf_counter()
        previous, train_seconds = train_seconds, now - began - paused
        validation_loss = evaluate(model, batches.all_blocks("validation"), loss_function) if evaluating else None
        yield Step(
            step,
            time.perf_counter() - began,
            train_seconds,
            train_loss,
            validation_loss,
            x.numel() / (train_seconds - previous),
        )
        if evaluating:
            paused += time.perf_counter() - now
