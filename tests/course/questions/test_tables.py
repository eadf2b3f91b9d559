"""Tensors as text, with gaps."""

from __future__ import annotations

import torch

from gptladder.course.questions.draws import tables


def test_a_table_names_its_rows_and_hides_what_is_asked():
    x = torch.tensor([[[1.0, -0.0, 3.0], [4.0, 5.0, float("-inf")]]])
    assert tables.table("x", x, asked=[(0, 0, 2)], hidden=[(0, 1, 0)], note="how") == [
        "x  (1, 2, 3)                              how",
        "  x[0, 0]                    1       0       ?",
        "  x[0, 1]                    .       5    -inf",
    ]
    assert tables.table("y", torch.tensor([0.5, 2.0]), shape=False) == ["y  shape ?", "                         0.500   2.000"]


def test_a_weighted_sum_is_written_out():
    assert tables.weighted_sum(torch.tensor([0.25, 0.75]), torch.tensor([-3.0, 4.0])) == "0.25 x -3 + 0.75 x 4"
