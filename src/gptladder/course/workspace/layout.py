"""Where things lie in a learner's project."""

from __future__ import annotations

MYGPT = "mygpt"  # the learner's package
HOME, PROJECT, LOCK = ".gptladder", "project.json", "lock"  # where the verbs keep what they know of a project
