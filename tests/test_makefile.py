"""`make setup` where something is missing or an earlier setup was disturbed. A script plays Python, nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAKE = shutil.which("make")
TOOLS = ("awk", "cat", "cp", "echo", "find", "mkdir", "rm")  # all that the Makefile and the script below call

# Answers like a Python of the version $1, with or without ensurepip ($2), writes down each pip command, and copies itself
# into the .venv that it is asked to make. If the file `broken` names a word of a pip command, that command fails.
PYTHON = """#!/bin/sh
case "$*" in
  *"version_info <"*) [ {minor} -ge 11 ] ;;
  *ensurepip*) [ {ensurepip} = yes ] ;;
  *version_info*) echo 3.{minor} ;;
  --version) echo "Python 3.{minor}.0" ;;
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *.installed*) cat .venv/.installed ;;
  "-m pip "*) echo "$*" >> pip.log
    if [ -e broken ]; then case "$*" in *"$(cat broken)"*) exit 1 ;; esac; fi ;;
  *) echo "ran: $*" ;;
esac
"""

pytestmark = pytest.mark.skipif(MAKE is None, reason="needs make")


class Machine:
    """A folder with the Makefile, and a PATH that holds what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.project = folder / "a project, with spaces"
        self.bin.mkdir(parents=True)
        self.project.mkdir()
        for tool in TOOLS:
            if (found := shutil.which(tool)) is not None:
                (self.bin / tool).symlink_to(found)
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.project)

    def add_python(self, name: str, minor: int, ensurepip: str = "yes") -> None:
        path = self.bin / name
        path.write_text(PYTHON.format(minor=minor, ensurepip=ensurepip))
        path.chmod(0o755)

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        assert MAKE is not None
        return subprocess.run(
            [MAKE, *arguments], cwd=self.project, env={"PATH": str(self.bin)}, capture_output=True, text=True, timeout=60
        )

    def pip_commands(self) -> list[str]:
        """What pip was asked for since the last look."""
        log = self.project / "pip.log"
        commands = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return commands


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


def error_lines(result: subprocess.CompletedProcess[str]) -> list[str]:
    assert result.returncode != 0
    return [line for line in result.stderr.splitlines() if not line.startswith("make: ***")]


def test_make_alone_lists_every_target(machine: Machine) -> None:
    listed = [line.split()[1] for line in machine.make().stdout.splitlines()]
    assert listed == ["help", "setup", "train", "test", "quick", "test-slow", "check", "verify", "wheel", "clean"]


def test_torch_comes_first_and_everything_by_the_constraints(machine: Machine) -> None:
    machine.add_python("python3", 12)
    result = machine.make("setup")
    assert result.returncode == 0, result.stderr
    commands = machine.pip_commands()
    assert [command.split()[-1] for command in commands] == ["pip", "torch", "."]
    assert all("-c constraints.txt" in command for command in commands)
    assert result.stdout.splitlines()[-1].startswith("Ready")


def test_a_second_setup_installs_nothing(machine: Machine) -> None:
    machine.add_python("python3", 12)
    machine.make("setup")
    machine.pip_commands()
    assert machine.make("setup").returncode == 0
    assert machine.pip_commands() == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_change_installs_again_into_the_same_environment(machine: Machine, name: str) -> None:
    machine.add_python("python3", 12)
    machine.make("setup")
    machine.pip_commands()
    (machine.project / ".venv" / "kept").touch()
    stamp = machine.project / ".venv" / ".installed"
    later = stamp.stat().st_mtime + 10
    os.utime(machine.project / name, (later, later))
    machine.make("setup")
    assert len(machine.pip_commands()) == 3
    assert (machine.project / ".venv" / "kept").exists()


@pytest.mark.parametrize("word", ["torch", "--group"])
def test_after_an_interrupted_setup_the_next_starts_anew(machine: Machine, word: str) -> None:
    machine.add_python("python3", 12)
    (machine.project / "broken").write_text(word)
    assert machine.make("setup").returncode != 0
    (machine.project / ".venv" / "half").touch()
    (machine.project / "broken").unlink()
    machine.pip_commands()
    assert machine.make("setup").returncode == 0
    assert len(machine.pip_commands()) == 3
    assert not (machine.project / ".venv" / "half").exists()


def test_a_failed_torch_is_explained(machine: Machine) -> None:
    machine.add_python("python3", 12)
    (machine.project / "broken").write_text("torch")
    (line,) = error_lines(machine.make("setup"))
    assert "torch was not installed" in line


def test_a_moved_project_makes_its_environment_anew(machine: Machine) -> None:
    machine.add_python("python3", 12)
    machine.make("setup")
    machine.pip_commands()
    machine.project = machine.project.rename(machine.project.parent / "moved")
    assert machine.make("setup").returncode == 0
    assert len(machine.pip_commands()) == 3


def test_torch_index_is_for_torch_alone(machine: Machine) -> None:
    machine.add_python("python3", 12)
    assert machine.make("setup", "TORCH_INDEX=https://example.org/cpu").returncode == 0
    with_index = [command for command in machine.pip_commands() if "--index-url" in command]
    assert len(with_index) == 1
    assert "--no-deps" in with_index[0]
    assert with_index[0].endswith("--index-url https://example.org/cpu torch")


def test_no_python(machine: Machine) -> None:
    (line,) = error_lines(machine.make("setup"))
    assert line.startswith("error: no Python 3.11 or newer on the PATH")
    assert "sudo apt install python3 python3-venv" in line
    assert not (machine.project / ".venv").exists()


def test_an_old_python_is_passed_over(machine: Machine) -> None:
    machine.add_python("python3", 10)
    (line,) = error_lines(machine.make("train"))
    assert line.startswith("error: no Python 3.11 or newer on the PATH")
    machine.add_python("python3.13", 13)
    assert "Making .venv with Python 3.13.0" in machine.make("setup").stdout


def test_a_python_without_venv_is_passed_over_or_cured(machine: Machine) -> None:
    machine.add_python("python3.13", 13, ensurepip="no")
    (line,) = error_lines(machine.make("test"))
    assert line.startswith("error: python3.13 has no venv module")
    assert "sudo apt install python3.13-venv" in line
    machine.add_python("python3", 11)
    assert "Making .venv with Python 3.11.0" in machine.make("setup").stdout


def test_a_named_python_is_taken_or_refused_never_replaced(machine: Machine) -> None:
    machine.add_python("python3", 12)
    machine.add_python("my python", 11)
    machine.add_python("old", 9)
    (line,) = error_lines(machine.make("setup", "PYTHON=old"))
    assert line.startswith("error: PYTHON=old is no Python 3.11 or newer")
    assert "Making .venv with Python 3.11.0" in machine.make("setup", "PYTHON=my python").stdout


def test_clean_keeps_the_runs(machine: Machine) -> None:
    for name in (".venv", "dist", ".mypy_cache", "runs", "src/__pycache__"):
        (machine.project / name).mkdir(parents=True)
    assert machine.make("clean").returncode == 0
    assert {path.name for path in machine.project.iterdir() if path.is_dir()} == {"runs", "src"}
    assert not (machine.project / "src" / "__pycache__").exists()
