"""What makes a training fast on the device at hand, decided once, before it begins: its precision, and compilation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .. import cpu
from ..batches import Batches
from ..model import kernels
from ..model.config import Recipe
from .loop import Loss

NATIVE_BFLOAT16 = ("avx512_bf16", "amx_bf16", "sve_bf16")
# Multiplications and additions of a whole training from which compiling pays. It takes half a minute the first time, a few
# seconds from its cache, and saves about 8 % on a CPU in float32, nothing there in bfloat16; on a GPU it is a guess.
WORTH_COMPILING = {"cpu": 2e14, "cuda": 1e15}
# Of a batch, worked through at a time on a CPU, so that what a slice makes is still in its caches on the way back (LOG.md).
SLICE_TOKENS = {torch.float32: 1024, torch.bfloat16: 2048}
WIDE = 128  # channels from which float32 products are big enough for oneDNN; at 32 a step would take a fifth longer
COMPILERS = ("c++", "g++", "clang++", "cl")


def precision_for(recipe: Recipe, device: torch.device) -> torch.dtype:
    """The dtype of the model's products: bfloat16 if the recipe is "mixed" and the device multiplies it natively.

    Weights, optimizer and loss are float32 always. A CPU that only emulates bfloat16 would be slower with it.
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


def compute_in(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Makes the model compute in `dtype` what can stand it, in place; its weights and its logits stay float32."""
    if dtype == torch.float32:
        return model
    inner, kind = model.forward, next(model.parameters()).device.type

    def forward(*arguments: Tensor) -> Tensor:
        with torch.autocast(kind, dtype):
            logits: Tensor = inner(*arguments)
        return logits.float()

    model.forward = forward
    return model


def products_for(recipe: Recipe, device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Inside, the products of this training are made by the library that is faster for their size."""
    wide = device.type == "cpu" and dtype == torch.float32 and recipe.n_embd >= WIDE
    return cpu.products_by_onednn() if wide else nullcontext()


def worth_compiling(recipe: Recipe, model: nn.Module, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a training of this length is over sooner with compilation, the time to compile included."""
    if device.type == "cpu" and dtype != torch.float32:
        return False
    weights = sum(weight.numel() for weight in model.parameters() if weight.dim() > 1)
    work = 6 * weights * recipe.batch_size * recipe.block_size * recipe.steps
    return work >= WORTH_COMPILING.get(device.type, float("inf"))


def slices_for(recipe: Recipe, device: torch.device, dtype: torch.dtype) -> int:
    """In how many slices a batch is best worked through, each a whole number of blocks: 1 but for a CPU."""
    if device.type != "cpu":
        return 1
    blocks = max(1, SLICE_TOKENS[dtype] // recipe.block_size)
    return -(-recipe.batch_size // blocks)


def step_in_slices(
    slices: int, model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, loss_function: Loss
) -> Tensor:
    """`training_step` on the same batch, one slice after the other, their gradients added up before the one update.

    The same step but for rounding; what a slice computes stays in a processor's caches until its way back.
    """
    model.train()
    optimizer.zero_grad()
    total = torch.zeros((), device=x.device)
    for some_x, some_y in zip(x.chunk(slices), y.chunk(slices), strict=True):
        loss = loss_function(model(some_x), some_y) * (len(some_x) / len(x))  # the mean over all, not the sum of means
        loss.backward()
        total += loss.detach()
    optimizer.step()
    return total


def choose_compilation(wanted: bool) -> tuple[bool, str]:
    """Whether to compile, and what to say where it cannot be done: torch needs a C++ compiler for it."""
    if not wanted or any(shutil.which(name) for name in (os.environ.get("CXX", ""), *COMPILERS) if name):
        return wanted, ""
    return False, "no C++ compiler here, so the model is not compiled and training takes longer; install g++ or clang++"


def compile_now(model: nn.Module, batches: Batches, slices: int, loss_function: Loss) -> None:
    """Compiles the model in place for a batch in so many slices, before the clock of training runs; weights stay as they are.

    Evaluation has other shapes and is compiled when it comes, which `train_seconds` leaves out as well.
    """
    # Unrolled, the loop over tiles would take minutes to compile.
    kernels.attend_in_tiles = torch.compiler.disable(kernels.attend_in_tiles)
    model.compile(dynamic=False)
    x, y = batches.get_batch("train", torch.Generator().manual_seed(0))
    for some_x, some_y in zip(x.chunk(slices), y.chunk(slices), strict=True):
        loss_function(model.train()(some_x), some_y).backward()
    model.zero_grad()
