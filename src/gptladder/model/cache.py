"""What a model keeps of the tokens it has read, so that the next one costs one token's work.

B batch, T time (S keys when they differ), H heads, D head size.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .kernels import attend

FEW_TEXTS = 8


class Cache(Protocol):
    """What one part of a model remembers."""

    def clear(self) -> None:
        """Forgets everything: the context begins anew."""


class KeyValueCache:
    """The keys and values of the tokens seen so far."""

    def __init__(self, block_size: int) -> None:
        """For up to block_size tokens; the room is made when the first come, for tensors of their kind."""
        self.block_size = block_size
        self.length = 0  # tokens held
        self.keys = self.values = torch.empty(0)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, T, D) each -> (B, H, S, D) each: all so far, the new ones last; 3 tokens held and 1 new give S = 4.

        ValueError when they do not fit: the sampler clears the cache before that.
        """
        end = self.length + keys.size(-2)
        if end > self.block_size:
            raise ValueError(f"{end} tokens do not fit a cache of {self.block_size}; clear it and give the last ones")
        if self.keys.dim() == 1:
            B, H, _, D = keys.shape
            # For few texts a CPU is faster with float32 here, whatever the model's dtype; for many, half as much is read.
            few = keys.device.type == "cpu" and B <= FEW_TEXTS
            dtype = torch.float32 if few and keys.dtype == torch.bfloat16 else keys.dtype
            self.keys, self.values = (keys.new_empty(B, H, self.block_size, D, dtype=dtype) for _ in range(2))
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def attend(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, H, T, D) three times, of the new tokens -> (B, H, T, D): each attends to all before it and to itself."""
        return attend(q, *self.append(keys, values))

    def clear(self) -> None:
        """Forgets all tokens; the room stays."""
        self.length = 0


class CachingModule(nn.Module):
    """A part that can work through a text piece by piece. While it has a cache, it is given the new tokens only."""

    cache: Any = None  # a part's own kind, as its `new_cache` makes it

    def new_cache(self, block_size: int) -> Cache:
        """An empty one for texts of up to block_size tokens."""
        raise NotImplementedError


class Caches:
    """A cache for each part of a model that can use one. Inside `with caches:` the model works through its text piece by piece.

    Afterwards the model is as it was, whatever happened; the caches keep what they hold for the next `with`.
    """

    def __init__(self, model: nn.Module, block_size: int) -> None:
        """Empty ones, for texts of up to block_size tokens, any number side by side."""
        self.parts = [module for module in model.modules() if isinstance(module, CachingModule)]
        self.caches = [part.new_cache(block_size) for part in self.parts]

    def __bool__(self) -> bool:
        """False for a model that remembers nothing, such as a bigram."""
        return bool(self.parts)

    def clear(self) -> None:
        """Forgets all tokens."""
        for cache in self.caches:
            cache.clear()

    def __enter__(self) -> Caches:
        for part, cache in zip(self.parts, self.caches, strict=True):
            vars(part)["cache"] = cache  # past nn.Module, which would look through its weights first, at every token
        return self

    def __exit__(self, *error: object) -> None:
        for part in self.parts:
            del vars(part)["cache"]
