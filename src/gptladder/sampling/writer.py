"""Streams of text that continue a prompt."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..checkpoint import Run
from ..tokenizer import CharTokenizer
from .choose import Sampling
from .decoding import for_writing, generate_cached

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}  # what weights may be kept in


def encode_prompt(tokenizer: CharTokenizer, prompt: str) -> list[int]:
    """Return the prompt's tokens. An empty prompt stands for a new line, or for the first character of an alphabet without one.

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
    """Yield `count` characters that follow the prompt, each as soon as it is chosen. The same seed writes the same text."""
    for token in _tokens(model, tokenizer, block_size, prompt, count, sampling, seed, samples=1):
        yield tokenizer.decode(token.tolist())


def write_texts(
    model: nn.Module,
    tokenizer: CharTokenizer,
    block_size: int,
    samples: int,
    prompt: str = "",
    count: int = 500,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> list[str]:
    """Return several continuations of the same prompt, written side by side: 64 of them take a few times as long as one."""
    tokens = list(_tokens(model, tokenizer, block_size, prompt, count, sampling, seed, samples))
    if not tokens:
        return [""] * samples
    return [tokenizer.decode(row.tolist()) for row in torch.stack(tokens, dim=1)]


def _tokens(
    model: nn.Module,
    tokenizer: CharTokenizer,
    block_size: int,
    prompt: str,
    count: int,
    sampling: Sampling | None,
    seed: int,
    samples: int,
) -> Iterator[Tensor]:
    model.eval()
    device = next(model.parameters()).device
    tokens = torch.tensor([encode_prompt(tokenizer, prompt)] * samples, device=device)
    generator = torch.Generator(device).manual_seed(seed)
    return generate_cached(model, tokens, count, block_size, sampling or Sampling(), generator)


def load_for_writing(run: Run, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return the best model of a run folder, rearranged for decoding. InputError if the folder is damaged."""
    return for_writing(run.model().to(device), dtype)


def stream_run(
    run: Run,
    prompt: str = "",
    count: int = 500,
    sampling: Sampling | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Iterator[str]:
    """Do `stream_text` with the best model of a run folder. It is loaded at once: InputError if the folder is damaged."""
    model = load_for_writing(run, device, dtype)
    return stream_text(model, run.tokenizer, run.model_config.block_size, prompt, count, sampling, seed)
