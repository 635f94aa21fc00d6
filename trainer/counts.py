"""`python -m trainer.counts`: parameters and arithmetic of every network, beside what its specification says.

Networks are built on torch's meta device, where tensors have shapes and no content. A multiply-accumulate is half a
floating-point operation as `torch.utils.flop_counter` counts them: of convolutions and dense layers, nothing else.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from likeness.command import run_command
from trainer.networks.enhancer import LocalEnhancer
from trainer.networks.feature_encoder import FeatureEncoder
from trainer.networks.generator import GlobalGenerator, halved
from trainer.networks.munit_networks import ContentEncoder, Decoder, ScaledDiscriminators, StyleEncoder
from trainer.networks.patchgan import MultiScalePatchGAN, PatchGAN
from trainer.networks.vgg import VGG19

DIFFERENT = 1
"""Exit code where a count is not the specification's."""
Size = tuple[int, int]
"""Height and width of a picture, in pixels."""
SQUARE: Size = (256, 256)
STREET: Size = (144, 256)
HALF: Size = (512, 1024)
FULL: Size = (1024, 2048)


class Enhanced(nn.Module):
    """The local enhancer and the global generator within it, which has no output convolution there."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coarse, self.enhancer = GlobalGenerator(channels, picture=False), LocalEnhancer(channels)

    def forward(self, inputs: Tensor) -> Tensor:
        image: Tensor = self.enhancer(inputs, self.coarse(halved(inputs)))
        return image


class FromCodes(Decoder):
    """The decoder on codes of the sizes that a picture would have."""

    def forward(self, picture: Tensor, style: Tensor | None = None) -> Tensor:
        height, width = (side // 4 for side in picture.shape[-2:])
        content = picture.new_empty(len(picture), 256, height, width)
        return super().forward(content, picture.new_empty(len(picture), 8))


@dataclass(frozen=True)
class Published:
    """What a specification says of a network that reads pictures of so many channels.

    parameters: all of them. macs: multiply-accumulates for one picture, by its size. build: makes the network.
    """

    system: str
    network: str
    channels: int
    parameters: int
    macs: Mapping[Size, int]
    build: Callable[[int], nn.Module]


def _generator(system: str, channels: int, parameters: int, macs: Mapping[Size, int]) -> Published:
    return Published(system, "generator", channels, parameters, macs, GlobalGenerator)


def _scales(count: int, parameters: int, macs: Mapping[Size, int]) -> Published:
    build = partial(MultiScalePatchGAN, scales=count)
    return Published("pix2pixHD", f"{count} discriminators", 39, parameters, macs, build)


PUBLISHED = (
    _generator("style-consistent", 33, 182_537_347, {SQUARE: 60_548_972_544}),
    _generator("style-consistent", 49, 182_587_523, {SQUARE: 63_837_306_880}),
    _generator("style-consistent", 87, 182_706_691, {STREET: 40_301_494_272}),
    Published(
        "style-consistent",
        "style discriminator",
        6,
        2_767_809,
        {SQUARE: 3_661_314_048, STREET: 2_133_899_264},
        PatchGAN,
    ),
    Published("style-consistent", "realism discriminator", 18, 2_780_097, {SQUARE: 3_865_798_656}, PatchGAN),
    Published("style-consistent", "realism discriminator", 26, 2_788_289, {SQUARE: 4_002_121_728}, PatchGAN),
    Published("style-consistent", "realism discriminator", 45, 2_807_745, {STREET: 2_509_976_576}, PatchGAN),
    Published(
        "style-consistent",
        "loss network, VGG-19",
        3,
        12_944_960,
        {SQUARE: 23_668_457_472, (224, 224): 18_121_162_752},
        lambda _: VGG19(resize_below=0),
    ),
    _generator("pix2pixHD", 15, 182_480_899, {SQUARE: 56_849_596_416}),
    _generator("pix2pixHD", 23, 182_505_987, {SQUARE: 58_493_763_584}),
    _generator("pix2pixHD", 42, 182_565_571, {STREET: 35_099_246_592}),
    _generator("pix2pixHD", 36, 182_546_755, {SQUARE: 61_165_535_232, HALF: 489_324_281_856}),
    _generator("pix2pixHD", 39, 182_556_163, {SQUARE: 61_782_097_920, HALF: 494_256_783_360}),
    Published("pix2pixHD", "generator, enhanced", 36, 182_857_059, {FULL: 747_928_289_280}, Enhanced),
    Published("pix2pixHD", "generator, enhanced", 39, 182_871_171, {FULL: 762_725_793_792}, Enhanced),
    _scales(1, 2_801_601, {SQUARE: 4_223_646_720, HALF: 32_072_252_416}),
    _scales(2, 5_603_202, {SQUARE: 5_369_067_520, HALF: 40_345_106_432}),
    _scales(3, 8_404_803, {SQUARE: 5_703_611_392, HALF: 42_544_149_504}),
    Published("pix2pixHD", "feature encoder", 3, 788_803, {SQUARE: 912_261_120}, lambda _: FeatureEncoder()),
    Published("MUNIT", "content encoder", 3, 5_385_856, {SQUARE: 24_238_882_816}, ContentEncoder),
    Published("MUNIT", "style encoder", 3, 2_764_936, {SQUARE: 6_253_709_312}, StyleEncoder),
    Published("MUNIT", "decoder with perceptron", 3, 6_875_395, {SQUARE: 46_788_577_280}, FromCodes),
    Published("MUNIT", "3 discriminators", 3, 8_271_171, {SQUARE: 2_180_161_536}, ScaledDiscriminators),
)
"""The specifications' figures: style-consistent 2.1 to 2.3, pix2pixHD 2.1 to 2.4 and 5, MUNIT 2."""


@dataclass(frozen=True)
class Row:
    """Ours beside the specification's. size: of the pictures that multiply-accumulates are counted for, such as
    "256×256"; None in a row of parameters."""

    system: str
    network: str
    channels: int
    size: str | None
    ours: int
    specification: int

    @property
    def agrees(self) -> bool:
        return self.ours == self.specification


def rows(published: Sequence[Published] = PUBLISHED) -> list[Row]:
    """Every network counted anew: a row of its parameters, and one for each size of pictures."""
    found = []
    for each in published:
        with torch.device("meta"):
            network = each.build(each.channels)
        named = (each.system, each.network, each.channels)
        count = sum(parameter.numel() for parameter in network.parameters())
        found.append(Row(*named, None, count, each.parameters))
        for (height, width), macs in each.macs.items():
            with FlopCounterMode(display=False) as counter, torch.device("meta"):
                network(torch.empty(1, each.channels, height, width))
            found.append(Row(*named, f"{width}×{height}", counter.get_total_flops() // 2, macs))
    return found


def table(counted: Sequence[Row]) -> str:
    """The rows for people."""
    lines = [f"{'':<17}{'':<25}{'channels':>8}  {'':<12}{'ours':>19}{'specification':>19}"]
    for row in counted:
        what = "parameters" if row.size is None else row.size
        verdict = "" if row.agrees else "  DIFFERENT"
        named = f"{row.system:<17}{row.network:<25}{row.channels:>8}" if row.size is None else " " * 50
        lines.append(f"{named}  {what:<12}{row.ours:>19,}{row.specification:>19,}{verdict}")
    agreeing = sum(row.agrees for row in counted)
    lines.append(f"{agreeing} of {len(counted)} figures agree. By size of a picture: multiply-accumulates")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.counts",
        description="Counts parameters and multiply-accumulates of every network of the published systems, beside what "
        f"their specifications say. Exit code {DIFFERENT} where one differs. Nothing is computed: it takes seconds.",
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args(arguments)
    counted = rows()
    print(json.dumps([asdict(row) for row in counted], indent=1) if options.json else table(counted))
    return 0 if all(row.agrees for row in counted) else DIFFERENT


if __name__ == "__main__":
    sys.exit(run_command(main))
