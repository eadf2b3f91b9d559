"""The two kinds of project as files, as a folder and as an archive."""

from __future__ import annotations

import io
import json
import lzma
import zipfile

import pytest

from gptladder.course.outline import course
from gptladder.course.source.functions import text_of_body, with_body
from gptladder.course.source.reference import PACKAGE, STARTER_SET, reference_texts
from gptladder.course.workspace.make import project_files, starter_texts, write_project, zipped
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
        comment, statement = body.strip().splitlines()
        assert comment == f"# Exercise {chosen.id}, about {chosen.minutes} minutes. Allowed: {chosen.allowed}"
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


def test_an_archive_holds_the_project_and_is_the_same_bytes_each_time():
    files = {"b/c.txt": b"2", "a.txt": "ä".encode()}
    data = zipped("project", files)
    assert data == zipped("project", dict(reversed(files.items())))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["project/a.txt", "project/b/c.txt"]
        assert archive.read("project/a.txt") == "ä".encode()
        assert archive.testzip() is None
