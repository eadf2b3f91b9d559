"""Functions as text: what a cut takes and what it leaves, what it refuses, and a function put back."""

from __future__ import annotations

import ast

import pytest

from gptladder.course.outline import CourseError, Exercise
from gptladder.course.source.functions import cut, function_text, text_of_body, with_body, with_function

TEXT = '''"""A file."""

import math


class Thing:
    """A thing."""

    @property
    def size(self) -> int:
        """How big. Two lines
        of docstring."""
        half = 2  # a comment beside
        # a comment above
        return 2 * half
        # a trailing comment that says: the answer is 4

    # a comment of the class
    def other(self, x):
        """Another."""
        text = """
not indented, and part of the body
"""
        return text


def alone(x):
    """By itself."""
    return math.sqrt(x)


double = lambda x: 2 * x


def short(x): return x


def bare(x):
    return x


def documented(x):
    """Only words."""


def beside(x): "words"; return x


def helped(x):
    """Calls a private helper."""
    return _helper(x)


def _helper(x):
    """Half of the answer."""
    return x + 1
'''


def exercise(name, id="9.9-it"):
    return Exercise(id, "file.py", name, ("9.9a",), 5, "nothing.", ("h",))


def test_the_body_goes_with_its_trailing_comments_and_all_else_stays():
    text = cut(TEXT, [exercise("Thing.size")])
    assert "answer is 4" not in text
    assert "half" not in text
    assert "# a comment of the class" in text
    assert '    @property\n    def size(self) -> int:\n        """How big. Two lines\n        of docstring."""\n' in text
    added = "        # Exercise 9.9-it, about 5 minutes. Allowed: nothing.\n"
    assert added + '        raise NotImplementedError("exercise 9.9-it")\n\n    # a comment of the class\n' in text
    ast.parse(text)


def test_several_holes_in_one_file_leave_the_rest_byte_for_byte():
    text = cut(TEXT, [exercise("Thing.size"), exercise("Thing.other", "9.9-b"), exercise("alone", "9.9-c")])
    assert "not indented" not in text
    assert "math.sqrt" not in text
    assert text.endswith(TEXT[TEXT.index("double = lambda") :])
    assert text.startswith(TEXT[: TEXT.index("        half")])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("double", "no such function"),
        ("nothing", "no such function"),
        ("Thing.nothing", "no such function"),
        ("Other.size", "no such function"),
        ("Thing", "no such function"),
        ("short", "no docstring"),
        ("bare", "no docstring"),
        ("documented", "a body of its own lines"),
        ("beside", "a body of its own lines"),
        ("helped", "private helper _helper"),
    ],
)
def test_what_cannot_be_cut_is_an_error_of_the_course(name, words):
    with pytest.raises(CourseError) as error:
        cut(TEXT, [exercise(name)])
    assert words in str(error.value)


def test_a_private_helper_that_is_a_hole_too_is_fine():
    text = cut(TEXT, [exercise("helped"), exercise("_helper", "9.9-b")])
    assert "x + 1" not in text


def test_putting_a_body_back_gives_the_same_text():
    for name in ("Thing.size", "Thing.other", "alone"):
        body = text_of_body(TEXT, name)
        cut = with_body(TEXT, name, "pass")
        assert cut != TEXT
        if name != "Thing.other":  # whose string is not indented: it would come back with an indent
            assert with_body(cut, name, body) == TEXT


def test_a_whole_function_is_shown_with_its_decorators():
    text = function_text(TEXT, "Thing.size")
    assert text.startswith("@property\ndef size(self)")
    assert text.endswith("the answer is 4")


SHIPPED = cut(TEXT, [exercise("Thing.size"), exercise("alone", "9.9-c")])


def put_back(text, name):
    return with_function(text, ast.parse(text), name, SHIPPED)


@pytest.mark.parametrize("name", ["Thing.size", "alone"])
def test_a_function_put_back_as_shipped_is_the_shipped_text(name):
    written = with_body(SHIPPED, name, "x = 1\nreturn x\n# my own thoughts")
    assert written != SHIPPED
    assert put_back(written, name) == SHIPPED
    assert put_back(SHIPPED, name) == SHIPPED


def test_signature_and_docstring_come_back_too_and_all_else_stays():
    written = TEXT.replace("import math", "import math\nimport helper").replace(
        'def alone(x):\n    """By itself."""', "def alone(y, z):"
    )
    text = put_back(written, "alone")
    assert function_text(text, "alone") == function_text(SHIPPED, "alone")
    assert "import helper" in text
    assert text.replace(function_text(text, "alone"), "") == written.replace("def alone(y, z):\n    return math.sqrt(x)", "")


def test_line_ends_and_indentation_of_the_learner_stay():
    text = "class Thing:\r\n\t@property\r\n\tdef size(self):\r\n\t\treturn 3\r\n\r\n\tother = 1  # \x0c"
    found = put_back(text, "Thing.size")
    assert found.startswith("class Thing:\r\n\t@property\r\n\tdef size(self) -> int:\r\n")
    assert found.endswith('("exercise 9.9-it")\r\n\r\n\tother = 1  # \x0c')
    assert found.count("\n") == found.count("\r\n")
    ast.parse(found)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import math\n", "alone"),
        ("import math", "alone"),
        ("", "alone"),
        ("class Thing:\n    mine = 1\n\n\nlast = 2\n", "Thing.size"),
        ("class Thing:\n    mine = 1", "Thing.size"),
        ("mine = 1\n", "Thing.size"),  # its class is missing too
    ],
)
def test_a_function_that_is_missing_is_added(text, name):
    found = put_back(text, name)
    assert function_text(found, name) == function_text(SHIPPED, name)
    kept = [line for line in found.splitlines() if line in text.splitlines()]
    assert [line for line in kept if line.strip()] == [line for line in text.splitlines() if line.strip()]
