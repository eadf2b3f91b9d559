"""Probes and judges of characters and ids: each tells what it must, and only that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gptladder.course.checks.check import Mistake
from gptladder.course.checks.lesson_1_2_tokenizer import (
    ALPHABET,
    TEXTS,
    _ids,
    named,
    one_id_each,
    refusal,
    refuses,
    spell_the_text,
)


def raises(message):
    def decode(given):
        raise ValueError(message)

    return decode


@pytest.mark.parametrize(
    ("what", "message", "expected"),
    [
        ("7", "at position 7", True),
        ("7", "at 7:", True),
        ("7", "place7", True),
        ("7", "at position 17", False),
        ("7", "at position 70", False),
        ("7", "the id -7", False),
        ("-7", "the id -7", True),
        ("@", "unknown '@'", True),
        ("@", "12@", True),
        ("@", "unknown '#'", False),
    ],
)
def test_a_message_names_whole_numbers_and_characters(what, message, expected):
    assert named(what, message) is expected


def test_a_refusal_must_be_a_value_error_that_names_everything():
    forms = {"the id 9": ("9",), "its place": ("0", "1")}

    def said(function):
        return refuses(refusal(function, [9], forms), {})

    assert said(raises("id 9 at 0")) is None
    assert said(raises("the id 9")) == "decode([9]) raises a ValueError whose message does not name its place"
    assert "does not name the id 9" in said(raises("position 1"))
    assert "stops with TypeError; it must raise a ValueError that names the id 9 and its place" in said(
        lambda given: given + ""
    )
    assert "returns [9]; it must raise a ValueError" in said(lambda given: given)


def test_a_refusal_is_the_same_in_other_words():
    forms = {"the id 9": ("9",)}
    assert refusal(raises("the id 9"), [9], forms) == refusal(raises("9 is unknown"), [9], forms)
    assert refusal(raises("no"), [9], forms) == refusal(raises("wrong"), [9], forms)


def test_a_hole_is_not_taken_for_a_refusal():
    def hole(given):
        raise NotImplementedError("exercise 1.2-decode")

    with pytest.raises(NotImplementedError):
        refusal(hole, [9], {})


def test_ids_must_be_one_each_and_spell_the_text():
    assert list(ALPHABET) == sorted(set(ALPHABET))
    right = {f"encode({text!r})": [ALPHABET.index(character) for character in text] for text in TEXTS}
    assert (one_id_each(right, {}), spell_the_text(right, {})) == (None, None)
    assert "'a' of 1 characters becomes 2 ids" in one_id_each(right | {"encode('a')": [6, 6]}, {})
    assert "holds the id -1, but only 0 to 20" in spell_the_text(right | {"encode('a')": [-1]}, {})
    assert spell_the_text(right | {"encode('a')": [7]}, {}) == "the ids of 'a', looked up in self.alphabet, give 'b'"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "nothing (is a `return` missing?)"),
        (torch.tensor([1]), "a Tensor"),
        ([1.0], "1.0, a float"),
        ([True], "True, a bool"),
    ],
)
def test_ids_are_a_list_of_int(found, said):
    tokenizer = SimpleNamespace(encode=lambda text: found)
    with pytest.raises(Mistake, match="int") as mistake:
        _ids(tokenizer, "a")
    assert said in str(mistake.value)
