"""Questions of module 2: real tensors with gaps, the answers computed by the reference when asked.

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
    real,
    shape_of,
    small_config,
    table,
    with_weights,
)

if TYPE_CHECKING:
    from torch import Tensor


def uniform(seed: int) -> Drawn:
    """2.1c: the loss of a model that knows nothing."""
    from ....training.loss import uniform_loss

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

    from ....training.loss import cross_entropy

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

    from ....model.bigram import Bigram
    from ....training.loss import cross_entropy

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


DRAWS = (
    uniform,
    surprise,
    table_to_loss,
)
