"""The examiner: it sends exercises to the worker, and gets a verdict on what comes back."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import psutil
from filelock import FileLock

from ..outline import Exercise, course
from ..source.functions import cut
from ..source.reference import reference_texts
from ..workspace.layout import HOME, LOCK
from .judge import verdict_on
from .places import leftover_raise, location, mention
from .protocol import READY, Answer, Ending, Job, Report
from .verdict import Finding, Verdict

SECONDS = 20.0  # that a child may compute or sleep
MEMORY = 2 * 2**30  # bytes that it may hold
PRINTED_BYTES = 2**20  # that it may print


class Examiner:
    """A context manager that judges exercises, with one worker process for all of them."""

    def __init__(
        self, seconds: float = SECONDS, memory: int = MEMORY, wrap: tuple[str, ...] = (), scratch: Path | None = None
    ) -> None:
        """Set a child's limits; `wrap` is a command to run the worker under, `scratch` the folder that children write in."""
        self.seconds, self.memory, self.wrap, self.scratch = seconds, memory, wrap, scratch
        self.worker: subprocess.Popen[str] | None = None
        self.ready = False

    def __enter__(self) -> Examiner:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start the worker, where Ctrl-C does not reach it. It loads torch while this process goes on."""
        command = [*self.wrap, sys.executable, "-P", "-m", f"{__package__}.worker"]
        pipe = subprocess.PIPE
        self.worker = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
        self.ready = False

    def stop(self) -> None:
        """End the worker, and the child that it watches."""
        worker, self.worker = self.worker, None
        if worker is None:
            return
        try:
            family = psutil.Process(worker.pid).children(recursive=True)
        except psutil.Error:
            family = []
        worker.kill()
        for process in family:
            with suppress(psutil.Error):
                process.kill()
        for pipe in (worker.stdin, worker.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()
        worker.wait()

    def examine(self, project: Path, exercise: Exercise, mine: bool = False) -> Verdict:
        """Run the exercise's checks on a project's code, and return the verdict. `mine`: fill no other exercise."""
        began = time.monotonic()
        record = project / HOME
        with untouched(record) as touched:
            report = self.run(project, exercise, mine)
        verdict = verdict_on(exercise, report, leftovers(project, report))
        if touched():
            problem = f"the code wrote into {HOME}/, where only gptladder may write; what it changed there is restored"
            finding = Finding("record", f"{HOME}/ is left alone", problem)
            where = mention(project, HOME) or verdict.where
            verdict = replace(verdict, findings=(finding, *verdict.findings), where=where, begun=True)
        if verdict.where is None and not verdict.passed:
            verdict = replace(verdict, where=location(project, exercise))
        return replace(verdict, printed=report.printed, seconds=time.monotonic() - began)

    def run(self, project: Path, exercise: Exercise, mine: bool = False, trace: bool = False) -> Report:
        """Run the exercise's checks on a project's code, and return what came back, unjudged."""
        texts = reference_texts()
        filled: dict[str, tuple[str, ...]] = {}
        for other in course().exercises:
            if other.id != exercise.id and not mine:
                filled[other.file] = (*filled.get(other.file, ()), other.name)
        texts = {**texts, exercise.file: cut(texts[exercise.file], [exercise])}  # the answer itself stays in this process
        with tempfile.TemporaryDirectory(prefix="gptladder-", dir=self.scratch, ignore_cleanup_errors=True) as out:
            job = Job(
                project=project.resolve(),
                exercise=exercise.id,
                module=exercise.module,
                function=exercise.name,
                filled=filled,
                reference={member: texts[member] for member in filled},
                out=Path(out).resolve(),
                seconds=self.seconds,
                memory_bytes=self.memory,
                printed_bytes=PRINTED_BYTES,
                trace=trace,
            )
            return Report.read(Path(out), self.ask(job))

    def ask(self, job: Job) -> Answer:
        """Return the worker's answer to a job. If the worker is dead, or dies of the job, a new one gets it, once."""
        ended: Ending = "died"
        for _ in range(2):
            if self.worker is None or self.worker.poll() is not None:
                self.stop()
                self.start()
            worker = self.worker
            if worker is None or worker.stdin is None or worker.stdout is None:
                continue
            try:
                if not self.ready:
                    self.ready = worker.stdout.readline().strip() == READY
                if self.ready:
                    worker.stdin.write(job.to_json() + "\n")
                    worker.stdin.flush()
                    if line := worker.stdout.readline():
                        return Answer.from_json(line)
            except BrokenPipeError:
                pass
            except BaseException:  # Ctrl-C: the answer to this job must not be taken for the answer to the next one
                self.stop()
                raise
            ended = "killed" if self.ready else "died"
            self.stop()
        return Answer(ended, code=1)


def leftovers(project: Path, report: Report) -> dict[str, str]:
    """Return, for exercises that raised as the starter does although the learner has written lines, what to say."""
    unwritten = {failure.unwritten for failure in report.failures.values()}
    said = {exercise.id: leftover_raise(project, exercise) for exercise in course().exercises if exercise.id in unwritten}
    return {id: words for id, words in said.items() if words}


def contents(folder: Path) -> dict[Path, bytes | None]:
    """Return the folder and everything in it: a file's bytes, None for a folder and for what cannot be read."""
    found: dict[Path, bytes | None] = {}
    for path in (folder, *folder.rglob("*")):
        if path.exists():
            found[path] = None
            with suppress(OSError):
                found[path] = path.read_bytes() if path.is_file() else None
    return found


@contextmanager
def untouched(folder: Path) -> Iterator[Callable[[], bool]]:
    """Restore the folder afterwards. The function that this gives says then whether anything had been changed.

    Meanwhile no verb writes there: the lock is held.
    """
    with FileLock(folder / LOCK) if folder.is_dir() else nullcontext():
        yield from _restored(folder)


def _restored(folder: Path) -> Iterator[Callable[[], bool]]:
    before, changed = contents(folder), False
    try:
        yield lambda: changed
    finally:
        now = contents(folder)
        changed = now != before
        for path in sorted(now, reverse=True):  # a folder comes after what is in it
            if path not in before or (now[path] is None) != (before[path] is None):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        for path, content in sorted(before.items()):
            if content is None:
                path.mkdir(exist_ok=True)
            elif now.get(path) != content:
                path.write_bytes(content)
