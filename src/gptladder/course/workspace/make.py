"""The two kinds of project, made from one source: the completed one, and the starter, whose exercises have no bodies."""

from __future__ import annotations

import io
import json
import lzma
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ...errors import InputError
from ..outline import Course, CourseError, course
from ..source.functions import cut
from ..source.reference import PACKAGE, STARTER_SET, reference_text, reference_texts
from .evidence import Facts
from .layout import GENERATE, HOME, MYGPT, PROJECT, TRAIN

TEMPLATES = Path(__file__).parent / "templates"


def starter_texts(chosen: Course | None = None, filled: Iterable[str] = ()) -> dict[str, str]:
    """Return the texts of the starter set with a hole for each exercise, except for those whose ids are in `filled`."""
    chosen, filled = chosen or course(), set(filled)
    for exercise in chosen.exercises:
        if exercise.file not in STARTER_SET:
            raise CourseError(f"exercise {exercise.id}: {exercise.file} is not in the starter set")
    return {member: starter_text(member, chosen, filled) for member in STARTER_SET}


def starter_text(member: str, chosen: Course | None = None, filled: Collection[str] = ()) -> str:
    """Return the text of one file of the starter set with its holes."""
    holes = [e for e in (chosen or course()).exercises if e.file == member and e.id not in filled]
    text = reference_text(member)
    return cut(text, holes) if holes else text


def project_files(completed: bool = False, filled: Iterable[str] = ()) -> dict[str, bytes]:
    """Return a whole project, path to content: the starter, the completed one, or a starter with some holes `filled`."""
    chosen = course()
    texts = reference_texts() if completed else starter_texts(chosen, filled)
    files = {f"{MYGPT}/{member}": text for member, text in texts.items()}
    for template in (TRAIN, GENERATE):
        files[template] = (TEMPLATES / template).read_text(encoding="utf-8")
    files["README.md"] = readme(chosen, completed)
    files[".gitignore"] = (TEMPLATES / "gitignore").read_text(encoding="utf-8")
    files[f"{HOME}/{PROJECT}"] = json.dumps(Facts(chosen.version).to_json(), indent=2) + "\n"
    encoded = {name: text.encode() for name, text in files.items()}
    encoded["data/stand_in.txt"] = lzma.decompress((PACKAGE / "stand_in" / "stand_in.txt.xz").read_bytes())
    return dict(sorted(encoded.items()))


def readme(chosen: Course, completed: bool) -> str:
    """Return the project's README: the exercises, lesson by lesson, or what the completed project holds."""
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
    """Write the files as a project, whole or not at all. InputError if something is there already.

    An empty folder that is there is filled, not replaced: it can be the current one, or a link can lead to it.
    """
    check_free(folder)
    there = folder.is_dir()
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder if there else folder.parent, prefix=".gptladder-new-") as scratch:
        made = Path(scratch) / "project"
        for name, content in files.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(content)
        if there:
            _move_all(made, folder)
        else:
            made.rename(folder)


def _move_all(source: Path, target: Path) -> None:
    """Move everything in a folder to another one; if that fails or is interrupted, take back what was moved."""
    moved: list[Path] = []
    try:
        for path in sorted(source.iterdir(), key=lambda path: path.name == HOME):  # a project only once it is whole
            moved.append(target / path.name)
            path.rename(target / path.name)
    except BaseException:
        for path in moved:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        raise


def archive_path(folder: Path) -> Path:
    """Return where `new --zip` writes: DIR.zip, or, for a folder without a name of its own such as `.`, in that folder."""
    if folder.suffix == ".zip":
        return folder
    if folder.name in ("", ".."):
        return folder / f"{folder.resolve().name or 'project'}.zip"
    return folder.with_name(f"{folder.name}.zip")


def check_free(path: Path) -> None:
    """Raise InputError if there is something at that path, unless it is an empty folder."""
    if path.is_dir() and any(path.iterdir()):
        raise InputError(f"{path} is not empty; give a new folder, nothing is overwritten")
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; give the name of a new folder")


def check_free_for_archive(path: Path) -> None:
    """Raise InputError if there is anything at the path of an archive that is to be written."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the archive another name, such as {path.stem}-2.zip")
    if path.exists():
        raise InputError(f"{path} is there already; give another name, nothing is overwritten")


def zipped(folder: str, files: Mapping[str, bytes]) -> bytes:
    """Return the files as a zip archive with that top folder: the same bytes on every machine and every day.

    Nothing is compressed, since compressors differ, and every date is the first one that the format has.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{folder}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # Unix, even where it is built on Windows
            out.writestr(entry, files[name])
    return archive.getvalue()
