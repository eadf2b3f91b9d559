"""Questions of module 2: real tensors with gaps. The reference computes the answers when a question is drawn.

The same seed draws the same question on every machine, so an answer can be marked again later.
B batch, T time, C channels, D head size, V vocabulary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..blanks import GapText, entry_name, loss_number, real_number, shape_of, whole_entry_of
from ..stable_random import StableRandom
from .small_models import build_with_weights, doubles, small_config
from .tables import line, lines, table

if TYPE_CHECKING:
    from torch import Tensor


def uniform(seed: int) -> GapText:
    """2.1c: the loss of a model that knows nothing."""
    from ....training.loss import uniform_loss

    rng = StableRandom(seed)
    V = rng.until(lambda: rng.between(20, 130), lambda size: size != 65)  # the loss for 65 stands in every text
    times = rng.between(2, 6)
    shown = lines(
        line("vocab_size", str(V)),
        "The model is untrained: it gives every character the same probability.",
    )
    blanks = (
        real_number("probability of each character", 1 / V, f"All {V} are equal and sum to 1: 1/{V}."),
        loss_number("loss", uniform_loss(V), f"-ln(1/{V}) = ln {V}, the natural logarithm."),
        loss_number(
            f"how much higher the loss is with {times} times as many characters",
            uniform_loss(times * V) - uniform_loss(V),
            f"ln({times} x {V}) - ln {V} = ln {times}: the logarithm of a product is a sum.",
        ),
    )
    return GapText(shown, blanks)


def surprise(seed: int) -> GapText:
    """2.1c: from the probabilities of the characters that came to the loss, and back."""
    import torch

    from ....training.loss import cross_entropy

    rng = StableRandom(seed)
    p = rng.until(
        lambda: rng.shuffled([0.8, 0.7, 0.5, 0.4, 0.25, 0.2, 0.1, 0.05, 0.02])[:3],
        lambda drawn: sum(drawn) / 3 > 1.1 * math.prod(drawn) ** (1 / 3),  # so the mean of the p is a wrong answer
    )
    logits, targets = doubles([[[math.log(q), math.log(1 - q)] for q in p]]), torch.zeros(1, 3, dtype=torch.int64)
    losses = [cross_entropy(logits[:, t : t + 1], targets[:, t : t + 1]).item() for t in range(3)]
    loss = cross_entropy(logits, targets).item()
    shown = lines(
        line("position", "0", "1", "2"),
        line("p(target)", *(f"{q:g}" for q in p), note="    probability of the character that came"),
        line("loss", "?", "?", "."),
    )
    blanks = (
        loss_number("loss at position 0", losses[0], f"-ln {p[0]:g}."),
        loss_number("loss at position 1", losses[1], f"-ln {p[1]:g}."),
        loss_number(
            "loss of the three", loss, f"The mean of the three losses: ({' + '.join(f'{one:.3f}' for one in losses)}) / 3."
        ),
        real_number(
            "p(target) that, if it were the same at every position, would give this loss",
            math.exp(-loss),
            f"e^-{loss:.3f}: the exponential undoes the logarithm.",
        ),
    )
    return GapText(shown, blanks)


def table_to_loss(seed: int) -> GapText:
    """2.1b: from token ids by the lookup to logits and loss."""
    import torch

    from ....model.bigram import Bigram
    from ....training.loss import cross_entropy

    rng = StableRandom(seed)
    V, B, T = rng.between(4, 5), 2, 3
    b, t, a = rng.between(0, 1), 2, V - 1  # the loss is asked for at [b, t], a logit in the other block

    def draw() -> tuple[Tensor, Tensor, Tensor]:
        blocks = torch.tensor([rng.several(T + 1, 0, V - 1) for _ in range(B)])
        return doubles([rng.several(V, -2, 3) for _ in range(V)]), blocks[:, :-1], blocks[:, 1:]

    def good(drawn: tuple[Tensor, Tensor, Tensor]) -> bool:
        weight, x, y = drawn
        row, target, other = int(x[b, t]), int(y[b, t]), int(x[1 - b, 1])
        rows_are_not_columns = weight[row, target] != weight[target, row] and weight[other, a] != weight[a, other]
        p, total = weight[row].softmax(0)[target].item(), weight[row].exp().sum().item()
        return (
            bool(rows_are_not_columns) and 0.06 < p < 0.9 and abs(math.log(total)) > 0.1 and len(set(x.flatten().tolist())) > 2
        )

    weight, x, y = rng.until(draw, good)
    logits = build_with_weights(lambda: Bigram(small_config(vocab_size=V)), {"table.weight": weight})(x)
    losses = doubles([[cross_entropy(logits[[i], j : j + 1], y[[i], j : j + 1]).item() for j in range(T)] for i in range(B)])
    row, target, other = int(x[b, t]), int(y[b, t]), int(x[1 - b, 1])
    p = math.exp(-losses[b, t].item())
    total = " + ".join(f"e^{value:.0f}" for value in weight[row].tolist())
    shown = lines(
        table("table.weight", weight),
        table("x", x, note="two blocks of three tokens"),
        table("y", y, asked=[(1 - b, 1)], note="for each token of x the token after it"),
        f"{'logits  shape ?':<42}table(x)",
        line(entry_name("logits", (1 - b, 1, a)), "?"),
        f"{'p':<42}softmax of the logits",
        line(entry_name("p", (b, t, target)), "?", note=f"the target is y[{b}, {t}] = {target}"),
        table("losses", losses, asked=[(b, t)], note="-ln of the target's p"),
        f"{'loss':<42}cross_entropy(logits, y): the mean of the losses",
        line("loss", "?"),
    )
    blanks = (
        whole_entry_of("y", y, (1 - b, 1), f"y is x shifted by one, so this is x[{1 - b}, 2]."),
        shape_of("logits", logits, f"Each of the {B} x {T} tokens gets a row of {V} logits."),
        whole_entry_of(
            "logits", logits, (1 - b, 1, a), f"x[{1 - b}, 1] is {other}: take the last entry of row {other} of the table."
        ),
        real_number(
            entry_name("p", (b, t, target)), p, f"x[{b}, {t}] is {row}; in that row e^{weight[row, target]:.0f} / ({total})."
        ),
        loss_number(entry_name("losses", (b, t)), losses[b, t].item(), f"-ln {p:.4f}, the natural logarithm."),
        loss_number("loss", cross_entropy(logits, y).item(), f"The sum of all {B * T} losses, divided by {B * T}."),
    )
    return GapText(shown, blanks)


DRAWS = (uniform, surprise, table_to_loss)
