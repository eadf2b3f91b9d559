"""The learner's process: it runs probes on the learner's code and hands back what came of them. It judges nothing.

Started once with torch and the probes loaded, it reads a job a line from stdin and forks a child for each (spawns one
where fork is missing), so a check starts at once and whatever the code does ends with the child. The server itself never runs a
line of the learner's: it watches time, memory and output, and answers each job with a line of JSON.

This is no sandbox: code that means harm can do here what its user can. It keeps mistakes from looking like anything else.
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
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import psutil
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from .checks import BY_EXERCISE
from .checks.check import Check, Mistake, Results
from .package import TextFinder, graft, parse
from .starter import MYGPT
from .tracing import traced

POLL_SECONDS, FAMILY_SECONDS = 0.01, 0.1  # to look at a child is cheap; to find its own children is not
PATIENCE = 10  # times the limit that may pass on a machine so busy that the child hardly runs
LOADING_SECONDS = 60.0  # what a spawned child may take to import torch
PRINTED = "printed.txt"  # what the learner's code writes to stdout and stderr
STACK = "stack.txt"  # where it was when it was stopped, or crashed
LONGEST = 300  # characters of an error's words
TORCH = Path(torch.__file__).parent
OURS = __spec__.name.partition(".")[0]  # not __name__: that is __main__ here

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


class Shared:
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


class Forbidden(MetaPathFinder):
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
        self.forbidden = Forbidden(job)
        self.shared = Shared()

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


def start(job: dict[str, Any], answers: int) -> psutil.Process:
    """A child for this job, which has nothing to do with the file that answers go to."""
    if hasattr(os, "fork"):
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            run_child(job)
        return psutil.Process(pid)
    path = Path(job["out"]) / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    command = [sys.executable, "-P", "-m", __spec__.name, str(path)]
    child = psutil.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    began = time.monotonic()
    while not (path.parent / PRINTED).exists() and child.poll() is None and time.monotonic() - began < LOADING_SECONDS:
        time.sleep(POLL_SECONDS)
    return child


def watch(child: psutil.Process, job: dict[str, Any]) -> dict[str, Any]:
    """Waits for a child and ends it where it goes beyond a limit: how it ended and where, after how long, how big it grew."""
    began, looked, peak, ended, code = time.monotonic(), 0.0, 0, "done", 0
    idle, polled, loading = 0.0, began, computed(child)  # a spawned one has loaded torch
    out, judge, family = Path(job["out"]), os.getppid(), list[psutil.Process]()
    while True:
        with suppress(psutil.TimeoutExpired):
            code = child.wait(timeout=POLL_SECONDS) or 0
            break
        now = time.monotonic()
        if now - looked > FAMILY_SECONDS:
            looked, family = now, tried(lambda: child.children(recursive=True), [])
        peak = max(peak, sum(resident(process) for process in (child, *family)))
        idle += now - polled if tried(child.status, "") == psutil.STATUS_SLEEPING else 0.0
        polled, spent = now, idle + computed(child) - loading
        over = {
            # time that it computed or slept, not time that a busy machine kept it waiting; or nobody waits for the answer
            "time": max(spent, (now - began) / PATIENCE) > job["seconds"] or os.getppid() != judge,
            "memory": peak > job["memory"],
            "output": tried(lambda: (out / PRINTED).stat().st_size, 0) > job["output"],
        }
        if any(over.values()):
            ended = next(name for name, is_over in over.items() if is_over)
            if hasattr(signal, "SIGUSR1"):
                tried(lambda: child.send_signal(signal.SIGUSR1), None)  # it writes down where it is
                time.sleep(POLL_SECONDS * 5)
            tried(child.kill, None)
            code = child.wait() or 0
            break
    seconds = time.monotonic() - began
    end_strays(child.pid, family)
    return {"ended": ended, "code": code, "seconds": seconds, "peak": peak, **stopped_at(job)}


def tried(function: Callable[[], Any], otherwise: Any) -> Any:  # noqa: ANN401  whatever the function gives
    """What the function gives, or this if the process or file is gone."""
    try:
        return function()
    except (psutil.Error, OSError):
        return otherwise


def computed(process: psutil.Process) -> float:
    """The seconds that a process has computed; none if it is gone."""
    return float(tried(lambda: sum(process.cpu_times()[:2]), 0.0))


def resident(process: psutil.Process) -> int:
    """The bytes of memory that a process holds; none if it is gone."""
    return int(tried(lambda: process.memory_info().rss, 0))


def end_strays(group: int, family: list[psutil.Process]) -> None:
    """Ends what a child has left behind: its process group, what was seen of its family, on Linux all that fell to us."""
    if hasattr(os, "killpg"):
        tried(lambda: os.killpg(group, signal.SIGKILL), None)
    for _ in range(10):  # they may start more while we end them
        strays = [process for process in (*family, *psutil.Process().children(recursive=True)) if process.is_running()]
        if not strays:
            return
        for stray in strays:
            tried(stray.kill, None)
        psutil.wait_procs(strays, timeout=1)


def stopped_at(job: dict[str, Any]) -> dict[str, Any]:
    """The learner's line that a child was at when it was stopped or crashed, as far as it could be written down."""
    text = tried(lambda: (Path(job["out"]) / STACK).read_text(errors="replace"), "")
    frames = re.findall(r'File "(.+)", line (\d+) in (.+)', text)  # innermost first
    return learners_line(job, [(file, int(line), function) for file, line, function in reversed(frames)])


def serve() -> None:
    """Jobs from stdin, one a line, until it ends; an answer a line to stdout."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    torch.set_num_threads(1)  # and no thread is started before a fork
    prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what a child leaves behind becomes ours, to be ended
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(watch(start(job, answers.fileno()), job)), file=answers, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command that waits for us
    if len(sys.argv) > 1:
        torch.set_num_threads(1)
        run_child(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    else:
        serve()
