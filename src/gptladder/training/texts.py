"""The text of a run: found again, checked against the run, and turned into tokens within a moment."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import corpus as corpora
from ..checkpoint import Run
from ..corpus import Corpus
from ..errors import InputError
from ..tokenizer import CharTokenizer

CODE_POINTS = 0x110000  # of Unicode


def tokens_of(tokenizer: CharTokenizer, text: str) -> Tensor:
    """Return `tokenizer.encode(text)` as a tensor, (N,) int64, a hundred times faster: 50 MB take a second.

    ValueError names the first character that is not in the alphabet, as `encode` does.
    """
    table = torch.full((CODE_POINTS,), -1, dtype=torch.int64)  # from code point to id
    table[[ord(character) for character in tokenizer.alphabet]] = torch.arange(len(tokenizer))
    data = bytearray(text.encode("utf-32-le", "surrogatepass"))  # four bytes a character: its code point
    tokens = table[torch.frombuffer(data, dtype=torch.int32)] if data else table[:0]
    if len(tokens) and tokens.min() < 0:
        tokenizer.encode(text)  # raises, with the right words
    return tokens


def corpus_of(run: Run, name: str | None = None) -> Corpus:
    """Return the corpus of that name, otherwise the one that the run was trained on. InputError if it is not there."""
    if name is not None:
        return corpora.load(name)
    try:
        return corpora.load(run.config.corpus.name)
    except InputError as error:
        raise InputError(f"the text of {run.folder}: {error}; say where it lies now with --corpus PATH") from None


def check_corpus(run: Run, corpus: Corpus) -> None:
    """Raise InputError unless this is the text that the run was trained on, to the last character."""
    if corpus.sha256 != run.config.corpus.sha256:
        reason = f" ({corpus.note})" if corpus.stand_in else " (it has changed since)"
        raise InputError(
            f"{run.folder} was trained on another text than {corpus.name} is now{reason}; "
            "bring that text back, or say where it lies with --corpus PATH"
        )
