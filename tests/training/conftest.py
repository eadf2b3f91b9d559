"""What several tests of training need."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture
def compilers(monkeypatch):
    """A machine with these compilers on its PATH and no other."""

    def made(*names):
        monkeypatch.delenv("CXX", raising=False)
        monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in names else None)

    return made
