"""The child: one job in a process of its own, in which the learner's code is loaded and the exercise's probes are run on it.

All other exercises of the learner's files are filled with the reference's bodies first. For each check, what the probe gave,
or the error that it ended in, is written to a file (protocol.py); judge.py judges it in another process.
"""

from __future__ import annotations

import ctypes
import faulthandler
import io
import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from types import CodeType, ModuleType
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from ..checks import BY_EXERCISE
from ..checks.check import Check, Mistake
from ..source.packages import TextFinder, graft
from ..workspace.layout import MYGPT
from .failures import failure_from, words_of
from .guards import OURS, ReferenceBlocker, SharedState
from .places import line_that_sets
from .protocol import PRINTED, STACK, Failure, Job, ProbeResult, write_trace
from .tracing import traced


class Child:
    """One job, run in this process."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.root = job.project / MYGPT
        self.blocker = ReferenceBlocker(job)
        self.shared = SharedState()

    def run(self) -> None:
        """Run every check of the exercise; what one gave is written before the next begins."""
        os.chdir(self.job.project)
        checks = BY_EXERCISE[self.job.exercise]
        for name in [name for name in sys.modules if name.partition(".")[0] == OURS]:
            del sys.modules[name]
        sys.meta_path.insert(0, self.blocker)
        with TextFinder(MYGPT, self.compiled, self.members()) as package:
            for number, check in enumerate(checks):
                self.write(number, self.run_check(check, package))
            if self.job.trace:
                self.trace(package, checks)

    def members(self) -> dict[str, str]:
        """Return the learner's modules: their path in the package, and their path on disk."""
        return {path.relative_to(self.root).as_posix(): str(path) for path in self.root.rglob("*.py") if path.is_file()}

    def compiled(self, member: str) -> CodeType:
        """Compile one of the learner's files, with all other exercises in it filled."""
        path = self.root / member
        filled = dict.fromkeys(self.job.filled.get(member, ()), self.job.reference.get(member, ""))
        return compile(graft(path.read_bytes(), str(path), filled), str(path), "exec")

    def run_check(self, check: Check, package: TextFinder) -> ProbeResult:
        """Run one probe, and return what it gave or what went wrong."""
        result = ProbeResult(check.name, {})
        try:
            self.shared.reset()
            self.require_function(package.open(self.job.module))
            self.shared.reset()  # again: what the import changed must not reach the probe
            result = ProbeResult(check.name, check.probe(package.open))
        except BaseException as error:  # SystemExit and KeyboardInterrupt too: whatever the learner's code raises
            self.shared.restore_names()
            result = ProbeResult(check.name, {}, failure_from(error, self.job))
        self.shared.reset()
        if self.blocker.asked:
            return ProbeResult(check.name, {}, Failure("imports_reference", f"it imports {OURS}", self.blocker.place))
        if self.shared.changes:
            says, name = self.shared.changes[0]
            place = line_that_sets(name, self.root, first=f"{self.job.module.replace('.', '/')}.py")
            return ProbeResult(check.name, {}, Failure("changes_shared", says, place))
        return result

    def require_function(self, module: ModuleType) -> None:
        """Raise Mistake if the exercise's function is gone; nn.Module has a `forward` of its own, which only raises."""
        owner: Any = module
        for part in self.job.function.split("."):
            owner = getattr(owner, part, None)
            if owner is getattr(nn.Module, part, None):
                raise Mistake(f"{self.job.function} is gone from {module.__name__}; the checks call it by that name")

    def write(self, number: int, result: ProbeResult) -> None:
        """Write a result; if it cannot be written, write why."""
        try:
            portable = {
                name: copied(name, value) if isinstance(value, Tensor) else plain(name, value)
                for name, value in result.results.items()
            }
            ProbeResult(result.check, portable, result.failure).write(self.job.out, number)
        except BaseException as error:
            failure = result.failure or failure_from(error, self.job)
            ProbeResult(result.check, {}, failure).write(self.job.out, number)

    def trace(self, package: TextFinder, checks: tuple[Check, ...]) -> None:
        """Write the tensors that the exercise's function held when it returned, and the outputs of its modules."""
        try:
            self.shared.reset()
            write_trace(self.job.out, traced(package.open, self.job.module, self.job.function, checks))
        except BaseException as error:
            self.shared.restore_names()
            write_trace(self.job.out, failure_from(error, self.job))


def copied(name: str, tensor: Tensor) -> Tensor:
    """Copy a tensor to memory of its own. Mistake unless it lies on the CPU as plain numbers."""
    if tensor.device.type != "cpu":
        raise Mistake(f"{name} lies on the device {tensor.device}, not the CPU")
    if tensor.layout != torch.strided or tensor.is_complex():
        raise Mistake(f"{name} is a tensor of {tensor.dtype} ({tensor.layout}), where plain numbers are wanted")
    return tensor.detach().contiguous().clone()


def plain(name: str, value: Any) -> Any:  # noqa: ANN401  whatever a learner's function returned
    """Return the value as JSON keeps it. Mistake if JSON cannot."""

    def refuse(part: object) -> None:
        raise Mistake(f"{name} holds a {type(part).__module__}.{type(part).__qualname__}, where plain values are wanted")

    try:
        return json.loads(json.dumps(value, default=refuse))
    except (TypeError, ValueError, RecursionError) as error:
        raise Mistake(f"{name} cannot be compared: {words_of(error)}") from None


def prctl(option: int, value: int) -> None:
    """Change one of Linux's settings of this process; do nothing on other systems."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def confine(memory_bytes: int) -> None:
    """Let Linux end this process with its parent, write no core file, and refuse it one huge piece of memory."""
    if sys.platform == "linux":
        import resource

        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(ValueError, OSError):  # a lower limit is set already
            held = psutil.Process().memory_info().data
            resource.setrlimit(resource.RLIMIT_DATA, (held + memory_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def run_child(job: Job) -> None:
    """Run a job in this process, its output going to a file, and end the process; this never returns."""
    code = 1
    try:
        if hasattr(os, "setsid"):
            os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        confine(job.memory_bytes)
        stack = (job.out / STACK).open("w")
        faulthandler.enable(stack)
        if hasattr(faulthandler, "register"):
            faulthandler.register(signal.SIGUSR1, stack)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        descriptor = os.open(job.out / PRINTED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        if isinstance(sys.stdout, io.TextIOWrapper):  # each line at once, so that it is kept even if the next line never ends
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        Child(job).run()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.__stdout__, sys.__stderr__):
            with suppress(BaseException):  # the learner's code may have closed them
                stream.flush()  # type: ignore[union-attr]
        os._exit(code)  # at once: threads that the code has started must not keep the process alive
