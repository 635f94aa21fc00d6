"""What is computed twice: the parts that say so, with the same gradients."""

import copy
from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from likeness.command import BadInput
from trainer.networks.enhancer import LocalEnhancer
from trainer.networks.generator import GlobalGenerator
from trainer.networks.munit_networks import ContentEncoder, Decoder
from trainer.networks.norms import InstanceNorm2d
from trainer.networks.patchgan import PatchGAN
from trainer.networks.vgg import VGG19
from trainer.speed.recompute import recompute_in


class Newcomer(nn.Module):
    """A block of a network that nobody has seen yet: it says that it is computed twice."""

    recomputed: ClassVar[str] = "inner"

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 3, 1), InstanceNorm2d(3), nn.ReLU())
        self.calls = 0

    def inner(self, values: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.body(values)
        return out

    def forward(self, values: Tensor) -> Tensor:
        return values + self.inner(values)


def wrapped(network: nn.Module) -> dict[str, str]:
    """The parts that are computed twice, by name, each with the method that is."""
    return {
        name: method
        for name, part in network.named_modules()
        for method in ("forward", "between", "inner")
        if method in vars(part)
    }


def gradients(network: nn.Module, loss: Callable[[], Tensor]) -> list[Tensor]:
    loss().backward()  # type: ignore[no-untyped-call]
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def test_each_network_says_which_parts() -> None:
    networks = [
        GlobalGenerator(3, 2, downsamplings=2, blocks=3),
        LocalEnhancer(3, 2, blocks=2),
        PatchGAN(3, 2),
        ContentEncoder(3, 2, blocks=2),
        Decoder(3, 2, blocks=2),
        VGG19(divisor=32),
    ]
    recompute_in(networks)
    body = ["first", "down.0", "down.1", "trunk.0", "trunk.1", "trunk.2", "up.0", "up.1"]
    assert [list(wrapped(network)) for network in networks] == [
        body,
        ["first", "down", "trunk.0", "trunk.1", "up"],
        ["stages.1", "stages.2", "stages.3"],
        ["first", "down.0", "down.1", "trunk.0", "trunk.1"],
        ["trunk.0", "trunk.1", "up.0", "up.1"],
        [""],
    ]
    assert wrapped(networks[-1]) == {"": "between"}


def test_a_block_of_a_new_network_needs_no_edit_elsewhere() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(Newcomer(), nn.Conv2d(3, 3, 1))
    again = copy.deepcopy(plain)
    recompute_in([again, GlobalGenerator(3, 2, downsamplings=1, blocks=1)])
    assert wrapped(again) == {"0": "inner"}, "nothing within a part"
    picture = torch.randn(2, 3, 8, 8)
    both = [gradients(each, lambda each=each: each(picture).square().sum()) for each in (plain, again)]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*both, strict=True)) and len(both[0]) == 4
    assert (plain[0].calls, again[0].calls) == (1, 2)


def test_statistics_are_not_kept_twice() -> None:
    counted = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU())
    recompute_in([counted, GlobalGenerator(3, 2, downsamplings=1, blocks=1)])
    assert wrapped(counted) == {}


def test_where_nothing_would_be_saved_it_is_said() -> None:
    with pytest.raises(BadInput, match=r"speed\.recompute: no network of this method has residual blocks"):
        recompute_in([PatchGAN(3, 2), VGG19(divisor=32), nn.Conv2d(3, 3, 1)])
