"""Weights on their way between networks and checkpoints."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from likeness.command import BadInput


def on_host(tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Copies of tensors in host memory, which training does not change any more.

    Contiguous, because safetensors takes no others: those of `speed.channels_last` are not.
    """
    return {
        stem: {
            name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, value in named.items()
        }
        for stem, named in tensors.items()
    }


def load_network(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Loads a network's weights. Raises BadInput naming `where` and the first tensor that does not fit."""
    ours = network.state_dict()
    for name, value in ours.items():
        if name not in tensors:
            raise BadInput(f"{where} has no tensor {name}, of shape {tuple(value.shape)}: it is of another network")
        if tensors[name].shape != value.shape:
            raise BadInput(
                f"{where}: {name} has shape {tuple(tensors[name].shape)}, but this network's has {tuple(value.shape)}; "
                "give the network the sizes that those weights are for, in options"
            )
    if extra := tensors.keys() - ours.keys():
        raise BadInput(f"{where} has a tensor {min(extra)}, which this network has not: it is of another network")
    network.load_state_dict(dict(tensors))
