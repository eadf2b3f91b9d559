"""Writing, one token at a time: ask the model what comes next, choose, append, ask again.

B batch, T time, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .choose import Sampling, choose_next


def fit_context(context: Tensor, block_size: int) -> Tensor:
    """(B, T) -> (B, at most block_size). When the context overflows, its last half stays and grows again.

    Of 9 tokens at block_size 8 the last 4 stay. Sliding by one instead would move every token to another
    position at every step, and no cache could keep up.
    """
    if context.size(1) <= block_size:
        return context
    return context[:, -max(1, block_size // 2) :]


@torch.no_grad()
def generate(
    model: nn.Module, prompt: Tensor, count: int, block_size: int, sampling: Sampling, generator: torch.Generator | None = None
) -> Iterator[Tensor]:
    """(B, T) -> `count` times (B,): continues each row of the prompt (T at least 1), yielding tokens as they come.

    Greedy, with a bigram that has learned "abcabc", the prompt "a" and count 4 give b, c, a, b.
    The model should be in `eval()`. Each step reads the whole context again, as `fit_context` leaves it; the cached
    sampler does not.
    """
    context = prompt
    for _ in range(count):
        context = fit_context(context, block_size)
        logits = model(context)[:, -1]  # (B, T, V) -> (B, V): only the last position's prediction is news
        token = choose_next(logits, sampling, generator)  # (B,)
        yield token
        context = torch.cat([context, token.unsqueeze(1)], dim=1)
