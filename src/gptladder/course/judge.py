"""Our process: it has the learner's code run elsewhere, compares what came back, and says in words what is wrong.

It never imports a line of the learner's. Exercise N is judged with every other exercise the reference's, unless the
learner wants all of it their own.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import torch
from filelock import FileLock
from safetensors.torch import load_file

from . import package
from .bank import Version, mutants, texts_with
from .checks import BY_EXERCISE
from .checks.check import Check, Mistake, Results, same
from .outline import Exercise, course
from .starter import HOME, LOCK, MYGPT, cut, find, reference_texts
from .tracing import traced

SECONDS, MEMORY, OUTPUT = 20.0, 2 * 2**30, 2**20  # what a child may take: wall time, resident bytes, printed bytes
NOT_BEGUN = "NotImplementedError"
ONE_AT_A_TIME = threading.RLock()  # probes of ours change torch's default dtype and the import system, which all threads share


@dataclass(frozen=True)
class Finding:
    """What one check saw."""

    check: str
    wants: str
    problem: str | None  # in words; None if it passed


@dataclass(frozen=True)
class Verdict:
    """What became of one exercise."""

    exercise: str
    findings: tuple[Finding, ...]
    where: str | None = None  # "mygpt/model/attention.py:41"
    mutant: Version | None = None  # the known mistake that gives exactly this
    note: str | None = None  # said even of a pass
    begun: bool = True
    printed: str = ""  # what the learner's code wrote
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Every check passed, and there was at least one."""
        return bool(self.findings) and all(finding.problem is None for finding in self.findings)

    @property
    def problem(self) -> str:
        """The first thing that is wrong."""
        return next((finding.problem for finding in self.findings if finding.problem), "")


@dataclass
class Outcome:
    """What a child handed back: per check its results, or its error; and how the child ended."""

    results: dict[str, Results] = field(default_factory=dict)
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: str = "done"
    code: int = 0
    peak: int = 0
    seconds: float = 0.0
    printed: str = ""
    where: str | None = None  # the learner's line at which it was stopped
    trace: Any = None


@cache
def wanted(check: Check) -> Results:
    """What the reference gives."""
    return run_probe(check, package.reference)


@contextmanager
def in_float64() -> Iterator[None]:
    """What probes run under: a tensor made without a dtype is float64, one thread; afterwards all is as it was."""
    with ONE_AT_A_TIME:
        dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(1)  # on tensors as tiny as these, a second one only costs
        torch.manual_seed(0)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_num_threads(threads)


def run_probe(check: Check, opened: package.Opened) -> Results:
    """A probe on code of ours."""
    with in_float64():
        return check.probe(opened)


def run_traced(exercise: Exercise, checks: tuple[Check, ...]) -> dict[str, torch.Tensor]:
    """What the reference's function holds in the call that `trace` shows."""
    with in_float64():
        return traced(package.reference, exercise.module, exercise.name, checks)


@cache
def mutant_results(mutant: Version) -> dict[str, Results | str]:
    """What a wrong version gives, per check: results, or the words of the error that it ends in."""
    found: dict[str, Results | str] = {}
    with ONE_AT_A_TIME, package.from_texts("mutant", texts_with(mutant)) as opened:
        for check in BY_EXERCISE[mutant.exercise]:
            try:
                found[check.name] = run_probe(check, opened.open)
            except Mistake as mistake:
                found[check.name] = str(mistake)
            except Exception as error:
                found[check.name] = type(error).__name__
    return found


def same_as(mutant: Version, outcome: Outcome) -> bool:
    """Whether this outcome is the mutant's; errors count as the same by kind or words.

    Where a tensor lies and of which dtype it is says nothing of the misconception, unless the mutant stands for just that.
    """
    beside = {"device", "dtype"} - {mutant.caught_by}
    theirs = {name: value for name, value in mutant_results(mutant).items() if name not in beside}
    errors = {
        name: e["says"] if e["kind"] == "mistake" else e["kind"] for name, e in outcome.errors.items() if name not in beside
    }
    results = {name: value for name, value in outcome.results.items() if name not in beside}
    if not results or errors != {name: value for name, value in theirs.items() if isinstance(value, str)}:
        return False
    try:
        given = {name: value for name, value in theirs.items() if not isinstance(value, str)}
        return results.keys() == given.keys() and all(same(results[name], value) for name, value in given.items())
    except Exception:  # what came back cannot even be compared
        return False


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


def judged(exercise: Exercise, outcome: Outcome) -> Verdict:
    """Each check's finding, and the known mistake that gives exactly this, if there is one."""
    findings: list[Finding] = []
    where, begun = None, True
    problem: str | None
    for check in BY_EXERCISE[exercise.id]:
        error = outcome.errors.get(check.name)
        if error is not None:
            problem = error_in_words(error)
            if error.get("file"):
                where = where or f"{error['file']}:{error['line'] or 1}"
            begun = begun and not (error["kind"] == NOT_BEGUN and error["says"] == f"exercise {exercise.id}")
        elif check.name in outcome.results:
            problem = judgement(check, outcome.results[check.name])
        else:
            problem, where = no_result_in_words(outcome), where or outcome.where
        findings.append(Finding(check.name, check.wants, problem))
    verdict = Verdict(exercise.id, tuple(findings), where, begun=begun)
    if verdict.passed or not begun:
        return verdict
    known = next((m for m in mutants() if m.exercise == exercise.id and same_as(m, outcome)), None)
    if known is not None and known.right:
        passes = tuple(Finding(finding.check, finding.wants, None) for finding in findings)
        return Verdict(exercise.id, passes, note=known.says)
    return Verdict(exercise.id, tuple(findings), where, mutant=known)


def judgement(check: Check, got: Results) -> str | None:
    """What is wrong with these results; a judgement that stumbles over them is a fail too."""
    try:
        return check.judge(got, wanted(check))
    except Exception as error:
        return f"what came back cannot be compared ({type(error).__name__}: {error})"


def error_in_words(error: dict[str, Any]) -> str:
    """An error of the learner's process as a sentence."""
    kind, says = error["kind"], error["says"]
    if kind == "mistake":
        return str(says)
    if kind == "changed":
        return f"it {says}; everything else uses that too, so leave it as it is"
    if kind == "forbidden":
        return f"{says}, which holds the answers; write the function yourself"
    if kind == NOT_BEGUN:
        return f"not written yet ({says})" if says.startswith("exercise") else f"raises NotImplementedError: {says}"
    if kind == "MemoryError" or "DefaultCPUAllocator" in says:
        return "it asks for more memory than a check may take: does something grow without end, or is a size wrong?"
    if kind == "SystemExit":
        return "it ends the program (sys.exit or exit); a function returns"
    if kind == "unreadable":
        return f"Python cannot read {error['file']}: {says}"
    return f"stops with {kind}: {says}" if says else f"stops with {kind}"


def no_result_in_words(outcome: Outcome) -> str:
    """Why a check has no result."""
    limits = {
        "time": f"still running after {outcome.seconds:.0f} s, so it was stopped: does a loop never end?",
        "memory": f"it took {outcome.peak / 2**30:.1f} GiB of memory, so it was stopped: does something grow without end?",
        "output": "it printed over a megabyte, so it was stopped: is there a print in a loop?",
        "died": "the process that runs the checks could not be started; see what: gptladder doctor",
        "killed": "the process that runs the checks was killed, twice: does the code end processes that are not its own?",
    }
    if outcome.ended in limits:
        return limits[outcome.ended]
    if outcome.code < 0:
        return f"the process was ended by signal {-outcome.code} before there was a result: a crash, or a kill"
    return f"the process ended with code {outcome.code} before there was a result: does something call os._exit?"


def location(project: Path, exercise: Exercise) -> str:
    """Where the exercise's function stands in the learner's project, as far as that can be told."""
    file = f"{MYGPT}/{exercise.file}"
    names = exercise.name.split(".")
    try:
        tree = package.parse((project / file).read_bytes(), file)
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
