"""Several devices in one process: every one is used at once, and nobody sees from the pictures how many there were.

CPU sessions stand for GPUs: only the choice of the device is left out, which a CPU does not have.
"""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deploy.__main__ import main
from deploy.devices import Devices
from deploy.pipeline import ahead, side_by_side
from deploy.runtime import Session
from deploy.service.batcher import Batcher
from likeness import onnx_runtime
from likeness.array import Array
from likeness.command import BadInput


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Lets the CPU have devices; gathers those that were chosen."""
    found: list[int | None] = []

    def options(provider: str, device: int | None = None) -> dict[str, str]:
        found.append(device)
        return {}

    monkeypatch.setattr(onnx_runtime, "provider_options", options)
    return found


def meeting(number: int, barrier: threading.Barrier, used: list[int]) -> Any:
    """A model that runs only while all others run, too."""

    def run(feeds: dict[str, Array]) -> Array:
        barrier.wait(10)
        used.append(number)
        return feeds["x"]

    return SimpleNamespace(run=run, native=None, metadata={}, inputs={}, outputs={})


def test_all_devices_run_at_the_same_time_and_equally_often() -> None:
    barrier, used = threading.Barrier(3), list[int]()
    devices = Devices([meeting(number, barrier, used) for number in range(3)])
    assert devices.count == 3
    with ThreadPoolExecutor(3) as pool:
        given = list(pool.map(devices.run, [{"x": np.full(1, number)} for number in range(12)]))
    assert [int(each[0]) for each in given] == list(range(12))
    assert sorted(used) == sorted(4 * [0, 1, 2])


def test_a_device_whose_run_failed_is_used_again() -> None:
    def refuse(feeds: dict[str, Array]) -> Array:
        raise RuntimeError("no memory")

    broken: Any = SimpleNamespace(run=refuse, native=None, metadata={}, inputs={}, outputs={})
    devices = Devices([broken, broken])
    for _ in range(5):
        with pytest.raises(RuntimeError, match="no memory"):
            devices.run({})


def test_results_come_in_the_order_of_the_items_and_errors_in_their_place() -> None:
    barrier = threading.Barrier(2)

    def half(item: int) -> float:
        if item < 8:  # beside the later ones, that of the error is no longer there
            barrier.wait(10)
        if item == 6:
            raise ValueError("six")
        return item / 2

    seen = []
    with pytest.raises(ValueError, match="six"), side_by_side(half, range(0, 20, 2), 2) as results:
        for result in results:
            seen.append(result)
    assert seen == [0, 1, 2]


def test_what_an_iterator_ahead_raises_comes_after_its_items() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise BadInput("the third is broken")

    seen = []
    with pytest.raises(BadInput, match="the third is broken"), ahead(items(), 4) as coming:
        for item in coming:
            seen.append(item)
    assert seen == [1, 2]


def test_the_service_keeps_all_devices_busy() -> None:
    barrier = threading.Barrier(2)

    def run(tensors: dict[str, Array]) -> Array:
        barrier.wait(10)
        return tensors["x"] * 2

    batcher = Batcher(run, max_batch=1, max_queue=4, observe=lambda size, seconds: None, threads=2)
    with batcher.reserved() as first, batcher.reserved() as second:
        images = [first({"x": np.ones(1)}), second({"x": np.full(1, 3.0)})]
        assert [float(image.result(10)[0]) for image in images] == [2, 6]
    assert batcher.close(10)


def test_batch_paints_each_picture_once_whatever_the_number_of_devices(
    model: Path, packed: Path, tmp_path: Path, chosen: list[int | None], capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = ["batch", "--model", str(model), "--pairs", str(packed / "test"), "--batch", "2", "--out"]
    assert main([*pairs, str(tmp_path / "one")]) == 0
    assert main([*pairs, str(tmp_path / "three"), "--devices", "4,0,2"]) == 0
    assert chosen == [None, 4, 0, 2]
    assert " × 3, batch 2" in capsys.readouterr().out
    one, three = (sorted((tmp_path / name).glob("*.png")) for name in ("one", "three"))
    assert len(one) == 8 and [file.name for file in one] == [file.name for file in three]
    assert all(first.read_bytes() == second.read_bytes() for first, second in zip(one, three, strict=True))
    told = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "three")]
    assert [(each["pictures"], each["devices"]) for each in told] == [(8, 1), (8, 3)]


def test_what_has_no_devices_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for provider in ("cpu", "openvino"):
        with pytest.raises(BadInput, match=f"'{provider}' computes on the processor, .* leave --devices off"):
            Session(model, provider, devices=(0, 1))  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        main(["batch", "--model", str(model), "--pairs", "x", "--out", str(tmp_path / "x"), "--devices", "0,1,0"])
    assert "'0,1,0' names a device twice" in capsys.readouterr().err
