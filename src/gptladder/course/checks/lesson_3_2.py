"""Lesson 3.2: softmax, the average by softmax, and the causal mask."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .check import Check, Mistake, Opened, Results, agree, beside, equal, gives, past_stays, rows_sum_to_one
from .lesson_3_1 import averaging_checks
from .pretend_gpu import lies_there, stays_there
from .probes import call, new_from, normal, prefixed, with_gradients

LARGE = 1e4  # exp of it is infinite, of its negative zero, in any dtype


def weights_of(my: Opened, name: str, scores: Tensor) -> Tensor:
    """Return the weights that softmax or causal_softmax gives; raise Mistake unless there is one for each score."""
    weights = call(getattr(my("model.attention"), name), scores, whose=name)
    if weights.shape != scores.shape:
        raise Mistake(
            f"{name} gives shape {tuple(weights.shape)} for scores {tuple(scores.shape)}; each score needs one weight"
        )
    return weights


def row_of(my: Opened, *scores: float) -> Tensor:
    """Return the weights that softmax gives to these scores."""
    return weights_of(my, "softmax", torch.tensor([scores]))[0]


def softmax_shape(my: Opened) -> Results:
    """Return the weights' shapes for one to four dimensions."""
    function = my("model.attention").softmax
    sizes = ((3, 5), (5,), (2, 5, 1), (2, 3, 4, 5))
    return {f"the shape for scores {size}": list(call(function, normal(*size), whose="softmax").shape) for size in sizes}


def softmax_distribution(my: Opened) -> Results:
    """Return weights for two to four dimensions, with sizes that differ."""
    sizes = ((3, 5), (2, 5, 3), (2, 3, 4, 5))
    return {f"scores {size}": weights_of(my, "softmax", normal(*size)) for size in sizes}


def softmax_example(my: Opened) -> Results:
    """Return the weights for the docstring's scores, beside those that it gives."""
    return beside(row_of(my, 0.0, math.log(3)), torch.tensor([0.25, 0.75]))


def softmax_shift(my: Opened) -> Results:
    """Return the weights with the same constant added to every score, beside those without it."""
    scores = normal(3, 5)
    return beside(weights_of(my, "softmax", scores + 2.5), weights_of(my, "softmax", scores))


def softmax_order(my: Opened) -> Results:
    """Return the weights for scores that rise."""
    return {"weights": row_of(my, -2.0, -0.5, 0.0, 0.5, 2.0)}


def softmax_large(my: Opened) -> Results:
    """Return the weights for very large and very small scores, in one row and in neighbouring rows."""
    rows = [[LARGE, 0.0, -LARGE], [-LARGE, -LARGE, -LARGE], [0.0, 0.0, LARGE], [1.0, 2.0, 3.0]]
    return {"weights": weights_of(my, "softmax", torch.tensor(rows))}


def softmax_masked(my: Opened) -> Results:
    """Return the weights with a score of minus infinity among others, beside those without it and a 0."""
    with_mask, without = row_of(my, 1.0, -math.inf, 2.0), row_of(my, 1.0, 2.0)
    return beside(with_mask, torch.stack([without[0], torch.zeros(()), without[1]]))


def softmax_dtype(my: Opened) -> Results:
    """Return the weights' dtype for single precision."""
    torch.set_default_dtype(torch.float32)
    return {"the dtype for float32": str(weights_of(my, "softmax", normal(2, 6, dtype=torch.float32)).dtype)}


def softmax_device(my: Opened) -> Results:
    """Return where the work is done for scores on a GPU."""
    return stays_there(my("model.attention").softmax, normal(3, 5), whose="softmax")


def softmax_values(my: Opened) -> Results:
    """Return weights and gradients for one to four dimensions."""
    results: Results = {}
    for size in ((5,), (3, 4), (4, 1), (2, 3, 5, 4)):
        results |= prefixed(f"scores {size}", with_gradients(my("model.attention").softmax, normal(*size), whose="softmax"))
    return results


def rises(got: Results, wanted: Results) -> str | None:
    """Judge `weights` (N,) for scores that rise: each must be larger than the one before."""
    steps = got["weights"].diff()
    if (steps > 0).all():
        return None
    at = int((~(steps > 0)).nonzero()[0])
    pair = got["weights"][at : at + 2].tolist()
    return f"a larger score must have a larger weight, but for scores that rise the weight {pair[1]:.6g} follows {pair[0]:.6g}"


def survives(got: Results, wanted: Results) -> str | None:
    """Judge `weights` for huge scores: each row must still be a distribution."""
    if (problem := rows_sum_to_one(got, wanted)) is None:
        return None
    advice = "; exp(10,000) is infinite and exp(-10,000) is 0: shift each row so that its largest score is 0"
    return f"with scores of 10,000 and -10,000 {problem.partition(': ')[2]}{'' if got['weights'].isfinite().all() else advice}"


def causal_shape(my: Opened) -> Results:
    """Return the weights' shapes for one text, for a batch of single tokens, and for a batch of heads."""
    function = my("model.attention").causal_softmax
    sizes = ((5, 5), (3, 1, 1), (2, 3, 4, 4))
    return {f"the shape for scores {size}": list(call(function, normal(*size), whose="causal_softmax").shape) for size in sizes}


def causal_causality(my: Opened) -> Results:
    """Return weights @ values for some scores, and with every score and value of the tokens from one position on changed."""
    scores, values = normal(3, 7, 7), normal(3, 7, 2)
    changed = new_from(new_from(scores, 4).mT, 4).mT.contiguous()
    before, after = (weights_of(my, "causal_softmax", given) for given in (scores, changed))
    return {"before": before @ values, "after": after @ new_from(values, 4), "changed": 4}


def causal_distribution(my: Opened) -> Results:
    """Return weights for two to four dimensions."""
    sizes = ((5, 5), (3, 1, 1), (2, 7, 7), (2, 3, 4, 4))
    return {f"scores {size}": weights_of(my, "causal_softmax", normal(*size)) for size in sizes}


def causal_future(my: Opened) -> Results:
    """Return the weights above the diagonal, beside zeros."""
    future = weights_of(my, "causal_softmax", normal(2, 3, 5, 5)).triu(diagonal=1)
    return beside(future, torch.zeros_like(future))


def causal_equal(my: Opened) -> Results:
    """Return the weights when all scores are 0 in one text and 0.7 in another, beside equal shares."""
    scores = torch.tensor([0.0, 0.7]).view(2, 1, 1).expand(2, 4, 4).contiguous()
    rows = [[1 / (t + 1) if s <= t else 0.0 for s in range(4)] for t in range(4)]
    return beside(weights_of(my, "causal_softmax", scores), torch.tensor(rows).expand(2, 4, 4))


def causal_large(my: Opened) -> Results:
    """Return the weights for scores of five digits: in some rows the future's are far larger than the past's."""
    return {"weights": weights_of(my, "causal_softmax", normal(2, 6, 6) * LARGE)}


def causal_dtype(my: Opened) -> Results:
    """Return the weights' dtype for single precision."""
    torch.set_default_dtype(torch.float32)
    return {"the dtype for float32": str(weights_of(my, "causal_softmax", normal(2, 6, 6, dtype=torch.float32)).dtype)}


def causal_device(my: Opened) -> Results:
    """Return where the work is done for scores on a GPU."""
    return stays_there(my("model.attention").causal_softmax, normal(2, 5, 5), whose="causal_softmax")


def causal_values(my: Opened) -> Results:
    """Return weights and gradients for two to four dimensions."""
    results: Results = {}
    for size in ((5, 5), (3, 1, 1), (2, 7, 7), (2, 3, 4, 4)):
        found = with_gradients(my("model.attention").causal_softmax, normal(*size), whose="causal_softmax")
        results |= prefixed(f"scores {size}", found)
    return results


def shuts_out(got: Results, wanted: Results) -> str | None:
    """Judge `weights` (..., T, T) for huge scores: the future gets no weight, and each row still sums to 1."""
    weights = got["weights"]
    leak = weights.triu(diagonal=1).nan_to_num().abs().max().item()
    if leak > 1e-6:
        return f"with scores of five digits the future gets a weight of {leak:.6g}; only a mask of -inf is below every score"
    problem = rows_sum_to_one(got, wanted)
    advice = "" if weights.isfinite().all() else "; softmax must not see the future's scores at all, so mask them first"
    return f"with scores of five digits {problem.partition(': ')[2]}{advice}" if problem else None


SOFTMAX, CAUSAL = "3.2-softmax", "3.2-causal"
ROWS = "each row becomes weights that sum to 1, and none is negative"
CHECKS = (
    *averaging_checks("3.2-average", "average_softmax"),
    Check(SOFTMAX, "shape", "each score becomes a weight", softmax_shape, equal),
    Check(SOFTMAX, "distribution", ROWS, softmax_distribution, rows_sum_to_one, law=True),
    Check(SOFTMAX, "order", "a larger score has a larger weight", softmax_order, rises, law=True),
    Check(
        SOFTMAX,
        "shift",
        "the same constant on every score changes nothing",
        softmax_shift,
        agree("when 2.5 is added to every score, the weights must stay as they were"),
        law=True,
    ),
    Check(
        SOFTMAX,
        "example",
        "0, ln 3 become 1/4, 3/4",
        softmax_example,
        gives("scores 0, ln 3 must become the weights 0.25, 0.75"),
        law=True,
    ),
    Check(SOFTMAX, "large", "scores of 10,000 give weights, too", softmax_large, survives, law=True),
    Check(
        SOFTMAX,
        "masked",
        "a score of minus infinity has the weight 0",
        softmax_masked,
        gives("scores 1, -inf, 2 must become the weights 0.2689, 0, 0.7311"),
        law=True,
    ),
    Check(SOFTMAX, "dtype", "the weights have the scores' dtype", softmax_dtype, equal),
    Check(
        SOFTMAX, "device", "the work is done where the scores lie", softmax_device, lies_there("softmax", "scores"), law=True
    ),
    Check(SOFTMAX, "values", "exp(score) / sum of exp over the last dimension, with its gradients", softmax_values, equal),
    Check(CAUSAL, "shape", "(..., T, T) stays (..., T, T)", causal_shape, equal),
    Check(CAUSAL, "causality", "no token's row depends on a later token", causal_causality, past_stays, law=True),
    Check(CAUSAL, "distribution", ROWS, causal_distribution, rows_sum_to_one, law=True),
    Check(
        CAUSAL,
        "future",
        "the future has the weight 0",
        causal_future,
        agree("above the diagonal every weight must be 0"),
        law=True,
    ),
    Check(
        CAUSAL,
        "equal",
        "equal scores give row t the weights 1/(t + 1) up to t",
        causal_equal,
        agree("when all scores are equal, row t must give each of positions 0..t the weight 1/(t + 1)"),
        law=True,
    ),
    Check(CAUSAL, "large", "scores of five digits give no weight to the future", causal_large, shuts_out, law=True),
    Check(CAUSAL, "dtype", "the weights have the scores' dtype", causal_dtype, equal),
    Check(
        CAUSAL,
        "device",
        "the work is done where the scores lie",
        causal_device,
        lies_there("causal_softmax", "scores"),
        law=True,
    ),
    Check(CAUSAL, "values", "softmax over the past of each row, with its gradients", causal_values, equal),
)
