"""The run folder: everything that a training leaves, written so that a crash loses nothing, and checked when read.

    config.json          what was trained, on what, how
    tokenizer.json       the alphabet
    model.safetensors    the best weights so far, under the written-out names, with the loss they reached
    state/step-000001000 the newest two states to resume from: weights, optimizer, where it stood
    metrics.jsonl        one line per logged step
    loss.png             the curve

Nothing here is pickled. Each file is hashed when written and checked when read.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from .errors import InputError, as_input_error
from .files import flush_folder, write_atomically
from .model.config import GPTConfig
from .model.fusing import unfuse
from .run_config import RunConfig, StateFacts
from .rungs import build
from .tensors import FORMAT, load_strictly, load_tensors, read_facts, save_tensors
from .tokenizer import CharTokenizer

CONFIG, TOKENIZER, WEIGHTS, METRICS, STATES = "config.json", "tokenizer.json", "model.safetensors", "metrics.jsonl", "state"
MOMENTS, STATE = "optimizer.safetensors", "state.json"  # beside WEIGHTS in each state
STATES_KEPT = 2


def read(path: Path) -> bytes:
    """Return the content of a run folder's file. InputError if it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is missing; give a run folder, as `gptladder train` writes it") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Run:
    """A run folder whose small files were found complete and unchanged."""

    folder: Path
    config: RunConfig
    tokenizer: CharTokenizer

    @property
    def model_config(self) -> GPTConfig:
        """The shape of the model."""
        return self.config.model

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Read and check the small files. InputError if one is missing, cut short, changed or foreign."""
        if not folder.is_dir():
            raise InputError(f"no run folder {folder}; give one, or train one: gptladder train")
        config_bytes, tokenizer_bytes = read(folder / CONFIG), read(folder / TOKENIZER)
        facts = read_facts(folder / WEIGHTS)
        for name, data in ((CONFIG, config_bytes), (TOKENIZER, tokenizer_bytes)):
            if name in facts and _sha256(data) not in (facts[name], facts.get(f"{name} before")):
                raise InputError(f"{folder / name} is not what {WEIGHTS} was saved with; copy the run folder again")
        try:
            config = RunConfig.from_json(config_bytes)
        except InputError as error:
            raise InputError(f"{folder / CONFIG} {error}") from None
        with as_input_error(f"{folder / TOKENIZER}: "):
            tokenizer = CharTokenizer.from_json(tokenizer_bytes.decode(errors="replace"))
        if len(tokenizer) != config.model.vocab_size:
            sizes = f"{len(tokenizer)} characters, the model {config.model.vocab_size}"
            raise InputError(f"{folder / TOKENIZER} belongs to another run (it has {sizes}); copy the run folder again")
        return cls(folder, config, tokenizer)

    def model(self) -> nn.Module:
        """Return the best model so far, in its written-out form. InputError if it, or its description, was changed."""
        path = self.folder / WEIGHTS
        tensors, _ = load_tensors(path)
        model = build(self.config.rung, self.config.model)
        load_strictly(model, tensors, path)
        return model

    def save_model(self, model: nn.Module, step: int, validation_loss: float | None) -> None:
        """Replace the best weights. The model may be fused; what is written never is."""
        hashes = {name: _sha256(read(self.folder / name)) for name in (CONFIG, TOKENIZER)}
        facts = {**hashes, "step": str(step)}
        if validation_loss is not None:
            facts["validation_loss"] = repr(validation_loss)
        save_tensors(self.folder / WEIGHTS, unfuse(copy.deepcopy(model)).state_dict(), facts)

    def with_config(self, config: RunConfig) -> Run:
        """Replace config.json. A crash at any moment leaves the old configuration or the new one."""
        data, old = config.to_json().encode(), _sha256(read(self.folder / CONFIG))
        tensors, facts = load_tensors(self.folder / WEIGHTS)
        rest = {name: fact for name, fact in facts.items() if name not in ("sha256", "format")}
        # Until config.json is replaced, the weights vouch for both.
        save_tensors(self.folder / WEIGHTS, tensors, {**rest, CONFIG: _sha256(data), f"{CONFIG} before": old})
        write_atomically(self.folder / CONFIG, data)
        return Run(self.folder, config, self.tokenizer)

    def save_state(self, model: nn.Module, optimizer: torch.optim.Optimizer, facts: StateFacts) -> None:
        """Save what `load_state` needs to go on from `facts.step` bit for bit, and remove all states but the newest two."""
        states = self.folder / STATES
        final = states / f"step-{facts.step:09d}"
        if final.exists():  # with the same tensors; to remove it for a moment could lose the only state
            _write_facts(final, facts, _read_facts(final)[1])
            return
        temporary = states / f".{final.name}.new"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            hashes = {
                WEIGHTS: save_tensors(temporary / WEIGHTS, model.state_dict()),
                MOMENTS: save_tensors(temporary / MOMENTS, _optimizer_tensors(model, optimizer)),
            }
            _write_facts(temporary, facts, hashes)
            temporary.rename(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        flush_folder(states)
        for old in self.states()[:-STATES_KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def states(self) -> list[Path]:
        """Return the folders of the saved states, oldest first."""
        return sorted((self.folder / STATES).glob("step-*"))

    def load_state(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> StateFacts:
        """Put the newest state into model and optimizer and return its facts. InputError if it is unfit."""
        states = self.states()
        if not states:
            raise InputError(f"{self.folder} holds no state to resume from; train again, with another --out")
        newest = states[-1]
        try:
            facts, tensors, moments = _read_state(newest)
        except InputError as error:
            raise InputError(f"{error}; or remove {newest} to resume from the state before") from None
        load_strictly(model, tensors, newest / WEIGHTS)
        for name, parameter in model.named_parameters():
            prefix = f"{name}/"
            found = {key.removeprefix(prefix): value for key, value in moments.items() if key.startswith(prefix)}
            optimizer.state[parameter] = {key: value.to(parameter.device, copy=True) for key, value in found.items()}
        return facts


def _write_facts(folder: Path, facts: StateFacts, hashes: Mapping[str, str]) -> None:
    content = {"format": FORMAT, "facts": asdict(facts), "hashes": dict(hashes)}
    sealed = {**content, "sha256": _sha256(json.dumps(content).encode())}
    write_atomically(folder / STATE, json.dumps(sealed).encode())


def _read_facts(folder: Path) -> tuple[StateFacts, dict[str, str]]:
    """Return the facts of a state and the hashes of its tensors. InputError unless they are as they were saved."""
    try:
        content = json.loads(read(folder / STATE))
        if content.pop("sha256") == _sha256(json.dumps(content).encode()):
            return StateFacts.from_plain(content["facts"]), content["hashes"]
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise InputError(f"{folder / STATE} is damaged; copy the run folder again")


def _read_state(folder: Path) -> tuple[StateFacts, dict[str, Tensor], dict[str, Tensor]]:
    """Return facts, weights and optimizer of a state. InputError unless all three are as they were saved, together."""
    facts, hashes = _read_facts(folder)
    parts = {name: load_tensors(folder / name) for name in (WEIGHTS, MOMENTS)}
    for name, (_, found) in parts.items():
        if found.get("sha256") != hashes[name]:
            raise InputError(f"{folder / name} is not what {STATE} was saved with; copy the run folder again")
    return facts, parts[WEIGHTS][0], parts[MOMENTS][0]


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's tensors by parameter name, such as "layers.0.attention.qkv/exp_avg"."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def create(
    folder: Path,
    config: RunConfig,
    tokenizer: CharTokenizer,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> Run:
    """Make a run folder with the untrained model and its state, aside, then rename it: it is whole from its first moment.

    InputError if the folder exists and is not empty, or cannot be made.
    """
    check_out(folder)
    home = folder if folder.is_dir() else folder.parent  # beside its place; inside a folder that is there already
    try:
        home.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=home, prefix=".new-run."))
        temporary.chmod(0o755)  # mkdtemp's 0700 would hide a run from the people it is shared with
    except OSError as error:
        raise InputError(f"cannot write {folder} ({error.strerror}); give another folder with --out") from None
    try:
        write_atomically(temporary / CONFIG, config.to_json().encode())
        write_atomically(temporary / TOKENIZER, tokenizer.to_json().encode())
        write_atomically(temporary / METRICS, b"")
        run = Run(temporary, config, tokenizer)
        run.save_model(model, 0, None)
        run.save_state(model, optimizer, StateFacts())
        if home == folder:
            for name in (STATES, TOKENIZER, METRICS, WEIGHTS, CONFIG):  # it is a run once the last of them is there
                (temporary / name).rename(folder / name)
            temporary.rmdir()
        else:
            temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_folder(home)
    return Run.open(folder)


def check_out(folder: Path) -> None:
    """Raise InputError if a new run cannot go there: it is a file, or a folder with something in it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; give a new --out, or go on with: gptladder resume {folder}")


def new_folder(rung: str, root: Path = Path("runs")) -> Path:
    """Return `runs/RUNG-YYYYMMDD-HHMMSS`, with -2, -3 and so on if several begin in the same second."""
    base = root / f"{rung}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, number = base, 1
    while folder.exists():
        number += 1
        folder = base.with_name(f"{base.name}-{number}")
    return folder


def newest_run(root: Path = Path("runs")) -> Path:
    """Return the run trained last in `runs/`. InputError if there is none."""
    runs = [file.parent for file in root.glob(f"[!.]*/{WEIGHTS}")]  # .NAME is one that was killed while it was made
    if not runs:
        raise InputError(f"no run in {root}/; give a run folder, or train one: gptladder train")
    return max(runs, key=lambda run: max(file.stat().st_mtime for file in (run / WEIGHTS, run / METRICS) if file.exists()))
