"""The questions: every objective asked about, and no way to guess an answer by its looks."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from gptladder.course.outline import course

QUESTIONS = course().questions
CHOICES = [question for question in QUESTIONS if question.answer]
EVERY_QUESTION = pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
EVERY_CHOICE = pytest.mark.parametrize("question", CHOICES, ids=lambda question: question.id)
GIVEAWAYS = re.compile(
    r"\b(?:all|none|both|any|neither) of (?:the (?:above|others|answers|choices)|these answers)\b", re.IGNORECASE
)
SENTENCE_END = re.compile(r"[.!?](?:\s|$)")


def choices_of(question):
    return [question.answer, *(wrong.says for wrong in question.wrong)] if question.answer else []


def texts_of(question):
    yield from (question.ask, question.because, *choices_of(question))
    for wrong in question.wrong:
        yield from (wrong.thinks, wrong.feedback)


def share_of(chosen):
    """The share of the questions whose right answer is as long as the longest (`max`) or the shortest (`min`) choice."""
    return sum(len(question.answer) == chosen(map(len, choices_of(question))) for question in CHOICES) / len(CHOICES)


def sentences(text):
    return len(SENTENCE_END.findall(text))


def test_every_objective_is_asked_about_and_explained_ones_twice():
    asked = Counter((question.objective, question.kind) for question in QUESTIONS)
    for objective in course().objectives:
        least = 2 if objective.verb == "explain" else 1
        assert asked[objective.id, objective.verb] >= least, objective.id


def test_the_right_answer_is_not_known_by_its_length():
    assert share_of(max) <= 0.4
    assert share_of(min) <= 0.4


@EVERY_CHOICE
def test_choices_are_of_similar_length(question):
    lengths = [len(choice) for choice in choices_of(question)]
    assert max(lengths) <= 2.5 * min(lengths), lengths


@EVERY_CHOICE
def test_no_choice_speaks_about_the_others_or_about_its_place(question):
    assert [choice for choice in choices_of(question) if GIVEAWAYS.search(choice)] == []


@EVERY_CHOICE
def test_every_wrong_choice_has_its_misconception_and_its_own_feedback(question):
    assert len(question.wrong) >= 3
    for wrong in question.wrong:
        assert len(wrong.thinks) < 80, wrong.thinks
        assert wrong.thinks[-1] not in ".!?", wrong.thinks
        assert len(wrong.feedback.split()) >= 5, wrong.feedback
        assert re.match(r"""[A-Z0-9`'"-]|torch\b""", wrong.feedback), wrong.feedback
        assert wrong.feedback.endswith((".", "?", "!")), wrong.feedback
    for field in ("thinks", "feedback"):
        texts = [getattr(wrong, field) for wrong in question.wrong]
        assert len(set(texts)) == len(texts), field


@EVERY_QUESTION
def test_the_reasoning_is_some_sentences_and_the_ask_a_whole_one(question):
    assert question.because.endswith(".")
    assert sentences(question.because) >= 2
    assert question.ask.rstrip().endswith(("?", "."))
    assert len(question.ask.split()) >= 4


@pytest.mark.parametrize("fields", ["says", "thinks", "feedback", "because"])
def test_no_text_stands_twice_in_the_course(fields):
    texts = [question.because for question in QUESTIONS]
    if fields != "because":
        texts = [getattr(wrong, fields) for question in QUESTIONS for wrong in question.wrong]
    assert [text for text, count in Counter(map(str.casefold, texts)).items() if count > 1] == []


def test_no_question_is_asked_twice_in_the_same_words_about_the_same_exhibit():
    asked = Counter((question.ask.casefold(), question.exhibit) for question in QUESTIONS)
    assert [ask for ask, count in asked.items() if count > 1] == []


@EVERY_QUESTION
def test_no_text_has_stray_blanks(question):
    for text in texts_of(question):
        assert text == text.strip()
        assert "  " not in text
        assert "\n" not in text
