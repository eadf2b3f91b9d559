"""From one long row of tokens to the small blocks that a model learns from.

B batch (blocks side by side), T time (block_size, tokens in a block).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

Split = Literal["train", "validation"]
TOKENS_AT_ONCE = 8192  # a whole split is read in batches of about this many tokens: enough to keep two cores busy


def split(tokens: Tensor, fraction: float = 0.9) -> tuple[Tensor, Tensor]:
    """The first part to train on, the rest to validate on: (N,) -> (0.9 N rounded down,), (what is left,).

    Ten tokens become nine and one. Cut once, before any block is drawn: blocks from random places overlap, so some
    put aside at random would repeat what was trained on, and validation would measure memory instead of prediction.
    """
    boundary = int(fraction * len(tokens))
    return tokens[:boundary], tokens[boundary:]


class Batches:
    """The two splits of a text on the device, and the blocks cut from them."""

    def __init__(self, tokens: Tensor, batch_size: int, block_size: int) -> None:
        """`tokens` (N,) int64. ValueError unless training has a block and the token after it, and validation a target."""
        train, validation = split(tokens)
        self.splits: dict[Split, Tensor] = {"train": train, "validation": validation}
        self.batch_size, self.block_size = batch_size, block_size
        if len(train) < block_size + 1 or len(validation) < 2:
            raise ValueError(
                f"a text of {len(tokens)} tokens is too short: with block_size {block_size} it needs at least "
                f"{max(-(-(block_size + 1) * 10 // 9), 11)}; give a longer text or a smaller block_size"
            )

    def get_batch(self, split: Split, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Blocks from random places, and for each of their tokens the one that follows it: x, y of shape (B, T) each.

        The split must be longer than a block; `generator` lives on the CPU, whatever the device.
        y is x moved on by one, so a block of 8 tokens holds 8 examples: predict y[:, t] from x[:, :t + 1].
        """
        data = self.splits[split]
        starts = torch.randint(len(data) - self.block_size, (self.batch_size, 1), generator=generator)
        places = starts + torch.arange(self.block_size + 1)  # (B, T + 1): the extra one is the last target
        blocks = data[places.to(data.device)]
        return blocks[:, :-1], blocks[:, 1:]

    def all_blocks(self, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """A whole split once, in order, in blocks that do not overlap; a shorter last block comes by itself.

        Every token but the first is a target exactly once: 111,539 of them in TinyShakespeare's validation split.
        """
        tokens = self.splits[split]
        whole = (len(tokens) - 1) // self.block_size * self.block_size  # tokens that fill whole blocks
        x, y = tokens[:whole].view(-1, self.block_size), tokens[1 : whole + 1].view(-1, self.block_size)
        rows = max(1, TOKENS_AT_ONCE // self.block_size)
        if whole > 0:
            yield from zip(x.split(rows), y.split(rows), strict=True)
        if whole < len(tokens) - 1:
            yield tokens[whole:-1].unsqueeze(0), tokens[whole + 1 :].unsqueeze(0)
