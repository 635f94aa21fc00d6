"""The same global batch gives the same losses and weights, however many processes and parts compute it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from trainer import methods
from trainer.config import Config

WORKER = Path(__file__).with_name("ranks_worker.py")
RANKS = (1, 2, 4)
# Name of a config of the worker: how many parts a rank's batch is computed in, and with how many ranks that is tried.
PARTS = {"whole": (1, RANKS), "parts": (2, (1, 2)), "single": (4, (1,))}
# Name of a config of the worker: a method, and options beside the small ones.
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in methods.available()}
# Stages change after 2 and 4 of the 8 iterations.
SYSTEMS["coarse to fine"] = (
    "pix2pixhd",
    {"instances": True, "features": "instances", "enhancer": True, "global_images": 8, "fixed_images": 8},
)
# The example of the contract: batch norms, which do not go with parts, a discriminator that plays twice, averages that
# settle, and rates of its own.
EXAMPLE = "paired_vae"
SYSTEMS[EXAMPLE] = (EXAMPLE, {"generator_base": 4, "discriminator_base": 4, "rest_every": 8})
SYSTEMS["spade with a style"] = ("spade", {"style": True, "style_numbers": 6})
BATCH_NORMS = (EXAMPLE, "spade", "spade with a style")
REFUSED = {(system, name) for system in BATCH_NORMS for name in ("parts", "single")}
RATES = {EXAMPLE: {"players": {"discriminator": {"learning_rate": 4e-4, "betas": [0.0, 0.9]}}}}
TOLERANCE = 1e-9
"""Largest difference of any weight after 8 iterations in double precision: what the order of sums makes of 1e-16.

Weights move by up to 8 learning rates = 8e-4 meanwhile, so that a gradient that is wrong by a millionth shows.
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, tiny_options: Callable[[str], dict[str, int]]) -> Path:
    """What the worker wrote, for every method, number of parts and number of ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    for ranks in RANKS:
        configs = {
            f"{system}-{name}": {
                "method": method,
                "run": "none",
                "batch": 4,
                "accumulate": parts,
                "options": {**({} if system == EXAMPLE else tiny_options(method)), **options},
                "perceptual": {"weights": "random:0", "divisor": 16, "resize_below": 0},
                "optimizer": {"learning_rate": 1e-4, **RATES.get(system, {})},
                "data": {"train": "none", "label": "sketch", "height": 32, "width": 32},
            }
            for system, (method, options) in SYSTEMS.items()
            for name, (parts, tried) in PARTS.items()
            if ranks in tried and (system, name) not in REFUSED
        }
        file = folder / f"{ranks}.json"
        file.write_text(json.dumps(configs))
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(ranks)]
        launch += ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
        subprocess.run([*launch, str(WORKER), str(file), str(folder)], env=environment, check=True, timeout=1200)
    return folder


CASES = [
    (system, name, ranks)
    for system in SYSTEMS
    for name, (_, tried) in PARTS.items()
    for ranks in tried
    if (name, ranks) != ("whole", 1) and (system, name) not in REFUSED
]


@pytest.mark.parametrize(("system", "name", "ranks"), CASES)
def test_ranks_and_parts_give_the_weights_of_the_whole_batch(system: str, name: str, ranks: int, results: Path) -> None:
    whole = load_file(results / f"{system}-whole-1-0.safetensors")
    for rank in range(ranks):
        ours = load_file(results / f"{system}-{name}-{ranks}-{rank}.safetensors")
        assert ours.keys() == whole.keys()
        for key, value in whole.items():
            assert value.dtype == torch.float64 or key.endswith("num_batches_tracked")
            torch.testing.assert_close(
                ours[key], value, rtol=0, atol=TOLERANCE, msg=lambda text, key=key: f"{key}: {text}"
            )
        if rank:
            first = load_file(results / f"{system}-{name}-{ranks}-0.safetensors")
            assert not [key for key in first if not torch.equal(first[key], ours[key])], "ranks hold equal weights"


@pytest.mark.parametrize(("system", "name", "ranks"), CASES)
def test_logged_losses_are_those_of_the_whole_batch(system: str, name: str, ranks: int, results: Path) -> None:
    """Means over ranks and parts; the loss of a batch is the mean over its samples."""
    whole, ours = (
        json.loads((results / file).read_text()) for file in (f"{system}-whole-1.json", f"{system}-{name}-{ranks}.json")
    )
    assert len(whole) == len(ours) == 8
    for number, (theirs, line) in enumerate(zip(whole, ours, strict=True)):
        # The figures travel as float32.
        assert line == pytest.approx(theirs, rel=2e-6, abs=1e-7), f"iteration {number}"
    assert whole[0]["generator/total"] != whole[-1]["generator/total"]


def test_a_configuration_whose_batch_cannot_be_cut_is_refused(small_config: Callable[..., Config]) -> None:
    with pytest.raises(ValueError, match="batch 2 cannot be cut into accumulate 3 equal parts"):
        small_config("pix2pixhd", accumulate=3)
