"""Gaps to fill: what they are, how an answer is read, and what draws their numbers and shows them."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..outline import CourseError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ...model.config import GPTConfig

Thing = TypeVar("Thing")
Place = tuple[int, ...]
Answer = float | tuple[int, ...] | str
CLOSE = 0.01  # of a number's size: three digits are right, two per cent off are wrong
LONGEST = 100  # characters of an answer


@dataclass(frozen=True)
class Blank:
    """A gap to fill: a whole number, a number (within `tolerance`), a shape or a text."""

    name: str  # what is asked: "shape of logits", "logits[0, 1]"
    answer: Answer
    why: str  # how to get it, in a sentence
    tolerance: float = 0.0

    @property
    def form(self) -> str:
        """What an answer looks like, as the end of a sentence."""
        if isinstance(self.answer, tuple):
            return "a shape such as (2, 5, 8)"
        if isinstance(self.answer, str):
            return "a text"
        return "a whole number" if isinstance(self.answer, int) else "a number such as 4.17 or 3/4, to three digits"

    @property
    def answer_text(self) -> str:
        """The right answer as it is shown."""
        return number(self.answer) if isinstance(self.answer, float) else str(self.answer)


@dataclass(frozen=True)
class Drawn:
    """What one learner is shown, and the gaps in it."""

    shown: str
    blanks: tuple[Blank, ...]


def read_answer(text: str, blank: Blank) -> bool:
    """Whether a typed answer is right. ValueError, with a sentence, if it is not of the form that the blank asks for."""
    text = text.strip()
    if not text or len(text) > LONGEST:
        raise ValueError(f"give {blank.form}" if not text else f"{LONGEST} characters at most; give {blank.form}")
    if isinstance(blank.answer, str):
        return blank.answer in (text, text.strip("'\""))
    if isinstance(blank.answer, tuple):
        return read_shape(text) == blank.answer
    return abs(read_number(text, whole=isinstance(blank.answer, int)) - blank.answer) <= blank.tolerance


def read_shape(text: str) -> tuple[int, ...]:
    """(2, 5, 8) of "(2, 5, 8)", "2 5 8", "2x5x8" or "torch.Size([2, 5, 8])". ValueError for anything else."""
    parts = [part for part in re.split(r"[\s,x×*()\[\]]+", text.removeprefix("torch.Size")) if part]
    if not parts or not all(re.fullmatch(r"[0-9]{1,12}", part) for part in parts):
        raise ValueError(f"{text!r} is no shape; write it as (2, 5, 8)")
    return tuple(int(part) for part in parts)


def read_number(text: str, whole: bool = False) -> float:
    """The number in "4.174", "3/4", "-2", "1e-3", "12.5 %" or "10,788,864". ValueError for anything else.

    A comma before three digits ends thousands in a `whole` number and may be a decimal point elsewhere, so there it is refused.
    """
    plain = text.strip().replace("−", "-")
    if re.fullmatch(r"[+-]?[0-9]{1,3}(,[0-9]{3})+", plain):
        if not whole and plain.count(",") == 1 and not plain.lstrip("+-").startswith("0"):
            raise ValueError(f"{text!r} can mean two numbers; write {plain.replace(',', '.')} or {plain.replace(',', '')}")
        plain = plain.replace(",", "." if not whole and plain.count(",") == 1 else "")
    elif re.fullmatch(r"[+-]?[0-9]{1,3}(,[0-9]{3})+\.[0-9]*", plain) or re.fullmatch(r"[0-9]{1,3}([ _'][0-9]{3})+", plain):
        plain = re.sub(r"[ ,_']", "", plain)
    elif re.fullmatch(r"[+-]?[0-9]*,[0-9]+", plain):
        plain = plain.replace(",", ".")
    percent, plain = plain.endswith("%"), plain.removesuffix("%").rstrip()
    above, slash, below = plain.partition("/")
    number = _decimal(above, text) / (_decimal(below, text) if slash else 1.0) if _decimal(below or "1", text) else math.inf
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is no number; write one such as 4.174 or 3/4")
    return number / 100 if percent else number


def _decimal(part: str, text: str) -> float:
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", part.strip()):
        raise ValueError(f"{text!r} cannot be read as a number; write one such as 4.174 or 3/4")
    return float(part)


class Dice:
    """Numbers from a seed, by the one method of `random` whose sequence Python promises to keep."""

    def __init__(self, seed: int) -> None:
        self._next = random.Random(seed).random

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self._next() * (high - low + 1))

    def several(self, count: int, low: int, high: int) -> list[int]:
        """So many of them."""
        return [self.between(low, high) for _ in range(count)]

    def one_of(self, things: Sequence[Thing]) -> Thing:
        """One of several things."""
        return things[self.between(0, len(things) - 1)]

    def shuffled(self, things: Iterable[Thing]) -> list[Thing]:
        """All of them, in another order."""
        return [thing for _, _, thing in sorted((self._next(), i, thing) for i, thing in enumerate(things))]

    def until(self, draw: Callable[[], Thing], good: Callable[[Thing], bool]) -> Thing:
        """The first of many draws that is good for a question: answers apart from those of the usual mistakes."""
        for _ in range(10_000):
            if good(found := draw()):
                return found
        raise CourseError(f"{draw.__qualname__}: nothing good in 10,000 draws")


def number(value: float) -> str:
    """As it is shown: whole, or to three digits and more."""
    return f"{value + 0.0:.0f}" if float(value).is_integer() else f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.3g}"


def whole(name: str, answer: float, why: str) -> Blank:
    """A gap for a whole number."""
    return Blank(name, round(answer), why)


def real(name: str, answer: float, why: str) -> Blank:
    """A gap for a number, three digits of which are enough."""
    return Blank(name, float(answer), why, tolerance=CLOSE * abs(answer) or 0.0005)


def shape_of(name: str, tensor: Tensor, why: str) -> Blank:
    """A gap for a shape."""
    return Blank(f"shape of {name}", tuple(tensor.shape), why)


def at(name: str, tensor: Tensor, place: Place, why: str, as_whole: bool = False) -> Blank:
    """A gap in a tensor."""
    return (whole if as_whole else real)(called(name, place), tensor[place].item(), why)


def called(name: str, place: Place) -> str:
    """A place in a tensor as Python writes it; the tensor itself where the place is ()."""
    return f"{name}[{', '.join(map(str, place))}]" if place else name


def line(label: str, *cells: str, note: str = "") -> str:
    """A label and its cells, one below the other; a `?` is to be filled in."""
    return f"  {label:<20}{''.join(f'{cell:>8}' for cell in cells):<16}    {note}".rstrip()


def table(
    name: str,
    tensor: Tensor,
    asked: Collection[Place] = (),
    hidden: Collection[Place] = (),
    shape: bool = True,
    note: str = "",
) -> list[str]:
    """A tensor as lines: its name and shape, then its rows by place. What is `asked` is a `?`, what is `hidden` a `.`."""
    head = f"{name}  {tuple(tensor.shape) if shape else 'shape ?'}"
    found = [f"{head:<42}{note}".rstrip()]
    finite = [value for value in tensor.flatten().tolist() if math.isfinite(value)]
    digits = 0 if all(abs(value - round(value)) < 1e-9 for value in finite) else 3
    for place in places(tensor.shape[:-1]):
        cells = []
        for i, value in enumerate(tensor[place].tolist()):
            shown = f"{value + 0.0:.{digits}f}" if math.isfinite(value) else str(value)
            cells.append("?" if (*place, i) in asked else "." if (*place, i) in hidden else shown)
        found.append(line(called(name, place) if place else "", *cells))
    return found


def places(shape: Sequence[int]) -> list[Place]:
    """Every place of a tensor of that shape, in order."""
    found: list[Place] = [()]
    for size in shape:
        found = [(*place, i) for place in found for i in range(size)]
    return found


def lines(*parts: str | list[str]) -> str:
    """One text of lines and lists of lines."""
    return "\n".join(one for part in parts for one in ([part] if isinstance(part, str) else part))


def doubles(values: Any) -> Tensor:  # noqa: ANN401  a number, or lists of them to any depth
    """A tensor of double precision."""
    import torch

    return torch.tensor(values, dtype=torch.float64)


def small_config(**sizes: int) -> GPTConfig:
    """A small model's, but for these sizes."""
    from ...model.config import GPTConfig

    return GPTConfig(**{"vocab_size": 65, "block_size": 8, "n_layer": 1, "n_head": 1, "n_embd": 4, "dropout": 0, **sizes})


def without_weights(make: Callable[[], nn.Module]) -> Any:  # noqa: ANN401  what `make` makes
    """A module for its shapes alone: no memory, no random number."""
    import torch

    with torch.device("meta"):
        return make()


def with_weights(make: Callable[[], nn.Module], weights: dict[str, Tensor]) -> Any:  # noqa: ANN401  what `make` makes
    """A module with these weights."""
    module = without_weights(make)
    module.load_state_dict(weights, assign=True)
    return module.requires_grad_(False).eval()


def products(weights: Tensor, values: Tensor) -> str:
    """A weighted sum, written out."""
    return " + ".join(f"{w:.3g} x {v:.3g}" for w, v in zip(weights.tolist(), values.tolist(), strict=True)).replace(
        "x -", "x -"
    )
