"""Activation checkpointing: parts of a network that are computed twice, to hold less memory in between."""

from collections.abc import Mapping
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from shards.command import BadInput
from trainer.generator import ResidualBlock
from trainer.munit_networks import AdaptiveResidualBlock


def recompute_in(networks: Mapping[str, nn.Module]) -> None:
    """Has every residual block forget its inner activations and compute them again for the backward pass.

    Gradients are the same to the last bit: the blocks draw no random numbers and keep no statistics.
    Raises BadInput when the networks have no such block.
    """
    kinds = ResidualBlock | AdaptiveResidualBlock
    blocks = [part for network in networks.values() for part in network.modules() if isinstance(part, kinds)]
    if not blocks:
        raise BadInput("speed.recompute: no network of this method has residual blocks; leave it false")
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
