"""A small trained-looking model, exported once for all tests of this room."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from export.gates.result import Candidate
from export.gates.samples import Samples, real_samples
from export.graph import Exported, save, to_onnx
from export.served import metadata_of
from trainer.checkpoints.synthesis import Synthesis, untrained

ROOT = Path(__file__).parents[2]
SMALL = [
    "--data.height=32",
    "--data.width=32",
    "--options.generator_base=4",
    "--options.generator_downsamplings=2",
    "--options.generator_blocks=1",
]


@dataclass(frozen=True)
class Small:
    synthesis: Synthesis
    exported: Exported
    samples: Samples


@pytest.fixture(scope="session")
def small() -> Small:
    synthesis = untrained(ROOT / "trainer" / "configs" / "demo.yaml", SMALL)
    # Fresh weights paint almost nothing; larger ones make differences show.
    with torch.no_grad():
        for parameter in synthesis.module.parameters():
            parameter.mul_(4)
    return Small(synthesis, to_onnx(synthesis), real_samples(synthesis, None))


@pytest.fixture
def candidate_of(small: Small, tmp_path: Path) -> Callable[[Exported], Candidate]:
    """A graph of the small model in a file of its own: what gates judge."""

    def write(exported: Exported) -> Candidate:
        metadata = metadata_of(small.synthesis, exported.recipe)
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        save(exported.model, metadata.to_props(), folder / "model.onnx")
        return Candidate(exported, folder / "model.onnx", small.synthesis, small.samples)

    return write
