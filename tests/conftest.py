"""What the tests share: one thread, the real text where it is, a small text everywhere."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import settings

from gptladder import corpus
from gptladder.cli import app as cli
from gptladder.model.config import Recipe
from gptladder.training.run import begin

settings.register_profile("steady", deadline=None, derandomize=True)  # a busy machine is no failure, and a run repeats
settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tiny tensors: a second thread would only wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory):
    """The public home of TinyShakespeare is a closed port of this machine, and nobody's cache is touched."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(corpus, "URL", "http://127.0.0.1:9/input.txt")
    monkeypatch.setattr(corpus, "cache_folder", lambda: tmp_path_factory.getbasetemp() / "no-cache")


@pytest.fixture(scope="session")
def small_text() -> str:
    """A text of a few thousand characters with some order to learn."""
    words = ("the", "king", "and", "queen", "shall", "not", "speak", "of", "war", "to", "me")
    return "\n".join(" ".join(words[(i * j) % len(words)] for j in range(1, 8)) for i in range(1, 120)) + "\n"


@pytest.fixture
def small_corpus(small_text: str) -> corpus.Corpus:
    return corpus.Corpus("small", small_text)


@pytest.fixture(scope="session")
def tinyshakespeare() -> corpus.Corpus:
    """The real text, or a skip: only where $GPTLADDER_DATA leads to it, never downloaded by a test."""
    folder = os.environ.get("GPTLADDER_DATA")
    if not folder or not (Path(folder) / corpus.FILE).is_file():
        pytest.skip(f"needs TinyShakespeare: set GPTLADDER_DATA to a folder that holds {corpus.FILE}")
    found = corpus.local_tinyshakespeare()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def small_file(tmp_path_factory: pytest.TempPathFactory, small_text: str) -> Path:
    file = tmp_path_factory.mktemp("texts") / "small.txt"
    file.write_text(small_text)
    return file


@pytest.fixture(scope="session")
def small_recipe() -> Recipe:
    """Every part of a GPT, dropout included, in milliseconds a step: twenty steps, three evaluations."""
    return Recipe("gpt", 8, 1, 2, 8, 0.2, batch_size=4, steps=20, learning_rate=1e-2, evaluate_every=10)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, small_file: Path, small_recipe: Recipe) -> Path:
    """A finished run, trained once for all tests: only to be read or copied."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    threads = torch.get_num_threads()
    for _ in begin(folder, "laptop", small_recipe, corpus.load(str(small_file)), 1, torch.device("cpu")).steps():
        pass
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def run_folder(trained: Path, tmp_path: Path) -> Path:
    """A finished run of one's own, to damage or to go on with."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


class Outcome(NamedTuple):
    """What a command left: its exit code and all that it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def gptladder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Outcome]:
    """The real command line without the two seconds of another process: `gptladder("train", "bigram")`, in an empty folder."""
    monkeypatch.delenv("GPTLADDER_DATA", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*words: str | Path) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["gptladder", *map(str, words)])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        return Outcome(exit.value.code or 0, *capsys.readouterr())

    return call
