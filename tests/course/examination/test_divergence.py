"""The learner's tensors compared with the reference's, and the trace of one call."""

from __future__ import annotations

import torch

from gptladder.cli.words import trace_lines
from gptladder.course.checks import BY_EXERCISE
from gptladder.course.examination.divergence import compare
from gptladder.course.examination.in_process import run_traced
from gptladder.course.examination.tracing import RETURNED, traced
from gptladder.course.outline import course


def tensor(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def summaries(mine, theirs):
    return [(row.name, row.how, row.counterpart, row.first) for row in compare(mine, theirs)]


def test_values_are_matched_before_names():
    a, b = tensor(2, 3), tensor(2, 3, seed=1)
    assert summaries({"x": a, "y": b}, {"x": b, "y": a}) == [("x", "same", "y", False), ("y", "same", "x", False)]


def test_its_own_name_comes_first_where_several_hold_the_same():
    a = tensor(2, 3)
    assert summaries({"y": a}, {"x": a, "y": a.clone()}) == [("y", "same", "y", False)]


def test_a_transposed_tensor_is_matched_and_reported_as_transposed():
    a = tensor(2, 3, 4)
    assert summaries({"k": a.permute(0, 2, 1)}, {"k": a}) == [("k", "transposed", "k", False)]
    assert summaries({"k": a.permute(2, 0, 1)}, {"other": a}) == [("k", "transposed", "other", False)]


def test_only_the_first_that_differs_is_marked():
    a = tensor(2, 3)
    found = summaries({"x": a, "s": a * 2, "mine": a * 5, "w": a * 3}, {"x": a, "s": a * 7, "w": a * 9})
    assert found == [
        ("x", "same", "x", False),
        ("s", "differs", "s", True),
        ("mine", "unknown", None, False),
        ("w", "differs", "w", False),
    ]


def test_the_result_is_compared_with_the_result_only():
    a, b = tensor(3, 3), tensor(3, 3, seed=1)
    assert summaries({RETURNED: a}, {"x": a, RETURNED: b}) == [(RETURNED, "differs", RETURNED, True)]
    assert summaries({RETURNED: b.T}, {RETURNED: b}) == [(RETURNED, "differs", RETURNED, True)]
    assert summaries({RETURNED: b}, {RETURNED: b}) == [(RETURNED, "same", RETURNED, False)]


def test_the_reference_compared_with_itself_is_the_same_throughout():
    for exercise in course().exercises:
        found = run_traced(exercise)
        assert all(row.how == "same" for row in compare(found, found)), exercise.id


def test_the_trace_of_a_head_holds_its_locals_its_modules_outputs_and_the_result():
    found = run_traced(course().exercise("3.3-head"))
    names = list(found)
    assert names[0] == "x"
    assert names[-1] == RETURNED
    assert {"q", "k", "v", "scores", "weights", "self.query(...)", "self.key(...)", "self.dropout(...)"} <= set(names)
    assert torch.equal(found["q"], found["self.query(...)"])
    assert torch.allclose(found["weights"] @ found["v"], found[RETURNED])


def test_tracing_stops_after_its_call():
    import sys

    from gptladder.course.source import packages

    traced(packages.reference, "model.attention", "Head.forward", BY_EXERCISE["3.3-head"])
    assert sys.getprofile() is None
    assert not torch.nn.modules.module._global_forward_hooks


def test_the_lines_show_both_tensors_where_they_differ():
    a = tensor(2, 3)
    lines = list(trace_lines(compare({"x": a, "s": a * 2}, {"x": a, "s": a})))
    assert lines[0].rstrip().endswith("same")
    assert "DIFFERS" in lines[1]
    assert lines[2].rstrip().endswith("expected")
    assert "the line that makes s" in lines[3]


def test_where_the_result_is_right_no_step_is_called_wrong():
    a = tensor(2, 3)
    found = summaries({"x": a, "s": a * 2, RETURNED: a * 3}, {"x": a, "s": a * 7, RETURNED: a * 3})
    assert found == [("x", "same", "x", False), ("s", "unknown", None, False), (RETURNED, "same", RETURNED, False)]
