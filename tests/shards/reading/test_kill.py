"""Two ranks with two loader workers each, killed with SIGKILL at random: in all they read what a straight run reads."""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.worlds.film import film

WORKER = Path(__file__).with_name("stream_worker.py")
BATCHES = 40
RANKS = 2


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """43 samples in five shards: an epoch is 11 steps of 2 ranks × 2, the last one padded."""
    folder = tmp_path_factory.mktemp("kill")
    film("faces", folder / "videos", videos=4, seconds=1, size=64, seed=5)
    pack(Packing(folder / "videos", preset("default"), pairs=43, size=32, samples_per_shard=9), folder / "shards")
    return folder / "shards"


def start(shards: Path, notes: Path) -> subprocess.Popen[bytes]:
    notes.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(RANKS), "--master_addr"]
    command += ["127.0.0.1", "--master_port", str(port), str(WORKER), str(shards), str(notes), str(BATCHES)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(command, env=environment, start_new_session=True, cwd=Path(__file__).parents[3])


def noted(notes: Path, rank: int) -> dict[int, Any]:
    """Per batch what the rank noted last. A line that the kill cut off is no line."""
    found = {}
    path = notes / f"keys-{rank}.jsonl"
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[entry["batch"]] = (entry["keys"], entry["sum"])
    return found


def kill_all(launcher: int) -> None:
    """SIGKILL for the launcher, its ranks and their loader workers: ranks outlive a launcher that is killed alone."""
    root = psutil.Process(launcher)
    everyone = [root, *root.children(recursive=True)]
    for process in everyone:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    gone, alive = psutil.wait_procs(everyone[1:], timeout=30)
    assert not alive and len(gone) >= RANKS


def test_a_killed_run_goes_on_with_the_same_samples(shards: Path, tmp_path: Path) -> None:
    straight = start(shards, tmp_path / "straight")
    assert straight.wait(timeout=120) == 0
    rng = random.Random(4)
    kills = 0
    while True:
        process = start(shards, tmp_path / "killed")
        until = rng.randint(3, 12) + max(noted(tmp_path / "killed", 0), default=-1)
        deadline = time.monotonic() + 120
        while process.poll() is None and max(noted(tmp_path / "killed", 0), default=-1) < until:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        if process.poll() is not None:
            break
        kills += 1
        kill_all(process.pid)
        process.wait()
    assert process.returncode == 0
    assert kills >= 3
    for rank in range(RANKS):
        expected = noted(tmp_path / "straight", rank)
        assert sorted(expected) == list(range(BATCHES))
        assert noted(tmp_path / "killed", rank) == expected
    epochs = [
        {
            key
            for rank in range(RANKS)
            for n in range(first, first + 11)
            for key in noted(tmp_path / "killed", rank)[n][0]
        }
        for first in (0, 11, 22)
    ]
    assert all(len(epoch) == 43 for epoch in epochs), "every epoch holds every sample"
