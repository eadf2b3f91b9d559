"""The split, the random blocks, and the whole split in order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptladder.batches import TOKENS_AT_ONCE, Batches, split
from gptladder.tokenizer import CharTokenizer
from laws import seeded


def counted(length, batch_size=3, block_size=5):
    """Batches over 0, 1, 2, ...: each token's value is its place."""
    return Batches(torch.arange(length), batch_size, block_size)


def targets_of(batches, name):
    return torch.cat([y.flatten() for _, y in batches.all_blocks(name)])


@given(st.integers(0, 300), st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_the_two_parts_are_the_whole_in_order(length, fraction):
    tokens = torch.arange(length)
    train, validation = split(tokens, fraction)
    assert torch.equal(torch.cat([train, validation]), tokens)
    assert len(train) == int(fraction * length)


def test_ten_tokens_become_nine_and_one():
    train, validation = split(torch.arange(10))
    assert train.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert validation.tolist() == [9]


def test_targets_are_the_inputs_moved_on_by_one():
    x, y = counted(100).get_batch("train", seeded())
    assert x.shape == y.shape == (3, 5)
    assert torch.equal(y, x + 1)
    assert torch.equal(x - x[:, :1], torch.arange(5).expand(3, 5))


def test_a_block_of_8_tokens_holds_8_examples():
    tokens = torch.arange(200) % 13
    x, y = Batches(tokens, 1, 8).get_batch("train", seeded(3))
    examples = [(x[0, : t + 1].tolist(), y[0, t].item()) for t in range(8)]
    text = tokens.tolist()
    start = next(i for i in range(13) if text[i : i + 9] == [*x[0].tolist(), y[0, -1].item()])
    assert examples == [(text[start : start + t + 1], text[start + t + 1]) for t in range(8)]


@pytest.mark.parametrize(("name", "first", "last"), [("train", 0, 89), ("validation", 90, 99)])
def test_blocks_come_from_every_place_of_their_split_and_from_no_other(name, first, last):
    generator = seeded()
    drawn = [torch.stack(counted(100).get_batch(name, generator)) for _ in range(400)]
    places = torch.stack(drawn)
    assert places.min() == first
    assert places.max() == last
    assert set(places[:, 0, :, 0].flatten().tolist()) == set(range(first, last - 5 + 1))


def test_the_only_possible_block_is_found():
    batches = counted(14, batch_size=2, block_size=11)  # twelve tokens to train on: one block and the token after it
    x, y = batches.get_batch("train", seeded())
    assert x.tolist() == [list(range(11))] * 2
    assert y.tolist() == [list(range(1, 12))] * 2


def test_the_generator_decides_the_batch():
    first, again, other = (counted(5000).get_batch("train", seeded(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@given(st.integers(11, 400), st.integers(1, 60))
def test_every_token_but_the_first_is_a_target_exactly_once(length, block_size):
    if block_size + 1 > int(0.9 * length):
        return
    batches = counted(length, block_size=block_size)
    for name, data in batches.splits.items():
        assert torch.equal(targets_of(batches, name), data[1:])


@given(st.integers(11, 400), st.integers(1, 60))
def test_no_block_of_a_whole_split_is_empty_or_too_long(length, block_size):
    if block_size + 1 > int(0.9 * length):
        return
    for x, y in counted(length, block_size=block_size).all_blocks("validation"):
        assert x.shape == y.shape
        assert x.size(0) >= 1
        assert 1 <= x.size(1) <= block_size
        assert torch.equal(y, x + 1)


def test_a_whole_split_is_read_in_large_batches():
    blocks = list(counted(4 * TOKENS_AT_ONCE, block_size=8).all_blocks("train"))
    assert max(x.numel() for x, _ in blocks) == TOKENS_AT_ONCE


def test_a_text_as_long_as_shakespeare_has_111539_validation_targets():
    assert len(targets_of(counted(1_115_394, block_size=8), "validation")) == 111_539


@pytest.mark.parametrize("block_size", [8, 256])
def test_the_real_text_has_111539_validation_targets(tinyshakespeare, block_size):
    tokens = torch.tensor(CharTokenizer.of(tinyshakespeare.text).encode(tinyshakespeare.text))
    batches = Batches(tokens, 4, block_size)
    assert torch.equal(targets_of(batches, "validation"), tokens[1_003_855:])
    assert len(tokens) - 1_003_855 == 111_539


@pytest.mark.parametrize("length", [0, 1, 9, 10])
def test_too_short_a_text_is_refused(length):
    with pytest.raises(ValueError, match=rf"a text of {length} tokens is too short.*at least 11"):
        counted(length, block_size=4)


@pytest.mark.parametrize("block_size", range(1, 60))
def test_the_length_asked_for_is_the_shortest_that_will_do(block_size):
    with pytest.raises(ValueError, match="too short") as caught:
        counted(0, block_size=block_size)
    needed = int(str(caught.value).split("at least ")[1].split(";")[0])
    counted(needed, block_size=block_size)
    with pytest.raises(ValueError, match="too short"):
        counted(needed - 1, block_size=block_size)
