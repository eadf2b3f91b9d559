"""The learner's project: train.py and generate.py as they are handed out, with more and more exercises written."""

from __future__ import annotations

import ast
import io
import json
import os
import pathlib
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from typing import NamedTuple

import pytest
import torch

from gptladder.checkpoint import Run
from gptladder.cli import app as cli
from gptladder.corpus import Corpus
from gptladder.course import verify
from gptladder.course.outline import course
from gptladder.course.source.reference import STARTER_SET
from gptladder.course.workspace import rehearsal
from gptladder.course.workspace.layout import MYGPT
from gptladder.course.workspace.make import TEMPLATES, project_files, write_project, zipped
from gptladder.model.config import Recipe
from gptladder.model.ladder import RECIPES, RUNGS
from gptladder.run_config import CorpusIdentity
from gptladder.training.metrics import read_metrics
from gptladder.training.run import begin, evaluate_run

SCRIPTS = ("train.py", "generate.py")
READMES = ("README.md", "README-completed.md")


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """A script of a project in this process, which saves the seconds that torch takes to load."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.delenv("GPTLADDER_DATA", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] in ("mygpt", "generate")]:
            del sys.modules[name]

    def run(project, script, *words):
        monkeypatch.chdir(project)
        monkeypatch.syspath_prepend(project)
        monkeypatch.setattr(sys, "argv", [script, *map(str, words), "--device", "cpu"])
        forget()
        capsys.readouterr()
        code = 0
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as exit:
            code = exit.code or 0
        return Outcome(code, *capsys.readouterr())

    yield run
    forget()


@pytest.fixture
def project(tmp_path):
    """A project with the exercises up to a lesson written, or all of them."""

    def make(lesson="5.2", name="project"):
        filled = [exercise.id for exercise in course().exercises_up_to(lesson)]
        write_project(tmp_path / name, project_files(filled=filled))
        return tmp_path / name

    return make


def edit(project, member, old, new):
    path = project / MYGPT / member
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def trained(call, project, rung, text, *words, steps=20, out="runs/one"):
    outcome = call(project, "train.py", rung, "--text", text, "--steps", steps, "--out", out, *words)
    assert outcome.code == 0, outcome.err
    return project / out


# What is missing is said in a line.


@pytest.mark.parametrize(
    ("lesson", "words", "place", "exercise"),
    [
        ("1.1", [], "mygpt/tokenizer.py", "1.2-encode"),
        ("1.2", [], "mygpt/model/bigram.py", "2.1-bigram"),
        ("2.1", ["bigram"], "mygpt/training/loop.py", "2.2-step"),
        ("2.2", ["average"], "mygpt/model/gpt.py", "3.1-model"),
        ("3.2", ["attention"], "mygpt/model/attention.py", "3.3-head"),
        ("3.3", ["multihead"], "mygpt/model/attention.py", "4.1-heads"),
        ("4.1", ["residual"], "mygpt/model/block.py", "4.2-layers"),
        ("4.2", ["layernorm"], "mygpt/model/block.py", "4.3-layernorm"),
        ("4.3", ["gpt"], "mygpt/model/gpt.py", "5.1-gpt"),
    ],
)
def test_an_exercise_that_is_missing_is_named_in_one_line(call, project, lesson, words, place, exercise):
    folder = project(lesson)
    outcome = call(folder, "train.py", *words)
    line = f"{place}: exercise {exercise} is not written yet; gptladder check {exercise} tells more\n"
    assert outcome == (2, "", line)
    assert not (folder / "runs").exists()


def test_another_error_of_that_kind_keeps_its_traceback(call, project):
    folder = project()
    edit(folder, "model/bigram.py", "logits = self.table(tokens)", "raise NotImplementedError('not on this device') #")
    with pytest.raises(NotImplementedError, match="not on this device"):
        call(folder, "train.py", "bigram")


@pytest.mark.parametrize(
    ("lesson", "rung"),
    [
        ("2.2", "bigram"),
        ("3.1", "average"),
        ("3.3", "attention"),
        ("4.1", "feedforward"),
    ],  # which asks for nothing that multihead does not
)
def test_without_a_rung_it_takes_the_highest_that_is_written(call, project, small_file, lesson, rung):
    outcome = call(project(lesson), "train.py", "--text", small_file, "--steps", 1)
    assert outcome.code == 0
    assert f"\n{rung}: " in outcome.out
    assert "with your written-out parts, on cpu" in outcome.out


def test_a_model_that_cannot_write_yet_is_trained_and_says_so(call, project, small_file):
    folder = project("2.2")
    edit(folder, "sampling/generate.py", "context = prompt\n", 'raise NotImplementedError("exercise 2.2-generate")\n')
    outcome = call(folder, "train.py", "--text", small_file, "--steps", 1, "--out", "one")
    assert outcome.code == 0
    assert "nothing yet; mygpt/sampling/generate.py: exercise 2.2-generate is not written yet" in outcome.out
    assert Run.open(folder / "one").model()


# What it trains, gptladder reads.


@pytest.mark.parametrize(
    ("lesson", "rung", "fused"),
    [
        ("2.2", "bigram", False),
        ("3.3", "attention", False),
        ("5.2", "attention", True),
        pytest.param("5.2", "gpt", True, marks=pytest.mark.slow),
    ],
)
def test_a_run_is_one_that_gptladder_reads(call, project, gptladder, small_file, small_text, lesson, rung, fused):
    folder = trained(call, project(lesson), rung, small_file)
    run = Run.open(folder)
    assert run.config.rung == rung
    assert run.config.plan.fused is fused
    assert run.config.recipe.steps == 20
    assert rung == "gpt" or run.config.recipe == Recipe(**{**vars(RECIPES[rung]), "steps": 20})
    lines = read_metrics(folder)
    assert [line["step"] for line in lines] == [0, 10, 20]
    assert lines[2]["validation_loss"] < lines[0]["validation_loss"]
    loss = evaluate_run(run, Corpus("small", small_text), torch.device("cpu")).loss
    assert loss == pytest.approx(lines[2]["validation_loss"], abs=1e-5)
    sampled = gptladder("sample", folder, "--prompt", "king", "--tokens", 30, "--seed", 1)
    assert sampled.code == 0
    assert len(sampled.out) == 4 + 30 + 1
    evaluated = gptladder("evaluate", folder)
    assert evaluated.code == 0
    assert f"validation loss {loss:.4f}" in evaluated.out
    assert gptladder("resume", folder).code == 2  # it has no states, and says so


@pytest.mark.parametrize("rung", ["bigram", "attention"])
def test_the_loop_is_the_one_that_gptladder_runs_to_the_same_numbers(call, project, tmp_path, small_file, small_corpus, rung):
    ours = begin(tmp_path / "ours", rung, Recipe(**{**vars(RECIPES[rung]), "steps": 20}), small_corpus, 1, torch.device("cpu"))
    losses = [step.validation_loss for step in ours.steps() if step.validation_loss is not None]
    folder = trained(call, project(), rung, small_file)
    assert [line["validation_loss"] for line in read_metrics(folder) if "validation_loss" in line] == losses


def test_a_gpt_has_the_published_recipe_unless_it_must_end_in_minutes(call, project):
    folder = project()
    assert call(folder, "train.py", "--help").code == 0
    scope = runpy.run_path("train.py")
    gpt = scope["RUNGS"][-1]
    published, laptop = (scope["recipe_for"](gpt, published) for published in (True, False))
    assert vars(published) == vars(RECIPES["published"])
    assert laptop is scope["LAPTOP"]
    assert all(scope["recipe_for"](rung, False) is scope["RECIPES"][rung.name] for rung in scope["RUNGS"][:-1])


def test_a_run_folder_is_never_written_over(call, project, small_file):
    folder = project("2.2")
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").write_text("mine")
    for out in ("full", "README.md"):
        outcome = call(folder, "train.py", "--text", small_file, "--steps", 1, "--out", out)
        assert outcome.code == 2
        assert outcome.err == f"{out} is not empty; give a new folder with --out\n"
    (folder / "empty").mkdir()
    trained(call, folder, "bigram", small_file, out="empty")
    assert Run.open(folder / "empty").model()


@pytest.mark.parametrize(
    ("content", "words", "expected"),
    [
        (b"too short", [], "too short"),
        (b"", [], "too short"),
        (b"\xff\xfe\x00", [], "cannot be read as a text in UTF-8"),
        (b"enough of a text " * 9, ["--steps", 0], "steps is 0; it must be 1 or more"),
        (None, [], "cannot be read"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_in_one_line(call, project, content, words, expected):
    folder = project("2.2")
    if content is not None:
        (folder / "text.txt").write_bytes(content)
    outcome = call(folder, "train.py", "--text", "text.txt", *words)
    assert outcome.code == 2
    assert expected in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_every_kind_of_line_end_is_a_new_line(call, project, small_file, small_text, end):
    folder = project("2.2")
    (folder / "text.txt").write_bytes(small_text.replace("\n", end).encode())
    alphabets = [
        (trained(call, folder, "bigram", text, steps=1, out=out) / "tokenizer.json").read_bytes()
        for text, out in ((small_file, "runs/a"), ("text.txt", "runs/b"))
    ]
    assert alphabets[0] == alphabets[1]


def test_a_text_in_another_encoding_is_refused_with_the_way_to_mend_it(call, project):
    folder = project("2.2")
    (folder / "text.txt").write_bytes(("a text of some length " * 9).encode("utf-16"))
    assert "save it as UTF-8" in call(folder, "train.py", "--text", "text.txt").err


def test_a_loss_that_is_no_number_ends_it_in_a_line(call, project, small_file):
    folder = project("2.2")
    edit(folder, "training/loss.py", "return (log_total - chosen).mean()", "return (log_total - chosen).mean() * float('nan')")
    outcome = call(folder, "train.py", "--text", small_file)
    assert outcome.code == 2
    assert "the loss is nan after step 0" in outcome.err


def test_ctrl_c_keeps_the_best_weights_so_far(call, project, small_file):
    folder = project("2.2")
    stopping = (
        "steps.append(1)\n    if len(steps) == 47:\n        raise KeyboardInterrupt\n    model.train()\n    optimizer.zero_grad"
    )
    edit(folder, "training/loop.py", "model.train()\n    optimizer.zero_grad", stopping)
    edit(folder, "training/loop.py", "\n\ndef training_step", "\n\nsteps = []\n\n\ndef training_step")
    outcome = call(folder, "train.py", "bigram", "--text", small_file, "--out", "one")
    assert outcome.code == 130
    assert "stopped after step 45" in outcome.out  # of 47 the first was tried out
    assert "(best, after step 45)" in outcome.out
    assert Run.open(folder / "one").model()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no such signal")
def test_a_real_ctrl_c(project, small_file):
    folder = project("2.2")
    command = [sys.executable, "train.py", "bigram", "--text", small_file, "--out", "one"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    while not process.stdout.readline().startswith("step     0"):
        pass
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "It writes:" in out
    assert Run.open(folder / "one").model()


# The text.


def test_the_stand_in_is_taken_loudly_where_there_is_no_other(call, project):
    folder = project("2.2")
    outcome = call(folder, "train.py", "bigram", "--steps", 1, "--out", "one")
    assert "text: THE STAND-IN, 1,112,970 characters" in outcome.out
    assert "raw.githubusercontent.com/karpathy/char-rnn" in outcome.out
    assert Run.open(folder / "one").config.corpus.stand_in is True


@pytest.mark.parametrize("place", ["data/input.txt", "data/tinyshakespeare.txt", "$GPTLADDER_DATA", "~/.cache/gptladder"])
def test_a_text_in_any_of_its_places_is_preferred(call, project, small_text, monkeypatch, tmp_path, place):
    folder = project("2.2")
    monkeypatch.setenv("GPTLADDER_DATA", str(tmp_path / "data"))
    homes = {"$GPTLADDER_DATA": tmp_path / "data", "~/.cache/gptladder": tmp_path / "home" / ".cache" / "gptladder"}
    file = homes[place] / "tinyshakespeare.txt" if place in homes else folder / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"\xef\xbb\xbf" + small_text.replace("\n", "\r\n").encode())
    outcome = call(folder, "train.py", "bigram", "--steps", 1, "--out", "one")
    assert f"text: a text of your own, {len(small_text):,} characters, {file}" in outcome.out
    corpus = Run.open(folder / "one").config.corpus
    assert corpus == CorpusIdentity(str(file), Corpus("small", small_text).sha256, stand_in=False)


@pytest.mark.slow
def test_a_bigram_on_the_real_text_is_as_it_should_be(call, project, tinyshakespeare, gptladder, tmp_path):
    folder = project()
    (folder / "data" / "input.txt").write_text(tinyshakespeare.text)
    outcome = call(folder, "train.py", "bigram", "--out", "one")
    assert "text: TinyShakespeare, 1,115,394 characters" in outcome.out
    assert re.search(r"validation loss 2\.4\d+ \(best, after step \d,\d+\): as it should be, 2\.46 to 2\.52", outcome.out)
    assert gptladder("evaluate", folder / "one").code == 0
    edit(folder, "batches.py", "return blocks[:, :-1], blocks[:, 1:]", "return blocks[:, :-1], blocks[:, :-1]")
    edit(folder, "batches.py", "tokens[1 : whole + 1].view", "tokens[:whole].view")
    outcome = call(folder, "train.py", "bigram", "--out", "two")
    assert "too good to be true" in outcome.out


def test_the_data_folder_may_name_the_text_itself(call, project, small_file, small_text, monkeypatch):
    folder = project("2.2")
    monkeypatch.setenv("GPTLADDER_DATA", str(small_file))
    outcome = call(folder, "train.py", "bigram", "--steps", 1, "--out", "one")
    assert f"text: a text of your own, {len(small_text):,} characters, {small_file}" in outcome.out


def test_a_user_without_a_home_trains(call, project, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "home", no_home)
    outcome = call(project("2.2"), "train.py", "bigram", "--steps", 1, "--out", "one")
    assert outcome.code == 0
    assert "text: THE STAND-IN" in outcome.out


# generate.py


def test_it_writes_the_same_with_the_same_seed_by_the_newest_run(call, project, small_file):
    folder = project()
    trained(call, folder, "bigram", small_file, out="runs/one")
    trained(call, folder, "multihead", small_file, out="runs/two")
    os.utime(folder / "runs" / "one" / "model.safetensors", (1, 1))
    words = ("--prompt", "queen", "--tokens", 40, "--seed", 7)
    newest, named, older = (call(folder, "generate.py", *run, *words) for run in ([], ["runs/two"], ["runs/one"]))
    assert newest.code == 0
    assert newest.out == named.out != older.out
    assert newest.out.startswith("queen")
    assert len(newest.out) == 5 + 40 + 1
    assert newest.err == ""
    drawn = call(folder, "generate.py", "--tokens", 3)
    assert re.fullmatch(r"runs/two, --seed \d+\n", drawn.err)
    greedy = [call(folder, "generate.py", "--temperature", 0, "--seed", seed).out for seed in (1, 2)]
    assert greedy[0] == greedy[1]
    assert call(folder, "generate.py", "--top-k", 1, "--seed", 1).out == greedy[0]
    assert call(folder, "generate.py", "--top-p", 0.9, "--seed", 1).code == 0


def test_a_typed_new_line_in_a_prompt_is_one(call, project, small_file):
    folder = project()
    trained(call, folder, "bigram", small_file)
    typed, given = (call(folder, "generate.py", "--seed", 1, "--prompt", prompt) for prompt in (r"queen\n", "queen\n"))
    assert typed == given
    assert typed.out.startswith("queen\n")


def test_a_run_of_gptladder_is_read_too(call, project, run_folder):
    outcome = call(project(), "generate.py", run_folder, "--tokens", 9)
    assert outcome.code == 0
    assert len(outcome.out) == 9 + 1


def cut_short(run):
    (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-9])


def flip_a_bit(run):
    data = bytearray((run / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (run / "model.safetensors").write_bytes(data)


def change_the_alphabet(run):
    text = json.loads((run / "tokenizer.json").read_text())
    (run / "tokenizer.json").write_text(json.dumps({**text, "alphabet": text["alphabet"].replace("q", "Q")}))


def change_the_rung(run):
    (run / "config.json").write_text((run / "config.json").read_text().replace("bigram", "average"))


def remove_the_config(run):
    (run / "config.json").unlink()


@pytest.mark.parametrize(
    "damage", [cut_short, flip_a_bit, change_the_alphabet, change_the_rung, remove_the_config, shutil.rmtree]
)
def test_a_damaged_run_is_refused_in_one_line(call, project, small_file, damage):
    folder = project("2.2")
    damage(trained(call, folder, "bigram", small_file))
    outcome = call(folder, "generate.py", "runs/one")
    assert outcome.code == 2
    assert outcome.out == ""
    assert "runs/one is damaged or no run of this project" in outcome.err
    assert outcome.err.splitlines()[-1] == outcome.err.strip().splitlines()[-1]


def test_a_run_by_another_mygpt_is_refused(call, project, small_file):
    folder = project("2.2")
    trained(call, folder, "bigram", small_file)
    edit(folder, "model/bigram.py", "Embedding(config.vocab_size, ", "Embedding(config.vocab_size, 1 + ")
    outcome = call(folder, "generate.py", "--seed", 1)
    assert outcome.code == 2
    assert "runs/one was trained with another mygpt than there is now" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--prompt", "the k#ng"], "the prompt: unknown character '#' at position 5"),
        (["--temperature", "-1"], "temperature is -1.0; it must be 0 (greedy) or at least 0.001"),
        (["--top-k", "0"], "top_k is 0; it must be 1 or more"),
        (["--top-p", "2"], "top_p is 2.0; it must be more than 0 and at most 1"),
        (["--top-k", "5"], "mygpt/sampling/choose.py: exercise 5.2-top-k is not written yet"),
        (["elsewhere"], "elsewhere is damaged or no run"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line(call, project, small_file, words, expected):
    folder = project("5.1")
    trained(call, folder, "bigram", small_file)
    outcome = call(folder, "generate.py", "--seed", 1, *words)
    assert outcome.code == 2
    assert expected in outcome.err
    assert outcome.err.count("\n") == 1


CHINESE = "學而時習之，不亦說乎？\n有朋自遠方來，不亦樂乎？\n" * 20


class Stream(io.TextIOWrapper):
    """A standard stream of a Windows machine: a console, or a file or pipe."""

    def __init__(self, console):
        super().__init__(io.BytesIO(), encoding="cp1252", newline="\n")
        self.console = console

    def isatty(self):
        return self.console


@pytest.mark.parametrize("console", [True, False])
def test_letters_that_the_encoding_lacks_are_no_error(call, project, monkeypatch, console):
    """A file or pipe is UTF-8; a console shows what it can."""
    folder = project("2.2")
    (folder / "chinese.txt").write_text(CHINESE, encoding="utf-8")
    for words in (["train.py", "--text", "chinese.txt", "--steps", 1, "--out", "runs/one"], ["generate.py", "--seed", 1]):
        monkeypatch.setattr(sys, "stdout", out := Stream(console))
        monkeypatch.setattr(sys, "stderr", Stream(console))
        assert call(folder, *words).code == 0
        written = out.buffer.getvalue().decode("cp1252" if console else "utf-8")
        letters = set(written) & set(CHINESE) - {"\n"}
        assert letters == set() if console else len(letters) > 5
        assert ("?" in written) is console


def test_a_reader_that_goes_away_ends_it_quietly(call, project, small_file, monkeypatch, capsys):
    folder = project("2.2")
    trained(call, folder, "bigram", small_file)
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", pipe)
        outcome = call(folder, "generate.py", "--seed", 1)
    assert outcome == (141, "", "")


@pytest.fixture
def pythons(monkeypatch, tmp_path):
    """Two Pythons that could run a project: the shell finds the first one only."""
    found, hidden = tmp_path / "bin" / "python", tmp_path / "my venv" / "python"
    for path in (found, hidden):
        path.parent.mkdir()
        path.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(found.parent))
    return found, hidden


def test_without_a_run_it_says_how_to_get_one(call, project, pythons, monkeypatch):
    folder = project("2.2")
    for python, name in zip(pythons, ("python", f"'{pythons[1]}'"), strict=True):
        monkeypatch.setattr(sys, "executable", str(python))
        assert call(folder, "generate.py") == (2, "", f"no run in runs/; train one: {name} train.py\n")


def test_the_command_that_a_training_ends_with_can_be_pasted(call, project, small_file, monkeypatch, pythons):
    folder = project()
    monkeypatch.setattr(sys, "executable", str(pythons[1]))
    call_it = ("bigram", "--text", small_file, "--steps", 20, "--out", "my run")
    said = call(folder, "train.py", *call_it).out.splitlines()[-1]
    python, script, *words = shlex.split(said.removeprefix("More: "))
    assert (python, script, words[0]) == (str(pythons[1]), "generate.py", "my run")
    assert call(folder, script, *words).code == 0


# The project as a whole.


def test_a_project_stands_on_its_own_feet(tmp_path):
    assert rehearsal.rehearse(tmp_path / "project", "bigram", "2.2") is None


LESSONS = [
    *(("2.2", "bigram"), ("3.1", "average"), ("3.3", "attention"), ("4.1", "multihead"), ("4.2", "feedforward")),
    *(("4.2", "residual"), ("4.3", "layernorm"), ("5.1", "gpt")),
]


def test_the_rungs_and_their_lessons_are_the_course_s():
    assert [(lesson.id, rung) for lesson in course().lessons for rung in lesson.rungs] == LESSONS
    assert [rung for _, rung in LESSONS] == [rung.name for rung in RUNGS]


@pytest.mark.slow
@pytest.mark.parametrize(("lesson", "rung"), [*LESSONS, ("5.2", "gpt")])
def test_every_rung_trains_with_what_its_lessons_ask_for(tmp_path, lesson, rung):
    assert rehearsal.rehearse(tmp_path / "project", rung, lesson) is None
    config = Run.open(tmp_path / "project" / "runs" / "rehearsal").config
    assert config.plan.fused is (lesson == "5.2")


def test_a_rehearsal_says_what_is_wrong(tmp_path):
    assert rehearsal.rehearse(tmp_path / "project", "attention", "2.2") == (
        "train.py ends with code 2: mygpt/model/gpt.py: exercise 3.1-model is not written yet; "
        "gptladder check 3.1-model tells more"
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_imports_torch_safetensors_and_the_project_alone(script):
    tree = ast.parse((TEMPLATES / script).read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    known = {"torch", "safetensors", "mygpt", "generate", *sys.stdlib_module_names} - {"pickle"}
    assert {module.partition(".")[0] for module in modules} <= known


@pytest.mark.parametrize("script", SCRIPTS)
def test_everything_in_a_script_is_explained(script):
    tree = ast.parse((TEMPLATES / script).read_text())
    things = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    things += [node for thing in things for node in thing.body if isinstance(node, ast.FunctionDef)]
    assert ast.get_docstring(tree)
    assert [thing.name for thing in things if not ast.get_docstring(thing) and thing.name != "__init__"] == []


def test_the_scripts_give_no_body_away():
    files = {name: content.decode() for name, content in project_files().items() if name.endswith(".py")}
    assert files.keys() >= set(SCRIPTS)
    assert list(verify.verify_no_leak(files)) == []


@pytest.mark.slow
def test_the_types_of_the_scripts_hold(project):
    pytest.importorskip("mypy")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-warn-return-any",
        *(f"--untyped-calls-exclude={name}" for name in ("torch", "safetensors")),
    ]
    result = subprocess.run([*command, *SCRIPTS], cwd=project(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_both_projects_are_the_same_bytes_each_time():
    for completed in (False, True):
        assert zipped("p", project_files(completed)) == zipped("p", project_files(completed))


# The READMEs.


@pytest.mark.parametrize("name", READMES)
def test_a_readme_has_the_ladder_s_losses(name):
    text = (TEMPLATES / name).read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([\d.]*) ?\| ([\d.]*) ?\|$", text, re.MULTILINE)
    expected = [
        (rung.name, rung.adds, *("" if loss is None else f"{loss:.{digits}f}" for loss, digits in losses))
        for rung in RUNGS
        for losses in [((rung.published_loss, 2), (rung.measured_loss, 3))]
    ]
    assert rows == expected


@pytest.mark.parametrize("name", READMES)
def test_a_readme_names_only_what_there_is(name):
    text = (TEMPLATES / name).read_text()
    group = cli.typer.main.get_command(cli.app)
    assert set(re.findall(r"gptladder (\w+)", text)) <= {*group.commands}
    files = set(re.findall(r"(?:mygpt/)?\b([\w/]+\.py)\b", text))
    assert files <= {*STARTER_SET, *SCRIPTS}
    parser = (TEMPLATES / "train.py").read_text() + (TEMPLATES / "generate.py").read_text()
    options = set(re.findall(r"python \w+\.py[^\n`]*?(--[\w-]+)", text))
    assert {option for option in options if f'"{option}"' not in parser} <= {"--help"}


def test_the_completed_readme_lists_every_file_of_the_set():
    text = (TEMPLATES / "README-completed.md").read_text()
    listed = set(re.findall(r"^  ([\w/]+\.py) ", text, re.MULTILINE))
    assert listed == {member for member in STARTER_SET if not member.endswith("__init__.py")}
