"""Text to numbers and back: every character of a text is one token."""

from __future__ import annotations

import json
from collections.abc import Iterable

MOST_SHOWN = 100  # characters of an alphabet that an error message lists


class CharTokenizer:
    """One id per character, in sorted order.

    On TinyShakespeare the newline is 0, the space 1, "A" 13, "z" 64. Nothing is learned and
    nothing is lost: `decode(encode(text)) == text` for every text of the alphabet.
    """

    def __init__(self, alphabet: Iterable[str]) -> None:
        """Build a tokenizer from its characters, in any order.

        ValueError if one of them repeats or is not a single character.
        """
        self.alphabet = sorted(alphabet)
        self.ids = {character: i for i, character in enumerate(self.alphabet)}
        repeats = len(self.ids) != len(self.alphabet)
        if repeats or any(len(character) != 1 for character in self.alphabet):
            wanted = "an alphabet is a list of single characters, each once"
            raise ValueError(f"{wanted}; build it with CharTokenizer.of(text)")

    @classmethod
    def of(cls, text: str) -> CharTokenizer:
        """Return the tokenizer whose alphabet is the set of this text's characters."""
        return cls(set(text))

    def __len__(self) -> int:
        """Return the number of different tokens: the model's vocab_size."""
        return len(self.alphabet)

    def shown(self) -> str:
        """Return the alphabet for a message: all of it, or its beginning and how many more."""
        if len(self) <= MOST_SHOWN:
            return repr("".join(self.alphabet))
        return f"{''.join(self.alphabet[:MOST_SHOWN])!r} and {len(self) - MOST_SHOWN:,} more"

    def encode(self, text: str) -> list[int]:
        """Return the id of each character, in order: with the alphabet "abc", "cab" is [2, 0, 1].

        ValueError names the first character that is not in the alphabet, and where it stands.
        """
        places = (place for place, character in enumerate(text) if character not in self.ids)
        if (place := next(places, None)) is not None:
            unknown = f"unknown character {text[place]!r} at position {place}"
            raise ValueError(f"{unknown}; the alphabet is {self.shown()}")
        return [self.ids[character] for character in text]

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text that these ids stand for: with the alphabet "abc", [2, 0, 1] is "cab".

        ValueError names an id that stands for no character.
        """
        tokens = list(tokens)
        for token in tokens:
            if token not in range(len(self.alphabet)):
                raise ValueError(f"unknown token id {token}; ids go from 0 to {len(self) - 1}")
        return "".join(self.alphabet[token] for token in tokens)

    def to_json(self) -> str:
        """Return the alphabet as JSON text, for a file beside the weights."""
        content = {"kind": "characters", "alphabet": "".join(self.alphabet)}
        return json.dumps(content, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> CharTokenizer:
        """Rebuild the tokenizer that `to_json` wrote. ValueError if this is something else."""
        try:
            content = json.loads(text)
            if content["kind"] == "characters" and content["alphabet"]:
                return cls(content["alphabet"])
        except (KeyError, TypeError, json.JSONDecodeError):
            pass
        expected = '{"kind": "characters", "alphabet": "abc"}'
        raise ValueError(f"not a character tokenizer: expected JSON like {expected}")
