"""Ranks that watch each other from a thread: a process that is blocked inside a library runs no Python code."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Rank 1 has come to its end, rank 2 gives one heartbeat and no more; rank 0 waits in C, as in a collective of NCCL that
# never returns.
PROGRAM = """
import ctypes, sys
from torch.distributed import FileStore
from trainer.ranks import watchdog

watchdog.INTERVAL_S = 0.1
for rank in (1, 2):
    other = watchdog.Watchdog(rank, 3, 600.0, FileStore(sys.argv[1], 3))
    other.at(rank + 5, "training")
    other._give_heartbeat(other.store, done=rank == 1)
with watchdog.Watchdog(0, 3, 600.0, FileStore(sys.argv[1], 3)):
    ctypes.CDLL(None).sleep(60)
"""


def test_a_dead_rank_is_named_by_one_that_is_blocked_in_a_library(tmp_path: Path) -> None:
    """And one that is done is not missed: rank 0 may still be writing the last checkpoint, or sending its figures."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "store")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 1
    assert "rank 2 (" in done.stderr and "is dead or frozen; its last step was 7" in done.stderr
    assert "rank 1 (" not in done.stderr and "--resume latest" in done.stderr
