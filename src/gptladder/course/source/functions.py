"""Functions in the text of a file: find one, cut its body out, put another body in."""

from __future__ import annotations

import ast
import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..outline import CourseError, Exercise

COLUMNS = 100  # of a line that learners read
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Body:
    """The lines of a function after its docstring, trailing comments included: `lines[start:end]` of its file."""

    start: int
    end: int
    indent: str


def find(tree: ast.Module, name: str) -> Function:
    """Return the function of this qualified name, the last one if there are several. KeyError if there is none."""
    *classes, function = name.split(".")
    scope: Sequence[ast.stmt] = tree.body
    for part in classes:
        scope = [node for node in scope if isinstance(node, ast.ClassDef) and node.name == part][-1:]
        scope = scope[0].body if scope and isinstance(scope[0], ast.ClassDef) else []
    found = [node for node in scope if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function]
    if not found:
        raise KeyError(name)
    return found[-1]


def body_of(text: str, name: str) -> Body:
    """Find the lines of a function's body. CourseError unless it is a `def` with a docstring and then lines of its own."""
    try:
        function = find(ast.parse(text), name)
    except KeyError:
        raise CourseError(f"{name}: there is no such function (a lambda cannot be cut)") from None
    lines = text.splitlines()
    docstring, *rest = function.body
    if ast.get_docstring(function) is None:
        raise CourseError(f"{name}: it has no docstring, which is all that a learner gets")
    if not rest or rest[0].lineno <= (docstring.end_lineno or 0) or docstring.lineno == function.lineno:
        raise CourseError(f"{name}: it needs a body of its own lines below its docstring")
    start = docstring.end_lineno or 0
    return Body(start, _end(lines, function), " " * rest[0].col_offset)


def _end(lines: Sequence[str], function: Function) -> int:
    """Return the line after a function. Comments that trail it belong to it: they are not part of the syntax tree."""
    end = function.end_lineno or function.lineno
    for i in range(end, len(lines)):
        stripped = lines[i].strip()
        if stripped and not (stripped.startswith("#") and len(lines[i]) - len(lines[i].lstrip()) > function.col_offset):
            break
        end = i + 1 if stripped else end
    return end


def _start(function: Function) -> int:
    """Return the index of a function's first line, which may be a decorator's."""
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)]) - 1


def with_body(text: str, name: str, body: str) -> str:
    """Return the text with another body for that function; `body` is written without indentation."""
    place, lines = body_of(text, name), text.splitlines()
    new = [place.indent + line if line.strip() else "" for line in body.strip("\n").splitlines()]
    return "\n".join([*lines[: place.start], *new, *lines[place.end :]]) + "\n"


def text_of_body(text: str, name: str) -> str:
    """Return the body of that function without its indentation."""
    place = body_of(text, name)
    return "\n".join(line.removeprefix(place.indent) for line in text.splitlines()[place.start : place.end]) + "\n"


def function_text(text: str, name: str) -> str:
    """Return the whole function, from its decorators to the last line of its body, without its indentation."""
    function, lines = find(ast.parse(text), name), text.splitlines()
    return textwrap.dedent("\n".join(lines[_start(function) : _end(lines, function)]))


def with_function(text: str, tree: ast.Module, name: str, shipped: str) -> str:
    """Return the text with a whole function as another text, `shipped`, has it; every other line stays as it is.

    `tree` is the text's syntax tree. A function that is missing is added at the end of its class or file, and a missing class
    at the end of the file.
    """
    lines = list(io.StringIO(text, newline=""))  # lines as Python counts them, each with its line end
    ending = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    class_name = name.rpartition(".")[0]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name]
    if _exists(tree, name):
        function = find(tree, name)
        start, end = _start(function), _end(lines, function)
        new = textwrap.indent(function_text(shipped, name), _indent(lines, function)).split("\n")
    elif classes:
        start = end = classes[-1].end_lineno or 0
        new = ["", *textwrap.indent(function_text(shipped, name), _indent(lines, classes[-1].body[0])).split("\n")]
    else:
        start = end = len(lines)
        whole = [node for node in ast.parse(shipped).body if isinstance(node, ast.ClassDef) and node.name == class_name]
        shipped_class = "\n".join(shipped.splitlines()[whole[0].lineno - 1 : whole[0].end_lineno]) if whole else ""
        new = ["", "", *(shipped_class or function_text(shipped, name)).split("\n")]
    if start > 0 and not lines[start - 1].endswith(("\n", "\r")):
        lines[start - 1] += ending
    return "".join([*lines[:start], *(line + ending for line in new), *lines[end:]])


def _indent(lines: Sequence[str], statement: ast.stmt) -> str:
    line = lines[statement.lineno - 1]
    return line[: len(line) - len(line.lstrip())]


def cut(text: str, exercises: Iterable[Exercise]) -> str:
    """Return the text of a file with a hole for each of these exercises; signature, decorators and docstring stay.

    CourseError if one cannot be cut.
    """
    exercises = list(exercises)
    _check_private_helpers(text, [exercise.name for exercise in exercises])
    for exercise in exercises:
        says = f"Exercise {exercise.id}, about {exercise.minutes} minutes. Allowed: {exercise.allowed}"
        width = COLUMNS - len(body_of(text, exercise.name).indent)
        comment = textwrap.fill(says, width, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        text = with_body(text, exercise.name, f'{comment}\nraise NotImplementedError("exercise {exercise.id}")')
    return text


def _check_private_helpers(text: str, holes: list[str]) -> None:
    """Refuse a hole that calls a private function which is no hole: that function would be half of its answer."""
    tree = ast.parse(text)
    for hole in holes:
        body_of(text, hole)
        own_class = hole.rpartition(".")[0]
        for node in ast.walk(find(tree, hole)):
            called = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            if called.startswith("_") and not called.endswith("__"):
                for helper in (called, f"{own_class}.{called}"):
                    if helper not in holes and _exists(tree, helper):
                        raise CourseError(f"{hole}: its private helper {helper} is no hole, so the starter gives it away")


def _exists(tree: ast.Module, name: str) -> bool:
    try:
        find(tree, name)
    except KeyError:
        return False
    return True
