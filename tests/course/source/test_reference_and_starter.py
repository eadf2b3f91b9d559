"""Cutting: what stays, what goes, and what is refused; the two projects as files and as archives."""

from __future__ import annotations

import ast
import io
import json
import lzma
import zipfile

import pytest

from gptladder.course.outline import CourseError, Exercise, course
from gptladder.course.source.functions import cut, function_text, text_of_body, with_body
from gptladder.course.source.reference import PACKAGE, STARTER_SET, reference_texts
from gptladder.course.workspace.make import project_files, starter_texts, write_project, zipped
from gptladder.errors import InputError

TEXT = '''"""A file."""

import math


class Thing:
    """A thing."""

    @property
    def size(self) -> int:
        """How big. Two lines
        of docstring."""
        half = 2  # a comment beside
        # a comment above
        return 2 * half
        # a trailing comment that says: the answer is 4

    # a comment of the class
    def other(self, x):
        """Another."""
        text = """
not indented, and part of the body
"""
        return text


def alone(x):
    """By itself."""
    return math.sqrt(x)


double = lambda x: 2 * x


def short(x): return x


def bare(x):
    return x


def documented(x):
    """Only words."""


def beside(x): "words"; return x


def helped(x):
    """Calls a private helper."""
    return _helper(x)


def _helper(x):
    """Half of the answer."""
    return x + 1
'''


def exercise(name, id="9.9-it"):
    return Exercise(id, "file.py", name, ("9.9a",), 5, "nothing.", ("h",))


def test_the_body_goes_with_its_trailing_comments_and_all_else_stays():
    text = cut(TEXT, [exercise("Thing.size")])
    assert "answer is 4" not in text
    assert "half" not in text
    assert "# a comment of the class" in text
    assert '    @property\n    def size(self) -> int:\n        """How big. Two lines\n        of docstring."""\n' in text
    added = "        # Exercise 9.9-it, about 5 minutes. Allowed: nothing.\n"
    assert added + '        raise NotImplementedError("exercise 9.9-it")\n\n    # a comment of the class\n' in text
    ast.parse(text)


def test_several_holes_in_one_file_leave_the_rest_byte_for_byte():
    text = cut(TEXT, [exercise("Thing.size"), exercise("Thing.other", "9.9-b"), exercise("alone", "9.9-c")])
    assert "not indented" not in text
    assert "math.sqrt" not in text
    assert text.endswith(TEXT[TEXT.index("double = lambda") :])
    assert text.startswith(TEXT[: TEXT.index("        half")])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("double", "no such function"),
        ("nothing", "no such function"),
        ("Thing.nothing", "no such function"),
        ("Other.size", "no such function"),
        ("Thing", "no such function"),
        ("short", "no docstring"),
        ("bare", "no docstring"),
        ("documented", "a body of its own lines"),
        ("beside", "a body of its own lines"),
        ("helped", "private helper _helper"),
    ],
)
def test_what_cannot_be_cut_is_an_error_of_the_course(name, words):
    with pytest.raises(CourseError) as error:
        cut(TEXT, [exercise(name)])
    assert words in str(error.value)


def test_a_private_helper_that_is_a_hole_too_is_fine():
    text = cut(TEXT, [exercise("helped"), exercise("_helper", "9.9-b")])
    assert "x + 1" not in text


def test_putting_a_body_back_gives_the_same_text():
    for name in ("Thing.size", "Thing.other", "alone"):
        body = text_of_body(TEXT, name)
        cut = with_body(TEXT, name, "pass")
        assert cut != TEXT
        if name != "Thing.other":  # whose string is not indented: it would come back with an indent
            assert with_body(cut, name, body) == TEXT


def test_every_exercise_s_body_put_back_is_the_reference():
    texts = reference_texts()
    cuts = starter_texts()
    for chosen in course().exercises:
        body = text_of_body(texts[chosen.file], chosen.name)
        cuts[chosen.file] = with_body(cuts[chosen.file], chosen.name, body)
    assert cuts == texts


def test_a_whole_function_is_shown_with_its_decorators():
    text = function_text(TEXT, "Thing.size")
    assert text.startswith("@property\ndef size(self)")
    assert text.endswith("the answer is 4")


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
