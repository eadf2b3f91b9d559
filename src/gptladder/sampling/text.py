"""From a prompt to a stream of text."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ..checkpoint import Run
from ..model.efficient import fuse
from ..tokenizer import CharTokenizer
from .cached import generate_cached
from .choose import Sampling


def encode_prompt(tokenizer: CharTokenizer, prompt: str) -> list[int]:
    """The prompt's tokens; an empty one begins a new line (or, in an alphabet without one, with its first character).

    ValueError names a character that is not in the alphabet.
    """
    return tokenizer.encode(prompt or ("\n" if "\n" in tokenizer.ids else tokenizer.alphabet[0]))


def stream_text(
    model: nn.Module,
    tokenizer: CharTokenizer,
    block_size: int,
    prompt: str = "",
    count: int = 500,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """`count` characters that follow the prompt, each as soon as it is chosen; the same seed writes the same text."""
    model.eval()
    device = next(model.parameters()).device
    tokens = torch.tensor([encode_prompt(tokenizer, prompt)], device=device)
    generator = torch.Generator(device).manual_seed(seed)
    for token in generate_cached(model, tokens, count, block_size, sampling or Sampling(), generator):
        yield tokenizer.decode(token.tolist())


def stream_run(
    run: Run,
    prompt: str = "",
    count: int = 500,
    sampling: Sampling | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[str]:
    """`stream_text` by the best model of a run folder, fused. It is loaded at once: InputError if it is damaged."""
    model = fuse(run.model()).to(device)
    return stream_text(model, run.tokenizer, run.model_config.block_size, prompt, count, sampling, seed)
