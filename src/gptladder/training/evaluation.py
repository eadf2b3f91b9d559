"""Evaluation around a training: in part where the split is huge, with its progress told, and ready to stop at any block."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..batches import TOKENS_AT_ONCE, Batches, Split

# An evaluation reads at most this many targets, so that it takes seconds whatever the length of the text.
# TinyShakespeare's 111,539 are below it, and so are all texts of up to 2.5 million tokens: those are always read whole.
EVALUATION_LIMIT = 250_000


class StoppedInEvaluation(Exception):
    """An evaluation was broken off, because the training was asked to stop."""


def limit_for(batches: Batches) -> int | None:
    """Return how many targets of the validation split an evaluation reads at most; None if it reads all."""
    return EVALUATION_LIMIT if len(batches.splits["validation"]) - 1 > EVALUATION_LIMIT else None


class EvaluationBatches(Batches):
    """`Batches` whose splits are evaluated in part if they are longer than a limit, and under watch.

    The part is the same each time: whole blocks, evenly spaced over the whole split, `limit` targets at most.
    """

    def __init__(self, tokens: Tensor, batch_size: int, block_size: int) -> None:
        super().__init__(tokens, batch_size, block_size)
        self.limit: int | None = None  # None: no limit
        self.begins: Callable[[], None] = lambda: None  # called when an evaluation begins
        self.progress: Callable[[float], None] = lambda fraction: None  # called with the fraction done, 0 to 1
        self.stopping: Callable[[], bool] = lambda: False  # asked before each batch of blocks

    def targets(self, split: Split) -> int:
        """Return how many targets of a split `all_blocks` reads."""
        whole = len(self.splits[split]) - 1
        if self.limit is None or whole <= self.limit or self.limit < self.block_size:
            return whole
        return self.limit // self.block_size * self.block_size

    def note(self) -> str:
        """Return what to say of an evaluation that reads a part only; empty if it reads all."""
        read, whole = self.targets("validation"), len(self.splits["validation"]) - 1
        if read == whole:
            return ""
        return f"each evaluation reads {read:,} of the validation split's {whole:,} targets, evenly spaced, always the same"

    def all_blocks(self, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a split's blocks in order: all of them, or the evenly spaced ones. StoppedInEvaluation if asked to stop."""
        targets, done = self.targets(split), 0
        self.begins()
        self.progress(0.0)
        for x, y in self.blocks(split):
            if self.stopping():
                raise StoppedInEvaluation
            yield x, y
            done += y.numel()
            self.progress(done / targets)

    def blocks(self, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what `all_blocks` yields, unwatched."""
        targets = self.targets(split)
        yield from super().all_blocks(split) if targets == len(self.splits[split]) - 1 else self._spaced(split, targets)

    def _spaced(self, split: Split, targets: int) -> Iterator[tuple[Tensor, Tensor]]:
        tokens, T = self.splits[split], self.block_size
        blocks, chosen = (len(tokens) - 1) // T, targets // T
        places = torch.arange(chosen, device=tokens.device) * blocks // chosen * T  # where each block begins
        for some in places.split(max(1, TOKENS_AT_ONCE // T)):
            found = tokens[some.unsqueeze(1) + torch.arange(T + 1, device=tokens.device)]
            yield found[:, :-1], found[:, 1:]
