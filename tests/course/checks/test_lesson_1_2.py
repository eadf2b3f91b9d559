"""Probes and judges of lesson 1.2 that have a logic of their own: each tells what it must, and only that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gptladder.course.checks import lesson_1_2 as data
from gptladder.course.checks.check import Mistake
from gptladder.course.checks.lesson_1_2 import named, refusal, starts_problem
from gptladder.course.checks.probes import generator_problem


def refuses(message):
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
    assert refusal(refuses("id 9 at 0"), [9], forms) == ""
    assert (
        refusal(refuses("the id 9"), [9], forms)
        == "decode([9]) raises ValueError with the message 'the id 9', which does not name its place"
    )
    assert "does not name the id 9" in refusal(refuses("position 1"), [9], forms)
    assert "stops with TypeError" in refusal(lambda given: given + "", [9], forms)
    assert "returns [9]; a ValueError is wanted" in refusal(lambda given: given, [9], forms)


def test_a_hole_is_not_taken_for_a_refusal():
    def hole(given):
        raise NotImplementedError("exercise 1.2-decode")

    with pytest.raises(NotImplementedError):
        refusal(hole, [9], {})


def test_starts_must_all_come_and_about_equally_often():
    assert starts_problem(torch.tensor([95, 100, 105])) == ""
    assert "the last is never drawn" in starts_problem(torch.tensor([10, 10, 0]))
    assert "the first is never drawn" in starts_problem(torch.tensor([0, 10, 10]))
    assert "start 1 is never drawn" in starts_problem(torch.tensor([10, 0, 0]))
    assert "start 2 comes 1.8 times" in starts_problem(torch.tensor([60, 60, 180]))
    assert "start 0 comes 0.2 times" in starts_problem(torch.tensor([20, 140, 140]))


def test_a_generator_must_decide():
    def drawn(generator):
        return torch.rand(5, generator=generator)

    fixed = torch.rand(5)
    assert generator_problem(drawn, "f") == ""
    assert "different draws for the same" in generator_problem(lambda generator: torch.rand(5), "f")
    assert "two differently seeded" in generator_problem(lambda generator: fixed, "f")
    assert "called again" in generator_problem(lambda g: drawn(torch.Generator().manual_seed(g.initial_seed())), "f")
    assert "no generator" in generator_problem(lambda g: fixed if g is None else drawn(g), "f")


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
        data._ids(tokenizer, "a")
    assert said in str(mistake.value)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "two tensors, x and y"),
        (torch.zeros(2, 3, 4), "a Tensor"),
        ((torch.zeros(2, 3, dtype=torch.int64),) * 3, "a tuple"),
        ((torch.zeros(3, 2, dtype=torch.int64),) * 2, "(3, 2), where (batch_size, block_size) = (2, 3) is right"),
        ((torch.zeros(2, 3),) * 2, "float32, where token ids are int64"),
    ],
)
def test_a_batch_is_two_tensors_of_ids(found, said):
    batches = SimpleNamespace(
        get_batch=lambda split, generator: found, batch_size=2, block_size=3, splits={"train": torch.arange(9)}
    )
    with pytest.raises(Mistake) as mistake:
        data._batch(batches, "train", None)
    assert said in str(mistake.value)
