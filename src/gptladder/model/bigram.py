"""The first rung: a model that is one table.

B batch, T time, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn

from .config import GPTConfig


class Bigram(nn.Module):
    """A model that sees the present token alone and predicts the next (Shannon 1948, section 3).

    Row i of the table holds the logits of the token that follows token i. With 65 characters these
    are 65 x 65 = 4,225 parameters.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.table = nn.Embedding(config.vocab_size, config.vocab_size)
        # Nearly equal logits: an untrained table should not pretend to know.
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, T) -> (B, T, V): each token's row of the table.

        With all 65 logits zero, each token gets probability 1/65, a loss of ln 65 = 4.174.
        `positions` is there so that all rungs are called alike; a bigram does not use it.
        """
        logits = self.table(tokens)  # (B, T, V): looking up is all there is
        return logits
