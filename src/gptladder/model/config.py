"""The numbers: six that describe a model, and the recipe that trains it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args


def require(ok: bool, name: str, given: object, allowed: str) -> None:
    """Raise a ValueError that says what was given and what is allowed, unless ok."""
    if not ok:
        raise ValueError(f"{name} is {given}; it must be {allowed}")


@dataclass(frozen=True)
class GPTConfig:
    """A model in six numbers. ValueError if no model can have them."""

    vocab_size: int  # V, different tokens
    block_size: int  # T, the longest context, in tokens
    n_layer: int  # blocks, one after the other
    n_head: int  # H, attention heads side by side
    n_embd: int  # C, numbers that describe a token on its way through
    dropout: float  # share of activations dropped in training

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "0 or more and less than 1")
        require(
            self.n_embd % self.n_head == 0,
            "n_embd",
            self.n_embd,
            f"a multiple of n_head {self.n_head}, a head's share each",
        )

    @property
    def head_size(self) -> int:
        """D, the width of one head: the heads share C evenly."""
        return self.n_embd // self.n_head


Optimizer = Literal["adamw", "muon"]
Precision = Literal["float32", "mixed"]  # mixed: bfloat16 where the device multiplies it natively


@dataclass(frozen=True)
class Recipe:
    """A rung and every setting of its training, as `gptladder train --show` prints them.

    The defaults are the published small settings: five thousand steps of AdamW at a constant rate.
    """

    rung: str
    block_size: int = 8
    n_layer: int = 1
    n_head: int = 1
    n_embd: int = 32
    dropout: float = 0.0
    batch_size: int = 32  # B, blocks in a step
    steps: int = 5000  # updates of the weights
    learning_rate: float = 1e-3
    warmup_steps: int = 0  # steps in which the rate rises to learning_rate
    decay: float = 0.0  # share of the steps, at the end, in which the rate falls towards zero
    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.01
    beta2: float = 0.999  # AdamW's memory of squared gradients
    precision: Precision = "float32"
    evaluate_every: int = 500  # steps between two evaluations

    def __post_init__(self) -> None:
        self.config(vocab_size=1)  # for GPTConfig's checks alone; 1 stands for any vocabulary
        for name, kind in (("optimizer", Optimizer), ("precision", Precision)):
            allowed, given = get_args(kind), getattr(self, name)
            require(given in allowed, name, given, f"one of {', '.join(allowed)}")
        for name in ("batch_size", "steps", "evaluate_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("warmup_steps", "weight_decay"):
            require(0 <= getattr(self, name) < math.inf, name, getattr(self, name), "0 or more")
        rate = self.learning_rate
        require(0 < rate < math.inf, "learning_rate", rate, "more than 0")
        require(0 <= self.decay <= 1, "decay", self.decay, "between 0 and 1")
        require(0 <= self.beta2 < 1, "beta2", self.beta2, "0 or more and less than 1")

    def config(self, vocab_size: int) -> GPTConfig:
        """Return the model that this recipe trains, for an alphabet of that size."""
        n_layer, n_head, n_embd = self.n_layer, self.n_head, self.n_embd
        return GPTConfig(vocab_size, self.block_size, n_layer, n_head, n_embd, self.dropout)
