"""The loss: how wrong a prediction is.

Its unit is the nat, which goes with natural logarithms as the bit goes with base 2.
"""

from __future__ import annotations

import math

from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, T, V), (B, T) -> (): the mean of -ln p(target), where p is the softmax of the logits.

    Logits 0, ln 3 give target 1 probability 3/4, a loss of ln 4/3 = 0.288.
    """
    largest = logits.amax(dim=-1, keepdim=True)
    # (B, T): ln of the sum of exp(logits)
    log_total = (logits - largest).exp().sum(dim=-1).log() + largest.squeeze(-1)
    # (B, T): the logit of what really came next
    chosen = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return (log_total - chosen).mean()


def uniform_loss(vocab_size: int) -> float:
    """Return the loss of knowing nothing, -ln(1/V): 4.174 for 65 characters.

    An untrained model should begin here.
    """
    probability = 1 / vocab_size
    return -math.log(probability)
