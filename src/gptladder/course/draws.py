"""Questions with numbers drawn for each learner: real tensors with gaps, the answers computed by the reference when asked.

The same seed draws the same question on every machine, so an answer can be marked again later. Modules 1 to 3.
B batch, T time, C channels, D head size, V vocabulary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .blanks import (
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


def packed_batch(seed: int) -> Drawn:
    """1.2c: how many examples a batch holds."""
    import torch

    from ..batches import Batches

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

    from ..batches import Batches

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


def uniform(seed: int) -> Drawn:
    """2.1c: the loss of a model that knows nothing."""
    from ..training.loss import uniform_loss

    dice = Dice(seed)
    V = dice.until(lambda: dice.between(20, 130), lambda size: size != 65)  # the loss of 65 is everywhere to be read
    times = dice.between(2, 6)
    shown = lines(
        line("vocab_size", str(V)),
        "The model is untrained: to every character it gives the same probability.",
    )
    blanks = (
        real("probability of each character", 1 / V, f"One of {V}: 1/{V}."),
        real("loss", uniform_loss(V), f"-ln(1/{V}) = ln {V}, the natural logarithm."),
        real(
            f"how much higher the loss is with {times} times as many characters",
            uniform_loss(times * V) - uniform_loss(V),
            f"ln({times} x {V}) - ln {V} = ln {times}: of a product, logarithms make a sum.",
        ),
    )
    return Drawn(shown, blanks)


def surprise(seed: int) -> Drawn:
    """2.1c: from the probability of what really came to the loss, and back."""
    import torch

    from ..training.loss import cross_entropy

    dice = Dice(seed)
    p = dice.until(
        lambda: dice.shuffled([0.8, 0.7, 0.5, 0.4, 0.25, 0.2, 0.1, 0.05, 0.02])[:3],
        lambda drawn: sum(drawn) / 3 > 1.1 * math.prod(drawn) ** (1 / 3),  # the mean of p leads elsewhere
    )
    logits, targets = doubles([[[math.log(q), math.log(1 - q)] for q in p]]), torch.zeros(1, 3, dtype=torch.int64)
    losses = [cross_entropy(logits[:, t : t + 1], targets[:, t : t + 1]).item() for t in range(3)]
    loss = cross_entropy(logits, targets).item()
    shown = lines(
        line("position", "0", "1", "2"),
        line("p(target)", *(f"{q:g}" for q in p), note="    of the character that came"),
        line("loss", "?", "?", "."),
    )
    blanks = (
        real("loss at position 0", losses[0], f"-ln {p[0]:g}."),
        real("loss at position 1", losses[1], f"-ln {p[1]:g}."),
        real("loss of the three", loss, f"Their mean: ({' + '.join(f'{one:.3f}' for one in losses)}) / 3."),
        real(
            "the one p(target) that would give this loss at every position",
            math.exp(-loss),
            f"e^-{loss:.3f}, which undoes -ln p.",
        ),
    )
    return Drawn(shown, blanks)


def table_to_loss(seed: int) -> Drawn:
    """2.1b: token ids, the lookup, logits, the loss."""
    import torch

    from ..model.bigram import Bigram
    from ..training.loss import cross_entropy

    dice = Dice(seed)
    V, B, T = dice.between(4, 5), 2, 3
    b, t, a = dice.between(0, 1), 2, V - 1  # the loss is asked at [b, t], a logit in the other block

    def draw() -> tuple[Tensor, Tensor, Tensor]:
        blocks = torch.tensor([dice.several(T + 1, 0, V - 1) for _ in range(B)])
        return doubles([dice.several(V, -2, 3) for _ in range(V)]), blocks[:, :-1], blocks[:, 1:]

    def good(drawn: tuple[Tensor, Tensor, Tensor]) -> bool:
        weight, x, y = drawn
        row, target, other = int(x[b, t]), int(y[b, t]), int(x[1 - b, 1])
        rows_are_not_columns = weight[row, target] != weight[target, row] and weight[other, a] != weight[a, other]
        p, total = weight[row].softmax(0)[target].item(), weight[row].exp().sum().item()
        return (
            bool(rows_are_not_columns) and 0.06 < p < 0.9 and abs(math.log(total)) > 0.1 and len(set(x.flatten().tolist())) > 2
        )

    weight, x, y = dice.until(draw, good)
    logits = with_weights(lambda: Bigram(small_config(vocab_size=V)), {"table.weight": weight})(x)
    losses = doubles([[cross_entropy(logits[[i], j : j + 1], y[[i], j : j + 1]).item() for j in range(T)] for i in range(B)])
    row, target, other = int(x[b, t]), int(y[b, t]), int(x[1 - b, 1])
    p = math.exp(-losses[b, t].item())
    total = " + ".join(f"e^{value:.0f}" for value in weight[row].tolist())
    shown = lines(
        table("table.weight", weight),
        table("x", x, note="two blocks of three tokens"),
        table("y", y, asked=[(1 - b, 1)], note="for each of x the token after it"),
        f"{'logits  shape ?':<42}table(x)",
        line(called("logits", (1 - b, 1, a)), "?"),
        f"{'p':<42}softmax of the logits",
        line(called("p", (b, t, target)), "?", note=f"{target} is the target there, y[{b}, {t}]"),
        table("losses", losses, asked=[(b, t)], note="-ln of the target's p"),
        f"{'loss':<42}cross_entropy(logits, y): the mean of them",
        line("loss", "?"),
    )
    blanks = (
        at("y", y, (1 - b, 1), f"y is x moved on by one, so it is x[{1 - b}, 2].", as_whole=True),
        shape_of("logits", logits, f"For each of the {B} x {T} tokens its row of {V} logits."),
        at("logits", logits, (1 - b, 1, a), f"x[{1 - b}, 1] is {other}: row {other} of the table, its last.", as_whole=True),
        real(called("p", (b, t, target)), p, f"x[{b}, {t}] is {row}; in that row e^{weight[row, target]:.0f} / ({total})."),
        at("losses", losses, (b, t), f"-ln {p:.4f}, the natural logarithm."),
        real("loss", cross_entropy(logits, y).item(), f"All {B * T} losses added, divided by {B * T}."),
    )
    return Drawn(shown, blanks)


def new_row(seed: int) -> Drawn:
    """3.2c: one row of the weights is changed, and so is what one position receives."""
    from ..model.attention import causal_softmax
    from ..model.averaging import average_matrix

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
    from ..model.attention import causal_softmax

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

    from ..model.attention import Head, causal_softmax

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

    from ..model.attention import Head

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


DRAWS = (
    *(packed_batch, split_text, uniform, surprise, table_to_loss),
    *(new_row, raised_score, one_head, head_shapes),
)
