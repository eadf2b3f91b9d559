"""Every benchmark in a tiny form, with small stand-ins for the peers' checkouts: none may rot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
NANOGPT, LECTURE = HERE / "fake_nanogpt", HERE / "fake_lecture"


def run(name, out, *words, check=True):
    """A benchmark's output and its JSON."""
    command = [sys.executable, ROOT / "benchmarks" / f"{name}.py", "--tiny", "--rounds", "1", "--out", out, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=out.parent)
    if not check:
        return done
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads(out.read_text())


def assert_has_provenance(report, name):
    assert report["machine"]["processor"]["cores"] == os.cpu_count()
    assert report["machine"]["processor"]["name"]
    assert report["peaks"]["float32"] > 0
    assert report["versions"]["torch"]
    assert report["commit"]
    assert report["command"].startswith(f"python benchmarks/{name}.py --tiny")


def test_training_beside_both_peers(tmp_path):
    nanogpt = shutil.copytree(NANOGPT, tmp_path / "nano")
    before = sorted(path.relative_to(nanogpt) for path in nanogpt.rglob("*"))
    printed, report = run("train", tmp_path / "train.json", "--peer", f"nanogpt={nanogpt}", "--peer", f"lecture={LECTURE}")
    assert_has_provenance(report, "train")
    speed = report["speed"]["tiny"]
    for who in ("ours", "nanogpt", "lecture"):
        assert speed[who]["tokens_per_second"] == pytest.approx(4 * 16 / sorted(speed[who]["seconds_per_step"])[0])
        assert speed[who]["share_of_peak"] == pytest.approx(
            speed["operations_per_step"] / speed[who]["seconds_per_step"][0] / speed["peak"]
        )
        assert speed[who]["peak_memory"] > 50e6
    losses = report["losses"]
    assert losses["nanogpt"][0]["loss"] == pytest.approx(4.17, abs=0.5)  # its fake is untrained
    assert losses["laptop"][0]["losses"][-1] < losses["laptop"][0]["losses"][0]
    assert losses["sprint"][0]["seconds"] > 0
    assert "of peak" in printed
    assert "nanoGPT, README line" in printed
    after = sorted(path.relative_to(nanogpt) for path in nanogpt.rglob("*") if "__pycache__" not in path.parts)
    assert after == before, "the user's checkout was written to"


def test_writing_beside_a_peer_that_writes_the_same_text(tmp_path):
    printed, report = run("sample", tmp_path / "sample.json", "--peer", f"nanogpt={NANOGPT}")
    assert_has_provenance(report, "sample")
    tiny = report["writing"]["tiny"]
    assert tiny["same_text_as_nanogpt"] is True
    assert set(tiny["tokens_per_second"]) == {"float32, 1", "bfloat16, 1", "float32, 64", "bfloat16, 64", "nanogpt"}
    assert all(rate > 0 for rate in tiny["tokens_per_second"].values())
    assert "times nanoGPT's" in printed
    assert report["first_character"][0] > 0


def test_scaling(tmp_path):
    printed, report = run("scaling", tmp_path / "scaling.json")
    assert_has_provenance(report, "scaling")
    assert set(report["scaling"]) == {"width", "depth", "context", "batch"}
    assert all(point["seconds"] > 0 for points in report["scaling"].values() for point in points)
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert "grows like" in printed


@pytest.mark.parametrize("peer", ["nanogpt=/nowhere", "minigpt=.", "nanogpt"])
def test_a_peer_that_is_not_there_is_named(tmp_path, peer):
    done = run("train", tmp_path / "train.json", "--peer", peer, check=False)
    assert done.returncode == 2
    assert f"{peer!r} is no NAME=PATH" in done.stderr


@pytest.mark.slow
def test_waiting_for_the_course(tmp_path):
    printed, report = run("course", tmp_path / "course.json")
    assert_has_provenance(report, "course")
    assert len(report["check"]["cold"]) == len(report["check"]["warm"]) == 1
    scores = report["grade"]["scores"]
    assert list(scores) == ["learner00", "learner01", "learner02"]
    assert scores["learner02"] > scores["learner00"]
    assert "grading 3 submissions" in printed
