"""Locks where the file system has them, and where it has none."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from likeness.command import BadInput
from likeness.one_writer import held_by_this_process, in_turn, is_held, only_writer
from likeness.process import system_errors


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_work_goes_on_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def lacking(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", lacking)
    monkeypatch.setattr(fcntl, "lockf", lacking)
    monkeypatch.setattr(system_errors, "_said", set())
    lock = tmp_path / "lock"
    with only_writer(lock, "another one"), in_turn(lock, "waiting"):
        assert not is_held(lock)
    held = held_by_this_process(lock)
    assert held is not None
    held.close()
    said = capsys.readouterr().err
    assert said.count("warning: ") == 1 and "has no locks" in said and os.strerror(number) in said


def test_other_errors_of_locking_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", failing)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), only_writer(tmp_path / "lock", "another one"):
        raise AssertionError("it was not to be entered")


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with only_writer(tmp_path / "lock", "another one"):
        assert is_held(tmp_path / "lock")
        with pytest.raises(BadInput, match="another one"), only_writer(tmp_path / "lock", "another one"):
            raise AssertionError("it was not to be entered")
    assert not is_held(tmp_path / "lock")
