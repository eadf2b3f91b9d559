"""Probes run in our own process, on code that we wrote: the reference, and the mutants of the bank."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

from ..checks import BY_EXERCISE
from ..checks.check import Check, Results
from ..outline import Exercise
from ..source import packages
from .tracing import traced

PROBE_LOCK = threading.RLock()  # a probe changes torch's default dtype and the import system, which all threads share


@cache
def wanted(check: Check) -> Results:
    """Return what the check's probe gives on the reference."""
    return run_probe(check, packages.reference)


def run_probe(check: Check, opened: packages.Opened) -> Results:
    """Return what a probe gives on a package of ours."""
    with probe_settings():
        return check.probe(opened)


def run_traced(exercise: Exercise) -> dict[str, Tensor]:
    """Return the tensors of the reference's function in the call that `gptladder trace` shows."""
    with probe_settings():
        return traced(packages.reference, exercise.module, exercise.name, BY_EXERCISE[exercise.id])


@contextmanager
def probe_settings() -> Iterator[None]:
    """Let torch make float64 tensors from one seed and use one thread inside the block; afterwards all is as it was."""
    with PROBE_LOCK:
        dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(1)  # for tensors this small, a second thread costs more than it gains
        torch.manual_seed(0)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_num_threads(threads)
