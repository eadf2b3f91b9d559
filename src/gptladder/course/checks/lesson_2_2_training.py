"""Lesson 2.2, its first part: the training step and evaluation. lesson_2_2_choosing and lesson_2_2_writing have the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .check import Check, Mistake, Opened, Results, agree, beside, equal, facts, in_turn, inside
from .fakes import GRAPH_KEPT, WITHOUT_GRAPH, Descent, Table, V, mean_loss, squares
from .probes import normal, number, tensor, tokens

RATE = 0.5
STEP, EVALUATE = "training_step", "evaluate"
MODES = {True: "train()", False: "eval()"}


def _pair(B: int = 3, T: int = 5, seed: int = 1) -> tuple[Tensor, Tensor]:
    x = tokens(B, T + 1, vocab_size=V, seed=seed)
    return x[:, :-1], x[:, 1:]


def _step(my: Opened, model: nn.Module, optimizer: Descent, *rest: Any) -> Tensor:  # noqa: ANN401
    """Return what training_step returns; raise Mistake if it is not a single number in a tensor."""
    loss = my("training.loop").training_step(model, optimizer, *rest)
    if isinstance(loss, float):
        raise Mistake(f"{STEP} returned a float; return the tensor, detached: reading its number would make a GPU wait")
    tensor(loss, STEP)
    if loss.dim():
        raise Mistake(f"{STEP} returned a tensor of shape {tuple(loss.shape)}; the loss is one number, ()")
    return loss


def step_law(my: Opened) -> Results:
    """The weights after one step of plain gradient descent, and its formula; the weights before; how often step() ran."""
    model, (x, y) = Table(), _pair()
    old = model.table.weight.detach().clone()
    (slope,) = torch.autograd.grad(mean_loss(model.table(x), y), [model.table.weight])
    optimizer = Descent(model, RATE)
    _step(my, model, optimizer, x, y, mean_loss)
    return {**beside(model.table.weight.detach(), old - RATE * slope), "before": old, "steps": optimizer.steps}


def takes_a_step(got: Results, wanted: Results) -> str | None:
    """Judge `step_law`: if the weights did not move at all, the reason is known."""
    if torch.equal(got["found"], got["before"]):
        late = "finds no gradients: is backward missing, or does zero_grad come after it?"
        return f"the weights have not moved: optimizer.step() {late if got['steps'] else 'is never called'}"
    return agree(f"one step of plain gradient descent must give w - {RATE} x gradient")(got, wanted)


def step_leftovers(my: Opened) -> Results:
    """The weights after a step with gradients left behind, and after the same step without."""
    found = []
    for left in (normal(V, V, seed=5), None):
        model, (x, y) = Table(), _pair()
        model.table.weight.grad = left
        _step(my, model, Descent(model, RATE), x, y, mean_loss)
        found.append(model.table.weight.detach())
    return beside(*found)


def step_loss(my: Opened) -> Results:
    """Return what is returned, and the loss before the update."""
    model, (x, y) = Table(), _pair()
    before = mean_loss(model.table(x), y).detach()
    loss = _step(my, model, Descent(model, 20.0), x, y, mean_loss)
    return {"holds its graph": loss.requires_grad, **beside(loss, before)}


def step_mode(my: Opened) -> Results:
    """Return whether the forward pass runs in train(), for a model that comes in eval() and for one that comes in train()."""
    results: Results = {}
    for training, came in MODES.items():
        model, (x, y) = Table().train(training), _pair()
        _step(my, model, Descent(model, RATE), x, y, mean_loss)
        results[f"{came}, forward in train()"] = all(model.modes)
    return results


def step_other_loss(my: Opened) -> Results:
    """The losses of a loss_function that is given, and of the default."""
    results: Results = {}
    for name, rest, right in (
        ("the loss_function that is given", (squares,), squares),
        ("cross_entropy, the default,", (), mean_loss),
    ):
        model, (x, y) = Table(), _pair()
        wanted = right(model.table(x), y).item()
        results |= beside(_step(my, model, Descent(model, RATE), x, y, *rest).item(), wanted, name)
    return results


def step_values(my: Opened) -> Results:
    """Return the results of three steps on three batches, with momentum."""
    results: Results = {}
    model = Table()
    optimizer = Descent(model, RATE, momentum=0.9)
    for step in range(1, 4):
        x, y = _pair(B=step, T=5 - step, seed=step)
        results[f"the loss of step {step}"] = _step(my, model, optimizer, x, y, mean_loss).detach().clone()
        results[f"the weights after step {step}"] = model.table.weight.detach().clone()
    return results


def step_trains(my: Opened) -> Results:
    """The loss of a table that learns "abacabac...": nobody can know whether b or c follows an a; the rest is certain."""
    text = torch.tensor([0, 1, 0, 2] * 8)
    model = Table(torch.zeros(V, V))
    optimizer = Descent(model, 2.0, momentum=0.8)
    for _ in range(40):
        loss = _step(my, model, optimizer, text[None, :-1], text[None, 1:], mean_loss)
    return {"the loss after 40 steps on 'abacabac...'": loss.item()}


def _evaluate(my: Opened, model: nn.Module, blocks: Any, *rest: Any) -> float:  # noqa: ANN401
    return number(my("training.loop").evaluate(model, blocks, *rest), EVALUATE)


def in_blocks(x: Tensor, y: Tensor, sizes: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the same tokens in blocks of these lengths."""
    yield from zip(x.split(sizes, dim=1), y.split(sizes, dim=1), strict=True)


def evaluate_example(my: Opened) -> Results:
    """Return the result for the docstring's example: 8 targets that cost 2 and 2 that cost 1."""
    y = torch.tensor([[2] * 8 + [1] * 2])
    return beside(_evaluate(my, Table(), in_blocks(y, y, (8, 2)), lambda logits, targets: targets.double().mean()), 1.8)


def evaluate_cuts(my: Opened) -> Results:
    """The mean of the same targets, cut into blocks in several ways."""
    (x, y), results = _pair(B=3, T=12), Results()
    whole = _evaluate(my, Table(), [(x, y)], mean_loss)
    cuts = {
        "5, 5 and 2 tokens": in_blocks(x, y, (5, 5, 2)),
        "1 and 11 tokens": in_blocks(x, y, (1, 11)),
        "1 and 2 rows": zip(x.split((1, 2)), y.split((1, 2)), strict=True),
    }
    for name, blocks in cuts.items():
        results |= beside(_evaluate(my, Table(), blocks, mean_loss), whole, name)
    return results


ASKED, PUT_BACK, WHOLLY = "asked in eval()", "left as it came", "layers left as they came"


def evaluate_mode(my: Opened) -> Results:
    """The mode of the model while it is asked, and afterwards."""
    results: Results = {}
    for training, came in MODES.items():
        model = Table().train(training)
        _evaluate(my, model, [_pair(), _pair(seed=2)], mean_loss)
        results[f"{came}, {ASKED}"] = not any(model.modes)
        results[f"{came}, {PUT_BACK}"] = model.training == training
        results[f"{came}, {WHOLLY}"] = model.table.training == training
    return results


def evaluate_graph(my: Opened) -> Results:
    """Return whether torch notes operations for a backward pass that never comes."""
    model = Table()
    _evaluate(my, model, [_pair()], mean_loss)
    return {GRAPH_KEPT: any(model.graphs)}


def evaluate_weights(my: Opened) -> Results:
    """Return whether the weights are the same afterwards."""
    model = Table()
    _evaluate(my, model, [_pair()], mean_loss)
    return {"same weights": torch.equal(model.table.weight, Table().table.weight)}


def evaluate_values(my: Opened) -> Results:
    """Return the losses at several sizes, with cross_entropy by default and with another loss."""
    results: Results = {}
    for B, T in ((3, 5), (1, 1), (2, 9)):
        x, y = _pair(B, T)
        sizes = (T,) if T < 5 else (4, T - 4)
        results[f"the loss of {B} rows in blocks of {sizes}"] = _evaluate(my, Table(), in_blocks(x, y, sizes))
        results[f"another loss of {B} rows in blocks of {sizes}"] = _evaluate(my, Table(), in_blocks(x, y, sizes), squares)
    return results


LEFTOVERS = "gradients from before the step change what it does, since backward adds to them: call optimizer.zero_grad() first"
HOLDS_GRAPH = "the loss that is returned keeps the whole forward pass in memory: return loss.detach()"
IN_EVAL = "for a model that comes in {case} the forward pass runs in eval(), where dropout does nothing"
MODE_KEPT = {
    ASKED: "a model that comes in {case} is evaluated in train(), where dropout is on",
    PUT_BACK: "a model that comes in {case} is left in the other mode",
    WHOLLY: "a model that comes in {case} gets its own mode back, but its layers do not; model.train(mode) sets all",
}
TRAINING, EVALUATION = "2.2-step", "2.2-evaluate"
CHECKS = (
    Check(TRAINING, "update", "one step down the slope of this batch", step_law, takes_a_step, law=True),
    Check(
        TRAINING,
        "leftovers",
        "gradients left behind before the step do not matter",
        step_leftovers,
        agree(LEFTOVERS, numbers=False),
        law=True,
    ),
    Check(
        TRAINING,
        "loss",
        "the loss before the update comes back, detached",
        step_loss,
        in_turn(facts({"holds its graph": HOLDS_GRAPH}), agree("the loss of this batch before the update must be returned")),
        law=True,
    ),
    Check(TRAINING, "mode", "the model is in training mode", step_mode, facts({"forward in train()": IN_EVAL}), law=True),
    Check(
        TRAINING,
        "loss function",
        "the loss is that of the loss_function that is given",
        step_other_loss,
        agree("with {case} the loss is {found}, where {right} is right", numbers=False),
        law=True,
    ),
    Check(TRAINING, "values", "three steps: each loss, and the weights after it", step_values, equal),
    Check(
        TRAINING, "training", "a table learns a small text: a loss of about ln(2)/2", step_trains, inside(0.33, 0.42), law=True
    ),
    Check(
        EVALUATION,
        "example",
        "8 targets at 2.0 and 2 at 1.0 give 1.8",
        evaluate_example,
        agree("8 targets at 2.0 and 2 at 1.0 must give 1.8, but the result is {found}", numbers=False),
        law=True,
    ),
    Check(
        EVALUATION,
        "cuts",
        "how targets are cut into blocks does not matter",
        evaluate_cuts,
        agree("targets in blocks of {case} must have the same mean as in one block"),
        law=True,
    ),
    Check(
        EVALUATION,
        "mode",
        "the model is evaluated in eval(), then put back into its mode",
        evaluate_mode,
        facts(MODE_KEPT),
        law=True,
    ),
    Check(EVALUATION, "graph", "nothing is kept for a backward pass", evaluate_graph, facts(WITHOUT_GRAPH), law=True),
    Check(
        EVALUATION,
        "weights",
        "the weights stay as they are",
        evaluate_weights,
        facts({"same weights": "the weights have changed: evaluation looks, it does not train"}),
        law=True,
    ),
    Check(EVALUATION, "values", "the mean loss over all targets, as a float", evaluate_values, equal),
)
