"""How the program is typed: by its name where the shell finds it, otherwise by a path that works, in quotes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gptladder.cli import commands


@pytest.fixture
def called(monkeypatch, tmp_path):
    """Call the program by a path in an empty folder, where the shell finds what lies in `bin`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def call(path):
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch(mode=0o755)
        monkeypatch.setattr(sys, "argv", [path])

    return call


def test_a_program_on_the_path_is_called_by_its_name(called):
    called("bin/gptladder")
    assert commands.command("check", "3.3-head") == "gptladder check 3.3-head"
    assert commands.command("check", inside=Path("mine")) == "gptladder check"


def test_a_program_that_a_link_on_the_path_leads_to_is_called_by_its_name(called, tmp_path):
    called("venv/bin/gptladder")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gptladder").symlink_to(tmp_path / "venv" / "bin" / "gptladder")
    assert commands.command("check") == "gptladder check"


@pytest.mark.parametrize("absolute", [False, True])
def test_another_one_is_called_by_the_shortest_path_here_and_by_a_whole_one_elsewhere(called, tmp_path, absolute):
    called(str(tmp_path / ".venv/bin/gptladder") if absolute else ".venv/bin/gptladder")
    assert commands.command("check") == ".venv/bin/gptladder check"
    assert commands.command("check", inside=Path("mine")) == f"{tmp_path}/.venv/bin/gptladder check"


def test_one_beside_us_needs_its_folder_too(called):
    called("gptladder")
    assert commands.command("check") == "./gptladder check"


def test_paths_and_words_are_quoted_where_they_must_be(called, tmp_path):
    called("my venv/gptladder")
    assert (
        commands.command("sample", Path("my run"), "--prompt", "ROMEO:")
        == "'my venv/gptladder' sample 'my run' --prompt ROMEO:"
    )
    assert commands.command(inside=Path("mine")) == f"'{tmp_path}/my venv/gptladder'"


def test_on_windows_the_quotes_are_the_ones_that_its_shells_know(monkeypatch):
    monkeypatch.setattr(os, "name", "nt")
    assert commands.quoted("my gpt course") == '"my gpt course"'
    assert commands.quoted("course") == "course"


def test_a_module_is_called_by_the_python_that_runs_it(called, tmp_path, monkeypatch):
    called("package/__main__.py")
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    assert commands.command("check") == ".venv/bin/python -m gptladder check"
    assert commands.python("train.py", inside=Path("mine")) == f"{tmp_path}/.venv/bin/python train.py"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch(mode=0o755)  # another one, perhaps without torch
    assert commands.command("check") == ".venv/bin/python -m gptladder check"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    assert commands.command("check") == "python -m gptladder check"


def test_messages_name_the_program_as_it_is_typed(called):
    called(".venv/bin/gptladder")
    said = "no project here, this gptladder teaches 1; make one (gptladder new DIR) or see gptladder doctor"
    typed = (
        "no project here, this gptladder teaches 1; make one (.venv/bin/gptladder new DIR) or see .venv/bin/gptladder doctor"
    )
    assert commands.as_typed(said, ["new", "doctor"]) == typed


@pytest.mark.parametrize(
    "path", ["bin/gptladder", ".venv/bin/gptladder", "gptladder", "my venv/gptladder", "package/__main__.py"]
)
def test_a_command_that_is_already_as_it_is_typed_stays(called, path):
    called(path)
    said = f"my.txt is a text; train on it with: {commands.command('train', '--corpus', 'my.txt')}"
    assert commands.as_typed(said, ["train", "doctor"]) == said
