"""The rungs in order, as plain data: what each adds, how it is built, the loss it should reach.

A rung is a list of layers between the same embedding and unembedding. Losses are in nats per
character, on TinyShakespeare's whole validation split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from .attention import Head, MultiHeadAttention
from .averaging import Average
from .bigram import Bigram
from .block import Block, LayerNorm
from .config import GPTConfig, Recipe
from .gpt import GPT, Embedding, LanguageModel, initialise


@dataclass(frozen=True)
class Rung:
    """One step of the ladder.

    A healthy training by its recipe ends within `expected_loss` +- `band`.
    """

    name: str
    adds: str  # in a word or two, for a narrow table
    build: Callable[[GPTConfig], nn.Module]
    recipe: str  # the name of its own recipe
    published_loss: float | None  # Karpathy, "Let's build GPT", 2023; None if it is not there
    measured_loss: float | None = None  # ours, the mean of five seeds
    band: float = 0.03  # or three standard deviations over those seeds, if that is more

    @property
    def expected_loss(self) -> float:
        """The middle of the band: the published loss, or ours where nothing was published."""
        losses = (self.published_loss, self.measured_loss)
        return next(loss for loss in losses if loss is not None)


def skeleton(config: GPTConfig, *layers: nn.Module) -> LanguageModel:
    """Return a model with these layers between embedding and unembedding.

    Its weights begin with a spread of 1/sqrt(2 fan_in). That halves the variance in each layer, so
    blocks without a norm do not blow up. The 0.02 of a wide GPT would be too little at 32 channels:
    attention would need more steps than the recipe has to learn anything.
    """
    unembed = nn.Linear(config.n_embd, config.vocab_size, bias=False)
    model = LanguageModel(config, Embedding(config), layers, unembed)
    initialise(model, spread=lambda layer: (2 * layer.in_features) ** -0.5, unembedding=0.01)
    return model


def average(config: GPTConfig) -> nn.Module:
    """Build the mean of the past: no parameter between embedding and unembedding."""
    return skeleton(config, Average())


def attention(config: GPTConfig) -> nn.Module:
    """Build one head, as wide as the model."""
    return skeleton(config, Head(config, config.n_embd))


def multihead(config: GPTConfig) -> nn.Module:
    """Build several heads that share the width, their outputs side by side."""
    return skeleton(config, MultiHeadAttention(config, project=nn.Identity()))


def feedforward(config: GPTConfig) -> nn.Module:
    """Build heads, then one layer and a ReLU for each position by itself."""
    heads = MultiHeadAttention(config, project=nn.Identity())
    return skeleton(config, heads, nn.Linear(config.n_embd, config.n_embd), nn.ReLU())


def residual(config: GPTConfig) -> nn.Module:
    """Build blocks of attention and feed-forward, each part's output added to its input."""
    blocks = [Block(config, norm=nn.Identity) for _ in range(config.n_layer)]
    return skeleton(config, *blocks)


def layernorm(config: GPTConfig) -> nn.Module:
    """Build the same blocks with a norm before each part, and one norm at the end."""
    blocks = [Block(config) for _ in range(config.n_layer)]
    return skeleton(config, *blocks, LayerNorm(config.n_embd))


RUNGS = (
    Rung("bigram", "one table", Bigram, "bigram", 2.49, 2.488),
    Rung("average", "the past averaged", average, "average", None, 2.826),
    Rung("attention", "one head", attention, "attention", 2.40, 2.409),
    Rung("multihead", "four heads", multihead, "multihead", 2.28, 2.308, band=0.084),
    Rung("feedforward", "feed-forward", feedforward, "feedforward", 2.24, 2.257, band=0.056),
    Rung("residual", "blocks, residuals", residual, "residual", 2.08, 2.091, band=0.046),
    Rung("layernorm", "layer norm", layernorm, "layernorm", 2.06, 2.066),
    Rung("gpt", "dropout and scale", GPT, "published", 1.48),
)
RECIPES = {
    "bigram": Recipe("bigram", steps=3000, learning_rate=1e-2),
    "average": Recipe("average"),
    "attention": Recipe("attention"),
    "multihead": Recipe("multihead", n_head=4),
    "feedforward": Recipe("feedforward", n_head=4),
    "residual": Recipe("residual", n_layer=3, n_head=4),
    "layernorm": Recipe("layernorm", n_layer=3, n_head=4),
    # The published scale-up, exactly.
    "published": Recipe(
        "gpt",
        block_size=256,
        n_layer=6,
        n_head=6,
        n_embd=384,
        dropout=0.2,
        batch_size=64,
        learning_rate=3e-4,
    ),
}
