"""A folder of somebody's files is read whole: links are followed, and what is not used is counted."""

import os
from pathlib import Path

import pytest

from likeness.command import BadInput
from likeness.folders import Unused, once_each, visible_files
from likeness.names import file_called


def written(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    return folder


def test_links_are_followed_and_what_is_not_used_is_said(tmp_path: Path) -> None:
    root = written(tmp_path / "root", "b.mp4", "a/z.mp4", ".DS_Store", "a/.trash/old.mp4")
    written(tmp_path / "elsewhere", "deep/c.mp4")
    (root / "more").symlink_to(tmp_path / "elsewhere")
    (root / "one.mp4").symlink_to(tmp_path / "elsewhere" / "deep" / "c.mp4")
    (root / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (root / "itself").symlink_to(root / "itself")
    (root / "a" / "up").symlink_to(root)
    os.mkfifo(root / "pipe.mp4")
    unused = Unused()
    found = visible_files(root, unused)
    assert list(found) == ["a/z.mp4", "b.mp4", "more/deep/c.mp4", "one.mp4"]
    assert all(
        path.read_text(encoding="utf-8").endswith(path.name[-5:]) or name == "one.mp4" for name, path in found.items()
    )
    assert unused.notes() == (
        "not used: 2 dead links (gone.mp4, itself); 2 hidden (.DS_Store, a/.trash); "
        "1 links to a folder that they lie in (a/up); 1 neither files nor folders (pipe.mp4)",
    )


def test_a_file_is_met_once_where_files_are_drawn_apart(tmp_path: Path) -> None:
    root = written(tmp_path / "root", "z/video.mp4", "other.mp4")
    (root / "a").symlink_to(root / "z")
    (root / "copy.mp4").symlink_to(root / "other.mp4")
    unused = Unused()
    assert list(once_each(visible_files(root, unused), unused)) == ["other.mp4", "z/video.mp4"]
    assert unused.notes() == ("not used: 2 linked a second time (a/video.mp4, copy.mp4)",)


def test_many_are_counted_and_a_few_named(tmp_path: Path) -> None:
    unused = Unused()
    assert unused.notes() == ()
    for number in range(5):
        unused.add("no videos", f"{number}.txt")
    assert unused.notes() == ("not used: 5 no videos (0.txt, 1.txt, 2.txt, …)",)


def test_names_travel_in_utf_8_whatever_the_disk_has(tmp_path: Path) -> None:
    written(tmp_path, "cafe\u0301.jpg")
    (tmp_path / os.fsdecode(b"caf\xe9.mp4")).touch()
    found = visible_files(tmp_path, Unused())
    assert list(found) == ["caf%E9.mp4", "caf\u00e9.jpg"] and all(path.is_file() for path in found.values())
    for name in ("caf\u00e9.jpg", "cafe\u0301.jpg", "caf%E9.mp4"):
        assert file_called(tmp_path, name).is_file(), name
    assert file_called(tmp_path, "tea.jpg") == tmp_path / "tea.jpg"
    written(tmp_path, "caf\u00e9.jpg")
    with pytest.raises(BadInput, match="one name, spelled in two ways"):
        visible_files(tmp_path, Unused())


def test_messages_can_be_written_down(tmp_path: Path) -> None:
    message = str(BadInput(f"{os.fsdecode(b'caf' + bytes([0xE9]))}.mp4 is empty"))
    assert message == "caf%E9.mp4 is empty" and message.encode()
