"""Loader workers: what they make comes in order, and whatever happens to them is an end with a reason."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likeness.command import BadInput
from shards.reading.workers import AHEAD, made_by_workers, size_of

ROOT = Path(__file__).parents[3]


def numbered(turn: int, workers: int) -> Iterator[dict[str, Any]]:
    for number in range(turn, 25, workers):
        yield {"number": number, "wide": np.full((3, 5), number, np.int32), "array": np.full(7, number, np.uint8)}


def made(make: Any, workers: int, slot_bytes: int = 4096, **more: Any) -> Iterator[Any]:
    return made_by_workers(make, workers, slot_bytes, lambda shape: np.empty(shape, np.uint8), **more)


@pytest.mark.parametrize("workers", [0, 1, 3, 30])
def test_things_come_in_order_and_stay_what_they_are(workers: int) -> None:
    things = list(made(numbered, workers, size_of(next(numbered(0, 1)))))
    assert [thing["number"] for thing in things] == [*range(25)]
    for number, thing in enumerate(things):
        assert thing["wide"].dtype == np.int32 and thing["wide"].tolist() == [[number] * 5] * 3
        assert thing["array"].tolist() == [number] * 7


def alive(process: int) -> bool:
    """Whether a process is there and does more than wait to be asked for its exit code."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def who(turn: int, workers: int) -> Iterator[int]:
    return iter(lambda: os.getpid(), None)


def test_a_worker_that_is_killed_is_named_and_what_it_made_counts() -> None:
    things = made(who, 1)
    worker = next(things)
    time.sleep(0.2)
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(BadInput, match=rf"loader worker 0 \(process {worker}\) was ended by SIGKILL, as the kernel"):
        for _ in range(2 * AHEAD):
            assert next(things) == worker


def test_workers_outlive_what_a_job_is_sent_and_end_with_whoever_reads() -> None:
    things = made(who, 1)
    worker = next(things)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        os.kill(worker, number)
    assert list(islice(things, 20)) == [worker] * 20
    things.close()  # type: ignore[attr-defined]
    assert not alive(worker)


def test_what_a_worker_raises_arrives() -> None:
    def bad(turn: int, workers: int) -> Iterator[int]:
        yield 1
        raise BadInput("shard 3 is broken; pack it anew")

    def defect(turn: int, workers: int) -> Iterator[int]:
        yield 1 // turn

    def files(turn: int, workers: int) -> Iterator[int]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
        yield len([open(os.devnull) for _ in range(20)])  # noqa: SIM115

    with pytest.raises(BadInput, match=r"^shard 3 is broken; pack it anew$"):
        list(made(bad, 2))
    with pytest.raises(RuntimeError, match=r"loader worker 0 failed:\n(.|\n)*ZeroDivisionError"):
        list(made(defect, 2))
    with pytest.raises(BadInput, match=r"may have \d+ files open, which is too few; raise `ulimit -n`"):
        list(made(files, 2))


def test_nobody_waits_for_a_worker_longer_than_is_wanted() -> None:
    def slow(turn: int, workers: int) -> Iterator[int]:
        time.sleep(60)
        yield 1

    begun = time.monotonic()
    assert list(made(slow, 2, go_on=lambda: time.monotonic() < begun + 1)) == []
    assert time.monotonic() - begun < 10, "and workers that are busy are not waited for"


def test_memory_that_is_not_there_is_said() -> None:
    with pytest.raises(BadInput, match=r"2 loader workers cannot be started: memory .*4 batches of [0-9,]+\.8 MB"):
        list(made(numbered, 2, 1 << 60))


PROGRAM = """
import os, sys, time
import numpy as np
from shards.reading.workers import made_by_workers

def make(turn, workers):
    yield os.getpid()
    time.sleep(600)

for worker in made_by_workers(make, 2, 64, lambda shape: np.empty(shape, np.uint8)):
    print(worker, flush=True)
    if sys.argv[1] == "wait":
        time.sleep(600)
    raise RuntimeError("made up")
"""


def reader(what: str, tmp_path: Path) -> "subprocess.Popen[str]":
    """A process with two workers, in surroundings in which torch's loader stands still."""
    long = tmp_path / ("x" * 120)
    long.mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(long), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), what]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_a_process_that_fails_ends_at_once_with_its_workers(tmp_path: Path) -> None:
    process = reader("raise", tmp_path)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    begun = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert "RuntimeError: made up" in said and process.returncode == 1
    assert time.monotonic() - begun < 10 and not alive(worker)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    process = reader("wait", tmp_path)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=10)
    deadline = time.monotonic() + 10
    while alive(worker):
        assert time.monotonic() < deadline, "though it is in the middle of something"
        time.sleep(0.05)


def test_batches_ahead_are_few() -> None:
    """A worker keeps AHEAD things ready, and makes one more meanwhile."""
    things = made(lambda turn, workers: (os.write(told, b".") for _ in count()), 1)
    heard, told = os.pipe()
    next(things)
    time.sleep(0.5)
    assert len(os.read(heard, 100)) <= AHEAD + 2
    things.close()  # type: ignore[attr-defined]
