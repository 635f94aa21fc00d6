"""Files that are written while other threads create theirs."""

import os
from pathlib import Path

import pytest

from likeness import atomic


def test_files_get_ordinary_permissions_and_the_umask_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(mask: int) -> int:
        raise AssertionError("what other threads create now would get other permissions")

    monkeypatch.setattr(os, "umask", refuse)
    atomic.write_bytes(tmp_path / "written", b"")
    (tmp_path / "plain").touch()
    with atomic.new_folder(tmp_path / "folder"):
        pass
    (tmp_path / "made").mkdir()
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes["written"] == modes["plain"] and modes["folder"] == modes["made"]
