"""A small trained-looking model, exported once for all tests of this room."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from onnx import ModelProto
from torch import Tensor

from export.graph import to_onnx
from export.samples import real_samples
from trainer.checkpoint import Synthesis, untrained

ROOT = Path(__file__).parents[2]
SMALL = [
    "--data.height=32",
    "--data.width=32",
    "--options.generator_base=4",
    "--options.generator_downsamplings=2",
    "--options.generator_blocks=1",
]


@dataclass(frozen=True)
class Exported:
    synthesis: Synthesis
    model: ModelProto
    inputs: tuple[Tensor, ...]


@pytest.fixture(scope="session")
def exported() -> Exported:
    synthesis = untrained(ROOT / "trainer" / "configs" / "demo.yaml", SMALL)
    # Fresh weights paint almost nothing; larger ones make differences show.
    with torch.no_grad():
        for parameter in synthesis.module.parameters():
            parameter.mul_(4)
    inputs, _ = real_samples(synthesis, None)
    return Exported(synthesis, to_onnx(synthesis), inputs)
