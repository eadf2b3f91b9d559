"""Tensors in a file, with a hash that shows any change: safetensors, nothing pickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .errors import InputError
from .files import write_atomically

FORMAT = "gptladder-run-2"  # stands in every file of a run folder that can hold it


def fingerprint(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> str:
    """Return a sha256 of the facts and of the tensors' names, types, shapes and numbers. Their order does not matter."""
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str] | None = None) -> str:
    """Write tensors and a few facts as one safetensors file, atomically. Return the hash that `load_tensors` checks."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    facts = {**(facts or {}), "format": FORMAT}
    sha256 = fingerprint(on_cpu, facts)
    write_atomically(path, save(on_cpu, {**facts, "sha256": sha256}))
    return sha256


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path} is missing; a run folder must be complete: copy it again") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); copy the run folder again") from None


def read_facts(path: Path) -> dict[str, str]:
    """Return only the facts of a safetensors file, unchecked. InputError if it is missing or cut short."""
    with _opened(path) as file:
        return file.metadata() or {}


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors (on the CPU) and facts of a safetensors file. InputError if it is missing, cut short or changed."""
    with _opened(path) as file:
        facts: dict[str, str] = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  a safe_open, not a dict
    rest = {name: fact for name, fact in facts.items() if name != "sha256"}
    ours = facts.get("format") == FORMAT or "sha256" in facts  # a learner's own loop may save without a hash
    if ours and facts.get("sha256") != fingerprint(tensors, rest):
        raise InputError(f"{path} was changed since it was written; copy the run folder again")
    return tensors, facts


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load the tensors into the model. InputError unless names and shapes agree exactly."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{path} holds another model than config.json describes: {first}") from None
