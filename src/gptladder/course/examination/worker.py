"""The worker: a server that starts a child for each job and watches it. It never runs a line of the learner's itself.

It is started once and loads torch and the probes. Then it reads jobs from stdin, one a line, and forks a child for each (where
fork is missing, it spawns one), so that a check starts at once and whatever the code does ends with the child. It limits the
child's time, memory and output, and answers each job with one line on stdout (protocol.py has both).

This is no sandbox: code that means harm can do here whatever its user can. It keeps honest mistakes from doing damage.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil
import torch

from .child import prctl, run_child
from .failures import learners_place
from .protocol import JOB, PRINTED, READY, STACK, Answer, Ending, Job, Place

POLL_SECONDS, FAMILY_SECONDS = 0.01, 0.1  # to look at the child is cheap; to find the processes that it started is not
PATIENCE = 10  # on a machine so busy that the child hardly runs, this many times the limit may pass
LOADING_SECONDS = 60.0  # what a spawned child may take to import torch
T = TypeVar("T")


def start(job: Job, answers: int) -> psutil.Process:
    """Start a child for this job; it must not keep open the file descriptor that answers are written to."""
    if hasattr(os, "fork"):
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            run_child(job)
        return psutil.Process(pid)
    path = job.out / JOB
    path.write_text(job.to_json(), encoding="utf-8")
    command = [sys.executable, "-P", "-m", __spec__.name, str(path)]
    child = psutil.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    began = time.monotonic()
    while not (job.out / PRINTED).exists() and child.poll() is None and time.monotonic() - began < LOADING_SECONDS:
        time.sleep(POLL_SECONDS)
    return child


def watch(child: psutil.Process, job: Job) -> Answer:
    """Wait for a child, and kill it if it goes beyond a limit. Return how it ended."""
    ended: Ending = "done"
    began, searched, peak, code = time.monotonic(), 0.0, 0, 0
    slept, polled, loading = 0.0, began, cpu_seconds(child)  # a spawned child has already spent time on loading torch
    parent, family = os.getppid(), list[psutil.Process]()
    while True:
        with suppress(psutil.TimeoutExpired):
            code = child.wait(timeout=POLL_SECONDS) or 0
            break
        now = time.monotonic()
        if now - searched > FAMILY_SECONDS:
            searched, family = now, tried(lambda: child.children(recursive=True), [])
        peak = max(peak, sum(resident_bytes(process) for process in (child, *family)))
        slept += now - polled if tried(child.status, "") == psutil.STATUS_SLEEPING else 0.0
        polled, spent = now, slept + cpu_seconds(child) - loading
        over: dict[Ending, bool] = {
            # Time that it computed or slept counts, not time that a busy machine kept it waiting.
            # If our parent has changed, nobody waits for the answer any more.
            "time": max(spent, (now - began) / PATIENCE) > job.seconds or os.getppid() != parent,
            "memory": peak > job.memory_bytes,
            "output": tried(lambda: (job.out / PRINTED).stat().st_size, 0) > job.printed_bytes,
        }
        if any(over.values()):
            ended = next(limit for limit, is_over in over.items() if is_over)
            if hasattr(signal, "SIGUSR1"):
                tried(lambda: child.send_signal(signal.SIGUSR1), None)  # it writes to STACK which line it is at
                time.sleep(POLL_SECONDS * 5)
            tried(child.kill, None)
            code = child.wait() or 0
            break
    seconds = time.monotonic() - began
    end_strays(child.pid, family)
    return Answer(ended, code, seconds, peak, stopped_at(job))


def tried(function: Callable[[], T], otherwise: T) -> T:
    """Return what the function returns, or `otherwise` if the process or file is gone."""
    try:
        return function()
    except (psutil.Error, OSError):
        return otherwise


def cpu_seconds(process: psutil.Process) -> float:
    """Return the seconds that a process has computed; 0 if it is gone."""
    return tried(lambda: float(sum(process.cpu_times()[:2])), 0.0)


def resident_bytes(process: psutil.Process) -> int:
    """Return the bytes of memory that a process holds; 0 if it is gone."""
    return tried(lambda: int(process.memory_info().rss), 0)


def end_strays(group: int, family: list[psutil.Process]) -> None:
    """Kill what a child has left running: its process group and its known family; on Linux all orphans too."""
    if hasattr(os, "killpg"):
        tried(lambda: os.killpg(group, signal.SIGKILL), None)
    for _ in range(10):  # they may start more processes while we kill them
        strays = [process for process in (*family, *psutil.Process().children(recursive=True)) if process.is_running()]
        if not strays:
            return
        for stray in strays:
            tried(stray.kill, None)
        psutil.wait_procs(strays, timeout=1)


def stopped_at(job: Job) -> Place | None:
    """Return the learner's line that a child was at when it was stopped or crashed, if it could still write that down."""
    text = tried(lambda: (job.out / STACK).read_text(errors="replace"), "")
    frames = re.findall(r'File "(.+)", line (\d+) in (.+)', text)  # the innermost first
    return learners_place(job, [(file, int(line), function) for file, line, function in reversed(frames)])


def serve() -> None:
    """Read jobs from stdin, one a line, until it ends; answer each with a line on stdout."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    torch.set_num_threads(1)  # and no thread is started before a fork
    prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: orphans of a child become our children, so that they can be found and killed
    print(READY, file=answers, flush=True)
    for line in sys.stdin:
        job = Job.from_json(line)
        print(watch(start(job, answers.fileno()), job).to_json(), file=answers, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the verb that waits for us
    if len(sys.argv) > 1:
        torch.set_num_threads(1)
        run_child(Job.from_json(Path(sys.argv[1]).read_text(encoding="utf-8")))
    else:
        try:
            serve()
        except BrokenPipeError:  # the verb was stopped while we were loading: nobody waits for an answer any more
            os._exit(0)  # without a word, also about what is still buffered
