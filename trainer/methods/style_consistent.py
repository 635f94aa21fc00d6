"""Style-consistent example-guided synthesis: Wang et al., CVPR 2019."""

from collections.abc import Generator, Mapping
from typing import Annotated, Any, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from shards.records import LabelSchema
from trainer.losses import Weighting, feature_distances, least_squares, same_style_l1, semantic_loss
from trainer.method import Ablation, Batch, Losses, Method, PublishedCount
from trainer.methods._depth import check_depth
from trainer.networks.generator import GlobalGenerator, colours_of
from trainer.networks.patchgan import PatchGAN
from trainer.networks.vgg import VGG19
from trainer.options import Options
from trainer.schedules import phase

COLOUR_CELLS = 8
UNINFORMED = {"consistent": 2 / 9, "fake": 1 / 18, "inconsistent": 1 / 18}
"""D_SC's three terms when it gives every pair the same score: (1/3 - 1)²/2, (1/3)²/2, (1/3)²/2."""
CLOSE = 0.05
"""Relative distance at which a term counts as being at its fixed point."""

COUNTS = (
    PublishedCount("generator", 33, 182_537_347, {(256, 256): 60_548_972_544}, GlobalGenerator),
    PublishedCount("generator", 49, 182_587_523, {(256, 256): 63_837_306_880}, GlobalGenerator),
    PublishedCount("generator", 87, 182_706_691, {(144, 256): 40_301_494_272}, GlobalGenerator),
    PublishedCount(
        "style discriminator", 6, 2_767_809, {(256, 256): 3_661_314_048, (144, 256): 2_133_899_264}, PatchGAN
    ),
    PublishedCount("realism discriminator", 18, 2_780_097, {(256, 256): 3_865_798_656}, PatchGAN),
    PublishedCount("realism discriminator", 26, 2_788_289, {(256, 256): 4_002_121_728}, PatchGAN),
    PublishedCount("realism discriminator", 45, 2_807_745, {(144, 256): 2_509_976_576}, PatchGAN),
    PublishedCount(
        "loss network, VGG-19",
        3,
        12_944_960,
        {(256, 256): 23_668_457_472, (224, 224): 18_121_162_752},
        lambda _: VGG19(resize_below=0),
    ),
)
"""The specification's figures, of its sections 2.1 to 2.3."""


class StyleConsistentOptions(Options):
    """Options of the style-consistent method; the defaults are the paper's, reading A of its adaptive weights."""

    generator_base: int = Field(64, gt=0, description="channels after the generator's first convolution")
    generator_downsamplings: int = Field(4, gt=0, description="stride-2 convolutions of the generator")
    generator_blocks: int = Field(9, ge=0, description="residual blocks of the generator")
    colour_aware: bool = Field(False, description="let the generator see the exemplar's absolute colours")
    discriminator_base: int = Field(64, gt=0, description="channels after a discriminator's first convolution")
    discriminator_layers: int = Field(3, gt=0, description="stride-2 convolutions of a discriminator")
    weighting: Weighting = Field("adaptive", description="semantic weights: adaptive (A), official (B) or fixed")
    realism_weight: float = Field(1.0, ge=0, description="weight of the realism adversary in the generator's loss")
    style_weight: float = Field(10.0, ge=0, description="lambda1, weight of the style adversary")
    semantic_weight: float = Field(10.0, ge=0, description="lambda2, weight of the adaptive semantic loss")
    pixel_weight: float = Field(0.0, ge=0, description="L1 on same-style samples; not in the paper")
    style_phases: list[tuple[Annotated[int, Field(ge=0)], float]] = Field(
        [(0, 0.0), (250_000, 1.0)], description="m(t): pairs of (first image, multiplier of style_weight)"
    )

    @field_validator("style_phases")
    @classmethod
    def _ascending(cls, phases: list[tuple[int, float]]) -> list[tuple[int, float]]:
        starts = [first for first, _ in phases]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError("must begin at image 0 and ascend, such as [[0, 0.0], [250000, 1.0]]")
        return phases

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if not self.realism_weight and not self.semantic_weight and not self.pixel_weight:
            raise ValueError(
                "realism_weight, semantic_weight and pixel_weight are all 0: nothing teaches the generator while the "
                "style adversary waits; give one of them a weight"
            )
        return self


class ExemplarGenerator(nn.Module):
    """`G([x, F(I), I])`: three inputs, concatenated once; pictures (N, 3, H, W) in (-1, 1)."""

    def __init__(self, channels: int, options: StyleConsistentOptions) -> None:
        super().__init__()
        self.colour_aware = options.colour_aware
        self.body = GlobalGenerator(
            2 * channels + 3,
            options.generator_base,
            options.generator_downsamplings,
            options.generator_blocks,
            colour_channels=3 * COLOUR_CELLS**2 if options.colour_aware else 0,
        )

    def forward(self, label: Tensor, exemplar_label: Tensor, exemplar: Tensor) -> Tensor:
        colour = colours_of(exemplar, COLOUR_CELLS) if self.colour_aware else None
        image: Tensor = self.body(torch.cat([label, exemplar_label, exemplar], dim=1), colour)
        return image


class StyleConsistent(Method):
    """G against D_R (is it real, given the label?) and D_SC (do these two photos share a style?)."""

    options_type = StyleConsistentOptions
    players: Mapping[str, tuple[str, ...]] = {
        "generator": ("generator",),
        "realism": ("realism",),
        "style": ("style",),
    }
    synthesizers = ("generator",)
    inputs = ("label", "exemplar_label", "exemplar")
    reads = ("target", "exemplar", "consistent", "inconsistent")
    needs_perceptual = True
    # For streets, which are 144 pixels high (specification 3.2).
    resize_below = 224
    title = "style-consistent"
    published_counts = COUNTS
    ablations = (
        Ablation("w/o adaptive weights", "without_adaptive_weights"),
        Ablation("w/o style adversary", "without_style_adversary"),
        Ablation("w/o semantic loss", "without_semantic"),
        # No paper has figures of those below, as none has L1 or sees colours.
        Ablation("w/o L1", "without_pixel"),
        Ablation("w/o semantic loss and L1", "without_semantic_and_pixel"),
        Ablation("official weighting", "official", one_seed=True),
        Ablation("colour-aware", "colour_aware", everywhere=True),
        Ablation("w/o EMA", "without_ema", one_seed=True),
    )

    def __init__(self, options: StyleConsistentOptions, schema: LabelSchema) -> None:
        """Raises BadInput where the generator is too deep for the pictures."""
        depth = options.generator_downsamplings
        check_depth(schema, depth, f"options.generator_downsamplings {depth}")
        self.options = options
        self.networks = {
            "generator": ExemplarGenerator(schema.channels, options),
            "realism": PatchGAN(schema.channels + 3, options.discriminator_base, options.discriminator_layers),
            "style": PatchGAN(6, options.discriminator_base, options.discriminator_layers),
        }
        self.phases = {"style_phases": options.style_phases} if options.style_weight else {}

    def synthesize(self, networks: Mapping[str, nn.Module], inputs: Mapping[str, Tensor]) -> Tensor:
        image: Tensor = networks["generator"](*(inputs[name] for name in self.inputs))
        return image

    def play(self, batch: Batch, images: int) -> Generator[tuple[str, Losses], None, None]:
        fake = self.synthesize(self.networks, self.inputs_of(self.networks, batch))
        yield "generator", self._generator_losses(batch, fake, phase(images, self.options.style_phases))

        fake = fake.detach()
        # Instance norm keeps samples apart, so that all scores of a discriminator come from one exact call.
        real_scores, fake_scores = self._realism(batch, batch.target, fake)
        yield (
            "realism",
            # Halved, so that discriminators learn no faster than the generator (Isola et al. 2017, section 3.3).
            {"real": least_squares(real_scores, 1.0) / 2, "fake": least_squares(fake_scores, 0.0) / 2},
        )

        # The fake counts as inconsistent beside its exemplar, and two photos of different styles do, too: without the
        # latter D_SC could tell fakes by their flaws alone, and learn nothing of style.
        consistent, judged, inconsistent = self._style(batch, batch.consistent, fake, batch.inconsistent)
        yield (
            "style",
            {
                "consistent": least_squares(consistent, 1.0) / 2,
                "fake": least_squares(judged, 0.0) / 2,
                "inconsistent": least_squares(inconsistent, 0.0) / 2,
            },
        )

    def signs(self, metrics: Mapping[str, float]) -> dict[str, str]:
        """D_SC settles at the score 1/3 for every pair when it sees no difference (specification 9.3)."""
        terms = {name: metrics.get(f"style/{name}") for name in UNINFORMED}
        if all(
            value is not None and abs(value - UNINFORMED[name]) <= CLOSE * UNINFORMED[name]
            for name, value in terms.items()
        ):
            return {
                "style is uninformed": (
                    "it gives every pair the score 1/3, its fixed point when it sees no difference; are consistent "
                    "and inconsistent pictures different in style (`python -m shards inspect`)?"
                )
            }
        return {}

    def _generator_losses(self, batch: Batch, fake: Tensor, style_phase: float) -> Losses:
        options = self.options
        losses: Losses = {}
        if options.realism_weight:
            (scores,) = self._realism(batch, fake)
            losses["realism"] = options.realism_weight * least_squares(scores, 1.0)
        if options.style_weight * style_phase:
            (scores,) = self._style(batch, fake)
            losses["style"] = options.style_weight * style_phase * least_squares(scores, 1.0)
        if options.semantic_weight:
            assert self.perceptual is not None, "the loop gives the method its loss network"
            # The photo's features are the goal and get no gradient.
            with torch.no_grad():
                wanted = self.perceptual(batch.target)
            distances = feature_distances(self.perceptual(fake), wanted)
            losses["semantic"] = semantic_loss(distances, batch.same_style, options.weighting, options.semantic_weight)
        if options.pixel_weight:
            losses["pixel"] = options.pixel_weight * same_style_l1(fake, batch.target, batch.same_style)
        return losses

    def _realism(self, batch: Batch, *photos: Tensor) -> tuple[Tensor, ...]:
        """D_R's scores of each photo, conditioned on the label map."""
        return self._scores("realism", [torch.cat([batch.label, photo], dim=1) for photo in photos])

    def _style(self, batch: Batch, *candidates: Tensor) -> tuple[Tensor, ...]:
        """D_SC's scores of each candidate beside the exemplar; photos only, no labels."""
        return self._scores("style", [torch.cat([candidate, batch.exemplar], dim=1) for candidate in candidates])

    def _scores(self, network: str, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        scores: Any = self.networks[network](torch.cat(inputs))
        return tuple(scores.chunk(len(inputs)))


METHOD = StyleConsistent
