"""Gaps to fill in: the value that each asks for, how a typed answer is read, and when it is right."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Place = tuple[int, ...]  # of an entry in a tensor
Answer = float | tuple[int, ...] | str
BlankKind = Literal["whole number", "number", "shape", "text"]
FORMS: dict[BlankKind, str] = {
    "whole number": "a whole number such as 12",
    "number": "a number such as 4.17 or 3/4, to three digits",
    "shape": "a shape such as (2, 5, 8)",
    "text": "a text",
}
CLOSE = 0.01  # relative to the right number: three digits are right, an error of two per cent is wrong
LONGEST = 100  # characters of an answer


@dataclass(frozen=True)
class Blank:
    """One gap. The type of its answer decides its kind."""

    name: str  # what is asked: "shape of logits", "logits[0, 1]"
    answer: Answer
    why: str  # how to get the answer, in a sentence
    tolerance: float = 0.0  # how far a number may be off
    unit: str = ""  # what may be typed behind the number, in the plural: "nats"

    @property
    def kind(self) -> BlankKind:
        """The kind of answer that has to be typed."""
        if isinstance(self.answer, tuple):
            return "shape"
        if isinstance(self.answer, str):
            return "text"
        return "whole number" if isinstance(self.answer, int) else "number"

    @property
    def form(self) -> str:
        """The form of an answer, as the end of a sentence."""
        return FORMS[self.kind]

    @property
    def answer_text(self) -> str:
        """The right answer as it is shown."""
        return shown_number(self.answer) if isinstance(self.answer, float) else str(self.answer)


@dataclass(frozen=True)
class GapText:
    """A text with gaps, marked `?`, and what belongs into them: one learner's numbers."""

    shown: str
    blanks: tuple[Blank, ...]


def read_answer(text: str, blank: Blank) -> bool:
    """Return whether a typed answer is right.

    ValueError if it cannot be read: a sentence that says what can be typed, so that the question can be asked again.
    """
    text = text.strip()
    if not text:
        raise ValueError(f"Nothing was typed: type {blank.form}.")
    if len(text) > LONGEST:
        raise ValueError(f"An answer has {LONGEST} characters at most: type {blank.form}.")
    if isinstance(blank.answer, str):
        return blank.answer in (text, text.strip("'\""))
    if isinstance(blank.answer, tuple):
        return read_shape(text) == blank.answer
    number = read_number(text, whole=blank.kind == "whole number", unit=blank.unit)
    return abs(number - blank.answer) <= blank.tolerance


def read_shape(text: str) -> tuple[int, ...]:
    """Return (2, 5, 8) for "(2, 5, 8)", "2 5 8", "2x5x8" or "torch.Size([2, 5, 8])". ValueError for anything else."""
    parts = [part for part in re.split(r"[\s,x×*()\[\]]+", text.removeprefix("torch.Size")) if part]
    if not parts or not all(re.fullmatch(r"[0-9]{1,12}", part) for part in parts):
        raise ValueError(f"{text!r} cannot be read as a shape: type its sizes in digits, such as (2, 5, 8).")
    return tuple(int(part) for part in parts)


def read_number(text: str, whole: bool = False, unit: str = "") -> float:
    """Return the number in "4.174", "3/4", "-2", "1e-3", "12.5 %", "10,788,864" or "3.2 nats". ValueError for anything else.

    A comma before three digits groups thousands in a `whole` number. In any other number it may also be a decimal point, so
    there it is refused. The `unit` may stand behind the number, in the singular too; no other word may.
    """
    unread = f"{text!r} cannot be read as a number: type it in digits, such as {'12' if whole else '4.174 or 3/4'}"
    unread += f", with or without the unit {unit}." if unit else "."
    plain = text.strip().replace("−", "-")
    if unit:
        plain = re.sub(rf"(?<=[0-9.])\s*{unit.removesuffix('s')}s?$", "", plain, flags=re.IGNORECASE)
    if re.fullmatch(r"[+-]?[0-9]{1,3}(,[0-9]{3})+", plain):
        if not whole and plain.count(",") == 1 and not plain.lstrip("+-").startswith("0"):
            raise ValueError(f"{text!r} can mean two numbers: type {plain.replace(',', '.')} or {plain.replace(',', '')}.")
        plain = plain.replace(",", "." if not whole and plain.count(",") == 1 else "")
    elif re.fullmatch(r"[+-]?[0-9]{1,3}(,[0-9]{3})+\.[0-9]*", plain) or re.fullmatch(r"[0-9]{1,3}([ _'][0-9]{3})+", plain):
        plain = re.sub(r"[ ,_']", "", plain)
    elif re.fullmatch(r"[+-]?[0-9]*,[0-9]+", plain):
        plain = plain.replace(",", ".")
    percent, plain = plain.endswith("%"), plain.removesuffix("%").rstrip()
    above, slash, below = plain.partition("/")
    top, bottom = _decimal(above), _decimal(below) if slash else 1.0
    if top is None or not bottom or not math.isfinite(top / bottom):
        raise ValueError(unread)
    return top / bottom / (100 if percent else 1)


def _decimal(part: str) -> float | None:
    written = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", part.strip())
    return float(part) if written else None


def shown_number(value: float) -> str:
    """Return a number as text: whole, or to three digits and more."""
    return f"{value + 0.0:.0f}" if float(value).is_integer() else f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.3g}"


def whole_number(name: str, answer: float, why: str) -> Blank:
    """Return a gap for a whole number, which has to be exact."""
    return Blank(name, round(answer), why)


def real_number(name: str, answer: float, why: str, unit: str = "") -> Blank:
    """Return a gap for a number, of which three digits are enough."""
    return Blank(name, float(answer), why, tolerance=CLOSE * abs(answer) or 0.0005, unit=unit)


def loss_number(name: str, answer: float, why: str) -> Blank:
    """Return a gap for a loss: a number, with or without its unit."""
    return real_number(name, answer, why, unit="nats")


def shape_of(name: str, tensor: Tensor, why: str) -> Blank:
    """Return a gap for the shape of a tensor."""
    return Blank(f"shape of {name}", tuple(tensor.shape), why)


def entry_of(name: str, tensor: Tensor, place: Place, why: str) -> Blank:
    """Return a gap for one entry of a tensor, to three digits."""
    return real_number(entry_name(name, place), tensor[place].item(), why)


def whole_entry_of(name: str, tensor: Tensor, place: Place, why: str) -> Blank:
    """Return a gap for one entry of a tensor that is a whole number."""
    return whole_number(entry_name(name, place), tensor[place].item(), why)


def entry_name(name: str, place: Place) -> str:
    """Return an entry of a tensor as Python writes it, "x[0, 2]", or the tensor's name where the place is ()."""
    return f"{name}[{', '.join(map(str, place))}]" if place else name
