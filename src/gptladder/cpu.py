"""Settings of torch, OpenMP and the C library that make a CPU faster. Results change in their last digits at most (LOG.md)."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SPINS = 1000  # of a thread that waits for others; measured on an idle and on a busy machine
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h


def wait_without_spinning() -> None:
    """Let a thread that waits for the others fall asleep soon. Works only before torch is imported; $OMP_... come first.

    GNU's OpenMP spins for 300,000 rounds by default. Where other programs use the cores, it spins in the time that the
    thread it waits for would need: a small rung then takes ten times as long. Results do not change.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def keep_freed_memory() -> None:
    """Keep freed memory in the process for the tensors to come, if the C library is glibc; elsewhere nothing happens.

    Otherwise a big tensor is given back to the system and asked for again, and clearing its pages takes a tenth of a step.
    """
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, 2**30)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def products_by_onednn() -> Iterator[None]:
    """Let oneDNN make the float32 products inside the block, if it is as exact as torch's default: it is twice as fast on AMD.

    Torch asks oneDNN only if float32 may be rounded to bfloat16 on the way. Only a processor with matrix tiles of bfloat16
    makes use of that permission. So the permission is given and tried out; if it is used, it is taken back.
    """
    import torch

    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        fine = torch.full((256, 256), 1 + 2**-20)  # bfloat16 would make it 1
        if not torch.equal(fine @ torch.eye(256), fine):
            matmul.fp32_precision = before
        yield
    finally:
        matmul.fp32_precision = before
