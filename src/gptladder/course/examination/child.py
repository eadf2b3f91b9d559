"""One job in a process of its own: the learner's code is loaded with all other holes filled, and probes are run on it.

What each probe gave, or what went wrong and on which line of the learner's, is written to files; nothing is judged here.
"""

from __future__ import annotations

import ast
import builtins
import ctypes
import faulthandler
import io
import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import psutil
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..checks import BY_EXERCISE
from ..checks.check import Check, Mistake, Results
from ..source.packages import TextFinder, graft, parse
from ..workspace.layout import MYGPT
from .tracing import traced

PRINTED = "printed.txt"  # what the learner's code writes to stdout and stderr
STACK = "stack.txt"  # where it was when it was stopped, or crashed
LONGEST = 300  # characters of an error's words
TORCH = Path(torch.__file__).parent
OURS = __name__.partition(".")[0]

PLACES: dict[str, Any] = {  # a parent before its children, so that the one that was patched is named
    "builtins": builtins,
    "math": math,
    "torch": torch,
    "torch.Tensor": Tensor,
    "torch.nn": nn,
    "torch.nn.functional": nn.functional,
    "torch.nn.Module": nn.Module,
    "torch.nn.Linear": nn.Linear,
    "torch.nn.Embedding": nn.Embedding,
    "torch.optim": torch.optim,
}


def names_in(place: Any) -> dict[str, Any]:  # noqa: ANN401  a module or a class
    """What each name in it stands for, inherited ones too."""
    return {name: value for part in reversed(getattr(place, "__mro__", (place,))) for name, value in vars(part).items()}


def torchs_own(value: Any) -> bool:  # noqa: ANN401  what a name stands for now
    """Whether torch itself put it there: its compiler wraps a few of torch's functions when it is loaded."""
    code = getattr(value, "__code__", None)
    return code is not None and "<locals>" in code.co_qualname and Path(code.co_filename).is_relative_to(TORCH)


class SharedState:
    """What all code of a process shares and the learner's must leave alone: names of Python and torch, torch's settings."""

    def __init__(self) -> None:
        self.before = {place: names_in(holder) for place, holder in PLACES.items()}
        del self.before["torch"]["Storage"]  # it follows the default dtype
        self.changes: list[tuple[str, str]] = []  # in words, and the name by which its line is found

    def put_back(self) -> None:
        """Notes what has been replaced or taken away since, and undoes it."""
        now = {"builtins": {**builtins.__dict__}}
        builtins.__dict__.update(self.before["builtins"])  # first: the lines below need them
        gone = object()
        for place, before in self.before.items():
            found = now.get(place) or names_in(PLACES[place])
            for name, value in before.items():
                if found.get(name, gone) is not value and not torchs_own(found.get(name)):
                    setattr(PLACES[place], name, value)
                    self.changes.append((f"replaces {place}.{name}", name))

    def reset(self) -> None:
        """As a check begins: all in its place, float64 where no dtype is given, gradients on, one seed."""
        self.put_back()
        dtype, device = torch.get_default_dtype(), torch.get_default_device()
        if dtype not in (torch.float32, torch.float64):  # probes set these two
            self.changes.append((f"sets torch's default dtype to {dtype}", "set_default_dtype"))
        if device.type != "cpu":
            self.changes.append((f"sets torch's default device to {device}", "set_default_device"))
            torch.set_default_device(None)
        if not torch.is_grad_enabled():
            self.changes.append(("switches gradients off and not on again", "set_grad_enabled"))
            torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float64)  # a tensor made without a dtype is right where all are float64
        torch.manual_seed(0)


class ReferenceBlocker(MetaPathFinder):
    """Refuses any import of the reference, and keeps who asked first, even if the refusal is caught."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job, self.asked, self.where = job, False, dict[str, Any]()

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:  # noqa: ANN401
        """ImportError for the reference, nothing for anything else."""
        if fullname.partition(".")[0] == OURS:
            if not self.asked:
                stack = [(f.f_code.co_filename, line, f.f_code.co_qualname) for f, line in traceback.walk_stack(None)]
                self.asked, self.where = True, learners_line(self.job, reversed(stack))
            raise ImportError(f"{OURS} cannot be imported here: it holds the answers; write it yourself")


def learners_line(job: dict[str, Any], frames: Iterable[tuple[str, int, str]]) -> dict[str, Any]:
    """Of frames (file, line, function), innermost last: the last that is the learner's and not put in place of theirs."""
    root, own, found = Path(job["project"]) / MYGPT, job["function"].rpartition(".")[2], dict[str, Any]()
    for filename, line, function in frames:
        if Path(filename).is_relative_to(root):
            member = Path(filename).relative_to(root).as_posix()
            others = set(job["others"].get(member, ()))
            others |= {name.rpartition(".")[2] for name in others} - {own}
            if function.partition(".<locals>")[0] not in others:
                found = {"file": f"{MYGPT}/{member}", "line": line}
    return found


class Child:
    """One job, in a process of its own."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.root = Path(job["project"]) / MYGPT
        self.out = Path(job["out"])
        self.forbidden = ReferenceBlocker(job)
        self.shared = SharedState()

    def run(self) -> None:
        """Every check of the exercise in turn; what each gave is written before the next begins."""
        os.chdir(self.job["project"])
        checks: tuple[Check, ...] = BY_EXERCISE[self.job["exercise"]]
        for name in [name for name in sys.modules if name.partition(".")[0] == OURS]:
            del sys.modules[name]
        sys.meta_path.insert(0, self.forbidden)
        with TextFinder(MYGPT, self.compiled, self.files()) as package:
            for number, check in enumerate(checks):
                self.write(number, check.name, *self.attempt(check, package))
            if self.job.get("trace"):
                self.write_trace(package, checks)

    def files(self) -> dict[str, str]:
        """The learner's modules: path in the package to path on disk."""
        return {path.relative_to(self.root).as_posix(): str(path) for path in self.root.rglob("*.py") if path.is_file()}

    def compiled(self, member: str) -> CodeType:
        """A file of the learner's as code, with the other holes filled."""
        path = self.root / member
        others = dict.fromkeys(self.job["others"].get(member, ()), self.job["reference"].get(member, ""))
        return compile(graft(path.read_bytes(), str(path), others), str(path), "exec")

    def attempt(self, check: Check, package: TextFinder) -> tuple[Results, dict[str, Any] | None]:
        """What a probe gave, or what went wrong."""
        results, error = Results(), None
        try:
            self.shared.reset()
            self.require(package.open(self.job["module"]))  # imported on its own: what that changes must not reach the probe
            self.shared.reset()
            results = check.probe(package.open)
        except BaseException as caught:  # SystemExit and KeyboardInterrupt too: whatever the learner's code raises
            self.shared.put_back()
            error = self.described(caught)
        self.shared.reset()
        if self.forbidden.asked:
            return {}, {"kind": "forbidden", "says": f"it imports {OURS}", **self.forbidden.where}
        if self.shared.changes:
            says, name = self.shared.changes[0]
            return {}, {"kind": "changed", "says": says, **self.where(name)}
        return results, error

    def require(self, module: ModuleType) -> None:
        """Mistake if the exercise's function is gone: nn.Module has a `forward` of its own, which only raises."""
        owner: Any = module
        for part in self.job["function"].split("."):
            owner = getattr(owner, part, None)
            if owner is getattr(nn.Module, part, None):
                raise Mistake(f"{self.job['function']} is gone from {module.__name__}; the checks call it by that name")

    def described(self, error: BaseException) -> dict[str, Any]:
        """The error's kind and words, and the last line of the learner's own that it came through."""
        frames = ((f.f_code.co_filename, line, f.f_code.co_qualname) for f, line in traceback.walk_tb(error.__traceback__))
        found = {"kind": type(error).__name__[:LONGEST], "says": words_of(error), **learners_line(self.job, frames)}
        if isinstance(error, Mistake):
            found |= {"kind": "mistake", "says": str(error)}
        if isinstance(error, SyntaxError) and Path(str(error.filename)).is_relative_to(self.root):
            file = Path(str(error.filename)).relative_to(self.root.parent).as_posix()
            found |= {"kind": "unreadable", "says": str(error.msg)[:LONGEST], "file": file, "line": error.lineno}
        if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] == MYGPT:
            found |= {"kind": "mistake", "says": f"{error.name} cannot be imported: its file is missing"}
        return found

    def write(self, number: int, name: str, results: Results, error: dict[str, Any] | None) -> None:
        """Tensors and the rest, each in a file of its own; the second one last, so that it says that both are there."""
        values: dict[str, Any] = {}
        try:
            tensors = {key: copied(key, value) for key, value in results.items() if isinstance(value, Tensor)}
            values = {key: plain(key, value) for key, value in results.items() if not isinstance(value, Tensor)}
            save_file(tensors, self.out / f"{number}.safetensors")
        except BaseException as caught:
            error, values = error or self.described(caught), {}
        text = json.dumps({"check": name, "values": values, "order": list(results), "error": error})
        (self.out / f"{number}.tmp").write_text(text, encoding="utf-8")
        (self.out / f"{number}.tmp").rename(self.out / f"{number}.json")

    def where(self, name: str) -> dict[str, Any]:
        """The first line of the learner's that sets or names this, the exercise's file first."""

        def names_it(node: ast.AST) -> bool:
            if isinstance(node, ast.Attribute):
                return node.attr == name and (name.startswith("set_") or not isinstance(node.ctx, ast.Load))
            return isinstance(node, ast.Constant) and node.value == name

        own = self.job["module"].replace(".", "/") + ".py"
        for member, path in sorted(self.files().items(), key=lambda item: (item[0] != own, item)):
            with suppress(SyntaxError, OSError):
                tree = parse(Path(path).read_bytes(), path)
                if lines := [node.lineno for node in ast.walk(tree) if names_it(node)]:  # type: ignore[attr-defined]
                    return {"file": f"{MYGPT}/{member}", "line": min(lines)}
        return {}

    def write_trace(self, package: TextFinder, checks: tuple[Check, ...]) -> None:
        """What the exercise's function held when it returned, and its modules' outputs."""
        try:
            self.shared.reset()
            found = traced(package.open, self.job["module"], self.job["function"], checks)
            save_file({name: value.contiguous().clone() for name, value in found.items()}, self.out / "trace.safetensors")
            (self.out / "trace.json").write_text(json.dumps(list(found)), encoding="utf-8")
        except BaseException as error:
            self.shared.put_back()
            (self.out / "trace.json").write_text(json.dumps(self.described(error)), encoding="utf-8")


def words_of(error: BaseException) -> str:
    """The first line of an error's words, if it has any and they can be had."""
    try:
        return next((line.strip()[:LONGEST] for line in str(error).splitlines() if line.strip()), "")
    except BaseException:  # its own __str__ fails
        return ""


def copied(key: str, tensor: Tensor) -> Tensor:
    """A tensor of its own memory. Mistake if it does not lie on the CPU as plain numbers."""
    if tensor.device.type != "cpu":
        raise Mistake(f"{key} lies on the device {tensor.device}, not the CPU")
    if tensor.layout != torch.strided or tensor.is_complex():
        raise Mistake(f"{key} is a tensor of {tensor.dtype} ({tensor.layout}), where plain numbers are wanted")
    return tensor.detach().contiguous().clone()


def plain(key: str, value: Any) -> Any:  # noqa: ANN401  what a learner's function made
    """The value as JSON keeps it. Mistake if it cannot."""

    def refuse(part: object) -> None:
        raise Mistake(f"{key} holds a {type(part).__module__}.{type(part).__qualname__}, where plain values are wanted")

    try:
        return json.loads(json.dumps(value, default=refuse))
    except (TypeError, ValueError, RecursionError) as error:
        raise Mistake(f"{key} cannot be compared: {words_of(error)}") from None


def prctl(option: int, value: int) -> None:
    """Linux's settings of a process; nothing elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def confine(memory: int) -> None:
    """What Linux itself can see to: a child dies with its parent, leaves no core file, gets no huge piece of memory at once."""
    if sys.platform == "linux":
        import resource

        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(ValueError, OSError):  # a lower limit is set already
            held = psutil.Process().memory_info().data
            resource.setrlimit(resource.RLIMIT_DATA, (held + memory, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def run_child(job: dict[str, Any]) -> None:
    """The whole life of a child: its output goes to a file, its end is quiet, and it never returns."""
    code, out = 1, Path(job["out"])
    try:
        if hasattr(os, "setsid"):
            os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        confine(job["memory"])
        stack = (out / STACK).open("w")
        faulthandler.enable(stack)
        if hasattr(faulthandler, "register"):
            faulthandler.register(signal.SIGUSR1, stack)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        descriptor = os.open(out / PRINTED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        if isinstance(sys.stdout, io.TextIOWrapper):  # a line at once: it is seen even if the next one never ends
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        Child(job).run()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.__stdout__, sys.__stderr__):
            with suppress(BaseException):  # the learner's code may have closed them
                stream.flush()  # type: ignore[union-attr]
        os._exit(code)  # threads that it has left do not hold it
