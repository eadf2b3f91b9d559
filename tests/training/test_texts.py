"""The text of a run: tokens within a moment, and the way to a text that was moved."""

from __future__ import annotations

import shutil

import pytest
import torch

from gptladder.checkpoint import Run
from gptladder.errors import InputError
from gptladder.tokenizer import CharTokenizer
from gptladder.training.run import begin, resume
from gptladder.training.texts import check_corpus, corpus_of, tokens_of
from laws import seeded


@pytest.mark.parametrize("text", ["", "a", "to be\nor not", "红楼梦 ü\U0001f600z", "\x00\x7f\U0010ffff", "a\ud800b"])
def test_tokens_are_those_of_the_tokenizer(text):
    tokenizer = CharTokenizer.of(text + "q")
    found = tokens_of(tokenizer, text)
    assert (found.dtype, found.tolist()) == (torch.int64, tokenizer.encode(text))


def test_an_unknown_character_is_named_as_the_tokenizer_names_it():
    tokenizer = CharTokenizer("abc")
    with pytest.raises(ValueError, match="unknown character 'x' at position 2"):
        tokens_of(tokenizer, "abxa")


def test_a_long_text_takes_a_moment():
    letters = "".join(chr(97 + i) for i in torch.randint(26, (1000,), generator=seeded()).tolist())
    tokenizer, text = CharTokenizer.of(letters), letters * 5_000
    tokens = tokens_of(tokenizer, text)
    assert len(tokens) == 5_000_000
    assert torch.equal(tokens.view(5_000, 1000)[1234], torch.tensor(tokenizer.encode(letters)))


def test_a_text_that_was_moved_is_asked_for_and_found_again(tmp_path, small_recipe, small_file):
    home, away = tmp_path / "home.txt", tmp_path / "away.txt"
    shutil.copy(small_file, home)
    from gptladder.corpus import load

    begin(tmp_path / "run", "laptop", small_recipe, load(str(home)), 1, torch.device("cpu"))
    run = Run.open(tmp_path / "run")
    assert corpus_of(run) == load(str(home))
    home.rename(away)
    with pytest.raises(InputError, match=rf"the text of {run.folder}: no corpus '{home}'.*--corpus PATH"):
        corpus_of(run)
    moved = corpus_of(run, str(away))
    check_corpus(run, moved)
    assert resume(run.folder, moved).done == 0
