"""The clock around the training loop: when each step ended, and how much of the time went into training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .loop import Step


@dataclass(frozen=True)
class TimedStep:
    """The result of one step, and when it came. Step 0 is the untrained model."""

    step: int
    seconds: float  # since the command began, everything included; a resumed training goes on counting
    train_seconds: float  # of these, spent on steps and not on evaluation
    train_loss: Tensor | None  # of this batch, before its update; a tensor, since reading it would make a GPU wait
    validation_loss: float | None  # on evaluation steps
    tokens_per_second: float


@dataclass
class Clock:
    """A clock of a training's seconds. Evaluation, and what the caller does with one, is left out of `train_seconds`."""

    started: float  # time.perf_counter() when the command began
    device: torch.device
    seconds_before: float = 0.0  # of the sittings before this one
    train_seconds: float = 0.0  # so far, all sittings together
    evaluation_began: float = 0.0

    def seconds(self) -> float:
        """Return the seconds until now, all sittings together."""
        return self.seconds_before + time.perf_counter() - self.started

    def evaluation_begins(self) -> None:
        """Note the time, after the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        self.evaluation_began = time.perf_counter()

    def time(self, steps: Iterator[Step], tokens_in_a_step: int, done: int) -> Iterator[TimedStep]:
        """Yield each step with its times. `evaluation_begins` must be called whenever one does.

        No time was spent on training the steps up to `done`: they come from before, only to be evaluated.
        """
        mark = time.perf_counter()  # until here the time is accounted for
        for step in steps:
            evaluated = step.validation_loss is not None
            end = self.evaluation_began if evaluated else time.perf_counter()
            duration = end - mark if step.step > done else 0.0
            self.train_seconds += duration
            yield TimedStep(
                step.step,
                self.seconds(),
                self.train_seconds,
                step.train_loss,
                step.validation_loss,
                tokens_in_a_step / duration if duration else 0.0,
            )
            mark = time.perf_counter() if evaluated else end
