"""The clock around the loop: what counts as training, and that it goes on after a resume."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gptladder.training import clock as module
from gptladder.training.clock import Clock
from gptladder.training.loop import Step

CPU = torch.device("cpu")


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still until it is moved."""
    moment = SimpleNamespace(time=1000.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: moment.time)
    return moment


def training(clock, now, steps, every=2, first=1):
    """Steps of 3 seconds; evaluations of 10, before the first and after every second."""
    if first == 1:
        clock.evaluation_begins()
        now.time += 10
        yield Step(0, None, 4.0)
    for step in range(first, steps + 1):
        now.time += 3
        loss = None
        if step % every == 0:
            clock.evaluation_begins()
            now.time += 10
            loss = 2.0
        yield Step(step, torch.tensor(3.0), loss)


def test_evaluation_counts_as_seconds_and_not_as_training(now):
    clock = Clock(started=995.0, device=CPU)
    steps = list(clock.time(training(clock, now, 4), tokens_in_a_step=30, done=0))
    assert [step.step for step in steps] == [0, 1, 2, 3, 4]
    assert [step.seconds for step in steps] == [15, 18, 31, 34, 47]
    assert [step.train_seconds for step in steps] == [0, 3, 6, 9, 12]
    assert [step.tokens_per_second for step in steps] == [0, 10, 10, 10, 10]
    assert [step.validation_loss for step in steps] == [4.0, None, 2.0, None, 2.0]
    assert clock.train_seconds == 12


def test_what_the_caller_does_counts_unless_it_is_with_an_evaluation(now):
    """Between two steps it keeps the training waiting; after an evaluation it saves weights, which is not training."""
    clock, found = Clock(started=1000.0, device=CPU), []
    for step in clock.time(training(clock, now, 3), tokens_in_a_step=30, done=0):
        found.append(step.train_seconds)
        now.time += 1
    assert found == [0, 3, 7, 10]


def test_it_goes_on_where_the_sitting_before_stopped(now):
    clock = Clock(started=1000.0, device=CPU, seconds_before=100.0, train_seconds=40.0)
    steps = list(clock.time(training(clock, now, 4, first=3), tokens_in_a_step=30, done=2))
    assert [step.seconds for step in steps] == [103, 116]
    assert [step.train_seconds for step in steps] == [43, 46]


def test_a_step_that_is_only_evaluated_took_no_time_to_train(now):
    clock = Clock(started=1000.0, device=CPU, train_seconds=40.0)
    (step,) = clock.time(training(clock, now, 2, first=2), tokens_in_a_step=30, done=2)
    assert (step.train_seconds, step.tokens_per_second) == (40.0, 0.0)


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_gpu_has_done_its_work_before_the_clock_is_read(kind, now, monkeypatch):
    monkeypatch.setattr(f"torch.{kind}.synchronize", lambda *_: setattr(now, "time", now.time + 5))
    clock = Clock(started=1000.0, device=torch.device(kind))
    clock.evaluation_begins()
    assert clock.evaluation_began == 1005
