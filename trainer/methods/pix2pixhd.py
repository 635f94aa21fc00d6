"""pix2pixHD: Wang et al., CVPR 2018; the single-scale generator, without instance features."""

from collections.abc import Generator, Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from shards.records import LabelSchema
from trainer.generator import GlobalGenerator
from trainer.losses import feature_distances, least_squares, semantic_loss
from trainer.method import Batch, Losses, Method
from trainer.options import Options
from trainer.patchgan import MultiScalePatchGAN


class Pix2PixHDOptions(Options):
    """Options of pix2pixHD; the defaults are those of the baseline in the style-consistency comparison."""

    generator_base: int = Field(64, gt=0, description="channels after the generator's first convolution")
    generator_downsamplings: int = Field(4, gt=0, description="stride-2 convolutions of the generator")
    generator_blocks: int = Field(9, ge=0, description="residual blocks of the generator")
    discriminator_base: int = Field(64, gt=0, description="channels after a discriminator's first convolution")
    discriminator_scales: int = Field(2, gt=0, description="K, discriminators at halving sizes")
    feature_weight: float = Field(10.0, ge=0, description="weight of feature matching")
    perceptual_weight: float = Field(10.0, ge=0, description="weight of the VGG loss")


class Pix2PixHD(Method):
    """A label map to a picture, without an exemplar."""

    options_type = Pix2PixHDOptions
    players: Mapping[str, tuple[str, ...]] = {
        "generator": ("generator",),
        "discriminator": ("discriminator",),
    }
    synthesizers = ("generator",)
    inputs = ("label",)
    reads = ("target",)
    needs_perceptual = True

    def __init__(self, options: Pix2PixHDOptions, schema: LabelSchema) -> None:
        self.options = options
        self.networks = {
            "generator": GlobalGenerator(
                schema.channels, options.generator_base, options.generator_downsamplings, options.generator_blocks
            ),
            "discriminator": MultiScalePatchGAN(
                schema.channels + 3, options.discriminator_base, options.discriminator_scales
            ),
        }

    def synthesize(self, networks: Mapping[str, nn.Module], inputs: Mapping[str, Tensor]) -> Tensor:
        image: Tensor = networks["generator"](inputs["label"])
        return image

    def play(self, batch: Batch, images: int) -> Generator[tuple[str, Losses], None, None]:
        fake = self.synthesize(self.networks, {"label": batch.label})
        judged = self._discriminate(batch.label, fake)
        losses = {"realism": torch.stack([least_squares(scale[-1], 1.0) for scale in judged]).sum()}
        if self.options.feature_weight:
            with torch.no_grad():
                real = self._discriminate(batch.label, batch.target)
            losses["features"] = self.options.feature_weight * feature_matching(judged, real)
        if self.options.perceptual_weight:
            assert self.perceptual is not None, "the loop gives the method its loss network"
            with torch.no_grad():
                wanted = self.perceptual(batch.target)
            distances = feature_distances(self.perceptual(fake), wanted)
            losses["perceptual"] = semantic_loss(distances, batch.same_style, "fixed", self.options.perceptual_weight)
        yield "generator", losses

        fake = fake.detach()
        both = self._discriminate(torch.cat([batch.label, batch.label]), torch.cat([batch.target, fake]))
        scores = [scale[-1].chunk(2) for scale in both]
        yield (
            "discriminator",
            {
                "real": torch.stack([least_squares(real, 1.0) for real, _ in scores]).sum() / 2,
                "fake": torch.stack([least_squares(judged, 0.0) for _, judged in scores]).sum() / 2,
            },
        )

    def _discriminate(self, label: Tensor, photo: Tensor) -> list[list[Tensor]]:
        outputs: list[list[Tensor]] = self.networks["discriminator"](torch.cat([label, photo], dim=1))
        return outputs


def feature_matching(fake: list[list[Tensor]], real: list[list[Tensor]]) -> Tensor:
    """Mean |difference| of the four stages' outputs, summed over stages and averaged over scales (pix2pixHD 3)."""
    scales = [feature_distances(ours[:-1], theirs[:-1]).sum(1).mean() for ours, theirs in zip(fake, real, strict=True)]
    return torch.stack(scales).mean()


METHOD = Pix2PixHD
