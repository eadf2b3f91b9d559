"""The skeleton that every rung but the bigram stands on, and the GPT itself.

B batch, T time, C channels (n_embd), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from .block import Block, LayerNorm
from .config import GPTConfig


class Embedding(nn.Module):
    """A vector for each token plus a vector for its position, from two tables."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.token = nn.Embedding(config.vocab_size, config.n_embd)
        self.position = nn.Embedding(config.block_size, config.n_embd)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, T) -> (B, T, C). Positions are (T,), and 0 to T - 1 if none are given.

        ValueError for more than block_size tokens.
        """
        length, most = tokens.size(1), self.position.num_embeddings
        if length > most:
            raise ValueError(f"{length} tokens given; the context holds {most}: pass the last ones")
        if positions is None:
            positions = torch.arange(length, device=tokens.device)
        return self.token(tokens) + self.position(positions)  # (B, T, C) + (T, C)


class LanguageModel(nn.Module):
    """A model of layers between an embedding and an unembedding; the layers make the rung."""

    def __init__(
        self,
        config: GPTConfig,
        embed: nn.Module,
        layers: Iterable[nn.Module],
        unembed: nn.Linear,
    ) -> None:
        """Keep these parts.

        `embed` is (B, T) -> (B, T, C), each layer (B, T, C) -> (B, T, C), and `unembed`
        (B, T, C) -> (B, T, V).
        """
        super().__init__()
        self.config = config
        self.embed = embed
        self.layers = nn.ModuleList(layers)
        self.unembed = unembed

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """(B, T) -> (B, T, V): at each position the logits of the token after it.

        32 x 8 tokens give 256 predictions.
        """
        x = self.embed(tokens, positions)  # (B, T, C)
        for layer in self.layers:
            x = layer(x)  # (B, T, C)
        return self.unembed(x)


def initialise(
    model: LanguageModel,
    spread: Callable[[nn.Linear], float],
    unembedding: float,
) -> None:
    """Give every linear layer normal weights of this `spread` and zero biases, in place.

    `unembedding` is the spread of the last layer's weights. A small one gives logits near 0 and a
    first loss near ln V: an untrained model should not pretend to know.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=spread(module))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(model.unembed.weight, std=unembedding)


class GPT(LanguageModel):
    """The decoder-only transformer with pre-norm blocks (Radford et al. 2019), for characters."""

    def __init__(self, config: GPTConfig) -> None:
        """Set an `Embedding` as `embed`, n_layer blocks and a last norm as `layers`, and `unembed`.

        `unembed` has no bias. Weights begin with a spread of 0.02, those of both embedding tables
        too (`initialise` does the linear layers only), and the unembedding's with 0.002. The
        published size has 10,788,864 parameters.
        """
        embed = Embedding(config)
        blocks = [Block(config) for _ in range(config.n_layer)]
        super().__init__(
            config,
            embed=embed,
            layers=[*blocks, LayerNorm(config.n_embd)],
            unembed=nn.Linear(config.n_embd, config.vocab_size, bias=False),
        )
        initialise(self, spread=lambda layer: 0.02, unembedding=0.002)
        nn.init.normal_(embed.token.weight, std=0.02)
        nn.init.normal_(embed.position.weight, std=0.02)
