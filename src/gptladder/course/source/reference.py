"""The starter set: which files of this package a learner's project holds, and their texts."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[2]
MODEL = (
    *("__init__", "config", "bigram", "averaging", "dropout", "attention", "block", "gpt"),
    *("cache", "kernels", "fusing", "ladder"),
)
STARTER_SET = (
    *("__init__.py", "tokenizer.py", "batches.py"),
    *(f"model/{name}.py" for name in MODEL),
    *(f"sampling/{name}.py" for name in ("__init__", "choose", "generate")),
    *(f"training/{name}.py" for name in ("__init__", "loss", "loop", "schedules")),
)


def reference_texts() -> dict[str, str]:
    """Return the starter set as it stands here: path in the package to text."""
    return {member: reference_text(member) for member in STARTER_SET}


def reference_text(member: str) -> str:
    """Return the text of one file of this package."""
    return (PACKAGE / member).read_text(encoding="utf-8")
