"""The two kinds of project as files, as a folder and as an archive."""

from __future__ import annotations

import io
import json
import lzma
import zipfile
from pathlib import Path

import pytest

from gptladder.course.outline import course
from gptladder.course.source.functions import text_of_body, with_body
from gptladder.course.source.reference import PACKAGE, STARTER_SET, reference_texts
from gptladder.course.workspace.make import archive_path, project_files, starter_texts, write_project, zipped
from gptladder.errors import InputError


def test_every_exercise_s_body_put_back_is_the_reference():
    texts = reference_texts()
    cuts = starter_texts()
    for chosen in course().exercises:
        body = text_of_body(texts[chosen.file], chosen.name)
        cuts[chosen.file] = with_body(cuts[chosen.file], chosen.name, body)
    assert cuts == texts


def test_each_hole_says_its_exercise_and_nothing_else():
    texts = starter_texts()
    for chosen in course().exercises:
        body = text_of_body(texts[chosen.file], chosen.name)
        *comment, statement = body.strip().splitlines()
        said = " ".join(line.removeprefix("# ") for line in comment)
        assert said == f"Exercise {chosen.id}, about {chosen.minutes} minutes. Allowed: {chosen.allowed}"
        assert statement == f'raise NotImplementedError("exercise {chosen.id}")'


def test_a_starter_with_some_holes_filled():
    texts, reference = starter_texts(filled={"1.2-encode"}), reference_texts()
    assert text_of_body(texts["tokenizer.py"], "CharTokenizer.encode") == text_of_body(
        reference["tokenizer.py"], "CharTokenizer.encode"
    )
    assert 'exercise 1.2-decode"' in texts["tokenizer.py"]


@pytest.mark.parametrize("completed", [False, True])
def test_a_project_has_its_files(completed):
    files = project_files(completed)
    package = {name for name in files if name.startswith("mygpt/")}
    assert package == {f"mygpt/{member}" for member in STARTER_SET}
    others = {"README.md", "train.py", "generate.py", ".gitignore", "data/stand_in.txt", ".gptladder/project.json"}
    assert files.keys() - package == others
    text = lzma.decompress((PACKAGE / "stand_in" / "stand_in.txt.xz").read_bytes())
    assert files["data/stand_in.txt"] == text
    facts = json.loads(files[".gptladder/project.json"])
    assert facts == {"course_version": course().version, "learner_seed": None}
    assert b"{{" not in files["README.md"]
    assert (b'NotImplementedError("exercise' in b"".join(files[name] for name in package)) is not completed


def test_the_readme_of_the_starter_names_every_exercise_and_rung():
    text = project_files()["README.md"].decode()
    for chosen in course().exercises:
        assert f"`{chosen.id}`" in text
    for lesson in course().lessons:
        assert f"{lesson.id} {lesson.title}" in text
        for rung in lesson.rungs:
            assert f"python train.py {rung}" in text


def test_a_project_is_written_whole_and_nothing_is_overwritten(tmp_path):
    folder = tmp_path / "deep" / "project"
    write_project(folder, {"a/b.txt": b"1", "c": b"2"})
    assert (folder / "a" / "b.txt").read_bytes() == b"1"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["project"]
    with pytest.raises(InputError, match="not empty"):
        write_project(folder, {"c": b"3"})
    assert (folder / "c").read_bytes() == b"2"
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        write_project(tmp_path / "file", {"c": b"3"})
    (tmp_path / "empty").mkdir()
    write_project(tmp_path / "empty", {"c": b"3"})
    assert (tmp_path / "empty" / "c").read_bytes() == b"3"


def test_an_empty_folder_is_filled_where_it_is(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    there = Path.cwd().stat().st_ino
    write_project(Path(), {"a/b.txt": b"1", ".gptladder/project.json": b"{}"})
    assert (Path.cwd().stat().st_ino, Path("a/b.txt").read_bytes()) == (there, b"1")
    assert sorted(path.name for path in Path.cwd().iterdir()) == [".gptladder", "a"]
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_a_folder_stays_a_link(tmp_path, there):
    if there:
        (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_project(tmp_path / "link", {"c": b"2"})
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target" / "c").read_bytes() == b"2"


def test_an_empty_folder_is_filled_whole_or_not_at_all(tmp_path, monkeypatch):
    rename, left = Path.rename, [3]

    def fails_at_the_third(path, target):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_project(tmp_path, {"a": b"1", "b/b": b"2", "c": b"3", "d": b"4"})
    assert left == [0]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_a_project_only_once_it_is_whole(tmp_path, monkeypatch):
    order, rename = [], Path.rename
    monkeypatch.setattr(Path, "rename", lambda path, target: order.append(path.name) or rename(path, target))
    write_project(tmp_path, project_files())
    assert order[-1] == ".gptladder"
    assert len(order) == len(set(order)) == len(list(tmp_path.iterdir()))


@pytest.mark.parametrize(
    ("given", "archive"),
    [("mine", "mine.zip"), ("mine.zip", "mine.zip"), ("my.course", "my.course.zip"), ("deep/mine", "deep/mine.zip")],
)
def test_an_archive_s_path_is_the_folder_s_with_a_suffix(given, archive):
    assert archive_path(Path(given)) == Path(archive)


@pytest.mark.parametrize(("given", "archive"), [(".", "here.zip"), ("..", "../above.zip"), ("/", "/project.zip")])
def test_an_archive_of_a_folder_without_a_name_lies_in_it(tmp_path, monkeypatch, given, archive):
    (tmp_path / "above" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "above" / "here")
    assert archive_path(Path(given)) == Path(archive)


def test_an_archive_holds_the_project_and_is_the_same_bytes_each_time():
    files = {"b/c.txt": b"2", "a.txt": "ä".encode()}
    data = zipped("project", files)
    assert data == zipped("project", dict(reversed(files.items())))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["project/a.txt", "project/b/c.txt"]
        assert archive.read("project/a.txt") == "ä".encode()
        assert archive.testzip() is None
