"""The embeddings of the modern rung: tokens without positions, and pairs of tokens.

B batch, T time, C channels (n_embd).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .cache import CachingModule
from .config import GPTConfig


class TokenCount:
    """The number of tokens of its text that a part has read."""

    def __init__(self) -> None:
        self.length = 0

    def clear(self) -> None:
        """Start counting at 0 again."""
        self.length = 0


class TokenEmbedding(CachingModule):
    """A vector for each token, without its position: `Rotary` brings that in, counting the tokens from 0."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.token = nn.Embedding(config.vocab_size, config.n_embd)
        self.block_size = config.block_size

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, T) -> (B, T, C).

        ValueError for more than block_size tokens, and for positions other than those that `Rotary` counts.
        """
        length, start = tokens.size(1), 0 if self.cache is None else self.cache.length
        if length > self.block_size:
            raise ValueError(f"{length} tokens given; the context holds {self.block_size}: pass the last ones")
        end = start + length
        if positions is not None and positions.tolist() != list(range(start, end)):
            given = str(positions.tolist())[:60]
            raise ValueError(f"positions are {given}; they must be {start} to {end - 1}, as Rotary counts them, or left out")
        if self.cache is not None:
            self.cache.length = end
        return self.token(tokens)

    def new_cache(self, block_size: int) -> TokenCount:
        """Return a count of 0."""
        return TokenCount()


class LastToken:
    """The last token of each text."""

    def __init__(self) -> None:
        self.token: Tensor | None = None  # (B, 1)

    def clear(self) -> None:
        """Forget the token: the next one is the first of its text."""
        self.token = None


class PairEmbedding(CachingModule):
    """An embedding that adds to another one a vector for each *pair* of a token and the one before it.

    So the first layer need not spend its attention on finding out what comes before an "h". These are hashed n-gram
    embeddings as in Huang et al. 2025 (over-tokenized transformers), for n = 2. With a big vocabulary pairs share rows.
    """

    MOST_ROWS = 32_749  # a prime: a factor shared with vocab_size would make more pairs share rows

    def __init__(self, config: GPTConfig, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.vocab_size = config.vocab_size
        self.pair = nn.Embedding(min((config.vocab_size + 1) * config.vocab_size, self.MOST_ROWS), config.n_embd)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, T) -> (B, T, C). The first token counts as following a token that the vocabulary lacks."""
        first = torch.full_like(tokens[:, :1], self.vocab_size)
        if self.cache is not None:
            first = first if self.cache.token is None else self.cache.token
            self.cache.token = tokens[:, -1:]
        before = torch.cat([first, tokens[:, :-1]], dim=1)  # (B, T)
        pairs = before * self.vocab_size + tokens
        return self.inner(tokens, positions) + self.pair(pairs % self.pair.num_embeddings)

    def new_cache(self, block_size: int) -> LastToken:
        """Return a cache that holds no token."""
        return LastToken()
