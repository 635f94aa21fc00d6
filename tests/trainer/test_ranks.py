"""Two processes with half the batch each do what one process does with the whole batch."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from trainer import methods
from trainer.config import Config

WORKER = Path(__file__).with_name("ranks_worker.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.mark.parametrize("method", methods.available())
def test_two_ranks_agree_with_one(method: str, small_config: Callable[..., Config], tmp_path: Path) -> None:
    config = small_config(method, batch=1, optimizer={"learning_rate": 1e-4})
    (tmp_path / "config.json").write_text(config.model_dump_json())
    environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    for ranks in (1, 2):
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(ranks)]
        launch += ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
        command = [*launch, str(WORKER), str(tmp_path / "config.json"), str(tmp_path)]
        subprocess.run(command, env=environment, check=True, timeout=180)
    one, first, second = (load_file(tmp_path / f"{name}.safetensors") for name in ("1-0", "2-0", "2-1"))
    drifted = [name for name in first if not torch.equal(first[name], second[name])]
    assert not drifted, "the ranks of one run hold equal weights"
    for name, value in one.items():
        if "bias" in name:
            continue  # biases before instance norm have gradients of pure rounding noise, which Adam enlarges
        torch.testing.assert_close(first[name], value, rtol=0, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}")
