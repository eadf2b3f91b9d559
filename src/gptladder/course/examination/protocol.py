"""The messages between the processes of an examination, and the files that carry them.

The examiner sends a `Job` to the worker, one line of JSON. The child that the worker forks for it writes a `ProbeResult` for
each check into the job's folder. When the child has ended, the worker answers with one line, an `Answer`: how it ended. The
examiner joins the two to a `Report`. Reading is strict: a missing, unknown or wrongly typed field is a ProtocolError.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from safetensors.torch import load_file, save_file
from torch import Tensor

from ..checks.check import Results

# Files in a job's folder. Check number N leaves N.json and, for its tensors, N.safetensors.
PRINTED = "printed.txt"  # what the learner's code wrote to stdout and stderr
STACK = "stack.txt"  # the lines that were being run when the child was stopped or crashed
JOB = "job.json"  # the job itself, for a child that is not a fork of the worker
TRACE = "trace.json"  # the trace's names, and trace.safetensors its tensors
TENSORS = ".safetensors"

READY = '{"ready": true}'  # the worker's first line: it has loaded torch
SHOWN_BYTES = 4000  # of what the learner's code printed

FailureKind = Literal[
    "raised",  # the code raised an error
    "mistake",  # a probe says what is wrong with the code
    "unreadable",  # Python cannot read a file
    "changes_shared",  # the code replaced a name of Python or torch, or changed a setting of torch
    "imports_reference",  # the code imported this package, which holds the answers
]
Ending = Literal[
    "done",  # by itself, with an exit code
    "time",  # stopped: it ran too long
    "memory",  # stopped: it held too much memory
    "output",  # stopped: it printed too much
    "died",  # the worker could not be started
    "killed",  # the worker was killed while it had the job
]


class ProtocolError(ValueError):
    """A message that does not have the form that it must have."""


@dataclass(frozen=True)
class Message:
    """A message that can be written as JSON and read back."""

    def to_json(self) -> str:
        """Return the message as one line of JSON."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the message that this JSON holds. ProtocolError if it is not exactly one of this type."""
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ProtocolError(f"{cls.__name__}: no JSON ({error})") from None
        return _checked(cls, content, cls.__name__)


@dataclass(frozen=True)
class Place(Message):
    """A line of the learner's code."""

    file: str  # "mygpt/model/attention.py"
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Job(Message):
    """One exercise of one project to run, with the limits of the child that runs it."""

    project: Path
    exercise: str  # "3.3-head"
    module: str  # "model.attention"
    function: str  # "Head.forward"
    filled: dict[str, tuple[str, ...]]  # file -> functions that get the reference's body in place of the learner's
    reference: dict[str, str]  # file -> the reference's text, for those files
    out: Path  # the folder that the child writes into
    seconds: float
    memory_bytes: int
    printed_bytes: int
    trace: bool = False  # whether to record the tensors of one call too


@dataclass(frozen=True)
class Failure(Message):
    """An error in the child's process, where it kept a probe from giving results."""

    kind: FailureKind
    says: str  # in words, at most a line
    place: Place | None = None
    error: str = ""  # the error's class, if the kind is "raised"

    @property
    def unwritten(self) -> str | None:
        """The id of the exercise whose function still raises what the starter has in its place; None if that is not it."""
        if self.error != NotImplementedError.__name__ or not self.says.startswith("exercise "):
            return None
        return self.says.removeprefix("exercise ")


@dataclass(frozen=True)
class Answer(Message):
    """The end of a child: how it came, and what it took."""

    ended: Ending = "done"
    code: int = 0  # its exit code; negative: the signal that ended it
    seconds: float = 0.0
    peak_bytes: int = 0  # the most memory that it held
    place: Place | None = None  # the learner's line that was being run when it was stopped or crashed


@dataclass(frozen=True)
class ProbeResult:
    """The results of one check's probe, or the failure that kept it from giving any."""

    check: str
    results: Results
    failure: Failure | None = None

    def write(self, out: Path, number: int) -> None:
        """Write the tensors, then the rest; the JSON file appears last and whole, so that it says that both are there."""
        tensors = {name: value for name, value in self.results.items() if isinstance(value, Tensor)}
        values = {name: value for name, value in self.results.items() if name not in tensors}
        save_file(tensors, out / f"{number}{TENSORS}")
        unfinished = out / f"{number}.tmp"
        text = _StoredResult(self.check, values, tuple(self.results), self.failure).to_json()
        unfinished.write_text(text, encoding="utf-8")
        unfinished.rename(out / f"{number}.json")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what `write` stored under this name, N.json."""
        stored = _StoredResult.from_json(path.read_text(encoding="utf-8"))
        values = {**load_file(path.with_suffix(TENSORS)), **stored.values}
        if values.keys() != set(stored.order):
            raise ProtocolError(f"{path.name}: it holds {sorted(values)}, where {sorted(stored.order)} were announced")
        return cls(stored.check, {name: values[name] for name in stored.order}, stored.failure)


@dataclass(frozen=True)
class _StoredResult(Message):
    check: str
    values: dict[str, object]  # those that are no tensors
    order: tuple[str, ...]  # the names of all
    failure: Failure | None


@dataclass(frozen=True)
class _StoredTrace(Message):
    names: tuple[str, ...]
    failure: Failure | None


def write_trace(out: Path, found: dict[str, Tensor] | Failure) -> None:
    """Write the tensors of a traced call, or the failure that it ended in."""
    if isinstance(found, Failure):
        stored = _StoredTrace((), found)
    else:
        save_file({name: value.contiguous().clone() for name, value in found.items()}, _tensors_of_trace(out))
        stored = _StoredTrace(tuple(found), None)
    (out / TRACE).write_text(stored.to_json(), encoding="utf-8")


def read_trace(out: Path) -> dict[str, Tensor] | Failure | None:
    """Return the tensors of a traced call, the failure that it ended in, or None if there is no trace."""
    if not (out / TRACE).exists():
        return None
    stored = _StoredTrace.from_json((out / TRACE).read_text(encoding="utf-8"))
    if stored.failure:
        return stored.failure
    tensors = load_file(_tensors_of_trace(out))
    return {name: tensors[name] for name in stored.names}


def _tensors_of_trace(out: Path) -> Path:
    return (out / TRACE).with_suffix(TENSORS)


@dataclass(frozen=True)
class Report:
    """The whole answer of a child: how it ended, and for each check that it reached, results or a failure."""

    answer: Answer = field(default_factory=Answer)
    results: dict[str, Results] = field(default_factory=dict)  # by check
    failures: dict[str, Failure] = field(default_factory=dict)  # by check
    printed: str = ""
    trace: dict[str, Tensor] | Failure | None = None

    @classmethod
    def read(cls, out: Path, answer: Answer) -> Self:
        """Return the report that a child's files make with the worker's answer."""
        found = [ProbeResult.read(path) for path in sorted(out.glob("*.json")) if path.stem.isdigit()]
        printed = b""
        if (out / PRINTED).exists():
            with (out / PRINTED).open("rb") as file:
                printed = file.read(SHOWN_BYTES)
        return cls(
            answer,
            {result.check: result.results for result in found if result.failure is None},
            {result.check: result.failure for result in found if result.failure is not None},
            printed.decode("utf-8", "replace"),
            read_trace(out),
        )


def _checked(kind: Any, value: object, name: str) -> Any:  # noqa: ANN401  a type, and a value of it
    """Return the JSON value as that type: a message, Path, Literal, dict, tuple, `X | None` or plain type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:  # X | None
        return None if value is None else _checked(arguments[0], value, name)
    if is_dataclass(kind) and isinstance(value, dict) and value.keys() == {part.name for part in fields(kind)}:
        types = get_type_hints(kind)
        return kind(**{part: _checked(types[part], inner, f"{name}.{part}") for part, inner in value.items()})  # type: ignore[operator]
    if origin is dict and isinstance(value, dict):
        return {key: _checked(arguments[1], inner, f"{name}[{key!r}]") for key, inner in value.items()}
    if origin is tuple and isinstance(value, list):
        return tuple(_checked(arguments[0], inner, f"{name}[{i}]") for i, inner in enumerate(value))
    if (origin is Literal and value in arguments) or kind is object:
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    shown = repr(value)
    raise ProtocolError(f"{name}: {shown[:80]} is no {getattr(kind, '__name__', kind)}")
