"""Submissions: what is handed in, and archives that are not to be trusted."""

from __future__ import annotations

import io
import json
import stat
import struct
import tarfile
import zipfile

import pytest

from gptladder.course.source.reference import STARTER_SET
from gptladder.course.workspace import handin, record
from gptladder.course.workspace.make import project_files, write_project
from gptladder.errors import InputError


@pytest.fixture
def project(tmp_path):
    write_project(tmp_path / "project", project_files(completed=True))
    return record.open_project(tmp_path / "project")


def archive(path, **files):
    with zipfile.ZipFile(path, "w") as out:
        for name, content in files.items():
            out.writestr(name, content)
    return path


def test_code_answers_record_and_versions_are_handed_in_and_nothing_else(project, tmp_path):
    project.note_answer("1.1a-1", "x", True)
    (project.folder / "runs").mkdir()
    (project.folder / "runs" / "secret.txt").write_text("s")
    count = handin.write_submission(project, tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as content:
        names = content.namelist()
        versions = json.loads(content.read("project/.gptladder/versions.json"))
    assert len(names) == count
    expected = {f"project/mygpt/{member}" for member in STARTER_SET}
    assert expected <= set(names)
    assert {"project/.gptladder/project.json", "project/.gptladder/answers.json", "project/.gptladder/record.json"} <= set(
        names
    )
    assert not any("runs" in name or "data" in name for name in names)
    assert {"course_version", "torch", "python", "gptladder"} <= versions.keys()


def test_an_archive_is_not_overwritten(project, tmp_path):
    (tmp_path / "out.zip").write_text("mine")
    with pytest.raises(InputError, match="exists"):
        handin.write_submission(project, tmp_path / "out.zip")
    assert (tmp_path / "out.zip").read_text() == "mine"


def test_what_is_handed_in_unpacks_to_the_same_code(project, tmp_path):
    handin.write_submission(project, tmp_path / "out.zip")
    (tmp_path / "in").mkdir()
    found = handin.unpack(tmp_path / "out.zip", tmp_path / "in")
    for member in STARTER_SET:
        assert (found / "mygpt" / member).read_bytes() == (project.folder / "mygpt" / member).read_bytes()


@pytest.mark.parametrize(
    "name", ["../evil.py", "/etc/evil.py", "a/../../evil.py", "..\\evil.py", "C:\\evil.py", "C:evil.py", "a/b/../../../evil"]
)
def test_a_path_that_leads_out_is_refused_and_nothing_is_written(tmp_path, name):
    path = archive(tmp_path / "bad.zip", **{"mygpt/a.py": "x = 1", name: "evil"})
    (tmp_path / "deep" / "in").mkdir(parents=True)
    with pytest.raises(InputError, match="leads out"):
        handin.unpack(path, tmp_path / "deep" / "in")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["bad.zip", "deep", "in"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(tmp_path, kind):
    entry = zipfile.ZipInfo("mygpt/link.py")
    entry.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as out:
        out.writestr(entry, "/etc/passwd")
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="a link or a special file"):
        handin.unpack(tmp_path / "bad.zip", tmp_path / "in")
    assert list((tmp_path / "in").iterdir()) == []


def test_a_bomb_is_refused_before_it_goes_off(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as out:
        for i in range(3):
            out.writestr(f"mygpt/{i}.py", b"0" * (handin.MOST_BYTES // 2))
    assert (tmp_path / "bomb.zip").stat().st_size < 200_000
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="more than 32 MiB"):
        handin.unpack(tmp_path / "bomb.zip", tmp_path / "in")
    assert sum(path.stat().st_size for path in (tmp_path / "in").rglob("*") if path.is_file()) <= handin.MOST_BYTES


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("mygpt/a.py", b"0" * (handin.MOST_BYTES + 10))
    data = bytearray(out.getvalue())
    true_size = struct.pack("<I", handin.MOST_BYTES + 10)
    while (at := data.find(true_size)) >= 0:
        data[at : at + 4] = struct.pack("<I", 10)
    (tmp_path / "liar.zip").write_bytes(data)
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError):
        handin.unpack(tmp_path / "liar.zip", tmp_path / "in")
    assert sum(path.stat().st_size for path in (tmp_path / "in").rglob("*") if path.is_file()) <= 10


def test_too_many_files_are_refused(tmp_path):
    path = archive(tmp_path / "many.zip", **{f"mygpt/{i}.py": "" for i in range(handin.MOST_FILES + 1)})
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="at most 2,000"):
        handin.unpack(path, tmp_path / "in")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "bad.zip").write_bytes(content)
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="cannot be unpacked"):
        handin.unpack(tmp_path / "bad.zip", tmp_path / "in")


@pytest.mark.parametrize("files", [{"a.txt": "x"}, {"mygpt/readme.txt": "x"}, {"deep/er/mygpt/a.py": "x"}])
def test_an_archive_without_a_project_is_refused(tmp_path, files):
    path = archive(tmp_path / "none.zip", **files)
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="holds no project"):
        handin.unpack(path, tmp_path / "in")


# --- .tar.gz ---


def tarball(path, **files):
    """An archive of these files; a value may be a TarInfo instead, for an entry of another kind."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as out:
        for name, content in files.items():
            entry = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if content is entry else content.encode()
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))
    return path


def entry(kind, target=""):
    made = tarfile.TarInfo("mygpt/special.py")
    made.type, made.linkname = kind, target
    return made


def unpacked(path):
    folder = path.parent / "deep" / "in"
    folder.mkdir(parents=True)
    return handin.unpack(path, folder)


@pytest.mark.parametrize("name", ["work.tar.gz", "WORK.TGZ", "work.tar"])
def test_tar_archives_are_opened(tmp_path, name):
    made = tarball(tmp_path / name, **{"project": entry(tarfile.DIRTYPE), "project/mygpt/a.py": "x = 1", "project/b.txt": "y"})
    project = unpacked(made)
    assert (project.name, (project / "mygpt" / "a.py").read_text()) == ("project", "x = 1")


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil.py", "a/../../evil.py", "..\\evil.py", "C:evil.py"])
def test_a_path_that_leads_out_of_a_tar_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="leads out"):
        unpacked(tarball(tmp_path / "bad.tar.gz", **{"mygpt/a.py": "x = 1", name: "evil"}))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["bad.tar.gz", "deep", "in"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_special_files_in_a_tar_are_refused(tmp_path, kind):
    with pytest.raises(InputError, match="a link or a special file"):
        unpacked(tarball(tmp_path / "bad.tar.gz", **{"mygpt/a.py": "x = 1", "special": entry(kind, "/etc/passwd")}))
    assert not list((tmp_path / "deep" / "in").iterdir())


def test_a_tar_that_is_a_bomb_is_refused(tmp_path):
    path = tarball(tmp_path / "bomb.tar.gz", **{f"mygpt/{i}.py": "0" * (handin.MOST_BYTES // 2) for i in range(3)})
    assert path.stat().st_size < 200_000
    with pytest.raises(InputError, match="more than 32 MiB"):
        unpacked(path)
    assert not list((tmp_path / "deep" / "in").iterdir())


def test_too_many_files_in_a_tar_are_refused(tmp_path):
    path = tarball(tmp_path / "many.tar.gz", **{f"mygpt/{i}.py": "" for i in range(handin.MOST_FILES + 1)})
    with pytest.raises(InputError, match="at most 2,000"):
        unpacked(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b broken", b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x02"])
def test_what_is_no_tar_is_refused(tmp_path, content):
    (tmp_path / "bad.tar.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be unpacked|holds no project"):
        unpacked(tmp_path / "bad.tar.gz")


# --- a learner's folder ---


@pytest.mark.parametrize("inside", ["", "project", "attempt/project"])
def test_a_project_is_found_in_a_learner_s_folder_before_its_own_archive(tmp_path, inside):
    folder = tmp_path / "ada"
    (folder / inside / "mygpt").mkdir(parents=True)
    (folder / inside / "mygpt" / "a.py").touch()
    archive(folder / inside / "project-submission.zip")
    (folder / ".trash").mkdir()
    archive(folder / ".trash" / "old.zip")
    assert handin.submission_in(folder) == folder / inside


def test_two_projects_are_refused_by_name(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name / "mygpt").mkdir(parents=True)
        (tmp_path / name / "mygpt" / "a.py").touch()
    for find in (handin.submission_in, handin.project_in):
        with pytest.raises(InputError, match=r"it holds 2 projects \(new, old\); leave the one that counts"):
            find(tmp_path)
