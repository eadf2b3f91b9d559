"""Lesson 1.2, its first half: characters and ids. The split and the random blocks are in lesson_1_2_batches."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .check import Check, Mistake, Opened, Results, a_kind, agree, beside, equal
from .probes import in_words

ALPHABET = "\n !,?Zabdehinortuéж中🙂"  # sorted; no digit and no quote: they would be met in any message
TEXTS = ("to be", "\n  to\n\nbe? \n", "a", "", "neither, nor!", "Zut! été 中🙂 ж\n", "aaab ba")


def _tokenizer(my: Opened) -> Any:  # noqa: ANN401  the CharTokenizer of the package under test
    return my("tokenizer").CharTokenizer(ALPHABET)


def _ids(tokenizer: Any, text: str) -> list[int]:  # noqa: ANN401
    """Return what encode returns; raise Mistake if it is no list of whole numbers."""
    found = tokenizer.encode(text)
    if not isinstance(found, list):
        raise Mistake(f"encode returned {in_words(found)}; it must return a list of int")
    if strange := [token for token in found if type(token) is not int]:
        raise Mistake(f"encode returned a list that holds {strange[0]!r}, {a_kind(strange[0])}; every id is an int")
    return found


def _text(tokenizer: Any, tokens: Any) -> str:  # noqa: ANN401
    """Return what decode returns; raise Mistake if it is no text."""
    found = tokenizer.decode(tokens)
    if not isinstance(found, str):
        raise Mistake(f"decode returned {in_words(found)}; it must return a text, a str")
    return found


# --- refusals: the errors that a function must raise

RAISES, RETURNS, NAMES = " raises", " returns", " names "


def named(what: str, message: str) -> bool:
    """Return whether a message holds this; a number counts only if it is not part of a longer one."""
    return bool(re.search(rf"(?<![\d-]){what}(?!\d)", message)) if what.lstrip("-").isdigit() else what in message


def refusal(function: Callable[[Any], Any], given: Any, must_name: Mapping[str, tuple[str, ...]]) -> Results:  # noqa: ANN401
    """Return how a function refuses what it is given: the kind of error, and whether its message names what it must.

    `must_name`: what the message must name, in words, and the forms in which it may stand there. Judged by `refuses`.
    """
    call = f"{function.__name__}({given!r})"
    kind, message, returned = "", "", ""
    try:
        returned = repr(function(given))[:60]
    except NotImplementedError:  # a hole is no refusal
        raise
    except Exception as error:
        kind, message = type(error).__name__, str(error)
        if isinstance(error, ValueError):
            kind = ValueError.__name__
    results: Results = {f"{call}{RAISES}": kind, f"{call}{RETURNS}": returned}
    return results | {f"{call}{NAMES}{what}": any(named(f, message) for f in forms) for what, forms in must_name.items()}


def refuses(got: Results, wanted: Results) -> str | None:
    """Judge several `refusal`s: each raises a ValueError whose message names all that it must name."""
    for call in (name.removesuffix(RAISES) for name in got if name.endswith(RAISES)):
        names = {name.removeprefix(f"{call}{NAMES}"): value for name, value in got.items() if name.startswith(f"{call}{NAMES}")}
        must = f"it must raise a ValueError that names {' and '.join(names)}"
        if not got[f"{call}{RAISES}"]:
            return f"{call} returns {got[f'{call}{RETURNS}']}; {must}"
        if got[f"{call}{RAISES}"] != ValueError.__name__:
            return f"{call} stops with {got[f'{call}{RAISES}']}; {must}"
        if missing := [what for what, is_named in names.items() if not is_named]:
            return f"{call} raises a ValueError whose message does not name {missing[0]}"
    return None


# --- encode


def encode_ids(my: Opened) -> Results:
    """The ids of each text."""
    tokenizer = _tokenizer(my)
    return {f"encode({text!r})": _ids(tokenizer, text) for text in TEXTS}


def _texts(got: Results) -> Iterator[tuple[str, list[int]]]:
    """Yield each text and its ids."""
    return ((text, got[f"encode({text!r})"]) for text in TEXTS)


def one_id_each(got: Results, wanted: Results) -> str | None:
    """Judge `encode_ids`: a text has as many ids as characters."""
    for text, ids in _texts(got):
        if len(ids) != len(text):
            return f"the text {text!r} of {len(text)} characters becomes {len(ids)} ids; it must be one id for each character"
    return None


def spell_the_text(got: Results, wanted: Results) -> str | None:
    """Judge `encode_ids`: looked up in the alphabet, a text's ids are the text again."""
    for text, ids in _texts(got):
        if strange := [token for token in ids if not 0 <= token < len(ALPHABET)]:
            return f"encode({text!r}) holds the id {strange[0]}, but only 0 to {len(ALPHABET) - 1} stand for a character"
        back = "".join(ALPHABET[token] for token in ids)
        if back != text:
            return f"the ids of {text!r}, looked up in self.alphabet, give {back!r}"
    return None


def encode_unknown(my: Opened) -> Results:
    """Return what comes of texts with characters that the alphabet lacks."""
    tokenizer = _tokenizer(my)
    results: Results = {}
    for text, place in (("to be @ or #", 6), ("@", 0), ("nobodQ", 5)):
        counted = (str(place), str(place + 1))  # somebody may call the first character number 1
        forms = {f"the character {text[place]!r}": (text[place],), f"its place, position {place}": counted}
        results |= refusal(tokenizer.encode, text, forms)
    return results


# --- decode


def decode_values(my: Opened) -> Results:
    """The texts of some ids."""
    tokenizer = _tokenizer(my)
    rows: tuple[list[int], ...] = ([6, 5], [0, 0, 1], [len(ALPHABET) - 1, 0, 9, 9], [])
    return {f"decode({row})": _text(tokenizer, row) for row in rows}


def _places(text: str) -> list[int]:
    return [ALPHABET.index(character) for character in text]


def decode_round_trip(my: Opened) -> Results:
    """Return what the ids of each text become."""
    tokenizer, results = _tokenizer(my), Results()
    for text in TEXTS:
        results |= beside(_text(tokenizer, _places(text)), text, repr(text))
    return results


def decode_unknown(my: Opened) -> Results:
    """Return what comes of ids below and above the alphabet's; Python counts negative places from the end."""
    tokenizer, results = _tokenizer(my), Results()
    for row, token in (
        ([2, len(ALPHABET)], len(ALPHABET)),
        ([-1], -1),
        ([3, -len(ALPHABET), 4], -len(ALPHABET)),
        ([1, 999, 0], 999),
    ):
        results |= refusal(tokenizer.decode, row, {f"the id {token}": (str(token),)})
    return results


def decode_iterables(my: Opened) -> Results:
    """Return the texts for ids that do not come in a list."""
    tokenizer, row = _tokenizer(my), _places("to be")
    a_tuple = beside(_text(tokenizer, tuple(row)), "to be", "a tuple")
    return a_tuple | beside(_text(tokenizer, iter(row)), "to be", "an iterator, which can be read only once")


ENCODE, DECODE = "1.2-encode", "1.2-decode"
CHECKS = (
    Check(ENCODE, "one each", "a list of int, one for each character", encode_ids, one_id_each, law=True),
    Check(ENCODE, "round trip", "the ids, looked up in the alphabet, are the text again", encode_ids, spell_the_text, law=True),
    Check(ENCODE, "values", "each character's place in the sorted alphabet", encode_ids, equal),
    Check(ENCODE, "unknown", "ValueError names the first unknown character and its place", encode_unknown, refuses, law=True),
    Check(
        DECODE,
        "round trip",
        "the ids of a text become that text",
        decode_round_trip,
        agree("the ids of {case} must become that text, but they become {found}", numbers=False),
        law=True,
    ),
    Check(DECODE, "values", "each id's character, with nothing between them", decode_values, equal),
    Check(DECODE, "unknown", "ValueError names an id that stands for no character", decode_unknown, refuses, law=True),
    Check(
        DECODE,
        "iterables",
        "any iterable of ids will do, not only a list",
        decode_iterables,
        agree("the ids of 'to be' must become that text when they come in {case}, but they become {found}", numbers=False),
        law=True,
    ),
)
