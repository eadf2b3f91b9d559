"""The command line, where all goes well: the verbs, what they print and what they leave."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from gptladder import __version__, corpus
from gptladder.checkpoint import Run
from gptladder.cli import app, train
from gptladder.model.config import Recipe
from gptladder.run_config import CorpusIdentity
from gptladder.rungs import RECIPES
from gptladder.tensors import load_tensors
from gptladder.tokenizer import CharTokenizer
from gptladder.training import run as training_run
from gptladder.training.metrics import read_metrics

Call = Callable[..., Any]
SMALL = [
    "--steps",
    "20",
    *[w for s in ("n_embd=8", "n_layer=1", "n_head=2", "batch_size=4", "evaluate_every=10") for w in ("--set", s)],
]


@pytest.fixture
def pictureless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer than all else here."""
    monkeypatch.setattr("gptladder.training.run.loss_plot", lambda *_: None)
    monkeypatch.setattr("gptladder.training.climb.ladder_plot", lambda *_: None)


@pytest.fixture
def short_recipes(monkeypatch: pytest.MonkeyPatch, pictureless: None) -> None:
    for name, recipe in RECIPES.items():
        small = replace(recipe, steps=4, batch_size=2, evaluate_every=2, block_size=8, n_embd=8, n_layer=1, n_head=1)
        monkeypatch.setitem(RECIPES, name, small)


def numbers(folder: Path) -> list[tuple[Any, ...]]:
    return [(line["step"], line.get("train_loss"), line.get("validation_loss")) for line in read_metrics(folder)]


def said_command(out: str, verb: str) -> list[str]:
    """The words of a command that was printed to be typed next, without the program."""
    (line,) = [line for line in out.splitlines() if re.match(rf"  \S.* {verb} ", line)]
    words = shlex.split(line)
    return words[words.index(verb) :]


# --- what comes before a verb ---


def test_help_lists_the_verbs_under_their_group(gptladder: Call):
    code, out, err = gptladder("--help")
    assert (code, err) == (0, "")
    groups = re.split(r"^(\w+):$", out[out.index("Train:") :], flags=re.MULTILINE)[1:]
    verbs = {
        name: re.findall(r"^  (\w+)  +\S", text, re.MULTILINE) for name, text in zip(groups[::2], groups[1::2], strict=True)
    }
    assert verbs == {
        "Train": ["train", "resume", "climb", "ablate", "sample", "evaluate", "doctor"],
        "Learn": ["new", "check", "hint", "solution", "reset", "trace", "quiz", "progress"],
        "Teach": ["submit", "grade", "course"],
    }


def test_without_a_verb_comes_the_help(gptladder: Call):
    assert gptladder() == gptladder("--help")


def test_a_group_without_a_verb_shows_its_help(gptladder: Call):
    code, out, err = gptladder("course")
    assert (code, err) == (0, "")
    assert out == gptladder("course", "--help").out
    assert "verify" in out


@pytest.mark.parametrize("words", [("--help",), ("course",)])
def test_no_help_page_breaks_a_verb_s_description_off(words: tuple[str, ...], gptladder: Call):
    assert "...\n" not in gptladder(*words).out.partition("\n")[2]


def test_version(gptladder: Call):
    assert gptladder("--version") == (0, f"gptladder {__version__}\n", "")


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("verb", ["train", "resume", "climb", "ablate", "sample", "evaluate", "doctor", "check", "course"])
def test_each_verb_has_its_help(verb: str, option: str, gptladder: Call):
    code, out, err = gptladder(verb, option)
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: gptladder {verb}")


def test_help_does_not_wait_for_torch():
    script = (
        "import sys; from gptladder.cli.app import main; sys.argv[1:] = ['--help']\n"
        "try: main()\n"
        "except SystemExit as exit: assert not exit.code\n"
        "print(sorted({'torch', 'rich', 'matplotlib', 'numpy', 'safetensors'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# --- train ---


def test_show_prints_every_setting_and_trains_nothing(gptladder: Call):
    code, out, err = gptladder("train", "layernorm", "--show")
    assert (code, err) == (0, "")
    assert "recipe layernorm (rung layernorm)" in out
    shown = dict(re.findall(r"^  (\w+) = (\S+)$", out, re.MULTILINE))
    recipe = RECIPES["layernorm"]
    assert shown == {f.name: str(getattr(recipe, f.name)) for f in fields(Recipe) if f.name != "rung"}
    assert not list(Path().iterdir())


def test_what_show_prints_can_be_set(gptladder: Call):
    _, out, _ = gptladder("train", "--recipe", "published", "--show")
    settings = [f"{name}={value}" for name, value in re.findall(r"^  (\w+) = (\S+)$", out, re.MULTILINE)]
    _, again, _ = gptladder("train", "gpt", "--show", *[word for setting in settings for word in ("--set", setting)])
    assert again == out


def test_show_shows_what_was_changed(gptladder: Call):
    _, out, _ = gptladder("train", "--show", "--device", "cpu", "--set", "dropout=0.25", "--steps", "7")
    assert "recipe laptop (rung modern)" in out
    assert "  dropout = 0.25\n" in out
    assert "  steps = 7\n" in out


def test_steps_win_over_an_earlier_set(gptladder: Call):
    assert "  steps = 7\n" in gptladder("train", "bigram", "--show", "--set", "steps=5", "--steps", "7").out


def test_train_leaves_a_run_and_says_how_to_go_on(gptladder: Call, small_file: Path, small_text: str):
    code, out, err = gptladder("train", "--device", "cpu", "--corpus", small_file, "--seed", "5", *SMALL)
    assert (code, err) == (0, "")
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"modern-\d{8}-\d{6}", folder.name)
    run = Run.open(folder)
    assert (run.config.recipe_name, run.config.seed, run.config.corpus.name) == ("laptop", 5, str(small_file))
    assert run.config.recipe == replace(
        RECIPES["laptop"], steps=20, n_embd=8, n_layer=1, n_head=2, batch_size=4, evaluate_every=10
    )
    best = min(loss for *_, loss in numbers(folder))
    assert f"validation loss {best:.4f}" in out
    text = out[out.index("it writes:\n\n") + len("it writes:\n\n") : out.index("\n\nNext,")]
    assert len(text) == 500
    assert set(text) <= set(small_text)
    assert said_command(out, "sample")[:2] == ["sample", str(folder)]
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_next_command_that_train_names_works(gptladder: Call, small_file: Path, pictureless: None):
    out = gptladder("train", "bigram", "--corpus", small_file, "--out", "a run", *SMALL).out
    words = said_command(out, "sample")
    code, text, _ = gptladder(*words)
    assert code == 0
    assert len(text) == int(words[words.index("--tokens") + 1]) + 1


def test_a_rung_is_trained_by_its_own_recipe(gptladder: Call, small_file: Path, pictureless: None):
    assert gptladder("train", "attention", "--corpus", small_file, "--out", "run", "--steps", "2").code == 0
    assert Run.open(Path("run")).config.recipe == replace(RECIPES["attention"], steps=2)
    assert Run.open(Path("run")).config.seed == 1


def test_the_published_recipe_takes_a_step(
    gptladder: Call, small_file: Path, pictureless: None, monkeypatch: pytest.MonkeyPatch
):
    """All its sizes but the batch, which a test cannot wait for; a text long enough for one block."""
    text = small_file.read_text()
    Path("long.txt").write_text(text + text)
    settings = ["--set", "batch_size=1", "--steps", "1"]
    monkeypatch.setattr("gptladder.cli.terminal.SAMPLE", 5)
    assert gptladder("train", "--recipe", "published", "--corpus", "long.txt", "--out", "run", *settings).code == 0
    assert Run.open(Path("run")).config.recipe == replace(RECIPES["published"], batch_size=1, steps=1)
    assert [step for step, *_ in numbers(Path("run"))] == [0, 1]


def test_written_out_is_recorded(gptladder: Call, small_file: Path, pictureless: None):
    assert gptladder("train", "--device", "cpu", "--written-out", "--corpus", small_file, "--out", "run", *SMALL).code == 0
    assert Run.open(Path("run")).config.plan.fused is False


@pytest.mark.parametrize("name", ["run", "deep/er/run", "[b]old", "a [/b] run", "with spaces"])
def test_a_run_may_lie_anywhere(name: str, gptladder: Call, small_file: Path, pictureless: None):
    code, out, err = gptladder("train", "bigram", "--corpus", small_file, "--out", name, "--steps", "1")
    assert (code, err) == (0, "")
    assert f"in {name}\n" in out
    assert said_command(out, "sample")[1] == name


def test_an_empty_folder_that_is_there_is_filled(gptladder: Call, small_file: Path, pictureless: None):
    here = Path("here")
    here.mkdir()
    before = here.stat().st_ino
    assert gptladder("train", "bigram", "--corpus", small_file, "--out", here, "--steps", "1").code == 0
    assert here.stat().st_ino == before, "a folder that may be a mount point is not replaced"
    assert not [path.name for path in here.iterdir() if path.name.startswith(".")]
    assert gptladder("evaluate", here).code == 0


def test_the_present_folder_may_be_the_run(
    gptladder: Call, small_file: Path, pictureless: None, monkeypatch: pytest.MonkeyPatch
):
    Path("empty").mkdir()
    monkeypatch.chdir("empty")
    assert gptladder("train", "bigram", "--corpus", small_file, "--out", ".", "--steps", "1").code == 0
    assert Run.open(Path()).config.rung == "bigram"


def test_a_path_that_looks_like_a_formula_may_hold_the_text(gptladder: Call, small_file: Path):
    folder = Path(r"$\x$")
    folder.mkdir()
    (folder / r"$\y$.txt").write_bytes(small_file.read_bytes())
    assert gptladder("train", "bigram", "--corpus", folder / r"$\y$.txt", "--out", "run", "--steps", "1").code == 0
    assert (Path("run") / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_stop_in_the_last_step_ends_the_command_too(gptladder: Call, small_file: Path, monkeypatch: pytest.MonkeyPatch):
    """Else a climb would go on to its next rung."""
    monkeypatch.setattr("gptladder.training.run.loss_plot", lambda *_: signal.raise_signal(signal.SIGINT))
    code, out, _ = gptladder("train", "bigram", "--corpus", small_file, "--out", "run", "--steps", "1")
    assert code == 130
    assert said_command(out, "resume") == ["resume", "run"]


def test_a_climb_that_is_stopped_shows_what_it_has(
    gptladder: Call, small_file: Path, short_recipes: None, monkeypatch: pytest.MonkeyPatch
):
    second = Path("ladder/average")
    monkeypatch.setattr("gptladder.training.run.loss_plot", lambda *_: second.exists() and signal.raise_signal(signal.SIGINT))
    code, out, _ = gptladder("climb", "--corpus", small_file, "--out", "ladder")
    assert code == 130
    assert said_command(out, "resume") == ["resume", "ladder/average"]
    assert said_command(out, "sample") == ["sample", "ladder/bigram"]
    assert [row["rung"] for row in json.loads(Path("ladder/ladder.json").read_text())["rungs"]] == ["bigram"]


def test_other_versions_are_pointed_out_when_a_run_goes_on(
    gptladder: Call, run_folder: Path, pictureless: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gptladder.cli.terminal.versions", lambda: {"gptladder": "9", "torch": "9", "python": "9"})
    code, _, err = gptladder("resume", run_folder)
    assert code == 0
    assert "this run began with other versions: gptladder" in err


def test_offline_the_stand_in_is_announced_and_recorded(
    gptladder: Call, small_text: str, pictureless: None, monkeypatch: pytest.MonkeyPatch
):
    def stand_in(note: str) -> corpus.Corpus:
        return corpus.Corpus(corpus.STAND_IN, small_text, stand_in=True, note=note)

    monkeypatch.setattr(corpus, "stand_in", stand_in)
    code, _, err = gptladder("train", "bigram", "--out", "run", "--steps", "1")
    assert code == 0
    loud = " ".join(err.replace("│", " ").split())
    assert "STAND-IN" in loud
    assert "could not be downloaded" in loud
    assert "GPTLADDER_DATA" in loud
    assert "--corpus FILE" in loud
    assert Run.open(Path("run")).config.corpus == CorpusIdentity(
        "stand-in", corpus.Corpus("", small_text).sha256, stand_in=True
    )


# --- stopped and resumed ---


def interrupting(monkeypatch: pytest.MonkeyPatch, at: int, number: int) -> None:
    """Sends this process a signal in the middle of a step."""
    steps, step = [], training_run.training_step

    def interrupted_step(*args: Any, **options: Any) -> Any:
        steps.append(None)
        if len(steps) == at:
            signal.raise_signal(number)
        return step(*args, **options)

    monkeypatch.setattr(training_run, "training_step", interrupted_step)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(
    number: int, gptladder: Call, small_file: Path, pictureless: None, monkeypatch: pytest.MonkeyPatch
):
    words = ["train", "--device", "cpu", "--corpus", small_file, "--set", "dropout=0.1", *SMALL]
    assert gptladder(*words, "--out", "whole").code == 0
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupting(patch, 13, number)
        code, out, err = gptladder(*words, "--out", "stopped")
    assert (code, err) == (130, "")
    assert "stopped after step 13" in out
    assert signal.getsignal(signal.SIGINT) is before
    assert Run.open(Path("stopped")).states()[-1].name == "step-000000013"
    assert said_command(out, "resume") == ["resume", "stopped"]
    code, out, err = gptladder(*said_command(out, "resume"))
    assert (code, err) == (0, "")
    assert "it writes:" in out
    assert [line for line in numbers(Path("stopped")) if line[0] != 13] == numbers(Path("whole"))
    whole, _ = load_tensors(Path("whole/model.safetensors"))
    stopped, _ = load_tensors(Path("stopped/model.safetensors"))
    assert all(bool((stopped[name] == weight).all()) for name, weight in whole.items())


def test_a_run_is_resumed_from_any_folder(
    gptladder: Call, run_folder: Path, trained: Path, tmp_path: Path, pictureless: None, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert gptladder("resume", run_folder).code == 0
    assert numbers(run_folder) == numbers(trained)


@pytest.mark.slow
def test_ctrl_c_in_a_real_terminal(tmp_path: Path, small_file: Path):
    program = [sys.executable, "-m", "gptladder"]
    words = ["train", "bigram", "--corpus", str(small_file), "--steps", "4000", "--set", "evaluate_every=2000", "--out", "run"]
    with subprocess.Popen(
        [*program, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        limit = time.monotonic() + 60
        metrics = tmp_path / "run" / "metrics.jsonl"
        while not (metrics.exists() and len(metrics.read_text().splitlines()) > 3) and time.monotonic() < limit:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "stopping; Ctrl-C again ends at once"
    assert "nothing is lost" in out
    resumed = subprocess.run(
        [*program, *said_command(out, "resume")], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert "it writes:" in resumed.stdout
    assert numbers(tmp_path / "run")[-1][0] == 4000


def test_before_the_first_step_ctrl_c_saves_the_untrained_model(
    gptladder: Call, small_file: Path, pictureless: None, monkeypatch: pytest.MonkeyPatch
):
    """As while a model compiles: the training is asked to stop, and its run goes on later as if nothing had been."""
    steps = training_run.Training.steps

    def interrupted(self: training_run.Training) -> Any:
        signal.raise_signal(signal.SIGINT)
        yield from steps(self)

    words = ["train", "--device", "cpu", "--corpus", small_file, *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr(training_run.Training, "steps", interrupted)
        code, out, err = gptladder(*words, "--out", "stopped")
    assert (code, err) == (130, "")
    assert re.search(r"^modern by the recipe laptop: .* in stopped$", out, re.MULTILINE)  # said before the wait
    assert "stopped after step 0; nothing is lost" in out
    assert said_command(out, "resume") == ["resume", "stopped"]
    assert gptladder("resume", "stopped").code == 0
    assert gptladder(*words, "--out", "whole").code == 0
    assert numbers(Path("stopped")) == numbers(Path("whole"))


def test_a_second_ctrl_c_ends_a_training_at_once_whatever_error_it_causes(
    gptladder: Call, small_file: Path, pictureless: None, monkeypatch: pytest.MonkeyPatch
):
    """Such as a compiler's whose processes were ended: it is not shown."""

    def compiling(self: training_run.Training) -> Any:
        signal.raise_signal(signal.SIGINT)
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("CppCompileError: 2,220 lines") from None
        yield

    words = ["train", "--device", "cpu", "--corpus", small_file, *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr(training_run.Training, "steps", compiling)
        code, out, err = gptladder(*words, "--out", "stopped")
    assert (code, err) == (130, "")
    assert "CppCompileError" not in out
    assert "stopped; everything that was saved is kept" in out
    assert said_command(out, "resume") == ["resume", "stopped"]
    assert gptladder("resume", "stopped").code == 0


def test_a_second_ctrl_c_ends_within_the_step(
    gptladder: Call, small_file: Path, pictureless: None, monkeypatch: pytest.MonkeyPatch
):
    def interrupted_step(*_: Any, **__: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the step went on")

    monkeypatch.setattr(training_run, "training_step", interrupted_step)
    words = ["train", "--device", "cpu", "--corpus", small_file, *SMALL, "--out", "stopped"]
    code, out, err = gptladder(*words)
    assert (code, err) == (130, "")
    assert said_command(out, "resume") == ["resume", "stopped"]
    assert Run.open(Path("stopped")).states()


def test_ctrl_c_outside_a_training_is_an_exit_code_and_no_traceback(
    gptladder: Call, trained: Path, monkeypatch: pytest.MonkeyPatch
):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("gptladder.training.run.evaluate_run", lambda *_: signal.raise_signal(signal.SIGINT))
    assert gptladder("evaluate", trained) == (130, "", "")
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_the_program_loads_ends_it_with_a_line(tmp_path: Path):
    """An import may swallow KeyboardInterrupt, so the process is ended there."""
    (tmp_path / "slow.py").write_text(
        "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\nexcept KeyboardInterrupt:\n    pass\nprint('went on')"
    )
    script = "from gptladder.cli.app import stoppable\nwith stoppable():\n    import slow"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


def test_a_finished_run_says_so_and_how_to_train_it_on(gptladder: Call, run_folder: Path, trained: Path, pictureless: None):
    code, out, err = gptladder("resume", run_folder)
    assert (code, err) == (0, "")
    assert "This run was finished before: step 20 of 20." in out
    assert numbers(run_folder) == numbers(trained)
    words = said_command(out, "resume")
    assert words == ["resume", str(run_folder), "--steps", "40"]
    code, out, err = gptladder(*words)
    assert (code, err) == (0, "")
    assert "finished before" not in out
    assert numbers(run_folder)[-1][0] == 40


# --- what goes in and out ---


def test_what_is_read_is_said_before_it_is_trained_on(gptladder: Call, small_file: Path, small_text: str, pictureless: None):
    texts = Path("texts")
    texts.mkdir()
    for name in ("a.txt", "b.md"):
        (texts / name).write_bytes(small_file.read_bytes())
    (texts / "empty.txt").touch()
    out = gptladder("train", "bigram", "--corpus", "texts", "--steps", "1", "--out", "run").out
    size = f"2 files, {2 * len(small_text) + 1:,} characters, {len(set(small_text))} different"
    assert out.splitlines()[0] == f"text: {texts.resolve()}, {size}; passed over: empty.txt (empty)"
    out = gptladder("train", "bigram", "--corpus", small_file, "--steps", "1", "--out", "run2").out
    assert out.splitlines()[0] == f"text: {small_file}, {len(small_text):,} characters, {len(set(small_text))} different"


def test_a_typed_new_line_in_a_prompt_is_one(gptladder: Call, trained: Path):
    words = ["sample", trained, "--seed", "1", "--tokens", "20"]
    assert gptladder(*words, "--prompt", r"the king\nand") == gptladder(*words, "--prompt", "the king\nand")


def test_where_the_text_has_backslashes_a_prompt_is_taken_as_it_is():
    backslash, without = CharTokenizer("\n\\an"), CharTokenizer("\nan")
    assert train._with_new_lines(r"a\na", backslash) == r"a\na"
    assert train._with_new_lines(r"a\na", without) == "a\na"


def stream(encoding: str, tty: bool) -> io.TextIOWrapper:
    class Raw(io.BytesIO):
        def isatty(self) -> bool:
            return tty

    return io.TextIOWrapper(Raw(), encoding=encoding)


@pytest.mark.parametrize(("tty", "written"), [(False, "naïve 便".encode()), (True, "naïve \\u4fbf".encode("cp1252"))])
def test_files_and_pipes_are_utf_8_and_a_console_shows_what_it_can(tty: bool, written: bytes, monkeypatch: pytest.MonkeyPatch):
    out = stream("cp1252", tty)
    monkeypatch.setattr(sys, "stdout", out)
    app.prepare_streams()
    print("naïve 便", end="", flush=True)
    assert out.buffer.getvalue() == written


def test_without_standard_streams_a_training_goes_on(tmp_path: Path, small_file: Path):
    """As a daemon, or with `>&- 2>&- <&-`. No file of ours takes the place of a stream that was closed."""
    script = (
        "import os, sys\n"
        "for number in (0, 1, 2): os.close(number)\n"
        "sys.stdin = sys.stdout = sys.stderr = None\n"
        "from gptladder.cli import app\n"
        "app.prepare_streams()\n"
        "from gptladder.cli import terminal\n"
        "terminal.console.print('seen by nobody')\n"
        "print('seen by nobody', flush=True)\n"
        "file = open('mine', 'w')\n"
        "os._exit(7 if file.fileno() > 2 else 8)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False, timeout=120).returncode == 7


def test_a_reader_who_has_seen_enough_ends_the_program_quietly(
    gptladder: Call, trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """`gptladder sample | head`: the exit code is that of a program that a closed pipe ended."""

    def closed(*_: Any, **__: Any) -> Any:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("gptladder.sampling.writer.stream_text", closed)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    assert gptladder("sample", trained, "--seed", "1") == (141, "", "")


# --- climb ---


def test_climb_prints_the_table_and_writes_the_report(gptladder: Call, small_file: Path, short_recipes: None):
    code, out, err = gptladder("climb", "--corpus", small_file, "--seed", "2")
    assert (code, err) == (0, "")
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"climb-\d{8}-\d{6}", folder.name)
    report = json.loads((folder / "ladder.json").read_text())
    assert report["seed"] == 2
    assert report["corpus"]["name"] == str(small_file)
    names = ["bigram", "average", "attention", "multihead", "feedforward", "residual", "layernorm"]
    assert [row["rung"] for row in report["rungs"]] == names
    table = out[out.index("The ladder") :]
    for row in report["rungs"]:
        assert re.search(rf"{row['rung']} .*{row['validation_loss']:.3f}", table)
    assert (folder / "samples.txt").read_text().count("===\n") == 7
    assert gptladder(*said_command(out, "sample"), "--tokens", "3").code == 0


def test_climb_adds_the_controls(gptladder: Call, small_file: Path, short_recipes: None):
    assert gptladder("climb", "--corpus", small_file, "--out", "climb", "--controls").code == 0
    rungs = [row["rung"] for row in json.loads(Path("climb/ladder.json").read_text())["rungs"]]
    assert (len(rungs), rungs[-2:]) == (9, ["plain", "postnorm"])


def test_climb_takes_the_gpt_row_from_a_run_or_trains_it(
    gptladder: Call, small_file: Path, run_folder: Path, short_recipes: None
):
    assert gptladder("climb", "--corpus", small_file, "--out", "taken", "--gpt", run_folder).code == 0
    assert gptladder("climb", "--corpus", small_file, "--out", "trained", "--all").code == 0
    taken, trained = (json.loads(Path(name, "ladder.json").read_text())["rungs"] for name in ("taken", "trained"))
    assert [row["rung"] for row in taken] == [row["rung"] for row in trained]
    assert (len(taken), taken[-1]["rung"]) == (8, "gpt")
    assert taken[-1]["validation_loss"] == read_metrics(run_folder)[-1]["validation_loss"]
    assert trained[-1]["validation_loss"] == read_metrics(Path("trained/gpt"))[-1]["validation_loss"]


# --- sample ---


def test_a_seed_writes_the_same_text_and_another_another(gptladder: Call, trained: Path):
    first, second, third = (gptladder("sample", trained, "--seed", seed).out for seed in (1, 1, 2))
    assert first == second != third
    assert len(first) == 500 + 1


def test_without_a_seed_one_is_drawn_and_named(gptladder: Call, trained: Path):
    code, out, err = gptladder("sample", trained, "--tokens", "100")
    assert code == 0
    seed = re.fullmatch(rf"{re.escape(str(trained))}, --seed (\d+)\n", err)[1]
    assert gptladder("sample", trained, "--tokens", "100", "--seed", seed).out == out


def test_the_prompt_comes_first_and_then_as_many_characters_as_asked_for(gptladder: Call, trained: Path):
    out = gptladder("sample", trained, "--prompt", "the king ", "--tokens", "37", "--seed", "1").out
    assert out.startswith("the king ")
    assert len(out) == len("the king ") + 37 + 1
    assert gptladder("sample", trained, "--prompt", "the king ", "--tokens", "0").out == "the king \n"


def test_an_empty_prompt_begins_a_new_line(gptladder: Call, trained: Path):
    words = ["sample", trained, "--seed", "3", "--tokens", "50"]
    assert gptladder(*words).out == gptladder(*words, "--prompt", "").out == gptladder(*words, "--prompt", "\n").out[1:]


def test_greedy_needs_no_seed_and_one_choice_is_greedy(gptladder: Call, trained: Path):
    words = ["sample", trained, "--tokens", "40"]
    greedy = gptladder(*words, "--temperature", "0", "--seed", "1").out
    assert greedy == gptladder(*words, "--temperature", "0", "--seed", "2").out
    assert greedy == gptladder(*words, "--top-k", "1", "--seed", "3").out
    assert greedy == gptladder(*words, "--top-p", "1e-9", "--seed", "4").out


def test_all_choices_are_no_restriction(gptladder: Call, trained: Path):
    words = ["sample", trained, "--seed", "1", "--tokens", "60"]
    assert gptladder(*words).out == gptladder(*words, "--top-k", "999", "--top-p", "1", "--temperature", "1").out


def test_several_samples_come_under_their_numbers(gptladder: Call, trained: Path, small_text: str):
    words = ["sample", trained, "--tokens", "20", "--seed", "1", "--samples", "3"]
    code, out, err = gptladder(*words)
    assert (code, err) == (0, "")
    assert re.findall(r"^--- (\d) ---$", out, re.MULTILINE) == ["1", "2", "3"]
    texts = re.split(r"--- \d ---\n", out)[1:]
    assert [len(text) for text in texts] == [20 + 1] * 3
    assert len(set(texts)) == 3
    assert set("".join(texts)) <= set(small_text)
    assert gptladder(*words).out == out
    prompted = re.split(r"--- \d ---\n", gptladder(*words, "--prompt", "the king").out)[1:]
    assert [(text[:8], len(text)) for text in prompted] == [("the king", 8 + 20 + 1)] * 3


def test_one_sample_has_no_heading(gptladder: Call, trained: Path):
    words = ["sample", trained, "--tokens", "20", "--seed", "1"]
    assert gptladder(*words, "--samples", "1") == gptladder(*words)


def test_rounded_weights_write_much_the_same(gptladder: Call, trained: Path, small_text: str):
    words = ["sample", trained, "--tokens", "30", "--seed", "1"]
    code, out, err = gptladder(*words, "--weights", "bfloat16")
    assert (code, err, len(out)) == (0, "", 30 + 1)
    assert set(out) <= set(small_text)
    assert gptladder(*words, "--weights", "float32") == gptladder(*words)


def test_the_newest_run_is_taken(gptladder: Call, small_file: Path, pictureless: None):
    for rung in ("bigram", "average"):
        assert gptladder("train", rung, "--corpus", small_file, "--steps", "1").code == 0
        time.sleep(0.01)
    assert gptladder("evaluate").out.startswith("runs/average-")
    assert "runs/average-" in gptladder("sample", "--tokens", "1").err


# --- evaluate ---


def test_evaluate_finds_the_loss_that_was_recorded(gptladder: Call, trained: Path, monkeypatch: pytest.MonkeyPatch):
    shown = []
    monkeypatch.setattr("gptladder.cli.terminal.show_evaluation", lambda found, *_: shown.append(found.loss))
    assert gptladder("evaluate", trained).code == 0
    assert shown == [pytest.approx(min(loss for *_, loss in numbers(trained)), abs=1e-6)]


def test_evaluate_says_what_the_loss_means(gptladder: Call, trained: Path, small_file: Path, small_text: str):
    code, out, err = gptladder("evaluate", trained, "--corpus", small_file)
    assert (code, err) == (0, "")
    loss = float(re.search(r"validation loss (\S+) nats per character", out)[1])
    perplexity = float(re.search(r"perplexity (\S+) of", out)[1])
    assert perplexity == pytest.approx(2.718281828**loss, abs=0.01)
    assert f"of {len(set(small_text))} characters" in out


def test_evaluate_reads_another_text_of_the_same_alphabet(gptladder: Call, trained: Path, small_text: str):
    Path("other.txt").write_text("".join(sorted(small_text)))
    losses = [
        re.search(r"loss (\S+)", gptladder("evaluate", trained, *words).out)[1] for words in ([], ["--corpus", "other.txt"])
    ]
    assert float(losses[0]) < float(losses[1])
