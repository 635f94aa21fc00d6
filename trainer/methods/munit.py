"""MUNIT: Huang et al., ECCV 2018, between labels as pictures and photos (specification 1 to 3)."""

from collections.abc import Callable

from torch import Tensor

from trainer.method import Batch, Losses, PublishedCount
from trainer.methods._two_domains import Codes, MunitOptions, TwoDomains
from trainer.networks.munit_networks import (
    STYLE_CHANNELS,
    ContentEncoder,
    Decoder,
    ScaledDiscriminators,
    StyleEncoder,
)

CONTENT_CHANNELS = 256
CONTENT_HALVINGS = 2


class FromCodes(Decoder):
    """The decoder on codes of the sizes that a picture (N, 3, H, W) would have, to be counted by its size."""

    def forward(self, picture: Tensor, style: Tensor | None = None) -> Tensor:
        height, width = (side // 2**CONTENT_HALVINGS for side in picture.shape[-2:])
        content = picture.new_empty(len(picture), CONTENT_CHANNELS, height, width)
        return super().forward(content, picture.new_empty(len(picture), STYLE_CHANNELS))


COUNTS = (
    PublishedCount("content encoder", 3, 5_385_856, {(256, 256): 24_238_882_816}, ContentEncoder),
    PublishedCount("style encoder", 3, 2_764_936, {(256, 256): 6_253_709_312}, StyleEncoder),
    PublishedCount("decoder with perceptron", 3, 6_875_395, {(256, 256): 46_788_577_280}, FromCodes),
    PublishedCount("3 discriminators", 3, 8_271_171, {(256, 256): 2_180_161_536}, ScaledDiscriminators),
)
"""The specification's figures, of its section 2."""


class Munit(TwoDomains):
    """Unpaired: a label never meets its own photo, and photos are painted in styles drawn from the prior alone."""

    options_type = MunitOptions
    reads = ("exemplar",)
    title = "MUNIT"
    published_counts = COUNTS

    def _painted_styles(self, batch: Batch, turn: int, encoded: Callable[[], Tensor]) -> Tensor:
        return self._prior(batch, turn, 1)

    def _further_losses(self, batch: Batch, codes: Codes) -> Losses:
        return {}


METHOD = Munit
