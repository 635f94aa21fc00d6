"""One node's share of a job, `launch.sh`, without a cluster: what Slurm would set is set by hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_module_is_launched_by_its_name(processes: int, tmp_path: Path) -> None:
    """`-m MODULE` goes to Python for one process, and to accelerate for several."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\necho "127.0.0.1"\n')
    scontrol.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "VENV": sys.prefix,
        "PYTHONPATH": str(ROOT),
        "GLOO_SOCKET_IFNAME": "lo",
        "PROCESSES_PER_NODE": str(processes),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_NODEID": "0",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_NODELIST": "here",
    }
    command = [ROOT / "slurm" / "launch.sh", "-m", "trainer.evaluate", "--help"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"1 × {processes} processes on CPUs of here" in done.stdout
    assert done.stdout.count("usage: python -m trainer.evaluate") == processes
