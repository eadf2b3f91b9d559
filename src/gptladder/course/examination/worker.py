"""The learner's processes: one server that starts a child for each job, watches it, and judges nothing.

Started once with torch and the probes loaded, it reads a job a line from stdin and forks a child for each (spawns one
where fork is missing), so a check starts at once and whatever the code does ends with the child. The server itself never runs a
line of the learner's: it watches time, memory and output, and answers each job with a line of JSON.

This is no sandbox: code that means harm can do here what its user can. It keeps mistakes from looking like anything else.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch

from .child import PRINTED, STACK, learners_line, prctl, run_child

POLL_SECONDS, FAMILY_SECONDS = 0.01, 0.1  # to look at a child is cheap; to find its own children is not
PATIENCE = 10  # times the limit that may pass on a machine so busy that the child hardly runs
LOADING_SECONDS = 60.0  # what a spawned child may take to import torch


def start(job: dict[str, Any], answers: int) -> psutil.Process:
    """A child for this job, which has nothing to do with the file that answers go to."""
    if hasattr(os, "fork"):
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            run_child(job)
        return psutil.Process(pid)
    path = Path(job["out"]) / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    command = [sys.executable, "-P", "-m", __spec__.name, str(path)]
    child = psutil.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    began = time.monotonic()
    while not (path.parent / PRINTED).exists() and child.poll() is None and time.monotonic() - began < LOADING_SECONDS:
        time.sleep(POLL_SECONDS)
    return child


def watch(child: psutil.Process, job: dict[str, Any]) -> dict[str, Any]:
    """Waits for a child and ends it where it goes beyond a limit: how it ended and where, after how long, how big it grew."""
    began, looked, peak, ended, code = time.monotonic(), 0.0, 0, "done", 0
    idle, polled, loading = 0.0, began, computed(child)  # a spawned one has loaded torch
    out, judge, family = Path(job["out"]), os.getppid(), list[psutil.Process]()
    while True:
        with suppress(psutil.TimeoutExpired):
            code = child.wait(timeout=POLL_SECONDS) or 0
            break
        now = time.monotonic()
        if now - looked > FAMILY_SECONDS:
            looked, family = now, tried(lambda: child.children(recursive=True), [])
        peak = max(peak, sum(resident(process) for process in (child, *family)))
        idle += now - polled if tried(child.status, "") == psutil.STATUS_SLEEPING else 0.0
        polled, spent = now, idle + computed(child) - loading
        over = {
            # time that it computed or slept, not time that a busy machine kept it waiting; or nobody waits for the answer
            "time": max(spent, (now - began) / PATIENCE) > job["seconds"] or os.getppid() != judge,
            "memory": peak > job["memory"],
            "output": tried(lambda: (out / PRINTED).stat().st_size, 0) > job["output"],
        }
        if any(over.values()):
            ended = next(name for name, is_over in over.items() if is_over)
            if hasattr(signal, "SIGUSR1"):
                tried(lambda: child.send_signal(signal.SIGUSR1), None)  # it writes down where it is
                time.sleep(POLL_SECONDS * 5)
            tried(child.kill, None)
            code = child.wait() or 0
            break
    seconds = time.monotonic() - began
    end_strays(child.pid, family)
    return {"ended": ended, "code": code, "seconds": seconds, "peak": peak, **stopped_at(job)}


def tried(function: Callable[[], Any], otherwise: Any) -> Any:  # noqa: ANN401  whatever the function gives
    """What the function gives, or this if the process or file is gone."""
    try:
        return function()
    except (psutil.Error, OSError):
        return otherwise


def computed(process: psutil.Process) -> float:
    """The seconds that a process has computed; none if it is gone."""
    return float(tried(lambda: sum(process.cpu_times()[:2]), 0.0))


def resident(process: psutil.Process) -> int:
    """The bytes of memory that a process holds; none if it is gone."""
    return int(tried(lambda: process.memory_info().rss, 0))


def end_strays(group: int, family: list[psutil.Process]) -> None:
    """Ends what a child has left behind: its process group, what was seen of its family, on Linux all that fell to us."""
    if hasattr(os, "killpg"):
        tried(lambda: os.killpg(group, signal.SIGKILL), None)
    for _ in range(10):  # they may start more while we end them
        strays = [process for process in (*family, *psutil.Process().children(recursive=True)) if process.is_running()]
        if not strays:
            return
        for stray in strays:
            tried(stray.kill, None)
        psutil.wait_procs(strays, timeout=1)


def stopped_at(job: dict[str, Any]) -> dict[str, Any]:
    """The learner's line that a child was at when it was stopped or crashed, as far as it could be written down."""
    text = tried(lambda: (Path(job["out"]) / STACK).read_text(errors="replace"), "")
    frames = re.findall(r'File "(.+)", line (\d+) in (.+)', text)  # innermost first
    return learners_line(job, [(file, int(line), function) for file, line, function in reversed(frames)])


def serve() -> None:
    """Jobs from stdin, one a line, until it ends; an answer a line to stdout."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    torch.set_num_threads(1)  # and no thread is started before a fork
    prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what a child leaves behind becomes ours, to be ended
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(watch(start(job, answers.fileno()), job)), file=answers, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command that waits for us
    if len(sys.argv) > 1:
        torch.set_num_threads(1)
        run_child(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    else:
        serve()
