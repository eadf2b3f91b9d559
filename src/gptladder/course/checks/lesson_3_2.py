"""Lessons 3.2 and 3.3: softmax, the causal mask, and one head of self-attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .check import Check, Mistake, Opened, Results, agree, all_true, equal, gives, past_stays, rows_sum_to_one
from .lesson_3_1 import averaging_checks
from .pretend_gpu import stays_there
from .probes import call, new_from, normal, prefixed, with_gradients

LARGE = 1e4  # exp of it is infinite, of its negative zero, in any dtype


def weights_of(my: Opened, name: str, scores: Tensor) -> Tensor:
    """What softmax or causal_softmax makes of scores. Mistake unless it has their shape."""
    weights = call(getattr(my("model.attention"), name), scores, whose=name)
    if weights.shape != scores.shape:
        raise Mistake(
            f"{name} gives shape {tuple(weights.shape)} for scores {tuple(scores.shape)}; each score becomes a weight"
        )
    return weights


def row_of(my: Opened, *scores: float) -> Tensor:
    """The weights that softmax gives to these scores."""
    return weights_of(my, "softmax", torch.tensor([scores]))[0]


def softmax_shape(my: Opened) -> Results:
    """One to four dimensions."""
    function = my("model.attention").softmax
    sizes = ((3, 5), (5,), (2, 5, 1), (2, 3, 4, 5))
    return {f"the shape for scores {size}": list(call(function, normal(*size), whose="softmax").shape) for size in sizes}


def softmax_distribution(my: Opened) -> Results:
    """Two to four dimensions, none alike."""
    sizes = ((3, 5), (2, 5, 3), (2, 3, 4, 5))
    return {f"scores {size}": weights_of(my, "softmax", normal(*size)) for size in sizes}


def softmax_example(my: Opened) -> Results:
    """The docstring's numbers."""
    return {"found": row_of(my, 0.0, math.log(3)), "must_be": torch.tensor([0.25, 0.75])}


def softmax_shift(my: Opened) -> Results:
    """The same constant on every score."""
    scores = normal(3, 5)
    return {"found": weights_of(my, "softmax", scores + 2.5), "must_be": weights_of(my, "softmax", scores)}


def softmax_order(my: Opened) -> Results:
    """Scores that rise: the larger one has the larger weight."""
    return {"weights": row_of(my, -2.0, -0.5, 0.0, 0.5, 2.0)}


def softmax_large(my: Opened) -> Results:
    """Rows of very large and very small scores, side by side."""
    rows = [[LARGE, 0.0, -LARGE], [-LARGE, -LARGE, -LARGE], [0.0, 0.0, LARGE], [1.0, 2.0, 3.0]]
    return {"weights": weights_of(my, "softmax", torch.tensor(rows))}


def softmax_masked(my: Opened) -> Results:
    """A score of minus infinity among others."""
    with_mask, without = row_of(my, 1.0, -math.inf, 2.0), row_of(my, 1.0, 2.0)
    return {"found": with_mask, "must_be": torch.stack([without[0], torch.zeros(()), without[1]])}


def softmax_dtype(my: Opened) -> Results:
    """Numbers of single precision in, the same out."""
    torch.set_default_dtype(torch.float32)
    return {"the dtype for float32": str(weights_of(my, "softmax", normal(2, 6, dtype=torch.float32)).dtype)}


def softmax_device(my: Opened) -> Results:
    """Where the scores lie, all is done."""
    return stays_there(my("model.attention").softmax, normal(3, 5), whose="softmax", given="scores")


def softmax_values(my: Opened) -> Results:
    """Outputs and gradients for one to four dimensions."""
    results: Results = {}
    for size in ((5,), (3, 4), (4, 1), (2, 3, 5, 4)):
        results |= prefixed(f"scores {size}", with_gradients(my("model.attention").softmax, normal(*size), whose="softmax"))
    return results


def rises(got: Results, wanted: Results) -> str | None:
    """Of `weights` (N,) for rising scores: each is larger than the one before."""
    steps = got["weights"].diff()
    if (steps > 0).all():
        return None
    at = int((~(steps > 0)).nonzero()[0])
    pair = got["weights"][at : at + 2].tolist()
    return f"a larger score must have a larger weight, but {pair[1]:.6g} follows {pair[0]:.6g} for scores that rise"


def survives(got: Results, wanted: Results) -> str | None:
    """Of `weights`: still distributions, though the scores were huge."""
    if (problem := rows_sum_to_one(got, wanted)) is None:
        return None
    advice = "; exp of 10,000 is infinite and of -10,000 zero: shift each row so that its largest score is 0"
    return f"scores of 10,000 and -10,000: {problem.partition(': ')[2]}{'' if got['weights'].isfinite().all() else advice}"


def causal_shape(my: Opened) -> Results:
    """One text, a batch, a batch of heads; a single token among them."""
    function = my("model.attention").causal_softmax
    sizes = ((5, 5), (3, 1, 1), (2, 3, 4, 4))
    return {f"the shape for scores {size}": list(call(function, normal(*size), whose="causal_softmax").shape) for size in sizes}


def causal_causality(my: Opened) -> Results:
    """What the weights gather, when all that tokens from one position on have a part in is changed: as query, key and value."""
    scores, values = normal(3, 7, 7), normal(3, 7, 2)
    changed = new_from(new_from(scores, 4).mT, 4).mT.contiguous()
    before, after = (weights_of(my, "causal_softmax", given) for given in (scores, changed))
    return {"before": before @ values, "after": after @ new_from(values, 4), "changed": 4}


def causal_distribution(my: Opened) -> Results:
    """Two to four dimensions."""
    sizes = ((5, 5), (3, 1, 1), (2, 7, 7), (2, 3, 4, 4))
    return {f"scores {size}": weights_of(my, "causal_softmax", normal(*size)) for size in sizes}


def causal_future(my: Opened) -> Results:
    """What the weights hold above the diagonal."""
    future = weights_of(my, "causal_softmax", normal(2, 3, 5, 5)).triu(diagonal=1)
    return {"found": future, "must_be": torch.zeros_like(future)}


def causal_equal(my: Opened) -> Results:
    """All scores 0 in one text, all 0.7 in another."""
    scores = torch.tensor([0.0, 0.7]).view(2, 1, 1).expand(2, 4, 4).contiguous()
    rows = [[1 / (t + 1) if s <= t else 0.0 for s in range(4)] for t in range(4)]
    return {"found": weights_of(my, "causal_softmax", scores), "must_be": torch.tensor(rows).expand(2, 4, 4)}


def causal_large(my: Opened) -> Results:
    """Scores of five digits: the future's are far above the past's in some rows, far below in others."""
    return {"weights": weights_of(my, "causal_softmax", normal(2, 6, 6) * LARGE)}


def causal_dtype(my: Opened) -> Results:
    """Numbers of single precision in, the same out."""
    torch.set_default_dtype(torch.float32)
    return {"the dtype for float32": str(weights_of(my, "causal_softmax", normal(2, 6, 6, dtype=torch.float32)).dtype)}


def causal_device(my: Opened) -> Results:
    """Where the scores lie, all is done."""
    return stays_there(my("model.attention").causal_softmax, normal(2, 5, 5), whose="causal_softmax", given="scores")


def causal_values(my: Opened) -> Results:
    """Outputs and gradients for two to four dimensions."""
    results: Results = {}
    for size in ((5, 5), (3, 1, 1), (2, 7, 7), (2, 3, 4, 4)):
        found = with_gradients(my("model.attention").causal_softmax, normal(*size), whose="causal_softmax")
        results |= prefixed(f"scores {size}", found)
    return results


def shuts_out(got: Results, wanted: Results) -> str | None:
    """Of `weights` (..., T, T) for huge scores: nothing on the future, and the past still shares all of it."""
    weights = got["weights"]
    leak = weights.triu(diagonal=1).nan_to_num().abs().max().item()
    if leak > 1e-6:
        return f"with scores of five digits the future gets a weight of {leak:.6g}; only a mask of -inf is below every score"
    problem = rows_sum_to_one(got, wanted)
    advice = "" if weights.isfinite().all() else "; softmax must not see the future's scores at all, so mask them first"
    return f"with scores of five digits {problem.partition(': ')[2]}{advice}" if problem else None


SOFTMAX, CAUSAL = "3.2-softmax", "3.2-causal"
ROWS = "each row becomes weights, none negative, that sum to 1"
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
        agree("with 2.5 added to every score the weights must stay as they were"),
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
    Check(SOFTMAX, "large", "scores of 10,000 do no harm", softmax_large, survives, law=True),
    Check(
        SOFTMAX,
        "masked",
        "a score of minus infinity has the weight 0",
        softmax_masked,
        gives("scores 1, -inf, 2 must become the weights 0.2689, 0, 0.7311"),
        law=True,
    ),
    Check(SOFTMAX, "dtype", "the weights have the scores' dtype", softmax_dtype, equal),
    Check(SOFTMAX, "device", "the work is done where the scores lie", softmax_device, all_true, law=True),
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
        agree("equal scores must share the weight equally among the past"),
        law=True,
    ),
    Check(CAUSAL, "large", "scores of five digits do no harm", causal_large, shuts_out, law=True),
    Check(CAUSAL, "dtype", "the weights have the scores' dtype", causal_dtype, equal),
    Check(CAUSAL, "device", "the work is done where the scores lie", causal_device, all_true, law=True),
    Check(CAUSAL, "values", "softmax over the past of each row, with its gradients", causal_values, equal),
)
