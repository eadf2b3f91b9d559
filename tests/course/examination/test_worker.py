"""The worker: it answers each job, works without fork too, says where a child was stopped, and lets nothing survive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from gptladder.course.checks import BY_EXERCISE
from gptladder.course.examination import worker
from gptladder.course.examination.examiner import Examiner
from gptladder.course.examination.protocol import READY, STACK, Answer, Job, Place, ProbeResult
from gptladder.course.outline import course
from gptladder.course.source.functions import text_of_body

pytestmark = pytest.mark.process

HEAD, FILE = "3.3-head", "model/attention.py"
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked for it")
WITHOUT_FORK = (  # the command that a worker is run under: Python itself, which takes fork away and goes on with the worker
    sys.executable,
    "-c",
    "import os, runpy, sys; del os.fork; sys.argv[:4] = []; runpy.run_module(sys.argv[0], run_name='__main__')",
)


# --- where fork is missing


@pytest.mark.slow
def test_without_fork_it_works_the_same_way(project):
    """Each child loads torch itself, and the time for that does not count."""
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
    """Make Head.forward endless; return the file that it writes first, so that a test sees it has begun."""
    project.body(HEAD, "open('begun', 'w')\nwhile True: pass")
    return project.folder / "begun"


def until(condition, seconds=60.0):
    """Wait until the condition is true; return whether it became true in time."""
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
    """The next worker gets the job again; here it runs until its time is up."""
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


def job_for(project, out):
    """A job as the examiner makes it, with nothing filled."""
    exercise = course().exercise(HEAD)
    return Job(
        project=project,
        exercise=exercise.id,
        module=exercise.module,
        function=exercise.name,
        filled={},
        reference={},
        out=out,
        seconds=60.0,
        memory_bytes=2**30,
        printed_bytes=2**20,
    )


def test_jobs_are_answered_a_line_each(tmp_path, project):
    """The worker says that it is ready, then answers each job with a line, and ends when there are no more."""
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-P", "-m", worker.__name__]
    jobs = f"{job_for(project.folder, out).to_json()}\n" * 2
    done = subprocess.run(command, input=jobs, capture_output=True, text=True, check=True)
    ready, *answers = done.stdout.splitlines()
    assert ready == READY
    assert len(answers) == 2
    for answer in map(Answer.from_json, answers):
        assert (answer.ended, answer.code) == ("done", 0)
        assert answer.peak_bytes > 2**20
    names = [ProbeResult.read(out / f"{i}.json").check for i in range(len(BY_EXERCISE[HEAD]))]
    assert names == [check.name for check in BY_EXERCISE[HEAD]]


def test_a_worker_that_nobody_waits_for_ends_without_a_word():
    """As after a Ctrl-C while it loads: what it would say would stand below the shell's next prompt."""
    command = [sys.executable, "-P", "-m", worker.__name__]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_where_a_child_was_is_read_from_its_stack(tmp_path):
    text = 'Current thread 0x01 (most recent call first):\n  File "/torch/x.py", line 5 in exp\n'
    text += f'  File "/p/mygpt/{FILE}", line 9 in helper\n  File "/p/mygpt/{FILE}", line 3 in forward\n'
    (tmp_path / STACK).write_text(text)
    project = Path("/p")
    assert worker.stopped_at(job_for(project, tmp_path)) == Place(f"mygpt/{FILE}", 9)
    assert worker.stopped_at(job_for(project, tmp_path / "nothing")) is None
