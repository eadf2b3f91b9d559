"""Another device, played on the CPU, so that a tensor made in the wrong place shows without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .check import Mistake, Results
from .probes import call, normal

DEVICE = torch.device("cuda:0")  # what a tensor that lies elsewhere says; it is never used
HERE, THERE, MARK = "here", "there", "_lies"
# these may be given tensors of two devices; what comes out lies where the first one does
KEEP = {"__getitem__", "__setitem__", "copy_", "index_put", "index_put_", "view_as", "expand_as", "reshape_as", "new_tensor"}


def _tensors(value: Any) -> Iterator[Tensor]:  # noqa: ANN401  arguments of any function
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _mark(value: Any, place: str | None) -> None:  # noqa: ANN401  what any function returned
    for tensor in _tensors(value):
        if place is not None:
            setattr(tensor, MARK, place)


def _place(value: Any) -> str | None:  # noqa: ANN401  arguments of any function
    """Where these tensors lie: elsewhere if one does, here if all were made here, None if that is unknown."""
    places = {getattr(tensor, MARK, None) for tensor in _tensors(value)}
    return THERE if THERE in places else HERE if places == {HERE} else None


def _is_there(device: Any) -> bool:  # noqa: ANN401  a device or its name
    return torch.device(device).type == DEVICE.type


class PretendGPU(TorchFunctionMode):
    """Follows where tensors lie. Mistake where one that was made on the CPU meets one that lies elsewhere.

    A tensor that came about in a way that is not followed counts as neither, so nothing right is called wrong.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401  as torch calls it
        """Runs on the CPU whatever was asked for, and notes where it would lie."""
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name == "__get__" and _place(args) == THERE:
            known = {"device": DEVICE, "is_cuda": True, "is_cpu": False}
            if (asked := func.__self__.__name__) in known:
                return known[asked]
        if name in ("cpu", "cuda"):
            return self.moved(args[0], args[0], THERE if name == "cuda" else HERE)
        if name in ("to", "type_as"):
            return self.move(func, args, kwargs)
        if name in KEEP:
            place = _place(args[0])
        elif (device := kwargs.get("device")) is not None:
            place = THERE if _is_there(device) else HERE
            kwargs["device"] = "cpu"
        else:
            given = [*_tensors(args), *_tensors(kwargs)]
            place = _place(given) if given else HERE
            if place == THERE and any(_place(tensor) == HERE and tensor.dim() for tensor in given):
                raise Mistake(name.strip("_"))
        result = func(*args, **kwargs)
        _mark(result, place)
        return result

    def move(self, func: Any, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401  of a tensor's method
        """`to` and `type_as`: to a device, to where another tensor lies, or to another dtype where it is."""
        place = _place(args[0])
        for other in (*args[1:], kwargs.get("other"), kwargs.get("device")):
            if isinstance(other, Tensor):
                place = _place(other)
            elif isinstance(other, str | torch.device):
                place = THERE if _is_there(other) else HERE
        on_cpu = ["cpu" if isinstance(arg, str | torch.device) else arg for arg in args]
        if kwargs.get("device") is not None:
            kwargs["device"] = "cpu"
        return self.moved(args[0], func(*on_cpu, **kwargs), place)

    def moved(self, before: Tensor, after: Tensor, place: str | None) -> Tensor:
        """A tensor in another place, which is always another tensor."""
        if after is before and _place(before) != place:
            after = before.view_as(before)
        _mark(after, place)
        return after


def stays_there(
    function: Callable[..., Any], *inputs: Tensor, whose: str, module: nn.Module | None = None, given: str = "x"
) -> Results:
    """In words, what of the function's work lies on the CPU where its inputs and the module's weights do not; else empty.

    `given`: what the function calls its first input.
    """
    call(function, *inputs, whose=whose)  # mistakes of another kind are told by their own words
    moved = [x.clone() for x in inputs]
    _mark(moved, THERE)
    for part in module.modules() if module is not None else ():
        _mark(vars(part), HERE)  # a plain attribute stays behind when the module moves
        _mark([*part.parameters(recurse=False), *part.buffers(recurse=False)], THERE)
    remedy = f"make it with device={given}.device"
    try:
        with PretendGPU():
            y = function(*moved)
    except Mistake as met:
        return {"device": f"{whose} makes a tensor on the CPU: with {given} on a GPU, `{met}` would stop at the two; {remedy}"}
    except Exception:  # what our play of a device cannot do is nobody's mistake
        return {"device": ""}
    lost = isinstance(y, Tensor) and _place(y) == HERE
    return {"device": f"with {given} on a GPU, {whose} would return a tensor on the CPU; {remedy}" if lost else ""}


def forms(module: nn.Module, *shapes: tuple[int, ...], whose: str) -> Results:
    """What becomes of inputs of these shapes, and of single precision; and whether it would run on a GPU."""
    results: Results = {f"the shape for x {shape}": list(call(module, normal(*shape), whose=whose).shape) for shape in shapes}
    torch.set_default_dtype(torch.float32)
    x = normal(*shapes[0], dtype=torch.float32)
    results["the dtype for float32"] = str(call(module.float(), x, whose=whose).dtype)
    if problem := stays_there(module, x, whose=whose, module=module)["device"]:
        raise Mistake(problem)
    return results
