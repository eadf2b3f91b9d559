"""Random choices that stay the same for ever: the same seed gives the same question on every machine and in every year."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from ..outline import CourseError

T = TypeVar("T")
MOST_DRAWS = 10_000


class StableRandom:
    """Random choices from a seed.

    All of them come from `random.Random.random`, the only method whose sequence Python promises never to change.
    """

    def __init__(self, seed: int) -> None:
        self._next = random.Random(seed).random

    def between(self, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`, both included."""
        return low + int(self._next() * (high - low + 1))

    def several(self, count: int, low: int, high: int) -> list[int]:
        """Return `count` whole numbers from `low` to `high`; a number may come up more than once."""
        return [self.between(low, high) for _ in range(count)]

    def one_of(self, things: Sequence[T]) -> T:
        """Return one of the things."""
        return things[self.between(0, len(things) - 1)]

    def shuffled(self, things: Iterable[T]) -> list[T]:
        """Return all the things in a random order."""
        return [thing for _, _, thing in sorted((self._next(), i, thing) for i, thing in enumerate(things))]

    def until(self, draw: Callable[[], T], good: Callable[[T], bool]) -> T:
        """Return the first draw that is good for a question: one where the usual mistakes lead to other answers."""
        for _ in range(MOST_DRAWS):
            if good(found := draw()):
                return found
        raise CourseError(f"{draw.__qualname__}: nothing good in {MOST_DRAWS:,} draws")
