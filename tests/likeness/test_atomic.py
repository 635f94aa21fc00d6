"""Files and folders appear whole or not at all, on every file system; threads beside them are not disturbed."""

import errno
import os
import stat
from pathlib import Path

import pytest

from likeness import atomic
from likeness.process import system_errors


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


def test_what_cannot_be_written_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    long = "x" * 300
    for path, number in (
        (tmp_path / "file" / "below", errno.ENOTDIR),
        (tmp_path / "new" / "folders" / long, errno.ENAMETOOLONG),
    ):
        for write in (atomic.new_file, atomic.new_folder, atomic.scratch):
            with pytest.raises(OSError) as raised, write(path):
                raise AssertionError("there was no place")
            assert raised.value.errno == number
            assert str(raised.value.filename) in (str(path), str(path.parent))
    with pytest.raises(IsADirectoryError):
        atomic.write_text(tmp_path, "a file where a folder is")
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*/new/file\.txt'"),
        atomic.new_file(tmp_path / "new" / "file.txt"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_folders_above_that_others_use_stay(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic.new_file(tmp_path / "made" / "here" / "file"):
        (tmp_path / "made" / "other").touch()
        raise RuntimeError
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["other"]


def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / ("ö" * 127), "")
    with atomic.new_folder(tmp_path / ("x" * 255)):
        pass
    assert len([*tmp_path.iterdir()]) == 2


def test_file_systems_without_sync_of_folders_and_permissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sync = os.fsync

    def only_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fsync", only_files)
    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr(system_errors, "_said", set())
    for name in ("a", "b"):
        atomic.write_text(tmp_path / name, name)
        with atomic.new_folder(tmp_path / f"folder-{name}") as folder:
            (folder / "file").write_text(name)
    assert (tmp_path / "b").read_text() == "b" and (tmp_path / "folder-b" / "file").read_text() == "b"
    said = capsys.readouterr().err
    assert said.count("cannot flush folders") == said.count("sets no permissions") == 1
    assert said.count("warning: ") == 2


def test_a_disk_that_fails_is_no_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        atomic.write_text(tmp_path / "file", "")
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_cannot_be_renamed_is_moved_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overlays refuse to rename folders of their lower layer."""
    rename = os.replace
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "file").write_text("whole")

    def within_layers(old: Path, new: Path) -> None:
        if old == source:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(old, new)

    monkeypatch.setattr(os, "replace", within_layers)
    atomic.move_folder(source, tmp_path / "target")
    assert (tmp_path / "target" / "inner" / "file").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
