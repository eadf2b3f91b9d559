"""Guards around the learner's code in the child's process: what all code shares is put back, the answers stay closed.

Every probe uses the same Python and torch as the learner's code. If that code replaces a name of theirs (`torch.softmax = ...`)
or changes a setting of torch, all later results would be wrong in ways that nobody could explain.
"""

from __future__ import annotations

import builtins
import math
import traceback
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .failures import learners_place
from .protocol import Job, Place

TORCH = Path(torch.__file__).parent
OURS = __name__.partition(".")[0]

GUARDED: dict[str, Any] = {  # parents come before their children, so that the message names the one that was changed
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


class Change(NamedTuple):
    """A change that the learner's code made to something shared."""

    says: str  # "replaces torch.softmax"
    name: str  # "softmax": the word by which the learner's line is found


def attributes(owner: Any) -> dict[str, Any]:  # noqa: ANN401  a module or a class
    """Return every attribute of a module or class with its value, inherited ones included."""
    return {name: value for part in reversed(getattr(owner, "__mro__", (owner,))) for name, value in vars(part).items()}


def set_by_torch(value: Any) -> bool:  # noqa: ANN401  the value of an attribute
    """Return whether torch itself put this value there: when its compiler is loaded, it wraps a few of torch's functions."""
    code = getattr(value, "__code__", None)
    return code is not None and "<locals>" in code.co_qualname and Path(code.co_filename).is_relative_to(TORCH)


class SharedState:
    """The names of Python and torch, and torch's settings: they are restored, and each change is noted."""

    def __init__(self) -> None:
        self.before = {place: attributes(owner) for place, owner in GUARDED.items()}
        del self.before["torch"]["Storage"]  # it follows the default dtype
        self.changes: list[Change] = []

    def restore_names(self) -> None:
        """Note which names have been replaced or deleted since the start, and restore them."""
        now = {"builtins": {**builtins.__dict__}}
        builtins.__dict__.update(self.before["builtins"])  # first, because the lines below use them
        missing = object()
        for place, before in self.before.items():
            found = now.get(place) or attributes(GUARDED[place])
            for name, value in before.items():
                if found.get(name, missing) is not value and not set_by_torch(found.get(name)):
                    setattr(GUARDED[place], name, value)
                    self.changes.append(Change(f"replaces {place}.{name}", name))

    def reset(self) -> None:
        """Restore the state in which every check begins: all names, default dtype float64, gradients on, one seed."""
        self.restore_names()
        dtype, device = torch.get_default_dtype(), torch.get_default_device()
        if dtype not in (torch.float32, torch.float64):  # probes set these two
            self.changes.append(Change(f"sets torch's default dtype to {dtype}", "set_default_dtype"))
        if device.type != "cpu":
            self.changes.append(Change(f"sets torch's default device to {device}", "set_default_device"))
            torch.set_default_device(None)
        if not torch.is_grad_enabled():
            self.changes.append(Change("switches gradients off and not on again", "set_grad_enabled"))
            torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float64)  # probes compute in float64, and a tensor made without a dtype must fit in
        torch.manual_seed(0)


class ReferenceBlocker(MetaPathFinder):
    """An import hook that refuses the reference, and remembers who asked first even if the refusal is caught."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.asked = False
        self.place: Place | None = None  # of the learner's line that asked

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:  # noqa: ANN401
        """Raise ImportError for the reference; leave every other import to the hooks that follow."""
        if fullname.partition(".")[0] == OURS:
            if not self.asked:
                stack = [(f.f_code.co_filename, line, f.f_code.co_qualname) for f, line in traceback.walk_stack(None)]
                self.asked, self.place = True, learners_place(self.job, reversed(stack))
            raise ImportError(f"{OURS} cannot be imported here: it holds the answers; write it yourself")
