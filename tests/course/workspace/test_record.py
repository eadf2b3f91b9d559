"""What is kept of a learner: evidence, its date, the code that it saw; damage is mended and said."""

from __future__ import annotations

import json
import shutil
import threading
from datetime import datetime

import pytest

from gptladder.course.examination.examiner import untouched
from gptladder.course.outline import course
from gptladder.course.workspace import record
from gptladder.course.workspace.evidence import Record
from gptladder.course.workspace.make import project_files, write_project
from gptladder.errors import InputError

HEAD = course().exercise("3.3-head")


@pytest.fixture
def folder(tmp_path):
    write_project(tmp_path / "project", project_files(completed=True))
    return tmp_path / "project"


def edit(folder, old, new, file="model/attention.py"):
    path = folder / "mygpt" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_project_is_found_upward_and_draws_its_seed_once(folder):
    first = record.find_project(folder / "mygpt" / "model")
    assert first.folder == folder
    assert first.notes == []
    again = record.find_project(folder)
    assert again.learner_seed == first.learner_seed


def test_outside_of_a_project_one_line_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="gptladder new DIR"):
        record.find_project(tmp_path)


@pytest.mark.parametrize(("change", "words"), [(1, "update gptladder"), (-1, "make a new one")])
def test_another_course_version_is_refused_by_name(folder, change, words):
    version = course().version + change
    (folder / ".gptladder" / "project.json").write_text(json.dumps({"course_version": version, "learner_seed": 1}))
    with pytest.raises(InputError, match=rf"version {version} of the course, .* teaches version {course().version}; .*{words}"):
        record.open_project(folder)


def test_evidence_is_dated_and_lasts(folder):
    project = record.open_project(folder)
    assert project.state_of("3.3-head") == "open"
    project.note_check("3.3-head", True, None)
    again = record.open_project(folder)
    assert again.state_of("3.3-head") == "done"
    assert abs((datetime.now().astimezone() - datetime.fromisoformat(again.date_of("3.3-head"))).total_seconds()) < 60


def test_evidence_is_of_the_code_that_was_seen_not_of_what_was_saved_meanwhile(folder):
    project = record.open_project(folder)
    seen = record.code_hash(folder, HEAD)
    edit(folder, "scores = scores / math.sqrt(self.head_size)", "scores = scores / self.head_size")
    project.note_check("3.3-head", True, None, seen)
    assert project.state_of("3.3-head") == "stale"


def test_a_failed_check_is_wrong_not_done(folder):
    project = record.open_project(folder)
    project.note_check("3.3-head", False, "3.3-head/no-scale")
    assert project.state_of("3.3-head") == "wrong"
    assert project.record.checks["3.3-head"].mutant == "3.3-head/no-scale"


def test_changed_code_makes_evidence_stale(folder):
    project = record.open_project(folder)
    project.note_check("3.3-head", True, None)
    edit(folder, "scores = scores / math.sqrt(self.head_size)", "scores = scores / self.head_size")
    assert project.state_of("3.3-head") == "stale"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# (B, T, T): row t holds", "# (B, T, T): here row t holds"),  # a comment
        ("        weights = causal_softmax(scores)", "        weights = causal_softmax( scores )"),  # layout
        ("shifted.exp()", "shifted.exp() * 2"),  # another exercise
        ("self.dropout(self.project(found))", "self.project(found)"),  # yet another
    ],
)
def test_comments_layout_and_other_exercises_do_not(folder, old, new):
    project = record.open_project(folder)
    project.note_check("3.3-head", True, None)
    edit(folder, old, new)
    assert project.state_of("3.3-head") == "done"


def test_a_helper_of_the_learner_s_own_counts(folder):
    edit(folder, "class Head(", "def helper(x):\n    return x\n\n\nclass Head(")
    project = record.open_project(folder)
    project.note_check("3.3-head", True, None)
    edit(folder, "def helper(x):\n    return x\n", "def helper(x):\n    return x + 1\n")
    assert project.state_of("3.3-head") == "stale"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"def f(:\n", b""])
def test_code_that_python_cannot_read_has_a_hash_too(folder, content):
    path = folder / "mygpt" / "model" / "attention.py"
    path.write_bytes(content)
    first = record.code_hash(folder, HEAD)
    assert first == record.code_hash(folder, HEAD)
    path.unlink()
    assert record.code_hash(folder, HEAD)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("record.json", "{"),
        ("record.json", "[]"),
        ("record.json", '{"format": 99}'),
        ("record.json", '{"format": 1, "checks": {"3.3-head": true}}'),
        ("record.json", '{"format": 1, "hints": []}'),
        ("record.json", '{"format": 1, "hints": {"3.3-head": "two"}}'),
        ("record.json", '{"format": 1, "checks": {"3.3-head": {"passed": true, "date": "2026-01-01", "code": "x"}}}'),
        ("record.json", '{"format": 1, "marks": {}}'),
        ("answers.json", '{"1.1a-1": {"answer": 3, "right": true, "date": "2026-01-01", "tries": 1}}'),
        ("answers.json", '{"1.1a-1": {"answer": {"x": 3}, "right": true, "date": "2026-01-01", "tries": 1}}'),
        ("answers.json", "null"),
        ("answers.json", '{"1.1a-1": "yes"}'),
        ("project.json", "\x00"),
        ("project.json", '{"course_version": "one"}'),
        ("project.json", '{"course_version": 1, "learner_seed": "x"}'),
    ],
)
def test_what_is_damaged_is_set_aside_with_a_message(folder, name, content):
    path = folder / ".gptladder" / name
    path.write_text(content)
    project = record.open_project(folder)
    assert len(project.notes) == 1
    assert f"{name} was damaged" in project.notes[0]
    (aside,) = (folder / ".gptladder").glob(f"{name}.damaged-*")
    assert aside.read_text() == content
    with project.changing():
        pass
    assert record.open_project(folder).notes == []


def test_a_project_of_another_course_may_hold_what_we_do_not_know(folder):
    facts = {"course_version": course().version + 1, "learner_seed": 1, "language": "nl"}
    (folder / ".gptladder" / "project.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="update gptladder"):
        record.open_project(folder)
    assert json.loads((folder / ".gptladder" / "project.json").read_text()) == facts


def test_evidence_comes_back_from_the_disk_as_it_was_kept(folder):
    project = record.open_project(folder)
    project.note_check("3.3-head", False, "3.3-head/no-scale")
    project.note_check("1.2-encode", True, None)
    project.note_answer("1.1a-1", "yes", True)
    project.note_answer("1.2a-1", {"shape of x": "(2, 3)"}, False)
    project.next_hint("3.3-head")
    project.note_solution("3.3-head")
    again = record.open_project(folder)
    assert (again.record, again.answers, again.notes) == (project.record, project.answers, [])
    assert Record.from_json(project.record.to_json()) == project.record


def test_a_project_whose_hidden_folder_was_lost_in_a_copy_is_mended_with_a_word(folder):
    before = record.open_project(folder).learner_seed
    shutil.rmtree(folder / ".gptladder")
    project = record.find_project(folder / "mygpt" / "model")
    assert project.folder == folder
    assert ".gptladder/project.json is missing" in project.notes[0]
    assert project.damaged
    assert project.learner_seed != before
    again = record.find_project(folder)
    assert (again.learner_seed, again.notes, again.damaged) == (project.learner_seed, [], False)


@pytest.mark.parametrize("names", [["mygpt"], ["train.py"], ["mygpt/train.py"]])
def test_half_of_a_project_is_none(tmp_path, names):
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch() if path.suffix else path.mkdir()
    assert record.project_folder(tmp_path) is None
    assert not (tmp_path / ".gptladder").exists()


def test_only_a_lost_record_asks_to_be_made_again(folder):
    assert not record.open_project(folder).damaged
    (folder / ".gptladder" / "record.json").write_text("{")
    assert record.open_project(folder).damaged


def test_the_newest_answer_counts_and_tries_are_counted(folder):
    project = record.open_project(folder)
    assert project.state_of("1.1a-1") == "open"
    project.note_answer("1.1a-1", "no", False)
    assert project.state_of("1.1a-1") == "wrong"
    project.note_answer("1.1a-1", "yes", True)
    again = record.open_project(folder)
    assert again.state_of("1.1a-1") == "done"
    assert again.answers["1.1a-1"].tries == 2


def test_hints_come_one_at_a_time_and_end(folder):
    project = record.open_project(folder)
    shown = [project.next_hint("3.3-head") for _ in range(len(HEAD.hints) + 2)]
    assert shown == [*range(1, len(HEAD.hints) + 1), len(HEAD.hints), len(HEAD.hints)]


def test_the_next_unfinished_follows_the_course(folder):
    project = record.open_project(folder)
    first, second, *_ = course().exercises
    assert project.unfinished() == first
    project.note_check(first.id, True, None)
    assert project.unfinished() == second
    for exercise in course().exercises:
        project.note_check(exercise.id, True, None)
    assert project.unfinished() is None


def test_an_objective_is_met_by_all_of_its_evidence(folder):
    project = record.open_project(folder)
    ids = course().evidence_for("3.3c")
    project.note_check("3.3-head", True, None)
    (found,) = [entry for entry in record.progress(project) if entry.objective == "3.3c"]
    assert not found.met
    assert found.share == pytest.approx(1 / len(ids))
    for id in ids:
        if id != "3.3-head":
            project.note_answer(id, "x", True)
    (found,) = [entry for entry in record.progress(project) if entry.objective == "3.3c"]
    assert found.met
    assert found.share == 1


def test_two_verbs_at_once_lose_nothing(folder):
    first, second = record.open_project(folder), record.open_project(folder)
    first.note_check("3.3-head", True, None)
    second.note_answer("1.1a-1", "yes", True)
    second.note_check("1.2-encode", True, None)
    first.next_hint("1.2-decode")
    again = record.open_project(folder)
    assert [again.state_of(id) for id in ("3.3-head", "1.1a-1", "1.2-encode")] == ["done", "done", "done"]
    assert again.record.hints == {"1.2-decode": 1}


def test_a_verb_waits_while_a_check_watches_the_record(folder):
    project = record.open_project(folder)
    with untouched(project.home) as touched:
        waiting = threading.Thread(target=project.note_answer, args=("1.1a-1", "yes", True))
        waiting.start()
        waiting.join(timeout=0.3)
        assert waiting.is_alive()
    waiting.join(timeout=30)
    assert not touched()
    assert record.open_project(folder).state_of("1.1a-1") == "done"


def test_code_too_deep_to_be_read_has_a_hash_too(folder):
    edit(folder, "        return self.dropout(weights) @ v", f"        return {' + '.join(['v'] * 5000)}")
    assert record.code_hash(folder, HEAD)
