"""How wrong a prediction is, in nats: the unit of natural logarithms, as bits are of logarithms to base 2."""

from __future__ import annotations

import math

from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, T, V), (B, T) -> (): the mean of -ln p(target), p being the softmax of the logits.

    Logits 0, ln 3 give target 1 probability 3/4, a loss of ln 4/3 = 0.288.
    """
    largest = logits.amax(dim=-1, keepdim=True)
    log_total = (logits - largest).exp().sum(dim=-1).log() + largest.squeeze(-1)  # (B, T): ln of the sum of exp(logits)
    chosen = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)  # (B, T): the logit of what really came next
    return (log_total - chosen).mean()


def uniform_loss(vocab_size: int) -> float:
    """The loss of knowing nothing: -ln(1/V), for 65 characters 4.174. An untrained model should begin here."""
    probability = 1 / vocab_size
    return -math.log(probability)
