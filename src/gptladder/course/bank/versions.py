"""The banks: wrong versions of every exercise, each with its misconception, and right ones that are written differently.

A version is an edit of the reference's body (`edits`, pairs of text) or a whole body; `before` goes in front of the function's
file, for imports and helpers.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..outline import Course, CourseError, Exercise, course
from ..source.functions import text_of_body, with_body
from ..source.reference import reference_texts

MUTANTS, VARIANTS = (Path(__file__).parent / name for name in ("mutants", "variants"))


@dataclass(frozen=True)
class Version:
    """A body for an exercise that differs from the reference's."""

    id: str  # "3.3-head/no-scale"
    says: str  # of a mutant: what to tell somebody whose output is this one's; of a variant: how it differs from the reference
    body: str  # without indentation
    before: str = ""
    caught_by: str = ""  # of a mutant: the check that claims it
    thinks: str = ""  # of a mutant: the misconception
    right: bool = False  # a mutant that is an equivalent model, such as one with swapped names: said, not failed

    @property
    def exercise(self) -> str:
        """The id of its exercise."""
        return self.id.partition("/")[0]


def _edited(body: str, edits: Iterable[list[str]], place: str) -> str:
    for old, new in edits:
        if body.count(old) != 1:
            raise CourseError(f"{place}: {old!r} stands {body.count(old)} times in the reference; it must stand there once")
        body = body.replace(old, new)
    return body


def _version(entry: Mapping[str, Any], exercise: Exercise, mutant: bool) -> Version:
    place = str(entry.get("id"))
    known = {"id", "says", "edits", "body", "before"} | ({"caught_by", "thinks", "right"} if mutant else set())
    if unknown := entry.keys() - known:
        raise CourseError(f"{place}: unknown {', '.join(sorted(unknown))}")
    needed = {"id", "says"} | ({"caught_by", "thinks"} if mutant and not entry.get("right") else set())
    if missing := needed - entry.keys():
        raise CourseError(f"{place}: {', '.join(sorted(missing))} missing")
    if ("edits" in entry) == ("body" in entry):
        raise CourseError(f"{place}: it needs either edits or a body")
    reference = text_of_body(reference_texts()[exercise.file], exercise.name)
    body = entry["body"] if "body" in entry else _edited(reference, entry["edits"], place)
    rest = {key: value for key, value in entry.items() if key not in ("edits", "body")}
    return Version(body=body, **rest)


def read(folder: Path, mutant: bool, chosen: Course) -> tuple[Version, ...]:
    """Read all versions from the TOML files of a folder. CourseError if one does not fit the course."""
    versions = []
    for path in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("version", ()):
            try:
                exercise = chosen.exercise(str(entry.get("id", "")).partition("/")[0])
            except KeyError:
                raise CourseError(f"{path.name}: {entry.get('id')} belongs to no exercise") from None
            versions.append(_version(entry, exercise, mutant))
    ids = [version.id for version in versions]
    if twice := {id for id in ids if ids.count(id) > 1}:
        raise CourseError(f"{folder.name}: {', '.join(sorted(twice))} stands there twice")
    return tuple(versions)


@cache
def mutants() -> tuple[Version, ...]:
    """Return every wrong version."""
    return read(MUTANTS, mutant=True, chosen=course())


@cache
def variants() -> tuple[Version, ...]:
    """Return every version that is written differently and right."""
    return read(VARIANTS, mutant=False, chosen=course())


def texts_with(version: Version) -> dict[str, str]:
    """Return the starter set, completed, with this version in it."""
    exercise = course().exercise(version.exercise)
    texts = reference_texts()
    changed = with_body(texts[exercise.file], exercise.name, version.body)
    if version.before:
        marker = "from __future__ import annotations\n"
        changed = changed.replace(marker, f"{marker}\n{version.before.strip()}\n", 1)
    return {**texts, exercise.file: changed}
