"""Every benchmark in a tiny form, with small stand-ins for the peers' checkouts: none may rot."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import measure
import report

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
NANOGPT, LECTURE = HERE / "fake_nanogpt", HERE / "fake_lecture"


def arguments(name, out, words):
    return [str(ROOT / "benchmarks" / f"{name}.py"), "--tiny", "--rounds", "1", "--out", str(out), *map(str, words)]


def run(name, out, *words, check=True):
    """A benchmark's output and its JSON."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments(name, out, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=out.parent)
    if not check:
        return done
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads(out.read_text())


@pytest.fixture
def run_here(monkeypatch, capsys):
    """The same in this process, its measurements too: a process for each of them would load torch a dozen times."""
    monkeypatch.setenv(report.TINY, "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(name, out, *words):
        module = importlib.import_module(name)
        for holder in (report, module):
            monkeypatch.setattr(holder, "in_child", measured_here, raising=False)
        monkeypatch.setattr(sys, "argv", arguments(name, out, words))
        monkeypatch.chdir(out.parent)
        module.main()
        return capsys.readouterr().out, json.loads(out.read_text())

    return call


def measured_here(task):
    task = dict(task)
    answer = measure.TASKS[task.pop("task")](**task)
    return {"answer": answer, "peak_memory": measure.peak_memory(), "threads": 1}


@pytest.mark.slow
def test_a_measurement_has_a_process_of_its_own(tmp_path):
    """Whole commands, as users call them."""
    _, found = run("scaling", tmp_path / "scaling.json")
    assert_has_provenance(found, "scaling")
    assert all(point["seconds"] > 0 for points in found["scaling"].values() for point in points)


def test_a_failed_measurement_says_what_failed():
    with pytest.raises(SystemExit, match="'nothing of that name'} failed"):
        report.in_child({"task": "nothing of that name"})


def assert_has_provenance(report, name):
    assert report["machine"]["processor"]["cores"] == os.cpu_count()
    assert report["machine"]["processor"]["name"]
    assert report["peaks"]["float32"] > 0
    assert report["versions"]["torch"]
    assert report["commit"]
    assert report["command"].startswith(f"python benchmarks/{name}.py --tiny")


def test_training_beside_both_peers(tmp_path, run_here):
    nanogpt = shutil.copytree(NANOGPT, tmp_path / "nano")
    before = sorted(path.relative_to(nanogpt) for path in nanogpt.rglob("*"))
    printed, found = run_here("train", tmp_path / "train.json", "--peer", f"nanogpt={nanogpt}", "--peer", f"lecture={LECTURE}")
    assert_has_provenance(found, "train")
    speed = found["speed"]["tiny"]
    for who in ("ours", "nanogpt", "lecture"):
        assert speed[who]["tokens_per_second"] == pytest.approx(4 * 16 / sorted(speed[who]["seconds_per_step"])[0])
        assert speed[who]["share_of_peak"] == pytest.approx(
            speed["operations_per_step"] / speed[who]["seconds_per_step"][0] / speed["peak"]
        )
        assert speed[who]["peak_memory"] > 50e6
    losses = found["losses"]
    assert losses["nanogpt"][0]["loss"] == pytest.approx(4.17, abs=0.5)  # its fake is untrained
    assert losses["laptop"][0]["losses"][-1] < losses["laptop"][0]["losses"][0]
    assert losses["sprint"][0]["seconds"] > 0
    assert "of peak" in printed
    assert "nanoGPT, README line" in printed
    after = sorted(path.relative_to(nanogpt) for path in nanogpt.rglob("*") if "__pycache__" not in path.parts)
    assert after == before, "the user's checkout was written to"


def test_writing_beside_a_peer_that_writes_the_same_text(tmp_path, run_here):
    printed, found = run_here("sample", tmp_path / "sample.json", "--peer", f"nanogpt={NANOGPT}")
    assert_has_provenance(found, "sample")
    tiny = found["writing"]["tiny"]
    assert tiny["same_text_as_nanogpt"] is True
    assert set(tiny["tokens_per_second"]) == {"float32, 1", "bfloat16, 1", "float32, 64", "bfloat16, 64", "nanogpt"}
    assert all(rate > 0 for rate in tiny["tokens_per_second"].values())
    assert "times nanoGPT's" in printed
    assert found["first_character"][0] > 0


def test_scaling(tmp_path, run_here):
    printed, found = run_here("scaling", tmp_path / "scaling.json")
    assert_has_provenance(found, "scaling")
    assert set(found["scaling"]) == {"width", "depth", "context", "batch"}
    assert all(point["seconds"] > 0 for points in found["scaling"].values() for point in points)
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
