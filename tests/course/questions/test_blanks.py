"""Gaps: what is read as an answer, and what is refused with a sentence that says what can be typed."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptladder.course.questions import blanks
from gptladder.course.questions.blanks import Blank, read_answer, read_number, read_shape


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        ("4.174", 4.174),
        (" 4.174 ", 4.174),
        ("-2", -2.0),
        ("−2", -2.0),
        ("+.5", 0.5),
        ("4.", 4.0),
        ("3/4", 0.75),
        ("-1 / 4", -0.25),
        ("1.5/3", 0.5),
        ("1e-3", 0.001),
        ("2.5E1", 25.0),
        ("12.5%", 0.125),
        ("12.5 %", 0.125),
        ("0,125", 0.125),
        ("4,17", 4.17),
        ("1,234.5", 1234.5),
        ("10,788,864", 10788864.0),
        ("10 788 864", 10788864.0),
        ("10_788_864", 10788864.0),
        ("10'788'864", 10788864.0),
    ],
)
def test_a_number_is_read_as_people_write_it(typed, number):
    assert read_number(typed) == pytest.approx(number, rel=1e-12)


def test_a_comma_before_three_digits_is_read_only_where_it_can_mean_one_thing():
    with pytest.raises(ValueError, match=r"'4,174' can mean two numbers: type 4.174 or 4174\."):
        read_number("4,174")
    assert read_number("4,174", whole=True) == 4174
    assert read_number("0,174") == 0.174


@pytest.mark.parametrize(
    "typed",
    [
        "ln 65",
        "four",
        "1/0",
        "1/",
        "/2",
        "1//2",
        "1/2/3",
        "--1",
        "1.2.3",
        "1,2,3",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "0x10",
        "1e",
        "%",
        "2 3",
    ],
)
def test_what_is_no_number_is_refused_in_a_sentence(typed):
    with pytest.raises(ValueError, match=r"number"):
        read_number(typed)


@pytest.mark.parametrize("typed", ["(2, 5, 8)", "2 5 8", "2x5x8", "2 × 5 × 8", "[2,5,8]", "torch.Size([2, 5, 8])", "2, 5, 8,"])
def test_a_shape_is_read_as_people_write_it(typed):
    assert read_shape(typed) == (2, 5, 8)


@pytest.mark.parametrize("typed", ["(B, T, C)", "2.5 8", "-2 5", "()", "two", "9999999999999"])
def test_what_is_no_shape_is_refused_in_a_sentence(typed):
    with pytest.raises(ValueError, match=r"cannot be read as a shape: type its sizes in digits, such as \(2, 5, 8\)\.$"):
        read_shape(typed)


def test_a_shape_of_one_dimension_and_a_shape_run_together():
    assert read_shape("(8,)") == (8,)
    assert read_shape("258") == (258,)


def test_each_kind_of_gap_takes_its_own_answers():
    assert read_answer("512", blanks.whole_number("n", 512, "w"))
    assert read_answer("512.0", blanks.whole_number("n", 512, "w"))
    assert not read_answer("512.4", blanks.whole_number("n", 512, "w"))
    assert not read_answer("512,0", blanks.whole_number("n", 5120, "w"))
    assert read_answer("4.17", blanks.real_number("x", math.log(65), "w"))
    assert not read_answer("4.1", blanks.real_number("x", math.log(65), "w"))
    assert read_answer("1/65", blanks.real_number("p", 1 / 65, "w"))
    assert read_answer("2 3", blanks.shape_of("x", torch.zeros(2, 3), "w"))
    assert not read_answer("3 2", blanks.shape_of("x", torch.zeros(2, 3), "w"))
    assert not read_answer("2 3 1", blanks.shape_of("x", torch.zeros(2, 3), "w"))
    assert read_answer("hat", Blank("text", "hat", "w"))
    assert read_answer('"hat"', Blank("text", "hat", "w"))
    assert not read_answer("Hat", Blank("text", "hat", "w"))


def test_a_number_in_words_is_refused_with_what_can_be_typed():
    with pytest.raises(ValueError, match=r"^'one' cannot be read as a number: type it in digits, such as 12\.$"):
        read_answer("one", blanks.whole_number("n", 1, "w"))
    with pytest.raises(ValueError, match=r"^'one' cannot be read as a number: type it in digits, such as 4\.174 or 3/4\.$"):
        read_answer("one", blanks.real_number("x", 1.0, "w"))


@pytest.mark.parametrize("typed", ["3.2 nats", "3.2nats", "3.2 NATS", "3.2 nat", "16/5 nats", "3,2 nats", "3.2"])
def test_a_loss_may_be_typed_with_its_unit(typed):
    assert read_answer(typed, blanks.loss_number("loss", 3.2, "w"))
    assert not read_answer(typed, blanks.loss_number("loss", 3.3, "w"))


@pytest.mark.parametrize("typed", ["3.2 bits", "3.2 nats nats", "nats", "nats 3.2", "3.2 characters"])
def test_another_unit_is_refused_and_the_right_one_is_named(typed):
    with pytest.raises(ValueError, match=r"cannot be read as a number: .*, with or without the unit nats\.$"):
        read_answer(typed, blanks.loss_number("loss", 3.2, "w"))


def test_only_a_gap_that_has_a_unit_takes_one():
    with pytest.raises(ValueError, match="cannot be read as a number"):
        read_answer("3.2 nats", blanks.real_number("perplexity", 3.2, "w"))


def test_a_gap_says_what_kind_of_answer_it_takes():
    kinds = [blanks.whole_number("n", 3, "w"), blanks.real_number("x", 3, "w"), Blank("s", (2,), "w"), Blank("t", "a", "w")]
    assert [blank.kind for blank in kinds] == list(blanks.FORMS)
    assert [blank.form for blank in kinds] == list(blanks.FORMS.values())


def test_zero_is_zero():
    zero = blanks.real_number("masked", 0.0, "w")
    assert read_answer("0", zero)
    assert read_answer("0.0", zero)
    assert not read_answer("0.01", zero)


@pytest.mark.parametrize(
    "blank", [blanks.real_number("x", 1.5, "w"), blanks.whole_number("n", 3, "w"), Blank("s", (2,), "w"), Blank("t", "a", "w")]
)
def test_nothing_and_too_much_are_refused(blank):
    with pytest.raises(ValueError, match=f"^Nothing was typed: type {re.escape(blank.form)}\\.$"):
        read_answer("  ", blank)
    with pytest.raises(ValueError, match=f"100 characters at most: type {re.escape(blank.form)}\\.$"):
        read_answer("1" * 101, blank)


@given(st.floats(0.05, 1e6), st.sampled_from([1, -1]))
def test_three_digits_are_right_and_two_per_cent_off_are_wrong(size, sign):
    blank = blanks.real_number("x", sign * size, "w")
    assert read_answer(f"{sign * size:.3g}", blank)
    assert read_answer(blank.answer_text, blank)
    assert not read_answer(repr(sign * size * 1.02), blank)
    assert not read_answer(repr(sign * size * 0.98), blank)
    assert not read_answer(repr(-sign * size), blank)
