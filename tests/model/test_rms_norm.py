"""RMS norm and its gradient against the formula."""

from __future__ import annotations

import pytest
import torch

from gptladder.model.rms_norm import rms_norm


@pytest.mark.parametrize("shape", [(1, 1, 2), (2, 7, 24), (3, 5, 1, 8)])
def test_rms_norm_and_its_gradient_are_the_formulas(shape):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    expected = x / (x.square().mean(dim=-1, keepdim=True) + torch.finfo(torch.float64).eps).sqrt()
    assert torch.allclose(rms_norm(x), expected, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(rms_norm, x)


def test_rms_norm_of_nothing_is_nothing_and_not_nan():
    x = torch.zeros(2, 3, requires_grad=True)
    rms_norm(x).sum().backward()
    assert torch.equal(rms_norm(x), torch.zeros(2, 3))
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_rms_norm_in_bfloat16_sums_in_float32():
    torch.manual_seed(0)
    x = torch.randn(4, 4096).bfloat16()
    assert torch.allclose(rms_norm(x).float(), rms_norm(x.float()), rtol=2**-7, atol=0)
