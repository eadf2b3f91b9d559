"""Two controls: the blocks of two rungs with one thing changed, to show what that thing is worth.

B batch, T time, C channels (n_embd). They are not in a learner's project, since they would give away the block that is
to be written there.
"""

from __future__ import annotations

from torch import Tensor, nn

from .block import Block
from .config import GPTConfig, Recipe
from .ladder import Rung, skeleton


class PlainBlock(Block):
    """A block without residuals: each part reads the output of the one before and must pass on all that matters."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C). With both parts zero, the output is zero."""
        attended = self.attention(self.attention_norm(x))
        return self.feed_forward(self.feed_forward_norm(attended))


class PostNormBlock(Block):
    """A block that normalises after each sum, as in 2017: the gradient's road passes through every norm."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C). While gains are 1 and shifts 0, each token has mean 0 and variance 1."""
        x = self.attention_norm(x + self.attention(x))
        return self.feed_forward_norm(x + self.feed_forward(x))


def plain(config: GPTConfig) -> nn.Module:
    """Build `residual` without its `x +`."""
    return skeleton(config, *(PlainBlock(config, norm=nn.Identity) for _ in range(config.n_layer)))


def postnorm(config: GPTConfig) -> nn.Module:
    """Build `layernorm` with the norm after each sum."""
    return skeleton(config, *(PostNormBlock(config) for _ in range(config.n_layer)))


CONTROLS = (
    Rung("plain", "no residuals", plain, "plain", None, 2.248, band=0.075),
    Rung("postnorm", "post-norm", postnorm, "postnorm", None, 2.063),
)


CONTROL_RECIPES = {
    "plain": Recipe("plain", n_layer=3, n_head=4),
    "postnorm": Recipe("postnorm", n_layer=3, n_head=4),
}
