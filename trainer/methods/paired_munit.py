"""PairedMUNIT: MUNIT with pairs, a reconstruction of a baseline in Wang et al., CVPR 2019.

That paper has one sentence on it: MUNIT is modified by bringing pair-wise style information into the model and by
computing losses adaptively with style. Which losses, and how, is our reading (specification 4.3).
"""

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from shards.records import LabelSchema
from trainer.losses import exact, feature_distances, same_style_l1, semantic_loss
from trainer.method import Batch, Losses
from trainer.methods._two_domains import TURNS, Codes, MunitOptions, TwoDomains, distance


class PairedMunitOptions(MunitOptions):
    """MUNIT's options, and what pairs add: our reading of one sentence. With all four off it is MUNIT."""

    exemplar_styles: bool = Field(
        True, description="our reading: paint half of the samples in their exemplar's style, half in a drawn one"
    )
    semantic_weight: float = Field(
        10.0, ge=0, description="our reading: adaptive semantic loss of what the exemplar guides; 0: off"
    )
    pair_weight: float = Field(
        1.0,
        ge=0,
        description="our reading: style codes of a pair that shares a style, and of one that does not; 0: off",
    )
    pixel_weight: float = Field(
        0.0, ge=0, description="our strongest reading, with 10: L1 to the target on same-style samples; 0: off"
    )


class PairedMunit(TwoDomains):
    """MUNIT's terms on (x, I), and some on y~, x in the style of I; a reconstruction, as every table has to say.

    A coin per sample and turn, from `noise`, decides whether a label is painted in the style of its exemplar or in a
    drawn one, so that the adversaries judge both. The semantic loss, and the pixel loss where it is asked for, compare
    y~ of every sample with z. The pair-wise loss draws the codes of I and y+ together, and those of I and y- apart
    until each channel differs by 1. The style discriminator of the compared method is left out: it would make the
    baseline that method.
    """

    options_type = PairedMunitOptions
    options: PairedMunitOptions
    title = "PairedMUNIT"
    note = "our reading"
    # Its semantic loss is the style-consistent method's.
    resize_below = 224

    def __init__(self, options: PairedMunitOptions, schema: LabelSchema) -> None:
        super().__init__(options, schema)
        guided = options.semantic_weight or options.pixel_weight
        self.reads = (
            "exemplar",
            *(("target",) if guided else ()),
            *(("consistent", "inconsistent") if options.pair_weight else ()),
        )
        if options.exemplar_styles:
            # The coins stand behind the styles.
            self.noise += TURNS

    def _painted_styles(self, batch: Batch, turn: int, encoded: Callable[[], Tensor]) -> Tensor:
        drawn = self._prior(batch, turn, 1)
        if not self.options.exemplar_styles:
            return drawn
        coin = batch.noise[:, self.noise - TURNS + turn, None]
        return torch.where(coin > 0, encoded().to(drawn.dtype), drawn)

    def _further_losses(self, batch: Batch, codes: Codes) -> Losses:
        options = self.options
        losses: Losses = {}
        if options.semantic_weight or options.pixel_weight:
            guided = self.networks["photo_decoder"](codes.label_content, codes.photo_style)
            if options.semantic_weight:
                assert self.perceptual is not None, "the loop gives the method its loss network"
                with torch.no_grad():
                    wanted = self.perceptual(batch.target)
                distances = feature_distances(self.perceptual(guided), wanted)
                losses["semantic"] = semantic_loss(distances, batch.same_style, "adaptive", options.semantic_weight)
            if options.pixel_weight:
                losses["pixel"] = options.pixel_weight * same_style_l1(guided, batch.target, batch.same_style)
        if options.pair_weight:
            others = self.networks["photo_style"](torch.cat([batch.consistent, batch.inconsistent]))
            losses["pair"] = options.pair_weight * pair_loss(codes.photo_style, *others.chunk(2))
        return losses


def pair_loss(style: Tensor, consistent: Tensor, inconsistent: Tensor) -> Tensor:
    """mean|s - s+| + mean(max(0, 1 - |s - s-|)) over samples and channels of style codes (N, C)."""
    apart = (exact(style) - exact(inconsistent)).abs()
    return distance(style, consistent) + F.relu(1 - apart).mean()


METHOD = PairedMunit
