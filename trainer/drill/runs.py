"""The runs of a drill: what they train on, how they are started, and how far they are."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from likeness.loopback import free_port
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.worlds.film import film
from trainer import methods
from trainer.checkpoints import files as checkpoints

RUN = Path(__file__).parents[1] / "run.py"
CHECKPOINT_EVERY = 16
"""Images."""
SMALL = {"generator_base": 8, "generator_downsamplings": 2, "generator_blocks": 2, "discriminator_base": 8}
"""Options of networks that train in seconds; those that a method knows are set."""


def pack_faces(folder: Path) -> None:
    """Draws faces and packs them into the shards `train` and `test`."""
    film("faces", folder / "videos", videos=6, seconds=1, size=64, seed=3)
    packing = Packing(
        folder / "videos", preset("default"), pairs=40, size=32, test_pairs=8, test_fraction=0.34, samples_per_shard=7
    )
    pack(packing, folder / "train", folder / "test")


def settings(folder: Path, run: Path, method: str, images: int, processes: int) -> dict[str, Any]:
    """The config of a run on those shards, with networks so small that it takes seconds."""
    known = methods.find(method).options_type.model_fields
    return {
        "method": method,
        "run": str(run),
        "images": images,
        "batch": max(1, 2 // processes),
        "options": {name: value for name, value in SMALL.items() if name in known},
        "perceptual": {"weights": "random:0", "divisor": 16, "resize_below": 0},
        "tracking": {"uri": f"sqlite:///{folder}/mlflow.db", "log_every": 2},
        "evaluation": {"every": 2 * CHECKPOINT_EVERY, "pairs": 8, "grid_rows": 2},
        "checkpoint": {"every": CHECKPOINT_EVERY, "keep": 2},
        "data": {
            "train": str(folder / "train"),
            "test": str(folder / "test"),
            "label": "sketch",
            "height": 32,
            "width": 32,
            "workers": 1,
        },
    }


def config_of(run: Path) -> Path:
    """The file of a run's settings, beside its folder."""
    return run.with_name(f"{run.name}.yaml")


def log_of(run: Path) -> Path:
    """The file that a run's output is appended to, beside its folder."""
    return run.with_name(f"{run.name}.log")


def start(run: Path, processes: int) -> "subprocess.Popen[bytes]":
    """Starts a run, or makes it go on from its latest checkpoint; its output is appended to `log_of(run)`."""
    launch = [sys.executable]
    if processes > 1:
        port = free_port("127.0.0.1", 0)
        launch += ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
        launch += ["--master_addr", "127.0.0.1", "--master_port", str(port)]
    command = [*launch, str(RUN), "--config", str(config_of(run)), "--resume", "latest"]
    environment = {
        "GLOO_SOCKET_IFNAME": "lo",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **os.environ,
        "ACCELERATE_USE_CPU": "1",
        "OMP_NUM_THREADS": "1",
    }
    with log_of(run).open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def images_saved(run: Path) -> int:
    """Images of the checkpoint from which a run would go on; 0 without one."""
    folder = checkpoints.find(run) if run.exists() else None
    return checkpoints.Checkpoint(folder).state.images if folder else 0


def images_seen(journal: Path) -> int:
    """Images of the journal's last whole line; 0 without one. The run may be writing the line after it."""
    if not journal.is_file():
        return 0
    whole_lines = journal.read_bytes().rpartition(b"\n")[0]
    return int(json.loads(whole_lines.rpartition(b"\n")[2])["images"]) if whole_lines else 0
