"""Answers typed at a terminal. An answer that cannot be read is asked for again: a slip is not a wrong answer."""

from __future__ import annotations

from collections.abc import Iterator

from ..course.questions.blanks import Blank, read_answer
from ..course.questions.quiz import Item
from ..course.workspace.evidence import Answer


def ask(item: Item) -> Answer | None:
    """Return what is typed: a choice by its number, or a value for each gap. None at the end of the input."""
    if item.choices:
        return _choice(item.choices)
    given: dict[str, str] = {}
    for blank in item.blanks:
        typed = _value(blank)
        if typed is None:
            return None
        given[blank.name] = typed
    return given


def _choice(choices: tuple[str, ...]) -> str | None:
    for typed in _typed(f"  your answer, 1 to {len(choices)}: "):
        if typed.isdecimal() and 1 <= int(typed) <= len(choices):
            return choices[int(typed) - 1]
        print(f"  {typed!r} is not one of the choices; type a number from 1 to {len(choices)}")
    return None


def _value(blank: Blank) -> str | None:
    """Return what is typed into a gap as soon as it can be read."""
    for typed in _typed(f"  {blank.name} ({blank.form}): "):
        try:
            read_answer(typed, blank)
        except ValueError as problem:
            print(f"  {problem}")
        else:
            return typed
    return None


def _typed(prompt: str) -> Iterator[str]:
    """Ask again and again, until the end of the input."""
    while True:
        try:
            yield input(prompt).strip()
        except EOFError:
            return
