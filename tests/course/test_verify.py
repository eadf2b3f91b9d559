"""The check for answers that the starter gives away."""

from __future__ import annotations

import pytest

from gptladder.course import verify
from gptladder.course.outline import course
from gptladder.course.source.functions import text_of_body
from gptladder.course.source.reference import reference_texts
from gptladder.course.workspace.make import starter_texts

TEXTS = reference_texts()
EXERCISES = {exercise.id: exercise for exercise in course().exercises}


def body_of(exercise):
    return text_of_body(TEXTS[exercise.file], exercise.name)


def leaking(text):
    return [problem.partition(":")[0] for problem in verify.verify_no_leak({"file.py": text})]


def test_the_starter_gives_nothing_away():
    assert list(verify.verify_no_leak(starter_texts())) == []


def test_every_body_is_recognised():
    for exercise in EXERCISES.values():
        assert exercise.id in leaking(f"before = 1\n{body_of(exercise)}after = 2\n")


def test_comments_and_line_ends_hide_nothing():
    body = "return self.dropout(  # here\n    self.project(found)  # there\n)\n"
    assert leaking(body) == ["4.1-multihead", "5.2-fused"]
    assert leaking(body.replace("self.project", "self.mix")) == []


@pytest.mark.parametrize("idiom", verify.IDIOMS)
def test_an_idiom_is_no_answer_and_is_needed(idiom):
    assert leaking(idiom) == []
    others = [other for other in verify.IDIOMS if other != idiom]
    assert list(verify.verify_no_leak(starter_texts(), others)) != []


def test_an_idiom_with_what_follows_it_is_an_answer():
    assert "4.2-layers" in leaking("nn.Linear(config.n_embd, 4 * config.n_embd)\n")
