"""Questions of module 3: real tensors with gaps, the answers computed by the reference when asked.

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
    called,
    doubles,
    line,
    lines,
    products,
    real,
    shape_of,
    small_config,
    table,
    whole,
    with_weights,
    without_weights,
)

if TYPE_CHECKING:
    from torch import Tensor


def new_row(seed: int) -> Drawn:
    """3.2c: one row of the weights is changed, and so is what one position receives."""
    from ....model.attention import causal_softmax
    from ....model.averaging import average_matrix

    dice = Dice(seed)
    r = dice.between(2, 3)
    other = dice.one_of([t for t in (1, 2, 3) if t != r])

    def draw() -> tuple[Tensor, Tensor]:
        chosen = dice.several(4, 0, r)
        return doubles([[dice.several(2, 1, 9) for _ in range(4)]]), doubles([chosen.count(j) / 4 for j in range(4)])

    def good(drawn: tuple[Tensor, Tensor]) -> bool:
        x, row = drawn
        moved = (row @ x[0] - average_matrix(x)[0, r]).abs()
        return bool((moved > 0.3).all()) and 2 <= int((row > 0).sum()) <= 3

    x, row = dice.until(draw, good)
    weights = causal_softmax(doubles([[0.0] * 4] * 4))
    changed = weights.clone()
    changed[r] = row
    before, after = average_matrix(x), causal_softmax(changed.log()) @ x  # softmax of its logarithms gives a row back
    shown = lines(
        table("x", x),
        table("weights", weights, note="uniform: row t shares 1 among positions 0 to t"),
        f"{'before':<42}weights @ x",
        line(called("before", (0, r)), "?", "."),
        f"{f'weights[{r}] becomes':<42}the other rows stay",
        line(called("weights", (r,)), *(f"{w:g}" for w in row.tolist())),
        f"{'after':<42}weights @ x",
        line(called("after", (0, r)), "?", "?"),
        line(called("after", (0, other)), "?", "."),
    )
    past = " + ".join(f"{value:.0f}" for value in x[0, : r + 1, 0].tolist())
    blanks = (
        at("before", before, (0, r, 0), f"The mean of channel 0 at positions 0 to {r}: ({past}) / {r + 1}."),
        at("after", after, (0, r, 0), f"Each position by its weight: {products(row, x[0, :, 0])}."),
        at("after", after, (0, r, 1), f"The same weights for each channel: {products(row, x[0, :, 1])}."),
        at("after", after, (0, other, 0), f"Row {other} of the weights stayed, so this is what it received before."),
        whole(
            "number of positions that receive something else",
            int((after - before).abs().amax(dim=-1).gt(1e-9).sum()),
            f"Position t receives row t of the weights times x, and only row {r} changed.",
        ),
    )
    return Drawn(shown, blanks)


def raised_score(seed: int) -> Drawn:
    """3.2c: a score is raised, first in the past, then in the future."""
    from ....model.attention import causal_softmax

    dice = Dice(seed)
    r, k, m = dice.between(2, 3), dice.between(2, 6), dice.between(2, 9)
    j = dice.between(0, r)
    i = (j + 1) % (r + 1)
    equal = doubles([[0.0] * 4] * 4)
    raised, later = equal.clone(), equal.clone()
    raised[r, j] = later[r, j] = math.log(k)
    later[1, 3] = math.log(m)

    def good(x: Tensor) -> bool:
        moved = (causal_softmax(raised)[r] - causal_softmax(equal)[r]) @ x[0]
        return bool(moved[0].abs() > 0.15) and abs(float(x[0, 0, 0] - x[0, 1, 0])) > 1

    x = dice.until(lambda: doubles([[dice.several(2, 1, 9) for _ in range(4)]]), good)
    weights, out, out_later = causal_softmax(raised), causal_softmax(raised) @ x, causal_softmax(later) @ x
    shown = lines(
        table("x", x),
        f"{'scores  (4, 4)':<42}all 0, but one:",
        line(called("scores", (r, j)), f"{math.log(k):.3f}", note=f"ln {k}"),
        f"{'weights':<42}causal_softmax(scores)",
        line(called("weights", (r, j)), "?"),
        line(called("weights", (r, i)), "?"),
        f"{'out':<42}weights @ x",
        line(called("out", (0, r, 0)), "?"),
        "Then a second score is raised, and all is computed again:",
        line(called("scores", (1, 3)), f"{math.log(m):.3f}", note=f"ln {m}"),
        line(called("weights", (1, 3)), "?"),
        line(called("out", (0, 1, 0)), "?"),
    )
    times = products(weights[r, : r + 1], x[0, : r + 1, 0])
    blanks = (
        at("weights", weights, (r, j), f"e^ln {k} = {k}, beside {r} scores of 0 that count e^0 = 1 each: {k} / ({k} + {r})."),
        at("weights", weights, (r, i), f"1 / ({k} + {r}): what one gains, the others of its row lose."),
        at("out", out, (0, r, 0), f"Row {r} of the weights times channel 0 of x: {times}."),
        at("weights", causal_softmax(later), (1, 3), "Position 3 is the future of position 1: masked, so exactly 0."),
        at("out", out_later, (0, 1, 0), "A masked score has no say: it is still the mean of positions 0 and 1."),
    )
    return Drawn(shown, blanks)


def one_head(seed: int) -> Drawn:
    """3.3b: embeddings, queries, keys, values, scores, weights, the output of a head."""
    import torch

    from ....model.attention import Head, causal_softmax

    dice = Dice(seed)
    T, C, D = 3, 3, 2

    def draw() -> tuple[Tensor, ...]:
        query, key, value = (doubles([dice.several(C, -1, 1) for _ in range(D)]) for _ in range(3))
        return doubles([[dice.several(C, -1, 3) for _ in range(T)]]), query, key, value

    def good(drawn: tuple[Tensor, ...]) -> bool:
        """No weight nearly 0 or 1, and the usual mistakes (no scale, no softmax, names swapped) lead elsewhere."""
        x, *matrices = drawn
        q, k, v = (x[0] @ matrix.T for matrix in matrices)
        dots = q @ k.T
        weights, unscaled = (dots[2] / math.sqrt(D)).softmax(0), dots[2].softmax(0)
        right, *wrong = ((blend @ v)[0].item() for blend in (weights, unscaled, unscaled * 0 + 1))
        swapped = dots[2, 1] != dots[1, 2] and q[2, 0] != k[2, 0] and q[1, 1] != k[1, 1]
        fair = (
            dots.abs().max() < 8
            and dots[2, 1].abs() > 0.5
            and weights.min() > 0.06
            and (weights[1] - unscaled[1]).abs() > 0.05 * weights[1]
        )
        rows = all(bool(matrix.any(dim=1).all()) for matrix in matrices)
        apart = abs(right) > 0.2 and all(abs(right - other) > 0.05 * abs(right) for other in wrong)
        return bool(swapped and fair) and rows and apart

    x, query, key, value = dice.until(draw, good)
    named = {"query.weight": query, "key.weight": key, "value.weight": value}
    head = with_weights(lambda: Head(small_config(n_embd=C), D), named)
    q, k, v, out = head.query(x), head.key(x), head.value(x), head(x)
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)
    weights = causal_softmax(scores)
    masked = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float("-inf"))
    shown = lines(
        table("x", x, note="three tokens of three channels"),
        *(table(name, weight) for name, weight in named.items()),
        table("q", q, asked=[(0, 2, 0)], shape=False, note="query(x): each row of query.weight times x[0, t]"),
        table("k", k, asked=[(0, 1, 1)], note="key(x)"),
        table("v", v, note="value(x)"),
        table("scores", masked, asked=[(0, 2, 1)], note="q k^T / sqrt(D), the future masked"),
        table("weights", weights, asked=[(0, 1, 2), (0, 2, 1)], hidden=[(0, 2, 0), (0, 2, 2)], note="softmax of each row"),
        table("out", out, asked=[(0, 0, 1), (0, 2, 0)], hidden=[(0, 0, 0)], note="weights @ v"),
    )
    total = " + ".join(f"e^{score:.3f}" for score in scores[0, 2].tolist())
    blanks = (
        shape_of("q", q, f"query maps the {C} channels of each token to the head size, {D}."),
        at("q", q, (0, 2, 0), f"Row 0 of query.weight times x[0, 2]: {products(query[0], x[0, 2])}.", as_whole=True),
        at("k", k, (0, 1, 1), f"Row 1 of key.weight times x[0, 1]: {products(key[1], x[0, 1])}.", as_whole=True),
        at("scores", scores, (0, 2, 1), f"q[0, 2] times k[0, 1] is {products(q[0, 2], k[0, 1])}; divide by sqrt({D})."),
        at("weights", weights, (0, 1, 2), "Token 2 is the future of token 1: e^-inf = 0."),
        at("weights", weights, (0, 2, 1), f"e^{scores[0, 2, 1]:.3f} / ({total})."),
        at("out", out, (0, 0, 1), "Token 0 sees only itself, with weight 1: v[0, 0, 1].", as_whole=True),
        at("out", out, (0, 2, 0), f"Row 2 of the weights times channel 0 of v: {products(weights[0, 2], v[0, :, 0])}."),
    )
    return Drawn(shown, blanks)


def head_shapes(seed: int) -> Drawn:
    """3.3b: the same way in shapes."""
    import torch

    from ....model.attention import Head

    dice = Dice(seed)
    B, T, C, D = dice.until(
        lambda: (dice.between(2, 9), dice.between(5, 20), 4 * dice.between(6, 16), dice.one_of((9, 16, 25))),
        lambda sizes: len(set(sizes)) == 4,
    )
    head = without_weights(lambda: Head(small_config(n_embd=C, block_size=T), D))
    x = torch.empty(B, T, C, device="meta")
    q, k, out = head.query(x), head.key(x), head(x)
    shown = lines(
        line("x", note=f"({B}, {T}, {C})"),
        line("head", note=f"Head(config, head_size={D})"),
        line("q, k, v", note="query(x), key(x), value(x)"),
        line("scores", note="q @ k.transpose(-2, -1) / divisor"),
        line("out", note="causal_softmax(scores) @ v"),
    )
    blanks = (
        shape_of("query.weight", head.query.weight, f"From C = {C} channels to D = {D}; torch writes the outputs first."),
        shape_of("k", k, f"For each token a key of D = {D} numbers."),
        shape_of(
            "scores", q @ k.transpose(-2, -1), f"In each of {B} texts, how well each of {T} keys fits each of {T} queries."
        ),
        real("divisor", math.sqrt(head.head_size), f"The root of the head size: sqrt({D})."),
        shape_of("out", out, f"(B, T, T) @ (B, T, D): for each token {D} numbers again."),
        whole("parameters of the head", sum(p.numel() for p in head.parameters()), f"3 x {C} x {D}, no biases."),
    )
    return Drawn(shown, blanks)


DRAWS = (new_row, raised_score, one_head, head_shapes)
