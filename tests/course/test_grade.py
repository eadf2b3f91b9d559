"""Grading a folder: everything derived again, partial credit, nothing lost whatever a submission does."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import socket
import time

import pytest

from gptladder.course import grade as grading
from gptladder.course.outline import course
from gptladder.course.questions import quiz
from gptladder.course.workspace import handin, record
from gptladder.course.workspace.make import project_files, write_project
from gptladder.errors import InputError

pytestmark = pytest.mark.process

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
    with path.open(newline="", encoding="utf-8-sig") as file:
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


def test_what_learning_platforms_export_is_opened_and_the_rest_has_its_reason(few, folder, tmp_path):
    """A folder for each learner with the archive inside, or one folder deeper; whatever else it is, a row says why."""
    make(folder, "made")
    archive = (folder / "made.zip").read_bytes()
    for name in ("Ada Lovelace_17_file", "Bea_18/onlinetext", "two archives"):
        (folder / name).mkdir(parents=True)
        (folder / name / "work.zip").write_bytes(archive)
    (folder / "made.zip").unlink()
    (folder / "two archives" / "older.zip").write_bytes(archive)
    (folder / "cem").mkdir()
    shutil.copytree(folder.parent / "making" / "made", folder / "cem" / "attempt" / "made")
    (folder / "dan").mkdir()
    (folder / "dan" / "essay.docx").write_bytes(b"PK")
    (folder / "empty").mkdir()
    (folder / "eva.rar").write_bytes(b"Rar!")
    (folder / "noname").write_bytes(b"?")
    (folder / "grades of last year.csv").write_text("x")
    graded = {entry.name: entry for entry in grading.grade(folder, tmp_path / "out.csv")}
    for name in ("Ada Lovelace_17_file", "Bea_18", "cem"):
        assert not graded[name].refused
        assert [graded[name].verdicts[id].passed for id in FEW] == [True] * 3
    rows = rows_of(tmp_path / "out.csv")
    assert {name: row["refused"] for name, row in rows.items() if row["refused"]} == {
        "two archives": "it holds 2 archives (older.zip, work.zip); leave the one that counts",
        "dan": "it holds no project and no archive (.zip, .tar.gz, .tgz, .tar), only essay.docx",
        "empty": "it holds no project (a folder with mygpt/ in it); `gptladder submit` makes such an archive",
        "eva.rar": "it is a .rar file; what can be opened are folders, .zip, .tar.gz, .tgz, .tar",
        "noname": "it is a file; what can be opened are folders, .zip, .tar.gz, .tgz, .tar",
    }
    assert len(rows) == 8
    assert grading.notes_in(folder) == ["grades of last year.csv"]


def test_an_error_of_ours_costs_one_submission_its_grade_and_no_other(folder, tmp_path, monkeypatch):
    def breaks(path, *_):
        if path.name == "ada.zip":
            raise RecursionError("too deep")
        return grading.Graded(grading.name_of(path))

    for name in ("ada.zip", "bea.tar.gz"):
        (folder / name).touch()
    monkeypatch.setattr(grading, "grade_one", breaks)
    list(grading.grade(folder, tmp_path / "out.csv"))
    rows = rows_of(tmp_path / "out.csv")
    assert rows["ada"]["refused"] == "it could not be graded (RecursionError: too deep)"
    assert rows["bea"]["refused"] == ""


def test_the_table_s_path_is_tried_before_anything_is_graded(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "grade_one", lambda *_: pytest.fail("something was graded"))
    (folder / "ada.zip").touch()
    (tmp_path / "older.csv").write_text("older")
    for table in (tmp_path / "none" / "out.csv", tmp_path, folder / "ada.zip" / "out.csv"):
        with pytest.raises(InputError, match=r"the table .* cannot be written \(.*\); give another path with --csv"):
            next(grading.grade(folder, table))
    assert (tmp_path / "older.csv").read_text() == "older"


def test_a_table_that_is_held_open_for_a_while_is_written_with_the_next_row(folder, tmp_path, monkeypatch):
    writes, write = [], grading.write_atomically

    def held(path, data):
        writes.append(path)
        if len(writes) == 1:
            raise PermissionError(13, "held by a spreadsheet")
        write(path, data)

    for name in ("ada.zip", "bea.zip"):
        (folder / name).touch()
    monkeypatch.setattr(grading, "write_atomically", held)
    assert len(list(grading.grade(folder, tmp_path / "out.csv"))) == 2
    assert set(rows_of(tmp_path / "out.csv")) == {"ada", "bea"}


def test_ctrl_c_keeps_the_rows_and_waits_for_nobody(few, folder, tmp_path, monkeypatch, gptladder):
    """The second submission would take the whole of its time; the command ends at once."""
    monkeypatch.setattr(grading, "SECONDS", 60.0)
    make(folder, "ada", ("model/attention.py", "q, k, v = self.query", "while True: pass\n        q, k, v = self.query"))
    (folder / "bea.zip").write_bytes(b"no archive")
    next_result, began = grading._next_result, []

    def then_ctrl_c(results):
        if began:
            signal.raise_signal(signal.SIGINT)
        began.append(time.monotonic())
        return next_result(results)

    monkeypatch.setattr(grading, "_next_result", then_ctrl_c)
    code, out, err = gptladder("grade", folder, "--csv", tmp_path / "out.csv")
    assert time.monotonic() - began[0] < 20
    assert code == 130
    assert "Traceback" not in out + err
    assert out.endswith(f"stopped: 1 of 2 are graded, and {tmp_path / 'out.csv'} holds them; begin again to grade all\n")
    assert list(rows_of(tmp_path / "out.csv")) == ["bea"]


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


def test_a_spreadsheet_opens_the_table_right_and_runs_nothing(folder, tmp_path):
    names = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "Zoë 你好"]
    for name in names:
        (folder / f"{name}.zip").write_bytes(b"no archive")
    list(grading.grade(folder, tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbfsubmission,")
    assert set(rows_of(tmp_path / "out.csv")) == {"'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "Zoë 你好"}


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
