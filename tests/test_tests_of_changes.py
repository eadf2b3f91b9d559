"""`make quick` runs the tests that mirror what changed."""

from __future__ import annotations

import pytest
import tests_of_changes
from tests_of_changes import ALWAYS, CORE, ROOT, chosen, mirror_of


@pytest.mark.parametrize(
    ("path", "tests"),
    [
        ("src/gptladder/model/gpt.py", {"tests/model/test_gpt.py"}),
        ("src/gptladder/corpus.py", {"tests/test_corpus.py"}),
        ("src/gptladder/model/__init__.py", {"tests/model"}),
        ("src/gptladder/course/bank/mutants/lesson_3_3.toml", {"tests/course"}),
        ("src/gptladder/nowhere.py", set()),
        ("tests/model/test_gpt.py", {"tests/model/test_gpt.py"}),
        ("tests/model/test_gone.py", set()),
        ("tests/conftest.py", set()),
        ("docs/ladder.json", {"tests/test_readme.py"}),
        ("benchmarks/train.py", {"tests/benchmarks"}),
        ("LICENSE", set()),
    ],
)
def test_a_change_asks_for_the_tests_that_mirror_it(path, tests):
    assert mirror_of(path) == tests


def test_without_a_change_the_core_is_run():
    assert chosen([]) == sorted({ALWAYS, *CORE})
    assert chosen(["LICENSE"]) == chosen([])


def test_several_changes_are_joined_and_the_law_of_rooms_is_always_there():
    assert chosen(["src/gptladder/model/gpt.py", "README.md"]) == [
        *("tests/model/test_gpt.py", "tests/test_readme.py", "tests/test_structure.py"),
    ]


def test_everything_that_is_named_exists():
    assert all((ROOT / path).exists() for path in (ALWAYS, *CORE))


def test_changes_are_those_since_the_last_commit(tmp_path, monkeypatch):
    def git(*words):
        tests_of_changes.subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("config", "user.name", "t")
    git("config", "user.email", "t@example.org")
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("1")
    git("add", "-A")
    git("commit", "-m", "one")
    (tmp_path / "a.py").write_text("2")
    (tmp_path / "c.py").write_text("3")
    monkeypatch.setattr(tests_of_changes, "ROOT", tmp_path)
    assert tests_of_changes.changed() == ["a.py", "c.py"]
