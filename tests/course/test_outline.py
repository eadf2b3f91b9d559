"""The one list: complete, and refused when it contradicts itself."""

from __future__ import annotations

import re

import pytest

from gptladder.course import outline
from gptladder.course.outline import COURSE, CourseError, course, read
from gptladder.rungs import ALL

SMALL = """
version = 1
[[module]]
id = "1"
title = "One"
[[lesson]]
id = "1.2"
title = "The data"
[[objective]]
id = "1.2a"
verb = "explain"
text = "Explain it"
[[exercise]]
id = "1.2-encode"
file = "tokenizer.py"
name = "CharTokenizer.encode"
objectives = ["1.2a"]
minutes = 5
allowed = "Python."
hints = ["look"]
[[question]]
id = "1.2a-1"
objective = "1.2a"
kind = "explain"
ask = "Why?"
answer = "So."
because = "It is."
wrong = [
  { says = "a", thinks = "t", feedback = "f" },
  { says = "b", thinks = "t", feedback = "f" },
  { says = "c", thinks = "t", feedback = "f" },
]
"""


def test_the_course_has_its_modules_lessons_and_objectives():
    chosen = course()
    counts = len(chosen.modules), len(chosen.lessons), len(chosen.objectives)
    assert counts == (5, 12, 36)
    for lesson in chosen.lessons:
        assert [o.id for o in chosen.objectives if o.lesson == lesson.id] == [f"{lesson.id}{letter}" for letter in "abc"]


def test_every_lesson_from_the_second_on_has_an_exercise():
    chosen = course()
    assert len(chosen.exercises) >= 25
    without = [lesson.id for lesson in chosen.lessons if all(e.lesson != lesson.id for e in chosen.exercises)]
    assert without == ["1.1"]


def test_ids_have_their_form_and_the_course_goes_forward():
    chosen = course()
    assert all(re.fullmatch(r"\d\.\d-[a-z-]+", exercise.id) for exercise in chosen.exercises)
    assert all(re.fullmatch(rf"{q.objective}-\d+", q.id) for q in chosen.questions)
    lessons = [exercise.lesson for exercise in chosen.exercises]
    assert lessons == sorted(lessons)


def test_every_classic_rung_is_reached_by_some_lesson_in_the_ladder_s_order():
    reached = [rung for lesson in course().lessons for rung in lesson.rungs]
    assert reached == [name for name in ALL if name in reached]
    assert reached[-1] == "gpt"
    assert len(reached) == 8


def test_exercises_have_hints_that_grow_and_no_drafts():
    for exercise in course().exercises:
        assert len(exercise.hints) >= 3, exercise.id
        assert len(set(exercise.hints)) == len(exercise.hints)
    assert "TODO" not in COURSE.read_text()


def test_exercises_up_to_a_lesson_are_all_before_it():
    ids = [exercise.id for exercise in course().exercises_up_to("2.1")]
    assert ids[0] == "1.2-encode"
    assert {id.split("-")[0] for id in ids} == {"1.2", "2.1"}


def test_evidence_for_an_objective_is_its_exercises_and_questions():
    evidence = course().evidence_for("3.3c")
    assert "3.3-head" in evidence
    assert any(id.startswith("3.3c-") for id in evidence)


def test_the_small_course_reads():
    chosen = read(SMALL)
    assert chosen.exercise("1.2-encode").module == "tokenizer"
    assert chosen.questions[0].wrong[2].says == "c"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("version = 1", "", "version is missing"),
        ("version = 1", "version = 1\n[[page]]", "unknown table page"),
        ('title = "The data"', "", "lesson 1.2: title missing"),
        ('title = "The data"', 'title = ""', "title is ''"),
        ("minutes = 5", 'minutes = "5"', "minutes is '5'"),
        ('hints = ["look"]', "hints = []", "hints is ()"),
        ("minutes = 5", "minutes = 5\nlevel = 3", "unknown level"),
        ('id = "1.2"', 'id = "2.2"', "lesson 2.2: 2 is not in the course"),
        ('objectives = ["1.2a"]', 'objectives = ["1.2b"]', "exercise 1.2-encode: 1.2b is not in the course"),
        ('id = "1.2-encode"', 'id = "1.3-encode"', "exercise 1.3-encode: 1.3 is not in the course"),
        ('objective = "1.2a"', 'objective = "1.9a"', "no question of the kind 'explain' asks for it"),
        ('verb = "explain"', 'verb = "trace"', "no question of the kind 'trace' asks for it"),
        ('verb = "explain"', 'verb = "guess"', "guess is not in the course"),
        ('kind = "explain"', 'kind = "trace"', "no question of the kind 'explain' asks for it"),
        ('  { says = "c", thinks = "t", feedback = "f" },\n', "", "at least three `wrong` choices"),
        ('says = "c"', 'says = "So."', "all different"),
        ('says = "c"', 'said = "c"', "unknown said"),
        ("[[question]]", '[[lesson]]\nid = "1.3"\ntitle = "Empty"\n[[question]]', "lesson 1.3: it has no objective"),
        ("[[question]]", '[[lesson]]\nid = "1.2"\ntitle = "Again"\n[[question]]', "1.2 is in it twice"),
        ("version = 1", "version =", "course.toml"),
    ],
)
def test_a_course_that_contradicts_itself_is_refused_in_words(old, new, words):
    assert SMALL.count(old) >= 1
    with pytest.raises(CourseError) as error:
        read(SMALL.replace(old, new, 1))
    assert words in str(error.value)


def test_what_is_drawn_has_no_choices_and_what_is_judged_has_an_exhibit():
    def question(**changes):
        fields = {"id": "1.2a-1", "objective": "1.2a", "kind": "judge", "ask": "?", "because": "b", "answer": "x"}
        wrong = tuple(outline.WrongChoice(says, "t", "f") for says in "abc")
        return outline.Question(**{**fields, "wrong": wrong, **changes})

    with pytest.raises(CourseError, match="exhibit"):
        outline._check_question(question())
    outline._check_question(question(exhibit="curves"))
    with pytest.raises(CourseError, match="has a `draw`"):
        outline._check_question(question(kind="trace", draw="chain"))
    outline._check_question(question(kind="trace", draw="chain", answer="", wrong=()))
