"""Compiling: what is said where it cannot be done, that it changes no result, and that a stop ends it at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from gptladder.model.config import Recipe
from gptladder.model.fusing import fused_cross_entropy
from gptladder.training import compilation
from gptladder.training.compilation import choose_compilation, compile_now
from gptladder.training.evaluation import EvaluationBatches
from gptladder.training.loop import train
from gptladder.training.optimizers import make_optimizer
from laws import ODD, T, rung, tokens_of

HAVE_COMPILER = choose_compilation(True)[0]


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # from inside its own compiler
@pytest.mark.skipif(not HAVE_COMPILER, reason="needs a C++ compiler")
@pytest.mark.parametrize("name", ["gpt", "modern"])
def test_compiled_it_learns_the_same(name):
    tokens = tokens_of(1, 400)[0]
    batches = EvaluationBatches(tokens, batch_size=4, block_size=T)
    recipe = Recipe(name, T, ODD.n_layer, ODD.n_head, ODD.n_embd, batch_size=4, optimizer="muon")
    eager, compiled = (rung(name, fused=True).float() for _ in range(2))
    random = torch.get_rng_state()
    assert compile_now(compiled, batches, 1, fused_cross_entropy)
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


# a stop while it compiles


def test_a_stop_ends_compiling_and_the_compilers_at_once(monkeypatch):
    """Whose worker goes on in vain; here it waits for a compiler that takes a minute."""
    started, ended = threading.Event(), []

    def slow(*_):
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        started.set()
        ended.append(process.wait())
        raise RuntimeError("a compiler that was ended says two thousand lines")

    monkeypatch.setattr(compilation, "_compile", slow)
    began, workers = time.monotonic(), set(threading.enumerate())
    assert compile_now(None, None, 1, fused_cross_entropy, started.is_set) is False
    for worker in set(threading.enumerate()) - workers:
        worker.join(20)
    assert time.monotonic() - began < 30
    assert len(ended) == 1
    assert ended[0] != 0


def test_what_goes_wrong_in_compiling_is_raised_here(monkeypatch):
    def broken(*_):
        raise MemoryError("too much")

    monkeypatch.setattr(compilation, "_compile", broken)
    with pytest.raises(MemoryError, match="too much"):
        compile_now(None, None, 1, fused_cross_entropy)


@pytest.mark.skipif(os.name == "nt", reason="Windows blocks no signals")
def test_it_compiles_with_the_threads_of_the_training_and_compilers_do_not_hear_ctrl_c(monkeypatch):
    seen = []

    def look(*_):
        with subprocess.Popen(["sleep", "60"]) as child:
            child.send_signal(signal.SIGINT)
            time.sleep(0.2)
            seen.append((torch.get_num_threads(), child.poll()))
            child.kill()

    monkeypatch.setattr(compilation, "_compile", look)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert compile_now(None, None, 1, fused_cross_entropy)
    finally:
        torch.set_num_threads(threads)
    assert seen == [(3, None)]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
