"""The tensors of one call: its arguments and locals by name when it returned, and the outputs of the modules that it called."""

from __future__ import annotations

import inspect
import sys
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn

from ..checks.check import Check, Opened

RETURNED = "(returned)"


def traced(my: Opened, module: str, function: str, checks: tuple[Check, ...]) -> dict[str, Tensor]:
    """Return the tensors of the function's first call in its checks: arguments, locals, outputs of modules, result.

    Checks that compare values are tried before those of laws. Names are the code's own; the output of a module that belongs
    to `self` is named by the module's place, such as `self.query(...)`.
    """
    for check in sorted(checks, key=lambda check: (check.law, check.name != "values")):
        recorder = CallRecorder(code_of(my, module, function))
        torch.manual_seed(0)
        hook = nn.modules.module.register_module_forward_hook(recorder.after_module)
        sys.setprofile(recorder.profile)
        try:
            check.probe(my)
        finally:
            sys.setprofile(None)
            hook.remove()
        if recorder.found:
            return recorder.found
    return {}


def code_of(my: Opened, module: str, function: str) -> CodeType:
    """Return the code of a function of the package under test, without its decorators."""
    found: Any = my(module)
    for part in function.split("."):
        found = getattr(found, part)
    return inspect.unwrap(found).__code__


class CallRecorder:
    """A recorder of the tensors of one call of one function."""

    def __init__(self, code: CodeType) -> None:
        self.code = code
        self.frame: FrameType | None = None
        self.done = False
        self.found: dict[str, Tensor] = {}
        self.modules: list[tuple[nn.Module, Tensor]] = []

    def profile(self, frame: FrameType, event: str, result: Any) -> None:  # noqa: ANN401  the signature of sys.setprofile
        """Start at the function's first call, and stop when it returns (or first yields)."""
        if self.done or frame.f_code is not self.code:
            return
        if event == "call":
            self.frame = frame
        elif event == "return" and frame is self.frame:
            self.done = True
            sys.setprofile(None)
            self.keep(frame, result)

    def after_module(self, module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ANN401  the signature of a hook
        """Keep a module's output, if the module was called during the call."""
        if self.frame is not None and not self.done and isinstance(output, Tensor):
            self.modules.append((module, output.detach().clone()))

    def keep(self, frame: FrameType, result: Any) -> None:  # noqa: ANN401  whatever is returned
        """Keep arguments and locals in the order in which the code names them, then the modules' outputs, then the result."""
        owner = frame.f_locals.get("self")
        places = {id(part): name for name, part in owner.named_modules()} if isinstance(owner, nn.Module) else {}
        names: dict[str, Any] = {name: frame.f_locals[name] for name in self.code.co_varnames if name in frame.f_locals}
        for module, output in self.modules:
            place = places.get(id(module))
            if place:
                names.setdefault(f"self.{place}(...)", output)
        names[RETURNED] = result
        for name, value in names.items():
            parts = value if isinstance(value, list | tuple) else [value]
            for i, part in enumerate(parts):
                if isinstance(part, Tensor):
                    self.found[name if part is value else f"{name}[{i}]"] = part.detach().clone()
