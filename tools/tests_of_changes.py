"""Prints the test files that mirror what changed since the last commit, for `make quick`; the core's if nothing did.

    python tools/tests_of_changes.py

`tests/` mirrors `src/gptladder/`: a change of `model/gpt.py` asks for `tests/model/test_gpt.py`, or for `tests/model/` if
there is no such file. A test file that changed asks for itself. The law of the rooms is always among them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALWAYS = "tests/test_structure.py"
CORE = ("tests/model", "tests/sampling", "tests/training/test_loop.py", "tests/training/test_loss.py")


def changed() -> list[str]:
    """Return the files that differ from the last commit, new ones included."""
    commands = (["git", "diff", "--name-only", "HEAD"], ["git", "ls-files", "--others", "--exclude-standard"])
    return [
        line
        for command in commands
        for line in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    ]


def mirror_of(path: str) -> set[str]:
    """Return the test files or folders for one changed file; nothing for what has no tests of its own."""
    parts = Path(path).parts
    if parts[0] == "tests":
        return {path} if Path(path).name.startswith("test_") and (ROOT / path).exists() else set()
    if parts[:2] == ("src", "gptladder"):
        mirror = ROOT / "tests" / Path(*parts[2:])
        own = sorted(mirror.parent.glob(f"test_{mirror.stem}*.py")) if mirror.suffix == ".py" else []
        folder = mirror.parent
        while not own and not folder.is_dir():
            folder = folder.parent
        return {found.relative_to(ROOT).as_posix() for found in own or ([folder] if folder != ROOT / "tests" else [])}
    if parts[0] in ("README.md", "CONTRIBUTING.md", "docs"):
        return {"tests/test_readme.py"}
    return {"tests/benchmarks"} if parts[0] == "benchmarks" else set()


def chosen(paths: Iterable[str]) -> list[str]:
    """Return what pytest is to run for these changes."""
    found = {test for path in paths for test in mirror_of(path)} or set(CORE)
    return sorted({ALWAYS, *found})


if __name__ == "__main__":
    print(*chosen(changed()))
