"""Every check, run on the reference, and what is true of all of them."""

from __future__ import annotations

import pytest
import torch

from gptladder.course import checks
from gptladder.course.checks.check import same
from gptladder.course.examination.in_process import probe_settings, run_probe, wanted
from gptladder.course.source.packages import reference

CHECKS = checks.ALL


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.exercise} {check.name}")
def test_the_reference_passes(check):
    """A law passes without the reference's results, too."""
    got = run_probe(check, reference)
    assert got
    assert check.judge(got, wanted(check)) is None
    assert check.judge(got, {} if check.law else got) is None


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.exercise} {check.name}")
def test_results_do_not_depend_on_the_draw(check):
    """A known mistake is recognised by its results, and a learner's version of it draws in another order."""
    with probe_settings():
        torch.manual_seed(1)
        assert same(check.probe(reference), wanted(check))


@pytest.mark.parametrize("exercise", dict.fromkeys(check.exercise for check in CHECKS if check.exercise.startswith("3.")))
def test_the_first_check_that_is_no_law_is_the_shape(exercise):
    """A beginner's first mistake is told first."""
    assert next(check for check in CHECKS if check.exercise == exercise and not check.law).name == "shape"
