"""The run folder: what comes back is what was put in, or one line says why not."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gptladder import checkpoint, corpus
from gptladder.checkpoint import Run, check_out, create, new_folder, newest_run
from gptladder.errors import InputError
from gptladder.model.config import GPTConfig, Recipe
from gptladder.model.fusing import fuse
from gptladder.run_config import CorpusIdentity, Plan, RunConfig, StateFacts
from gptladder.rungs import build
from gptladder.tensors import load_tensors, save_tensors
from gptladder.tokenizer import CharTokenizer
from gptladder.training.run import resume

TOKENIZER = CharTokenizer("abcdefgh")
MODEL = {"vocab_size": 8, "block_size": 4, "n_layer": 1, "n_head": 2, "n_embd": 8, "dropout": 0.0}
TOKENS = torch.tensor([[0, 3, 7, 1], [5, 5, 2, 6]])
FILES = ("config.json", "tokenizer.json", "model.safetensors")
STATE_FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


def config(rung: str = "gpt") -> RunConfig:
    recipe = Recipe(rung, **{key: value for key, value in MODEL.items() if key != "vocab_size"})
    plan = Plan("cpu", "float32", fused=True, compiled=False, slices=1, onednn=False, threads=1)
    return RunConfig("small", recipe, GPTConfig(**MODEL), CorpusIdentity("small", "", stand_in=False), 1, plan, None, {})


def model_of(run: Run) -> nn.Module:
    return build(run.config.rung, run.model_config)


def new_run(folder: Path, rung: str = "gpt") -> tuple[Run, nn.Module]:
    """A new run folder and the fused model in training that belongs to it."""
    torch.manual_seed(0)
    model = fuse(build(rung, GPTConfig(**MODEL)))
    return create(folder, config(rung), TOKENIZER, model, stepped(model, 0)), model


def stepped(model: nn.Module, steps: int = 1) -> torch.optim.Optimizer:
    """AdamW after some steps on any loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    for _ in range(steps):
        step_once(model, optimizer)
    return optimizer


def step_once(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(TOKENS).square().mean().backward()
    optimizer.step()


def disk_full(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# --- what comes back is what was put in ---


@pytest.mark.parametrize("rung", ["bigram", "average", "attention", "feedforward", "layernorm", "postnorm", "gpt"])
def test_a_saved_model_gives_the_same_logits(rung: str, tmp_path: Path):
    run, model = new_run(tmp_path / "run", rung)
    stepped(model)
    before = model.eval()(TOKENS)
    run.save_model(model, 1, 2.5)
    loaded = fuse(Run.open(tmp_path / "run").model()).eval()
    assert torch.equal(loaded(TOKENS), before)


def test_saving_does_not_touch_the_model_in_training(tmp_path: Path):
    run, model = new_run(tmp_path / "run")
    parts = [(name, type(part)) for name, part in model.named_modules()]
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    run.save_model(model, 1, 2.5)
    assert [(name, type(part)) for name, part in model.named_modules()] == parts
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())


def test_the_names_in_the_file_are_those_of_the_written_out_model(tmp_path: Path):
    run, model = new_run(tmp_path / "run")
    run.save_model(model, 1, 2.5)
    tensors, facts = load_tensors(tmp_path / "run" / "model.safetensors")
    assert tensors.keys() == model_of(run).state_dict().keys()
    assert (facts["step"], float(facts["validation_loss"])) == ("1", 2.5)


def test_a_state_brings_weights_and_optimizer_back_bit_for_bit(tmp_path: Path):
    run, model = new_run(tmp_path / "run")
    optimizer = stepped(model, 3)
    run.save_state(model, optimizer, StateFacts(step=3, best_loss=2.5))
    other = fuse(model_of(run))
    other_optimizer = torch.optim.AdamW(other.parameters(), lr=0.1, fused=True)
    facts = run.load_state(other, other_optimizer)
    assert facts == StateFacts(step=3, best_loss=2.5)
    step_once(model, optimizer)
    step_once(other, other_optimizer)
    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in model.state_dict().items())


def test_the_newest_two_states_are_kept(tmp_path: Path):
    run, model = new_run(tmp_path / "run")
    optimizer = stepped(model)
    for step in (0, 500, 1000, 99_500, 100_000):
        run.save_state(model, optimizer, StateFacts(step))
    assert [state.name for state in run.states()] == ["step-000099500", "step-000100000"]
    assert sorted(path.name for path in (tmp_path / "run" / "state").iterdir()) == ["step-000099500", "step-000100000"]
    assert {path.name for path in run.states()[0].iterdir()} == set(STATE_FILES)


@pytest.mark.parametrize(
    "tensors", [{}, {"a": torch.arange(6.0).reshape(2, 3).T}, {"a": torch.tensor(2), "b": torch.tensor([])}]
)
def test_any_tensors_come_back(tensors: dict[str, torch.Tensor], tmp_path: Path):
    save_tensors(tmp_path / "some.safetensors", tensors, {"fact": "ü"})
    loaded, facts = load_tensors(tmp_path / "some.safetensors")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype for name, tensor in tensors.items())
    assert facts["fact"] == "ü"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_others_may_read_a_run(trained: Path):
    files = [path for path in trained.rglob("*") if path.is_file()]
    assert len(files) == 5 + 2 * len(STATE_FILES)
    assert {path.name: path.stat().st_mode & 0o444 for path in files} == {path.name: 0o444 for path in files}
    assert all(folder.stat().st_mode & 0o555 == 0o555 for folder in trained.rglob("*") if folder.is_dir())


# --- damage ---


def cut(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def emptied(path: Path, _: Path) -> None:
    path.write_bytes(b"")


def removed(path: Path, _: Path) -> None:
    path.unlink()


def changed(path: Path, _: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    path.write_bytes(data)


def taken_from_another_run(path: Path, other: Path) -> None:
    shutil.copy(other, path)


def some_picture(path: Path, _: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))


def some_json(path: Path, _: Path) -> None:
    path.write_text("[1, 2, 3]")


def a_folder(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [cut, emptied, removed, changed, taken_from_another_run, some_picture, some_json, a_folder]


@pytest.fixture(scope="module")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of another rung with another alphabet, and one state."""
    folder = tmp_path_factory.mktemp("other") / "run"
    run, model = new_run(folder, "layernorm")
    run.save_state(model, stepped(model), StateFacts(20))
    return folder


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("use", [lambda run, text: Run.open(run).model(), resume], ids=["opened", "resumed"])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_run_is_refused_by_file(
    name: str,
    damage: Callable[[Path, Path], None],
    use: Callable[..., object],
    run_folder: Path,
    other_run: Path,
    small_file: Path,
):
    text = corpus.load(str(small_file))
    use(run_folder, text)  # sound before
    damage(run_folder / name, other_run / name)
    with pytest.raises(InputError) as error:
        use(run_folder, text)
    assert str(run_folder) in one_line(error)
    assert name in one_line(error)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", STATE_FILES)
def test_a_damaged_state_is_refused_by_file(
    name: str, damage: Callable[[Path, Path], None], run_folder: Path, other_run: Path, small_file: Path
):
    state = Path("state") / "step-000000020"
    damage(run_folder / state / name, other_run / state / name)
    with pytest.raises(InputError) as error:
        resume(run_folder, corpus.load(str(small_file)))
    assert name in one_line(error)
    assert f"remove {run_folder / state}" in one_line(error)


def test_the_cure_for_a_damaged_state_cures(run_folder: Path, small_file: Path):
    shutil.rmtree(run_folder / "state" / "step-000000020")
    assert resume(run_folder, corpus.load(str(small_file))).done == 10


def test_files_of_two_states_do_not_mix(run_folder: Path, small_file: Path):
    states = run_folder / "state"
    shutil.copy(states / "step-000000010" / "optimizer.safetensors", states / "step-000000020")
    with pytest.raises(InputError, match=r"optimizer\.safetensors is not what state\.json was saved with"):
        resume(run_folder, corpus.load(str(small_file)))


def test_a_run_without_states_is_not_resumed(run_folder: Path, small_file: Path):
    shutil.rmtree(run_folder / "state")
    with pytest.raises(InputError, match="holds no state to resume from"):
        resume(run_folder, corpus.load(str(small_file)))


def test_no_changed_byte_of_the_weights_goes_unnoticed(tmp_path: Path):
    path = tmp_path / "some.safetensors"
    save_tensors(path, {"weight": torch.randn(3, 4), "count": torch.tensor([3])}, {"step": "7", "validation_loss": "2.5"})
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        with pytest.raises(InputError):
            load_tensors(path)


def test_weights_written_by_another_program_are_read(run_folder: Path):
    """A learner's own train.py writes them with safetensors alone, without a hash."""
    tensors, _ = load_tensors(run_folder / "model.safetensors")
    save_file(tensors, run_folder / "model.safetensors")
    model = Run.open(run_folder).model()
    assert all(torch.equal(weight, tensors[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize(
    "unfit",
    [
        lambda tensors: tensors | {"one.more": torch.ones(2)},
        lambda tensors: dict(list(tensors.items())[1:]),
        lambda tensors: {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()},
        lambda tensors: {name: tensor[..., :-1].clone() for name, tensor in tensors.items()},
    ],
    ids=["one more", "one less", "other names", "other shapes"],
)
def test_names_and_shapes_must_agree_exactly(unfit: Callable[..., dict[str, torch.Tensor]], run_folder: Path):
    path = run_folder / "model.safetensors"
    save_file(unfit(load_tensors(path)[0]), path)
    with pytest.raises(InputError, match=r"model\.safetensors holds another model than config\.json describes") as error:
        Run.open(run_folder).model()
    assert one_line(error)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "gptladder-run-99"}, "has the format 'gptladder-run-99'; this version reads 'gptladder-run-2'"),
        ({"seed": ...}, "lacks seed"),
        ({"corpus": ...}, "lacks corpus;"),
        ({"corpus": "my text"}, "lacks corpus.name, corpus.sha256, corpus.stand_in"),
        ({"corpus": {"name": "mine", "stand_in": False}}, "lacks corpus.sha256"),
        ({"rung": "tower"}, "no rung 'tower'; there are bigram"),
        ({"model": {**MODEL, "n_head": 3}}, "n_embd is 8; it must be a multiple of n_head 3"),
        ({"model": {"n_head": 3}}, "describes no model"),
        ({"model": {**MODEL, "n_embd": "wide"}}, "describes no model"),
        ({"model": None}, "describes no model"),
    ],
)
def test_a_config_by_another_hand_is_refused_for_what_is_wrong(change: dict[str, object], said: str, run_folder: Path):
    path = run_folder / "config.json"
    content = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))
    save_file(load_tensors(run_folder / "model.safetensors")[0], run_folder / "model.safetensors")  # which vouches for none
    with pytest.raises(InputError, match=re.escape(said)):
        Run.open(run_folder).model()


def test_what_is_no_folder_is_no_run(tmp_path: Path):
    (tmp_path / "file").write_text("text")
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(InputError, match=f"no run folder {path}; give one, or train one: gptladder train"):
            Run.open(path)
    with pytest.raises(InputError, match=r"config\.json is missing"):
        Run.open(tmp_path)


def test_nothing_in_the_package_pickles():
    source = Path(checkpoint.__file__).parent
    pickling = re.compile(r"torch\.(load|save)\b|\b(import|from)\s+(pickle|dill|joblib|shelve|marshal)|np\.load|\bpickle\.")
    files = list(source.rglob("*.py"))
    assert len(files) > 20
    assert [file.name for file in files if pickling.search(file.read_text())] == []


# --- a new folder ---


def test_a_new_run_is_whole_and_alone(tmp_path: Path):
    new_run(tmp_path / "deep" / "run")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["run"]
    assert {path.name for path in (tmp_path / "deep" / "run").iterdir()} == {*FILES, "state", "metrics.jsonl"}
    assert [state.name for state in Run.open(tmp_path / "deep" / "run").states()] == ["step-000000000"]


def test_an_empty_folder_may_be_given(tmp_path: Path):
    (tmp_path / "run").mkdir()
    new_run(tmp_path / "run")
    assert Run.open(tmp_path / "run").config.rung == "gpt"


def test_a_folder_with_something_in_it_is_refused_and_stays(run_folder: Path):
    before = {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=f"{run_folder} is not empty; give a new --out"):
        new_run(run_folder)
    assert {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()} == before


def test_a_file_is_no_place_for_a_run(tmp_path: Path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError):
        check_out(tmp_path / "file")
    with pytest.raises(InputError, match=f"cannot write {tmp_path}/file/run .*; give another folder with --out"):
        new_run(tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("at", range(15))
def test_a_failed_creation_leaves_nothing(at: int, tmp_path: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The disk is full at the first, second, ... flush; the folder that was there before stays as it is."""
    calls, fsync = [], os.fsync

    def fails_at(descriptor: int) -> None:
        calls.append(descriptor)
        disk_full(descriptor) if len(calls) == at + 1 else fsync(descriptor)

    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(os, "fsync", fails_at)
    with pytest.raises((InputError, OSError), match="No space left"):
        new_run(tmp_path / "new")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("at", range(6))
def test_a_failed_saving_leaves_the_older_state(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run, model = new_run(tmp_path / "run")
    optimizer = stepped(model)
    run.save_state(model, optimizer, StateFacts(1))
    calls, fsync = [], os.fsync

    def fails_at(descriptor: int) -> None:
        calls.append(descriptor)
        disk_full(descriptor) if len(calls) == at + 1 else fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fails_at)
    with pytest.raises(OSError, match="No space left"):
        run.save_state(model, optimizer, StateFacts(2))
    monkeypatch.setattr(os, "fsync", fsync)
    assert sorted(path.name for path in (tmp_path / "run" / "state").iterdir()) == ["step-000000000", "step-000000001"]
    assert run.load_state(fuse(model_of(run)), stepped(fuse(model_of(run)))).step == 1


def test_the_default_name_is_rung_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert re.fullmatch(r"runs/gpt-\d{8}-\d{6}", new_folder("gpt").as_posix())
    assert not list(tmp_path.iterdir())


def test_runs_of_the_same_second_get_different_names(tmp_path: Path):
    for _ in range(20):
        new_folder("gpt", tmp_path).mkdir()
    assert len(list(tmp_path.iterdir())) == 20


def test_the_newest_run_is_the_one_trained_last(trained: Path, tmp_path: Path):
    for name, when in (("b", 2_000_000), ("a", 3_000_000), ("c", 1_000_000)):
        shutil.copytree(trained, tmp_path / name)
        os.utime(tmp_path / name / "model.safetensors", (1_000_000, 1_000_000))
        os.utime(tmp_path / name / "metrics.jsonl", (when, when))
    shutil.copytree(trained, tmp_path / ".killed-in-the-making.new")
    (tmp_path / "notes").mkdir()
    assert newest_run(tmp_path) == tmp_path / "a"


def test_without_a_run_there_is_no_newest(tmp_path: Path):
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=r"no run in .*; give a run folder, or train one: gptladder train"):
            newest_run(root)
