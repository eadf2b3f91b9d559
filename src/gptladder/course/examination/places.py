"""Places in the learner's files, found by reading them as text; nothing of theirs is imported."""

from __future__ import annotations

import ast
from contextlib import suppress
from pathlib import Path
from typing import TypeGuard

from ..outline import Exercise
from ..source.functions import find
from ..source.packages import parse
from ..workspace.layout import MYGPT
from .protocol import Place


def location(project: Path, exercise: Exercise) -> str:
    """Return where the exercise's function stands, as file:line, or the file alone if there is no such function."""
    file = f"{MYGPT}/{exercise.file}"
    names = exercise.name.split(".")
    try:
        tree = parse((project / file).read_bytes(), file)
    except (OSError, SyntaxError):
        return file
    with suppress(KeyError):
        return f"{file}:{find(tree, exercise.name).lineno}"
    classes = [node.lineno for node in tree.body if isinstance(node, ast.ClassDef) and node.name == names[0]]
    return f"{file}:{classes[0]}" if classes else file


def mention(project: Path, word: str) -> str | None:
    """Return the first line of the learner's code that contains the word, as file:line."""
    for path in sorted((project / MYGPT).rglob("*.py")):
        with suppress(OSError):
            for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
                if word.encode() in line:
                    return f"{path.relative_to(project).as_posix()}:{number}"
    return None


def line_that_sets(name: str, root: Path, first: str) -> Place | None:
    """Return the first line in the package at `root` that sets an attribute of this name; the file `first` is read first.

    A name such as set_grad_enabled is a function of torch's, so the line that uses it is meant.
    """

    def sets_it(node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute):
            return node.attr == name and (name.startswith("set_") or not isinstance(node.ctx, ast.Load))
        return isinstance(node, ast.Constant) and node.value == name

    members = [path.relative_to(root).as_posix() for path in root.rglob("*.py") if path.is_file()]
    for member in sorted(members, key=lambda member: (member != first, member)):
        with suppress(SyntaxError, OSError):
            tree = parse((root / member).read_bytes(), member)
            if lines := [node.lineno for node in ast.walk(tree) if sets_it(node)]:  # type: ignore[attr-defined]
                return Place(f"{MYGPT}/{member}", min(lines))
    return None


def leftover_raise(project: Path, exercise: Exercise) -> str | None:
    """Return what to say if the learner has written lines but the starter's `raise` still stands; None if that is not so."""
    file = f"{MYGPT}/{exercise.file}"
    try:
        tree = parse((project / file).read_bytes(), file)
        function = find(tree, exercise.name)
    except (OSError, SyntaxError, KeyError):
        return None
    raises = [node for node in ast.walk(function) if _is_starters_raise(node, exercise.id)]
    if not raises:
        return None
    line = min(node.lineno for node in raises)
    stands = f'`raise NotImplementedError("exercise {exercise.id}")` still stands in {file}:{line}'
    own = [node for node in function.body if node not in raises and not _does_nothing(node)]
    if any(node.lineno > line for node in own):
        return f"{stands}, so your own lines below it are not reached; remove that line"
    if own:
        return f"{stands}, below your own lines, so the function ends there with an error; remove that line"
    scope = next(node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef) and function in node.body)
    others = [node for node in scope if isinstance(node, type(function)) and node.name == function.name and node != function]
    if others:
        return f"{stands}, in a second `{function.name}`, which replaces yours in line {others[-1].lineno}; remove the second"
    return None


def _is_starters_raise(node: ast.AST, exercise: str) -> TypeGuard[ast.Raise]:
    return (
        isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id == NotImplementedError.__name__
        and [ast.dump(argument) for argument in node.exc.args] == [ast.dump(ast.Constant(f"exercise {exercise}"))]
    )


def _does_nothing(node: ast.stmt) -> bool:
    """Return whether this is `pass`, a docstring, or another constant such as `...`."""
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
