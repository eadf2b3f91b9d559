"""The two downloads from one source: the completed project, and the starter with the listed bodies cut out of its text."""

from __future__ import annotations

import io
import json
import lzma
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from ...errors import InputError
from ..outline import Course, CourseError, course
from ..source.functions import cut
from ..source.reference import PACKAGE, reference_texts
from .layout import HOME, MYGPT, PROJECT

TEMPLATES = Path(__file__).parent / "templates"


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
