"""Lesson 4.1: several heads side by side."""

from __future__ import annotations

import torch
from torch import nn

from .check import Check, Mistake, Opened, Results, agree, beside, equal, facts, past_stays, same_names
from .dropping import SOMEWHERE, dropout_results, drops
from .pretend_gpu import forms, keeps_form
from .probes import (
    SIZES,
    call,
    config,
    ends_in_projection,
    fill,
    names_of,
    normal,
    one_token_changed,
    only,
    prefixed,
    projected,
    with_gradients,
)

INIT, FORWARD = "MultiHeadAttention.__init__", "MultiHeadAttention.forward"


def _made(my: Opened, H: int, D: int, project: nn.Module | None = None, dropout: float = 0.0) -> nn.Module:
    """Return attention with H heads of size D as the package under test makes it."""
    settings = config(my, n_head=H, n_embd=H * D, dropout=dropout)
    return my("model.attention").MultiHeadAttention(settings, project=project or nn.Linear(H * D, H * D))


def _heads(attention: nn.Module) -> list[nn.Module]:
    """Return its heads; raise Mistake if it has none."""
    heads = getattr(attention, "heads", None)
    if heads is None:
        raise Mistake(f"{INIT} sets no self.heads")
    return list(heads)


def _filled(my: Opened, H: int, D: int, project: nn.Module | None = None, dropout: float = 0.0) -> nn.Module:
    """Return attention with known weights, in eval mode; raise Mistake if the heads' weights cannot be reached."""
    attention = _made(my, H, D, project, dropout)
    _heads(attention)
    if not any(name.startswith("heads.") for name, _ in attention.named_parameters()):
        raise Mistake("self.heads does not register its parameters with torch, so the checks cannot set them")
    return fill(attention).eval()


def _values(my: Opened, whose: str) -> Results:
    """Return outputs and gradients at several sizes."""
    results: Results = {}
    for B, T, H, D in (*SIZES, (2, 3, 1, 5)):
        attention = _filled(my, H, D)
        found = with_gradients(attention, normal(B, T, H * D), whose=whose, module=attention)
        results |= prefixed(f"B = {B}, T = {T}, H = {H}, D = {D}", found)
    return results


def init_registered(my: Opened) -> Results:
    """Return how many heads have parameters that torch knows, beside how many heads there are."""
    attention = _made(my, 3, 4)
    known, heads = {id(parameter) for parameter in attention.parameters()}, _heads(attention)
    return beside(sum(all(id(parameter) in known for parameter in head.parameters()) for head in heads), len(heads))


def init_count(my: Opened) -> Results:
    """Return the sizes of the heads for several H and D, beside the right ones."""
    results: Results = {}
    for H, D in ((3, 4), (2, 5), (1, 6)):
        sizes = [head(normal(1, 2, H * D)).size(-1) for head in _heads(_made(my, H, D))]
        results |= beside(sizes, [D] * H, case=f"n_head = {H} and n_embd = {H * D}")
    return results


def init_own(my: Opened) -> Results:
    """Return whether all heads are different objects, and whether they begin with different weights."""
    firsts = [next(head.parameters()) for head in _heads(_made(my, 3, 4))]
    alike = any(torch.equal(a, b) for i, a in enumerate(firsts) for b in firsts[:i])
    return {"different heads": len({id(weight) for weight in firsts}) == len(firsts), "different weights": not alike}


def init_project(my: Opened) -> Results:
    """Return whether the layer that is given is the one that is kept."""
    project = nn.Linear(12, 12)
    return {"kept": getattr(_made(my, 3, 4, project), "project", None) is project}


def init_dropout(my: Opened) -> Results:
    """Return what dropout does to an output of nothing but ones, for two settings."""
    results: Results = {}
    for p in (0.5, 0.0):
        attention = _filled(my, 3, 4, dropout=p)
        attention.project = only(1.0)
        results |= dropout_results(attention, normal(4, 7, 12), p, whose=INIT)
    return results


def init_names(my: Opened) -> Results:
    """Return the names and shapes of the parameters for two sizes."""
    return {f"the parameters for H = {H}, D = {D}": names_of(_made(my, H, D)) for H, D in ((3, 4), (2, 5))}


def init_values(my: Opened) -> Results:
    """Return outputs and gradients of attention that the learner's __init__ made."""
    return _values(my, INIT)


def forward_forms(my: Opened) -> Results:
    """Return the output's shape, dtype and device; one of the shapes has a single token."""
    return forms(_filled(my, 3, 4), (2, 5, 12), (3, 1, 12), (1, 7, 12), whose=FORWARD)


def forward_causality(my: Opened) -> Results:
    """Return the outputs for x, and for x with one token changed."""
    return one_token_changed(_filled(my, 3, 4), normal(2, 7, 12), whose=FORWARD)


def forward_side_by_side(my: Opened) -> Results:
    """Return the output without a projection, beside the heads' outputs."""
    results: Results = {}
    for B, T, H, D in SIZES:
        attention, x = _filled(my, H, D, nn.Identity()), normal(B, T, H * D)
        wanted = torch.cat([head(x) for head in _heads(attention)], dim=-1)
        results |= beside(call(attention, x, whose=FORWARD), wanted, case=f"H = {H}, D = {D}")
    return results


def forward_project(my: Opened) -> Results:
    """Return the output when the projection returns nothing but 7."""
    return projected(_filled(my, 3, 4, only(7.0)), normal(2, 5, 12), whose=FORWARD)


def forward_dropout(my: Opened) -> Results:
    """Return what dropout does to an output of nothing but ones, and whether it has any effect when there is no projection."""
    attention = _filled(my, 3, 4, nn.Identity(), dropout=0.5).train()
    for head in _heads(attention):
        head.dropout = nn.Identity()
    somewhere = bool((call(attention, normal(4, 7, 12), whose=FORWARD) == 0).any())
    last = dropout_results(_filled(my, 3, 4, only(1.0), dropout=0.5), normal(4, 7, 12), 0.5, whose=FORWARD)
    return last | {SOMEWHERE: somewhere}


def forward_values(my: Opened) -> Results:
    """Return outputs and gradients at several sizes."""
    return _values(my, FORWARD)


HEADS, MULTIHEAD = "4.1-heads", "4.1-multihead"
CHECKS = (
    Check(
        HEADS,
        "registered",
        "torch knows the parameters of all heads",
        init_registered,
        agree(
            "torch does not know the parameters of the heads, so they would be neither trained nor saved;"
            " a plain list does not register what it holds, nn.ModuleList does",
            numbers=False,
        ),
        law=True,
    ),
    Check(
        HEADS,
        "count",
        "n_head heads, each of size n_embd / n_head",
        init_count,
        agree("with {case} the sizes of the heads are {found}, where {right} is right", numbers=False),
        law=True,
    ),
    Check(
        HEADS,
        "own",
        "each head begins with weights of its own",
        init_own,
        facts(
            {
                "different heads": "the same head stands in self.heads several times, so all of them always find the same;"
                " make a new Head each time",
                "different weights": "several heads begin with the same weights; make a new Head each time",
            }
        ),
        law=True,
    ),
    Check(
        HEADS,
        "project",
        "self.project is the layer that is given",
        init_project,
        facts({"kept": "self.project is not the layer that __init__ was given as `project`"}),
        law=True,
    ),
    Check(HEADS, "dropout", "self.dropout drops a share config.dropout", init_dropout, drops, law=True),
    Check(HEADS, "parameters", "heads.0 and on, and project, by these names and shapes", init_names, same_names),
    Check(HEADS, "values", "with given weights, the right outputs and gradients", init_values, equal),
    Check(MULTIHEAD, "shape", "(B, T, C) stays (B, T, C), with x's dtype, where x lies", forward_forms, keeps_form(FORWARD)),
    Check(MULTIHEAD, "causality", "no position sees a later one", forward_causality, past_stays, law=True),
    Check(
        MULTIHEAD,
        "side by side",
        "before projection channels 0..D-1 are the first head's, the next D the second's",
        forward_side_by_side,
        agree(
            "with {case} and no projection, the output must be the outputs of all heads side by side, the first head's first"
        ),
        law=True,
    ),
    Check(
        MULTIHEAD,
        "project",
        "the heads' outputs pass through self.project",
        forward_project,
        ends_in_projection,
        law=True,
    ),
    Check(MULTIHEAD, "dropout", "self.dropout comes last", forward_dropout, drops, law=True),
    Check(MULTIHEAD, "values", "dropout(project(all heads)), with its gradients", forward_values, equal),
)
