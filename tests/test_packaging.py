"""What is shipped, and that the pinned versions are complete and inside the ranges that users get."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import gptladder

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins() -> dict[str, Version]:
    """constraints.txt, by canonical name."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)  # no local part such as +cpu
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}


def direct_requirements() -> list[Requirement]:
    lists = (PROJECT["build-system"]["requires"], PROJECT["project"]["dependencies"], PROJECT["dependency-groups"]["dev"])
    return [Requirement(text) for texts in lists for text in texts]


@pytest.mark.parametrize("requirement", direct_requirements(), ids=str)
def test_a_pinned_version_lies_in_the_range_for_users(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_everything_that_is_needed_is_pinned() -> None:
    """Follows the requirements of requirements; what torch itself pins exactly (its CUDA packages) needs no pin of ours."""
    pinned, seen, queue = pins(), set(), direct_requirements()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        exact = any(specifier.operator == "==" for specifier in requirement.specifier)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if name in seen or not wanted or (exact and name not in pinned):
            continue
        seen.add(name)
        queue += [Requirement(text) for text in metadata.requires(name) or []]
    assert seen - set(pinned) == set()
    assert "torch" in seen
    assert "pluggy" in seen


def build(source: Path, out: Path, target: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(out), "--target", target]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def shipped(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.slow
def test_the_wheel_holds_the_package_byte_for_byte(shipped: dict[str, bytes]) -> None:
    package = ROOT / "src" / "gptladder"
    files = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    expected = {path.relative_to(ROOT / "src").as_posix(): path.read_bytes() for path in files}
    assert {name: data for name, data in shipped.items() if name.startswith("gptladder/")} == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["py.typed", "stand_in/stand_in.txt.xz", "stand_in/README.md"])
def test_the_wheel_holds_what_is_no_python(shipped: dict[str, bytes], name: str) -> None:
    assert f"gptladder/{name}" in shipped


@pytest.mark.slow
def test_the_wheel_has_the_version_of_the_package(shipped: dict[str, bytes]) -> None:
    (described,) = [data.decode() for name, data in shipped.items() if name.endswith("METADATA")]
    assert f"Version: {gptladder.__version__}" in described.splitlines()


@pytest.mark.slow
def test_the_wheel_holds_nothing_else(shipped: dict[str, bytes]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in shipped} == {"gptladder"}  # the package and its dist-info
    licenses = [data for name, data in shipped.items() if name.endswith("licenses/LICENSE")]
    assert licenses == [(ROOT / "LICENSE").read_bytes()]
    assert sum(map(len, shipped.values())) < 2_000_000


@pytest.mark.slow
def test_the_source_archive_builds_the_same_wheel(shipped: dict[str, bytes], tmp_path: Path) -> None:
    with tarfile.open(build(ROOT, tmp_path / "sdist", "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = [path for path in tmp_path.iterdir() if path.name.startswith("gptladder")]
    with zipfile.ZipFile(build(source, tmp_path / "again", "wheel")) as again:
        assert {name: again.read(name) for name in again.namelist()} == shipped
    assert {"Makefile", "constraints.txt", "tests"} <= {path.name for path in source.iterdir()}
