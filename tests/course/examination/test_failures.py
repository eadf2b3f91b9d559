"""Which line an error came from, counting only the learner's own lines, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptladder.course.checks.check import Mistake
from gptladder.course.examination.failures import failure_from, learners_place
from gptladder.course.examination.protocol import Failure, Job, Place

FILE = "model/attention.py"
JOB = Job(
    project=Path("/p"),
    exercise="3.3-head",
    module="model.attention",
    function="Head.forward",
    filled={FILE: ("softmax", "Multi.forward"), "b.py": ("Block.forward",)},
    reference={},
    out=Path("/out"),
    seconds=1.0,
    memory_bytes=1,
    printed_bytes=1,
)


@pytest.mark.parametrize(
    ("frames", "line"),
    [
        ([], None),
        ([("/elsewhere/x.py", 3, "f")], None),
        ([("/p/train.py", 3, "f")], None),
        ([(f"/p/mygpt/{FILE}", 3, "Head.forward")], 3),
        ([(f"/p/mygpt/{FILE}", 3, "Head.forward"), (f"/p/mygpt/{FILE}", 9, "helper"), ("/torch/nn.py", 1, "f")], 9),
        ([(f"/p/mygpt/{FILE}", 3, "Head.forward"), (f"/p/mygpt/{FILE}", 9, "softmax")], 3),
        ([(f"/p/mygpt/{FILE}", 3, "Head.forward"), (f"/p/mygpt/{FILE}", 9, "softmax.<locals>.<lambda>")], 3),
        ([(f"/p/mygpt/{FILE}", 3, "Multi.forward"), (f"/p/mygpt/{FILE}", 9, "Multi.forward")], None),
        ([(f"/p/mygpt/{FILE}", 3, "forward")], 3),  # as faulthandler writes it: the exercise's own
        ([("/p/mygpt/b.py", 3, "Block.forward")], None),
    ],
)
def test_the_last_line_of_the_learners_own(frames, line):
    assert learners_place(JOB, frames) == (None if line is None else Place(f"mygpt/{FILE}", line))


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (Mistake("it is wrong"), Failure("mistake", "it is wrong")),
        (ValueError("\n  first\nsecond"), Failure("raised", "first", error="ValueError")),
        (SyntaxError("bad", (f"/p/mygpt/{FILE}", 7, 0, "")), Failure("unreadable", "bad", Place(f"mygpt/{FILE}", 7))),
        (SyntaxError("bad", (f"/p/mygpt/{FILE}", None, 0, "")), Failure("unreadable", "bad", Place(f"mygpt/{FILE}", 1))),
        (SyntaxError("bad", ("/elsewhere.py", 7, 0, "")), Failure("raised", "bad (elsewhere.py, line 7)", error="SyntaxError")),
        (
            ModuleNotFoundError("no", name="mygpt.model.block"),
            Failure("mistake", "mygpt.model.block cannot be imported: its file is missing"),
        ),
        (ModuleNotFoundError("no", name="numba"), Failure("raised", "no", error="ModuleNotFoundError")),
        (SystemExit(), Failure("raised", "", error="SystemExit")),
    ],
)
def test_errors_are_described(error, failure):
    assert failure_from(error, JOB) == failure


@pytest.mark.parametrize(
    ("failure", "exercise"),
    [
        (Failure("raised", "exercise 3.3-head", error="NotImplementedError"), "3.3-head"),
        (Failure("raised", "later", error="NotImplementedError"), None),
        (Failure("raised", "exercise 3.3-head", error="ValueError"), None),
        (Failure("mistake", "exercise 3.3-head"), None),
    ],
)
def test_the_starters_raise_is_recognised(failure, exercise):
    assert failure.unwritten == exercise
