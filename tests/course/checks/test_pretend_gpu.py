"""A device played on the CPU: what a GPU would stop at is told, what it would run is not."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gptladder.course.checks.check import Mistake
from gptladder.course.checks.pretend_gpu import forms, keeps_form, lies_there, stays_there
from gptladder.course.checks.probes import normal, tokens


def ones(*size, **options):
    return torch.ones(*size, dtype=torch.float64, **options)


def said_of(function, *inputs, given="x", **more):
    """What is said about it; empty if nothing is."""
    return lies_there("f", given)(stays_there(function, *(inputs or (normal(2, 5, 3),)), whose="f", **more), {}) or ""


def filled_like(x):
    out = torch.zeros_like(x)
    out[:, 1] = x[:, :2].mean(1)
    return out


def filled_here(x):
    out = torch.zeros(2, 5, 3, dtype=x.dtype)
    out[:, 1] = x[:, :2].mean(1)
    return out


def in_a_context(x):
    with torch.device(x.device):
        return ones(5, 5) @ x


def asks_for_cuda(x):
    mask = ones(5, 5)
    return (mask.cuda() if x.is_cuda else mask) @ x


def masked_by_index(x):
    scores = x @ x.mT
    scores[:, ones(5, 5).tril() == 0] = -math.inf
    return scores


RIGHT = {
    "device": lambda x: ones(5, 5, device=x.device).tril() @ x,
    "device's name": lambda x: ones(5, 5, device=str(x.device)) @ x,
    "to": lambda x: ones(5, 5).tril().to(x.device) @ x,
    "to with a keyword": lambda x: torch.ones(5, 5).to(device=x.device, dtype=x.dtype) @ x,
    "to a tensor": lambda x: torch.ones(5, 5).to(x) @ x,
    "type_as": lambda x: torch.ones(5, 5).type_as(x) @ x,
    "new": lambda x: x.new_ones(5, 5) @ x,
    "like": filled_like,
    "moved at the end": lambda x: filled_here(x).to(x.device),
    "there and back": lambda x: x.cpu().cumsum(1).to(x.device),
    "numbers": lambda x: torch.tensor(x.tolist(), device=x.device),
    "context": in_a_context,
    "is_cuda": asks_for_cuda,
    "scalars": lambda x: x / torch.tensor(3.0) * torch.tensor(2.0),
    "an index on the CPU": lambda x: x[:, torch.arange(5)],
    "a mask as an index": masked_by_index,
    "vmap": lambda x: torch.vmap(lambda row: row.cumsum(0) / torch.arange(1, 6)[:, None])(x),  # not followed: nothing is said
    "rows": lambda x: torch.stack([row.cumsum(0) for row in x]),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
}
WRONG = {
    "matmul": lambda x: ones(5, 5).tril() @ x,
    "div": lambda x: x.cumsum(1) / torch.arange(1, 6).view(1, 5, 1),
    "masked_fill": lambda x: (x @ x.mT).masked_fill(ones(5, 5).tril() == 0, -math.inf),
    "where": lambda x: torch.where(ones(5, 3) == 0, -math.inf, x),
    "cat": lambda x: torch.cat([torch.zeros(2, 1, 3), x], 1),
    "stack": lambda x: torch.stack([torch.zeros(5, 3), x[0]]),
    "einsum": lambda x: torch.einsum("ts,bsc->btc", ones(5, 5), x),
    "scaled_dot_product_attention": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=ones(5, 5)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_would_run_on_a_gpu_is_not_blamed(name):
    assert said_of(RIGHT[name]) == ""


@pytest.mark.parametrize("name", WRONG)
def test_where_a_tensor_of_the_cpu_meets_another_the_function_is_named(name):
    said = said_of(WRONG[name])
    assert f"with x on a GPU, `{name}` would stop" in said
    assert said.endswith("make it with device=x.device")


@pytest.mark.parametrize("lost", [filled_here, lambda x: torch.tensor(x.tolist()), lambda x: x.cpu(), lambda x: x.to("cpu")])
def test_a_result_on_the_cpu_is_told(lost):
    assert "with scores on a GPU, f would return a tensor on the CPU" in said_of(lost, given="scores")


def test_a_module_takes_its_weights_and_buffers_along_and_leaves_plain_tensors():
    class Masked(nn.Module):
        def __init__(self, registered):
            super().__init__()
            self.linear = nn.Linear(3, 3).double()
            if registered:
                self.register_buffer("mask", ones(5, 5).tril())
            else:
                self.mask = ones(5, 5).tril()

        def forward(self, x):
            return self.mask @ self.linear(x)

    for registered in (True, False):
        module = Masked(registered)
        assert (said_of(module, module=module) == "") is registered
    assert nn.Linear(3, 3).weight.device.type == "cpu"  # the play is over


def test_whole_numbers_have_a_place_too():
    table = nn.Embedding(11, 4)
    assert said_of(lambda ids: table(ids), tokens(2, 5, vocab_size=11), module=table) == ""
    said = said_of(lambda ids: table(torch.arange(5)), tokens(2, 5, vocab_size=11), module=table, given="tokens")
    assert "`embedding` would stop" in said


def test_other_mistakes_are_told_by_their_own_words():
    with pytest.raises(Mistake, match="f returned nothing"):
        said_of(lambda x: None)
    with pytest.raises(ZeroDivisionError):
        said_of(lambda x: 1 / 0)


def test_what_the_play_cannot_do_is_nobodys_mistake():
    def only_on_a_gpu(x):
        if x.is_cuda:
            raise RuntimeError("no GPU was found")
        return x

    assert said_of(only_on_a_gpu) == ""


def test_device_shape_and_dtype_are_judged_together():
    def said(layer):
        return keeps_form("f")(forms(layer, (2, 5, 3), (1, 3), whose="f"), right)

    class Float64(nn.Module):
        def forward(self, x):
            return x.double()

    class OnTheCPU(nn.Module):
        def forward(self, x):
            return torch.zeros(x.shape)

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        right = forms(nn.Identity(), (2, 5, 3), (1, 3), whose="f")
        assert said(nn.Identity()) is None
        assert "the shape for x (2, 5, 3)" in said(nn.Linear(3, 4).double())
        assert "the dtype for float32" in said(Float64())
        assert "f would return a tensor on the CPU" in said(OnTheCPU())
    finally:
        torch.set_default_dtype(before)
