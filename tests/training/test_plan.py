"""What makes a training fast: who gets it, that it changes no result worth naming, and what is said where it cannot be had."""

from __future__ import annotations

import copy
import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from gptladder.batches import Batches
from gptladder.checkpoint import Run
from gptladder.model.config import GPTConfig, Recipe
from gptladder.model.fusing import fused_cross_entropy
from gptladder.rungs import build
from gptladder.training import plan
from gptladder.training.loop import train, training_step
from gptladder.training.optimizers import make_optimizer
from gptladder.training.plan import (
    choose_compilation,
    compile_now,
    compute_in,
    precision_for,
    products_for,
    slices_for,
    step_in_slices,
    worth_compiling,
)
from gptladder.training.run import begin, resume
from laws import ODD, B, T, rung, tokens_of

CPU, CUDA, MPS = (torch.device(kind) for kind in ("cpu", "cuda", "mps"))
FLOAT32, BFLOAT16 = torch.float32, torch.bfloat16
MIXED = Recipe("modern", precision="mixed")
HAVE_COMPILER = choose_compilation(True)[0]


@pytest.fixture
def compilers(monkeypatch):
    """A machine with these compilers on its PATH and no other."""

    def made(*names):
        monkeypatch.delenv("CXX", raising=False)
        monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in names else None)

    return made


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


@pytest.mark.parametrize("name", ["modern", "gpt"])
def test_mixed_logits_and_gradients_are_float32_and_close(name):
    plain = rung(name, fused=True).float().train()
    mixed = compute_in(copy.deepcopy(plain), BFLOAT16)
    tokens, targets = tokens_of(B, T), tokens_of(B, T, seed=1)
    logits, expected = mixed(tokens), plain(tokens)
    assert logits.dtype == FLOAT32
    assert 0 < (logits - expected).abs().max() < 0.1 * expected.std()
    for out in (logits, expected):
        fused_cross_entropy(out, targets).backward()
    for (label, one), other in zip(mixed.named_parameters(), plain.parameters(), strict=True):
        assert (one.dtype, one.grad.dtype) == (FLOAT32, FLOAT32), label
        assert (one.grad - other.grad).norm() < 0.1 * other.grad.norm(), label


def test_a_model_in_float32_is_left_alone():
    model = rung("gpt").float()
    assert compute_in(model, FLOAT32) is model
    assert "forward" not in vars(model)


# products


@pytest.mark.parametrize(
    ("device", "dtype", "n_embd", "asked"),
    [(CPU, FLOAT32, 128, True), (CPU, FLOAT32, 127, False), (CPU, BFLOAT16, 128, False), (CUDA, FLOAT32, 128, False)],
)
def test_wide_models_on_a_cpu_have_their_float32_products_made_by_onednn(device, dtype, n_embd, asked, monkeypatch):
    calls = []
    monkeypatch.setattr(plan.cpu, "products_by_onednn", lambda: calls.append(1) or nullcontext())
    with products_for(Recipe("gpt", n_embd=n_embd), device, dtype):
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


@pytest.mark.parametrize("name", ["c++", "g++", "clang++", "cl"])
def test_with_any_compiler_nothing_is_said(name, compilers):
    compilers(name)
    assert choose_compilation(True) == (True, "")
    assert choose_compilation(False) == (False, "")


def test_a_compiler_of_ones_own_is_one(compilers, monkeypatch):
    compilers("icpx")
    monkeypatch.setenv("CXX", "icpx")
    assert choose_compilation(True) == (True, "")


def test_without_a_compiler_that_is_said_in_one_line_where_it_matters(compilers):
    compilers()
    compiled, note = choose_compilation(True)
    assert not compiled
    assert note.startswith("no C++ compiler here")
    assert "install g++" in note
    assert len(note.splitlines()) == 1
    assert choose_compilation(False) == (False, "")


def test_without_a_compiler_a_long_training_trains_on(gptladder, small_file, compilers, monkeypatch):
    compilers()
    monkeypatch.setattr("gptladder.training.run.loss_plot", lambda *_: None)
    words = ("train", "bigram", "--device", "cpu", "--corpus", small_file, "--steps", "2", "--out")
    assert gptladder(*words, "short")[::2] == (0, "")
    monkeypatch.setattr(plan, "WORTH_COMPILING", {"cpu": 0})
    code, _, err = gptladder(*words, "run")
    assert code == 0
    assert err == f"note {choose_compilation(True)[1]}\n"
    assert Run.open(Path("run")).config["compiled"] is False


def test_what_is_compiled_is_recorded_and_kept(tmp_path, small_recipe, small_corpus, compilers, monkeypatch):
    """Nothing is compiled before the training begins."""
    compilers("g++")
    monkeypatch.setattr(plan, "WORTH_COMPILING", {"cpu": 0})
    training = begin(tmp_path / "run", "laptop", small_recipe, small_corpus, 1, CPU)
    assert (training.compiled, training.note) == (True, "")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["compiled"] is True
    monkeypatch.setattr(plan, "WORTH_COMPILING", {})  # it goes on as it began
    assert resume(tmp_path / "run", small_corpus).compiled
    assert not begin(tmp_path / "other", "laptop", small_recipe, small_corpus, 1, CPU, fused=False).compiled


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # from inside its own compiler
@pytest.mark.skipif(not HAVE_COMPILER, reason="needs a C++ compiler")
@pytest.mark.parametrize("name", ["gpt", "modern"])
def test_compiled_it_learns_the_same(name):
    tokens = tokens_of(1, 400)[0]
    batches = Batches(tokens, batch_size=4, block_size=T)
    recipe = Recipe(name, T, ODD.n_layer, ODD.n_head, ODD.n_embd, batch_size=4, optimizer="muon")
    eager, compiled = (rung(name, fused=True).float() for _ in range(2))
    random = torch.get_rng_state()
    compile_now(compiled, batches, 1, fused_cross_entropy)
    torch.set_rng_state(random)
    for one, other in zip(compiled.parameters(), eager.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.grad is None
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    losses = []
    for model in (eager, compiled):
        steps = train(model, make_optimizer(model, recipe), batches, 6, 3, loss_function=fused_cross_entropy)
        losses.append([(s.train_loss.item() if s.step else 0.0, s.validation_loss or 0.0) for s in steps])
    assert torch.allclose(*map(torch.tensor, losses), atol=1e-4, rtol=0)
    assert losses[0][-1][1] != losses[0][0][1]
    assert torch.allclose(compiled(tokens_of(4, T)), eager(tokens_of(4, T)), atol=1e-3)


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


@pytest.mark.parametrize("slices", [1, 2, 3, 5, 7])
def test_a_step_in_slices_is_the_step(slices):
    """Five texts in slices of unequal sizes: the same loss, gradients and update as all at once."""
    config = GPTConfig(11, block_size=7, n_layer=2, n_head=2, n_embd=12, dropout=0.0)
    torch.manual_seed(0)
    whole = build("gpt", config).double()
    sliced = copy.deepcopy(whole)
    x, y = torch.randint(11, (2, 5, 7))
    losses = []
    for model, step in ((whole, training_step), (sliced, partial(step_in_slices, slices))):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses.append(step(model, optimizer, x, y, fused_cross_entropy).double())
    assert torch.allclose(losses[0], losses[1], atol=1e-6)
    for (name, one), other in zip(whole.named_parameters(), sliced.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12), name
        assert torch.allclose(one.grad, other.grad, rtol=0, atol=1e-12), name
