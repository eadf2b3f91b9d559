"""Submissions: a project's code and answers as one archive, which the learner makes and the grader opens with suspicion."""

from __future__ import annotations

import gzip
import io
import json
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from ...errors import InputError
from ...files import write_atomically
from ..outline import course
from .layout import HOME, MYGPT, PROJECT
from .make import zipped
from .record import ANSWERS, RECORD, Project

VERSIONS = "versions.json"
MOST_BYTES, MOST_FILES = 32 * 2**20, 2000  # in one archive
TOO_MUCH = f"it holds more than {MOST_BYTES // 2**20} MiB; a submission is far smaller"
GZIP = b"\x1f\x8b"  # how such a file begins
KEPT = (f"{HOME}/{PROJECT}", f"{HOME}/{RECORD}", f"{HOME}/{ANSWERS}", "train.py", "generate.py", "README.md")


def submission_of(project: Project) -> dict[str, bytes]:
    """Return what is handed in: code, answers, record, versions. No text, no runs, nothing else that lies in the folder."""
    from ...provenance import versions

    code = [path.relative_to(project.folder).as_posix() for path in sorted((project.folder / MYGPT).rglob("*.py"))]
    files = {name: (project.folder / name).read_bytes() for name in (*code, *KEPT) if (project.folder / name).is_file()}
    if not code:
        raise InputError(f"{project.folder / MYGPT} holds no Python file; there is nothing to hand in")
    facts = {"course_version": course().version, **versions()}
    files[f"{HOME}/{VERSIONS}"] = (json.dumps(facts, indent=2) + "\n").encode()
    return files


def write_submission(project: Project, out: Path) -> int:
    """Write the archive and return the number of files in it. InputError if something is there already."""
    if out.exists():
        raise InputError(f"{out} exists; give another name with --out, or remove it")
    files = submission_of(project)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, zipped(project.folder.name, files))
    return len(files)


def suffix_of(path: Path) -> str:
    """Return the ending by which a file is an archive that can be opened, such as ".tar.gz", or ""."""
    return next((suffix for suffix in READERS if path.name.lower().endswith(suffix)), "")


def unpack(archive: Path, folder: Path) -> Path:
    """Write an archive's files into an empty folder and return the project in it.

    InputError with the reason if the archive cannot be trusted, cannot be read or holds no project.
    """
    try:
        for name, data in READERS[suffix_of(archive)](archive).items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    except InputError:
        raise
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"it cannot be unpacked ({error})") from None
    return project_in(folder)


def _zip_files(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as content:
        entries = [entry for entry in content.infolist() if not entry.is_dir()]
        for entry in entries:
            _check(entry.filename, stat.S_IFMT(entry.external_attr >> 16) in (0, stat.S_IFREG), len(entries))
        files: dict[str, bytes] = {}
        left = MOST_BYTES
        for entry in entries:
            with content.open(entry) as file:
                files[entry.filename] = _read(file, left)  # whatever size it claims
            left -= len(files[entry.filename])
    return files


def _tar_files(archive: Path) -> dict[str, bytes]:
    """Yield the files of a .tar or .tar.gz. It is decompressed, up to a limit, before any size that it claims is believed."""
    compressed = archive.read_bytes()[:2] == GZIP
    with gzip.open(archive) if compressed else archive.open("rb") as file:
        data = _read(file, MOST_BYTES + MOST_FILES * 4 * tarfile.BLOCKSIZE)  # headers and padding of each file
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as content:
        entries = [entry for entry in content.getmembers() if not entry.isdir()]
        for entry in entries:
            _check(entry.name, entry.isreg() and not entry.issparse(), len(entries))
        if sum(entry.size for entry in entries) > MOST_BYTES:
            raise InputError(TOO_MUCH)
        return {entry.name: plain.read() for entry in entries if (plain := content.extractfile(entry))}


READERS: dict[str, Callable[[Path], dict[str, bytes]]] = {
    ".zip": _zip_files,
    ".tar.gz": _tar_files,
    ".tgz": _tar_files,
    ".tar": _tar_files,
}


def _check(name: str, plain: bool, count: int) -> None:
    """Raise InputError unless this entry, one of `count`, is a plain file that stays inside its folder when unpacked."""
    if count > MOST_FILES:
        raise InputError(f"it holds {count:,} files; at most {MOST_FILES:,} are unpacked")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\x00" in name:
        raise InputError(f"{name!r} in it leads out of its folder")
    if not plain:
        raise InputError(f"{name!r} in it is a link or a special file; only plain files are unpacked")


def _read(file: IO[bytes] | io.BufferedIOBase, most: int) -> bytes:
    data = file.read(most + 1)
    if len(data) > most:
        raise InputError(TOO_MUCH)
    return data


def project_in(folder: Path) -> Path:
    """Return the project in a folder: the folder itself, or the one folder in it that is a project.

    InputError if there is none, or more than one.
    """
    if _is_project(folder):
        return folder
    found = [path for path in _visible(folder) if _is_project(path)]
    if len(found) > 1:
        raise InputError(f"it holds {len(found)} projects ({_names(found)}); leave the one that counts")
    if not found:
        raise InputError(f"it holds no project (a folder with {MYGPT}/ in it); `gptladder submit` makes such an archive")
    return found[0]


def submission_in(folder: Path) -> Path:
    """Return the project or archive in a learner's folder, as learning platforms export it: in it, or one folder deeper.

    A project goes before an archive, which may have been made inside it. InputError if there is none, or more than one.
    """
    if _is_project(folder):
        return folder
    folders = [path for path in _visible(folder) if path.is_dir()]
    for places in ([folder], folders):
        inside = [path for place in places for path in _visible(place)]
        projects = [path for path in inside if _is_project(path)]
        archives = [path for path in inside if path.is_file() and suffix_of(path)]
        if len(projects or archives) > 1:
            kind = "projects" if projects else "archives"
            count, names = len(projects or archives), _names(projects or archives)
            raise InputError(f"it holds {count} {kind} ({names}); leave the one that counts")
        if projects or archives:
            return (projects or archives)[0]
    files = [path for place in (folder, *folders) for path in _visible(place) if path.is_file()]
    if files:
        raise InputError(f"it holds no project and no archive ({', '.join(READERS)}), only {_names(files)}")
    return project_in(folder)  # says what a project is


def _is_project(folder: Path) -> bool:
    return (folder / MYGPT).is_dir() and any((folder / MYGPT).rglob("*.py"))


def _visible(folder: Path) -> list[Path]:
    """Return a folder's entries, in order of name, without hidden ones and those that macOS puts into archives."""
    inside = folder.iterdir() if folder.is_dir() else ()
    return [path for path in sorted(inside) if not path.name.startswith((".", "__MACOSX"))]


def _names(paths: list[Path]) -> str:
    """Return the first few names for a message."""
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return ", ".join(path.name for path in paths[:5]) + more
