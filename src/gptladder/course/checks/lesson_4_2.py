"""Lesson 4.2: feed-forward, and the block with its residual connections."""

from __future__ import annotations

import torch
from torch import nn

from .check import Check, Mistake, Opened, Results, all_true, difference, equal, past_stays, same_names
from .pretend_gpu import forms
from .probes import SIZES, all_but_one, call, config, dropped, fill, names_of, normal, only, prefixed, with_gradients

LAYERS, FEED, BLOCK = "FeedForward.__init__", "FeedForward.forward", "Block.forward"


def _feed_forward(my: Opened, C: int, dropout: float = 0.0) -> nn.Module:
    return fill(my("model.block").FeedForward(config(my, n_embd=C, n_head=1, dropout=dropout))).eval()


def layers_width(my: Opened) -> Results:
    """What each layer takes and gives."""
    results: Results = {}
    for C in (3, 10):
        layers = _feed_forward(my, C)
        wide = layers.expand(normal(2, C)).size(-1)  # type: ignore[operator]
        narrow = layers.contract(normal(2, wide)).size(-1)  # type: ignore[operator]
        right = (wide, narrow) == (4 * C, C)
        results[f"C = {C}"] = "" if right else f"C = {C} becomes {wide}, then {narrow}; {4 * C}, then {C} is right"
    return results


def layers_dropout(my: Opened) -> Results:
    """What dropout does to an output of nothing but ones, for two settings."""
    return {f"dropout = {p}": dropped(_ones(my, p), normal(4, 7, 6), p, whose=LAYERS) for p in (0.5, 0.0)}


def _ones(my: Opened, dropout: float) -> nn.Module:
    """A feed-forward layer that answers 1 whatever it reads, but for dropout."""
    layers = _feed_forward(my, 6, dropout)
    if layers.contract.bias is None:  # type: ignore[union-attr]
        raise Mistake("contract has no bias")
    with torch.no_grad():
        layers.contract.weight.zero_()  # type: ignore[union-attr, operator]
        layers.contract.bias.fill_(1.0)  # type: ignore[union-attr, operator]
    return layers


def layers_names(my: Opened) -> Results:
    """The parameters for two sizes."""
    return {f"the parameters for C = {C}": names_of(_feed_forward(my, C)) for C in (3, 10)}


def layers_values(my: Opened) -> Results:
    """Outputs, and the gradients of the input, of what was made."""
    results: Results = {}
    for B, T, _, C in SIZES:
        results |= prefixed(f"B = {B}, T = {T}, C = {C}", with_gradients(_feed_forward(my, C), normal(B, T, C), whose=LAYERS))
    return results


def feed_forms(my: Opened) -> Results:
    """Shape, dtype and device; a single token among the shapes."""
    return forms(_feed_forward(my, 6), (2, 5, 6), (3, 1, 6), (1, 7, 6), whose=FEED)


def feed_each(my: Opened) -> Results:
    """One token is changed: before and after it nothing moves."""
    layers, x = _feed_forward(my, 6), normal(2, 5, 6)
    changed = x.clone()
    changed[1, 2] = normal(6, seed=1)
    moved = difference(call(layers, changed, whose=FEED)[all_but_one(2, 5)], call(layers, x, whose=FEED)[all_but_one(2, 5)])
    return {"others": f"one token was changed, and the output of another moved: {moved}" if moved else ""}


@torch.no_grad()
def feed_relu(my: Opened) -> Results:
    """All hidden numbers far below zero, then far above."""
    layers, x = _feed_forward(my, 6), normal(2, 5, 6)
    layers.expand.bias.fill_(-100.0)  # type: ignore[union-attr, operator]
    silent = difference(call(layers, x, whose=FEED), layers.contract.bias.expand(2, 5, 6))  # type: ignore[union-attr, operator]
    layers.expand.bias.fill_(100.0)  # type: ignore[union-attr, operator]
    whole = difference(call(layers, x, whose=FEED), layers.contract(layers.expand(x)))  # type: ignore[operator]
    return {
        "below": f"with all hidden numbers below 0 the output must be contract's bias, but {silent}" if silent else "",
        "above": f"with all hidden numbers above 0 the output must be contract(expand(x)), but {whole}" if whole else "",
    }


def feed_dropout(my: Opened) -> Results:
    """What dropout does to an output of nothing but ones; and whether there is any, wherever it stands."""
    layers, x = _feed_forward(my, 6, dropout=0.5).train(), normal(4, 7, 6)
    some = difference(call(layers, x, whose=FEED), call(layers.eval(), x, whose=FEED))
    return {
        "last": dropped(_ones(my, 0.5), normal(4, 7, 6), 0.5, whose=FEED),
        "anywhere": "" if some else "nothing is dropped, neither on the way nor at the end",
    }


def feed_values(my: Opened) -> Results:
    """Outputs and gradients at several sizes."""
    results: Results = {}
    for B, T, _, C in SIZES:
        layers = _feed_forward(my, C)
        results |= prefixed(f"B = {B}, T = {T}, C = {C}", with_gradients(layers, normal(B, T, C), whose=FEED, module=layers))
    return results


def _block(my: Opened, H: int, D: int) -> nn.Module:
    """With torch's layer norm, so that the one of lesson 4.3 is not needed yet."""
    return fill(my("model.block").Block(config(my, n_head=H, n_embd=H * D), norm=nn.LayerNorm)).eval()


def _with(my: Opened, attention: nn.Module, feed_forward: nn.Module, norms: tuple[float, float] = (1.0, 1.0)) -> nn.Module:
    """A block with other parts, and norms that only multiply: what was done with them shows in the output."""
    block = _block(my, 3, 4)
    block.attention, block.feed_forward = attention, feed_forward
    block.attention_norm, block.feed_forward_norm = _times(norms[0]), _times(norms[1])
    return block


def _times(factor: float) -> nn.Module:
    """A layer that multiplies by this number."""
    layer = nn.Linear(12, 12, bias=False)
    with torch.no_grad():
        layer.weight.copy_(factor * torch.eye(12))
    return layer


def block_forms(my: Opened) -> Results:
    """Shape, dtype and device; a single token among the shapes."""
    return forms(_block(my, 3, 4), (2, 5, 12), (3, 1, 12), (1, 7, 12), whose=BLOCK)


def block_causality(my: Opened) -> Results:
    """One token is changed."""
    block, x = _block(my, 3, 4), normal(2, 7, 12)
    changed = x.clone()
    changed[:, 4] = normal(2, 12, seed=1)
    return {"before": call(block, x, whose=BLOCK), "after": call(block, changed, whose=BLOCK), "changed": 4}


def block_open_road(my: Opened) -> Results:
    """Both parts answer zero, then one of them."""
    x = normal(2, 5, 12)
    block = _block(my, 3, 4)
    block.attention, block.feed_forward = only(0.0), only(0.0)
    lost = difference(call(block, x, whose=BLOCK), x)
    return {"zero": f"with both parts zero x must come out as it went in, but {lost}" if lost else ""}


def block_order(my: Opened) -> Results:
    """Parts so simple that the output tells what was done with them."""
    x, zero, results = normal(2, 5, 12), only(0.0), {}
    for words, block, right in (
        ("attention reads attention_norm(x)", _with(my, _times(3.0), zero, (2.0, 1.0)), x + 3 * 2 * x),
        ("feed_forward reads feed_forward_norm(x)", _with(my, zero, _times(3.0), (1.0, 2.0)), x + 3 * 2 * x),
        ("feed_forward reads x + what attention made", _with(my, only(1.0), _times(5.0)), (x + 1) + 5 * (x + 1)),
    ):
        off = difference(call(block, x, whose=BLOCK), right)
        results[words] = f"not so: {words}, which with stand-ins for the parts shows in the output" if off else ""
    return results


def block_values(my: Opened) -> Results:
    """Outputs and gradients at several sizes."""
    results: Results = {}
    for B, T, H, D in SIZES:
        block = _block(my, H, D)
        found = with_gradients(block, normal(B, T, H * D), whose=BLOCK, module=block)
        results |= prefixed(f"B = {B}, T = {T}, H = {H}, D = {D}", found)
    return results


CHECKS = (
    Check("4.2-layers", "parameters", "expand and contract with biases, nothing else", layers_names, same_names),
    Check("4.2-layers", "width", "expand makes 4C of C, contract C of 4C", layers_width, all_true, law=True),
    Check("4.2-layers", "dropout", "self.dropout drops a share config.dropout", layers_dropout, all_true, law=True),
    Check("4.2-layers", "values", "given weights lead to the right outputs and gradients", layers_values, equal),
    Check("4.2-feedforward", "shape", "(B, T, C) stays (B, T, C), of x's dtype, where x lies", feed_forms, equal),
    Check("4.2-feedforward", "each", "each position is worked on by itself", feed_each, all_true, law=True),
    Check(
        "4.2-feedforward", "relu", "between the layers what is below 0 becomes 0, the rest stays", feed_relu, all_true, law=True
    ),
    Check("4.2-feedforward", "dropout", "self.dropout comes last", feed_dropout, all_true, law=True),
    Check("4.2-feedforward", "values", "dropout(contract(relu(expand(x)))), with its gradients", feed_values, equal),
    Check("4.2-block", "shape", "(B, T, C) stays (B, T, C), of x's dtype, where x lies", block_forms, equal),
    Check("4.2-block", "causality", "no position sees a later one", block_causality, past_stays, law=True),
    Check("4.2-block", "open road", "with both parts zero x comes out as it went in", block_open_road, all_true, law=True),
    Check("4.2-block", "order", "norm, attention, add; norm, feed-forward, add", block_order, all_true, law=True),
    Check("4.2-block", "values", "the output and its gradients", block_values, equal),
)
