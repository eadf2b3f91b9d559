"""The one exception that the command line prints as a line instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something given from outside cannot be used: one line that says what, what is allowed and what to do."""


@contextmanager
def as_input_error(prefix: str = "") -> Iterator[None]:
    """Turns a ValueError into an InputError, for the few places where the value came straight from the user."""
    try:
        yield
    except ValueError as error:
        raise InputError(f"{prefix}{error}") from error
