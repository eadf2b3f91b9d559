"""From a prompt to text that streams."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gptladder.checkpoint import Run
from gptladder.sampling.choose import Sampling
from gptladder.sampling.generate import generate
from gptladder.sampling.writer import encode_prompt, stream_run, stream_text, write_texts
from gptladder.tokenizer import CharTokenizer
from laws import ODD, V, rung, seeded

TOKENIZER = CharTokenizer("\nabcdefghij")
GREEDY = Sampling(temperature=0)


def text_of(model=None, **settings):
    return "".join(stream_text(model or rung("gpt", fused=True), TOKENIZER, ODD.block_size, **settings))


def test_a_prompt_is_its_tokens():
    assert encode_prompt(TOKENIZER, "cab") == [3, 1, 2]


def test_an_empty_prompt_begins_a_new_line():
    assert encode_prompt(TOKENIZER, "") == [TOKENIZER.ids["\n"]]
    assert text_of(prompt="", count=30) == text_of(prompt="\n", count=30)


def test_an_empty_prompt_without_newline_begins_with_the_first_character():
    assert encode_prompt(CharTokenizer("zyx"), "") == [0]


def test_an_unknown_character_is_named():
    with pytest.raises(ValueError, match=r"unknown character '!' at position 2; the alphabet is '\\nabcdefghij'"):
        text_of(prompt="ab!", count=3)


def test_the_text_is_what_generate_writes():
    for sampling in (GREEDY, Sampling(0.9, top_k=7)):
        prompt = torch.tensor([TOKENIZER.encode("badge")])
        tokens = generate(rung("gpt"), prompt, 25, ODD.block_size, sampling, seeded(11))
        expected = TOKENIZER.decode(torch.cat(list(tokens)).tolist())
        assert text_of(prompt="badge", count=25, sampling=sampling, seed=11) == expected


def test_a_seed_repeats_and_another_does_not():
    first = text_of(count=60, seed=1)
    torch.rand(5)  # what else drew random numbers does not matter
    assert text_of(count=60, seed=1) == first
    assert text_of(count=60, seed=2) != first


def test_the_default_is_plain_sampling_with_500_characters():
    text = text_of()
    assert len(text) == 500
    assert text == text_of(count=500, sampling=Sampling(), seed=0)
    assert set(text) <= set(TOKENIZER.alphabet)


def test_characters_come_one_at_a_time():
    assert [len(piece) for piece in stream_text(rung("gpt"), TOKENIZER, ODD.block_size, count=9)] == [1] * 9


def test_nothing_asked_for_is_nothing():
    assert text_of(count=0) == ""


def test_dropout_is_off_while_writing():
    dropping = rung("gpt", replace(ODD, dropout=0.5), fused=True).train()
    assert text_of(dropping, count=40, sampling=GREEDY) == text_of(count=40, sampling=GREEDY)
    assert not dropping.training


def test_a_prompt_longer_than_the_context_is_cut_by_the_rule():
    """Of nine characters at block_size 7 the last three count."""
    assert text_of(prompt="abcdefghi", count=3, sampling=GREEDY) == text_of(prompt="ghi", count=3, sampling=GREEDY)


# several at once


def texts_of(samples, **settings):
    return write_texts(rung("gpt", fused=True), TOKENIZER, ODD.block_size, samples, **settings)


def test_several_texts_are_what_generate_writes_after_several_prompts():
    prompts = torch.tensor([TOKENIZER.encode("badge")] * 4)
    tokens = torch.stack(list(generate(rung("gpt"), prompts, 25, ODD.block_size, Sampling(0.9), seeded(11))), dim=1)
    expected = [TOKENIZER.decode(row.tolist()) for row in tokens]
    assert texts_of(4, prompt="badge", count=25, sampling=Sampling(0.9), seed=11) == expected
    assert len(set(expected)) == 4


def test_several_of_nothing_are_nothing_each():
    assert texts_of(3, count=0) == ["", "", ""]


def test_a_run_writes_what_its_best_model_writes(trained):
    run = Run.open(trained)
    tokens = generate(run.model().eval(), torch.tensor([run.tokenizer.encode("the king")]), 40, 8, GREEDY)
    expected = run.tokenizer.decode(torch.cat(list(tokens)).tolist())
    assert "".join(stream_run(run, "the king", 40, GREEDY)) == expected


def test_the_alphabet_fits_the_test_model():
    assert len(TOKENIZER) == V
