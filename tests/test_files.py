"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gptladder.files import flush_folder, write_atomically


def disk_full(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_written_is_read_back(tmp_path: Path):
    data = bytes(range(256)) * 100
    write_atomically(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_second_writing_replaces_the_first(tmp_path: Path):
    write_atomically(tmp_path / "file", b"a long first text")
    write_atomically(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"second"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_others_may_read_it(tmp_path: Path):
    write_atomically(tmp_path / "file", b"shared")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_atomically(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_an_interrupted_writing_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    write_atomically(tmp_path / "file", b"old")
    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_the_data_is_on_the_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("flush"), fsync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda self, target: (events.append("rename"), replace(self, target))[1])
    write_atomically(tmp_path / "file", b"data")
    assert events[:2] == ["flush", "rename"]


def test_a_missing_folder_is_an_error_and_is_not_made(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "file", b"data")
    assert not list(tmp_path.iterdir())


def test_flushing_closes_what_it_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    closed = []
    close = os.close
    monkeypatch.setattr(os, "close", lambda descriptor: (closed.append(descriptor), close(descriptor))[1])
    monkeypatch.setattr(os, "fsync", disk_full)
    if hasattr(os, "O_DIRECTORY"):
        with pytest.raises(OSError, match="No space left"):
            flush_folder(tmp_path)
        assert len(closed) == 1
    else:
        flush_folder(tmp_path)
        assert not closed
