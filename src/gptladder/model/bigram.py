"""The first rung: a model that is one table.

B batch, T time, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn

from .config import GPTConfig


class Bigram(nn.Module):
    """Predicts the next token from the present one alone (Shannon 1948, section 3).

    Row i of the table holds the logits of what follows token i: with 65 characters, 65 x 65 = 4,225 parameters.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.table = nn.Embedding(config.vocab_size, config.vocab_size)
        nn.init.normal_(self.table.weight, std=0.02)  # nearly equal logits: an untrained table should not pretend to know

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, T) -> (B, T, V): each token's row of the table. `positions` is ignored: all rungs are called alike.

        With all 65 logits zero, each token gets probability 1/65, a loss of ln 65 = 4.174.
        """
        logits = self.table(tokens)  # (B, T, V): looking up is all there is
        return logits
