"""Questions of module 1: real tensors with gaps. The reference computes the answers when a question is drawn.

The same seed draws the same question on every machine, so an answer can be marked again later.
B batch, T time, C channels, D head size, V vocabulary.
"""

from __future__ import annotations

from ..blanks import GapText, real_number, shape_of, whole_number
from ..stable_random import StableRandom
from .tables import line, lines


def packed_batch(seed: int) -> GapText:
    """1.2c: the number of examples in a batch."""
    import torch

    from ....batches import Batches

    rng = StableRandom(seed)
    T, B = rng.until(lambda: (rng.between(5, 40), rng.between(4, 48)), lambda sizes: abs(sizes[0] - sizes[1]) > 2)
    steps = 50 * rng.between(4, 60)
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
        whole_number("examples in one block", y[0].numel(), f"Each of the {T} positions predicts the token after it."),
        whole_number("examples in one batch", y.numel(), f"{B} blocks of {T} examples each: {B} x {T}."),
        whole_number(
            "longest context of an example, in tokens", T, "The last position of a block is predicted from the whole block."
        ),
        whole_number(
            "examples in the whole training",
            steps * y.numel(),
            f"{steps} steps of {y.numel()} examples: {steps} x {y.numel()}.",
        ),
    )
    return GapText(shown, blanks)


def split_text(seed: int) -> GapText:
    """1.2c: the splits and blocks of a text, and how many times it is read."""
    import torch

    from ....batches import Batches

    rng = StableRandom(seed)
    N, T, B, steps = rng.between(20_000, 90_000), rng.between(9, 64), rng.between(6, 40), 50 * rng.between(2, 20)
    batches = Batches(torch.arange(N), B, T)
    train, validation = len(batches.splits["train"]), len(batches.splits["validation"])
    blocks = [block for _, y in batches.all_blocks("validation") for block in y]
    targets = sum(len(block) for block in blocks)
    shown = lines(
        line("text", str(N), note="tokens; 90 % of them (rounded down) are for training"),
        line("block_size", str(T)),
        line("batch_size", str(B)),
        line("steps", str(steps)),
    )
    blanks = (
        whole_number("training tokens", train, f"0.9 x {N}, rounded down."),
        whole_number("validation tokens", validation, f"What is left: {N} - {train}."),
        whole_number("validation targets", targets, "Every token of the split except the first is predicted once."),
        whole_number(
            "whole blocks in the validation split, without overlap",
            sum(len(block) == T for block in blocks),
            f"{targets} targets / {T}, rounded down; the rest makes a shorter last block.",
        ),
        real_number(
            "how many times the training split is read, on average",
            steps * B * T / train,
            f"{steps} x {B} x {T} tokens are drawn from {train}: divide.",
        ),
    )
    return GapText(shown, blanks)


DRAWS = (packed_batch, split_text)
