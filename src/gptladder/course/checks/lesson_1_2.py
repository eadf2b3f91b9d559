"""Lesson 1.2: characters and ids, the split, random blocks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .check import Check, Mistake, Opened, Results, all_true, equal
from .pretend_gpu import stays_there
from .probes import generator_problem, seeded

ALPHABET = "\n !,?Zabdehinortuéж中🙂"  # no digit and no quote: they would be met in any message
TEXTS = ("to be", "\n  to\n\nbe? \n", "a", "", "neither, nor!", "Zut! été 中🙂 ж\n", "aaab ba")


def _tokenizer(my: Opened) -> Any:  # noqa: ANN401  the CharTokenizer of the package under test
    return my("tokenizer").CharTokenizer(ALPHABET)


def _ids(tokenizer: Any, text: str) -> list[int]:  # noqa: ANN401
    """What encode gives. Mistake if it is no list of whole numbers."""
    found = tokenizer.encode(text)
    if not isinstance(found, list):
        given = "nothing (is a `return` missing?)" if found is None else f"a {type(found).__name__}"
        raise Mistake(f"encode returned {given}; it must return a list of int")
    if strange := [token for token in found if type(token) is not int]:
        raise Mistake(f"encode returned a list that holds {strange[0]!r}, a {type(strange[0]).__name__}; every id is an int")
    return found


def _text(tokenizer: Any, tokens: Any) -> str:  # noqa: ANN401
    """What decode gives. Mistake if it is no text."""
    found = tokenizer.decode(tokens)
    if not isinstance(found, str):
        given = "nothing (is a `return` missing?)" if found is None else f"a {type(found).__name__}"
        raise Mistake(f"decode returned {given}; it must return a text, a str")
    return found


def named(what: str, message: str) -> bool:
    """Whether a message holds this; a number only if it is no part of a longer one."""
    return bool(re.search(rf"(?<![\d-]){what}(?!\d)", message)) if what.lstrip("-").isdigit() else what in message


def refusal(function: Callable[[Any], Any], given: Any, must_name: dict[str, tuple[str, ...]]) -> str:  # noqa: ANN401
    """What is wrong with the way in which a function refuses this; empty if nothing is.

    `must_name`: what the message has to hold, in words, to the forms in which it may stand there.
    """
    call = f"{function.__name__}({given!r})"
    try:
        found = function(given)
    except NotImplementedError:
        raise
    except ValueError as error:
        message = str(error)
        for what, forms in must_name.items():
            if not any(named(form, message) for form in forms):
                return f"{call} raises ValueError with the message {message!r}, which does not name {what}"
        return ""
    except Exception as error:
        return f"{call} stops with {type(error).__name__}: {error}; a ValueError is wanted that names {' and '.join(must_name)}"
    return f"{call} returns {repr(found)[:60]}; a ValueError is wanted that names {' and '.join(must_name)}"


def encode_lengths(my: Opened) -> Results:
    """How many ids a text has."""
    tokenizer = _tokenizer(my)
    counts = {text: len(_ids(tokenizer, text)) for text in TEXTS}
    return {
        text: ""
        if count == len(text)
        else f"the text {text!r} of {len(text)} characters becomes {count} ids; one each is right"
        for text, count in counts.items()
    }


def encode_values(my: Opened) -> Results:
    """The ids themselves."""
    tokenizer = _tokenizer(my)
    return {f"encode({text!r})": _ids(tokenizer, text) for text in TEXTS}


def encode_round_trip(my: Opened) -> Results:
    """Each id looked up in the alphabet."""
    tokenizer, results = _tokenizer(my), {}
    for text in TEXTS:
        ids = _ids(tokenizer, text)
        strange = [token for token in ids if not 0 <= token < len(ALPHABET)]
        back = "" if strange else "".join(tokenizer.alphabet[token] for token in ids)
        if strange:
            results[text] = (
                f"encode({text!r}) holds the id {strange[0]}, but only 0 to {len(ALPHABET) - 1} stand for a character"
            )
        else:
            results[text] = "" if back == text else f"the ids of {text!r}, looked up in self.alphabet, are {back!r}"
    return dict(results)


def encode_unknown(my: Opened) -> Results:
    """Texts with characters that the alphabet lacks."""
    tokenizer = _tokenizer(my)
    results = {}
    for text, place in (("to be @ or #", 6), ("@", 0), ("nobodQ", 5)):
        counted = (str(place), str(place + 1))  # somebody may call the first character number 1
        forms = {f"the character {text[place]!r}": (text[place],), f"its place, position {place}": counted}
        results[text] = refusal(tokenizer.encode, text, forms)
    return dict(results)


def decode_values(my: Opened) -> Results:
    """The texts themselves."""
    tokenizer = _tokenizer(my)
    rows: tuple[list[int], ...] = ([6, 5], [0, 0, 1], [len(ALPHABET) - 1, 0, 9, 9], [])
    return {f"decode({row})": _text(tokenizer, row) for row in rows}


def decode_round_trip(my: Opened) -> Results:
    """The places of a text's characters in the alphabet."""
    tokenizer, results = _tokenizer(my), {}
    for text in TEXTS:
        back = _text(tokenizer, [tokenizer.alphabet.index(character) for character in text])
        results[text] = "" if back == text else f"the ids of {text!r} become {back!r}"
    return dict(results)


def decode_unknown(my: Opened) -> Results:
    """Ids below and above those of the alphabet; Python takes negative places for places from the end."""
    tokenizer = _tokenizer(my)
    rows = (([2, len(ALPHABET)], len(ALPHABET)), ([-1], -1), ([3, -len(ALPHABET), 4], -len(ALPHABET)), ([1, 999, 0], 999))
    return {str(row): refusal(tokenizer.decode, row, {f"the id {token}": (str(token),)}) for row, token in rows}


def decode_iterables(my: Opened) -> Results:
    """Ids that do not come in a list."""
    tokenizer = _tokenizer(my)
    row = [tokenizer.alphabet.index(character) for character in "to be"]
    found = {"a tuple": _text(tokenizer, tuple(row)), "an iterator, which can be read only once": _text(tokenizer, iter(row))}
    return {
        kind: "" if text == "to be" else f"the ids of 'to be', given as {kind}, become {text!r}" for kind, text in found.items()
    }


SPLITS = ((23, 0.9), (10, 0.9), (40, 0.75), (7, 0.5), (10, 1.0))


def _split(my: Opened, N: int, fraction: float) -> tuple[Tensor, Tensor]:
    """The two parts of the tokens 0, 1, 2, ... Mistake if they are not two tensors of one dimension."""
    tokens = torch.arange(N)
    parts = my("batches").split(tokens, fraction)
    if not isinstance(parts, tuple | list) or len(parts) != 2 or not all(isinstance(part, Tensor) for part in parts):
        given = "nothing (is a `return` missing?)" if parts is None else f"a {type(parts).__name__}"
        raise Mistake(f"split returned {given}; it must return two tensors, for training and for validation")
    if any(part.dim() != 1 for part in parts) or not torch.equal(tokens, torch.arange(N)):
        raise Mistake("split must leave its argument as it is and return two rows of tokens, of one dimension each")
    return parts[0], parts[1]


def split_order(my: Opened) -> Results:
    """Both parts, one behind the other."""
    results = {}
    for N, fraction in SPLITS:
        train, validation = _split(my, N, fraction)
        whole = torch.cat([train, validation]).tolist()
        case = f"of {N} tokens at {fraction:g}"
        if len(whole) != N:
            results[case] = f"{case}, {len(train)} and {len(validation)} come back; every token belongs to just one part"
        else:
            moved = [place for place, token in enumerate(whole) if token != place]
            place = moved[0] if moved else 0
            results[case] = f"{case}, token {whole[place]} comes back where {place} stood; no token may move" if moved else ""
    return dict(results)


def split_sizes(my: Opened) -> Results:
    """How long the first part is, and what both hold."""
    results: Results = {}
    for N, fraction in SPLITS:
        train, validation = _split(my, N, fraction)
        case = f"of the {N} tokens 0, 1, 2, ... at {fraction:g}"
        results[f"how many {case} are for training"] = len(train)
        results[f"those {case} for validation"] = validation.tolist()
        results[f"the dtype {case}"] = [str(train.dtype), str(validation.dtype)]
    return results


def split_default(my: Opened) -> Results:
    """The fraction that stands in the signature."""
    return {"how many of 23 tokens are for training without a fraction": len(my("batches").split(torch.arange(23))[0])}


def _batches(my: Opened, N: int, B: int, T: int) -> Any:  # noqa: ANN401  the Batches of the package under test
    """Over the tokens 0, 1, 2, ...: each token says where it stands."""
    return my("batches").Batches(torch.arange(N), B, T)


def _batch(batches: Any, split: str, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """What get_batch gives. Mistake if it is not two tensors (B, T) of whole numbers."""
    found = batches.get_batch(split, generator)
    if not isinstance(found, tuple | list) or len(found) != 2 or not all(isinstance(part, Tensor) for part in found):
        given = "nothing (is a `return` missing?)" if found is None else f"a {type(found).__name__}"
        raise Mistake(f"get_batch returned {given}; it must return two tensors, x and y")
    for name, part in zip("xy", found, strict=True):
        right = (batches.batch_size, batches.block_size)
        if tuple(part.shape) != right:
            given = f"from a split of {len(batches.splits[split])} tokens {name} comes with the shape {tuple(part.shape)}"
            raise Mistake(f"{given}, where (batch_size, block_size) = {right} is right")
        if part.dtype != torch.int64:
            raise Mistake(f"{name} holds {str(part.dtype).removeprefix('torch.')}, where token ids are int64")
    return found[0], found[1]


def batch_shapes(my: Opened) -> Results:
    """Sizes that are all different, a single token among them."""
    results: Results = {}
    for B, T in ((3, 5), (1, 7), (6, 1)):
        for split in ("train", "validation"):
            x, y = _batch(_batches(my, 100, B, T), split, seeded())
            results[f"{split}, batch_size {B}, block_size {T}"] = [list(x.shape), list(y.shape)]
    return results


def batch_targets(my: Opened) -> Results:
    """How far each target stands from its token."""
    x, y = _batch(_batches(my, 100, 8, 5), "train", seeded())
    apart = sorted(set((y - x).flatten().tolist()))
    return {"apart": "" if apart == [1] else f"in the text 0, 1, 2, ... y - x is {_listed(apart)}, where always 1 is right"}


def batch_blocks(my: Opened) -> Results:
    """How far each token stands from the one before it."""
    x, _ = _batch(_batches(my, 100, 40, 5), "validation", seeded())
    steps = sorted(set((x[:, 1:] - x[:, :-1]).flatten().tolist()))
    problem = f"from one token of a block to the next it is {_listed(steps)} places, where always 1 is right"
    return {"steps": "" if steps == [1] else problem}


def _listed(numbers: list[int]) -> str:
    shown = [str(number) for number in numbers[:4]]
    return ", ".join(shown) + (", ..." if len(numbers) > 4 else "")


def batch_sides(my: Opened) -> Results:
    """Which tokens are met in blocks of each split."""
    batches, results = _batches(my, 100, 60, 5), {}
    for split, tokens in batches.splits.items():
        met = torch.cat(_batch(batches, split, seeded()))
        strange = met[(met < tokens[0]) | (met > tokens[-1])]
        problem = f"blocks for {split} hold tokens of the other split, whose tokens they must never see"
        results[split] = problem if len(strange) else ""
    return dict(results)


def starts_problem(counts: Tensor) -> str:
    """What is wrong with how often each start was drawn; empty if all came about equally often."""
    if not counts.all():
        never = [i for i, count in enumerate(counts.tolist()) if not count]
        which = "the last" if never == [len(counts) - 1] else "the first" if never == [0] else f"start {never[0]}"
        return f"of the {len(counts)} places where a block fits, {which} is never drawn"
    share = counts.double() / counts.double().mean()
    for often, place in ((share.max(), int(share.argmax())), (share.min(), int(share.argmin()))):
        if not 0.65 < often < 1.5:
            return f"start {place} comes {often:.1f} times as often as the others do on average; all are equally likely"
    return ""


def batch_starts(my: Opened) -> Results:
    """Many blocks of a split in which nine fit."""
    batches, generator = _batches(my, 150, 27, 6), seeded()
    first = int(batches.splits["validation"][0])
    drawn = torch.cat([_batch(batches, "validation", generator)[0][:, 0] for _ in range(100)]) - first
    fits = len(batches.splits["validation"]) - 6
    if (drawn < 0).any() or (drawn >= fits).any():
        return {"starts": f"a block begins outside of the {fits} places of its split where one fits with its last target"}
    return {"starts": starts_problem(torch.bincount(drawn, minlength=fits))}


def batch_shortest(my: Opened) -> Results:
    """A split that is one token longer than a block."""
    batches = _batches(my, 30, 4, 2)
    tokens = batches.splits["validation"]
    try:
        x, y = _batch(batches, "validation", seeded())
    except (RuntimeError, IndexError, ValueError) as error:
        if isinstance(error, NotImplementedError):
            raise
        return {"shortest": f"in a split of 3 tokens one block of 2 fits with its targets, but get_batch stops: {error}"}
    right = x.eq(tokens[:2]).all() and y.eq(tokens[1:]).all()
    return {"shortest": "" if right else "in a split of 3 tokens only one block of 2 fits with its targets; another was drawn"}


def batch_rows(my: Opened) -> Results:
    """How far the rows of a batch stand from one another, in many batches."""
    batches, generator = _batches(my, 100, 3, 5), seeded()
    firsts = torch.stack([_batch(batches, "train", generator)[0][:, 0] for _ in range(40)])
    apart = {tuple(row) for row in (firsts[:, 1:] - firsts[:, :1]).tolist()}
    problem = f"the rows of each batch begin {', '.join(map(str, min(apart)))} places behind the first row: draw each by itself"
    return {"rows": problem if len(apart) == 1 else ""}


def batch_generator(my: Opened) -> Results:
    """The same generator, another, and none."""
    batches = _batches(my, 2000, 8, 3)
    return {"generator": generator_problem(lambda generator: _batch(batches, "train", generator)[0], whose="get_batch")}


def batch_device(my: Opened) -> Results:
    """Whether it would run with the tokens on a GPU; the generator stays on the CPU."""
    batches = _batches(my, 60, 3, 4)

    def run(data: Tensor) -> Tensor:
        batches.splits["train"] = data
        return torch.cat(_batch(batches, "train", seeded()))

    found = stays_there(run, torch.arange(54), whose="get_batch", given="data")
    return {
        place: words.replace("make it with device=data.device", "move it with .to(data.device)")
        for place, words in found.items()
    }


CHECKS = (
    Check("1.2-encode", "one each", "a list of int, one for each character", encode_lengths, all_true, law=True),
    Check(
        "1.2-encode", "round trip", "the ids, looked up in the alphabet, are the text again", encode_round_trip, all_true, True
    ),
    Check("1.2-encode", "values", "each character's place in the sorted alphabet", encode_values, equal),
    Check(
        "1.2-encode", "unknown", "ValueError names the first unknown character and its place", encode_unknown, all_true, True
    ),
    Check("1.2-decode", "round trip", "the ids of a text become that text", decode_round_trip, all_true, law=True),
    Check("1.2-decode", "values", "each id's character, with nothing between them", decode_values, equal),
    Check("1.2-decode", "unknown", "ValueError names an id that stands for no character", decode_unknown, all_true, law=True),
    Check("1.2-decode", "iterables", "any iterable of ids will do, not only a list", decode_iterables, all_true, law=True),
    Check("1.2-split", "in order", "the two parts, one behind the other, are the tokens", split_order, all_true, law=True),
    Check("1.2-split", "sizes", "the first part holds fraction x N tokens, rounded down", split_sizes, equal),
    Check("1.2-split", "default", "without a fraction it is 0.9", split_default, equal),
    Check("1.2-batch", "shape", "x and y are (batch_size, block_size), int64", batch_shapes, equal),
    Check("1.2-batch", "blocks", "the tokens of a block follow one another in the text", batch_blocks, all_true, law=True),
    Check("1.2-batch", "targets", "y is x moved on by one", batch_targets, all_true, law=True),
    Check(
        "1.2-batch",
        "one split",
        "blocks come from the split that is asked for, and only from it",
        batch_sides,
        all_true,
        law=True,
    ),
    Check(
        "1.2-batch", "starts", "a block may begin wherever it fits, all places equally likely", batch_starts, all_true, law=True
    ),
    Check("1.2-batch", "shortest", "a split one token longer than a block holds just one", batch_shortest, all_true, law=True),
    Check("1.2-batch", "rows", "each row of a batch is drawn by itself", batch_rows, all_true, law=True),
    Check(
        "1.2-batch", "generator", "the generator decides what is drawn, and nothing else", batch_generator, all_true, law=True
    ),
    Check("1.2-batch", "device", "x and y lie where the tokens lie", batch_device, all_true, law=True),
)
