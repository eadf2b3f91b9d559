"""A submission: a project's code and answers as one archive, made by the learner's side and opened with suspicion by ours."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path, PurePosixPath

from ...errors import InputError
from ...files import write_atomically
from ..outline import course
from .layout import HOME, MYGPT, PROJECT
from .make import zipped
from .record import ANSWERS, RECORD, Project

VERSIONS = "versions.json"
MOST_BYTES, MOST_FILES = 32 * 2**20, 2000  # of all that an archive holds
KEPT = (f"{HOME}/{PROJECT}", f"{HOME}/{RECORD}", f"{HOME}/{ANSWERS}", "train.py", "generate.py", "README.md")


def submission_of(project: Project) -> dict[str, bytes]:
    """What is handed in: code, answers, record, versions. No text, no runs, nothing else that lies in the folder."""
    from ...training.run import versions

    code = [path.relative_to(project.folder).as_posix() for path in sorted((project.folder / MYGPT).rglob("*.py"))]
    files = {name: (project.folder / name).read_bytes() for name in (*code, *KEPT) if (project.folder / name).is_file()}
    if not code:
        raise InputError(f"{project.folder / MYGPT} holds no Python file; there is nothing to hand in")
    facts = {"course_version": course().version, **versions()}
    files[f"{HOME}/{VERSIONS}"] = (json.dumps(facts, indent=2) + "\n").encode()
    return files


def write_submission(project: Project, out: Path) -> int:
    """The archive; how many files it holds. InputError if something is there already."""
    if out.exists():
        raise InputError(f"{out} exists; give another name with --out, or remove it")
    files = submission_of(project)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, zipped(project.folder.name, files))
    return len(files)


def unpack(archive: Path, folder: Path) -> Path:
    """The archive's project, written into an empty folder. InputError with the reason if it cannot be trusted or holds none."""
    try:
        with zipfile.ZipFile(archive) as content:
            entries = [entry for entry in content.infolist() if not entry.is_dir()]
            if len(entries) > MOST_FILES:
                raise InputError(f"it holds {len(entries):,} files; at most {MOST_FILES:,} are unpacked")
            for entry in entries:
                _check_entry(entry)
            left = MOST_BYTES
            for entry in entries:
                data = _read(content, entry, left)
                left -= len(data)
                target = folder / entry.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
    except InputError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError, NotImplementedError) as error:
        raise InputError(f"it cannot be unpacked ({error})") from None
    return project_in(folder)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in entry.filename or "\x00" in entry.filename:
        raise InputError(f"{entry.filename!r} in it leads out of its folder")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise InputError(f"{entry.filename!r} in it is a link or a special file; only plain files are unpacked")


def _read(content: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int) -> bytes:
    """A file of the archive, whatever size it claims: never more than is left of the whole allowance."""
    with content.open(entry) as file:
        data = file.read(left + 1)
    if len(data) > left:
        raise InputError(f"it holds more than {MOST_BYTES // 2**20} MiB; a submission is far smaller")
    return data


def project_in(folder: Path) -> Path:
    """The project in a folder: itself, or the one folder in it that is one. InputError if there is none."""
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir()] if folder.is_dir() else []
    for candidate in (folder, *inside):
        if (candidate / MYGPT).is_dir() and any((candidate / MYGPT).rglob("*.py")):
            return candidate
    raise InputError(f"it holds no project (a folder with {MYGPT}/ in it); `gptladder submit` makes such an archive")
