"""Random generators go on where the checkpoint's run stopped."""

import random
from collections.abc import Callable

import numpy as np
import torch

from trainer.checkpoints.files import Checkpoint, save
from trainer.config import Config
from trainer.training import Training

MakeConfig = Callable[..., Config]


def draws() -> list[list[float]]:
    """Of torch, NumPy and Python; three, so that NumPy's and Python's kept second normal number counts, too."""
    return [torch.randn(3).tolist(), np.random.normal(size=3).tolist(), [random.gauss(0, 1) for _ in range(3)]]


def test_every_generator_goes_on_where_it_was(small_config: MakeConfig) -> None:
    config = small_config("pix2pixhd")
    training = Training(config, config.data.label_schema, None)
    draws()
    snapshot = training.snapshot("manifest", {})
    assert snapshot is not None
    checkpoint = Checkpoint(save(config.run, snapshot))
    following = draws()
    assert draws() != following
    Training(config, config.data.label_schema, checkpoint).restore_random(checkpoint)
    assert draws() == following
