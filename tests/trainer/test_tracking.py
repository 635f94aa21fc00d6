"""The journal is the truth: a tracker that fails costs a warning, never a figure."""

import shutil
from pathlib import Path

import pytest

from shards.command import BadInput
from trainer.tracking import Tracker, flatten, read_journal


def test_a_tracker_that_dies_costs_a_warning_and_no_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    tracker = Tracker(run, f"sqlite:///{tmp_path}/store/m.db", "test", {"a": 1}, 0, None)
    tracker.log(2, {"loss": 0.5})
    shutil.rmtree(tmp_path / "store")
    tracker.log(4, {"loss": 0.25})
    tracker.log(6, {"loss": 0.125})
    tracker.close(finished=True)
    assert [(line["images"], line["loss"]) for line in read_journal(run)] == [(2, 0.5), (4, 0.25), (6, 0.125)]
    assert capsys.readouterr().err.count("warning: MLflow fails") == 1


def test_lines_beyond_the_checkpoint_are_dropped_on_resume(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/m.db"
    first = Tracker(tmp_path, uri, "test", {}, 0, None)
    for images in (2, 4, 6):
        first.log(images, {"loss": 1.0})
    again = Tracker(tmp_path, uri, "test", {}, 4, first.run_id)
    again.log(6, {"loss": 2.0})
    assert again.run_id == first.run_id
    assert [(line["images"], line["loss"]) for line in read_journal(tmp_path)] == [(2, 1.0), (4, 1.0), (6, 2.0)]


def test_a_store_that_cannot_be_used_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"tracking\.uri http://127\.0\.0\.1:9 does not answer"):
        Tracker(tmp_path, "http://127.0.0.1:9", "test", {}, 0, None)


def test_settings_become_dotted_names() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": "f"}) == {"a.b.c": 1, "a.d": [2], "e": "f"}
