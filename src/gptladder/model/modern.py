"""The modern rung: a GPT put together from newer parts, and one model for each part to measure what it is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from .block import LayerNorm
from .config import GPTConfig, Optimizer, Recipe
from .dropout import dropout
from .gpt import Embedding, LanguageModel
from .ladder import Rung
from .modern_embeddings import PairEmbedding, TokenEmbedding
from .modern_parts import (
    CappedLinear,
    ModernAttention,
    ModernBlock,
    ModernFeedForward,
    NoRotation,
    RMSNorm,
    Rotary,
    SquaredReLU,
    start_as_gpt2,
    start_from_zero,
)


@dataclass(frozen=True)
class Parts:
    """The choices that make a model: one function for each part, which makes it."""

    embed: Callable[[GPTConfig], nn.Module]
    norm: Callable[[int], nn.Module]  # over C channels
    query_key_norm: Callable[[int], nn.Module]  # over D channels
    rotary: Callable[[int, int], nn.Module]  # head_size, block_size
    activation: Callable[[], nn.Module]
    unembed: Callable[[int, int], nn.Linear]  # n_embd, vocab_size
    initialise: Callable[[LanguageModel], None]


def assemble(config: GPTConfig, parts: Parts) -> LanguageModel:
    """Build a model of these parts. ValueError if they do not fit the config."""

    def block() -> ModernBlock:
        rotary = parts.rotary(config.head_size, config.block_size)
        attention = ModernAttention(config, parts.query_key_norm(config.head_size), rotary)
        return ModernBlock(config.n_embd, parts.norm, attention, ModernFeedForward(config, parts.activation()))

    model = LanguageModel(
        config,
        embed=parts.embed(config),
        layers=[
            *(parts.norm(config.n_embd), dropout(config.dropout)),
            *(block() for _ in range(config.n_layer)),
            parts.norm(config.n_embd),
        ],
        unembed=parts.unembed(config.n_embd, config.vocab_size),
    )
    parts.initialise(model)
    return model


CLASSIC = Parts(
    embed=Embedding,
    norm=LayerNorm,
    query_key_norm=nn.Identity,
    rotary=lambda head_size, block_size: NoRotation(),
    activation=nn.ReLU,
    unembed=partial(nn.Linear, bias=False),
    initialise=start_as_gpt2,
)
SMALL_STEPS: dict[str, dict[str, Any]] = {  # from CLASSIC towards MODERN, one idea each
    "rotary positions": {"embed": TokenEmbedding, "rotary": Rotary},
    "RMS norm": {"norm": RMSNorm},
    "query-key norm": {"query_key_norm": RMSNorm},
    "squared ReLU": {"activation": SquaredReLU},
    "a start from zero": {"initialise": start_from_zero},
    "capped logits": {"unembed": CappedLinear},
    "pairs of tokens": {"embed": lambda config: PairEmbedding(config, Embedding(config))},
}
MODERN = Parts(
    embed=lambda config: PairEmbedding(config, TokenEmbedding(config)),
    norm=RMSNorm,
    query_key_norm=RMSNorm,
    rotary=Rotary,
    activation=SquaredReLU,
    unembed=CappedLinear,
    initialise=start_from_zero,
)


def modern(config: GPTConfig) -> nn.Module:
    """Build the GPT that has all the newer parts."""
    return assemble(config, MODERN)


MODERN_RUNG = Rung("modern", "what came since", modern, "laptop", None, 1.474)  # the mean of three seeds
LAPTOP = Recipe(
    "modern",
    block_size=256,
    n_layer=4,
    n_head=6,
    n_embd=192,
    dropout=0.1,
    batch_size=16,
    steps=1200,
    learning_rate=6e-3,
    warmup_steps=20,
    decay=0.6,
    optimizer="muon",
    weight_decay=0.3,
    beta2=0.99,
    precision="mixed",
    evaluate_every=300,
)
MODERN_RECIPES = {
    # What two cores do in a few minutes.
    "laptop": LAPTOP,
    # A first success in a dozen seconds: small, shallow, at a high rate.
    "sprint": replace(
        LAPTOP,
        block_size=64,
        n_layer=2,
        n_head=4,
        n_embd=128,
        dropout=0.0,
        steps=260,
        evaluate_every=260,
        learning_rate=1.2e-2,
    ),
    # A lower loss in more time: wider, longer, and more dropout against learning by heart.
    "patient": replace(LAPTOP, n_head=8, n_embd=256, dropout=0.2, steps=3200, evaluate_every=400),
}

_SHORT = Recipe(
    "ablate-classic",
    block_size=64,
    n_layer=4,
    n_head=4,
    n_embd=128,
    steps=400,
    learning_rate=4e-3,
    warmup_steps=20,
    decay=0.6,
    weight_decay=0.1,
    beta2=0.99,
    precision="mixed",
    evaluate_every=50,
)


def _ablation(number: int, adds: str, parts: Parts, optimizer: Optimizer = "adamw") -> tuple[Rung, Recipe]:
    name = f"ablate-{number}-{adds.replace(' ', '-')}"
    return Rung(name, adds, partial(assemble, parts=parts), name, None), replace(_SHORT, rung=name, optimizer=optimizer)


# What each idea is worth by itself, and all together: a model and a recipe each, the first the one to compare with.
_IDEAS: list[tuple[str, Parts, Optimizer]] = [
    ("classic", CLASSIC, "adamw"),
    *((idea, replace(CLASSIC, **makers), "adamw") for idea, makers in SMALL_STEPS.items()),
    ("Muon", CLASSIC, "muon"),
    ("all together", MODERN, "muon"),
]
ABLATIONS = tuple(_ablation(number, *idea) for number, idea in enumerate(_IDEAS))
