"""The layout of a learner's project: its folders and files by name."""

from __future__ import annotations

from pathlib import Path

MYGPT = "mygpt"  # the learner's package
TRAIN, GENERATE = "train.py", "generate.py"  # the learner's scripts, beside mygpt/
HOME, PROJECT, LOCK = ".gptladder", "project.json", "lock"  # the verbs' own folder in a project, and two files in it


def looks_like_project(folder: Path) -> bool:
    """Return whether a folder holds a project's visible parts; `.gptladder` may have been lost in a copy."""
    return (folder / MYGPT).is_dir() and (folder / TRAIN).is_file()
