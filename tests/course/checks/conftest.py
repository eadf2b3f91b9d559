"""What the tests of checks share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def float64():
    """As in a probe: what is made without a dtype has float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
