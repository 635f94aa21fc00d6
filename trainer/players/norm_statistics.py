"""Norms that keep statistics: what does not combine with them, and how averaged networks get their own."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from likeness.command import BadInput
from trainer.config import Config
from trainer.method import Batch
from trainer.networks.norms import BatchNorm2d, with_statistics

SETTLING_BATCH = 8
"""Samples that averaged networks run on at a time while they settle: the same on any number of ranks."""


def check(networks: Mapping[str, nn.Module], config: Config) -> None:
    """Raises BadInput where the statistics of a network's norms would not be those of the whole batch, once a step.

    networks: those that learn. Frozen ones are in eval mode, where their norms measure nothing, and may have any norms.
    Nothing is detected by what a method says of itself: its networks are looked at, so that none is forgotten.
    """
    for name, network in networks.items():
        for place, norm in with_statistics(network):
            if not isinstance(norm, BatchNorm2d):
                raise BadInput(
                    f"{config.method}: {name}.{place} is a {type(norm).__name__}, whose statistics would be those of "
                    "each rank's share of the batch; build it of trainer.networks.norms.BatchNorm2d"
                )
            if config.accumulate > 1:
                raise BadInput(
                    f"accumulate {config.accumulate} would give the batch norms of {config.method}'s {name} statistics "
                    "of each part instead of the batch; set it to 1"
                )
            if config.speed.recompute:
                raise BadInput(
                    f"speed.recompute would have the batch norms of {config.method}'s {name} count every batch twice; "
                    "set it to false"
                )


def buffers_of(networks: Mapping[str, nn.Module]) -> list[Tensor]:
    """The running statistics of all norms of some networks."""
    return [
        buffer for network in networks.values() for _, norm in with_statistics(network) for buffer in norm.buffers()
    ]


def settle(networks: Iterable[nn.Module], batches: Iterable[Batch], run: Callable[[Batch], None]) -> None:
    """Replaces the running statistics of averaged networks' norms by those that their own weights have.

    A moving average of weights is another network than those it is made of, and the statistics that those ran up are
    not its own (Izmailov et al., UAI 2018, section 3.2). They become the means over `batches` of each batch's mean and
    unbiased variance. Every rank computes them by itself, so that they do not depend on the number of ranks.
    run: runs a batch through the networks.
    """
    norms = [
        norm
        for network in networks
        for _, norm in with_statistics(network)
        if isinstance(norm, BatchNorm2d) and norm.track_running_stats
    ]
    with torch.no_grad(), _measuring(norms):
        for batch in batches:
            run(batch)


@contextmanager
def _measuring(norms: list[BatchNorm2d]) -> Iterator[None]:
    """Has norms measure anew what runs through them, as plain means over batches."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.alone, norm.momentum = True, None
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.alone, norm.momentum = False, momentum
