"""What torch and the C library are told, so that they use a CPU well. Results change in their last digits at most (LOG.md)."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h


def keep_freed_memory() -> None:
    """What is freed stays with the process for the tensors to come, where the C library is glibc; elsewhere nothing happens.

    A big tensor would else be given back to the system and asked for anew, and clearing its pages takes a tenth of a step.
    """
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, 2**30)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def products_by_onednn() -> Iterator[None]:
    """Inside, torch's other library makes the float32 products, if it is as exact: twice as fast on AMD's processors.

    Torch asks oneDNN only where float32 may be rounded to bfloat16 on the way. It has no use for that permission but on a
    processor with matrix tiles of bfloat16, so the permission is given, tried out, and where it is used taken back.
    """
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
