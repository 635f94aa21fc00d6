"""Checkpoints that are written while training goes on, on disks that fail."""

import json
import resource
import threading
import time
from pathlib import Path

import pytest
import torch

from likeness.command import BadInput
from trainer.checkpoints import files as checkpoints
from trainer.checkpoints.files import Checkpoint, Snapshot, State, find
from trainer.checkpoints.saving import Saver


def snapshot(images: int, size: int = 4, figures: dict[str, float] | None = None) -> Snapshot:
    state = State(images, 1, 0, 0, 1, {}, {}, "manifest", None, {}, figures or {})
    return Snapshot(state, {"generator": {"weight": torch.full((size,), float(images))}}, {"random-0": {}})


def test_a_disk_that_takes_no_more_leaves_the_checkpoint_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The limit on a file's size is the kernel's own: writing beyond it fails like writing to a full disk."""
    saver = Saver(tmp_path, keep=2, timeout_s=30)
    saver.finish(snapshot(4))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    try:
        saver.save(snapshot(8, size=10**6))
        while saver.failures == 0:
            time.sleep(0.01)
        with pytest.raises(BadInput, match=r"at 12 images could not be written: .*checkpoint-0000000004 is intact"):
            saver.finish(snapshot(12, size=10**6))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "warning: no checkpoint at 8 images: " in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-0000000004", "latest"]
    found = find(tmp_path)
    assert found is not None and Checkpoint(found).tensors("generator")["weight"].tolist() == [4.0] * 4
    saver.finish(snapshot(16, size=10**6))
    found = find(tmp_path)
    assert found is not None and found.name == "checkpoint-0000000016"


def test_a_dead_filesystem_stops_nobody_and_is_named_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No filesystem can be made to hang here, so the call that writes does."""
    write, answers = checkpoints.save, threading.Event()

    def slow(run: Path, content: Snapshot) -> Path:
        answers.wait(60)
        return write(run, content)

    monkeypatch.setattr(checkpoints, "save", slow)
    saver = Saver(tmp_path, keep=3, timeout_s=0.3)
    begun = time.monotonic()
    for images in (4, 8, 12):
        saver.save(snapshot(images))
    assert time.monotonic() - begun < 20, "whoever waited for the first would have waited for a minute"
    assert "warning: no checkpoint at 8 images: the one before it has been written for" in capsys.readouterr().err
    with pytest.raises(BadInput, match=r"has not taken a checkpoint within 0 s .* There is no earlier one"):
        saver.finish(snapshot(16))
    answers.set()
    saver.timeout_s = 30
    saver.finish(snapshot(20))
    names = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert names == ["checkpoint-0000000004", "checkpoint-0000000012", "checkpoint-0000000020"]


def test_the_best_checkpoint_is_kept_beside_the_newest(tmp_path: Path) -> None:
    saver = Saver(tmp_path, keep=2, timeout_s=30)
    for images, value in ((2, 0.5), (4, 0.3), (6, 0.4), (8, 0.6), (10, 0.35)):
        saver.save(snapshot(images, figures={"held_out/semantic": value}), best="held_out/semantic")
        saver.finish(snapshot(images))
    assert sorted(path.name[-4:] for path in tmp_path.glob("checkpoint-*")) == ["0004", "0008", "0010"]
    assert (tmp_path / "best").read_text().strip() == "checkpoint-0000000004"
    assert checkpoints.best_value(tmp_path, "held_out/semantic") == 0.3


def test_checkpoints_whose_latest_is_gone_are_not_begun_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one of the most images is taken, and said; copies of other names, halves and other files do not count."""
    assert find(tmp_path) is None
    for name in ("checkpoint-0000000008", "checkpoint-0000000016", "checkpoint-best-so-far", "checkpoint-0000000099"):
        (tmp_path / name).mkdir()
        if not name.endswith("99"):
            (tmp_path / name / "state.json").write_text(
                json.dumps({"images": int(name[-2:]) if name[-1].isdigit() else 5})
            )
    assert find(tmp_path) == tmp_path / "checkpoint-0000000016"
    assert "latest is missing; the last checkpoint there is checkpoint-0000000016" in capsys.readouterr().err
    (tmp_path / "latest").write_bytes(b"checkpoint-\xff")
    with pytest.raises(BadInput, match=r"latest is no name in UTF-8 .*; write a checkpoint's name into it"):
        find(tmp_path)
