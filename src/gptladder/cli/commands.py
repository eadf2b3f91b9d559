"""Commands that are printed to be pasted: the program by the name it was called by, every word quoted where needed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


def command(*words: str | Path, inside: Path | None = None) -> str:
    """Return our program with these words as one would type it here, or after `cd` to the folder `inside`."""
    if Path(sys.argv[0]).name == "__main__.py":
        return python("-m", "gptladder", *words, inside=inside)
    program, found = Path(sys.argv[0] or "gptladder"), shutil.which("gptladder")
    same = found is not None and Path(found).resolve() == program.resolve()
    return _line("gptladder" if same else _typed(program, inside), *words)


def python(*words: str | Path, inside: Path | None = None) -> str:
    """Return the Python that runs us, with these words, as one would type it here or in `inside`."""
    running = Path(sys.executable)
    found = shutil.which(running.name)
    # Not resolved: the Python of a virtual environment is often a link to another one, which has no torch.
    same = found is not None and Path(found).absolute() == running.absolute()
    return _line(running.name if same else _typed(running, inside), *words)


def as_typed(message: str, verbs: Iterable[str]) -> str:
    """Return a message with every `gptladder VERB` as one would type it here.

    The rooms that raise errors do not know how the program was called; they write it by its plain name.
    Where the name ends a path or follows `-m`, the command is already written as one would type it.
    """
    plain = rf"(?<![\w./\\-])(?<!-m )gptladder (?=(?:{'|'.join(verbs)})\b)"
    return re.sub(plain, lambda _: f"{command()} ", message)


def quoted(word: str | Path) -> str:
    """Return a word as a shell must be given it, in quotes where it needs them."""
    text = word.as_posix() if isinstance(word, Path) else word
    return subprocess.list2cmdline([text]) if os.name == "nt" else shlex.quote(text)


def _line(*words: str | Path) -> str:
    return " ".join(quoted(word) for word in words)


def _typed(program: Path, inside: Path | None) -> str:
    """Return the path of a program that the shell does not find by its name."""
    if program.parent == Path() and not program.is_file():
        return program.as_posix()  # no path at all: whoever started it had a name for it
    if inside is not None:
        return program.absolute().as_posix()
    near = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    return near.as_posix() if near.parent != Path() else f"./{near.as_posix()}"
