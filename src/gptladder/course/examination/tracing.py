"""What a function held: its tensors by name when it returned, and the outputs of the modules that it called."""

from __future__ import annotations

import inspect
import sys
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn

from ..checks.check import Check, Opened

RETURNED = "(returned)"


def code_of(my: Opened, module: str, function: str) -> CodeType:
    """The code of a function of the package under test, without its decorators."""
    found: Any = my(module)
    for part in function.split("."):
        found = getattr(found, part)
    return inspect.unwrap(found).__code__


def traced(my: Opened, module: str, function: str, checks: tuple[Check, ...]) -> dict[str, Tensor]:
    """The function's first call in its checks, those of values before laws: arguments, locals, outputs of modules, result.

    Names are the learner's own; a module that belongs to `self` is called by its place, as in `self.query(...)`.
    """
    for check in sorted(checks, key=lambda check: (check.law, check.name != "values")):
        recorder = Recorder(code_of(my, module, function))
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


class Recorder:
    """Notes the tensors of one call."""

    def __init__(self, code: CodeType) -> None:
        self.code = code
        self.frame: FrameType | None = None
        self.done = False
        self.found: dict[str, Tensor] = {}
        self.modules: list[tuple[nn.Module, Tensor]] = []

    def profile(self, frame: FrameType, event: str, result: Any) -> None:  # noqa: ANN401  as sys.setprofile calls it
        """Begins at the call, ends at the return (or the first yield)."""
        if self.done or frame.f_code is not self.code:
            return
        if event == "call":
            self.frame = frame
        elif event == "return" and frame is self.frame:
            self.done = True
            sys.setprofile(None)
            self.note(frame, result)

    def after_module(self, module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ANN401  as torch calls hooks
        """Keeps what a module gave, while the call lasts."""
        if self.frame is not None and not self.done and isinstance(output, Tensor):
            self.modules.append((module, output.detach().clone()))

    def note(self, frame: FrameType, result: Any) -> None:  # noqa: ANN401  whatever is returned
        """Arguments and locals in the order in which the code names them, then modules, then the result."""
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
