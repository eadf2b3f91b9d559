"""A user's checkouts of nanoGPT and of the lecture's code, run as they are: only their data is prepared, from our corpus.

Nothing of theirs is part of this project. Each class knows one checkout.
"""

from __future__ import annotations

import contextlib
import importlib
import pickle
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gptladder.batches import split
from gptladder.corpus import Corpus
from gptladder.tokenizer import CharTokenizer

NAMES = ("nanogpt", "lecture")
# nanoGPT's README, "I only have a macbook (or other cheap computer)": the line for a machine without a GPU.
README_LINE = (
    "--device=cpu --compile=False --eval_iters=20 --log_interval=1 --block_size=64 --batch_size=12 --n_layer=4 "
    "--n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0"
)


@contextmanager
def copied(checkout: Path) -> Iterator[Path]:
    """Make a copy to work in, without its history, so that the user's checkout stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(checkout, Path(folder) / "peer", ignore=shutil.ignore_patterns(".git", "out*", "*.png")))


def prepare_nanogpt(folder: Path, corpus: Corpus) -> None:
    """Write what its data/shakespeare_char/prepare.py would write, from our text and our split."""
    tokenizer = CharTokenizer.of(corpus.text)
    data = folder / "data" / "shakespeare_char"
    data.mkdir(parents=True, exist_ok=True)
    parts = split(torch.tensor(tokenizer.encode(corpus.text)))
    for name, tokens in zip(("train", "val"), parts, strict=True):
        (data / f"{name}.bin").write_bytes(array("H", tokens.tolist()).tobytes())
    meta = {"vocab_size": len(tokenizer), "itos": dict(enumerate(tokenizer.alphabet)), "stoi": dict(tokenizer.ids)}
    (data / "meta.pkl").write_bytes(pickle.dumps(meta))


def run_nanogpt(folder: Path, *changes: str) -> float:
    """Run its train.py by its README's line for CPUs, with changes; return the seconds from start to end."""
    command = [sys.executable, "train.py", "config/train_shakespeare_char.py", *README_LINE.split(), *changes]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[1:])} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - began


def nanogpt_module(checkout: Path) -> Any:  # noqa: ANN401  its types are unknown here
    """Import its model.py; what that prints is dropped."""
    sys.path.insert(0, str(checkout))
    return importlib.import_module("model")


def nanogpt_model(checkout: Path, **config: Any) -> nn.Module:  # noqa: ANN401
    """Build an untrained model from its own classes."""
    module = nanogpt_module(checkout)
    with contextlib.redirect_stdout(None):
        made: nn.Module = module.GPT(module.GPTConfig(bias=False, **config))
    return made


def nanogpt_checkpoint(folder: Path) -> tuple[nn.Module, int]:
    """Load the model that its training left in out-shakespeare-char, and its block size. The file is a pickle."""
    saved = torch.load(folder / "out-shakespeare-char" / "ckpt.pt", map_location="cpu", weights_only=False)
    arguments = {name: value for name, value in saved["model_args"].items() if name != "bias"}
    model = nanogpt_model(folder, **arguments)
    model.load_state_dict(saved["model"])
    return model.eval(), arguments["block_size"]


class NanoLogits(nn.Module):
    """nanoGPT's model with our interface: logits for every position."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T) -> (B, T, V). Without targets nanoGPT returns the last position only, so it is given some."""
        logits: torch.Tensor = self.inner(tokens, tokens)[0]
        return logits


def time_lecture(checkout: Path, corpus: Corpus, steps: int, shape: dict[str, float] | None = None) -> list[float]:
    """Time `steps` training steps of the lecture's gpt.py, then stop it; `shape` replaces settings of that file."""
    script = (checkout / "gpt.py").read_text()
    changes = {"eval_iters": 1, "eval_interval": 10**9, **(shape or {})}
    for name, value in changes.items():
        script, found = re.subn(rf"^{name} = .*$", f"{name} = {value}", script, flags=re.MULTILINE)
        if not found:
            raise SystemExit(f"{checkout / 'gpt.py'} sets no {name}; is it the lecture's?")
    moments: list[float] = []
    step = torch.optim.AdamW.step

    def noted(self: torch.optim.AdamW, *arguments: Any, **more: Any) -> Any:  # noqa: ANN401
        result = step(self, *arguments, **more)
        moments.append(time.perf_counter())
        if len(moments) > steps:
            raise KeyboardInterrupt
        return result

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(None):
        Path("input.txt").write_text(corpus.text, encoding="utf-8")
        Path("gpt.py").write_text(script, encoding="utf-8")
        torch.optim.AdamW.step = noted  # type: ignore[assignment, method-assign]
        try:
            runpy.run_path("gpt.py")
        except KeyboardInterrupt:
            pass
        finally:
            torch.optim.AdamW.step = step  # type: ignore[method-assign]
    if len(moments) <= steps:
        raise SystemExit(f"{checkout / 'gpt.py'} made {len(moments)} steps; {steps + 1} were to be timed")
    return [after - before for before, after in pairwise(moments)]
