"""The choice of how to train fast on a device, made once before a training begins: the `Plan` in its run folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from .. import cpu
from ..model.config import Recipe
from ..run_config import Plan
from .compilation import choose_compilation

NATIVE_BFLOAT16 = ("avx512_bf16", "amx_bf16", "sve_bf16")
# Multiplications and additions of a whole training from which compiling pays. It takes half a minute the first time, a few
# seconds from its cache, and saves about 8 % on a CPU in float32, nothing there in bfloat16; on a GPU it is a guess.
WORTH_COMPILING = {"cpu": 2e14, "cuda": 1e15}
# Tokens of a batch that are worked through at a time on a CPU, so that the backward pass of a slice still finds in the
# caches what its forward pass computed (LOG.md).
SLICE_TOKENS = {torch.float32: 1024, torch.bfloat16: 2048}
WIDE = 128  # channels from which float32 products are big enough for oneDNN; at 32 a step would take a fifth longer


def choose_plan(recipe: Recipe, model: nn.Module, device: torch.device, fused: bool = True) -> tuple[Plan, str]:
    """Return how to train this model on this device, and one line on what would have been better, or "".

    It takes the number of threads that torch has: all cores, unless $OMP_NUM_THREADS says otherwise.
    """
    dtype = precision_for(recipe, device) if fused else torch.float32
    compiled, note = choose_compilation(fused and worth_compiling(recipe, model, device, dtype))
    plan = Plan(
        device=str(device),
        precision="bfloat16" if dtype == torch.bfloat16 else "float32",
        fused=fused,
        compiled=compiled,
        slices=slices_for(recipe, device, dtype) if fused else 1,
        onednn=device.type == "cpu" and dtype == torch.float32 and recipe.n_embd >= WIDE,
        threads=torch.get_num_threads(),
    )
    return plan, note


def dtype_of(plan: Plan) -> torch.dtype:
    """Return the dtype of the model's products."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[plan.precision]


def products_of(plan: Plan) -> AbstractContextManager[None]:
    """Let the library that the plan names make the products inside the block."""
    return cpu.products_by_onednn() if plan.onednn else nullcontext()


def precision_for(recipe: Recipe, device: torch.device) -> torch.dtype:
    """Return bfloat16 if the recipe is "mixed" and the device multiplies it natively, otherwise float32.

    A CPU that only emulates bfloat16 would be slower with it.
    """
    if recipe.precision == "mixed":
        if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
        if device.type == "cpu" and any(_cpu_capabilities().get(name) for name in NATIVE_BFLOAT16):
            return torch.bfloat16
    return torch.float32


def _cpu_capabilities() -> Mapping[str, Any]:
    found = getattr(torch.cpu, "get_capabilities", dict)  # older versions of torch lack it
    return found()


def worth_compiling(recipe: Recipe, model: nn.Module, device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether a training of this length ends sooner with compilation, the time to compile included."""
    if device.type == "cpu" and dtype != torch.float32:
        return False
    weights = sum(weight.numel() for weight in model.parameters() if weight.dim() > 1)
    work = 6 * weights * recipe.batch_size * recipe.block_size * recipe.steps
    return work >= WORTH_COMPILING.get(device.type, float("inf"))


def slices_for(recipe: Recipe, device: torch.device, dtype: torch.dtype) -> int:
    """Return in how many slices, each of whole blocks, a batch is worked through fastest: 1 except on a CPU."""
    if device.type != "cpu":
        return 1
    blocks = max(1, SLICE_TOKENS[dtype] // recipe.block_size)
    return -(-recipe.batch_size // blocks)
