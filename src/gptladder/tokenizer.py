"""Text to numbers and back: every character of a text is one token."""

from __future__ import annotations

import json
from collections.abc import Iterable


class CharTokenizer:
    """One id per character, in sorted order: on TinyShakespeare the newline is 0, the space 1, "A" 13, "z" 64.

    Nothing is learned and nothing is lost: `decode(encode(text)) == text` for every text of the alphabet.
    """

    def __init__(self, alphabet: Iterable[str]) -> None:
        """`alphabet`: the characters, in any order. ValueError if one of them repeats or is not one character."""
        self.alphabet = sorted(alphabet)
        self.ids = {character: i for i, character in enumerate(self.alphabet)}
        if len(self.ids) != len(self.alphabet) or any(len(character) != 1 for character in self.alphabet):
            raise ValueError("an alphabet is a list of single characters, each once; build it with CharTokenizer.of(text)")

    @classmethod
    def of(cls, text: str) -> CharTokenizer:
        """The tokenizer whose alphabet is the set of this text's characters."""
        return cls(set(text))

    def __len__(self) -> int:
        """How many different tokens there are: the model's vocab_size."""
        return len(self.alphabet)

    def encode(self, text: str) -> list[int]:
        """The id of each character, in order: with the alphabet "abc", "cab" is [2, 0, 1].

        ValueError names the first character that is not in the alphabet, and where it stands.
        """
        unknown = next((place for place, character in enumerate(text) if character not in self.ids), None)
        if unknown is not None:
            raise ValueError(
                f"unknown character {text[unknown]!r} at position {unknown}; the alphabet is {''.join(self.alphabet)!r}"
            )
        return [self.ids[character] for character in text]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of some ids: with the alphabet "abc", [2, 0, 1] is "cab".

        ValueError names an id that stands for no character.
        """
        tokens = list(tokens)
        for token in tokens:
            if token not in range(len(self.alphabet)):
                raise ValueError(f"unknown token id {token}; ids go from 0 to {len(self.alphabet) - 1}")
        return "".join(self.alphabet[token] for token in tokens)

    def to_json(self) -> str:
        """The alphabet as JSON text, for a file beside the weights."""
        return json.dumps({"kind": "characters", "alphabet": "".join(self.alphabet)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> CharTokenizer:
        """What `to_json` wrote. ValueError if this is something else."""
        try:
            content = json.loads(text)
            if content["kind"] == "characters" and content["alphabet"]:
                return cls(content["alphabet"])
        except (KeyError, TypeError, json.JSONDecodeError):
            pass
        raise ValueError('not a character tokenizer: expected JSON like {"kind": "characters", "alphabet": "abc"}')
