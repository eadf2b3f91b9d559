"""The verbs as a learner types them, in a project of their own."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from gptladder.course import study
from gptladder.course.outline import course
from gptladder.course.source.functions import text_of_body, with_body
from gptladder.course.source.reference import reference_texts
from gptladder.course.workspace import record
from gptladder.course.workspace.make import project_files, write_project


@pytest.fixture
def typed(gptladder, monkeypatch):
    """What a command leaves that is typed in a folder, with what is typed into it afterwards."""

    def call(*words, cwd, answers=""):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
        return gptladder(*words)

    return call


@pytest.fixture(scope="session")
def starter_files():
    return project_files()


@pytest.fixture
def project(tmp_path, starter_files):
    write_project(tmp_path / "project", starter_files)
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


def test_new_makes_a_project_and_says_how_to_begin(typed, tmp_path):
    result = typed("new", "mine", cwd=tmp_path)
    assert result.code == 0, result.err
    assert "gptladder check" in result.out
    assert (tmp_path / "mine" / "mygpt" / "model" / "attention.py").is_file()
    again = typed("new", "mine", cwd=tmp_path)
    assert (again.code, again.out) == (2, "")
    assert "not empty" in again.err
    assert again.err.count("\n") == 1


def test_new_makes_archives_that_are_the_same_bytes(typed, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert typed("new", "project", "--completed", "--zip", cwd=tmp_path / name).code == 0
    first, second = ((tmp_path / name / "project.zip").read_bytes() for name in ("a", "b"))
    assert first == second
    with zipfile.ZipFile(tmp_path / "a" / "project.zip") as archive:
        assert "project/mygpt/tokenizer.py" in archive.namelist()
    assert typed("new", "project.zip", "--zip", cwd=tmp_path / "a").code == 2


@pytest.mark.parametrize("words", [["."], ["--completed", "."], ["../link"]])
def test_new_fills_an_empty_folder_where_it_is(typed, tmp_path, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    result = typed("new", *words, cwd=tmp_path / "empty")
    assert result.code == 0, result.err
    assert (tmp_path / "empty" / ".gptladder" / "project.json").is_file()
    assert "\n  cd" not in result.out  # one is there already


def test_new_makes_the_archive_of_a_folder_without_a_name_in_it(typed, tmp_path):
    result = typed("new", "--zip", ".", cwd=tmp_path)
    assert (result.code, result.out) == (0, f"written: {tmp_path.name}.zip\n")
    with zipfile.ZipFile(tmp_path / f"{tmp_path.name}.zip") as archive:
        assert f"{tmp_path.name}/mygpt/tokenizer.py" in archive.namelist()


@pytest.mark.parametrize(("make", "says"), [(Path.mkdir, "is a folder"), (Path.touch, "is there already")])
def test_new_writes_no_archive_over_what_is_there(typed, tmp_path, make, says):
    make(tmp_path / "mine.zip")
    result = typed("new", "--zip", "mine", cwd=tmp_path)
    assert (result.code, result.out) == (2, "")
    assert f"mine.zip {says}" in result.err
    assert (tmp_path / "mine.zip").is_dir() == (make is Path.mkdir)


def test_every_next_step_works_when_it_is_pasted_and_the_first_check_names_the_first_exercise(tmp_path):
    """In a shell that does not find the program by its name, into a folder whose name has spaces."""
    program = Path(sys.executable).parent / "gptladder"
    (tmp_path / "my venv").mkdir()
    (tmp_path / "my venv" / "gptladder").symlink_to(program)
    environment = {"PATH": "/usr/bin:/bin"}

    def shell(line, cwd=tmp_path):
        return subprocess.run(["sh", "-c", line], cwd=cwd, env=environment, capture_output=True, text=True, check=False)

    made = shell("'my venv/gptladder' new 'my gpt course'")
    assert made.returncode == 0, made.stderr
    steps = "; ".join(line.strip() for line in made.stdout.splitlines()[1:])
    checked = shell(steps)
    assert checked.returncode == 1, checked
    assert "1.2-encode: CharTokenizer.encode" in checked.stdout
    assert "not written yet" in checked.stdout
    hint = checked.stdout.partition("Stuck? ")[2].strip()
    assert hint.endswith("gptladder' hint 1.2-encode")
    assert "1 of 3" in shell(hint, tmp_path / "my gpt course").stdout
    assert "'my venv/gptladder' new DIR" in shell("'my venv/gptladder' check").stderr


def test_a_right_answer_passes_and_the_next_one_is_named(typed, project):
    fill(project, "1.2-encode")
    result = typed("check", cwd=project)
    assert result.code == 0, result.out
    assert "passed. Next: 1.2-decode" in result.out
    assert record_of(project)["checks"]["1.2-encode"]["passed"] is True


def test_a_known_mistake_is_named(typed, project):
    right = text_of_body(reference_texts()["model/attention.py"], "Head.forward")
    fill(project, "3.3-head", body=right.replace("math.sqrt(self.head_size)", "math.sqrt(x.size(-1))"))
    result = typed("check", "3.3-head", cwd=project)
    assert result.code == 1
    assert "this is what scaling by sqrt(n_embd) gives; scale by sqrt(D), where D is the head size" in " ".join(
        result.out.split()
    )
    assert record_of(project)["checks"]["3.3-head"]["mutant"] == "3.3-head/scale-by-width"
    traced = typed("trace", "3.3-head", cwd=project)
    assert traced.code == 0
    assert "the first difference: look at the line that makes scores" in traced.out


@pytest.mark.slow
def test_mine_judges_with_the_learner_s_own_code_throughout(typed, project):
    fill(project, *(exercise.id for exercise in course().exercises if exercise.file == "model/attention.py"))
    fill(project, "5.1-dropout")
    assert typed("check", "3.3-head", "--mine", cwd=project).code == 0
    fill(project, "3.2-softmax", body="return scores")
    assert typed("check", "3.3-head", cwd=project).code == 0
    assert typed("check", "3.3-head", "--mine", cwd=project).code == 1


@pytest.mark.slow
def test_hints_come_one_more_each_time(typed, project):
    hints = course().exercise("3.3-head").hints
    first, second = (typed("hint", "3.3-head", cwd=project).out for _ in range(2))
    assert f"1 of {len(hints)}" in first
    assert f"2 of {len(hints)}" not in first
    assert f"2 of {len(hints)}" in second


def test_the_solution_is_shown_after_a_pass_or_when_given_up(typed, project):
    early = typed("solution", "1.2-encode", cwd=project)
    assert (early.code, early.out) == (2, "")
    assert "--give-up" in early.err
    given = typed("solution", "1.2-encode", "--give-up", cwd=project)
    assert "return [self.ids[character]" in given.out
    assert "1.2-encode" in record_of(project)["given_up"]
    fill(project, "1.2-decode")
    record.open_project(project).note_check("1.2-decode", True, None)
    passed = typed("solution", "1.2-decode", cwd=project)
    assert passed.code == 0
    assert passed.out.startswith("def decode(self, tokens")


def test_reset_says_what_it_did_and_where_the_learner_s_version_is(typed, project):
    fill(project, "1.2-encode", body="return []  # mine")
    result = typed("reset", "encode", cwd=project)
    assert result.code == 0, result.err
    assert "1.2-encode: CharTokenizer.encode in mygpt/tokenizer.py is as shipped again" in result.out
    kept = project / result.out.strip().rpartition(" ")[2]
    assert "return []  # mine" in kept.read_text()
    assert "# mine" not in (project / "mygpt" / "tokenizer.py").read_text()
    again = typed("reset", "encode", cwd=project)
    assert (again.code, again.out) == (2, "")
    assert "nothing to reset" in again.err


def test_without_a_verb_a_learner_is_told_where_they_stand(typed, project, tmp_path):
    record.open_project(project).note_check("1.2-encode", True, None)
    result = typed(cwd=project / "mygpt")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "1 of 29 exercises passed; lesson 1.2, The data",
        "  next: 1.2-decode, CharTokenizer.decode in mygpt/tokenizer.py, about 10 minutes",
        "  check it whenever you save: gptladder check --watch",
        "  questions that wait: 6 of lesson 1.1, 6 of lesson 1.2; answer them: gptladder quiz 1.1",
        "  all objectives: gptladder progress; all verbs: gptladder --help",
    ]
    assert typed(cwd=tmp_path).out.startswith("Usage: gptladder")


def test_where_one_stands_is_said_without_loading_torch(project):
    script = "import sys; from gptladder.cli import learn; learn.show_standing(); sys.exit('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "0 of 29 exercises passed" in result.stdout


def test_a_project_whose_hidden_folder_was_lost_is_mended(typed, project, monkeypatch):
    checked = []
    monkeypatch.setattr(study, "check_all", lambda examiner, project: checked.append(project.folder) or [])
    shutil.rmtree(project / ".gptladder")
    result = typed("progress", cwd=project)
    assert result.code == 0
    assert ".gptladder/project.json is missing" in result.err
    assert checked == [project]
    assert typed("progress", cwd=project).err == ""


def typed_answer(item):
    """What a learner types who knows the answers of a question."""
    if item.choices:
        return [str(item.choices.index(item.question.answer) + 1)]
    return [blank.answer_text for blank in item.blanks]


def test_a_quiz_asks_again_for_what_cannot_be_read(typed, project):
    items = study.questions(record.open_project(project), "3.3")
    lines = []
    for item in items:
        slips = ["9", "first"] if item.choices else [] if isinstance(item.blanks[0].answer, str) else ["one", "3.2 nats", ""]
        lines += [*slips, *typed_answer(item)]
    result = typed("quiz", "head", cwd=project, answers="\n".join(lines) + "\n")
    assert result.code == 0, result.err
    assert result.out.count("  Right.") == len(items)
    assert "Not right" not in result.out
    assert "'9' is not one of the choices; type a number from 1 to" in result.out
    assert "'one' cannot be read as a" in result.out
    assert "Nothing was typed: type " in result.out
    assert "Each ? is a gap. A dot stands for a number that is not shown and not asked for." in result.out
    assert result.out.endswith(f"\n{len(items)} of {len(items)} right\n")
    done = typed("quiz", "3.3", cwd=project)
    assert "You have answered every question of lesson 3.3" in done.out
    assert "gptladder quiz 3.3 --again" in done.out


def test_a_quiz_ends_with_how_many_answers_were_right(typed, project):
    first, *rest = study.questions(record.open_project(project), "1.1")
    wrong = [str(2 if typed_answer(item) == ["1"] else 1) for item in rest]
    result = typed("quiz", "1.1", cwd=project, answers="\n".join([*typed_answer(first), *wrong]) + "\n")
    assert result.out.endswith("\n1 of 6 right; to be asked the others again: gptladder quiz 1.1\n")


def test_a_quiz_ends_with_its_input_and_keeps_what_was_answered(typed, project):
    first, *rest = study.questions(record.open_project(project), "1.1")
    result = typed("quiz", "1.1", cwd=project, answers="\n".join([*typed_answer(first), "none", "none"]) + "\n")
    assert result.code == 0
    assert result.out.endswith("Stopped; your answers so far are kept. Go on: gptladder quiz 1.1\n")
    assert list(study.questions(record.open_project(project), "1.1")) == rest


def test_a_wrong_answer_is_told_with_the_right_one(typed, project):
    item = next(item for item in study.questions(record.open_project(project), "2.1") if item.blanks)
    before = [
        line
        for other in study.questions(record.open_project(project), "2.1")[: item_number(project, item)]
        for line in typed_answer(other)
    ]
    wrong = ["9" * 5 if not isinstance(blank.answer, tuple) else "(9, 9)" for blank in item.blanks]
    result = typed("quiz", "2.1", cwd=project, answers="\n".join([*before, *wrong]) + "\n")
    assert f"{item.blanks[0].name} is {item.blanks[0].answer_text}, not {wrong[0]}:" in " ".join(result.out.split())
    assert "Not right." in result.out


def item_number(project, item):
    return study.questions(record.open_project(project), "2.1").index(item)


def test_progress_in_its_three_forms(typed, project):
    fill(project, "1.2-encode")
    record.open_project(project).note_check("1.2-encode", True, None)
    plain = typed("progress", cwd=project)
    assert "[x] 1.2-encode" in plain.out
    found = json.loads(typed("progress", "--json", cwd=project).out)
    assert len(found) == 36
    (entry,) = [item for item in found["1.2b"]["evidence"] if item["id"] == "1.2-encode"]
    assert entry["state"] == "done"
    assert entry["date"]
    page = typed("progress", "--html", cwd=project).out
    assert page.startswith("<!doctype html>")
    assert "1.2-encode: done" in page
    both = typed("progress", "--html", "--json", cwd=project)
    assert both.code == 2


@pytest.mark.slow
def test_a_damaged_record_is_made_again_from_the_code(typed, project):
    fill(project, "1.2-encode")
    typed("check", "1.2-encode", cwd=project)
    (project / ".gptladder" / "record.json").write_text("{broken")
    result = typed("progress", cwd=project)
    assert result.code == 0
    assert "record.json was damaged" in result.err
    assert "[x] 1.2-encode" in result.out
    assert list((project / ".gptladder").glob("record.json.damaged-*"))


def test_what_was_printed_is_told_from_what_was_returned(typed, project):
    fill(project, "1.2-encode", body="print(self.ids)")
    out = typed("check", "1.2-encode", cwd=project).out
    assert "returned nothing (is a `return` missing?)" in out
    assert "Your code printed (print only shows a value, return gives it back):" in out


def test_an_exercise_without_tensors_has_nothing_to_trace(typed, project):
    fill(project, "1.2-encode")
    result = typed("trace", "1.2-encode", cwd=project)
    assert result.code == 1
    assert result.out.startswith("1.2-encode: nothing to trace: its first call makes no tensors; see gptladder check")


def test_a_missing_argument_is_answered_with_where_to_look(typed, project):
    result = typed("quiz", cwd=project)
    assert (result.code, result.err) == (2, "error: Missing argument 'LESSON'; see: gptladder quiz --help\n")


@pytest.mark.parametrize("verb", ["check", "hint", "trace", "solution", "reset"])
def test_an_unknown_exercise_is_answered_with_what_is_near(typed, project, verb):
    result = typed(verb, "3.3-haed", cwd=project)
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: no exercise '3.3-haed'; did you mean '3.3-head'? gptladder progress lists them all\n"


@pytest.mark.parametrize("verb", [["check"], ["hint"], ["progress"], ["trace"], ["submit"], ["quiz", "1.1"], ["reset", "head"]])
def test_outside_of_a_project_every_verb_says_so(typed, tmp_path, verb):
    result = typed(*verb, cwd=tmp_path)
    assert result.code == 2
    assert "no project in" in result.err


@pytest.mark.slow
def test_submit_and_grade_from_end_to_end(typed, project, tmp_path):
    fill(project, "1.2-encode", "1.2-decode")
    assert typed("submit", "--out", str(tmp_path / "in" / "ada.zip"), cwd=project).code == 0
    result = typed("grade", str(tmp_path / "in"), "--csv", str(tmp_path / "out.csv"), cwd=tmp_path)
    assert result.code == 0, result.err
    assert "2 exercises" in result.out
    text = (tmp_path / "out.csv").read_text(encoding="utf-8-sig")
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
