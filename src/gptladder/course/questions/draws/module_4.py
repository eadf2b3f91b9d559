"""Questions of module 4: real tensors with gaps, the answers computed by the reference when asked.

The same seed draws the same question on every machine, so an answer can be marked again later.
B batch, T time, C channels, D head size, V vocabulary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..blanks import (
    Dice,
    Drawn,
    at,
    doubles,
    line,
    lines,
    real,
    shape_of,
    small_config,
    table,
    whole,
    with_weights,
    without_weights,
)
from ..exhibits import measured

if TYPE_CHECKING:
    from torch import Tensor


def heads_losses(seed: int) -> Drawn:
    """4.1c: two measured curves, of one head and of four."""
    dice = Dice(seed)
    one, four = ({row.step: row.validation for row in measured().curves[name]} for name in ("attention", "multihead"))
    *between, end = [step for step in one if step > 0]
    steps = [*sorted(dice.shuffled(between)[:5]), end]
    s, n = dice.one_of(steps[:-1]), dice.between(8, 30)
    shown = lines(
        "Validation loss of two real trainings, alike in all but their heads: n_embd 32, block_size 8,",
        "batch_size 32, 7,488 parameters each.",
        line("step", *(str(step) for step in steps)),
        line("one head of 32", *(f"{one[step]:.4f}" for step in steps)),
        line("four heads of 8", *(f"{four[step]:.4f}" for step in steps)),
    )
    passed = next(step for step in steps if four[step] < one[end])
    gap = one[end] - four[end]
    blanks = (
        real(f"lead of the four heads at step {s}", one[s] - four[s], f"{one[s]:.4f} - {four[s]:.4f}."),
        whole(
            "first of these steps at which four heads are below the end of one",
            passed,
            f"The first below {one[end]:.4f}: {four[passed]:.4f}.",
        ),
        real(
            "perplexity of one head at the end",
            math.exp(one[end]),
            f"e^{one[end]:.4f}: as unsure as among so many characters.",
        ),
        real("perplexity of four heads at the end", math.exp(four[end]), f"e^{four[end]:.4f}."),
        real(
            f"how many times as probable four heads make {n} characters of the validation text",
            math.exp(n * gap),
            f"On average each character is e^{gap:.4f} times as probable, {n} of them e^({n} x {gap:.4f}).",
        ),
    )
    return Drawn(shown, blanks)


def heads_shapes(seed: int) -> Drawn:
    """4.1c: one head cut into several: shapes and parameters."""
    import torch

    from ....model.attention import Head, MultiHeadAttention

    dice = Dice(seed)
    B, T, H, D = dice.until(
        lambda: (dice.between(2, 9), dice.between(7, 20), dice.between(3, 6), dice.between(5, 12)),
        lambda sizes: len({*sizes, sizes[2] * sizes[3]}) == 5,
    )
    C = H * D
    config = small_config(n_embd=C, n_head=H, block_size=T)
    attention = without_weights(lambda: MultiHeadAttention(config, project=torch.nn.Identity()))
    wide = without_weights(lambda: Head(config, C))
    x = torch.empty(B, T, C, device="meta")
    head = attention.heads[0]
    per_head, scores = head(x), head.query(x) @ head.key(x).transpose(-2, -1)
    shown = lines(
        line("x", note=f"({B}, {T}, {C})"),
        line("heads", note=f"{H} heads that share n_embd {C} evenly"),
        line("found", note="torch.cat([head(x) for head in heads], dim=-1)"),
    )
    blanks = (
        whole("head size", attention.heads[0].head_size, f"{C} / {H}."),
        shape_of("head(x)", per_head, f"Each head gives every token D = {D} numbers."),
        shape_of("scores in one head", scores, "One for each query and key, whatever the head size."),
        shape_of("found", attention(x), f"Side by side along the channels: {H} x {D} = {C} again."),
        whole("parameters of one of the heads", sum(p.numel() for p in head.parameters()), f"3 x {C} x {D}."),
        whole("parameters of all heads", sum(p.numel() for p in attention.parameters()), f"{H} x 3 x {C} x {D}."),
        whole(
            f"parameters of a single head of size {C}",
            sum(p.numel() for p in wide.parameters()),
            f"3 x {C} x {C}: as many. The heads cost nothing more; they look for {H} things instead of one.",
        ),
    )
    return Drawn(shown, blanks)


def block_by_hand(seed: int) -> Drawn:
    """4.2c: attention, add, feed-forward, add, with weights so simple that it can be done by hand."""
    import torch

    from ....model.block import Block

    dice = Dice(seed)
    T, C, times = 3, 2, dice.between(2, 4)
    value = doubles(dice.one_of(([[1, 0], [0, 1]], [[0, 1], [1, 0]], [[2, 0], [0, 1]], [[1, 0], [0, 2]])))
    none, same = torch.zeros(C, C, dtype=torch.float64), torch.eye(C, dtype=torch.float64)
    expand, contract = torch.zeros(4 * C, C, dtype=torch.float64), torch.zeros(C, 4 * C, dtype=torch.float64)
    expand[:C], contract[:, :C] = same, times * same
    block = with_weights(
        lambda: Block(small_config(n_embd=C), norm=torch.nn.Identity),
        {
            "attention.heads.0.query.weight": none,
            "attention.heads.0.key.weight": same,
            "attention.heads.0.value.weight": value,
            "attention.project.weight": same,
            "attention.project.bias": none[0],
            "feed_forward.expand.weight": expand,
            "feed_forward.expand.bias": expand[:, 0] * 0,
            "feed_forward.contract.weight": contract,
            "feed_forward.contract.bias": none[0],
        },
    )

    def draw() -> Tensor:
        means = doubles([dice.several(C, -4, 5) for _ in range(T)])  # whole means of the past, made first
        sums = means * doubles([[1], [2], [3]])
        return torch.cat([sums[:1], sums.diff(dim=0)]).unsqueeze(0)

    def good(x: Tensor) -> bool:
        """At [2, 0] all goes up, at [1, 1] ReLU stops it; every stage is another number there."""
        a = block.attention(x)
        h = x + a
        stages = (x, a, h, block.feed_forward(h), block(x), h + block.feed_forward(x))
        up = [round(stage[0, 2, 0].item()) for stage in stages]
        stopped = round(h[0, 1, 1].item()) < 0 and round(x[0, 1, 1].item()) != 0
        return x.abs().max().item() < 13 and up[2] > 0 and len(set(up)) == len(up) and stopped

    x = dice.until(draw, good)
    a = block.attention(x)
    h = x + a
    f = block.feed_forward(h)
    shown = lines(
        "A block whose norms are Identity, with one head, and these weights (all biases are 0):",
        line("query.weight", note="all 0"),
        line("value.weight", *(f"{w:.0f}" for w in value[0].tolist()), note="project gives back what it gets"),
        line("", *(f"{w:.0f}" for w in value[1].tolist())),
        line("expand", note=f"copies the channels into the first {C} of {4 * C}; the rest is 0"),
        line("contract", note=f"{times} times the first {C}"),
        table("x", x),
        table("a", a, asked=[(0, 2, 0)], note="attention(x)"),
        table("h", h, asked=[(0, 2, 0)], note="x + a"),
        line("hidden", note="relu(expand(h)), shape ?"),
        table("f", f, asked=[(0, 2, 0), (0, 1, 1)], note="feed_forward(h) = contract(hidden)"),
        table("out", h + f, asked=[(0, 2, 0), (0, 1, 1)], note="h + f, what the block returns"),
    )
    mean = (x[0] @ value.T)[:, 0].tolist()
    blanks = (
        at(
            "a",
            a,
            (0, 2, 0),
            f"All scores are 0, so it is the mean of the values: ({' + '.join(f'{v:.0f}' for v in mean)}) / 3.",
            as_whole=True,
        ),
        at("h", h, (0, 2, 0), f"What was there and what was found: {x[0, 2, 0]:.0f} + {a[0, 2, 0]:.0f}.", as_whole=True),
        shape_of("hidden", block.feed_forward.expand(h), f"Four times as wide: 4 x {C} = {4 * C} for each token."),
        at("f", f, (0, 2, 0), f"{times} x {h[0, 2, 0]:.0f}: it reads h, not x.", as_whole=True),
        at("f", f, (0, 1, 1), f"ReLU makes 0 of {h[0, 1, 1]:.0f}.", as_whole=True),
        at("out", block(x), (0, 2, 0), f"h + f: {h[0, 2, 0]:.0f} + {f[0, 2, 0]:.0f}.", as_whole=True),
        at("out", block(x), (0, 1, 1), "h + 0: where the feed-forward says nothing, h goes on as it is.", as_whole=True),
    )
    return Drawn(shown, blanks)


DRAWS = (
    heads_losses,
    heads_shapes,
    block_by_hand,
)
