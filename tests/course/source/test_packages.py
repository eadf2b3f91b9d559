"""Packages made from texts: other functions put into a learner's file, lines and names as they were."""

from __future__ import annotations

import ast
import sys

import pytest

from gptladder.course.source.functions import cut, find
from gptladder.course.source.packages import TextFinder, from_texts, graft, parse, reference
from gptladder.course.source.reference import reference_texts

REFERENCE = '''"""Reference."""

from __future__ import annotations

import math
import string as letters


def root(x: float) -> float:
    """The root."""
    values = [
        math.sqrt(
            x
        ),
    ]
    return values[0]


class Table:
    """A table."""

    def look(self) -> str:
        """Letters."""
        return letters.digits

    def own(self) -> int:
        """One."""
        return 1
'''
LEARNER = '''"""Mine."""

from __future__ import annotations


def root(x):
    """The root."""
    raise NotImplementedError


class Table:
    def look(self):
        return "mine"

    def own(self):
        return 2
'''


def run(text, *names, filename="mine.py"):
    """The names of a learner's file in which those functions are the reference's."""
    found = {"__name__": "mine"}
    ast_of = graft(text, filename, dict.fromkeys(names, REFERENCE))
    finder = TextFinder("mine", lambda member: compile(ast_of, filename, "exec"), {"__init__.py": filename})
    with finder as opened:
        found.update(vars(opened.open("")))
    return found


def test_what_is_not_named_stays():
    found = run(LEARNER)
    assert found["Table"]().look() == "mine"
    with pytest.raises(NotImplementedError):
        found["root"](4.0)


def test_a_function_is_replaced_with_the_imports_that_it_needs():
    found = run(LEARNER, "root")
    assert found["root"](4.0) == 2.0
    assert "math" in found
    assert "letters" not in found, "which root does not use"
    assert found["Table"]().look() == "mine"


def test_a_method_is_replaced_and_its_neighbours_stay():
    found = run(LEARNER, "Table.look")
    assert found["Table"]().look() == "0123456789"
    assert found["Table"]().own() == 2


def test_an_import_that_the_learner_has_under_that_name_stays():
    found = run(LEARNER.replace("annotations\n", "annotations\n\nimport cmath as math\n"), "root")
    assert found["root"](-4.0) == 2j


@pytest.mark.parametrize(
    "text",
    [
        LEARNER.replace("def root(x)", "def other(x)"),
        LEARNER.replace("def root(x):", "root = lambda x: 3\n\n\ndef other(x):"),
        LEARNER.replace("def root(x):", "if True:\n  def root(x): pass\n\n\ndef other(x):"),
        "",
        "# nothing\n",
    ],
)
def test_a_function_that_the_learner_has_no_more_is_added(text):
    assert run(text, "root")["root"](4.0) == 2.0


def test_the_last_of_several_is_replaced():
    assert run(f"{LEARNER}\n\ndef root(x):\n    return 5\n", "root")["root"](4.0) == 2.0


def test_a_class_that_the_learner_has_no_more_is_added_whole():
    found = run(LEARNER.replace("class Table", "class Chair"), "Table.look")
    assert found["Table"]().look() == "0123456789"
    assert found["Table"]().own() == 1
    assert found["Chair"]().own() == 2


@pytest.mark.parametrize("names", [["root"], ["Table.look"], ["root", "Table.look", "Table.own"]])
def test_lines_are_the_learners_own(names):
    """Every line of what is put in is the line of what it replaces; every other line stays."""
    before, after = ast.parse(LEARNER), graft(LEARNER, "mine.py", dict.fromkeys(names, REFERENCE))
    for name in ("root", "Table.look", "Table.own"):
        old, new = find(before, name), find(after, name)
        lines = {node.lineno for node in ast.walk(new) if hasattr(node, "lineno")}
        assert new.lineno == old.lineno
        assert lines == ({old.lineno} if name in names else {n.lineno for n in ast.walk(old) if hasattr(n, "lineno")})


def test_what_is_added_has_a_line_of_the_learners_file():
    tree = graft("x = 1\ny = 2\n", "mine.py", {"Table.look": REFERENCE})
    lines = {node.lineno for node in ast.walk(tree.body[-1]) if hasattr(node, "lineno")}
    assert lines == {2}


def test_every_hole_of_the_reference_can_be_put_into_every_file_of_the_starter():
    """And what comes of it compiles, also where the learner has emptied the file."""
    texts = reference_texts()
    from gptladder.course.outline import course

    for exercise in course().exercises:
        for text in (texts[exercise.file], cut(texts[exercise.file], [exercise]), ""):
            tree = graft(text, exercise.file, {exercise.name: texts[exercise.file]})
            assert compile(tree, exercise.file, "exec")
            right = find(ast.parse(texts[exercise.file]), exercise.name)
            assert ast.dump(find(tree, exercise.name)) == ast.dump(right)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a = 1\nb = = 2\n", 2, "invalid syntax"),
        ("a = 1\n\nb = '\0'\n", 3, "null byte"),
        (b"a = 1\nb = '\0'\n", 2, "null byte"),
        (b"a = 1\nb = '\xe9'\n", 2, "utf-8"),
        ("a = " + "-" * 100_000 + "1", 1, "too deeply"),
        ("a = " + "+".join("1" * 100_000), 1, "too deeply"),
    ],
)
def test_what_cannot_be_read_names_file_and_line(text, line, words):
    with pytest.raises(SyntaxError) as error:
        parse(text, "mine.py")
    assert (error.value.filename, error.value.lineno) == ("mine.py", line)
    assert words in str(error.value.msg)
    with pytest.raises(SyntaxError):
        graft(text, "mine.py", {"root": REFERENCE})


@pytest.mark.parametrize(
    "text", [b"\xef\xbb\xbfa = '\xc3\xa9'", b"# coding: latin-1\na = '\xe9'", "a = '\xe9'", b"a = 1\r\na = '\xc3\xa9'"]
)
def test_bytes_are_read_as_python_reads_a_file(text):
    assert ast.literal_eval(parse(text, "mine.py").body[-1].value) == "\xe9"


TEXTS = {
    "__init__.py": "",
    "part/__init__.py": "from .one import ONE\n",
    "part/one.py": "ONE = 1\n",
    "broken.py": "def (:\n",
}


def test_a_package_of_texts():
    with from_texts("texts", TEXTS) as opened:
        assert opened.open("part").ONE == 1
        assert opened.open("part.one").__name__ == "texts.part.one"
        assert opened.open("").__name__ == "texts"
    assert not [name for name in sys.modules if name.partition(".")[0] == "texts"]
    with pytest.raises(ModuleNotFoundError):
        opened.open("part")


def test_a_broken_file_hides_no_other():
    with from_texts("texts", TEXTS) as opened:
        with pytest.raises(SyntaxError):
            opened.open("broken")
        assert opened.open("part").ONE == 1
        with pytest.raises(ModuleNotFoundError, match=r"texts\.nothing"):
            opened.open("nothing")


def test_two_packages_of_one_name_follow_each_other():
    for value in (1, 2):
        with from_texts("texts", {"__init__.py": f"VALUE = {value}"}) as opened:
            assert value == opened.open("").VALUE


def test_other_packages_are_left_alone():
    finder = from_texts("texts", TEXTS)
    assert finder.find_spec("textsandmore") is None
    assert finder.find_spec("json") is None
    assert finder.find_spec("texts.nothing") is None


def test_the_reference_is_this_package():
    assert reference("model.attention").__name__ == "gptladder.model.attention"
