"""Has the learner's code run elsewhere, one worker process for all exercises, and gets verdicts on what came back."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from filelock import FileLock
from safetensors.torch import load_file

from ..outline import Exercise, course
from ..source import packages
from ..source.functions import cut, find
from ..source.reference import reference_texts
from ..workspace.layout import HOME, LOCK, MYGPT
from .judge import Finding, Outcome, Verdict, judged

SECONDS, MEMORY, OUTPUT = 20.0, 2 * 2**30, 2**20  # what a child may take: time computed or slept, resident bytes, printed bytes


class Examiner:
    """Judges exercises, one worker process for all of them. A context manager."""

    def __init__(
        self, seconds: float = SECONDS, memory: int = MEMORY, wrap: tuple[str, ...] = (), scratch: Path | None = None
    ) -> None:
        """Limits of a child; `wrap` is a command that the worker is run under, `scratch` where children write."""
        self.seconds, self.memory, self.wrap, self.scratch = seconds, memory, wrap, scratch
        self.worker: subprocess.Popen[str] | None = None
        self.ready = False

    def __enter__(self) -> Examiner:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the worker, out of reach of Ctrl-C; it loads torch while we do something else."""
        command = [*self.wrap, sys.executable, "-P", "-m", f"{__package__}.worker"]
        pipe = subprocess.PIPE
        self.worker = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
        self.ready = False

    def stop(self) -> None:
        """Ends the worker, and the child that it watches."""
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
        """Runs the exercise's checks on a project's code and judges what they gave."""
        began = time.monotonic()
        record = project / HOME
        with untouched(record) as touched:
            outcome = self.run(project, exercise, mine)
        verdict = judged(exercise, outcome)
        if touched():
            problem = f"the code wrote into {HOME}/, where only the verbs write; what it changed is restored"
            finding = Finding("record", f"{HOME}/ is left alone", problem)
            where = mention(project, HOME) or verdict.where
            verdict = replace(verdict, findings=(finding, *verdict.findings), where=where, begun=True)
        if verdict.where is None and not verdict.passed:
            verdict = replace(verdict, where=location(project, exercise))
        return replace(verdict, printed=outcome.printed, seconds=time.monotonic() - began)

    def run(self, project: Path, exercise: Exercise, mine: bool = False, trace: bool = False) -> Outcome:
        """What the learner's process makes of the exercise."""
        texts = reference_texts()
        others: dict[str, list[str]] = {}
        for other in course().exercises:
            if other.id != exercise.id and not mine:
                others.setdefault(other.file, []).append(other.name)
        holes = {exercise.file: cut(texts[exercise.file], [exercise])}  # the answer itself stays here
        with tempfile.TemporaryDirectory(prefix="gptladder-", dir=self.scratch, ignore_cleanup_errors=True) as out:
            job = {
                "project": str(project.resolve()),
                "exercise": exercise.id,
                "module": exercise.module,
                "function": exercise.name,
                "others": others,
                "reference": {member: holes.get(member, texts[member]) for member in others},
                "out": str(Path(out).resolve()),
                "seconds": self.seconds,
                "memory": self.memory,
                "output": OUTPUT,
                "trace": trace,
            }
            answer = self.ask(job)
            return read_outcome(Path(out), answer)

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """The worker's answer to a job; a worker that has died, or dies of it, is started again, once."""
        ended = "died"
        for _ in range(2):
            if self.worker is None or self.worker.poll() is not None:
                self.stop()
                self.start()
            worker = self.worker
            if worker is None or worker.stdin is None or worker.stdout is None:
                continue
            try:
                if not self.ready:
                    self.ready = bool(worker.stdout.readline())
                worker.stdin.write(json.dumps(job) + "\n")
                worker.stdin.flush()
                if line := worker.stdout.readline():
                    return json.loads(line)
            except BrokenPipeError:
                pass
            except BaseException:  # Ctrl-C: the answer to this job must not be taken for the next one's
                self.stop()
                raise
            ended = "killed" if self.ready else "died"
            self.stop()
        return {"ended": ended, "code": 1, "seconds": 0.0, "peak": 0}


def read_outcome(out: Path, answer: dict[str, Any]) -> Outcome:
    """The files that a child left behind."""
    outcome = Outcome(ended=answer["ended"], code=answer["code"], seconds=answer["seconds"], peak=answer["peak"])
    outcome.where = f"{answer['file']}:{answer['line']}" if "file" in answer else None
    for path in sorted(out.glob("*.json"), key=lambda path: path.name):
        if not path.stem.isdigit():
            continue
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["error"] is not None:
            outcome.errors[content["check"]] = content["error"]
            continue
        values = {**load_file(path.with_suffix(".safetensors")), **content["values"]}
        outcome.results[content["check"]] = {name: values[name] for name in content["order"]}
    printed = out / "printed.txt"
    if printed.exists():
        with printed.open("rb") as file:
            outcome.printed = file.read(4000).decode("utf-8", "replace")
    if (out / "trace.json").exists():
        names = json.loads((out / "trace.json").read_text(encoding="utf-8"))
        tensors = load_file(out / "trace.safetensors") if isinstance(names, list) else {}
        outcome.trace = {name: tensors[name] for name in names} if isinstance(names, list) else names["says"]
    return outcome


def location(project: Path, exercise: Exercise) -> str:
    """Where the exercise's function stands in the learner's project, as far as that can be told."""
    file = f"{MYGPT}/{exercise.file}"
    names = exercise.name.split(".")
    try:
        tree = packages.parse((project / file).read_bytes(), file)
    except (OSError, SyntaxError):
        return file
    with suppress(KeyError):
        return f"{file}:{find(tree, exercise.name).lineno}"
    classes = [node.lineno for node in tree.body if isinstance(node, ast.ClassDef) and node.name == names[0]]
    return f"{file}:{classes[0]}" if classes else file


def mention(project: Path, word: str) -> str | None:
    """The first line of the learner's code in which this stands."""
    for path in sorted((project / MYGPT).rglob("*.py")):
        with suppress(OSError):
            for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
                if word.encode() in line:
                    return f"{path.relative_to(project).as_posix()}:{number}"
    return None


def contents(folder: Path) -> dict[Path, bytes | None]:
    """The folder and all below it: what each file holds, None for a folder and for what cannot be read."""
    found: dict[Path, bytes | None] = {}
    for path in (folder, *folder.rglob("*")):
        if path.exists():
            found[path] = None
            with suppress(OSError):
                found[path] = path.read_bytes() if path.is_file() else None
    return found


@contextmanager
def untouched(folder: Path) -> Iterator[Callable[[], bool]]:
    """Afterwards the folder is as it was; the function that is given says whether it had been changed.

    Meanwhile no verb writes there: it waits for the lock.
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
        for path in sorted(now, reverse=True):  # what is in a folder comes before the folder
            if path not in before or (now[path] is None) != (before[path] is None):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        for path, content in sorted(before.items()):
            if content is None:
                path.mkdir(exist_ok=True)
            elif now.get(path) != content:
                path.write_bytes(content)
