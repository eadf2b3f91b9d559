"""Questions of module 3: real tensors with gaps. The reference computes the answers when a question is drawn.

The same seed draws the same question on every machine, so an answer can be marked again later.
B batch, T time, C channels, D head size, V vocabulary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..blanks import GapText, entry_name, entry_of, real_number, shape_of, whole_entry_of, whole_number
from ..stable_random import StableRandom
from .small_models import build, build_with_weights, doubles, parameter_count, small_config
from .tables import line, lines, table, weighted_sum

if TYPE_CHECKING:
    from torch import Tensor


def new_row(seed: int) -> GapText:
    """3.2c: one row of the weights changes, and with it what one position receives."""
    from ....model.attention import causal_softmax
    from ....model.averaging import average_matrix

    rng = StableRandom(seed)
    r = rng.between(2, 3)
    other = rng.one_of([t for t in (1, 2, 3) if t != r])

    def draw() -> tuple[Tensor, Tensor]:
        chosen = rng.several(4, 0, r)
        return doubles([[rng.several(2, 1, 9) for _ in range(4)]]), doubles([chosen.count(j) / 4 for j in range(4)])

    def good(drawn: tuple[Tensor, Tensor]) -> bool:
        x, row = drawn
        moved = (row @ x[0] - average_matrix(x)[0, r]).abs()
        return bool((moved > 0.3).all()) and 2 <= int((row > 0).sum()) <= 3

    x, row = rng.until(draw, good)
    weights = causal_softmax(doubles([[0.0] * 4] * 4))
    changed = weights.clone()
    changed[r] = row
    before, after = average_matrix(x), causal_softmax(changed.log()) @ x  # softmax of the logarithms gives the weights back
    shown = lines(
        table("x", x),
        table("weights", weights, note="uniform: row t has equal weights for positions 0 to t"),
        f"{'before':<42}weights @ x",
        line(entry_name("before", (0, r)), "?", "."),
        f"{f'weights[{r}] becomes':<42}the other rows stay the same",
        line(entry_name("weights", (r,)), *(f"{w:g}" for w in row.tolist())),
        f"{'after':<42}weights @ x",
        line(entry_name("after", (0, r)), "?", "?"),
        line(entry_name("after", (0, other)), "?", "."),
    )
    past = " + ".join(f"{value:.0f}" for value in x[0, : r + 1, 0].tolist())
    blanks = (
        entry_of("before", before, (0, r, 0), f"The mean of channel 0 at positions 0 to {r}: ({past}) / {r + 1}."),
        entry_of("after", after, (0, r, 0), f"Each position times its weight: {weighted_sum(row, x[0, :, 0])}."),
        entry_of("after", after, (0, r, 1), f"The same weights apply to each channel: {weighted_sum(row, x[0, :, 1])}."),
        entry_of(
            "after",
            after,
            (0, other, 0),
            f"Row {other} of the weights is unchanged, so this is the mean of positions 0 to {other}, as before.",
        ),
        whole_number(
            "number of positions whose result changes",
            int((after - before).abs().amax(dim=-1).gt(1e-9).sum()),
            f"Position t receives row t of the weights times x, and only row {r} changed.",
        ),
    )
    return GapText(shown, blanks)


def raised_score(seed: int) -> GapText:
    """3.2c: a score is raised, first one of the past, then one of the future."""
    from ....model.attention import causal_softmax

    rng = StableRandom(seed)
    r, k, m = rng.between(2, 3), rng.between(2, 6), rng.between(2, 9)
    j = rng.between(0, r)
    i = (j + 1) % (r + 1)
    equal = doubles([[0.0] * 4] * 4)
    raised, later = equal.clone(), equal.clone()
    raised[r, j] = later[r, j] = math.log(k)
    later[1, 3] = math.log(m)

    def good(x: Tensor) -> bool:
        moved = (causal_softmax(raised)[r] - causal_softmax(equal)[r]) @ x[0]
        return bool(moved[0].abs() > 0.15) and abs(float(x[0, 0, 0] - x[0, 1, 0])) > 1

    x = rng.until(lambda: doubles([[rng.several(2, 1, 9) for _ in range(4)]]), good)
    weights, out, out_later = causal_softmax(raised), causal_softmax(raised) @ x, causal_softmax(later) @ x
    shown = lines(
        table("x", x),
        f"{'scores  (4, 4)':<42}all 0 except one:",
        line(entry_name("scores", (r, j)), f"{math.log(k):.3f}", note=f"ln {k}"),
        f"{'weights':<42}causal_softmax(scores)",
        line(entry_name("weights", (r, j)), "?"),
        line(entry_name("weights", (r, i)), "?"),
        f"{'out':<42}weights @ x",
        line(entry_name("out", (0, r, 0)), "?"),
        "Then a second score is raised, and everything is computed again:",
        line(entry_name("scores", (1, 3)), f"{math.log(m):.3f}", note=f"ln {m}"),
        line(entry_name("weights", (1, 3)), "?"),
        line(entry_name("out", (0, 1, 0)), "?"),
    )
    times = weighted_sum(weights[r, : r + 1], x[0, : r + 1, 0])
    blanks = (
        entry_of(
            "weights",
            weights,
            (r, j),
            f"e^(ln {k}) = {k}; the {r} other scores are 0, and e^0 = 1 for each: {k} / ({k} + {r}).",
        ),
        entry_of("weights", weights, (r, i), f"1 / ({k} + {r}): what one weight gains, the others of its row lose."),
        entry_of("out", out, (0, r, 0), f"Row {r} of the weights times channel 0 of x: {times}."),
        entry_of(
            "weights",
            causal_softmax(later),
            (1, 3),
            "Position 3 is in the future of position 1: it is masked, so its weight is exactly 0.",
        ),
        entry_of("out", out_later, (0, 1, 0), "A masked score has no effect: this is still the mean of positions 0 and 1."),
    )
    return GapText(shown, blanks)


def one_head(seed: int) -> GapText:
    """3.3b: embeddings, queries, keys, values, scores, weights and the output of a head."""
    import torch

    from ....model.attention import Head, causal_softmax

    rng = StableRandom(seed)
    T, C, D = 3, 3, 2

    def draw() -> tuple[Tensor, ...]:
        query, key, value = (doubles([rng.several(C, -1, 1) for _ in range(D)]) for _ in range(3))
        return doubles([[rng.several(C, -1, 3) for _ in range(T)]]), query, key, value

    def good(drawn: tuple[Tensor, ...]) -> bool:
        """Check that no weight is nearly 0 or 1, and that no scale, no softmax or swapped names give other answers."""
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

    x, query, key, value = rng.until(draw, good)
    named = {"query.weight": query, "key.weight": key, "value.weight": value}
    head = build_with_weights(lambda: Head(small_config(n_embd=C), D), named)
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
        whole_entry_of("q", q, (0, 2, 0), f"Row 0 of query.weight times x[0, 2]: {weighted_sum(query[0], x[0, 2])}."),
        whole_entry_of("k", k, (0, 1, 1), f"Row 1 of key.weight times x[0, 1]: {weighted_sum(key[1], x[0, 1])}."),
        entry_of(
            "scores", scores, (0, 2, 1), f"q[0, 2] times k[0, 1] is {weighted_sum(q[0, 2], k[0, 1])}; divide by sqrt({D})."
        ),
        entry_of("weights", weights, (0, 1, 2), "Token 2 is in the future of token 1: its score is -inf, and e^-inf = 0."),
        entry_of("weights", weights, (0, 2, 1), f"e^{scores[0, 2, 1]:.3f} / ({total})."),
        whole_entry_of("out", out, (0, 0, 1), "Token 0 sees only itself, with weight 1, so this is v[0, 0, 1]."),
        entry_of(
            "out", out, (0, 2, 0), f"Row 2 of the weights times channel 0 of v: {weighted_sum(weights[0, 2], v[0, :, 0])}."
        ),
    )
    return GapText(shown, blanks)


def head_shapes(seed: int) -> GapText:
    """3.3b: the shapes in a head."""
    import torch

    from ....model.attention import Head

    rng = StableRandom(seed)
    B, T, C, D = rng.until(
        lambda: (rng.between(2, 9), rng.between(5, 20), 4 * rng.between(6, 16), rng.one_of((9, 16, 25))),
        lambda sizes: len(set(sizes)) == 4,
    )
    head = build(lambda: Head(small_config(n_embd=C, block_size=T), D))
    x = torch.zeros(B, T, C)
    q, k, out = head.query(x), head.key(x), head(x)
    shown = lines(
        line("x", note=f"({B}, {T}, {C})"),
        line("head", note=f"Head(config, head_size={D})"),
        line("q, k, v", note="query(x), key(x), value(x)"),
        line("scores", note="q @ k.transpose(-2, -1) / divisor"),
        line("out", note="causal_softmax(scores) @ v"),
    )
    blanks = (
        shape_of("query.weight", head.query.weight, f"From C = {C} channels to D = {D}; in torch the outputs come first."),
        shape_of("k", k, f"Each token has a key of D = {D} numbers."),
        shape_of(
            "scores",
            q @ k.transpose(-2, -1),
            f"In each of {B} texts there is a score for each of {T} queries with each of {T} keys.",
        ),
        real_number("divisor", math.sqrt(head.head_size), f"The root of the head size: sqrt({D})."),
        shape_of("out", out, f"(B, T, T) @ (B, T, D) is (B, T, D): again {D} numbers for each token."),
        whole_number(
            "parameters of the head",
            parameter_count(head),
            f"Query, key and value have {C} x {D} weights each and no biases: 3 x {C} x {D}.",
        ),
    )
    return GapText(shown, blanks)


DRAWS = (new_row, raised_score, one_head, head_shapes)
