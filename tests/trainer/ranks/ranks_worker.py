"""Run by torchrun in test_ranks.py: every method on this rank's share of fixed batches, in double precision.

The example of the contract is among the methods; where averages settle, they do so after the last iteration.
"""

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from trainer import methods
from trainer.config import validate
from trainer.method import Batch
from trainer.ranks.delayed_metrics import DelayedMetrics
from trainer.training import Training

STEPS, GLOBAL_BATCH = 8, 4
EXAMPLE = Path(__file__).parents[1] / "methods" / "example"


def batches(channels: int, noise: int) -> list[Batch]:
    generator, further = (torch.Generator().manual_seed(seed) for seed in (5, 6))

    def photo() -> torch.Tensor:
        return torch.rand(GLOBAL_BATCH, 3, 32, 32, generator=generator) * 2 - 1

    def label() -> torch.Tensor:
        return torch.rand(GLOBAL_BATCH, channels, 32, 32, generator=generator)

    def instances() -> torch.Tensor:
        blocks = torch.randint(0, 3, (GLOBAL_BATCH, 8, 8), generator=further, dtype=torch.int32)
        return blocks.repeat_interleave(4, 1).repeat_interleave(4, 2)

    def draws() -> torch.Tensor:
        return torch.randn(GLOBAL_BATCH, noise, generator=further)

    flags = torch.tensor([1.0, 0.0, 0.0, 1.0])
    return [
        Batch(label(), photo(), label(), photo(), photo(), photo(), flags, instances(), draws()) for _ in range(STEPS)
    ]


def main(configs_file: str, out: str) -> None:
    torch.set_default_dtype(torch.float64)
    methods.__path__.append(str(EXAMPLE))
    for name, data in json.loads(Path(configs_file).read_text()).items():
        config = validate(data, name)
        # The configs name the global batch; every rank takes its share of it.
        ranks = int(os.environ["WORLD_SIZE"])
        config = config.model_copy(update={"batch": GLOBAL_BATCH // ranks})
        training = Training(config, config.data.label_schema, None)
        assert training.accelerator.num_processes == ranks
        rank = training.accelerator.process_index
        delayed = DelayedMetrics(training.accelerator)
        for batch in batches(training.schema.channels, training.method.noise):
            share = batch.parts(ranks)[rank]
            metrics, skip = training.step(share)
            delayed.send(training.images, metrics, skip, False, ())
        training.settle(batches(training.schema.channels, training.method.noise)[:3])
        metrics_of_all = [iteration.metrics for iteration in delayed.receive(lag=0)]
        state = {
            f"{network}.{key}": value.contiguous()
            for network, module in (
                *training.method.networks.items(),
                *((f"{name}.average", average) for name, average in training.averages.networks.items()),
            )
            for key, value in module.state_dict().items()
        }
        save_file(state, Path(out) / f"{name}-{ranks}-{rank}.safetensors")
        if rank == 0:
            (Path(out) / f"{name}-{ranks}.json").write_text(json.dumps(metrics_of_all))
    training.leave()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
