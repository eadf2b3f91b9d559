"""The two downloads from one source: the completed project, and the starter with the listed bodies cut out of its text."""

from __future__ import annotations

import ast
import io
import json
import lzma
import tempfile
import textwrap
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .outline import Course, CourseError, Exercise, course

PACKAGE = Path(__file__).parent.parent
TEMPLATES = Path(__file__).parent / "project"
MODEL = (
    *("__init__", "config", "bigram", "averaging", "dropout", "attention", "block", "gpt"),
    *("cache", "kernels", "efficient", "ladder"),
)
STARTER_SET = (
    *("__init__.py", "tokenizer.py", "batches.py"),
    *(f"model/{name}.py" for name in MODEL),
    *(f"sampling/{name}.py" for name in ("__init__", "choose", "generate")),
    *(f"training/{name}.py" for name in ("__init__", "loss", "loop")),
)
MYGPT = "mygpt"  # the learner's package
HOME, PROJECT, LOCK = ".gptladder", "project.json", "lock"  # where the verbs keep what they know of a project
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Body:
    """The lines of a function after its docstring, trailing comments included: `lines[start:end]` of its file."""

    start: int
    end: int
    indent: str


def find(tree: ast.Module, name: str) -> Function:
    """The function of this qualified name, the last one if there are several. KeyError if there is none."""
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
    """Where the body of a function stands. CourseError unless it is a `def` of our kind: a docstring, then its own lines."""
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
    start = end = docstring.end_lineno or 0
    end = function.end_lineno or start
    for i in range(end, len(lines)):  # a trailing comment is not part of the syntax tree, and would give answers away
        stripped = lines[i].strip()
        if stripped and not (stripped.startswith("#") and len(lines[i]) - len(lines[i].lstrip()) > function.col_offset):
            break
        end = i + 1 if stripped else end
    return Body(start, end, " " * rest[0].col_offset)


def with_body(text: str, name: str, body: str) -> str:
    """The text with another body for that function, written without its indentation."""
    place, lines = body_of(text, name), text.splitlines()
    new = [place.indent + line if line.strip() else "" for line in body.strip("\n").splitlines()]
    return "\n".join([*lines[: place.start], *new, *lines[place.end :]]) + "\n"


def text_of_body(text: str, name: str) -> str:
    """The body of that function without its indentation."""
    place = body_of(text, name)
    return "\n".join(line.removeprefix(place.indent) for line in text.splitlines()[place.start : place.end]) + "\n"


def function_text(text: str, name: str) -> str:
    """The whole function, from its decorators to the last line of its body, without its indentation."""
    function, place = find(ast.parse(text), name), body_of(text, name)
    start = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)]) - 1
    lines = text.splitlines()[start : place.end]
    return textwrap.dedent("\n".join(lines))


def cut(text: str, exercises: Iterable[Exercise]) -> str:
    """The text of a file with these holes: signature, decorators and docstring stay. CourseError if one cannot be cut."""
    exercises = list(exercises)
    _check_private_helpers(text, [exercise.name for exercise in exercises])
    for exercise in exercises:
        comment = f"# Exercise {exercise.id}, about {exercise.minutes} minutes. Allowed: {exercise.allowed}"
        text = with_body(text, exercise.name, f'{comment}\nraise NotImplementedError("exercise {exercise.id}")')
    return text


def _check_private_helpers(text: str, holes: list[str]) -> None:
    """A private function that a hole calls is half of its answer, so it must be a hole itself."""
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


def reference_texts() -> dict[str, str]:
    """The starter set as it stands here: path in the package to text."""
    return {member: (PACKAGE / member).read_text(encoding="utf-8") for member in STARTER_SET}


def starter_texts(chosen: Course | None = None, filled: Iterable[str] = ()) -> dict[str, str]:
    """The starter set with its holes, but for those exercises (by id) that are `filled` with the reference."""
    chosen, filled, texts = chosen or course(), set(filled), reference_texts()
    for exercise in chosen.exercises:
        if exercise.file not in texts:
            raise CourseError(f"exercise {exercise.id}: {exercise.file} is not in the starter set")
    return {
        member: cut(text, [e for e in chosen.exercises if e.file == member and e.id not in filled])
        if any(e.file == member for e in chosen.exercises)
        else text
        for member, text in texts.items()
    }


def project_files(completed: bool = False, filled: Iterable[str] = ()) -> dict[str, bytes]:
    """A whole project: path to content. The starter, or the completed one, or a starter with some holes `filled`."""
    chosen = course()
    texts = reference_texts() if completed else starter_texts(chosen, filled)
    files = {f"{MYGPT}/{member}": text for member, text in texts.items()}
    for template in ("train.py", "generate.py"):
        files[template] = (TEMPLATES / template).read_text(encoding="utf-8")
    files["README.md"] = readme(chosen, completed)
    files[".gitignore"] = (TEMPLATES / "gitignore").read_text(encoding="utf-8")
    files[f"{HOME}/{PROJECT}"] = json.dumps({"course_version": chosen.version, "learner_seed": None}, indent=2) + "\n"
    encoded = {name: text.encode() for name, text in files.items()}
    encoded["data/stand_in.txt"] = lzma.decompress((PACKAGE / "stand_in" / "stand_in.txt.xz").read_bytes())
    return dict(sorted(encoded.items()))


def readme(chosen: Course, completed: bool) -> str:
    """The project's README: the way through the exercises, lesson by lesson, or what the completed project holds."""
    name = "README-completed.md" if completed else "README.md"
    template = (TEMPLATES / name).read_text(encoding="utf-8")
    parts = []
    for lesson in chosen.lessons:
        exercises = [exercise for exercise in chosen.exercises if exercise.lesson == lesson.id]
        parts.append(f"### {lesson.id} {lesson.title}\n")
        parts += [f"- `{e.id}`: `{e.name}` in `{MYGPT}/{e.file}`, about {e.minutes} minutes" for e in exercises]
        for rung in lesson.rungs:
            parts.append(f"- now it trains: `python train.py {rung}`")
        parts.append(f"- questions: `gptladder quiz {lesson.id}`\n")
    return template.replace("{{lessons}}", "\n".join(parts).rstrip()).replace("{{count}}", str(len(chosen.exercises)))


def write_project(folder: Path, files: Mapping[str, bytes]) -> None:
    """The files as a folder, whole or not at all. InputError if something is there already."""
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        made = Path(scratch) / "project"
        for name, content in files.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(content)
        if folder.is_dir():
            folder.rmdir()  # empty, or check_free would have said so
        made.rename(folder)


def check_free(path: Path) -> None:
    """InputError if that path holds anything."""
    if path.is_dir() and any(path.iterdir()):
        raise InputError(f"{path} is not empty; give a new folder, nothing is overwritten")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; give the name of a new folder")


def zipped(folder: str, files: Mapping[str, bytes]) -> bytes:
    """The files as a zip archive with that top folder: the same bytes whenever and wherever it is built.

    Nothing is compressed, since compressors differ, and every date is the format's first.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{folder}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # as on Unix, whatever builds it
            out.writestr(entry, files[name])
    return archive.getvalue()
