"""Probes and judges of dropout. Their results do not depend on the draw, so that a known mistake is recognised by them.

Values are given once each, counts up to a limit, and a share only where chance cannot explain it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .check import Results, difference
from .probes import call

SIGMAS = 6  # how far a share may stray by chance before it is called wrong: once in five hundred million times
COPIES = 400  # of one text, so that every combination of dropped weights comes about
MOST = 5  # different outputs that are counted
SOMEWHERE = "dropped somewhere"


def by_chance(share: float, p: float, count: int) -> bool:
    """Return whether this share of `count` numbers can come about when each is drawn with probability p."""
    return abs(share - p) <= SIGMAS * math.sqrt(p * (1 - p) / count)


def told_share(share: float, p: float, count: int) -> float:
    """Return p if the share can be p by chance, otherwise the share to one digit (to two if that would be p)."""
    if by_chance(share, p, count):
        return p
    return round(share, 1) if round(share, 1) != p else round(share, 2)


def multiplied(y: Tensor, x: Tensor) -> str:
    """Return by which factors the numbers of x were multiplied, in words: "1.25", "0 or 2", or "different numbers"."""
    if y.shape != x.shape:
        return f"something of shape {tuple(y.shape)}"
    found = [f"{factor:.6g}" for factor in (y / x).round(decimals=6).add(0.0).unique().tolist()]  # + 0 makes 0 of -0
    return " or ".join(found) if 0 < len(found) <= 3 else "different numbers" if found else "nothing, since all are dropped"


def growth(p: float) -> str:
    """Return the factor of what dropout keeps, 1/(1 - p), as `multiplied` writes it."""
    return f"{1 / (1 - p):.6g}"


def dropout_results(module: nn.Module, x: Tensor, p: float, whose: str) -> Results:
    """Run a module that returns 1 everywhere except for its dropout, in training and in eval(). Judged by `drops`."""
    y = call(module.train(), x, whose=whose)
    kept, case = y[y != 0], f"p = {p}"
    return {
        f"{case}, p": p,
        f"{case}, share": told_share((y == 0).double().mean().item(), p, y.numel()),
        f"{case}, kept": multiplied(kept, torch.ones_like(kept)),
        f"{case}, changes in eval": bool((call(module.eval(), x, whose=whose) != 1).any()),
    }


def drops(got: Results, wanted: Results) -> str | None:
    """Judge `dropout_results`: a share p becomes 0, what is kept grows by 1/(1 - p), and nothing is dropped in eval().

    A result `SOMEWHERE` says whether dropout has any effect, wherever it stands.
    """
    if got.get(SOMEWHERE) is False:
        return "in training nothing is dropped: the output must pass through self.dropout"
    for case in (name.removesuffix(", p") for name in got if name.endswith(", p")):
        p, share, kept = (got[f"{case}, {name}"] for name in ("p", "share", "kept"))
        if share != p:
            hint = "; self.dropout must come last" if SOMEWHERE in got else ""
            return f"in training about {share:.0%} of the output is dropped, where config.dropout is {p:g}{hint}"
        if kept != growth(p):
            return (
                f"with p = {p:g} an output of 1 that is not dropped must become 1/(1 - p) = {growth(p)}, but it becomes {kept}"
            )
        if got[f"{case}, changes in eval"]:
            return "in eval() the output must not be dropped or scaled, but it is"
    return None


def _different(rows: Tensor) -> int:
    return min(len(rows.round(decimals=6).unique(dim=0)), MOST)


def weight_dropout_results(module: nn.Module, x: Tensor, values: Tensor, p: float, whose: str) -> Results:
    """Run attention with dropout on many copies of one text of two tokens, x (1, 2, C). Judged by `drops_weights`.

    `values` (H, D) are those of the first token: it has a single weight in each head, so they are its output but for dropout.
    The module returns the outputs of its H heads side by side. The last result is not judged: it tells dropout of the output,
    where a number becomes 0 with probability p, from dropout of the values, where that takes both values of the second token.
    """
    copies = x.expand(COPIES, -1, -1).contiguous()
    still = [call(module.eval(), copies, whose=whose) for _ in range(2)]
    y = call(module.train(), copies, whose=whose).reshape(COPIES, 2, *values.shape)
    heads = range(len(values))
    return {
        "p": p,
        "the same twice in eval": difference(*still) is None,
        "one weight": multiplied(y[:, 0], values.expand_as(y[:, 0])),
        "outputs from one weight": [_different(y[:, 0, h]) for h in heads],
        "outputs from two weights": [_different(y[:, 1, h]) for h in heads],
        "single numbers become 0": by_chance((y[:, 1] == 0).double().mean().item(), p, y[:, 1].numel()),
    }


def drops_weights(got: Results, wanted: Results) -> str | None:
    """Judge `weight_dropout_results`: each weight becomes 0 or grows by 1/(1 - p), by itself, and only in training."""
    p, found = got["p"], got["one weight"]
    if not got["the same twice in eval"]:
        return "in eval() nothing may be dropped, but two calls with the same x give two results; drop only in training"
    if found == "1":
        return "in training no attention weight is dropped: the weights, after softmax, must pass through dropout"
    if found != f"0 or {growth(p)}" or any(count != 2 for count in got["outputs from one weight"]):
        return (
            f"the first token has only one attention weight, so in training with p = {p:g} its output must be either 0"
            f" or {growth(p)} times what it is in eval(): the attention weights, after softmax, must pass through dropout"
        )
    for count in got["outputs from two weights"]:
        if count != 4:
            seen = f"{count} or more" if count == MOST else count
            return (
                "the second token has two attention weights, and each must be dropped or kept by itself,"
                f" which makes 4 different outputs; there are {seen}"
            )
    return None
