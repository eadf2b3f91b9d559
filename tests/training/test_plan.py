"""The plan of a training: what is chosen for which recipe and device, recorded, and followed again."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from gptladder.checkpoint import Run
from gptladder.model.config import Recipe
from gptladder.rungs import build
from gptladder.training import plan
from gptladder.training.compilation import choose_compilation
from gptladder.training.plan import choose_plan, precision_for, products_of, slices_for, worth_compiling
from gptladder.training.run import begin, resume

CPU, CUDA, MPS = (torch.device(kind) for kind in ("cpu", "cuda", "mps"))
FLOAT32, BFLOAT16 = torch.float32, torch.bfloat16
MIXED = Recipe("modern", precision="mixed")


# precision


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({}, FLOAT32),
        ({"avx512_f": True, "avx2": True}, FLOAT32),
        ({"avx512_bf16": False, "amx_bf16": False}, FLOAT32),
        ({"avx512_bf16": True}, BFLOAT16),
        ({"avx512_bf16": False, "amx_bf16": True}, BFLOAT16),
        ({"sve_bf16": True}, BFLOAT16),
    ],
)
def test_a_cpu_computes_mixed_only_if_it_multiplies_bfloat16_natively(capabilities, dtype, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert precision_for(MIXED, CPU) == dtype
    assert precision_for(replace(MIXED, precision="float32"), CPU) == FLOAT32


def test_a_torch_that_cannot_say_what_a_cpu_can_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert precision_for(MIXED, CPU) == FLOAT32


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_computes_mixed_only_if_it_need_not_emulate(native, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert precision_for(MIXED, CUDA) == (BFLOAT16 if native else FLOAT32)
    assert precision_for(replace(MIXED, precision="float32"), CUDA) == FLOAT32


def test_other_devices_compute_in_float32():
    assert precision_for(MIXED, MPS) == FLOAT32


# products


@pytest.mark.parametrize(
    ("device", "dtype", "n_embd", "asked"),
    [(CPU, FLOAT32, 128, True), (CPU, FLOAT32, 127, False), (CPU, BFLOAT16, 128, False), (CUDA, FLOAT32, 128, False)],
)
def test_wide_models_on_a_cpu_have_their_float32_products_made_by_onednn(device, dtype, n_embd, asked, monkeypatch):
    calls = []
    monkeypatch.setattr(plan.cpu, "products_by_onednn", lambda: calls.append(1) or nullcontext())
    monkeypatch.setattr(plan, "precision_for", lambda *_: dtype)
    recipe = Recipe("gpt", n_embd=n_embd)
    with products_of(choose_plan(recipe, build("gpt", recipe.config(5)), device)[0]):
        pass
    assert bool(calls) is asked


def test_a_trainings_products_are_made_as_the_recipe_says_as_long_as_it_lasts(
    tmp_path, small_recipe, small_corpus, monkeypatch
):
    setting = torch.backends.mkldnn.matmul
    before, seen = setting.fp32_precision, []
    monkeypatch.setattr(plan, "WIDE", 1)
    steps = begin(tmp_path / "run", "laptop", replace(small_recipe, precision="float32"), small_corpus, 1, CPU).steps()
    for _ in steps:
        seen.append(setting.fp32_precision)
        if len(seen) == 2:
            break
    steps.close()
    assert seen[0] == seen[1]
    assert setting.fp32_precision == before


# compilation


@pytest.mark.parametrize(
    ("device", "dtype", "steps", "worth"),
    [
        (CPU, FLOAT32, 33_333, False),
        (CPU, FLOAT32, 33_334, True),
        (CPU, BFLOAT16, 10**9, False),
        (CUDA, FLOAT32, 166_666, False),
        (CUDA, FLOAT32, 166_667, True),
        (CUDA, BFLOAT16, 166_667, True),
        (MPS, FLOAT32, 10**9, False),
    ],
)
def test_compiling_pays_from_a_number_of_multiplications_on(device, dtype, steps, worth):
    """A million weights (biases do not multiply) on a thousand tokens are 6e9 a step; 2e14 are worth it on a CPU."""
    recipe = Recipe("gpt", block_size=100, batch_size=10, steps=steps)
    assert worth_compiling(recipe, nn.Linear(1000, 1000), device, dtype) is worth


def test_without_a_compiler_a_long_training_trains_on(gptladder, small_file, compilers, monkeypatch):
    compilers()
    monkeypatch.setattr("gptladder.training.run.loss_plot", lambda *_: None)
    words = ("train", "bigram", "--device", "cpu", "--corpus", small_file, "--steps", "2", "--out")
    assert gptladder(*words, "short")[::2] == (0, "")
    monkeypatch.setattr(plan, "WORTH_COMPILING", {"cpu": 0})
    code, _, err = gptladder(*words, "run")
    assert code == 0
    assert err == f"note {choose_compilation(True)[1]}\n"
    assert Run.open(Path("run")).config.plan.compiled is False


def test_what_is_compiled_is_recorded_and_kept(tmp_path, small_recipe, small_corpus, compilers, monkeypatch):
    """Nothing is compiled before the training begins."""
    compilers("g++")
    monkeypatch.setattr(plan, "WORTH_COMPILING", {"cpu": 0})
    training = begin(tmp_path / "run", "laptop", small_recipe, small_corpus, 1, CPU)
    assert (training.plan.compiled, training.note) == (True, "")
    assert Run.open(tmp_path / "run").config.plan.compiled is True
    monkeypatch.setattr(plan, "WORTH_COMPILING", {})  # it goes on as it began
    assert resume(tmp_path / "run", small_corpus).plan.compiled
    assert not begin(tmp_path / "other", "laptop", small_recipe, small_corpus, 1, CPU, fused=False).plan.compiled


# slices


@pytest.mark.parametrize(
    ("batch_size", "block_size", "bfloat16", "float32"),
    [(16, 256, 2, 4), (64, 256, 8, 16), (32, 8, 1, 1), (12, 64, 1, 1), (33, 64, 2, 3), (3, 4096, 3, 3)],
)
def test_a_batch_is_cut_into_slices_on_a_cpu_alone(batch_size, block_size, bfloat16, float32):
    """Of about 2,048 tokens in bfloat16, in float32 of half as many."""
    recipe = Recipe("gpt", batch_size=batch_size, block_size=block_size)
    assert [slices_for(recipe, CPU, dtype) for dtype in (BFLOAT16, FLOAT32)] == [bfloat16, float32]
    assert [slices_for(recipe, CUDA, dtype) for dtype in (BFLOAT16, FLOAT32)] == [1, 1]
