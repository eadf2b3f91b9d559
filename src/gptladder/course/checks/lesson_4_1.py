"""Lesson 4.1: several heads side by side."""

from __future__ import annotations

import torch
from torch import nn

from .check import Check, Mistake, Opened, Results, all_true, difference, equal, past_stays, same_names
from .pretend_gpu import forms
from .probes import SIZES, call, config, dropped, fill, names_of, normal, only, prefixed, with_gradients

INIT, FORWARD = "MultiHeadAttention.__init__", "MultiHeadAttention.forward"


def _made(my: Opened, H: int, D: int, project: nn.Module | None = None, dropout: float = 0.0) -> nn.Module:
    """As the package under test makes it."""
    settings = config(my, n_head=H, n_embd=H * D, dropout=dropout)
    return my("model.attention").MultiHeadAttention(settings, project=project or nn.Linear(H * D, H * D))


def _heads(attention: nn.Module) -> list[nn.Module]:
    heads = getattr(attention, "heads", None)
    if heads is None:
        raise Mistake(f"{INIT} sets no self.heads")
    return list(heads)


def _filled(my: Opened, H: int, D: int, project: nn.Module | None = None, dropout: float = 0.0) -> nn.Module:
    """With known weights, in eval mode. Mistake if the heads' weights cannot be reached."""
    attention = _made(my, H, D, project, dropout)
    _heads(attention)
    if not any(name.startswith("heads.") for name, _ in attention.named_parameters()):
        raise Mistake("the parameters of self.heads are not registered, so no weights can be put in")
    return fill(attention).eval()


def _values(my: Opened, whose: str) -> Results:
    results: Results = {}
    for B, T, H, D in (*SIZES, (2, 3, 1, 5)):
        attention = _filled(my, H, D)
        found = with_gradients(attention, normal(B, T, H * D), whose=whose, module=attention)
        results |= prefixed(f"B = {B}, T = {T}, H = {H}, D = {D}", found)
    return results


def init_registered(my: Opened) -> Results:
    """A plain list hides what it holds from torch."""
    attention = _made(my, 3, 4)
    registered = {id(parameter) for parameter in attention.parameters()}
    hidden = [head for head in _heads(attention) if any(id(p) not in registered for p in head.parameters())]
    kind = type(attention.heads).__name__
    return {
        "hidden": f"self.heads is a plain {kind}: its parameters are not registered, so they are neither trained nor saved; "
        "nn.ModuleList registers what it holds"
        if hidden
        else ""
    }


def init_count(my: Opened) -> Results:
    """How many heads there are, and how wide each is, for several shares of C."""
    results: Results = {}
    for H, D in ((3, 4), (2, 5), (1, 6)):
        sizes = [head(normal(1, 2, H * D)).size(-1) for head in _heads(_made(my, H, D))]
        right = sizes == [D] * H
        given = f"with n_head = {H} and n_embd = {H * D}"
        results[given] = "" if right else f"{given} the heads are {sizes} wide, where {[D] * H} is right"
    return results


def init_own(my: Opened) -> Results:
    """Weights of different heads are different tensors and begin with different numbers."""
    heads = _heads(_made(my, 3, 4))
    firsts = [next(head.parameters()) for head in heads]
    if len({id(weight) for weight in firsts}) < len(heads):
        return {"own": "the same head stands in self.heads several times: with the same weights all find the same"}
    alike = any(torch.equal(a, b) for i, a in enumerate(firsts) for b in firsts[:i])
    return {
        "own": "the heads begin with the same weights, as copies of one; make each anew, so that they can differ"
        if alike
        else ""
    }


def init_project(my: Opened) -> Results:
    """The layer that is handed in is the one that is kept."""
    project = nn.Linear(12, 12)
    kept = getattr(_made(my, 3, 4, project), "project", None)
    return {"project": "" if kept is project else "self.project is not the layer that __init__ was given"}


def init_dropout(my: Opened) -> Results:
    """What dropout does to an output of nothing but ones, for two settings."""
    results: Results = {}
    for p in (0.5, 0.0):
        attention = _filled(my, 3, 4, dropout=p)
        attention.project = only(1.0)
        results[f"dropout = {p}"] = dropped(attention, normal(4, 7, 12), p, whose=INIT)
    return results


def init_names(my: Opened) -> Results:
    """The parameters for two sizes."""
    return {f"the parameters for H = {H}, D = {D}": names_of(_made(my, H, D)) for H, D in ((3, 4), (2, 5))}


def init_values(my: Opened) -> Results:
    """Outputs and gradients of what was made."""
    return _values(my, INIT)


def forward_forms(my: Opened) -> Results:
    """Shape, dtype and device; a single token among the shapes."""
    return forms(_filled(my, 3, 4), (2, 5, 12), (3, 1, 12), (1, 7, 12), whose=FORWARD)


def forward_causality(my: Opened) -> Results:
    """One token is changed."""
    attention, x = _filled(my, 3, 4), normal(2, 7, 12)
    changed = x.clone()
    changed[:, 4] = normal(2, 12, seed=1)
    return {"before": call(attention, x, whose=FORWARD), "after": call(attention, changed, whose=FORWARD), "changed": 4}


def forward_side_by_side(my: Opened) -> Results:
    """Without projection each head's output is found again, in its own channels."""
    results: Results = {}
    for B, T, H, D in SIZES:
        attention, x = _filled(my, H, D, nn.Identity()), normal(B, T, H * D)
        y = call(attention, x, whose=FORWARD)
        for h, head in enumerate(_heads(attention)):
            channels = f"channels {h * D}..{(h + 1) * D - 1}"
            problem = difference(y[..., h * D : (h + 1) * D], head(x))
            words = (
                f"without a projection and with {H} heads of {D}, {channels} must be the output of heads[{h}], but {problem}"
            )
            results[f"B = {B}, T = {T}, {channels}"] = words if problem else ""
    return results


def forward_project(my: Opened) -> Results:
    """A projection that always says 7."""
    y = call(_filled(my, 3, 4, only(7.0)), normal(2, 5, 12), whose=FORWARD)
    return {"project": "" if (y == 7).all() else "the output is not what self.project makes of the heads' outputs"}


def forward_dropout(my: Opened) -> Results:
    """What dropout does to an output of nothing but ones; and whether there is any, wherever it stands."""
    last = dropped(_filled(my, 3, 4, only(1.0), dropout=0.5), normal(4, 7, 12), 0.5, whose=FORWARD)
    attention = _filled(my, 3, 4, nn.Identity(), dropout=0.5).train()
    for head in _heads(attention):
        head.dropout = nn.Identity()
    some = (call(attention, normal(4, 7, 12), whose=FORWARD) == 0).any()
    return {"last": last, "anywhere": "" if some else "nothing is dropped, neither before nor after the projection"}


def forward_values(my: Opened) -> Results:
    """Outputs and gradients at several sizes."""
    return _values(my, FORWARD)


CHECKS = (
    Check("4.1-heads", "registered", "torch knows the parameters of all heads", init_registered, all_true, law=True),
    Check("4.1-heads", "count", "n_head heads, each n_embd / n_head wide", init_count, all_true, law=True),
    Check("4.1-heads", "own", "each head begins with weights of its own", init_own, all_true, law=True),
    Check("4.1-heads", "project", "self.project is the layer that is given", init_project, all_true, law=True),
    Check("4.1-heads", "dropout", "self.dropout drops a share config.dropout", init_dropout, all_true, law=True),
    Check("4.1-heads", "parameters", "heads.0 and on, and project, by these names and shapes", init_names, same_names),
    Check("4.1-heads", "values", "given weights lead to the right outputs and gradients", init_values, equal),
    Check("4.1-multihead", "shape", "(B, T, C) stays (B, T, C), of x's dtype, where x lies", forward_forms, equal),
    Check("4.1-multihead", "causality", "no position sees a later one", forward_causality, past_stays, law=True),
    Check(
        "4.1-multihead",
        "side by side",
        "before projection channels 0..D-1 are the first head's, the next D the second's",
        forward_side_by_side,
        all_true,
        law=True,
    ),
    Check("4.1-multihead", "project", "the heads' outputs pass through self.project", forward_project, all_true, law=True),
    Check("4.1-multihead", "dropout", "self.dropout comes last", forward_dropout, all_true, law=True),
    Check("4.1-multihead", "values", "dropout(project(all heads)), with its gradients", forward_values, equal),
)
