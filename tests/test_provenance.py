"""Where numbers come from: the processor by family and model, its instruction sets, its measured peaks."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from gptladder import provenance

CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(not CPUINFO.exists(), reason="needs Linux's /proc/cpuinfo")
def test_the_processor_is_the_one_that_the_system_describes():
    text, found = CPUINFO.read_text(), provenance.processor()
    assert found.cores == os.cpu_count()
    if "cpu family" in text:
        assert f"cpu family\t: {found.family}\n" in text
        assert f"model\t\t: {found.model}\n" in text
        assert found.name in text
    words = set(text.split())
    assert set(found.instruction_sets) == words & set(provenance.INSTRUCTION_SETS)


def test_without_cpuinfo_the_processor_is_what_python_knows(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    found = provenance.processor()
    assert found.name
    assert (found.family, found.model, found.instruction_sets) == ("", "", ())


def test_the_machine_is_plain_data():
    found = json.loads(json.dumps(asdict(provenance.machine())))
    assert found["threads"] == torch.get_num_threads()
    assert found["processor"]["cores"] == os.cpu_count()


def test_peaks_name_each_library_and_precision(monkeypatch):
    seen = []

    def gflops(dtype=torch.float32):
        seen.append((dtype, torch.backends.mkldnn.matmul.fp32_precision))
        return 10.4

    before = torch.backends.mkldnn.matmul.fp32_precision
    monkeypatch.setattr(provenance, "gflops", gflops)
    assert provenance.peaks() == {"float32": 10, "float32 by oneDNN": 10, "bfloat16": 10}
    assert [dtype for dtype, _ in seen] == [torch.float32, torch.float32, torch.bfloat16]
    assert seen[1] == (torch.float32, before) or seen[1][1] == "bf16"
    assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_gflops_counts_multiplications_and_additions_of_the_fastest_product(monkeypatch):
    times = iter([0.01, 0.02, 0.03, 0.025])
    sides = []
    monkeypatch.setattr(provenance, "_seconds_of_product", lambda dtype, side: sides.append(side) or next(times))
    assert provenance.gflops(size=256, rounds=2) == pytest.approx(2 * 256**3 / 0.02 / 1e9)
    assert sides == [128, 256, 256, 256]


def test_a_slow_processor_is_measured_by_small_products(monkeypatch):
    monkeypatch.setattr(provenance, "_seconds_of_product", lambda dtype, side: (side / 128) ** 3 * 0.02)
    assert provenance.gflops() == pytest.approx(2 * 128**3 / 0.02 / 1e9)
