"""Python packages made from texts: the reference with a wrong body, or the learner's files with all other holes filled.

A module is compiled when it is first imported, so a mistake in one file does not hide the others.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Mapping
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

from .functions import Function, find

OURS = __name__.partition(".")[0]  # the name of this package
Opened = Callable[[str], ModuleType]  # "model.attention" -> that module of the package that is examined


class TextFinder(MetaPathFinder, InspectLoader):
    """An importer of one package whose code is made on demand. Inside `with finder:` the package can be imported."""

    def __init__(self, name: str, compiled: Callable[[str], CodeType], members: Mapping[str, str]) -> None:
        """Keep the parts: `members` maps a path in the package to the file's name in tracebacks, `compiled` to its code."""
        self.name, self.compiled, self.members = name, compiled, members

    def path_of(self, fullname: str) -> str | None:
        """Return the member that a dotted name stands for, or None if it is not in the package."""
        if fullname != self.name and not fullname.startswith(f"{self.name}."):
            return None
        path = fullname.removeprefix(self.name).removeprefix(".").replace(".", "/")
        for candidate in (f"{path}/__init__.py".removeprefix("/"), f"{path}.py"):
            if candidate in self.members:
                return candidate
        return None

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ANN401
        """Return the spec of a module, as the import system asks for it, or None if it is not in the package."""
        member = self.path_of(fullname)
        if member is None:
            return None
        spec = ModuleSpec(fullname, self, origin=self.members[member], is_package=member.endswith("__init__.py"))
        spec.has_location = True
        return spec

    def get_source(self, fullname: str) -> str | None:
        """Return None, so that tracebacks read the files if there are any."""
        return None

    def get_code(self, fullname: str) -> CodeType:
        """Return the code that the import system runs as that module."""
        return self.compiled(self.path_of(fullname) or "")

    def __enter__(self) -> TextFinder:
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *error: object) -> None:
        sys.meta_path.remove(self)
        for name in [name for name in sys.modules if self.path_of(name)]:
            del sys.modules[name]

    def open(self, module: str) -> ModuleType:
        """Import a module of the package by its dotted name inside the package."""
        return importlib.import_module(f"{self.name}.{module}" if module else self.name)


def from_texts(name: str, texts: Mapping[str, str]) -> TextFinder:
    """Return an importer of a package with these texts: path in the package to text."""
    return TextFinder(
        name, lambda member: compile(texts[member], f"<{name}>/{member}", "exec"), {m: f"<{name}>/{m}" for m in texts}
    )


def reference(module: str) -> ModuleType:
    """Import a module of this package, which is the reference."""
    return importlib.import_module(f"{OURS}.{module}")


def parse(text: str | bytes, filename: str) -> ast.Module:
    """Return the syntax tree of a text; bytes are decoded as Python decodes a file.

    A SyntaxError names the file and the line.
    """
    lines = (text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if b"\0" in line:
            raise SyntaxError("there is a null byte in it; is it saved as UTF-8 text?", (filename, number, 0, None))
    try:
        return ast.parse(text, filename)
    except (MemoryError, RecursionError):
        raise SyntaxError("an expression in it is nested too deeply", (filename, 1, 0, None)) from None


def graft(text: str | bytes, filename: str, others: Mapping[str, str]) -> ast.Module:
    """Return the syntax tree of a learner's file in which some functions are replaced by the reference's.

    `others` maps the qualified name of such a function to the text of the reference's file that has it. Lines keep their
    numbers, so tracebacks name the learner's lines. Imports that a function needs are added if the learner's file lacks
    them. SyntaxError if the learner's text is not Python.
    """
    tree = parse(text, filename)
    for name, reference_text in others.items():
        source = ast.parse(reference_text)
        _bring_imports(tree, source, _put(tree, source, name))
    return ast.fix_missing_locations(tree)


def _put(tree: ast.Module, source: ast.Module, name: str) -> ast.stmt:
    """Replace that function, or add it (and its class) if the learner's file has none. Returns what was put in."""
    new: Function | ast.ClassDef = find(source, name)
    scope, source_scope = tree.body, source.body
    for part in name.split(".")[:-1]:
        own = [node for node in scope if isinstance(node, ast.ClassDef) and node.name == part]
        original = next(node for node in source_scope if isinstance(node, ast.ClassDef) and node.name == part)
        if not own:
            new = original
            break
        scope, source_scope = own[-1].body, original.body
    places = [
        i for i, node in enumerate(scope) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == new.name
    ]
    place = places[-1] if places else len(scope)
    line = scope[min(place, len(scope) - 1)].lineno if scope else 1
    for node in ast.walk(new):
        if "lineno" in node._attributes:
            vars(node).update(lineno=line, end_lineno=line, col_offset=0, end_col_offset=0)
    scope[place : place + 1] = [new]
    return new


def _bring_imports(tree: ast.Module, source: ast.Module, new: ast.stmt) -> None:
    """Add, after `from __future__`, the reference's imports that the new function uses and the learner's file lacks."""
    used = {node.id for node in ast.walk(new) if isinstance(node, ast.Name)}
    bound = {
        (alias.asname or alias.name).split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    } | {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    missing = []
    for node in source.body:
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", None) != "__future__":
            names = [alias for alias in node.names if (alias.asname or alias.name).split(".")[0] in used - bound]
            if names:
                node.names = names
                missing.append(node)
    head = 1 if tree.body and ast.get_docstring(tree) is not None else 0
    head += sum(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body[head:])
    tree.body[head:head] = missing
