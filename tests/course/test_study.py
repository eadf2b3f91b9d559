"""Studying: what becomes evidence and what does not, what comes next, and what somebody means by a name."""

from __future__ import annotations

import pytest

from gptladder.course import study
from gptladder.course.examination.verdict import Finding, Verdict
from gptladder.course.outline import course
from gptladder.course.questions import quiz
from gptladder.course.source.functions import function_text
from gptladder.course.source.reference import reference_texts
from gptladder.course.workspace import record
from gptladder.course.workspace.evidence import AnswerEvidence, CheckEvidence, Record
from gptladder.course.workspace.make import project_files, starter_texts, write_project
from gptladder.errors import InputError

HEAD = course().exercise("3.3-head")
ENCODE = course().exercise("1.2-encode")
CHOICE = next(question for question in course().questions if question.wrong)
DRAWN = next(question for question in course().questions if question.draw)


@pytest.fixture
def opened(project):
    return record.open_project(project.folder)


@pytest.fixture(scope="module")
def starter(tmp_path_factory):
    """A project in which nothing is written yet: only to be looked at."""
    folder = tmp_path_factory.mktemp("study") / "starter"
    write_project(folder, project_files())
    return record.open_project(folder)


def pass_all(opened, without=()):
    """Evidence for every exercise at once, as checks of the code as it is would leave it."""
    with opened.changing():
        checks = {
            exercise.id: CheckEvidence(True, record.now(), record.code_hash(opened.folder, exercise), None)
            for exercise in course().exercises
            if exercise.id not in without
        }
        opened.record = Record(checks)


def right_answer(item):
    return {blank.name: blank.answer_text for blank in item.blanks} if item.blanks else item.question.answer


# --- check and keep


def test_a_check_is_kept_with_the_code_that_it_saw(examiner, opened):
    verdict = study.check(examiner, opened, HEAD)
    assert verdict.passed
    kept = record.open_project(opened.folder).record.checks[HEAD.id]
    assert (kept.passed, kept.mutant, kept.code) == (True, None, record.code_hash(opened.folder, HEAD))


def test_a_failed_check_is_kept_with_the_known_mistake(examiner, project, opened):
    text = project.text("model/attention.py")
    project.write("model/attention.py", text.replace("math.sqrt(self.head_size)", "math.sqrt(x.size(-1))"))
    assert not study.check(examiner, opened, HEAD).passed
    kept = opened.record.checks[HEAD.id]
    assert (kept.passed, kept.mutant) == (False, "3.3-head/scale-by-width")
    assert opened.state_of(HEAD.id) == "wrong"


class Pretend:
    """An examiner that gives one verdict on everything, after `meanwhile`."""

    def __init__(self, begun=True, meanwhile=lambda: None):
        self.begun, self.meanwhile = begun, meanwhile

    def examine(self, folder, exercise, mine):
        self.meanwhile()
        return Verdict(exercise.id, (Finding("it", "is right", None if self.begun else "not written"),), begun=self.begun)


def test_what_is_saved_during_a_check_was_not_checked(project, opened):
    added = project.text("model/attention.py") + "\nADDED = 1\n"
    study.check(Pretend(meanwhile=lambda: project.write("model/attention.py", added)), opened, HEAD)
    assert opened.state_of(HEAD.id) == "stale"


def test_neither_an_untouched_exercise_nor_a_check_with_all_of_ones_own_code_is_evidence(opened):
    study.check(Pretend(begun=False), opened, HEAD)
    study.check(Pretend(), opened, HEAD, mine=True)
    assert opened.record.checks == {}
    study.check(Pretend(), opened, HEAD)
    assert opened.state_of(HEAD.id) == "done"


def test_a_lost_record_is_made_again_by_checking_everything(opened):
    verdicts = list(study.check_all(Pretend(), opened))
    assert [verdict.exercise for verdict in verdicts] == [exercise.id for exercise in course().exercises]
    assert opened.unfinished() is None


# --- trace


def test_a_trace_has_rows_or_a_reason(examiner, starter, opened):
    traced = study.trace(examiner, opened, HEAD)
    assert traced.problem == ""
    assert {row.how for row in traced.rows} == {"same"}
    nothing = study.trace(examiner, starter, HEAD)
    assert nothing.rows == ()
    assert nothing.problem == f"not written yet (exercise {HEAD.id})"


# --- answer and keep


def test_an_answer_is_marked_and_kept(opened):
    item = quiz.item(CHOICE, opened.learner_seed)
    wrong = study.answer(opened, item, CHOICE.wrong[0].says)
    assert (wrong.marked.right, wrong.kept, opened.state_of(CHOICE.id)) == (False, True, "wrong")
    right = study.answer(opened, item, CHOICE.answer)
    assert (right.marked.right, right.kept, opened.state_of(CHOICE.id)) == (True, True, "done")
    assert record.open_project(opened.folder).answers[CHOICE.id].tries == 2


@pytest.mark.parametrize("slip", ["one", "3.2 nats", "", "x" * 200])
def test_an_answer_that_cannot_be_read_is_a_problem_and_no_evidence(opened, slip):
    question = next(q for q in course().questions if q.draw and not isinstance(first_blank(q, opened).answer, str))
    item = quiz.item(question, opened.learner_seed)
    answered = study.answer(opened, item, {**right_answer(item), first_blank(question, opened).name: slip})
    assert not answered.kept
    assert answered.marked.blanks[0].problem
    assert opened.state_of(question.id) == "open"
    assert study.answer(opened, item, right_answer(item)).marked.right


def first_blank(question, opened):
    return quiz.item(question, opened.learner_seed).blanks[0]


def test_the_questions_that_wait_are_those_not_answered_rightly(opened):
    items = study.questions(opened, "1.1")
    assert len(items) == len([question for question in course().questions if question.lesson == "1.1"])
    study.answer(opened, items[0], right_answer(items[0]))
    study.answer(opened, items[1], next(choice for choice in items[1].choices if choice != items[1].question.answer))
    assert study.questions(opened, "1.1") == items[1:]
    assert study.questions(opened, "1.1", again=True) == items


# --- hints and solutions


def test_hints_come_one_more_each_time(opened):
    shown = [study.hints(opened, HEAD) for _ in range(len(HEAD.hints) + 1)]
    assert shown == [HEAD.hints[:count] for count in (*range(1, len(HEAD.hints) + 1), len(HEAD.hints))]


def test_a_solution_is_shown_after_a_pass_or_to_somebody_who_gives_up(opened):
    assert study.solution(opened, HEAD) is None
    assert opened.record.given_up == {}
    text = function_text(reference_texts()[HEAD.file], HEAD.name)
    assert study.solution(opened, HEAD, give_up=True) == text
    assert list(opened.record.given_up) == [HEAD.id]
    opened.note_check(ENCODE.id, True, None)
    assert study.solution(opened, ENCODE) == function_text(reference_texts()[ENCODE.file], ENCODE.name)
    assert list(opened.record.given_up) == [HEAD.id]


# --- reset


def test_a_reset_changes_one_function_and_keeps_the_file_as_it_was(project, opened):
    before = project.text(HEAD.file)
    mine = before.replace("import math", "import math\nimport my_helpers") + "\n\ndef mine():\n    return 1\n"
    project.write(HEAD.file, mine)
    opened.note_check(HEAD.id, True, None)
    done = study.reset(opened, HEAD)
    now = project.text(HEAD.file)
    shipped, written = (function_text(text, HEAD.name) for text in (starter_texts()[HEAD.file], mine))
    assert function_text(now, HEAD.name) == shipped
    assert 'NotImplementedError("exercise 3.3-head")' in shipped
    as_method = [line if not line else f"    {line}" for line in shipped.splitlines()]
    written_lines = [line if not line else f"    {line}" for line in written.splitlines()]
    assert now.replace("\n".join(as_method), "\n".join(written_lines)) == mine
    assert done.file == project.path(HEAD.file)
    assert done.kept.parent == done.file.parent
    assert done.kept.read_text() == mine
    assert done.kept.suffix != ".py"  # neither imported nor handed in
    assert opened.state_of(HEAD.id) == "stale"


def test_a_reset_exercise_is_judged_as_not_written(examiner, opened):
    study.reset(opened, HEAD)
    assert not study.check(examiner, opened, HEAD).begun


def test_every_exercise_can_be_reset_and_all_together_give_the_starter(project, opened):
    for exercise in course().exercises:
        study.reset(opened, exercise)
    texts = starter_texts()
    assert {name: project.text(name) for name in texts} == texts


def test_nothing_to_reset_is_said_and_nothing_is_written(starter):
    path = starter.folder / "mygpt" / HEAD.file
    before = sorted(path.parent.iterdir()), path.read_bytes()
    with pytest.raises(InputError, match=r"3\.3-head is as shipped already"):
        study.reset(starter, HEAD)
    assert (sorted(path.parent.iterdir()), path.read_bytes()) == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"def f(:\n", "line 1"),
        (b"x = 1\n\xff\n", "cannot read"),
        (b"x = 1\0", "null byte"),
        (b"# coding: nonsense\n", "cannot read"),
        (b"class Head: x = 1\n", "no place for Head.forward"),  # a class in one line has no place for another function
    ],
)
def test_a_file_that_python_cannot_read_is_left_alone(project, opened, content, words):
    project.write(HEAD.file, content)
    with pytest.raises(InputError, match=words) as error:
        study.reset(opened, HEAD)
    assert "rename the file" in str(error.value)
    assert "\n" not in str(error.value)
    assert project.path(HEAD.file).read_bytes() == content


def test_a_file_that_is_missing_comes_back_whole(project, opened):
    project.path(HEAD.file).unlink()
    assert study.reset(opened, HEAD).kept is None
    assert project.text(HEAD.file) == starter_texts()[HEAD.file]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_a_file_keeps_its_encoding(project, opened, encoding):
    head = "# coding: latin-1\n" if encoding == "latin-1" else ""
    content = (head + project.text(ENCODE.file) + "# très bien\n").encode(encoding)
    project.write(ENCODE.file, content)
    study.reset(opened, ENCODE)
    assert project.path(ENCODE.file).read_bytes().endswith("# très bien\n".encode(encoding.removesuffix("-sig")))
    assert project.path(ENCODE.file).read_bytes()[:10] == content[:10]


# --- what comes next


def test_where_a_learner_stands_at_the_beginning(starter):
    found = study.standing(starter)
    assert (found.passed, found.total, found.following.id, found.lesson.id) == (0, 29, "1.2-encode", "1.2")
    assert [(entry.lesson.id, entry.count) for entry in found.waiting] == [("1.1", 6), ("1.2", 6)]


def test_where_a_learner_stands_on_the_way_and_at_the_end(opened):
    pass_all(opened, without=[HEAD.id])
    found = study.standing(opened)
    assert (found.passed, found.following, found.lesson.id) == (28, HEAD, "3.3")
    assert [entry.lesson.id for entry in found.waiting] == ["1.1", "1.2", "2.1", "2.2", "3.1", "3.2", "3.3"]
    pass_all(opened)
    with opened.changing():
        opened.answers = {question.id: AnswerEvidence("x", True, record.now(), 1) for question in course().questions}
    end = study.standing(opened)
    assert (end.passed, end.following, end.lesson, end.waiting) == (29, None, course().lessons[-1], ())


# --- what somebody means


@pytest.mark.parametrize(
    ("given", "id"),
    [
        ("3.3-head", "3.3-head"),
        ("head", "3.3-head"),
        (" HEAD ", "3.3-head"),
        ("Head.forward", "3.3-head"),
        ("head.forward", "3.3-head"),
        ("3.3", "3.3-head"),
        ("top-k", "5.2-top-k"),
        ("keep_top_k", "5.2-top-k"),
        ("encode", "1.2-encode"),
        ("attention.py", "3.2-softmax"),
        ("mygpt/model/attention.py", "3.2-softmax"),
        ("model.attention", "3.2-softmax"),
        ("MultiHeadAttention", "4.1-heads"),
        ("4.1", "4.1-heads"),
        ("3.3c", "3.3-head"),
        ("loss", "2.1-loss"),  # an exercise before the file of that name
    ],
)
def test_an_exercise_has_many_names(starter, given, id):
    assert study.exercise_meant(starter, given).id == id


def test_a_group_means_the_next_unfinished_one_and_the_last_when_all_have_passed(opened):
    opened.note_check("3.2-softmax", True, None)
    assert study.exercise_meant(opened, "attention.py").id == "3.2-causal"
    opened.note_check("4.1-heads", True, None)
    assert study.exercise_meant(opened, "4.1").id == "4.1-multihead"
    opened.note_check("4.1-multihead", True, None)
    assert study.exercise_meant(opened, "4.1").id == "4.1-multihead"


def test_every_exercise_is_found_by_id_and_by_its_function(starter):
    for exercise in course().exercises:
        assert study.exercise_meant(starter, exercise.id) == exercise
        assert study.exercise_meant(starter, exercise.name) == exercise


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("haed", "did you mean 'head'?"),
        ("3.3-haed", "did you mean '3.3-head'?"),
        ("Head.foward", "did you mean 'Head.forward'?"),
        ("atention.py", "did you mean 'attention.py'?"),
        ("9.9-none", "no exercise '9.9-none'; gptladder progress lists them all"),
        ("", "gptladder progress"),
        ("forward", "'forward' can mean 9 functions; say which, such as Bigram.forward or 2.1-bigram"),
        ("1.1", "only questions: gptladder quiz 1.1"),
    ],
)
def test_an_unknown_exercise_is_answered_with_what_is_near(starter, given, words):
    with pytest.raises(InputError) as error:
        study.exercise_meant(starter, given)
    assert words in str(error.value)
    assert len(str(error.value)) < 120


@pytest.mark.parametrize(
    ("given", "id"),
    [
        ("3.3", "3.3"),
        ("head", "3.3"),
        ("3.3-head", "3.3"),
        ("3.3c", "3.3"),
        ("Head.forward", "3.3"),
        ("bigram.py", "2.1"),
        ("block", "4.2"),
    ],
)
def test_a_lesson_has_many_names(given, id):
    assert study.lesson_meant(given).id == id


def test_every_lesson_is_found_by_its_id():
    assert [study.lesson_meant(lesson.id) for lesson in course().lessons] == list(course().lessons)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("haed", "did you mean 'head'?"),
        ("9.9", "they go from 1.1 to 5.2"),
        ("block.py", "belongs to the lessons 4.2, 4.3; give one of them"),
    ],
)
def test_an_unknown_lesson_is_answered_with_what_is_near(given, words):
    with pytest.raises(InputError) as error:
        study.lesson_meant(given)
    assert words in str(error.value)
