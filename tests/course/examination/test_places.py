"""Places in the learner's files: where a function stands, where a word does, and which `raise` was left over."""

from __future__ import annotations

import pytest

from gptladder.course.examination.places import leftover_raise, line_that_sets, location, mention
from gptladder.course.examination.protocol import Place
from gptladder.course.outline import course
from gptladder.course.workspace.layout import HOME

HEAD, FILE = "3.3-head", "model/attention.py"
RAISE = f'raise NotImplementedError("exercise {HEAD}")'


def head():
    return course().exercise(HEAD)


def test_the_place_of_a_function(project):
    text = project.text(FILE).split("(B, T, C) -> (B, T, D): softmax")[0]
    assert location(project.folder, head()) == f"mygpt/{FILE}:{text.count(chr(10))}"


@pytest.mark.parametrize("content", [b"def (", b"\0", b"'\xff'", b"", b"x = " + b"-" * 100_000 + b"1"])
def test_the_place_in_a_file_that_cannot_be_read_is_the_file(project, content):
    project.write(FILE, content)
    assert location(project.folder, head()) == f"mygpt/{FILE}"


def test_the_place_in_a_file_that_is_not_there_is_the_file(project):
    project.path(FILE).unlink()
    assert location(project.folder, head()) == f"mygpt/{FILE}"


def test_the_line_that_mentions_a_word(project):
    assert mention(project.folder, "no such word") is None
    project.write("zeta.py", b"\xff\nx = '.gptladder'\n")
    assert mention(project.folder, HOME) == "mygpt/zeta.py:2"


def test_the_line_that_sets_a_name_is_sought_in_the_exercises_file_first(project):
    root = project.path(".")
    project.write("model/bigram.py", "import torch\ntorch.exp = None\n")
    project.write(FILE, "import torch\nuse = torch.exp\ntorch.exp = None\nsetattr(torch, 'tanh', None)\n")
    assert line_that_sets("exp", root, first=FILE) == Place(f"mygpt/{FILE}", 3)
    assert line_that_sets("exp", root, first="model/bigram.py") == Place("mygpt/model/bigram.py", 2)
    assert line_that_sets("tanh", root, first="gone.py") == Place(f"mygpt/{FILE}", 4)
    assert line_that_sets("no_such_name", root, first=FILE) is None


# --- the starter's raise


@pytest.mark.parametrize(
    "body",
    [RAISE, f"# a comment of the learner's\n{RAISE}", f"...\npass\n{RAISE}", "return x", "raise NotImplementedError('mine')"],
)
def test_nothing_is_said_where_there_are_no_own_lines_or_no_raise_of_the_starters(project, body):
    project.body(HEAD, body)
    assert leftover_raise(project.folder, head()) is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (f"{RAISE}  # here\nreturn x", "so your own lines below it are not reached; remove that line"),
        (f"q = self.query(x)\n{RAISE}  # here\nreturn q", "so your own lines below it are not reached; remove that line"),
        (
            f"q = self.query(x)\n{RAISE}  # here",
            "below your own lines, so the function ends there with an error; remove that line",
        ),
        (f"if x.size(1) == 1:\n    return x\n{RAISE}  # here", "below your own lines"),
        (f"for row in x:\n    {RAISE}  # here\n    row = row\n", "remove that line"),
    ],
)
def test_a_raise_among_own_lines_is_named_with_its_line(project, body, words):
    project.body(HEAD, body)
    said = leftover_raise(project.folder, head())
    assert said.startswith(f"`{RAISE}` still stands in {project.line(FILE, '# here')}, ")
    assert words in said


def test_a_second_definition_that_hides_the_learners_is_named(project):
    own = "class Head:\n    def forward(self, x):\n        return x\n\n    def forward(self, x):\n"
    project.write(FILE, f"{own}        {RAISE}\n")
    assert leftover_raise(project.folder, head()) == (
        f"`{RAISE}` still stands in mygpt/{FILE}:6, in a second `forward`, which replaces yours in line 2; remove the second"
    )


def test_nothing_is_said_about_a_file_that_cannot_be_read(project):
    project.write(FILE, b"def (")
    assert leftover_raise(project.folder, head()) is None
    project.path(FILE).unlink()
    assert leftover_raise(project.folder, head()) is None
