"""Caches of the tokens that a model has read, so that the next token costs one token's work.

B batch, T time (S keys when they differ), H heads, D head size.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .kernels import attend


class Cache(Protocol):
    """The memory of one part of a model."""

    def clear(self) -> None:
        """Forget everything: a new context begins."""


class KeyValueCache:
    """The keys and values of the tokens seen so far."""

    def __init__(self, block_size: int) -> None:
        """Make an empty cache for up to block_size tokens.

        Set `length` (tokens held) and `keys` and `values`, which are empty tensors at first.
        """
        self.block_size = block_size
        self.length = 0
        self.keys = self.values = torch.empty(0)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, T, D) each -> (B, H, S, D) each: all keys and values so far, the new ones last.

        3 tokens held and 1 new give S = 4. ValueError when they do not fit: the sampler clears the
        cache before that happens.
        """
        end, most = self.length + keys.size(-2), self.block_size
        if end > most:
            raise ValueError(f"{end} tokens do not fit a cache of {most}; clear it first")
        if self.keys.dim() == 1:  # the first tokens tell the shape and the dtype
            B, H, _, D = keys.shape
            self.keys = keys.new_empty(B, H, most, D)
            self.values = torch.empty_like(self.keys)
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def attend(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, H, T, D) three times, of the new tokens -> (B, H, T, D).

        Each new token attends to all tokens before it and to itself.
        """
        return attend(q, *self.append(keys, values))

    def clear(self) -> None:
        """Forget all tokens. The memory stays, to be written again."""
        self.length = 0


class CachingModule(nn.Module):
    """A part of a model that can read a text piece by piece.

    While it has a cache, its input holds only the tokens that are new since the last call.
    """

    cache: Any = None  # of the kind that `new_cache` makes; None: the input is the whole text

    def new_cache(self, block_size: int) -> Cache:
        """Return an empty cache for texts of up to block_size tokens."""
        raise NotImplementedError


class Caches:
    """One cache for each part of a model that can use one.

    Inside `with caches:` the model reads its text piece by piece. Afterwards the model is as it
    was, also after an error; the caches keep what they hold until the next `with`.
    """

    def __init__(self, model: nn.Module, block_size: int) -> None:
        """Make empty caches for texts of up to block_size tokens, any number side by side."""
        self.parts = [module for module in model.modules() if isinstance(module, CachingModule)]
        self.caches = [part.new_cache(block_size) for part in self.parts]

    def __bool__(self) -> bool:
        """Return False for a model that remembers nothing, such as a bigram."""
        return bool(self.parts)

    def clear(self) -> None:
        """Forget all tokens."""
        for cache in self.caches:
            cache.clear()

    def __enter__(self) -> Caches:
        for part, cache in zip(self.parts, self.caches, strict=True):
            # vars() skips nn.Module.__setattr__, which would search the weights at every token
            vars(part)["cache"] = cache
        return self

    def __exit__(self, *error: object) -> None:
        for part in self.parts:
            del vars(part)["cache"]
