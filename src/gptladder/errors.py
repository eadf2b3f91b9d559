"""The one exception that the command line prints as a line instead of a traceback, and what its messages share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """An error in what was given from outside: one line that says what was given, what is allowed and what to do."""


@contextmanager
def as_input_error(prefix: str = "") -> Iterator[None]:
    """Turn a ValueError into an InputError, for the few places where the value came straight from the user."""
    try:
        yield
    except ValueError as error:
        raise InputError(f"{prefix}{error}") from error


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return `did you mean 'gpt'? ` for the known name closest to a misspelled one, or nothing if none is close."""
    close = difflib.get_close_matches(given, list(known), n=1)
    return f"did you mean {close[0]!r}? " if close else ""
