"""The run folder: all that a training leaves behind, written so that a crash loses nothing and read with suspicion.

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
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .errors import InputError, as_input_error
from .files import flush_folder, write_atomically
from .model.config import GPTConfig
from .model.efficient import unfuse
from .rungs import build
from .tokenizer import CharTokenizer

FORMAT = "gptladder-run-1"
CONFIG, TOKENIZER, WEIGHTS, METRICS, STATES = "config.json", "tokenizer.json", "model.safetensors", "metrics.jsonl", "state"
CONFIG_KEYS = (
    *("rung", "recipe", "model", "training", "corpus"),
    *("seed", "device", "threads", "compiled", "fused", "versions"),
)
STATES_KEPT = 2


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A sha256 of names, types, shapes and numbers, the same whatever the order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str] | None = None) -> None:
    """Writes tensors and a few facts as one safetensors file, atomically, with the hash that `load_tensors` checks."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(on_cpu, {**(facts or {}), "format": FORMAT, "sha256": fingerprint(on_cpu)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (on the CPU) and facts of a safetensors file. InputError if it is missing, cut short or changed."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  a safe_open, not a dict
    except FileNotFoundError:
        raise InputError(f"{path} is missing; a run folder is complete or of no use: copy it again") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); copy the run folder again, or resume it from its state") from None
    if "sha256" in facts and facts["sha256"] != fingerprint(tensors):
        raise InputError(f"{path} was changed since it was written; copy the run folder again")
    return tensors, facts


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Puts the tensors into the model. InputError unless names and shapes agree exactly."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{path} holds another model than config.json describes: {first}") from None


def _read(path: Path) -> bytes:
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
    """A run folder that was found whole."""

    folder: Path
    config: dict[str, Any]
    tokenizer: CharTokenizer
    model_config: GPTConfig

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Reads and checks the small files. InputError if one is missing, cut short, changed or foreign."""
        if not folder.is_dir():
            raise InputError(f"no run folder {folder}; give one, or train one: gptladder train")
        config_bytes, tokenizer_bytes = _read(folder / CONFIG), _read(folder / TOKENIZER)
        try:
            config = json.loads(config_bytes)
            format_found = config["format"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{folder / CONFIG} is damaged or no run's; copy the run folder again") from None
        if format_found != FORMAT:
            raise InputError(f"{folder / CONFIG} has the format {format_found!r}; this version reads {FORMAT!r}")
        if missing := [key for key in CONFIG_KEYS if key not in config]:
            raise InputError(f"{folder / CONFIG} lacks {', '.join(missing)}; copy the run folder again")
        with as_input_error(f"{folder / TOKENIZER}: "):
            tokenizer = CharTokenizer.from_json(tokenizer_bytes.decode(errors="replace"))
        try:
            model_config = GPTConfig(**config["model"])
        except (TypeError, ValueError) as error:
            raise InputError(f"{folder / CONFIG} describes no model: {error}") from None
        return cls(folder, config, tokenizer, model_config)

    def model(self) -> nn.Module:
        """The best model so far, in its written-out form. InputError if it, or what describes it, was changed."""
        path = self.folder / WEIGHTS
        tensors, facts = load_tensors(path)
        for name in (CONFIG, TOKENIZER):
            if facts.get(name, found := _sha256(_read(self.folder / name))) != found:
                raise InputError(f"{self.folder / name} was changed since the training; copy the run folder again")
        model = build(self.config["rung"], self.model_config)
        load_strictly(model, tensors, path)
        return model

    def save_model(self, model: nn.Module, step: int, validation_loss: float | None) -> None:
        """Replaces the best weights. The model may be fused; what is written never is."""
        hashes = {name: _sha256(_read(self.folder / name)) for name in (CONFIG, TOKENIZER)}
        facts = {**hashes, "step": str(step)}
        if validation_loss is not None:
            facts["validation_loss"] = repr(validation_loss)
        save_tensors(self.folder / WEIGHTS, unfuse(copy.deepcopy(model)).state_dict(), facts)

    def save_state(self, model: nn.Module, optimizer: torch.optim.Optimizer, facts: Mapping[str, Any]) -> None:
        """What `load_state` needs to go on from `facts["step"]` bit for bit; older states than the newest two go."""
        states = self.folder / STATES
        final = states / f"step-{facts['step']:09d}"
        temporary = states / f".{final.name}.new"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            save_tensors(temporary / WEIGHTS, model.state_dict())
            save_tensors(temporary / "optimizer.safetensors", _optimizer_tensors(model, optimizer))
            write_atomically(temporary / "state.json", json.dumps({**facts, "format": FORMAT}).encode())
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        flush_folder(states)
        for old in self.states()[:-STATES_KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def states(self) -> list[Path]:
        """The folders of the saved states, oldest first."""
        return sorted((self.folder / STATES).glob("step-*"))

    def load_state(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Puts the newest state into model and optimizer and returns its facts. InputError if it is unfit."""
        states = self.states()
        if not states:
            raise InputError(f"{self.folder} holds no state to resume from; train again, with another --out")
        newest = states[-1]
        try:
            facts: dict[str, Any] = json.loads(_read(newest / "state.json"))
        except ValueError:
            raise InputError(f"{newest / 'state.json'} is damaged; remove {newest} to resume from the state before") from None
        tensors, _ = load_tensors(newest / WEIGHTS)
        load_strictly(model, tensors, newest / WEIGHTS)
        moments, _ = load_tensors(newest / "optimizer.safetensors")
        for name, parameter in model.named_parameters():
            prefix = f"{name}/"
            found = {key.removeprefix(prefix): value for key, value in moments.items() if key.startswith(prefix)}
            optimizer.state[parameter] = {
                key: value if value.dim() == 0 else value.to(parameter.device) for key, value in found.items()
            }
        return facts


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors by parameter name: "layers.0.attention.qkv/exp_avg" and the like."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def create(folder: Path, config: Mapping[str, Any], tokenizer: CharTokenizer, model: nn.Module) -> Run:
    """A new run folder with the untrained model in it: made aside, then renamed, so it is whole from its first moment.

    InputError if the folder exists and is not empty, or cannot be made.
    """
    check_out(folder)
    temporary = folder.parent / f".{folder.name}.new"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
    except OSError as error:
        raise InputError(f"cannot write {folder} ({error.strerror}); give another folder with --out") from None
    try:
        write_atomically(temporary / CONFIG, json.dumps({"format": FORMAT, **config}, indent=2).encode())
        write_atomically(temporary / TOKENIZER, tokenizer.to_json().encode())
        Run.open(temporary).save_model(model, 0, None)
        if folder.is_dir():
            folder.rmdir()  # empty, as checked; some systems do not rename onto a folder
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_folder(folder.parent)
    return Run.open(folder)


def check_out(folder: Path) -> None:
    """InputError if a new run cannot go there: it is a file, or a folder with something in it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; give a new --out, or go on with: gptladder train --resume {folder}")


def new_folder(rung: str, root: Path = Path("runs")) -> Path:
    """`runs/RUNG-YYYYMMDD-HHMMSS`, with -2, -3 and so on if two begin in the same second."""
    base = root / f"{rung}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, number = base, 1
    while folder.exists():
        number += 1
        folder = base.with_name(f"{base.name}-{number}")
    return folder


def newest_run(root: Path = Path("runs")) -> Path:
    """The run trained last in `runs/`. InputError if there is none."""
    runs = [file.parent for file in root.glob(f"*/{WEIGHTS}")]
    if not runs:
        raise InputError(f"no run in {root}/; give a run folder, or train one: gptladder train")
    return max(runs, key=lambda run: (run / WEIGHTS).stat().st_mtime)
