"""Lesson 2.1: a model that is one table, and how wrong it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .check import Check, Mistake, Opened, Results, agree, beside, cases, difference, equal
from .pretend_gpu import lies_there, stays_there
from .probes import NO_GRADIENT, SIZES, call, config, fill, normal, number, prefixed, tokens, with_gradients

V = 11
FORWARD, LOSS, UNIFORM = "Bigram.forward", "cross_entropy", "uniform_loss"
HUGE = 1e4  # exp overflows from 710 on, even in float64


def _bigram(my: Opened) -> nn.Module:
    """Return a bigram in float32: the lookup is exact in it, and a one-hot row made with .float() fits."""
    torch.set_default_dtype(torch.float32)
    return fill(my("model.bigram").Bigram(config(my, vocab_size=V))).float()


def bigram_shapes(my: Opened) -> Results:
    """Return the shapes for sizes that are all different, a single token among them."""
    model = _bigram(my)
    shapes = {(B, T): call(model, tokens(B, T, vocab_size=V), whose=FORWARD).shape for B, T, _, _ in SIZES}
    return {f"the shape for {B} rows of {T} tokens": list(shape) for (B, T), shape in shapes.items()}


def bigram_values(my: Opened) -> Results:
    """Return the logits, and the gradient of the table."""
    results: Results = {}
    for B, T, _, _ in SIZES:
        model = _bigram(my)
        found = with_gradients(model, tokens(B, T, vocab_size=V), whose=FORWARD, module=model)
        results |= prefixed(f"B = {B}, T = {T}, V = {V}", found)
    return results


def bigram_alone(my: Opened) -> Results:
    """The logits before and after one token is changed."""
    model, x = _bigram(my), tokens(2, 6, vocab_size=V)
    other = x.clone()
    other[:, 2] = (x[:, 2] + 1) % V
    return {"before": call(model, x, whose=FORWARD), "after": call(model, other, whose=FORWARD), "changed": 2}


def moves_alone(got: Results, wanted: Results) -> str | None:
    """Judge `bigram_alone`: the logits at the changed position move, and no others."""
    before, after, changed = got["before"], got["after"], got["changed"]
    if before.shape != after.shape or before.dim() < 2 or before.size(1) <= changed:
        return f"shape {tuple(before.shape)}, where position is dimension 1"
    moved = [t for t in range(before.size(1)) if not torch.equal(before[:, t], after[:, t])]
    if strange := [t for t in moved if t != changed]:
        return f"token {changed} was changed, and the logits at position {strange[0]} moved: only its own should"
    return None if moved else f"token {changed} was changed, and its logits did not move"


def bigram_anywhere(my: Opened) -> Results:
    """Return the logits of one token at every position, without `positions` and with them."""
    model, x = _bigram(my), torch.full((1, 5), 3)
    plain = call(model, x, whose=FORWARD)
    everywhere = beside(plain, plain[:, :1].expand_as(plain), "at every position")
    return everywhere | beside(call(model, x, torch.arange(5), whose=FORWARD), plain, "with `positions` and without")


def _logits(B: int, T: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    return 2 * normal(B, T, V, seed=seed), tokens(B, T, vocab_size=V, seed=seed + 1)


def _loss(my: Opened, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the learner's loss; raise Mistake if it is not a single number."""
    loss = call(my("training.loss").cross_entropy, logits, targets, whose=LOSS)
    if loss.dim() or not loss.is_floating_point():
        given = f"a tensor of shape {tuple(loss.shape)} and dtype {str(loss.dtype).removeprefix('torch.')}"
        raise Mistake(f"{LOSS} returned {given}; it must return the mean of all positions, one float, of shape ()")
    return loss


def loss_uniform(my: Opened) -> Results:
    """The losses of logits that are all alike."""
    results: Results = {}
    for size, level in ((V, 0.0), (65, 0.0), (2, -3.0)):
        loss = _loss(my, torch.full((2, 3, size), level), tokens(2, 3, vocab_size=size))
        results |= beside(loss.item(), math.log(size), str(size))
    return results


def loss_constant(my: Opened) -> Results:
    """The loss before and after a number is added to all logits of a position, another one at each."""
    logits, targets = _logits(3, 4)
    return beside(_loss(my, logits + 5 * normal(3, 4, 1, seed=7), targets), _loss(my, logits, targets))


def loss_large(my: Opened) -> Results:
    """Return the losses of logits that exp cannot take, each position alone, then all together."""
    logits = torch.zeros(1, 4, 5)
    logits[0, 0], logits[0, 1], logits[0, 2, 1], logits[0, 3, 1] = HUGE, -HUGE, HUGE, HUGE
    targets = torch.tensor([[2, 2, 1, 2]])
    right = (math.log(5), math.log(5), 0.0, HUGE)
    names = (
        "all logits 10,000",
        "all logits -10,000",
        "the target's logit 10,000 and the others 0",
        "the target's logit 0 and another 10,000",
    )
    results: Results = {}
    for t, name in enumerate(names):
        results |= beside(_loss(my, logits[:, [t]], targets[:, [t]]).item(), right[t], name)
    together = _loss(my, logits, targets).item()
    return results | beside(together, sum(right) / 4, "positions of 10,000 and of -10,000 in one batch")


def stays_finite(got: Results, wanted: Results) -> str | None:
    """Judge `loss_large`: every loss is a number, and the right one."""
    for case, found, right in cases(got):
        if not math.isfinite(found):
            why = "exp of a large number is infinite, and exp of a very negative one is 0, which has no logarithm"
            return f"with {case} the loss is {found}, where {right:.6g} is right: {why}"
        if problem := difference(found, right):
            return f"with {case} the loss is {problem}"
    return None


def loss_mean(my: Opened) -> Results:
    """The loss of a batch, and of the same batch with all rows or all positions taken twice."""
    logits, targets = _logits(3, 4)
    once, results = _loss(my, logits, targets), Results()
    for what, dim in (("rows", 0), ("positions", 1)):
        results |= beside(_loss(my, torch.cat([logits] * 2, dim), torch.cat([targets] * 2, dim)), once, what)
    return results


def loss_gradient(my: Opened) -> Results:
    """The gradient of the logits, beside the formula with torch's own softmax."""
    results: Results = {}
    for B, T, _, _ in SIZES:
        logits, targets = _logits(B, T)
        logits.requires_grad_()
        loss = _loss(my, logits, targets)
        if not loss.requires_grad:
            raise Mistake(f"{LOSS} returned {NO_GRADIENT}")
        loss.backward()
        with torch.no_grad():
            right = (logits.softmax(dim=-1) - nn.functional.one_hot(targets, V)) / (B * T)
        results |= beside(torch.zeros_like(logits) if logits.grad is None else logits.grad, right, f"B = {B}, T = {T}")
    return results


def loss_values(my: Opened) -> Results:
    """Return losses and gradients at several sizes."""
    results: Results = {}
    for B, T, _, _ in SIZES:
        found = with_gradients(my("training.loss").cross_entropy, *_logits(B, T), whose=LOSS)
        results |= prefixed(f"B = {B}, T = {T}, V = {V}", found)
    return results


def loss_slices(my: Opened) -> Results:
    """The loss of targets that are a slice of a longer block, as get_batch gives them, and of the same ones in a row."""
    blocks, logits = tokens(3, 6, vocab_size=V), normal(3, 5, V)
    whole = _loss(my, logits, blocks[:, 1:].contiguous())
    try:
        return beside(_loss(my, logits, blocks[:, 1:]), whole)
    except RuntimeError as error:
        if "view size is not compatible" not in str(error):
            raise
        raise Mistake(
            "targets that are a slice, as get_batch may give them, cannot be viewed in another shape; use reshape"
        ) from None


def loss_dtype(my: Opened) -> Results:
    """The dtype of the loss of float32 logits."""
    torch.set_default_dtype(torch.float32)
    logits, targets = _logits(2, 3)
    return {"the dtype for float32": str(_loss(my, logits.float(), targets).dtype)}


def loss_device(my: Opened) -> Results:
    """Return where the work would be done with logits and targets on a GPU."""
    return stays_there(my("training.loss").cross_entropy, *_logits(2, 3), whose=LOSS)


def _uniform(my: Opened, size: int) -> float:
    return number(my("training.loss").uniform_loss(size), UNIFORM)


def uniform_values(my: Opened) -> Results:
    """Return the losses for some sizes."""
    return {f"{UNIFORM}({size})": _uniform(my, size) for size in (65, 2, 1, 50257)}


def uniform_agrees(my: Opened) -> Results:
    """The result for some sizes, and torch's own loss of logits that are all zero."""
    results: Results = {}
    for size in (2, 5, 65):
        loss = nn.functional.cross_entropy(torch.zeros(1, size), torch.tensor([1])).item()
        results |= beside(_uniform(my, size), loss, str(size))
    return results


def uniform_product(my: Opened) -> Results:
    """Return the losses of two independent guesses, beside that of one guess among all pairs."""
    return beside(_uniform(my, 6 * 7), _uniform(my, 6) + _uniform(my, 7))


def uniform_certain(my: Opened) -> Results:
    """Return the loss for a single token, beside 0."""
    return beside(_uniform(my, 1), 0.0)


BIGRAM, ENTROPY, GUESS = "2.1-bigram", "2.1-loss", "2.1-uniform"
CHECKS = (
    Check(BIGRAM, "shape", "(B, T) becomes (B, T, V)", bigram_shapes, equal),
    Check(BIGRAM, "alone", "the logits at a position follow from its own token alone", bigram_alone, moves_alone, law=True),
    Check(
        BIGRAM,
        "anywhere",
        "a token has the same logits wherever it stands",
        bigram_anywhere,
        agree("the same token must have the same logits {case}"),
        law=True,
    ),
    Check(BIGRAM, "values", "each token's row of the table, with the table's gradient", bigram_values, equal),
    Check(
        ENTROPY,
        "uniform",
        "V equal logits give ln V",
        loss_uniform,
        agree("with {case} equal logits the loss must be ln {case}"),
        law=True,
    ),
    Check(
        ENTROPY,
        "constant",
        "a number added to all logits of a position changes nothing",
        loss_constant,
        agree("a number added to all logits of a position changes no probability, so the loss must stay as it was"),
        law=True,
    ),
    Check(
        ENTROPY,
        "mean",
        "the mean over all positions of all rows",
        loss_mean,
        agree("taking all {case} twice leaves a mean as it is, so the loss must stay as it was"),
        law=True,
    ),
    Check(
        ENTROPY,
        "gradient",
        "its gradient is (softmax - one-hot target) / number of targets",
        loss_gradient,
        agree("{case}: the gradient must be (softmax of the logits - 1 at the target) / (B T)"),
        law=True,
    ),
    Check(ENTROPY, "large logits", "logits of 10,000 do no harm", loss_large, stays_finite, law=True),
    Check(ENTROPY, "values", "the mean of -ln p(target), with its gradient", loss_values, equal),
    Check(
        ENTROPY,
        "slices",
        "targets may be a slice of a longer block",
        loss_slices,
        agree("targets that are a slice of a longer block must have the loss of the same targets by themselves"),
        law=True,
    ),
    Check(ENTROPY, "dtype", "the loss has the logits' dtype", loss_dtype, equal),
    Check(ENTROPY, "device", "the loss lies where the logits lie", loss_device, lies_there(LOSS, "logits"), law=True),
    Check(
        GUESS,
        "certain",
        "a single token is no surprise: 0",
        uniform_certain,
        agree("with a single token nothing is left to guess, so uniform_loss(1) must be 0"),
        law=True,
    ),
    Check(
        GUESS,
        "product",
        "guessing among 42 costs what guessing among 6 and among 7 costs",
        uniform_product,
        agree("uniform_loss(42) must be uniform_loss(6) + uniform_loss(7), since two such guesses are one among 42"),
        law=True,
    ),
    Check(
        GUESS,
        "agrees",
        "it is the cross-entropy of V equal logits",
        uniform_agrees,
        agree("uniform_loss({case}) must be the loss of {case} equal logits"),
        law=True,
    ),
    Check(GUESS, "values", "-ln(1/V) as a float", uniform_values, equal),
)
