"""Every bad input of the command line: one line that begins with "error: ", exit code 2, and nothing made, changed or lost."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from typer.main import get_command

from gptladder import corpus
from gptladder.checkpoint import Run
from gptladder.cli import app
from gptladder.errors import InputError
from gptladder.tensors import load_tensors
from gptladder.tokenizer import CharTokenizer
from gptladder.training.metrics import read_metrics
from gptladder.training.run import resume

Call = Callable[..., Any]
TRAIN = ("train", "bigram", "--corpus", "good.txt", "--steps", "1")


@pytest.fixture
def here(gptladder: Call, small_file: Path, trained: Path) -> Path:
    """A folder as a careless person may have it: good and bad texts, and an older run that must not suffer."""
    files = {
        "empty.txt": b"",
        "one.txt": b"a",
        "short.txt": b"to me",
        "latin.txt": "naïve".encode("latin-1") * 100,
        "binary.txt": bytes(range(256)) * 10,
        "other.txt": b"QXZ 123\n" * 100,
        "pictures/cat.png": b"\x89PNG",
        "mixed/good.txt": b"good text\n" * 100,
        "mixed/latin.md": "naïve".encode("latin-1"),
    }
    for name, data in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(data)
    shutil.copy(small_file, "good.txt")
    shutil.copytree(trained, "runs/older")
    return Path.cwd()


def contents(folder: Path) -> dict[str, str]:
    """Every path below the folder, with the hash of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
        for path in sorted(folder.rglob("*"))
    }


def refused(gptladder: Call, *words: str | Path, says: str | tuple[str, ...] = ()) -> str:
    """Runs the command and returns its one line, which must name all of `says`; checks that it left nothing behind."""
    before = contents(Path.cwd())
    code, out, err = gptladder(*words)
    assert code == 2
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err + out
    for fragment in (says,) if isinstance(says, str) else says:
        assert fragment in err
    assert contents(Path.cwd()) == before
    return err


# --- texts ---

BAD_TEXTS = [
    ("empty.txt", "empty.txt is empty"),
    ("one.txt", "a text of 1 tokens is too short"),
    ("short.txt", "a text of 5 tokens is too short: with block_size 8 it needs at least"),
    ("latin.txt", "latin.txt is not UTF-8 (byte 2)"),
    ("binary.txt", "binary.txt is binary"),
    ("nowhere.txt", "no corpus 'nowhere.txt'; give tinyshakespeare, stand-in, or the path"),
    ("nowhere/else/", "no corpus 'nowhere/else/'"),
    ("~nobody-of-that-name/text.txt", "no corpus '~nobody-of-that-name/text.txt'"),
    ("pictures", "pictures holds no text; put .txt or .md files into it"),
    ("mixed", "latin.md is not UTF-8"),
]


@pytest.mark.parametrize(("name", "says"), BAD_TEXTS, ids=[name for name, _ in BAD_TEXTS])
@pytest.mark.parametrize("verb", ["train", "train_to", "climb", "evaluate"])
def test_a_bad_text(verb: str, name: str, says: str, here: Path, gptladder: Call):
    words = {
        "train": ("train", "bigram"),
        "train_to": ("train", "bigram", "--out", "deep/run"),
        "climb": ("climb",),
        "evaluate": ("evaluate", "runs/older"),
    }
    refused(gptladder, *words[verb], "--corpus", name, says=says)


def test_a_text_shorter_than_the_block_of_the_recipe(here: Path, gptladder: Call):
    words = (*TRAIN, "--set", "block_size=4000")
    refused(gptladder, *words, says=("too short: with block_size 4000 it needs at least 4446", "smaller block_size"))


def test_a_text_of_unknown_characters_cannot_be_evaluated(here: Path, gptladder: Call):
    refused(
        gptladder, "evaluate", "runs/older", "--corpus", "other.txt", says=("other.txt", "unknown character 'Q' at position 0")
    )


@pytest.fixture
def wrong_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The public home of TinyShakespeare serves something else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"Please log in to this hotel\n" * 1000)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(corpus, "URL", f"http://127.0.0.1:{server.server_port}/")
        yield
        server.shutdown()
        thread.join()


def test_a_download_that_does_not_match(
    wrong_home: None, here: Path, gptladder: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(corpus, "cache_folder", lambda: tmp_path / "cache")
    refused(
        gptladder, "train", "bigram", says=("the download from http://", "is not TinyShakespeare: sha256", "--corpus stand-in")
    )
    assert not (tmp_path / "cache").exists()


def test_a_wrong_text_in_gptladder_data(here: Path, gptladder: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / corpus.FILE).write_text("To be or not to be")
    monkeypatch.setenv("GPTLADDER_DATA", str(tmp_path))
    refused(gptladder, "train", says=(str(tmp_path / corpus.FILE), "is not TinyShakespeare", "unset the variable"))


# --- settings ---


@pytest.mark.parametrize("name", ["block_size", "n_layer", "n_head", "n_embd", "batch_size", "steps", "evaluate_every"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_and_counts_begin_at_one(name: str, value: int, here: Path, gptladder: Call):
    refused(gptladder, *TRAIN[:4], "--set", f"{name}={value}", says=f"{name} is {value}; it must be 1 or more")


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ("dropout=1", "0 or more and less than 1"),
        ("dropout=-0.1", "0 or more and less than 1"),
        ("dropout=nan", "0 or more and less than 1"),
        ("learning_rate=0", "more than 0"),
        ("learning_rate=-1e-3", "more than 0"),
        ("learning_rate=inf", "more than 0"),
        ("warmup_steps=-1", "0 or more"),
        ("weight_decay=-0.1", "0 or more"),
        ("weight_decay=nan", "0 or more"),
        ("decay=1.5", "between 0 and 1"),
        ("decay=-0.5", "between 0 and 1"),
        ("beta2=1", "0 or more and less than 1"),
        ("beta2=-0.1", "0 or more and less than 1"),
        ("precision=half", "one of float32, mixed"),
        ("precision=", "one of float32, mixed"),
        ("optimizer=sgd", "one of adamw, muon"),
        ("optimizer=Muon", "one of adamw, muon"),
    ],
)
def test_values_outside_what_is_allowed(setting: str, allowed: str, here: Path, gptladder: Call):
    name = setting.partition("=")[0]
    refused(gptladder, *TRAIN, "--set", setting, says=(f"{name} is ", f"it must be {allowed}"))


def test_channels_that_the_heads_cannot_share(here: Path, gptladder: Call):
    words = ("train", "multihead", "--corpus", "good.txt", "--set", "n_embd=30")
    refused(gptladder, *words, says="n_embd is 30; it must be a multiple of n_head 4")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("n_embed=64", ("no setting 'n_embed=64'", "n_embd", "n_head", "dropout")),
        ("rung=gpt", "no setting 'rung=gpt'"),
        ("n_embd", "no setting 'n_embd'; give name=value"),
        ("", "no setting ''; give name=value"),
        ("=3", "no setting '=3'; give name=value"),
        ("n_embd=wide", "n_embd=wide does not fit: n_embd is a whole number, now 32"),
        ("n_embd=", "n_embd= does not fit: n_embd is a whole number"),
        ("n_embd=1.5", "n_embd is a whole number"),
        ("steps=1e3", "steps is a whole number"),
        ("dropout=some", "dropout=some does not fit: dropout is a number, now 0.0"),
    ],
)
@pytest.mark.parametrize("show", [(), ("--show",)])
def test_settings_that_are_none(setting: str, says: str | tuple[str, ...], show: tuple[str, ...], here: Path, gptladder: Call):
    refused(gptladder, *TRAIN, "--set", setting, *show, says=says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train", "biggram"), ("no rung 'biggram'", "bigram", "layernorm", "gpt", "plain", "postnorm")),
        (("train", ""), "no rung ''"),
        (("train", "--recipe", "laptopp"), ("no recipe 'laptopp'", "laptop", "published")),
        (("train", "bigram", "--recipe", "laptop"), "recipe 'laptop' trains the rung 'modern', not 'bigram'"),
        (("train", "--steps", "many"), ("--steps", "integer")),
        (("train", "--steps", "-5"), "steps is -5; it must be 1 or more"),
        (("train", "--steps", "0"), "steps is 0; it must be 1 or more"),
        (("train", "--seed", "-1"), "--seed"),
        (("train", "--seed", "lucky"), ("--seed", "integer")),
        (("train", "--seed", str(2**64)), "--seed"),
        (("train", "--device", "abacus"), "no device 'abacus' here; there is"),
        (("train", "--device", "cuda:99"), "no device 'cuda:99' here; there is"),
        (("train", "--device", ""), "no device '' here; there is"),
        (("train", "--colour", "red"), "--colour"),
        (("train", "bigram", "average"), "average"),
        (("train", "--corpus"), "--corpus"),
        (("climb", "--seed", "-1"), "--seed"),
        (("climb", "--device", "abacus"), "no device 'abacus' here"),
        (("climb", "--gpt", "runs/older", "--all"), "--gpt with --all"),
        (("climb", "--ablate", "modern"), "--ablate"),
        (("ablate", "gpt"), "gpt"),
        (("ablate", "--seed", "-1"), "--seed"),
        (("ablate", "--device", "abacus"), "no device 'abacus' here"),
        (("ablate", "--out", "runs/older"), "runs/older is not empty"),
        (("sing",), "sing"),
        (("--sing",), "--sing"),
    ],
)
def test_words_that_mean_nothing(words: tuple[str, ...], says: str | tuple[str, ...], here: Path, gptladder: Call):
    given = () if "--corpus" in words or words[0] not in ("train", "climb", "ablate") else ("--corpus", "good.txt")
    refused(gptladder, *words, *given, says=says)


# --- sampling ---


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("--prompt", "the Queen"),
            ("prompt: unknown character 'Q' at position 4", "the alphabet is '\\n adefghiklmnopqrstuw'"),
        ),
        (("--prompt", "zoë"), "unknown character 'z' at position 0"),
        (("--prompt", "the\0"), "unknown character '\\x00' at position 3"),
        (("--prompt", "the\u2028king"), "unknown character '\\u2028' at position 3"),
        (("--tokens", "-1"), "--tokens"),
        (("--tokens", "few"), ("--tokens", "integer")),
        (("--temperature", "-0.5"), "temperature is -0.5; it must be 0 (greedy) or"),
        (("--temperature", "nan"), "temperature is nan"),
        (("--temperature", "inf"), "temperature is inf"),
        (("--temperature", "hot"), ("--temperature", "number")),
        (("--top-k", "0"), "top_k is 0; it must be 1 or more"),
        (("--top-k", "-3"), "top_k is -3; it must be 1 or more"),
        (("--top-k", "2.5"), "--top-k"),
        (("--top-p", "0"), "top_p is 0.0; it must be more than 0 and at most 1"),
        (("--top-p", "-0.1"), "top_p is -0.1"),
        (("--top-p", "1.01"), "top_p is 1.01; it must be more than 0 and at most 1"),
        (("--top-p", "nan"), "top_p is nan"),
        (("--samples", "0"), "--samples"),
        (("--samples", "some"), ("--samples", "integer")),
        (("--weights", "int3"), "no weights in 'int3'; there are float32, bfloat16"),
        (("--seed", "-1"), "--seed"),
        (("--device", "abacus"), "no device 'abacus' here"),
    ],
)
def test_sampling_settings_that_mean_nothing(words: tuple[str, ...], says: str | tuple[str, ...], here: Path, gptladder: Call):
    refused(gptladder, "sample", "runs/older", "--seed", "1", *words, says=says)


@pytest.mark.parametrize("seed", [(), ("--seed", "1")], ids=["drawn", "given"])
def test_an_error_of_sample_comes_alone(seed: tuple[str, ...], here: Path, gptladder: Call):
    """Neither the prompt on one side nor the seed that was drawn on the other."""
    words = ("sample", "runs/older", "--prompt", "the king", *seed)
    outcomes = [gptladder(*words, "--device", "abacus")]
    changed(here / "runs" / "older" / "model.safetensors")
    outcomes.append(gptladder(*words))
    for code, out, err in outcomes:
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert len(err.splitlines()) == 1


def test_without_a_run_there_is_nothing_to_sample(here: Path, gptladder: Call):
    shutil.rmtree("runs")
    for verb in ("sample", "evaluate"):
        refused(gptladder, verb, says="no run in runs/; give a run folder, or train one: gptladder train")


# --- places to write to ---


@pytest.mark.parametrize("command", [TRAIN, ("climb", "--corpus", "good.txt")], ids=["train", "climb"])
@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("runs/older", "runs/older is not empty; give a new --out, or go on with: gptladder resume runs/older"),
        ("runs", "runs is not empty"),
        ("good.txt", "good.txt"),
        ("good.txt/run", "cannot write good.txt/run"),
        ("good.txt/deep/run", "cannot write good.txt/deep/run"),
    ],
)
def test_an_output_folder_that_cannot_be(command: tuple[str, ...], out: str, says: str, here: Path, gptladder: Call):
    refused(
        gptladder,
        *command,
        "--out",
        out,
        says=says.replace("cannot write good.txt", "good.txt") if "climb" in command else says,
    )


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_made(number: int, here: Path, gptladder: Call, monkeypatch: pytest.MonkeyPatch):
    """Whoever may write everywhere meets no such folder, so it is played."""

    def not_here(self: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "mkdir", not_here)
    refused(gptladder, *TRAIN, "--out", "new", says=("new", os.strerror(number), "--out"))
    refused(gptladder, *TRAIN, says=("runs/bigram-", os.strerror(number), "--out"))


def full_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """A disk that takes so many flushes and no more."""
    calls, fsync = [], os.fsync

    def flush(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush)


@pytest.mark.parametrize("count", range(15))
def test_a_disk_that_is_full_from_the_beginning(count: int, here: Path, gptladder: Call, monkeypatch: pytest.MonkeyPatch):
    """Before the run folder is whole there is none."""
    full_after(monkeypatch, count)
    refused(gptladder, *TRAIN, "--out", "new", says="No space left on device")


@pytest.mark.parametrize("count", [16, 19, 22, 25, 28, 31, 34, 37])
def test_a_disk_that_fills_up_in_training(
    count: int, here: Path, gptladder: Call, small_file: Path, monkeypatch: pytest.MonkeyPatch
):
    """What was saved before stays: it can be sampled, and once there is room it goes on to the end."""
    monkeypatch.setattr("gptladder.training.run.loss_plot", lambda *_: None)
    older = contents(here / "runs" / "older")
    words = ("train", "average", "--corpus", "good.txt", "--steps", "3", "--set", "evaluate_every=1", "--out", "new")
    with monkeypatch.context() as patch:
        full_after(patch, count)
        code, _, err = gptladder(*words)
    assert code == 2
    assert err.startswith("error: No space left on device")
    assert "make room" in err
    assert ("gptladder resume new" in err) == (here / "new" / "state").exists()
    assert len(err.splitlines()) == 1
    assert contents(here / "runs" / "older") == older
    assert gptladder("sample", "new", "--tokens", "3", "--seed", "1").code == 0
    if Run.open(here / "new").states():
        assert gptladder("resume", "new").code == 0
        assert read_metrics(here / "new")[-1]["step"] == 3


# --- run folders ---


def removed(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def changed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def foreign(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))


def other_json(path: Path) -> None:
    path.write_text(json.dumps({"architectures": ["GPT2LMHeadModel"], "n_embd": 768}))


DAMAGES = [removed, cut, changed, foreign, other_json]
READERS = {
    "sample": ("sample", "runs/older", "--seed", "1"),
    "evaluate": ("evaluate", "runs/older"),
    "resume": ("resume", "runs/older"),
    "climb": ("climb", "--corpus", "good.txt", "--gpt", "runs/older"),
}


@pytest.mark.parametrize("verb", READERS)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_run(name: str, damage: Callable[[Path], None], verb: str, here: Path, gptladder: Call):
    damage(here / "runs" / "older" / name)
    refused(gptladder, *READERS[verb], says=("runs/older", name))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_state(name: str, damage: Callable[[Path], None], here: Path, gptladder: Call):
    damage(here / "runs" / "older" / "state" / "step-000000020" / name)
    refused(gptladder, "resume", "runs/older", says=("step-000000020", name, "remove"))


@pytest.mark.parametrize("damage", [removed, foreign, other_json])
def test_damaged_metrics(damage: Callable[[Path], None], here: Path, gptladder: Call):
    damage(here / "runs" / "older" / "metrics.jsonl")
    for verb in ("resume", "climb"):
        refused(gptladder, *READERS[verb], says="runs/older")


@pytest.mark.parametrize("verb", READERS)
@pytest.mark.parametrize("run", ["runs/none", "pictures", "good.txt", ""])
def test_what_is_no_run(verb: str, run: str, here: Path, gptladder: Call):
    words = [run if word == "runs/older" else word for word in READERS[verb]]
    refused(gptladder, *words)


# --- going on ---


@pytest.mark.parametrize(
    "words",
    [
        ("--recipe", "laptop"),
        ("--set", "dropout=0.5"),
        ("--seed", "3"),
        ("--out", "new"),
        ("--device", "cpu"),
        ("--written-out",),
        ("--show",),
    ],
    ids=lambda words: words[0],
)
def test_a_run_goes_on_as_it_began(words: tuple[str, ...], here: Path, gptladder: Call):
    refused(gptladder, "resume", "runs/older", *words, says=words[0])


def test_a_run_goes_on_with_its_own_rung(here: Path, gptladder: Call):
    refused(gptladder, "resume", "gpt", "runs/older", says="runs/older")
    refused(gptladder, "resume", "gpt", says="no run folder gpt")


def test_a_run_cannot_train_on_to_no_step(here: Path, gptladder: Call):
    refused(gptladder, "resume", "runs/older", "--steps", "0", says="--steps")
    refused(gptladder, "resume", says="RUN")


def test_a_run_does_not_go_on_with_another_text(here: Path, gptladder: Call):
    refused(gptladder, "resume", "runs/older", "--corpus", "other.txt", says="was trained on another text than")


def test_a_run_whose_text_is_gone(here: Path, gptladder: Call, tmp_path: Path):
    shutil.copy("good.txt", "mine.txt")
    assert gptladder("train", "bigram", "--corpus", "mine.txt", "--steps", "1", "--out", "mine").code == 0
    Path("mine.txt").unlink()
    for verb in ("resume", "evaluate"):
        refused(gptladder, verb, "mine", says=("no corpus", "mine.txt", "if it has moved, say where with --corpus"))
        assert gptladder(verb, "mine", "--corpus", "good.txt").code == 0  # the same text in another place


# --- climbing with a run ---


def test_a_climb_takes_no_run_of_another_rung(here: Path, gptladder: Call):
    assert gptladder(*TRAIN, "--out", "bigram").code == 0
    words = ("climb", "--corpus", "good.txt", "--gpt", "bigram")
    refused(gptladder, *words, says="bigram is a run of the rung 'bigram'; --gpt takes one of the rung 'gpt'")


def test_a_climb_takes_no_unfinished_run(here: Path, gptladder: Call):
    older = here / "runs" / "older"
    shutil.rmtree(older / "state" / "step-000000020")
    lines = (older / "metrics.jsonl").read_text().splitlines(keepends=True)
    (older / "metrics.jsonl").write_text("".join(lines[:-1]))
    words = ("climb", "--corpus", "good.txt", "--gpt", "runs/older")
    refused(gptladder, *words, says="runs/older is not finished; finish it with: gptladder resume runs/older")


def test_a_climb_takes_no_run_on_another_text(here: Path, gptladder: Call):
    words = ("climb", "--corpus", "other.txt", "--gpt", "runs/older")
    refused(gptladder, *words, says="runs/older was trained on another text than")


# --- what was meant ---


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("generate",), "no verb 'generate'; did you mean 'sample'? gptladder --help lists the verbs"),
        (("eval", "runs/older"), "did you mean 'evaluate'?"),
        (("help",), "did you mean '--help'?"),
        (("trian", "gpt"), "did you mean 'train'?"),
        (("resum", "runs/older"), "did you mean 'resume'?"),
        (("zzz",), "no verb 'zzz'; gptladder --help lists the verbs"),
        (("course", "verfy"), ("verfy", "verify")),
        (("train", "good.txt"), "good.txt is no rung but a text; train on it with: gptladder train --corpus good.txt"),
        (("train", "my book.txt"), "gptladder train --corpus 'my book.txt'"),
        (("train", "bigram", "good.txt"), "(good.txt); a text is given by --corpus; see: gptladder train --help"),
        (("doctor", "good.txt"), "(good.txt); see: gptladder doctor --help"),
        (("train", "pictures"), "gptladder train --corpus pictures"),
        (("train", "--corpus", "good.txt", "--corpus", "other.txt"), ("--corpus is given 2 times", "put them into a folder")),
        (("train", "--corpus=good.txt", "--corpus", "other.txt"), "--corpus is given 2 times"),
        (("sample", "--seed", "1", "--seed", "2"), "--seed is given 2 times; give it once"),
    ],
)
def test_what_was_meant_is_said(words: tuple[str, ...], says: str | tuple[str, ...], here: Path, gptladder: Call):
    refused(gptladder, *words, says=says)


def test_every_verb_that_is_suggested_exists(gptladder: Call):
    verbs = get_command(app.app).commands.keys()
    assert set(app.MEANT.values()) <= {*verbs, "--help"}
    assert not app.MEANT.keys() & verbs
    assert app.NEEDS_LESS.keys() <= verbs


# --- the older run ---


def test_after_all_that_the_older_run_goes_on(here: Path, gptladder: Call, small_file: Path):
    """The fixture itself: what the tests above compare is a run that works."""
    assert resume(here / "runs" / "older", corpus.load(str(small_file))).done == 20
    assert gptladder("sample", "--seed", "1", "--tokens", "3").code == 0


# --- what was found by reading ---


def test_a_run_is_not_measured_on_a_text_that_has_changed(gptladder: Call, here: Path):
    assert gptladder(*TRAIN, "--out", "changed").code == 0
    Path("good.txt").write_text(Path("good.txt").read_text() + "to me\n")
    refused(gptladder, "evaluate", "changed", says="was trained on another text than")
    assert gptladder("evaluate", "changed", "--corpus", "good.txt").code == 0


def test_an_alphabet_of_another_run_is_refused_also_without_hashes(here: Path):
    run = here / "runs/older"
    tensors, _ = load_tensors(run / "model.safetensors")
    save_file(tensors, run / "model.safetensors")  # as a learner's own loop may write it: no facts, no hash
    assert Run.open(run).model_config.vocab_size == len(Run.open(run).tokenizer)
    (run / "tokenizer.json").write_text('{"kind": "characters", "alphabet": "abc"}')
    with pytest.raises(InputError, match=r"tokenizer.json belongs to another run \(it has 3 characters, the model \d+\)"):
        Run.open(run)


@pytest.mark.parametrize(
    "text", ['{"kind": "bpe", "alphabet": "abc"}', '{"kind": "characters", "alphabet": ""}', "[]", "{", "{}"]
)
def test_other_tokenizers_are_no_character_tokenizers(text: str):
    with pytest.raises(ValueError, match="not a character tokenizer"):
        CharTokenizer.from_json(text)


TOO_LITTLE_MEMORY = ["DefaultCPUAllocator: can't allocate memory", "CUDA out of memory. Tried to allocate 2 GiB"]


@pytest.mark.parametrize("words", TOO_LITTLE_MEMORY)
@pytest.mark.parametrize(
    ("verb", "function", "advice"),
    [
        (TRAIN, "training.run.begin", "does not fit into the memory; use less of it: --set batch_size="),
        (("sample", "runs/older"), "sampling.writer.load_for_writing", "write less at once: fewer --samples"),
        (("climb", "--corpus", "good.txt"), "training.climb.climb", "end other programs"),
    ],
    ids=["train", "sample", "climb"],
)
def test_too_little_memory_is_said_in_a_line(
    verb: tuple[str, ...],
    function: str,
    advice: str,
    words: str,
    gptladder: Call,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def fails(*_: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(f"gptladder.{function}", fails)
    refused(gptladder, *verb, says=advice)
