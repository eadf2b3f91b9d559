"""A pretended GPU: it runs on the CPU and follows where tensors would lie, so one made on the wrong device is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .check import Judgement, Mistake, Results, equal
from .probes import call, normal

DEVICE = torch.device("cuda:0")  # what a tensor on the pretended GPU says about itself; it is never used
HERE, THERE, MARK = "here", "there", "_lies"
# functions that take tensors of two devices; their result lies where the first one does
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
    """Return where these tensors lie: `THERE` if one of them does, `HERE` if all were made here, None if that is unknown."""
    places = {getattr(tensor, MARK, None) for tensor in _tensors(value)}
    return THERE if THERE in places else HERE if places == {HERE} else None


def _is_there(device: Any) -> bool:  # noqa: ANN401  a device or its name
    return torch.device(device).type == DEVICE.type


class PretendGPU(TorchFunctionMode):
    """A mode that follows where tensors lie, and raises Mistake when one made on the CPU meets one on the pretended GPU.

    A tensor that was made in a way that is not followed counts as neither, so that right code is never called wrong.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401  as torch calls it
        """Run the function on the CPU, and note where its result would lie."""
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

    def move(self, func: Any, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401  what a tensor's method takes
        """Return the result of `to` or `type_as`, which change the device, the dtype, or both to another tensor's."""
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
        """Return the tensor marked with its new place; if it has moved, it is a new object."""
        if after is before and _place(before) != place:
            after = before.view_as(before)
        _mark(after, place)
        return after


STOPS, LEFT = "stops at", "result on the CPU"


def stays_there(
    function: Callable[..., Any], *inputs: Tensor, whose: str, module: nn.Module | None = None, case: str = ""
) -> Results:
    """Run a function on a pretended GPU, where its inputs and the module's weights lie. Judged by `lies_there`.

    The results: the operation at which torch would stop because one tensor was made on the CPU (empty if it would not stop),
    and whether the returned tensor lies on the CPU. The `case` begins their names.
    """
    call(function, *inputs, whose=whose)  # mistakes of another kind are reported first, in their own words
    moved = [x.clone() for x in inputs]
    _mark(moved, THERE)
    for part in module.modules() if module is not None else ():
        _mark(vars(part), HERE)  # a plain attribute stays behind when the module moves
        _mark([*part.parameters(recurse=False), *part.buffers(recurse=False)], THERE)
    prefix, stops, left = f"{case}, " if case else "", "", False
    try:
        with PretendGPU():
            y = function(*moved)
        left = isinstance(y, Tensor) and _place(y) == HERE
    except Mistake as met:
        stops = str(met)
    except Exception:  # a limit of the pretended GPU, not a mistake of the learner's
        pass
    return {f"{prefix}{STOPS}": stops, f"{prefix}{LEFT}": left}


def lies_there(whose: str, given: str = "x", remedy: str = "") -> Judgement:
    """Return a judge of `stays_there`: the function makes no tensor on the CPU. `given` is the name of its first input."""
    remedy = remedy or f"make it with device={given}.device"

    def judge(got: Results, wanted: Results) -> str | None:
        for name, value in got.items():
            if name.endswith(STOPS) and value:
                stop = f"with {given} on a GPU, `{value}` would stop, since its tensors lie on two devices"
                return f"{whose} makes a tensor on the CPU: {stop}; {remedy}"
            if name.endswith(LEFT) and value:
                return f"with {given} on a GPU, {whose} would return a tensor on the CPU; {remedy}"
        return None

    return judge


def forms(module: nn.Module, *shapes: tuple[int, ...], whose: str) -> Results:
    """Return the output's shape for these inputs, its dtype for float32, and where it lies. Judged by `keeps_form`."""
    results: Results = {f"the shape for x {shape}": list(call(module, normal(*shape), whose=whose).shape) for shape in shapes}
    torch.set_default_dtype(torch.float32)
    x = normal(*shapes[0], dtype=torch.float32)
    results["the dtype for float32"] = str(call(module.float(), x, whose=whose).dtype)
    return results | stays_there(module, x, whose=whose, module=module)


def keeps_form(whose: str, given: str = "x") -> Judgement:
    """Judge `forms`: the device first, then shapes and dtype as the reference has them."""
    place = lies_there(whose, given)

    def judge(got: Results, wanted: Results) -> str | None:
        return place(got, wanted) or equal(got, wanted)

    return judge
