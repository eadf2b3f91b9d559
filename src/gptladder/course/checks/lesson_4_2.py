"""Lesson 4.2: feed-forward, and the block with its residual connections."""

from __future__ import annotations

import torch
from torch import nn

from .check import Check, Mistake, Opened, Results, agree, beside, difference, equal, past_stays, same_names
from .dropping import SOMEWHERE, dropout_results, drops
from .pretend_gpu import forms, keeps_form
from .probes import (
    SIZES,
    call,
    config,
    each_by_itself,
    fill,
    names_of,
    normal,
    one_token_changed,
    only,
    other_tokens,
    prefixed,
    with_gradients,
)

LAYERS, FEED, BLOCK = "FeedForward.__init__", "FeedForward.forward", "Block.forward"


def _feed_forward(my: Opened, C: int, dropout: float = 0.0) -> nn.Module:
    """Return a feed-forward layer with known weights, in eval mode."""
    return fill(my("model.block").FeedForward(config(my, n_embd=C, n_head=1, dropout=dropout))).eval()


def layers_width(my: Opened) -> Results:
    """Return the widths that expand and contract give, beside 4C and C."""
    results: Results = {}
    for C in (3, 10):
        layers = _feed_forward(my, C)
        wide = layers.expand(normal(2, C)).size(-1)  # type: ignore[operator]
        narrow = layers.contract(normal(2, wide)).size(-1)  # type: ignore[operator]
        results |= beside([wide, narrow], [4 * C, C], case=f"C = {C}")
    return results


def layers_dropout(my: Opened) -> Results:
    """Return what dropout does to an output of nothing but ones, for two settings."""
    results: Results = {}
    for p in (0.5, 0.0):
        results |= dropout_results(_ones(my, p), normal(4, 7, 6), p, whose=LAYERS)
    return results


def _ones(my: Opened, dropout: float) -> nn.Module:
    """Return a feed-forward layer whose output is 1 everywhere except for dropout; raise Mistake if contract has no bias."""
    layers = _feed_forward(my, 6, dropout)
    if layers.contract.bias is None:  # type: ignore[union-attr]
        raise Mistake("contract has no bias")
    with torch.no_grad():
        layers.contract.weight.zero_()  # type: ignore[union-attr, operator]
        layers.contract.bias.fill_(1.0)  # type: ignore[union-attr, operator]
    return layers


def layers_names(my: Opened) -> Results:
    """Return the names and shapes of the parameters for two sizes."""
    return {f"the parameters for C = {C}": names_of(_feed_forward(my, C)) for C in (3, 10)}


def layers_values(my: Opened) -> Results:
    """Return outputs and the input's gradients of layers that the learner's __init__ made."""
    results: Results = {}
    for B, T, _, C in SIZES:
        results |= prefixed(f"B = {B}, T = {T}, C = {C}", with_gradients(_feed_forward(my, C), normal(B, T, C), whose=LAYERS))
    return results


def feed_forms(my: Opened) -> Results:
    """Return the output's shape, dtype and device; one of the shapes has a single token."""
    return forms(_feed_forward(my, 6), (2, 5, 6), (3, 1, 6), (1, 7, 6), whose=FEED)


def feed_each(my: Opened) -> Results:
    """Return the other tokens' outputs when one token is changed, beside those when it is not."""
    return other_tokens(_feed_forward(my, 6), normal(2, 5, 6), whose=FEED)


@torch.no_grad()
def feed_relu(my: Opened) -> Results:
    """Return the outputs when all hidden numbers are far below 0 and far above, beside those by the layers alone."""
    layers, x = _feed_forward(my, 6), normal(2, 5, 6)
    layers.expand.bias.fill_(-100.0)  # type: ignore[union-attr, operator]
    results = beside(call(layers, x, whose=FEED), layers.contract.bias.expand(2, 5, 6), "below")  # type: ignore[union-attr, operator]
    layers.expand.bias.fill_(100.0)  # type: ignore[union-attr, operator]
    return results | beside(call(layers, x, whose=FEED), layers.contract(layers.expand(x)), "above")  # type: ignore[operator]


def feed_dropout(my: Opened) -> Results:
    """Return what dropout does to an output of nothing but ones, and whether it has any effect on another one."""
    layers, x = _feed_forward(my, 6, dropout=0.5).train(), normal(4, 7, 6)
    somewhere = difference(call(layers, x, whose=FEED), call(layers.eval(), x, whose=FEED)) is not None
    return dropout_results(_ones(my, 0.5), normal(4, 7, 6), 0.5, whose=FEED) | {SOMEWHERE: somewhere}


def feed_values(my: Opened) -> Results:
    """Return outputs and gradients at several sizes."""
    results: Results = {}
    for B, T, _, C in SIZES:
        layers = _feed_forward(my, C)
        results |= prefixed(f"B = {B}, T = {T}, C = {C}", with_gradients(layers, normal(B, T, C), whose=FEED, module=layers))
    return results


def _block(my: Opened, H: int, D: int) -> nn.Module:
    """Return a block with torch's layer norm, so that the one of lesson 4.3 is not needed yet."""
    return fill(my("model.block").Block(config(my, n_head=H, n_embd=H * D), norm=nn.LayerNorm)).eval()


def _with(my: Opened, attention: nn.Module, feed_forward: nn.Module, norms: tuple[float, float] = (1.0, 1.0)) -> nn.Module:
    """Return a block with these parts, and with norms that only multiply, so that the output tells how the parts were used."""
    block = _block(my, 3, 4)
    block.attention, block.feed_forward = attention, feed_forward
    block.attention_norm, block.feed_forward_norm = _times(norms[0]), _times(norms[1])
    return block


def _times(factor: float) -> nn.Module:
    """Return a layer that multiplies by this number."""
    layer = nn.Linear(12, 12, bias=False)
    with torch.no_grad():
        layer.weight.copy_(factor * torch.eye(12))
    return layer


def block_forms(my: Opened) -> Results:
    """Return the output's shape, dtype and device; one of the shapes has a single token."""
    return forms(_block(my, 3, 4), (2, 5, 12), (3, 1, 12), (1, 7, 12), whose=BLOCK)


def block_causality(my: Opened) -> Results:
    """Return the outputs for x, and for x with one token changed."""
    return one_token_changed(_block(my, 3, 4), normal(2, 7, 12), whose=BLOCK)


def block_open_road(my: Opened) -> Results:
    """Return the output when both parts return 0, beside x."""
    block, x = _block(my, 3, 4), normal(2, 5, 12)
    block.attention, block.feed_forward = only(0.0), only(0.0)
    return beside(call(block, x, whose=BLOCK), x)


def block_order(my: Opened) -> Results:
    """Return the outputs of blocks with parts that multiply or return one number, beside those made by hand."""
    x = normal(2, 5, 12)
    attention, feed_forward = _with(my, _times(3.0), only(0.0), (2.0, 1.0)), _with(my, only(0.0), _times(3.0), (1.0, 2.0))
    both = _with(my, only(1.0), _times(5.0))
    return (
        beside(call(attention, x, whose=BLOCK), x + 3 * 2 * x, "attention")
        | beside(call(feed_forward, x, whose=BLOCK), x + 3 * 2 * x, "feed_forward")
        | beside(call(both, x, whose=BLOCK), (x + 1) + 5 * (x + 1), "both")
    )


def block_values(my: Opened) -> Results:
    """Return outputs and gradients at several sizes."""
    results: Results = {}
    for B, T, H, D in SIZES:
        block = _block(my, H, D)
        found = with_gradients(block, normal(B, T, H * D), whose=BLOCK, module=block)
        results |= prefixed(f"B = {B}, T = {T}, H = {H}, D = {D}", found)
    return results


ORDER = {
    "attention": "attention must read attention_norm(x), and its output must be added to x: when attention_norm doubles,"
    " attention triples and feed_forward returns 0, the output must be 7x",
    "feed_forward": "feed_forward must read feed_forward_norm(x), and its output must be added to x: when feed_forward_norm"
    " doubles, feed_forward triples and attention returns 0, the output must be 7x",
    "both": "attention comes first, and feed_forward reads x with attention's output added: when attention returns 1,"
    " feed_forward multiplies by 5 and the norms change nothing, the output must be 6(x + 1)",
}
RELU = {
    "below": "when all hidden numbers are below 0, the ReLU makes them 0 and the output must be contract's bias",
    "above": "when all hidden numbers are above 0, the ReLU leaves them and the output must be contract(expand(x))",
}
LAYERS_ID, FEED_ID, BLOCK_ID = "4.2-layers", "4.2-feedforward", "4.2-block"
CHECKS = (
    Check(LAYERS_ID, "parameters", "expand and contract with biases, nothing else", layers_names, same_names),
    Check(
        LAYERS_ID,
        "width",
        "expand goes from C to 4C, contract from 4C to C",
        layers_width,
        agree("with {case} the widths after expand and after contract are {found}, where {right} is right", numbers=False),
        law=True,
    ),
    Check(LAYERS_ID, "dropout", "self.dropout drops a share config.dropout", layers_dropout, drops, law=True),
    Check(LAYERS_ID, "values", "with given weights, the right outputs and gradients", layers_values, equal),
    Check(FEED_ID, "shape", "(B, T, C) stays (B, T, C), with x's dtype, where x lies", feed_forms, keeps_form(FEED)),
    Check(FEED_ID, "each", "each position is worked on by itself", feed_each, each_by_itself, law=True),
    Check(FEED_ID, "relu", "between the layers, numbers below 0 become 0 and the rest stay", feed_relu, agree(RELU), law=True),
    Check(FEED_ID, "dropout", "self.dropout comes last", feed_dropout, drops, law=True),
    Check(FEED_ID, "values", "dropout(contract(relu(expand(x)))), with its gradients", feed_values, equal),
    Check(BLOCK_ID, "shape", "(B, T, C) stays (B, T, C), with x's dtype, where x lies", block_forms, keeps_form(BLOCK)),
    Check(BLOCK_ID, "causality", "no position sees a later one", block_causality, past_stays, law=True),
    Check(
        BLOCK_ID,
        "open road",
        "when both parts return 0, x comes out as it went in",
        block_open_road,
        agree("when attention and feed_forward both return 0, x must come out as it went in"),
        law=True,
    ),
    Check(BLOCK_ID, "order", "norm, attention, add; norm, feed-forward, add", block_order, agree(ORDER), law=True),
    Check(BLOCK_ID, "values", "the output and its gradients", block_values, equal),
)
