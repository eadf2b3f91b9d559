"""Writing, one token at a time: ask the model what comes next, choose, append, ask again.

B batch, T time, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .choose import Sampling, choose_next


def fit_context(context: Tensor, block_size: int) -> Tensor:
    """(B, T) -> (B, at most block_size). If the context is too long, only its end is kept.

    The end is block_size / 2 tokens, so that there is room to grow: of 9 tokens at block_size 8 the
    last 4 stay. Dropping one token at every step instead would move all others to new positions,
    and no cache could be used.
    """
    if context.size(1) <= block_size:
        return context
    return context[:, -max(1, block_size // 2) :]


@torch.no_grad()
def generate(
    model: nn.Module,
    prompt: Tensor,
    count: int,
    block_size: int,
    sampling: Sampling,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """(B, T) -> `count` times (B,): continue each row of the prompt, yielding tokens as they come.

    T is at least 1. A greedy bigram that has learned "abcabc" continues the prompt "a" by b, c, a,
    b if count is 4. The model should be in `eval()`. Each step reads the whole context again, after
    `fit_context` has shortened it.
    """
    context = prompt
    for _ in range(count):
        context = fit_context(context, block_size)
        logits = model(context)[:, -1]  # (B, T, V) -> (B, V): only the last prediction is new
        token = choose_next(logits, sampling, generator)  # (B,)
        yield token
        context = torch.cat([context, token.unsqueeze(1)], dim=1)
