"""Lesson 2.2: the training step and evaluation here, the choice of the next token and writing in lesson_2_2_sampling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .check import Check, Mistake, Opened, Results, all_true, difference, equal, inside
from .fakes import Descent, Table, V, mean_loss, squares
from .probes import normal, tensor, tokens

RATE = 0.5
STEP, EVALUATE = "training_step", "evaluate"


def _pair(B: int = 3, T: int = 5, seed: int = 1) -> tuple[Tensor, Tensor]:
    x = tokens(B, T + 1, vocab_size=V, seed=seed)
    return x[:, :-1], x[:, 1:]


def _step(my: Opened, model: nn.Module, optimizer: Descent, *rest: Any) -> Tensor:  # noqa: ANN401
    """What training_step returns. Mistake if it is no single number in a tensor."""
    loss = my("training.loop").training_step(model, optimizer, *rest)
    if isinstance(loss, float):
        raise Mistake(f"{STEP} returned a float; return the tensor, detached: reading its number would make a GPU wait")
    tensor(loss, STEP)
    if loss.dim():
        raise Mistake(f"{STEP} returned a tensor of shape {tuple(loss.shape)}; the loss is one number, ()")
    return loss


def step_law(my: Opened) -> Results:
    """One step of plain gradient descent, beside its formula."""
    model, (x, y) = Table(), _pair()
    old = model.table.weight.detach().clone()
    (slope,) = torch.autograd.grad(mean_loss(model.table(x), y), [model.table.weight])
    optimizer = Descent(model, RATE)
    _step(my, model, optimizer, x, y, mean_loss)
    new = model.table.weight.detach()
    if torch.equal(new, old):
        late = "is called when there are no gradients: before backward, or after zero_grad"
        why = late if optimizer.steps else "is never called"
        return {"moved": f"the weights are what they were before: optimizer.step() {why}"}
    problem = difference(new, old - RATE * slope)
    words = f"one step of plain gradient descent must give w - {RATE} x gradient, but a weight {problem}"
    return {"moved": words if problem else ""}


def step_leftovers(my: Opened) -> Results:
    """The same step with gradients left behind and without."""
    found = []
    for left in (False, True):
        model, (x, y) = Table(), _pair()
        model.table.weight.grad = normal(V, V, seed=5) if left else None
        _step(my, model, Descent(model, RATE), x, y, mean_loss)
        found.append(model.table.weight.detach())
    same = difference(found[1], found[0]) is None
    return {"left": "" if same else "gradients that were there before the step change what it does: they are added to its own"}


def step_loss(my: Opened) -> Results:
    """What is returned, beside the loss before the update."""
    model, (x, y) = Table(), _pair()
    before = mean_loss(model.table(x), y).detach()
    loss = _step(my, model, Descent(model, 20.0), x, y, mean_loss)
    if loss.requires_grad:
        return {"loss": "the loss still holds on to its graph, and with it to the whole forward pass: detach it"}
    problem = difference(loss, before)
    return {"loss": f"the loss of this batch before the update must be returned, but {problem}" if problem else ""}


def step_mode(my: Opened) -> Results:
    """A model that comes in eval(), and one that comes in train()."""
    results = {}
    for training in (False, True):
        model, (x, y) = Table().train(training), _pair()
        _step(my, model, Descent(model, RATE), x, y, mean_loss)
        came = "train()" if training else "eval()"
        problem = f"for a model that comes in {came} the forward pass runs in eval(), where dropout does nothing"
        results[came] = "" if all(model.modes) else problem
    return dict(results)


def step_other_loss(my: Opened) -> Results:
    """Another loss function, and the one that is taken where none is given."""
    results = {}
    for name, rest, right in (
        ("the loss_function that is given", (squares,), squares),
        ("cross_entropy, the default,", (), mean_loss),
    ):
        model, (x, y) = Table(), _pair()
        wanted = right(model.table(x), y).item()
        problem = difference(_step(my, model, Descent(model, RATE), x, y, *rest).item(), wanted)
        results[name] = f"with {name} the loss is {problem}" if problem else ""
    return dict(results)


def step_values(my: Opened) -> Results:
    """Three steps on three batches, with momentum."""
    results: Results = {}
    model = Table()
    optimizer = Descent(model, RATE, momentum=0.9)
    for number in range(1, 4):
        x, y = _pair(B=number, T=5 - number, seed=number)
        results[f"the loss of step {number}"] = _step(my, model, optimizer, x, y, mean_loss).detach().clone()
        results[f"the weights after step {number}"] = model.table.weight.detach().clone()
    return results


def step_trains(my: Opened) -> Results:
    """A table learns "abacabac...": after a comes b or c, which nobody can know; all else is certain."""
    text = torch.tensor([0, 1, 0, 2] * 8)
    model = Table(torch.zeros(V, V))
    optimizer = Descent(model, 2.0, momentum=0.8)
    for _ in range(40):
        loss = _step(my, model, optimizer, text[None, :-1], text[None, 1:], mean_loss)
    return {"the loss after 40 steps on 'abacabac...'": loss.item()}


def _evaluate(my: Opened, model: nn.Module, blocks: Any, *rest: Any) -> float:  # noqa: ANN401
    """What evaluate returns. Mistake if it is no float."""
    found = my("training.loop").evaluate(model, blocks, *rest)
    if isinstance(found, bool) or not isinstance(found, int | float):
        given = "nothing (is a `return` missing?)" if found is None else f"a {type(found).__name__}"
        raise Mistake(f"{EVALUATE} returned {given}; it must return a float (a tensor's number is its .item())")
    return float(found)


def in_blocks(x: Tensor, y: Tensor, sizes: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
    """The same tokens in blocks of these lengths."""
    yield from zip(x.split(sizes, dim=1), y.split(sizes, dim=1), strict=True)


def evaluate_example(my: Opened) -> Results:
    """The docstring's: 8 targets that cost 2 and 2 that cost 1."""
    y = torch.tensor([[2] * 8 + [1] * 2])
    found = _evaluate(my, Table(), in_blocks(y, y, (8, 2)), lambda logits, targets: targets.double().mean())
    problem = difference(found, 1.8)
    return {"example": f"8 targets at 2.0 and 2 at 1.0 give 1.8, but the result is {problem}" if problem else ""}


def evaluate_cuts(my: Opened) -> Results:
    """The same targets, cut into blocks in several ways."""
    (x, y), results = _pair(B=3, T=12), {}
    whole = _evaluate(my, Table(), [(x, y)], mean_loss)
    cuts = {
        "of 5, 5 and 2 tokens": in_blocks(x, y, (5, 5, 2)),
        "of 1 and 11 tokens": in_blocks(x, y, (1, 11)),
        "of 1 and 2 rows": zip(x.split((1, 2)), y.split((1, 2)), strict=True),
    }
    for name, blocks in cuts.items():
        problem = difference(_evaluate(my, Table(), blocks, mean_loss), whole)
        results[name] = f"targets that are cut into blocks {name} must have the mean that they have whole, but it is {problem}"
        results[name] = results[name] if problem else ""
    return dict(results)


def evaluate_mode(my: Opened) -> Results:
    """The mode of the model while it is asked, and afterwards."""
    results = {}
    for training in (True, False):
        model = Table().train(training)
        _evaluate(my, model, [_pair(), _pair(seed=2)], mean_loss)
        came = "train()" if training else "eval()"
        if any(model.modes):
            results[came] = f"a model that comes in {came} is asked in train(), where dropout is on"
        elif model.training != training:
            results[came] = f"a model that comes in {came} is left in {'train()' if model.training else 'eval()'}"
        elif model.table.training != training:
            results[came] = (
                f"a model that comes in {came} gets its own mode back, but its layers do not; model.train(mode) sets all"
            )
    return dict(results)


def evaluate_graph(my: Opened) -> Results:
    """Whether torch notes operations for a backward pass that never comes."""
    model = Table()
    _evaluate(my, model, [_pair()], mean_loss)
    return {
        "graph": "gradients are prepared for, which takes memory for nothing; keep @torch.no_grad()"
        if any(model.graphs)
        else ""
    }


def evaluate_weights(my: Opened) -> Results:
    """The weights afterwards."""
    model = Table()
    _evaluate(my, model, [_pair()], mean_loss)
    same = torch.equal(model.table.weight, Table().table.weight)
    return {"weights": "" if same else "the weights have changed: evaluation looks, it does not train"}


def evaluate_values(my: Opened) -> Results:
    """Losses at several sizes, with cross_entropy by default and with another loss."""
    results: Results = {}
    for B, T in ((3, 5), (1, 1), (2, 9)):
        x, y = _pair(B, T)
        sizes = (T,) if T < 5 else (4, T - 4)
        results[f"the loss of {B} rows in blocks of {sizes}"] = _evaluate(my, Table(), in_blocks(x, y, sizes))
        results[f"another loss of {B} rows in blocks of {sizes}"] = _evaluate(my, Table(), in_blocks(x, y, sizes), squares)
    return results


CHECKS = (
    Check("2.2-step", "update", "one step down the slope of this batch", step_law, all_true, law=True),
    Check("2.2-step", "leftovers", "gradients left behind before the step do not matter", step_leftovers, all_true, law=True),
    Check("2.2-step", "loss", "the loss before the update comes back, detached", step_loss, all_true, law=True),
    Check("2.2-step", "mode", "the model is in training mode", step_mode, all_true, law=True),
    Check("2.2-step", "loss function", "the loss_function that is given counts", step_other_loss, all_true, law=True),
    Check("2.2-step", "values", "three steps: each loss, and the weights after it", step_values, equal),
    Check(
        "2.2-step",
        "training",
        "a table learns a small text: a loss of about ln(2)/2",
        step_trains,
        inside(0.33, 0.42),
        law=True,
    ),
    Check("2.2-evaluate", "example", "8 targets at 2.0 and 2 at 1.0 give 1.8", evaluate_example, all_true, law=True),
    Check("2.2-evaluate", "cuts", "how targets are cut into blocks does not matter", evaluate_cuts, all_true, law=True),
    Check(
        "2.2-evaluate", "mode", "the model is asked in eval(), then put back into its mode", evaluate_mode, all_true, law=True
    ),
    Check("2.2-evaluate", "graph", "nothing is kept for a backward pass", evaluate_graph, all_true, law=True),
    Check("2.2-evaluate", "weights", "the weights stay as they are", evaluate_weights, all_true, law=True),
    Check("2.2-evaluate", "values", "the mean loss over all targets, as a float", evaluate_values, equal),
)
