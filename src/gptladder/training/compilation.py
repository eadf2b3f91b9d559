"""Compiling a model with torch.compile before its training begins, if a compiler is installed."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil
import torch
from torch import nn

from ..model import kernels
from .evaluation import EvaluationBatches
from .loop import Loss

LOOK_SECONDS = 0.1
COMPILERS = ("c++", "g++", "clang++", "cl")


def choose_compilation(wanted: bool) -> tuple[bool, str]:
    """Return whether to compile, and what to say where it cannot be done: torch needs a C++ compiler for it."""
    if not wanted or any(shutil.which(name) for name in (os.environ.get("CXX", ""), *COMPILERS) if name):
        return wanted, ""
    return False, "no C++ compiler here, so the model is not compiled and training takes longer; install g++ or clang++"


def compile_now(
    model: nn.Module,
    batches: EvaluationBatches,
    slices: int,
    loss_function: Loss,
    stopping: Callable[[], bool] = lambda: False,
) -> bool:
    """Compile the model in place before the clock of training runs; weights stay as they are. False if it was stopped.

    It is compiled for a batch in these slices and for the blocks of an evaluation. That takes minutes at worst, so it is
    done in a thread, while this one looks ten times a second whether to stop.
    """
    threads, errors = torch.get_num_threads(), []

    def work() -> None:
        # Ctrl-C in a terminal goes to the compilers as well, which would print all that they were compiling. They inherit
        # from this thread that the signal is blocked; Python handles it in the main thread.
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        torch.set_num_threads(threads)  # otherwise it would compile for another number than the one that trains
        try:
            _compile(model, batches, slices, loss_function)
        except BaseException as error:
            errors.append(error)

    before = set(psutil.Process().children(recursive=True))
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(LOOK_SECONDS)
        if stopping():
            _end(set(psutil.Process().children(recursive=True)) - before)
            return False
    for error in errors:
        raise error
    return True


def _compile(model: nn.Module, batches: EvaluationBatches, slices: int, loss_function: Loss) -> None:
    # Unrolled by the compiler, the loop over tiles would take minutes to compile.
    kernels.attend_in_tiles = torch.compiler.disable(kernels.attend_in_tiles)
    model.compile(dynamic=False)
    x, y = batches.get_batch("train", torch.Generator().manual_seed(0))
    for some_x, some_y in zip(x.chunk(slices), y.chunk(slices), strict=True):
        loss_function(model.train()(some_x), some_y).backward()
    model.zero_grad()
    with torch.no_grad():
        for tokens in {x.shape: x for x, _ in batches.blocks("validation")}.values():
            model.eval()(tokens)
    model.train()


def _end(processes: Iterable[psutil.Process]) -> None:
    """End compilers that nobody waits for any more: the program would wait for them before it exits."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
