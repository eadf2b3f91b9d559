"""Gaps: what is read as an answer, what is refused, and how tensors with gaps look."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptladder.course.outline import CourseError
from gptladder.course.questions import blanks
from gptladder.course.questions.blanks import Blank, Dice, read_answer, read_number, read_shape


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
    with pytest.raises(ValueError, match=r"'4,174' can mean two numbers; write 4.174 or 4174"):
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
    with pytest.raises(ValueError, match=r"is no shape; write it as \(2, 5, 8\)"):
        read_shape(typed)


def test_a_shape_of_one_dimension_and_a_shape_run_together():
    assert read_shape("(8,)") == (8,)
    assert read_shape("258") == (258,)


def test_each_kind_of_gap_takes_its_own_answers():
    assert read_answer("512", blanks.whole("n", 512, "w"))
    assert read_answer("512.0", blanks.whole("n", 512, "w"))
    assert not read_answer("512.4", blanks.whole("n", 512, "w"))
    assert not read_answer("512,0", blanks.whole("n", 5120, "w"))
    assert read_answer("4.17", blanks.real("x", math.log(65), "w"))
    assert not read_answer("4.1", blanks.real("x", math.log(65), "w"))
    assert read_answer("1/65", blanks.real("p", 1 / 65, "w"))
    assert read_answer("2 3", blanks.shape_of("x", torch.zeros(2, 3), "w"))
    assert not read_answer("3 2", blanks.shape_of("x", torch.zeros(2, 3), "w"))
    assert not read_answer("2 3 1", blanks.shape_of("x", torch.zeros(2, 3), "w"))
    assert read_answer("hat", Blank("text", "hat", "w"))
    assert read_answer('"hat"', Blank("text", "hat", "w"))
    assert not read_answer("Hat", Blank("text", "hat", "w"))


def test_zero_is_zero():
    zero = blanks.real("masked", 0.0, "w")
    assert read_answer("0", zero)
    assert read_answer("0.0", zero)
    assert not read_answer("0.01", zero)


@pytest.mark.parametrize(
    "blank", [blanks.real("x", 1.5, "w"), blanks.whole("n", 3, "w"), Blank("s", (2,), "w"), Blank("t", "a", "w")]
)
def test_nothing_and_too_much_are_refused(blank):
    with pytest.raises(ValueError, match=f"^give {blank.form.split(' such')[0]}"):
        read_answer("  ", blank)
    with pytest.raises(ValueError, match="100 characters at most"):
        read_answer("1" * 101, blank)


@given(st.floats(0.05, 1e6), st.sampled_from([1, -1]))
def test_three_digits_are_right_and_two_per_cent_off_are_wrong(size, sign):
    blank = blanks.real("x", sign * size, "w")
    assert read_answer(f"{sign * size:.3g}", blank)
    assert read_answer(blank.answer_text, blank)
    assert not read_answer(repr(sign * size * 1.02), blank)
    assert not read_answer(repr(sign * size * 0.98), blank)
    assert not read_answer(repr(-sign * size), blank)


def test_dice_roll_the_same_for_ever():
    """Were these to change, every answer already given would be marked by other numbers."""
    dice = Dice(2026)
    assert dice.several(8, 1, 6) == [1, 4, 4, 6, 1, 2, 4, 4]
    assert dice.shuffled("abcdef") == ["b", "f", "c", "e", "d", "a"]
    assert dice.one_of("xyz") == "x"


@given(st.integers(0, 2**63), st.integers(-5, 5), st.integers(0, 9))
def test_dice_stay_between_both_ends(seed, low, span):
    assert set(Dice(seed).several(200, low, low + span)) <= set(range(low, low + span + 1))


def test_every_side_of_a_die_comes_up():
    assert set(Dice(0).several(500, 1, 6)) == {1, 2, 3, 4, 5, 6}


def test_a_draw_that_is_never_good_ends():
    with pytest.raises(CourseError, match="nothing good in 10,000 draws"):
        Dice(0).until(lambda: 1, lambda one: one == 2)


def test_a_table_names_its_rows_and_hides_what_is_asked():
    x = torch.tensor([[[1.0, -0.0, 3.0], [4.0, 5.0, float("-inf")]]])
    assert blanks.table("x", x, asked=[(0, 0, 2)], hidden=[(0, 1, 0)], note="how") == [
        "x  (1, 2, 3)                              how",
        "  x[0, 0]                    1       0       ?",
        "  x[0, 1]                    .       5    -inf",
    ]
    assert blanks.table("y", torch.tensor([0.5, 2.0]), shape=False) == ["y  shape ?", "                         0.500   2.000"]
