"""Batches: the small blocks of tokens that a model learns from, cut from one long row.

B batch (blocks side by side), T time (block_size, tokens in a block).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

Split = Literal["train", "validation"]
TOKENS_AT_ONCE = 8192  # a whole split is read about this many tokens at a time, to keep cores busy


def split(tokens: Tensor, fraction: float = 0.9) -> tuple[Tensor, Tensor]:
    """Cut a text in two, the first part to train on and the rest to validate on.

    (N,) -> (0.9 N rounded down,), (what is left,). Ten tokens become nine and one.
    The cut is made once, before any block is drawn. Blocks from random places overlap, so blocks
    put aside at random would repeat what was trained on, and validation would measure memory
    instead of prediction.
    """
    boundary = int(fraction * len(tokens))
    return tokens[:boundary], tokens[boundary:]


class Batches:
    """The two splits of a text on the device, and the blocks cut from them."""

    def __init__(self, tokens: Tensor, batch_size: int, block_size: int) -> None:
        """Split `tokens`, (N,) int64.

        ValueError unless training has a block and the token after it, and validation a target.
        """
        train, validation = split(tokens)
        self.splits: dict[Split, Tensor] = {"train": train, "validation": validation}
        self.batch_size, self.block_size = batch_size, block_size
        if len(train) < block_size + 1 or len(validation) < 2:
            least = max(-(-(block_size + 1) * 10 // 9), 11)
            raise ValueError(
                f"a text of {len(tokens)} tokens is too short: with block_size {block_size} it "
                f"needs at least {least}; give a longer text or a smaller block_size"
            )

    def get_batch(
        self,
        split: Split,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return blocks x from random places, and the token that follows each of theirs: y.

        Both are (B, T). The split must be longer than a block; `generator` lives on the CPU,
        whatever the device. y is x moved on by one, so a block of 8 tokens holds 8 examples:
        predict y[:, t] from x[:, :t + 1].
        """
        data = self.splits[split]
        bound = len(data) - self.block_size  # a block that begins here would have no last target
        starts = torch.randint(bound, (self.batch_size, 1), generator=generator)
        places = starts + torch.arange(self.block_size + 1)  # (B, T + 1): one more, the last target
        blocks = data[places.to(data.device)]
        return blocks[:, :-1], blocks[:, 1:]

    def all_blocks(self, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a whole split once, in order, in blocks that do not overlap.

        A shorter last block comes by itself. Every token but the first is a target exactly once:
        111,539 of them in TinyShakespeare's validation split.
        """
        tokens, T = self.splits[split], self.block_size
        whole = (len(tokens) - 1) // T * T  # tokens that fill whole blocks
        x, y = tokens[:whole].view(-1, T), tokens[1 : whole + 1].view(-1, T)
        rows = max(1, TOKENS_AT_ONCE // T)
        if whole > 0:
            yield from zip(x.split(rows), y.split(rows), strict=True)
        if whole < len(tokens) - 1:
            yield tokens[whole:-1].unsqueeze(0), tokens[whole + 1 :].unsqueeze(0)
