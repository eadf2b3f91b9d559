"""A look at the machine: what is missing for a training, with the command that cures it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from .. import corpus
from ..errors import InputError

FREE_BYTES = 500_000_000  # a training's run folder and its states, with room to spare


@dataclass(frozen=True)
class Observation:
    """An observation of one subject. `serious` means that nothing can be trained before it is cured."""

    subject: str
    found: str
    ok: bool = True
    cure: str = ""
    serious: bool = False


def report(observations: list[Observation]) -> None:
    """Print a line per observation, and below a problem the command that cures it. Works without torch."""
    console = Console(highlight=False)
    for observation in observations:
        mark = (
            "[green]ok[/green]  " if observation.ok else "[red]no[/red]  " if observation.serious else "[yellow]note[/yellow]"
        )
        console.print(f"{mark} {observation.subject:<9} {escape(observation.found)}", soft_wrap=True)
        if observation.cure:
            console.print(f"               cure: {observation.cure}", style="bold", markup=False, soft_wrap=True)


def examine() -> list[Observation]:
    """Return all observations, in a few seconds and without the network."""
    checks: tuple[Callable[[], Observation], ...] = (_python, _torch, _devices, _threads, _compiler, _disk, _data)
    return [check() for check in checks]


def _python() -> Observation:
    return Observation("python", f"{platform.python_version()} in {sys.prefix}")


def _torch() -> Observation:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Observation("torch", f"does not load ({error})", False, "make setup  (or: pip install 'torch>=2.9,<3')", True)
    return Observation("torch", torch.__version__)


def _devices() -> Observation:
    try:
        from ..training.devices import available
    except (ImportError, OSError):
        return Observation("devices", "unknown until torch loads", False)
    kinds = available()
    if kinds != ["cpu"] or shutil.which("nvidia-smi") is None:
        return Observation("devices", ", ".join(kinds))
    index = " --index-url https://download.pytorch.org/whl/cu128" if platform.system() == "Windows" else ""
    cure = f"pip install --force-reinstall torch{index}"
    return Observation("devices", "cpu only, though an NVIDIA driver is here", False, cure)


def _threads() -> Observation:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("OMP_NUM_THREADS")
    if given is not None and (not given.isdigit() or int(given) > cores):
        return Observation(
            "threads", f"OMP_NUM_THREADS={given} on {cores} cores slows training", False, "unset OMP_NUM_THREADS"
        )
    return Observation("threads", f"{cores} cores" + (f", OMP_NUM_THREADS={given}" if given else ""))


def _compiler() -> Observation:
    found = next((path for name in ("c++", "g++", "clang++", "cl") if (path := shutil.which(name))), None)
    if found is not None:
        return Observation("compiler", found)
    cures = {"Darwin": "xcode-select --install", "Windows": "winget install Microsoft.VisualStudio.2022.BuildTools"}
    cure = cures.get(platform.system(), "sudo apt install g++  (or your system's package for it)")
    return Observation("compiler", "no C++ compiler; only torch.compile needs one", False, cure)


def _disk() -> Observation:
    folder = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return Observation("disk", f"{folder} cannot be written ({error.strerror})", False, "cd to a folder of your own", True)
    if free < FREE_BYTES:
        return Observation(
            "disk", f"{free / 1e6:,.0f} MB free in {folder}, too little", False, "rm -r the oldest of runs/", True
        )
    return Observation("disk", f"{free / 1e9:,.0f} GB free in {folder}")


def _data() -> Observation:
    try:
        found = corpus.local_tinyshakespeare()
    except InputError as error:
        return Observation("data", str(error), False, "unset GPTLADDER_DATA", True)
    if found is not None:
        return Observation("data", f"TinyShakespeare, {len(found.text):,} characters")
    cure = f"save {corpus.URL} as FOLDER/{corpus.FILE} and: export GPTLADDER_DATA=FOLDER"
    return Observation(
        "data", "TinyShakespeare is not here yet; train downloads it, or takes the stand-in offline", False, cure
    )
