"""The verbs as a learner types them, in a project of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile

import pytest

from gptladder.course.outline import course
from gptladder.course.source.functions import text_of_body, with_body
from gptladder.course.source.reference import reference_texts
from gptladder.course.workspace.make import project_files, write_project


def gptladder(*arguments, cwd, **options):
    command = [sys.executable, "-m", "gptladder", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False, **options)


@pytest.fixture
def project(tmp_path):
    write_project(tmp_path / "project", project_files())
    return tmp_path / "project"


def fill(project, *ids, body=None):
    texts = reference_texts()
    for id in ids:
        exercise = course().exercise(id)
        path = project / "mygpt" / exercise.file
        written = body or text_of_body(texts[exercise.file], exercise.name)
        path.write_text(with_body(path.read_text(), exercise.name, written))


def record_of(project):
    return json.loads((project / ".gptladder" / "record.json").read_text())


def test_new_makes_a_project_and_says_how_to_begin(tmp_path):
    result = gptladder("new", "mine", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "gptladder check" in result.stdout
    assert (tmp_path / "mine" / "mygpt" / "model" / "attention.py").is_file()
    again = gptladder("new", "mine", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (2, "")
    assert "not empty" in again.stderr
    assert again.stderr.count("\n") == 1


def test_new_makes_archives_that_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert gptladder("new", "project", "--completed", "--zip", cwd=tmp_path / name).returncode == 0
    first, second = ((tmp_path / name / "project.zip").read_bytes() for name in ("a", "b"))
    assert first == second
    with zipfile.ZipFile(tmp_path / "a" / "project.zip") as archive:
        assert "project/mygpt/tokenizer.py" in archive.namelist()
    assert gptladder("new", "project.zip", "--zip", cwd=tmp_path / "a").returncode == 2


def test_the_first_check_says_that_the_first_exercise_is_not_written(project):
    result = gptladder("check", cwd=project / "mygpt")
    assert result.returncode == 1
    assert "1.2-encode" in result.stdout
    assert "not written yet" in result.stdout
    assert "gptladder hint 1.2-encode" in result.stdout


def test_a_right_answer_passes_and_the_next_one_is_named(project):
    fill(project, "1.2-encode")
    result = gptladder("check", cwd=project)
    assert result.returncode == 0, result.stdout
    assert "passed. Next: 1.2-decode" in result.stdout
    assert record_of(project)["checks"]["1.2-encode"]["passed"] is True


def test_a_known_mistake_is_named(project):
    right = text_of_body(reference_texts()["model/attention.py"], "Head.forward")
    fill(project, "3.3-head", body=right.replace("math.sqrt(self.head_size)", "math.sqrt(x.size(-1))"))
    result = gptladder("check", "3.3-head", cwd=project)
    assert result.returncode == 1
    assert "scaling by sqrt(n_embd) gives; the scale is sqrt(D), where D is the head size" in " ".join(result.stdout.split())
    assert record_of(project)["checks"]["3.3-head"]["mutant"] == "3.3-head/scale-by-width"
    traced = gptladder("trace", "3.3-head", cwd=project)
    assert traced.returncode == 0
    assert "here they part first: look at the line that makes scores" in traced.stdout


@pytest.mark.slow
def test_mine_judges_with_the_learner_s_own_code_throughout(project):
    fill(project, *(exercise.id for exercise in course().exercises if exercise.file == "model/attention.py"))
    fill(project, "5.1-dropout")
    assert gptladder("check", "3.3-head", "--mine", cwd=project).returncode == 0
    fill(project, "3.2-softmax", body="return scores")
    assert gptladder("check", "3.3-head", cwd=project).returncode == 0
    assert gptladder("check", "3.3-head", "--mine", cwd=project).returncode == 1


@pytest.mark.slow
def test_hints_come_one_more_each_time(project):
    hints = course().exercise("3.3-head").hints
    first, second = (gptladder("hint", "3.3-head", cwd=project).stdout for _ in range(2))
    assert f"1 of {len(hints)}" in first
    assert f"2 of {len(hints)}" not in first
    assert f"2 of {len(hints)}" in second


def test_the_solution_is_shown_after_a_pass_or_when_given_up(project):
    early = gptladder("solution", "1.2-encode", cwd=project)
    assert (early.returncode, early.stdout) == (2, "")
    assert "--give-up" in early.stderr
    given = gptladder("solution", "1.2-encode", "--give-up", cwd=project)
    assert "return [self.ids[character]" in given.stdout
    assert "1.2-encode" in record_of(project)["given_up"]
    fill(project, "1.2-decode")
    gptladder("check", "1.2-decode", cwd=project)
    passed = gptladder("solution", "1.2-decode", cwd=project)
    assert passed.returncode == 0
    assert passed.stdout.startswith("def decode(self, tokens")


def test_progress_in_its_three_forms(project):
    fill(project, "1.2-encode")
    gptladder("check", "1.2-encode", cwd=project)
    plain = gptladder("progress", cwd=project)
    assert "[x] 1.2-encode" in plain.stdout
    found = json.loads(gptladder("progress", "--json", cwd=project).stdout)
    assert len(found) == 36
    (entry,) = [item for item in found["1.2b"]["evidence"] if item["id"] == "1.2-encode"]
    assert entry["state"] == "done"
    assert entry["date"]
    page = gptladder("progress", "--html", cwd=project).stdout
    assert page.startswith("<!doctype html>")
    assert "1.2-encode: done" in page
    both = gptladder("progress", "--html", "--json", cwd=project)
    assert both.returncode == 2


@pytest.mark.slow
def test_a_damaged_record_is_made_again_from_the_code(project):
    fill(project, "1.2-encode")
    gptladder("check", "1.2-encode", cwd=project)
    (project / ".gptladder" / "record.json").write_text("{broken")
    result = gptladder("progress", cwd=project)
    assert result.returncode == 0
    assert "record.json was damaged" in result.stderr
    assert "[x] 1.2-encode" in result.stdout
    assert list((project / ".gptladder").glob("record.json.damaged-*"))


@pytest.mark.parametrize("verb", ["check", "hint", "trace", "solution"])
def test_an_unknown_exercise_is_answered_with_those_that_there_are(project, verb):
    result = gptladder(verb, "9.9-none", cwd=project)
    assert result.returncode == 2
    assert "1.2-encode" in result.stderr
    assert result.stderr.startswith("error: no exercise '9.9-none'")


@pytest.mark.parametrize("verb", [["check"], ["hint"], ["progress"], ["trace"], ["submit"], ["quiz", "1.1"]])
def test_outside_of_a_project_every_verb_says_so(tmp_path, verb):
    result = gptladder(*verb, cwd=tmp_path)
    assert result.returncode == 2
    assert "no project in" in result.stderr


@pytest.mark.slow
def test_submit_and_grade_from_end_to_end(project, tmp_path):
    fill(project, "1.2-encode", "1.2-decode")
    assert gptladder("submit", "--out", str(tmp_path / "in" / "ada.zip"), cwd=project).returncode == 0
    result = gptladder("grade", str(tmp_path / "in"), "--csv", str(tmp_path / "out.csv"), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 exercises" in result.stdout
    text = (tmp_path / "out.csv").read_text()
    assert text.startswith("submission,score,refused,1.1a")
    assert "ada" in text


@pytest.mark.slow
def test_watching_checks_again_on_every_save_and_goes_on(project):
    command = [sys.executable, "-u", "-m", "gptladder", "check", "--watch"]
    log = project.parent / "log"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=project, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: "waiting for you to save" in log.read_text())
        fill(project, "1.2-encode")
        wait_for(lambda: "passed. Next: 1.2-decode" in log.read_text())
        wait_for(lambda: log.read_text().count("waiting for you to save") == 2)
        os.utime(project / "mygpt" / "tokenizer.py")
        wait_for(lambda: log.read_text().count("waiting for you to save") == 3)
    finally:
        process.terminate()
        process.wait()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
