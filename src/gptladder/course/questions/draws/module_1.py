"""Questions of module 1: real tensors with gaps, the answers computed by the reference when asked.

The same seed draws the same question on every machine, so an answer can be marked again later.
B batch, T time, C channels, D head size, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blanks import (
    Dice,
    Drawn,
    line,
    lines,
    real,
    shape_of,
    whole,
)

if TYPE_CHECKING:
    pass


def packed_batch(seed: int) -> Drawn:
    """1.2c: how many examples a batch holds."""
    import torch

    from ....batches import Batches

    dice = Dice(seed)
    T, B = dice.until(lambda: (dice.between(5, 40), dice.between(4, 48)), lambda sizes: abs(sizes[0] - sizes[1]) > 2)
    steps = 50 * dice.between(4, 60)
    x, y = Batches(torch.arange(1000), B, T).get_batch("train", torch.Generator().manual_seed(0))
    shown = lines(
        line("block_size", str(T), note="tokens in a block"),
        line("batch_size", str(B), note="blocks in a batch"),
        line("steps", str(steps), note="batches in the training"),
        'x, y = batches.get_batch("train")',
        line("x", note="shape ?"),
    )
    blanks = (
        shape_of("x", x, f"A batch is batch_size blocks of block_size tokens: ({B}, {T})."),
        whole("examples in one block", y[0].numel(), f"Each of the {T} positions predicts the token after it."),
        whole("examples in one batch", y.numel(), f"{B} blocks of {T} examples each: {B} x {T}."),
        whole("most tokens that one example predicts from", T, "The last position of a block sees the whole block."),
        whole("examples in the whole training", steps * y.numel(), f"{steps} steps of {y.numel()} examples."),
    )
    return Drawn(shown, blanks)


def split_text(seed: int) -> Drawn:
    """1.2c: from the length of a text to its splits, blocks and readings."""
    import torch

    from ....batches import Batches

    dice = Dice(seed)
    N, T, B, steps = dice.between(20_000, 90_000), dice.between(9, 64), dice.between(6, 40), 50 * dice.between(2, 20)
    batches = Batches(torch.arange(N), B, T)
    train, validation = len(batches.splits["train"]), len(batches.splits["validation"])
    blocks = [block for _, y in batches.all_blocks("validation") for block in y]
    targets = sum(len(block) for block in blocks)
    shown = lines(
        line("text", str(N), note="tokens, 90 % of them (rounded down) to train on"),
        line("block_size", str(T)),
        line("batch_size", str(B)),
        line("steps", str(steps)),
    )
    blanks = (
        whole("training tokens", train, f"0.9 x {N}, rounded down."),
        whole("validation tokens", validation, f"What is left: {N} - {train}."),
        whole("validation targets", targets, "Every token of the split but its first is predicted once."),
        whole(
            "whole blocks of the validation split, without overlap",
            sum(len(block) == T for block in blocks),
            f"{targets} targets / {T}, rounded down; what is left is a shorter last block.",
        ),
        real("readings of the training split", steps * B * T / train, f"{steps} x {B} x {T} tokens drawn / {train} there are."),
    )
    return Drawn(shown, blanks)


DRAWS = (
    packed_batch,
    split_text,
)
