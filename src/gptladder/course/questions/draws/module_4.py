"""Questions of module 4: real tensors with gaps. The reference computes the answers when a question is drawn.

The same seed draws the same question on every machine, so an answer can be marked again later.
B batch, T time, C channels, D head size, V vocabulary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..blanks import GapText, loss_number, real_number, shape_of, whole_entry_of, whole_number
from ..exhibits import measured
from ..stable_random import StableRandom
from .small_models import build, build_with_weights, doubles, parameter_count, small_config
from .tables import line, lines, table

if TYPE_CHECKING:
    from torch import Tensor


def heads_losses(seed: int) -> GapText:
    """4.1c: two measured curves, one head against four."""
    rng = StableRandom(seed)
    one, four = ({row.step: row.validation for row in measured().curves[name]} for name in ("attention", "multihead"))
    *between, end = [step for step in one if step > 0]
    steps = [*sorted(rng.shuffled(between)[:5]), end]
    s, n = rng.one_of(steps[:-1]), rng.between(8, 30)
    shown = lines(
        "Validation loss of two real trainings that differ only in their heads: n_embd 32, block_size 8,",
        "batch_size 32, 7,488 parameters each.",
        line("step", *(str(step) for step in steps)),
        line("one head of 32", *(f"{one[step]:.4f}" for step in steps)),
        line("four heads of 8", *(f"{four[step]:.4f}" for step in steps)),
    )
    passed = next(step for step in steps if four[step] < one[end])
    gap = one[end] - four[end]
    blanks = (
        loss_number(
            f"by how much the loss of four heads is lower at step {s}", one[s] - four[s], f"{one[s]:.4f} - {four[s]:.4f}."
        ),
        whole_number(
            "first of these steps at which four heads are below the last loss of one head",
            passed,
            f"{four[passed]:.4f} is the first loss below {one[end]:.4f}.",
        ),
        real_number(
            "perplexity of one head at the end",
            math.exp(one[end]),
            f"e^{one[end]:.4f}: as unsure as with that many equally likely characters.",
        ),
        real_number("perplexity of four heads at the end", math.exp(four[end]), f"e^{four[end]:.4f}."),
        real_number(
            f"factor by which four heads give {n} characters of the validation text a higher probability",
            math.exp(n * gap),
            f"On average e^{gap:.4f} for each character; for {n} characters the factors multiply: e^({n} x {gap:.4f}).",
        ),
    )
    return GapText(shown, blanks)


def heads_shapes(seed: int) -> GapText:
    """4.1c: one head cut into several: shapes and parameters."""
    import torch

    from ....model.attention import Head, MultiHeadAttention

    rng = StableRandom(seed)
    B, T, H, D = rng.until(
        lambda: (rng.between(2, 9), rng.between(7, 20), rng.between(3, 6), rng.between(5, 12)),
        lambda sizes: len({*sizes, sizes[2] * sizes[3]}) == 5,
    )
    C = H * D
    config = small_config(n_embd=C, n_head=H, block_size=T)
    attention = build(lambda: MultiHeadAttention(config, project=torch.nn.Identity()))
    head, wide = build(lambda: Head(config, config.head_size)), build(lambda: Head(config, C))
    x = torch.zeros(B, T, C)
    per_head, scores = head(x), head.query(x) @ head.key(x).transpose(-2, -1)
    shown = lines(
        line("x", note=f"({B}, {T}, {C})"),
        line("heads", note=f"{H} heads that share n_embd = {C} evenly"),
        line("found", note="torch.cat([head(x) for head in heads], dim=-1)"),
    )
    blanks = (
        whole_number("head size", head.head_size, f"{C} / {H}."),
        shape_of("head(x)", per_head, f"Each head gives every token D = {D} numbers."),
        shape_of("scores in one head", scores, "One score for each query with each key, whatever the head size."),
        shape_of("found", attention(x), f"Side by side along the channels: {H} x {D} = {C} again."),
        whole_number("parameters of one of the heads", parameter_count(head), f"3 x {C} x {D}."),
        whole_number("parameters of all heads", parameter_count(attention), f"{H} x 3 x {C} x {D}."),
        whole_number(
            f"parameters of a single head of size {C}",
            parameter_count(wide),
            f"3 x {C} x {C}, the same number: {H} heads look for {H} things without more parameters.",
        ),
    )
    return GapText(shown, blanks)


def block_by_hand(seed: int) -> GapText:
    """4.2c: attention, add, feed-forward, add, with weights simple enough to compute by hand."""
    import torch

    from ....model.block import Block

    rng = StableRandom(seed)
    T, C, times = 3, 2, rng.between(2, 4)
    value = doubles(rng.one_of(([[1, 0], [0, 1]], [[0, 1], [1, 0]], [[2, 0], [0, 1]], [[1, 0], [0, 2]])))
    zero, same = torch.zeros(C, C, dtype=torch.float64), torch.eye(C, dtype=torch.float64)
    expand, contract = torch.zeros(4 * C, C, dtype=torch.float64), torch.zeros(C, 4 * C, dtype=torch.float64)
    expand[:C], contract[:, :C] = same, times * same
    block = build_with_weights(
        lambda: Block(small_config(n_embd=C), norm=torch.nn.Identity),
        {
            "attention.heads.0.query.weight": zero,
            "attention.heads.0.key.weight": same,
            "attention.heads.0.value.weight": value,
            "attention.project.weight": same,
            "attention.project.bias": zero[0],
            "feed_forward.expand.weight": expand,
            "feed_forward.expand.bias": expand[:, 0] * 0,
            "feed_forward.contract.weight": contract,
            "feed_forward.contract.bias": zero[0],
        },
    )

    def draw() -> Tensor:
        means = doubles([rng.several(C, -4, 5) for _ in range(T)])  # the means of the past come first, so that they are whole
        sums = means * doubles([[1], [2], [3]])
        return torch.cat([sums[:1], sums.diff(dim=0)]).unsqueeze(0)

    def good(x: Tensor) -> bool:
        """Check that at [2, 0] every stage has a number of its own, and that at [1, 1] the ReLU gives 0."""
        a = block.attention(x)
        h = x + a
        stages = (x, a, h, block.feed_forward(h), block(x), h + block.feed_forward(x))
        up = [round(stage[0, 2, 0].item()) for stage in stages]
        stopped = round(h[0, 1, 1].item()) < 0 and round(x[0, 1, 1].item()) != 0
        return x.abs().max().item() < 13 and up[2] > 0 and len(set(up)) == len(up) and stopped

    x = rng.until(draw, good)
    a = block.attention(x)
    h = x + a
    f = block.feed_forward(h)
    shown = lines(
        "A block whose norms are Identity, with one head and these weights (all biases are 0):",
        line("query.weight", note="all 0"),
        line("value.weight", *(f"{w:.0f}" for w in value[0].tolist()), note="project returns its input unchanged"),
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
        whole_entry_of(
            "a",
            a,
            (0, 2, 0),
            f"All scores are 0, so this is the mean of the values: ({' + '.join(f'{v:.0f}' for v in mean)}) / 3.",
        ),
        whole_entry_of("h", h, (0, 2, 0), f"The input and what attention found: {x[0, 2, 0]:.0f} + {a[0, 2, 0]:.0f}."),
        shape_of("hidden", block.feed_forward.expand(h), f"Four times as wide: 4 x {C} = {4 * C} for each token."),
        whole_entry_of("f", f, (0, 2, 0), f"{times} x {h[0, 2, 0]:.0f}: it reads h, not x."),
        whole_entry_of("f", f, (0, 1, 1), f"ReLU turns {h[0, 1, 1]:.0f} into 0."),
        whole_entry_of("out", block(x), (0, 2, 0), f"h + f: {h[0, 2, 0]:.0f} + {f[0, 2, 0]:.0f}."),
        whole_entry_of("out", block(x), (0, 1, 1), "h + 0: where the feed-forward adds nothing, h stays as it is."),
    )
    return GapText(shown, blanks)


DRAWS = (heads_losses, heads_shapes, block_by_hand)
