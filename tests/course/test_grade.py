"""Grading a folder: everything derived again, partial credit, nothing lost whatever a submission does."""

from __future__ import annotations

import csv
import json
import re
import shutil
import socket

import pytest

from gptladder.course import grade as grading
from gptladder.course.outline import course
from gptladder.course.questions import quiz
from gptladder.course.workspace import handin, record
from gptladder.course.workspace.make import project_files, write_project
from gptladder.errors import InputError

FEW = ("1.2-encode", "3.3-head", "4.2-block")


@pytest.fixture
def few(monkeypatch):
    """A course of three exercises and its questions: the machinery is the same, and it is quick."""
    chosen = course()
    fewer = type(chosen)(
        **{**vars(chosen), "exercises": tuple(exercise for exercise in chosen.exercises if exercise.id in FEW)}
    )
    monkeypatch.setattr(grading, "course", lambda: fewer)
    monkeypatch.setattr(grading, "SECONDS", 3.0)
    return fewer


def make(folder, name, change=None, zipped=True):
    """A submission of a completed project with a change of its code."""
    path = folder.parent / "making" / name
    write_project(path, project_files(completed=True))
    if change:
        file, old, new = change
        text = (path / "mygpt" / file).read_text()
        assert old in text
        (path / "mygpt" / file).write_text(text.replace(old, new, 1))
    project = record.open_project(path)
    if zipped:
        handin.write_submission(project, folder / f"{name}.zip")
    else:
        shutil.copytree(path, folder / name)
    return project


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def rows_of(path):
    with path.open(newline="") as file:
        return {row["submission"]: row for row in csv.DictReader(file)}


def test_a_class_is_graded_and_nothing_is_lost(few, folder, tmp_path):
    make(folder, "ada")
    make(folder, "bea", ("model/attention.py", "scores = scores / math.sqrt(self.head_size)", "scores = scores / 1.0"))
    make(folder, "cem", ("model/attention.py", "q, k, v = self.query", "while True: pass\n        q, k, v = self.query"))
    hog = "hold = [torch.ones(2**24) for i in range(10_000)]\n        q, k, v = self.query"
    make(folder, "dan", ("model/attention.py", "q, k, v = self.query", hog))
    make(folder, "eva", ("model/block.py", "class Block(", "class Block(("), zipped=False)
    (folder / "fay.zip").write_bytes(b"no archive")
    (folder / "notes.txt").write_text("not a submission")
    graded = list(grading.grade(folder, tmp_path / "out.csv"))
    rows = rows_of(tmp_path / "out.csv")
    assert list(rows) == ["ada", "bea", "cem", "dan", "eva", "fay"]
    assert [rows["ada"][id] for id in FEW] == ["pass", "pass", "pass"]
    assert [rows["bea"][id] for id in FEW] == ["pass", "fail: 3.3-head/no-scale", "pass"]
    assert rows["cem"]["1.2-encode"] == rows["cem"]["4.2-block"] == "pass"
    assert "still running" in rows["cem"]["3.3-head"]
    assert "memory" in rows["dan"]["3.3-head"]
    assert rows["dan"]["4.2-block"] == "pass"
    assert rows["eva"]["1.2-encode"] == "pass"
    assert "Python cannot read" in rows["eva"]["4.2-block"]
    assert "cannot be unpacked" in rows["fay"]["refused"]
    assert rows["fay"]["score"] == "0.0000"
    assert float(rows["ada"]["score"]) > float(rows["bea"]["score"]) > 0
    common = grading.commonest(graded)
    assert any("3.3-head: Scores need no scale" in what for _, what in common)


def test_the_submitted_record_is_not_believed(few, folder, tmp_path):
    project = make(
        folder, "liar", ("model/attention.py", "scores = scores / math.sqrt(self.head_size)", "scores = scores / 1.0")
    )
    project.note_check("3.3-head", True, None)
    (folder / "liar.zip").unlink()
    handin.write_submission(project, folder / "liar.zip")
    list(grading.grade(folder, tmp_path / "out.csv"))
    assert rows_of(tmp_path / "out.csv")["liar"]["3.3-head"] == "fail: 3.3-head/no-scale"


def test_answers_are_marked_again_with_the_learner_s_own_numbers(few, folder, tmp_path):
    project = make(folder, "ada")
    chosen = next(question for question in few.questions if question.answer)
    wrong = next(question for question in few.questions if question.answer and question.id != chosen.id)
    drawn = next(question for question in few.questions if question.draw)
    project.note_answer(chosen.id, chosen.answer, False)  # what the record says of it does not count
    project.note_answer(wrong.id, wrong.wrong[0].says, True)
    blanks = {item.question.id: item for item in quiz.items(drawn.lesson, project.learner_seed)}[drawn.id].blanks
    project.note_answer(drawn.id, {blank.name: as_text(blank.answer) for blank in blanks}, False)
    (folder / "ada.zip").unlink()
    handin.write_submission(project, folder / "ada.zip")
    (graded,) = grading.grade(folder, tmp_path / "out.csv")
    row = rows_of(tmp_path / "out.csv")["ada"]
    assert row[chosen.id] == "right"
    assert row[wrong.id] == "wrong"
    assert row[drawn.id] == "right"
    assert (1, f"{wrong.id}: {wrong.wrong[0].thinks}") in grading.commonest([graded])


def as_text(answer):
    return " ".join(map(str, answer)) if isinstance(answer, tuple) else str(answer)


@pytest.mark.parametrize("answers", ["[]", "{", '{"1.1a-1": 5}', '{"1.1a-1": {"answer": {"a": []}}}', "null"])
def test_answers_that_cannot_be_read_are_no_answers(few, folder, tmp_path, answers):
    project = make(folder, "odd", zipped=False)
    (folder / "odd" / ".gptladder" / "answers.json").write_text(answers)
    (graded,) = grading.grade(folder, tmp_path / "out.csv")
    assert not graded.evidence("1.1a-1")
    assert graded.verdicts["3.3-head"].passed
    assert project.folder.is_dir()


def test_partial_credit_is_the_share_of_an_objective_s_evidence(few):
    graded = grading.Graded("x")
    ids = few.evidence_for("3.3c")
    assert graded.share("3.3c") == 0
    for question in few.questions:
        if question.objective == "3.3c":
            graded.answers[question.id] = quiz.mark(question, question.answer, 1)
    assert graded.share("3.3c") == pytest.approx((len(ids) - 1) / len(ids))


def test_after_three_that_ran_out_of_time_the_rest_is_given_less(few, folder, monkeypatch, tmp_path):
    monkeypatch.setattr(grading, "STRIKES", 1)
    monkeypatch.setattr(grading, "SECONDS", 3.0)
    monkeypatch.setattr(grading, "IMPATIENT_SECONDS", 1.0)
    make(
        folder,
        "slow",
        ("model/config.py", "from dataclasses import dataclass", "from dataclasses import dataclass\nwhile True: pass"),
    )
    (graded,) = grading.grade(folder, tmp_path / "out.csv")
    waited = [int(re.search(r"after (\d+) s", graded.verdicts[id].problem)[1]) for id in FEW[1:]]
    assert waited[1] < waited[0]
    assert graded.verdicts["1.2-encode"].passed


def test_a_submission_is_not_changed_by_being_graded(few, folder, tmp_path):
    make(
        folder,
        "ada",
        ("model/attention.py", "q, k, v = self.query", "open('left.txt', 'w').write('x')\n        q, k, v = self.query"),
        zipped=False,
    )
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    list(grading.grade(folder, tmp_path / "out.csv"))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_folder_without_submissions_is_said(tmp_path):
    with pytest.raises(InputError, match="neither"):
        grading.submissions_in(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        grading.submissions_in(tmp_path / "none")


def test_the_table_can_be_read_by_programs(few):
    graded = grading.Graded('a "quoted", name', refused="why,\nso")
    (header, row) = csv.reader(grading.as_csv([graded]).splitlines(keepends=True))
    assert row[0] == 'a "quoted", name'
    assert row[2] == "why,\nso"
    assert len(header) == len(row)
    assert json.dumps(header)


@pytest.mark.skipif(not grading.bubblewrap(), reason="bubblewrap is not installed, or may not be used here")
def test_with_bubblewrap_there_is_no_network_and_nothing_to_write(few, folder, tmp_path):
    make(folder, "ada")
    target = tmp_path / "left.txt"
    spoil = f"import pathlib\n        pathlib.Path({str(target)!r}).write_text('x')"
    make(folder, "bea", ("model/attention.py", "q, k, v = self.query", f"{spoil}\n        q, k, v = self.query"))
    listening = socket.create_server(("127.0.0.1", 0))
    dial = f"import socket\n        socket.create_connection({listening.getsockname()!r}, timeout=1)"
    make(folder, "cem", ("model/attention.py", "q, k, v = self.query", f"{dial}\n        q, k, v = self.query"))
    with listening:
        list(grading.grade(folder, tmp_path / "out.csv", wrap=grading.bubblewrap()))
    rows = rows_of(tmp_path / "out.csv")
    assert [rows["ada"][id] for id in FEW] == ["pass", "pass", "pass"]
    assert "Read-only file system" in rows["bea"]["3.3-head"]
    assert not target.exists()
    assert "ConnectionRefusedError" in rows["cem"]["3.3-head"]
