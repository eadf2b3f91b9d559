"""A cache that is full: only a ValueError refuses, and what is said about any other end."""

from __future__ import annotations

import pytest

from gptladder.course.checks import lesson_5_2_cache as cache
from gptladder.course.checks.check import Mistake, beside
from gptladder.course.checks.probes import normal


class Room:
    """A cache that answers what does not fit with an error, or not at all."""

    def __init__(self, error):
        self.error = error

    def append(self, keys, values):
        if self.error:
            raise self.error
        return keys, values


def test_only_a_value_error_refuses():
    def said(error):
        return cache.refuses({"3 tokens": cache._refusal(Room(error), 3)}, {})

    assert said(ValueError("full")) is None
    assert "end in a RuntimeError" in said(RuntimeError("shapes"))
    assert "append takes them in" in said(None)


def test_after_a_refusal_nothing_may_be_lost():
    keys = normal(1, 1, 5, 2)
    refused = {cache.REFUSAL: "ValueError"}
    assert cache.loses_nothing(refused | beside(keys, keys.clone(), "keys"), {}) is None
    assert "(keys), but the number at" in cache.loses_nothing(refused | beside(keys + 1, keys, "keys"), {})
    assert "are refused too" in cache.loses_nothing(refused | {cache.AFTERWARDS: "refused"}, {})
    assert "takes them in" in cache.loses_nothing({cache.REFUSAL: cache.TAKEN_IN}, {})


def test_what_is_no_pair_and_what_writes_into_its_arguments_is_told():
    class Odd(Room):
        def append(self, keys, values):
            return keys

    class Greedy(Room):
        def append(self, keys, values):
            values += 1
            return keys, values

    with pytest.raises(Mistake, match="must return two tensors, all keys and all values"):
        cache._append(Odd(None), *cache._pair(3))
    with pytest.raises(Mistake, match=r"KeyValueCache\.append writes into `values`"):
        cache._append(Greedy(None), *cache._pair(3))
