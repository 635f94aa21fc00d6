"""Run by torchrun in test_ranks.py: a few steps on this rank's share of fixed batches, then the weights."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from trainer.config import validate
from trainer.method import Batch
from trainer.training import Training

STEPS, GLOBAL_BATCH = 3, 2


def batches(channels: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(5)

    def photo() -> torch.Tensor:
        return torch.rand(GLOBAL_BATCH, 3, 32, 32, generator=generator) * 2 - 1

    def label() -> torch.Tensor:
        return torch.rand(GLOBAL_BATCH, channels, 32, 32, generator=generator)

    flags = torch.tensor([1.0, 0.0])
    return [Batch(label(), photo(), label(), photo(), photo(), photo(), flags) for _ in range(STEPS)]


def main(config_file: str, out: str) -> None:
    config = validate(json.loads(Path(config_file).read_text()), config_file)
    training = Training(config, config.data.label_schema, None)
    rank, ranks = training.accelerator.process_index, training.accelerator.num_processes
    share = GLOBAL_BATCH // ranks
    for batch in batches(training.schema.channels):
        fields = {name: getattr(batch, name)[rank * share : (rank + 1) * share] for name in Batch.__dataclass_fields__}
        training.step(Batch(**fields))
    state = {
        f"{name}.{key}": value.contiguous()
        for name, network in training.method.networks.items()
        for key, value in network.state_dict().items()
    }
    save_file(state, Path(out) / f"{ranks}-{rank}.safetensors")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
