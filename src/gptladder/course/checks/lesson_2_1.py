"""Lesson 2.1: a model that is one table, and how wrong it is."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .check import Check, Mistake, Opened, Results, all_true, difference, equal
from .pretend_gpu import stays_there
from .probes import SIZES, call, config, fill, normal, prefixed, tokens, with_gradients

V = 11
FORWARD, LOSS = "Bigram.forward", "cross_entropy"
HUGE = 1e4  # exp overflows from 710 on, even in float64


def _bigram(my: Opened) -> nn.Module:
    """In float32: the lookup is exact in it, and a one-hot row made with .float() fits."""
    torch.set_default_dtype(torch.float32)
    return fill(my("model.bigram").Bigram(config(my, vocab_size=V))).float()


def bigram_shapes(my: Opened) -> Results:
    """Sizes that are all different, a single token among them."""
    model = _bigram(my)
    shapes = {(B, T): call(model, tokens(B, T, vocab_size=V), whose=FORWARD).shape for B, T, _, _ in SIZES}
    return {f"the shape for {B} rows of {T} tokens": list(shape) for (B, T), shape in shapes.items()}


def bigram_values(my: Opened) -> Results:
    """Logits, and the gradient of the table."""
    results: Results = {}
    for B, T, _, _ in SIZES:
        model = _bigram(my)
        found = with_gradients(model, tokens(B, T, vocab_size=V), whose=FORWARD, module=model)
        results |= prefixed(f"B = {B}, T = {T}, V = {V}", found)
    return results


def bigram_alone(my: Opened) -> Results:
    """One token is changed; all other positions should not notice."""
    model, x = _bigram(my), tokens(2, 6, vocab_size=V)
    changed = x.clone()
    changed[:, 2] = (x[:, 2] + 1) % V
    moved = call(model, x, whose=FORWARD) != call(model, changed, whose=FORWARD)
    where = [t for t in range(6) if moved.size(1) > t and moved[:, t].any()]
    if strange := [t for t in where if t != 2]:
        return {"alone": f"token 2 was changed, and the logits at position {strange[0]} moved: only its own should"}
    return {"alone": "" if where else "token 2 was changed, and its logits did not move"}


def bigram_anywhere(my: Opened) -> Results:
    """The same token at every place, with positions and without."""
    model, x = _bigram(my), torch.full((1, 5), 3)
    plain = call(model, x, whose=FORWARD)
    if (plain != plain[:, :1]).any():
        return {"anywhere": "the same token has other logits at another place; its row of the table is the same everywhere"}
    placed = tensor_or_none(model(x, torch.arange(5)))
    same = placed is not None and torch.equal(placed, plain)
    return {"anywhere": "" if same else "with `positions` given the logits are others; this model ignores them"}


def tensor_or_none(value: Any) -> Tensor | None:  # noqa: ANN401  what a learner returned
    """The value if it is a tensor."""
    return value if isinstance(value, Tensor) else None


def _logits(B: int, T: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    return 2 * normal(B, T, V, seed=seed), tokens(B, T, vocab_size=V, seed=seed + 1)


def _loss(my: Opened, logits: Tensor, targets: Tensor) -> Tensor:
    """The learner's loss. Mistake if it is no single number."""
    loss = call(my("training.loss").cross_entropy, logits, targets, whose=LOSS)
    if loss.dim() or not loss.is_floating_point():
        raise Mistake(f"{LOSS} returned a tensor of shape {tuple(loss.shape)} and {loss.dtype}; the mean is one number, ()")
    return loss


def loss_uniform(my: Opened) -> Results:
    """Logits that are all alike."""
    results = {}
    for size, level in ((V, 0.0), (65, 0.0), (2, -3.0)):
        loss = _loss(my, torch.full((2, 3, size), level), tokens(2, 3, vocab_size=size)).item()
        problem = difference(loss, math.log(size))
        results[str(size)] = f"with {size} equal logits the loss must be ln {size}, but it is {problem}" if problem else ""
    return dict(results)


def loss_constant(my: Opened) -> Results:
    """A number added to all logits of a position, another one at each."""
    logits, targets = _logits(3, 4)
    moved = _loss(my, logits + 5 * normal(3, 4, 1, seed=7), targets)
    problem = difference(moved, _loss(my, logits, targets))
    return {
        "constant": f"a number added to all logits of a position changes no probability, but the loss: {problem}"
        if problem
        else ""
    }


def loss_large(my: Opened) -> Results:
    """Logits that exp cannot take, those of one position far from those of the next."""
    logits = torch.zeros(1, 4, 5)
    logits[0, 0], logits[0, 1], logits[0, 2, 1] = HUGE, -HUGE, HUGE
    logits[0, 3, 1] = HUGE
    results = {}
    for what, t, target, right in (
        ("all logits 10,000", 0, 2, math.log(5)),
        ("all logits -10,000", 1, 2, math.log(5)),
        ("the target's logit 10,000 and the others 0", 2, 1, 0.0),
        ("the target's logit 0 and another 10,000", 3, 2, HUGE),
    ):
        found = _loss(my, logits[:, t : t + 1], torch.tensor([[target]])).item()
        results[what] = _large_problem(what, found, right)
    found = _loss(my, logits, torch.tensor([[2, 2, 1, 2]])).item()
    results["together"] = _large_problem("positions of 10,000 and of -10,000 in one batch", found, (2 * math.log(5) + HUGE) / 4)
    return dict(results)


def _large_problem(what: str, found: float, right: float) -> str:
    if not math.isfinite(found):
        return f"with {what} the loss is {found}: exp overflows, or rounds to 0, which has no log; {right:.6g} is right"
    return f"with {what} the loss is {problem}" if (problem := difference(found, right)) else ""


def loss_mean(my: Opened) -> Results:
    """The same batch twice, and rows of another length."""
    logits, targets = _logits(3, 4)
    once = _loss(my, logits, targets)
    for what, dim in (("rows", 0), ("positions", 1)):
        twice = _loss(my, torch.cat([logits, logits], dim), torch.cat([targets, targets], dim))
        if problem := difference(twice, once):
            return {"mean": f"taking all {what} twice leaves a mean as it is, but the loss changes: {problem}"}
    return {"mean": ""}


def loss_gradient(my: Opened) -> Results:
    """The law of its slope, with torch's own softmax."""
    results = {}
    for B, T, _, _ in SIZES:
        logits, targets = _logits(B, T)
        logits.requires_grad_()
        loss = _loss(my, logits, targets)
        if not loss.requires_grad:
            raise Mistake(f"{LOSS} returned a tensor without a gradient: was it detached, or made anew from numbers?")
        loss.backward()
        with torch.no_grad():
            right = (logits.softmax(dim=-1) - nn.functional.one_hot(targets, V)) / (B * T)
        problem = difference(torch.zeros_like(logits) if logits.grad is None else logits.grad, right)
        what = f"B = {B}, T = {T}: the gradient must be (softmax of the logits - 1 at the target) / (B T), but {problem}"
        results[f"{B}, {T}"] = what if problem else ""
    return dict(results)


def loss_values(my: Opened) -> Results:
    """Losses and gradients at several sizes."""
    results: Results = {}
    for B, T, _, _ in SIZES:
        found = with_gradients(my("training.loss").cross_entropy, *_logits(B, T), whose=LOSS)
        results |= prefixed(f"B = {B}, T = {T}, V = {V}", found)
    return results


def loss_slices(my: Opened) -> Results:
    """Targets as get_batch gives them: a slice of a longer block."""
    blocks = tokens(3, 6, vocab_size=V)
    logits = normal(3, 5, V)
    whole = _loss(my, logits, blocks[:, 1:].contiguous()).item()
    try:
        sliced = _loss(my, logits, blocks[:, 1:]).item()
    except RuntimeError as error:
        if "view size is not compatible" not in str(error):
            raise
        raise Mistake(
            "targets that are a slice, as get_batch may give them, cannot be viewed in another shape; use reshape"
        ) from None
    return {"the loss of a slice": "" if difference(sliced, whole) is None else "a slice of the same targets has another loss"}


def loss_dtype(my: Opened) -> Results:
    """Single precision in, the same out."""
    torch.set_default_dtype(torch.float32)
    logits, targets = _logits(2, 3)
    return {"the dtype for float32": str(_loss(my, logits.float(), targets).dtype)}


def loss_device(my: Opened) -> Results:
    """Logits and targets on another device."""
    return stays_there(my("training.loss").cross_entropy, *_logits(2, 3), whose=LOSS, given="logits")


def _uniform(my: Opened, size: int) -> float:
    """What uniform_loss gives. Mistake if it is no number."""
    found = my("training.loss").uniform_loss(size)
    if isinstance(found, bool) or not isinstance(found, int | float):
        given = "nothing (is a `return` missing?)" if found is None else f"a {type(found).__name__}"
        raise Mistake(f"uniform_loss returned {given}; it must return a number, a float")
    return float(found)


def uniform_values(my: Opened) -> Results:
    """Some sizes."""
    return {f"uniform_loss({size})": _uniform(my, size) for size in (65, 2, 1, 50257)}


def uniform_agrees(my: Opened) -> Results:
    """Beside the loss of logits that are all zero, by torch."""
    results = {}
    for size in (2, 5, 65):
        loss = nn.functional.cross_entropy(torch.zeros(1, size), torch.tensor([1])).item()
        problem = difference(_uniform(my, size), loss)
        results[str(size)] = f"uniform_loss({size}) is {problem}, the loss of {size} equal logits" if problem else ""
    return dict(results)


def uniform_product(my: Opened) -> Results:
    """Two independent guesses are one guess among all pairs."""
    together, apart = _uniform(my, 6 * 7), _uniform(my, 6) + _uniform(my, 7)
    problem = difference(together, apart)
    what = f"guessing among 42 must cost what guessing among 6 and then 7 costs, but uniform_loss(42) is {problem}"
    return {"product": what if problem else ""}


def uniform_certain(my: Opened) -> Results:
    """A single token."""
    problem = difference(_uniform(my, 1), 0.0)
    return {"certain": f"with a single token nothing is left to guess, but uniform_loss(1) is {problem}" if problem else ""}


CHECKS = (
    Check("2.1-bigram", "shape", "(B, T) becomes (B, T, V)", bigram_shapes, equal),
    Check("2.1-bigram", "alone", "the logits at a position follow from its own token alone", bigram_alone, all_true, law=True),
    Check("2.1-bigram", "anywhere", "a token has the same logits wherever it stands", bigram_anywhere, all_true, law=True),
    Check("2.1-bigram", "values", "each token's row of the table, with the table's gradient", bigram_values, equal),
    Check("2.1-loss", "uniform", "V equal logits give ln V", loss_uniform, all_true, law=True),
    Check(
        "2.1-loss", "constant", "a number added to all logits of a position changes nothing", loss_constant, all_true, law=True
    ),
    Check("2.1-loss", "mean", "the mean over all positions of all rows", loss_mean, all_true, law=True),
    Check(
        "2.1-loss",
        "gradient",
        "its gradient is (softmax - one-hot target) / number of targets",
        loss_gradient,
        all_true,
        law=True,
    ),
    Check("2.1-loss", "large logits", "logits of 10,000 do no harm", loss_large, all_true, law=True),
    Check("2.1-loss", "values", "the mean of -ln p(target), with its gradient", loss_values, equal),
    Check("2.1-loss", "slices", "targets may be a slice of a longer block", loss_slices, all_true, law=True),
    Check("2.1-loss", "dtype", "the loss has the logits' dtype", loss_dtype, equal),
    Check("2.1-loss", "device", "the loss lies where the logits lie", loss_device, all_true, law=True),
    Check("2.1-uniform", "certain", "a single token is no surprise: 0", uniform_certain, all_true, law=True),
    Check(
        "2.1-uniform",
        "product",
        "guessing among 42 costs what guessing among 6 and among 7 costs",
        uniform_product,
        all_true,
        True,
    ),
    Check("2.1-uniform", "agrees", "it is the cross-entropy of V equal logits", uniform_agrees, all_true, law=True),
    Check("2.1-uniform", "values", "-ln(1/V) as a float", uniform_values, equal),
)
