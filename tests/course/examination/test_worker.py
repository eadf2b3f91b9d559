"""The learner's process: what it notices and puts back, what it hands on, and that nothing survives it."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import threading
import time

import numpy
import psutil
import pytest
import torch
from torch import nn

from gptladder.course.checks.check import Mistake
from gptladder.course.examination import child, worker
from gptladder.course.examination.examiner import Examiner
from gptladder.course.outline import course
from gptladder.course.source.functions import text_of_body

HEAD, FILE = "3.3-head", "model/attention.py"
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked for it")
WITHOUT_FORK = (  # the command that a worker is run under: Python itself, which takes fork away and goes on with the worker
    sys.executable,
    "-c",
    "import os, runpy, sys; del os.fork; sys.argv[:4] = []; runpy.run_module(sys.argv[0], run_name='__main__')",
)


# --- what is shared


@pytest.fixture
def shared():
    shared = child.SharedState()
    yield shared
    shared.put_back()
    torch.set_default_dtype(torch.float32)


def test_nothing_is_noted_while_nothing_happens(shared):
    for dtype in (torch.float32, torch.float64, torch.float32):
        torch.set_default_dtype(dtype)
        shared.reset()
    nn.Linear(2, 2)(torch.ones(1, 2)).sum().backward()
    shared.reset()
    assert shared.changes == []


def test_what_is_replaced_is_put_back(shared):
    kept = (torch.softmax, nn.Module.__call__, nn.Linear.forward, math.sqrt, len)
    torch.softmax = nn.Module.__call__ = nn.Linear.forward = math.sqrt = None
    child.builtins.len = lambda x: 0
    shared.put_back()
    assert (torch.softmax, nn.Module.__call__, nn.Linear.forward, math.sqrt, len) == kept
    assert nn.Linear(2, 3)(torch.ones(2)).shape == (3,)
    assert {says for says, _ in shared.changes} == {
        *("replaces builtins.len", "replaces math.sqrt", "replaces torch.softmax"),
        *("replaces torch.nn.Module.__call__", "replaces torch.nn.Linear.forward"),
    }


def test_what_is_taken_away_is_put_back(shared):
    kept = torch.exp
    del torch.exp
    shared.put_back()
    assert torch.exp is kept


def test_an_inherited_name_that_is_covered_is_noticed(shared):
    """Most of a tensor's methods are those of its C base."""
    torch.Tensor.softmax = lambda self, dim: self
    shared.put_back()
    assert shared.changes == [("replaces torch.Tensor.softmax", "softmax")]
    assert torch.zeros(2).softmax(0).tolist() == [0.5, 0.5]


def test_new_names_are_nobodys_harm(shared):
    torch.my_own = torch.Tensor.my_own = 1
    shared.put_back()
    del torch.my_own, torch.Tensor.my_own
    assert shared.changes == []


def test_settings_are_reset(shared):
    torch.set_default_dtype(torch.bfloat16)
    torch.set_grad_enabled(False)
    torch.set_default_device("meta")
    shared.reset()
    assert torch.get_default_dtype() == torch.float64
    assert torch.is_grad_enabled()
    assert torch.zeros(1).device.type == "cpu"
    assert [name for _, name in shared.changes] == ["set_default_dtype", "set_default_device", "set_grad_enabled"]


# --- what is handed on


@pytest.mark.parametrize("value", [1, 1.5, "word", None, True, [1, [2.0, "x"]], {"a": [1]}, math.inf])
def test_plain_values(value):
    assert child.plain("it", value) == value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (numpy.int64(1), "it holds a numpy.int64, where plain values are wanted"),
        ([1, torch.tensor(1)], "it holds a torch.Tensor"),
        ({1, 2}, "it holds a builtins.set"),
        ([10**10_000], "it cannot be compared: Exceeds the limit"),
        ({(1, 2): 3}, "it cannot be compared: keys must be str"),
    ],
)
def test_values_that_are_not_plain(value, words):
    with pytest.raises(Mistake, match=words):
        child.plain("it", value)


def test_values_that_hold_themselves():
    value = []
    value.append(value)
    with pytest.raises(Mistake, match="it cannot be compared: Circular"):
        child.plain("it", value)


@pytest.mark.parametrize(
    "tensor", [torch.ones(2, 3).mT, torch.ones(1).expand(3), torch.ones(4)[1:3], nn.Parameter(torch.ones(2)), torch.ones(())]
)
def test_tensors_are_copied(tensor):
    copy = child.copied("it", tensor)
    assert torch.equal(copy, tensor)
    assert copy.is_contiguous()
    assert not copy.requires_grad
    assert copy.data_ptr() != tensor.data_ptr()


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.empty(2, device="meta"), "it lies on the device meta, not the CPU"),
        (torch.ones(2, dtype=torch.complex64), r"it is a tensor of torch\.complex64"),
        (torch.eye(2).to_sparse(), "sparse_coo"),
    ],
)
def test_tensors_that_cannot_be_compared(tensor, words):
    with pytest.raises(Mistake, match=words):
        child.copied("it", tensor)


# --- whose line


JOB = {"project": "/p", "function": "Head.forward", "others": {FILE: ["softmax", "Multi.forward"], "b.py": ["Block.forward"]}}


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
    assert child.learners_line(JOB, frames) == ({} if line is None else {"file": f"mygpt/{FILE}", "line": line})


def test_where_a_child_was_is_read_from_its_stack(tmp_path):
    text = 'Current thread 0x01 (most recent call first):\n  File "/torch/x.py", line 5 in exp\n'
    text += f'  File "/p/mygpt/{FILE}", line 9 in helper\n  File "/p/mygpt/{FILE}", line 3 in forward\n'
    (tmp_path / worker.STACK).write_text(text)
    assert worker.stopped_at({**JOB, "out": str(tmp_path)}) == {"file": f"mygpt/{FILE}", "line": 9}
    assert worker.stopped_at({**JOB, "out": str(tmp_path / "nothing")}) == {}


# --- where fork is missing


@pytest.mark.slow
def test_without_fork_it_works_the_same_way(project):
    """Each child loads torch itself, which its time does not count."""
    right = text_of_body(project.text(FILE), "Head.forward")
    with Examiner(seconds=20.0, wrap=WITHOUT_FORK) as examiner:
        project.body(HEAD, f"import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()\n{right}")
        assert project.examine(examiner, HEAD).passed
        examiner.seconds = 1.0
        project.body(HEAD, "print('before')\nwhile True: pass  # here")
        verdict = project.examine(examiner, HEAD)
        assert "still running after " in verdict.problem
        assert verdict.where == project.line(FILE, "# here")
        assert verdict.printed == "before\n"
        project.body(HEAD, "try:\n    import gptladder  # here\nfinally:\n    import os\n    os._exit(3)")
        assert "ended with code 3" in project.examine(examiner, HEAD).problem


# --- nothing survives


def endless(project):
    """A project whose Head.forward says that it has begun, and never ends."""
    project.body(HEAD, "open('begun', 'w')\nwhile True: pass")
    return project.folder / "begun"


def until(condition, seconds=60.0):
    """Waits for it; whether it came."""
    began = time.monotonic()
    while not condition() and time.monotonic() - began < seconds:
        time.sleep(0.02)
    return condition()


def gone(processes):
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="a signal cannot be sent to a thread here")
def test_an_interrupt_ends_the_child_too(project):
    begun, family = endless(project), []

    def interrupt():
        until(begun.exists)
        family.extend(psutil.Process(examiner.worker.pid).children(recursive=True))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with Examiner() as examiner:
        family.append(psutil.Process(examiner.worker.pid))
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            examiner.examine(project.folder, course().exercise(HEAD))
        thread.join()
    assert len(family) == 2
    assert until(lambda: gone(family))


@linux
def test_a_worker_that_is_killed_takes_its_child_along(project, examiner):
    """And the job is done by the next worker, here until its time is up."""
    begun = endless(project)
    before, examiner.seconds = examiner.seconds, 2.0
    seen = []

    def kill_once():
        until(begun.exists)
        process = psutil.Process(examiner.worker.pid)
        seen.extend([process, *process.children(recursive=True)])
        process.kill()

    thread = threading.Thread(target=kill_once)
    thread.start()
    verdict = examiner.examine(project.folder, course().exercise(HEAD))
    thread.join()
    examiner.seconds = before
    assert len(seen) == 2
    assert until(lambda: gone(seen))
    assert "still running after " in verdict.problem


@linux
def test_a_command_that_is_killed_takes_both_along(project, tmp_path):
    begun = endless(project)
    script = (
        "import sys; from pathlib import Path; from gptladder.course import outline; outline._check = lambda course: None\n"
        "from gptladder.course.examination.examiner import Examiner\n"
        "with Examiner() as examiner: examiner.examine(Path(sys.argv[1]), outline.course().exercise(sys.argv[2]))\n"
    )
    command = subprocess.Popen([sys.executable, "-c", script, str(project.folder), HEAD])
    assert until(begun.exists)
    family = psutil.Process(command.pid).children(recursive=True)
    assert len(family) == 2
    command.kill()
    command.wait()
    assert until(lambda: gone(family))


def test_jobs_are_answered_a_line_each(tmp_path, project):
    """The protocol itself: ready, then one line for each, and an end when there are no more."""
    out = tmp_path / "out"
    out.mkdir()
    exercise = course().exercise(HEAD)
    job = {
        **{"project": str(project.folder), "exercise": HEAD, "module": exercise.module, "function": exercise.name},
        **{"others": {}, "reference": {}, "out": str(out), "seconds": 60.0, "memory": 2**30, "output": 2**20},
    }
    command = [sys.executable, "-P", "-m", worker.__name__]
    done = subprocess.run(command, input=f"{json.dumps(job)}\n" * 2, capture_output=True, text=True, check=True)
    ready, first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert ready == {"ready": True}
    for answer in (first, second):
        assert (answer["ended"], answer["code"]) == ("done", 0)
        assert answer["peak"] > 2**20
    names = [json.loads((out / f"{i}.json").read_text())["check"] for i in range(len(child.BY_EXERCISE[HEAD]))]
    assert names == [check.name for check in child.BY_EXERCISE[HEAD]]
