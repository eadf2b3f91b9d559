"""The provenance of numbers: the versions and the machine that produced them."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from . import __version__
from .cpu import products_by_onednn

INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "sve_bf16", "bf16")  # as Linux names them

SMALLEST, LONGEST_SECONDS = 128, 0.1  # of a matrix product that is timed


@dataclass(frozen=True)
class Processor:
    """A CPU as the system describes it. Hosts of one name differ twofold in speed, so family and model belong to it."""

    name: str
    family: str  # "25"; empty where the system does not say
    model: str  # "17"
    instruction_sets: tuple[str, ...]  # those of INSTRUCTION_SETS that it has
    cores: int


@dataclass(frozen=True)
class Machine:
    """A machine and how much of it is used."""

    system: str
    threads: int
    processor: Processor


def versions() -> dict[str, str]:
    """Return the versions that must agree for numbers to agree to the last digit."""
    return {"gptladder": __version__, "torch": torch.__version__, "python": platform.python_version()}


def processor() -> Processor:
    """Return this machine's CPU, from /proc/cpuinfo where there is one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return Processor(
        facts.get("model name") or platform.processor() or platform.machine(),
        facts.get("cpu family", ""),
        facts.get("model", ""),
        tuple(name for name in INSTRUCTION_SETS if name in flags),
        os.cpu_count() or 1,
    )


def machine() -> Machine:
    """Return what the seconds of a report were measured on."""
    return Machine(platform.platform(), torch.get_num_threads(), processor())


def gflops(dtype: torch.dtype = torch.float32, size: int = 1024, rounds: int = 20) -> float:
    """Return the speed of the fastest product of two square matrices, in 10^9 multiplications and additions a second.

    The matrices grow up to `size` while a product takes less than a tenth of a second: a CPU that only emulates bfloat16 would
    need minutes for the largest.
    """
    side = min(size, SMALLEST)
    seconds = _seconds_of_product(dtype, side)
    while side < size and 8 * seconds < LONGEST_SECONDS:
        side = min(2 * side, size)
        seconds = _seconds_of_product(dtype, side)
    return 2 * side**3 / min(seconds, *(_seconds_of_product(dtype, side) for _ in range(rounds))) / 1e9


def _seconds_of_product(dtype: torch.dtype, side: int) -> float:
    a, b = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
    began = time.perf_counter()
    torch.mm(a, b)
    return time.perf_counter() - began


def peaks() -> dict[str, float]:
    """Measure this CPU's matrix products, in GFLOP/s: float32 by torch's default library and by oneDNN, and bfloat16.

    A share of a peak means something only beside the peak of the same run, so every benchmark records these.
    """
    with products_by_onednn():
        onednn = gflops()
    return {"float32": round(gflops()), "float32 by oneDNN": round(onednn), "bfloat16": round(gflops(torch.bfloat16))}
