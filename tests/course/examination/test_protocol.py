"""The messages of an examination: written and read back unchanged, and refused if anything is missing, unknown or mistyped."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from gptladder.course.examination.protocol import (
    PRINTED,
    Answer,
    Failure,
    Job,
    Place,
    ProbeResult,
    ProtocolError,
    Report,
    read_trace,
    write_trace,
)

JOB = Job(
    project=Path("/p"),
    exercise="3.3-head",
    module="model.attention",
    function="Head.forward",
    filled={"model/attention.py": ("softmax", "causal_softmax")},
    reference={"model/attention.py": "a text \udce9\n"},
    out=Path("/out"),
    seconds=20.0,
    memory_bytes=2**30,
    printed_bytes=2**20,
    trace=True,
)
MESSAGES = [
    JOB,
    Place("mygpt/a.py", 3),
    Failure("raised", "no way", Place("mygpt/a.py", 3), "ValueError"),
    Failure("mistake", "it is wrong"),
    Answer("memory", -9, 1.5, 2**31, Place("mygpt/a.py", 3)),
    Answer(),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_read_back_as_it_was_written(message):
    text = message.to_json()
    assert "\n" not in text
    assert type(message).from_json(text) == message


@pytest.mark.parametrize("message", MESSAGES)
def test_a_missing_or_unknown_field_is_refused(message):
    content = json.loads(message.to_json())
    for name in content:
        rest = {key: value for key, value in content.items() if key != name}
        with pytest.raises(ProtocolError, match=type(message).__name__):
            type(message).from_json(json.dumps(rest))
    with pytest.raises(ProtocolError):
        type(message).from_json(json.dumps({**content, "more": 1}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("exercise", None), ("exercise", 3), ("project", 1), ("seconds", "20"), ("seconds", True), ("memory_bytes", 1.5)),
        *(("filled", []), ("filled", {"a": "softmax"}), ("filled", {"a": [1]}), ("reference", {"a": None}), ("trace", 1)),
    ],
)
def test_a_field_of_another_type_is_refused_by_name(field, value):
    content = {**json.loads(JOB.to_json()), field: value}
    with pytest.raises(ProtocolError, match=rf"^Job\.{field}"):
        Job.from_json(json.dumps(content))


def test_a_word_that_is_not_allowed_is_refused():
    with pytest.raises(ProtocolError, match=r"Answer\.ended: 'tired'"):
        Answer.from_json(Answer().to_json().replace('"done"', '"tired"'))
    with pytest.raises(ProtocolError, match=r"Failure\.kind"):
        Failure.from_json(Failure("mistake", "").to_json().replace('"mistake"', '"else"'))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"job"'])
def test_what_is_no_message_is_refused(text):
    with pytest.raises(ProtocolError):
        Answer.from_json(text)


def test_whole_seconds_are_read_as_a_number_with_a_fraction():
    read = Answer.from_json(Answer(seconds=2).to_json())
    assert (read.seconds, type(read.seconds)) == (2.0, float)


# --- what a child leaves


def test_a_result_is_read_back_in_its_order(tmp_path):
    results = {"b": torch.ones(2, 3), "words": ["x", None, [1.5]], "a": torch.zeros(()), "loss": math.inf}
    ProbeResult("values", results).write(tmp_path, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["4.json", "4.safetensors"]
    read = ProbeResult.read(tmp_path / "4.json")
    assert (read.check, list(read.results), read.failure) == ("values", list(results), None)
    assert torch.equal(read.results["b"], results["b"])
    assert torch.equal(read.results["a"], results["a"])
    assert (read.results["words"], read.results["loss"]) == (["x", None, [1.5]], math.inf)


def test_a_result_without_one_of_its_tensors_is_refused(tmp_path):
    ProbeResult("values", {"a": torch.ones(1), "b": torch.ones(1)}).write(tmp_path, 0)
    ProbeResult("values", {"a": torch.ones(1)}).write(tmp_path, 1)
    (tmp_path / "1.safetensors").rename(tmp_path / "0.safetensors")
    with pytest.raises(ProtocolError, match=r"0\.json"):
        ProbeResult.read(tmp_path / "0.json")


def test_a_report_joins_answer_results_failures_and_print(tmp_path):
    failure = Failure("raised", "", None, "KeyError")
    ProbeResult("values", {"a": 1}).write(tmp_path, 0)
    ProbeResult("causality", {}, failure).write(tmp_path, 1)
    (tmp_path / PRINTED).write_bytes(b"\xff" + b"x" * 10_000)
    (tmp_path / "2.tmp").write_text("unfinished")
    (tmp_path / "job.json").write_text(JOB.to_json())
    answer = Answer("time")
    report = Report.read(tmp_path, answer)
    assert (report.answer, report.results, report.failures) == (answer, {"values": {"a": 1}}, {"causality": failure})
    assert report.printed == "\ufffd" + "x" * 3999
    assert report.trace is None


def test_a_child_that_left_nothing_makes_an_empty_report(tmp_path):
    assert Report.read(tmp_path, Answer(code=3)) == Report(Answer(code=3))


def test_a_trace_is_read_back_in_its_order_or_as_the_words_of_its_failure(tmp_path):
    write_trace(tmp_path, {"b": torch.ones(2, 3).mT, "a": torch.zeros(1)})
    found = read_trace(tmp_path)
    assert list(found) == ["b", "a"]
    assert torch.equal(found["b"], torch.ones(3, 2))
    write_trace(tmp_path, Failure("raised", "no way", None, "ValueError"))
    assert read_trace(tmp_path).says == "no way"
