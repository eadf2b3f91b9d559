"""Questions are the same for the same learner and marked the same by everybody, and no answer makes the marking fail."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptladder.course import outline
from gptladder.course.outline import CourseError, Question, WrongChoice
from gptladder.course.questions import quiz

WRONG = tuple(WrongChoice(f"wrong {i}", f"thinks {i}", f"look at {i}.") for i in range(4))
CHOICE = Question("2.2c-9", "2.2c", "judge", "Which?", "Because.", answer="right", wrong=WRONG, exhibit="norm_of_the_stream")
DRAWN = Question("2.1c-9", "2.1c", "calculate", "How much?", "Because.", draw="uniform")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def the_course(monkeypatch):
    monkeypatch.setattr(outline, "_check", lambda course: None)  # completeness does not matter here
    return outline.read(outline.COURSE.read_text(encoding="utf-8"))


def filled(item):
    return {blank.name: blank.answer_text for blank in item.blanks}


def test_the_right_choice_is_right_and_its_reasoning_is_shown():
    marked = quiz.mark(CHOICE, "right", 1)
    assert marked == quiz.Marked(True, "Because.")


def test_a_wrong_choice_has_its_feedback_and_the_misconception():
    marked = quiz.mark(CHOICE, "wrong 2", 1)
    assert marked == quiz.Marked(False, "Because.", feedback="look at 2.", thinks="thinks 2")


@pytest.mark.parametrize("answer", ["another", "", None, 3, ["right"], {"right": "right"}, "Right"])
def test_what_is_none_of_the_choices_is_wrong_in_words(answer):
    marked = quiz.mark(CHOICE, answer, 1)
    assert (marked.right, marked.thinks) == (False, "")
    assert "not one of the choices" in marked.feedback


def test_choices_stand_in_an_order_of_the_learners_own():
    orders = [quiz.item(CHOICE, seed).choices for seed in range(40)]
    assert all(sorted(order) == sorted(["right", *(wrong.says for wrong in WRONG)]) for order in orders)
    assert len({order.index("right") for order in orders}) == 5
    assert orders == [quiz.item(CHOICE, seed).choices for seed in range(40)]
    another = replace(CHOICE, id="2.2c-8")
    assert orders != [quiz.item(another, seed).choices for seed in range(40)]


def test_a_question_comes_with_its_exhibit():
    assert "self.attention_norm(x)" in quiz.item(CHOICE, 1).shown
    assert quiz.item(replace(CHOICE, kind="explain", exhibit=""), 1).shown == ""


def test_a_drawn_question_is_right_when_every_gap_is():
    item = quiz.item(DRAWN, 7)
    marked = quiz.mark(DRAWN, filled(item), 7)
    assert marked.right
    assert marked.because == "Because."
    assert [blank.name for blank in marked.blanks] == [blank.name for blank in item.blanks]
    assert not any(blank.problem for blank in marked.blanks)


def test_one_gap_that_is_wrong_is_the_one_that_is_marked():
    answers = filled(quiz.item(DRAWN, 7))
    answers["loss"] = "1.5"
    marked = quiz.mark(DRAWN, answers, 7)
    assert not marked.right
    assert {blank.name: blank.right for blank in marked.blanks if not blank.right} == {"loss": False}
    loss = next(blank for blank in marked.blanks if blank.name == "loss")
    assert (loss.given, loss.problem) == ("1.5", "")
    assert loss.why.startswith("-ln(1/")
    assert float(loss.answer) > 2


def test_a_gap_that_cannot_be_read_says_why_and_one_left_out_too():
    answers = filled(quiz.item(DRAWN, 7))
    del answers["probability of each character"]
    marked = quiz.mark(DRAWN, {**answers, "loss": "ln 65", "not asked": "1"}, 7)
    problems = {blank.name: blank.problem for blank in marked.blanks if blank.problem}
    assert problems["loss"] == (
        "'ln 65' cannot be read as a number: type it in digits, such as 4.174 or 3/4, with or without the unit nats."
    )
    assert problems["probability of each character"].startswith("Nothing was typed: type a number")
    assert not marked.right


def test_numbers_in_place_of_texts_are_read():
    answers = filled(quiz.item(DRAWN, 7))
    assert quiz.mark(DRAWN, {name: float(text) for name, text in answers.items()}, 7).right


def test_one_learners_answers_are_not_anothers():
    answers = filled(quiz.item(DRAWN, 7))
    assert sum(quiz.mark(DRAWN, answers, seed).right for seed in range(30)) <= 2


def test_another_question_of_the_same_kind_has_other_numbers():
    assert quiz.item(DRAWN, 7).shown != quiz.item(replace(DRAWN, id="2.1c-8"), 7).shown


@given(JSON)
def test_no_answer_upsets_the_marking(answer):
    assert not quiz.mark(DRAWN, answer, 7).right
    assert quiz.mark(CHOICE, answer, 7).right == (answer == "right")
    names = [blank.name for blank in quiz.item(DRAWN, 7).blanks]
    assert not quiz.mark(DRAWN, dict.fromkeys(names, answer), 7).right


def test_what_a_question_names_must_be_there(the_course):
    with pytest.raises(CourseError, match=r"question 2.1c-9: there is no 'nothing'; there are packed_batch, "):
        quiz.item(replace(DRAWN, draw="nothing"), 1)
    with pytest.raises(CourseError, match=r"question 2.2c-9: there is no 'nothing'"):
        quiz.item(replace(CHOICE, exhibit="nothing"), 1)
    broken = replace(the_course, questions=(replace(DRAWN, draw="nothing"), CHOICE))
    found = list(quiz.problems(broken))
    assert "question 2.1c-9: there is no 'nothing'" in found
    assert "uniform: no question uses it" in found


def test_everything_that_questions_name_is_there_and_all_of_it_is_used(the_course):
    assert list(quiz.problems(the_course)) == []


def test_the_questions_of_a_lesson_come_in_the_order_of_its_objectives(the_course):
    shuffled = replace(the_course, questions=tuple(reversed(the_course.questions)))
    for lesson in ("2.1", "2.2", "4.3"):
        objectives = [item.question.objective for item in quiz.items(lesson, 3, shuffled)]
        assert objectives == sorted(objectives)
        assert {item.question.lesson for item in quiz.items(lesson, 3, the_course)} == {lesson}


def test_every_question_of_the_course_can_be_asked_answered_and_marked_again_from_json(the_course):
    for seed in (1, 2**31 - 1):
        for lesson in the_course.lessons:
            for item in quiz.items(lesson.id, seed, the_course):
                right = filled(item) if item.blanks else item.question.answer
                kept = json.loads(json.dumps(right))
                marked = quiz.mark(item.question, kept, seed)
                assert marked.right, item.question.id
                assert marked == quiz.mark(item.question, right, seed)
                for choice in set(item.choices) - {item.question.answer}:
                    wrong = quiz.mark(item.question, choice, seed)
                    assert not wrong.right
                    assert wrong.feedback
                    assert wrong.thinks


def test_every_objective_that_is_traced_calculated_or_judged_has_its_question(the_course):
    for objective in the_course.objectives:
        if objective.verb != "explain":
            found = [q for q in the_course.questions if q.objective == objective.id and q.kind == objective.verb]
            assert found, objective.id


def test_the_right_choice_does_not_stand_out_by_its_length(the_course):
    judged = [question for question in the_course.questions if question.kind == "judge"]
    longest = [q.id for q in judged if len(q.answer) > max(len(wrong.says) for wrong in q.wrong)]
    assert len(longest) <= len(judged) / 2, longest
    for question in judged:
        assert all(len(text) <= 130 for text in (question.answer, *(wrong.says for wrong in question.wrong)))
        assert all(wrong.feedback.endswith(".") and not wrong.thinks.endswith(".") for wrong in question.wrong)


def test_asking_for_help_loads_no_torch():
    script = "import sys; from gptladder.course.questions import quiz; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "False"), result.stderr


def test_no_question_loads_the_compiler_of_torch():
    """Loading it takes 2 seconds, in which a learner waits for a question of arithmetic."""
    script = """
import sys
from gptladder.course.outline import course
from gptladder.course.questions import quiz
for lesson in course().lessons:
    for item in quiz.items(lesson.id, 1):
        answer = {blank.name: blank.answer_text for blank in item.blanks} or item.question.answer
        assert quiz.mark(item.question, answer, 1).right, item.question.id
print([name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules], "torch" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "[] True"), result.stderr
