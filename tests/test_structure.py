"""The house: rooms import to the left, imports stay light, everything public is explained."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

import gptladder

PACKAGE = Path(gptladder.__file__).parent
TEMPLATES = PACKAGE / "course" / "workspace" / "templates"  # what a learner gets beside mygpt; test_templates.py runs it
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.parent != TEMPLATES)
EVERY_FILE = pytest.mark.parametrize("file", FILES)
# Each floor may import the floors above it, and its own room. A room's name is a path in the package without `.py`.
FLOORS = [
    {"__init__", "errors", "files", "cpu"},
    {"provenance"},
    {"tokenizer", "batches", "corpus", "tensors"},
    {"model"},
    {"rungs", "run_config"},
    {"checkpoint"},
    {"sampling"},
    {"training"},
    {"course/__init__", "course/lessons", "course/outline"},
    {"course/source"},
    {"course/checks", "course/bank", "course/questions", "course/workspace"},
    {"course/examination"},
    {"course/study", "course/grade", "course/verify"},
    {"cli/__init__", "cli/commands"},
    {"cli/words", "cli/asking", "cli/terminal", "cli/doctor"},
    {"cli/train", "cli/learn", "cli/teach"},
    {"cli/app"},
    {"__main__"},
]
PARTED = ("course", "cli")  # folders whose parts are rooms of their own
HEAVY = ("torch", "numpy", "matplotlib", "safetensors")


def room_of(path):
    """The room of a file or dotted path, such as course/checks for course/checks/lesson_3_3.py."""
    parts = PurePosixPath(path).with_suffix("").parts
    return "/".join(parts[:2]) if parts[0] in PARTED else parts[0]


def floor_of(room):
    return next((level for level, rooms in enumerate(FLOORS) if room in rooms), None)


def imported(file, text):
    """Paths of the package that a file imports, wherever in the file."""
    folder, paths = PurePosixPath(file).parts[:-1], set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            paths |= {"/".join(name[1:] or ["__init__"]) for name in names if name[0] == "gptladder"}
        elif isinstance(node, ast.ImportFrom):
            path = (node.module or "").split(".") if node.module else []
            if not node.level and path[:1] != ["gptladder"]:
                continue
            base = [*folder[: len(folder) - node.level + 1], *path] if node.level else path[1:]
            paths |= {target(base, alias.name) for alias in node.names}
    return paths


def target(base, name):
    """What `from base import name` reads: a module or folder of that name, otherwise base itself."""
    inner = PACKAGE.joinpath(*base, name)
    if inner.is_dir() or inner.with_suffix(".py").is_file():
        return "/".join([*base, name])
    return "/".join(base if PACKAGE.joinpath(*base).with_suffix(".py").is_file() else [*base, "__init__"])


def strays(file, text):
    """Rooms that a file imports and that are neither its own nor on a floor above it."""
    own = room_of(file)
    rooms = {room_of(path) for path in imported(file, text)}
    return {room for room in rooms if room != own and not (floor_of(room) or 0) < floor_of(own)}


def public_things(file):
    """Names of the public functions, classes and methods of a file, each with its docstring."""

    def walk(body, prefix):
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                yield prefix + node.name, ast.get_docstring(node)
                if isinstance(node, ast.ClassDef):
                    yield from walk(node.body, f"{prefix}{node.name}.")

    return list(walk(ast.parse((PACKAGE / file).read_text()).body, ""))


def run_python(script):
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)


@EVERY_FILE
def test_every_file_is_in_a_room(file):
    assert floor_of(room_of(file)) is not None


def test_every_room_is_there():
    there = {room_of(file) for file in FILES}
    assert {room for floor in FLOORS for room in floor} <= there


@EVERY_FILE
def test_a_room_imports_only_rooms_above_it(file):
    assert strays(file, (PACKAGE / file).read_text()) == set()


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("model/gpt.py", "from .block import Block\nimport torch", set()),
        ("model/gpt.py", "from ..tokenizer import CharTokenizer", set()),
        ("model/gpt.py", "from ..training.loss import cross_entropy", {"training"}),
        ("model/gpt.py", "def f():\n    from .. import training, corpus", {"training"}),
        ("model/gpt.py", "import gptladder.cli.app", {"cli/app"}),
        ("rungs.py", "from gptladder.sampling.writer import stream_text", {"sampling"}),
        ("tokenizer.py", "from .batches import split", {"batches"}),
        ("training/run.py", "from .. import __version__, checkpoint", set()),
        ("cli/app.py", "from .. import __version__\nfrom .terminal import show", set()),
        ("cli/doctor.py", "from .terminal import show", {"cli/terminal"}),
        ("course/checks/lesson_3_3.py", "from .check import Check\nfrom ...model import attention", set()),
        ("course/checks/lesson_3_3.py", "from ..bank.versions import mutants", {"course/bank"}),
        ("course/outline.py", "from .source.functions import cut", {"course/source"}),
        ("course/examination/judge.py", "from ..bank import versions\nfrom ..grade import grade", {"course/grade"}),
        ("training/run.py", "from ..course.outline import course", {"course/outline"}),
    ],
)
def test_the_law_of_rooms_catches_strays(file, text, expected):
    assert strays(file, text) == expected


def test_importing_the_package_and_its_command_line_loads_nothing_heavy():
    script = "import sys, gptladder, gptladder.cli.app; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    result = run_python(script)
    assert result.returncode == 0, result.stderr
    assert {"gptladder", "typer"} <= set(result.stdout.split())
    assert not set(result.stdout.split()) & set(HEAVY)


def test_importing_every_module_prints_nothing_and_draws_no_random_number():
    modules = [("gptladder." + f.removesuffix(".py").replace("/", ".")).removesuffix(".__init__") for f in FILES]
    modules.remove("gptladder.__main__")
    script = f"""
import importlib, torch
state, count = torch.get_rng_state(), torch.get_num_threads()
for name in {modules!r}:
    importlib.import_module(name)
assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == count
assert torch.get_default_dtype() == torch.float32
"""
    result = run_python(script)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@EVERY_FILE
def test_every_module_begins_with_a_docstring(file):
    assert ast.get_docstring(ast.parse((PACKAGE / file).read_text()))


@EVERY_FILE
def test_everything_public_has_a_docstring(file):
    assert [name for name, docstring in public_things(file) if not docstring] == []


def test_the_reader_of_public_things_sees_them():
    names = [name for name, _ in public_things("model/attention.py")]
    assert names == ["softmax", "causal_softmax", "Head", "Head.forward", "MultiHeadAttention", "MultiHeadAttention.forward"]


@EVERY_FILE
def test_no_bare_assert_guards_anything(file):
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse((PACKAGE / file).read_text())))


@EVERY_FILE
def test_nothing_is_pickled_or_executed_from_text(file):
    tree = ast.parse((PACKAGE / file).read_text())
    used = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not (used | imported) & {"exec", "eval", "pickle", "torch.save", "torch.load", "__import__"}


MOST_LINES = 300


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_long_file_says_why(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES or "long because" in (ast.get_docstring(ast.parse(text)) or "")


def public_signatures(file):
    """The annotations of the public functions and methods of a file."""
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            found = [argument.annotation for argument in (*node.args.args, *node.args.kwonlyargs)] + [node.returns]
            yield node.name, [ast.unparse(annotation) for annotation in found if annotation is not None]


# Not across rooms: lines of metrics.jsonl and rows of reports, read and drawn in training/ alone; torch's own interface; names.
LOOSE = {"training/ablate.py", "training/plots.py", "training/climb.py", "training/metrics.py", "training/optimizers.py"}
LOOSE |= {"course/examination/guards.py"}


@EVERY_FILE
def test_no_loose_dictionary_crosses_a_room(file):
    loose = [name for name, found in public_signatures(file) if any("dict[str, Any]" in text for text in found)]
    assert file in LOOSE or not [name for name in loose if name not in ("to_json", "from_json")]
