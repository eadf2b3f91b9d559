"""What the process is told about the machine leaves its numbers what they were."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from gptladder import cpu


@pytest.fixture
def matmul():
    """Torch's setting, put back afterwards."""
    setting = torch.backends.mkldnn.matmul
    before = setting.fp32_precision
    yield setting
    setting.fp32_precision = before


@pytest.mark.parametrize("shape", [(64, 48, 80), (768, 128, 512), (7, 5, 3), (1, 384, 1536), (33, 1024, 65)], ids=str)
def test_products_stay_as_exact_as_float32_is(shape, matmul):
    """A product of numbers rounded to bfloat16 is wrong by 2e-3 of its spread."""
    rows, inner, columns = shape
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(rows, inner, generator=generator), torch.randn(inner, columns, generator=generator)
    expected = a.double() @ b.double()
    with cpu.products_by_onednn():
        found = [
            a @ b,
            torch.addmm(torch.zeros(columns), a, b),
            (b.mT @ a.mT).mT,
            torch.stack([a, a]).bmm(torch.stack([b, b]))[1],
        ]
    for product in found:
        assert (product - expected).square().mean().sqrt() < 2e-6 * expected.std()


def test_the_setting_comes_back_whatever_happened(matmul):
    before = matmul.fp32_precision
    with pytest.raises(KeyError), cpu.products_by_onednn():
        raise KeyError
    assert matmul.fp32_precision == before


def test_where_float32_would_be_rounded_the_permission_is_taken_back(matmul, monkeypatch):
    before = matmul.fp32_precision
    monkeypatch.setattr(torch, "eye", lambda n: torch.zeros(n, n))  # so the product is not what it should be
    with cpu.products_by_onednn():
        assert matmul.fp32_precision == before


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_memory_is_kept_or_nothing_happens(platform, monkeypatch):
    told = []
    library = SimpleNamespace(mallopt=lambda setting, value: told.append((setting, value)))
    monkeypatch.setattr(cpu.ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(sys, "platform", platform)
    cpu.keep_freed_memory()
    assert told == ([(-3, 2**30), (-1, 2**31 - 1)] if platform == "linux" else [])


@pytest.mark.skipif(sys.platform != "linux", reason="counts what Linux counts")
def test_a_tensor_made_anew_needs_no_new_pages():
    script = """
import resource, torch
from gptladder import cpu
cpu.keep_freed_memory()
if not hasattr(cpu.ctypes.CDLL(None), "mallopt"):
    raise SystemExit  # another C library
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.zeros(4_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
pages()
found = pages()
assert found < 100, found  # 39,000 otherwise
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_waiting_threads_fall_asleep_unless_the_user_says_how_they_wait(given, expected, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", given)
    cpu.wait_without_spinning()
    assert given.get("GOMP_SPINCOUNT") == expected


def test_the_settings_come_before_torch():
    script = "import sys; from gptladder import cpu; cpu.wait_without_spinning(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
