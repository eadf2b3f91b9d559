"""Text to ids and back."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptladder.tokenizer import CharTokenizer

SHAKESPEARE = "\n !$&',-.3:;?" + string.ascii_letters


@given(st.text(min_size=1))
def test_decode_undoes_encode(text):
    tokenizer = CharTokenizer.of(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.lists(st.integers(0, 6)))
def test_encode_undoes_decode(tokens):
    tokenizer = CharTokenizer("gfedcba")
    assert tokenizer.encode(tokenizer.decode(tokens)) == tokens


@given(st.text(min_size=1), st.randoms(use_true_random=False))
def test_the_order_of_the_alphabet_does_not_matter(text, random):
    characters = list(set(text))
    random.shuffle(characters)
    assert CharTokenizer(characters).ids == CharTokenizer.of(text).ids


@given(st.text(min_size=1))
def test_json_round_trip(text):
    tokenizer = CharTokenizer.of(text)
    again = CharTokenizer.from_json(tokenizer.to_json())
    assert again.alphabet == tokenizer.alphabet
    assert again.encode(text) == tokenizer.encode(text)


@given(st.text(min_size=1))
def test_ids_are_the_places_in_sorted_order(text):
    tokenizer = CharTokenizer.of(text)
    assert [tokenizer.ids[character] for character in sorted(set(text))] == list(range(len(tokenizer)))


def test_worked_numbers():
    tokenizer = CharTokenizer("bca")
    assert tokenizer.encode("cab") == [2, 0, 1]
    assert tokenizer.decode([2, 0, 1]) == "cab"


def test_worked_numbers_of_shakespeare():
    tokenizer = CharTokenizer(SHAKESPEARE)
    assert len(tokenizer) == 65
    assert tokenizer.encode("\n Az") == [0, 1, 13, 64]


def test_the_real_text_has_these_65_characters(tinyshakespeare):
    assert CharTokenizer.of(tinyshakespeare.text).alphabet == sorted(SHAKESPEARE)


def test_the_empty_text_has_no_tokens():
    tokenizer = CharTokenizer("ab")
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""


def test_unknown_character_is_named_with_its_place_and_the_alphabet():
    with pytest.raises(ValueError, match=r"unknown character 'é' at position 2; the alphabet is '\\nabc'"):
        CharTokenizer("abc\n").encode("abéaé")


def test_of_a_large_alphabet_a_message_shows_the_beginning_and_how_many_more():
    alphabet = [chr(0x4E00 + i) for i in range(3000)]
    with pytest.raises(
        ValueError, match=r"unknown character '!' at position 1; the alphabet is '一.*' and 2,900 more"
    ) as caught:
        CharTokenizer(alphabet).encode("一!")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("token", [-1, 3, 99])
def test_unknown_id_is_named_with_the_allowed_range(token):
    with pytest.raises(ValueError, match=rf"unknown token id {token}; ids go from 0 to 2"):
        CharTokenizer("abc").decode([0, token])


@pytest.mark.parametrize("alphabet", [["a", "a"], ["ab", "c"], ["a", ""]])
def test_alphabet_of_anything_but_distinct_characters_is_refused(alphabet):
    with pytest.raises(ValueError, match="single characters, each once"):
        CharTokenizer(alphabet)


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[]", "3", "null", '{"alphabet": 3}', '{"alphabet": "aa"}', '{"alphabet": ["ab"]}']
)
def test_foreign_json_is_refused(text):
    with pytest.raises(ValueError, match="character"):
        CharTokenizer.from_json(text)


def test_json_names_its_kind_and_is_readable():
    assert json.loads(CharTokenizer("bä").to_json()) == {"kind": "characters", "alphabet": "bä"}
    assert "ä" in CharTokenizer("bä").to_json()
