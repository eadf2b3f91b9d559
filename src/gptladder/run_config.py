"""The typed facts of a run folder: how the run was begun (config.json) and where it stands (state.json).

Both files are read strictly, once, when the folder is opened: no missing key, no unknown one, no value of another type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import UnionType
from typing import Any, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

from .errors import InputError
from .model.config import GPTConfig, Recipe
from .tensors import FORMAT

Products = Literal["float32", "bfloat16"]
T = TypeVar("T")


@dataclass(frozen=True)
class CorpusIdentity:
    """The text that a run was trained on: where it lay, and the hash that recognises it wherever it lies."""

    name: str
    sha256: str
    stand_in: bool


@dataclass(frozen=True)
class Plan:
    """The way in which a training computes: chosen once, when it begins, and followed again when it goes on."""

    device: str  # as torch names it: "cpu", "cuda:1"
    precision: Products  # of the model's products; weights, optimizer and loss are float32 always
    fused: bool  # torch's kernels in place of the written-out parts
    compiled: bool
    slices: int  # parts of a batch that are worked through one after the other
    onednn: bool  # float32 products by oneDNN instead of torch's default library
    threads: int  # of torch; another number would round sums otherwise


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's numbers: the content of config.json."""

    recipe_name: str
    recipe: Recipe
    model: GPTConfig
    corpus: CorpusIdentity
    seed: int
    plan: Plan
    evaluation_limit: int | None  # targets of the validation split that an evaluation reads at most; None: all
    versions: Mapping[str, str]

    @property
    def rung(self) -> str:
        """The rung that is trained."""
        return self.recipe.rung

    def to_json(self) -> str:
        """Return the content of config.json. A setting that describes the model stands under "model" only."""
        model = asdict(self.model)
        training = {key: value for key, value in asdict(self.recipe).items() if key not in model and key != "rung"}
        content = {
            "format": FORMAT,
            "rung": self.recipe.rung,
            "recipe": self.recipe_name,
            "model": model,
            "training": training,
            "corpus": asdict(self.corpus),
            "seed": self.seed,
            "plan": asdict(self.plan),
            "evaluation_limit": self.evaluation_limit,
            "versions": dict(self.versions),
        }
        return json.dumps(content, indent=2)

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read what `to_json` wrote. InputError, to be put behind the file's name, says what is wrong with it."""
        try:
            content = json.loads(text)
            format_found = content["format"]
        except (ValueError, KeyError, TypeError):
            raise InputError("is damaged or no run's; copy the run folder again") from None
        if format_found != FORMAT:
            raise InputError(f"has the format {format_found!r}; this version reads {FORMAT!r}")
        kinds = {
            **{"format": str, "rung": str, "recipe": str, "model": object, "training": dict, "corpus": CorpusIdentity},
            **{"seed": int, "plan": Plan, "evaluation_limit": int | None, "versions": dict[str, str]},
        }
        try:
            values = _values(kinds, content)
        except ValueError as error:
            raise InputError(f"{error}; copy the run folder again") from None
        try:
            model = _read(GPTConfig, values["model"], "model.")
        except ValueError as error:
            raise InputError(f"describes no model: {error}") from None
        try:
            own = {key: value for key, value in values["model"].items() if key != "vocab_size"}
            recipe = _read(Recipe, {"rung": values["rung"], **values["training"], **own}, "training.")
        except ValueError as error:
            raise InputError(f"holds no recipe of this version: {error}") from None
        return cls(
            *(values["recipe"], recipe, model, values["corpus"], values["seed"], values["plan"]),
            *(values["evaluation_limit"], values["versions"]),
        )


@dataclass(frozen=True)
class StateFacts:
    """The point at which a training stood when a state was saved: the numbers that neither weights nor optimizer hold."""

    step: int = 0
    seconds: float = 0.0  # since the training began, all sittings together
    train_seconds: float = 0.0  # of these, spent on steps and not on evaluation
    best_step: int = 0
    best_loss: float | None = None  # None: not evaluated yet
    unevaluated_loss: float | None = None  # the training loss of this step, if its evaluation was broken off

    @classmethod
    def from_plain(cls, content: object) -> Self:
        """Read what `asdict` wrote, out of JSON. ValueError if this is something else."""
        return _read(cls, content, "")


def _read(kind: type[T], content: object, prefix: str) -> T:
    """Build a dataclass from a JSON object. ValueError names a key that is missing, unknown or of another type."""
    hints = get_type_hints(kind)
    return kind(**_values({field.name: hints[field.name] for field in fields(kind)}, content, prefix))  # type: ignore[arg-type]


def _values(kinds: Mapping[str, Any], content: object, prefix: str = "") -> dict[str, Any]:
    """Return a value of its kind for every key. ValueError names a key that is missing, unknown or of another type."""
    found = content if isinstance(content, dict) else {}
    if missing := [f"{prefix}{key}" for key in kinds if key not in found]:
        raise ValueError(f"lacks {', '.join(missing)}")
    if unknown := [f"{prefix}{key}" for key in found if key not in kinds]:
        raise ValueError(f"has {', '.join(unknown)}, which this version does not know")
    return {key: _value(kind, found[key], f"{prefix}{key}") for key, kind in kinds.items()}


def _value(kind: Any, value: Any, name: str) -> Any:  # noqa: ANN401  any type in, a value of that type out
    options = get_args(kind)
    if kind is object:
        return value
    if get_origin(kind) is UnionType:  # X | None
        return None if value is None else _value(options[0], value, name)
    if get_origin(kind) is Literal:
        fits = value in options
    elif kind == dict[str, str]:
        fits = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    elif kind is float:
        fits = type(value) in (int, float)
    elif kind in (int, str, bool, dict):
        fits = type(value) is kind  # True is no number here
    else:
        return _read(kind, value, f"{name}.")
    if not fits:
        allowed = f"one of {', '.join(options)}" if options and get_origin(kind) is Literal else f"of type {kind.__name__}"
        raise ValueError(f"has {name} {value!r}; it must be {allowed}")
    return value
