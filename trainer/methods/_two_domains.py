"""What MUNIT and PairedMUNIT share: two auto-encoders that swap content and style, and two discriminators.

Huang et al., ECCV 2018 (specification 2 and 3). Domain A holds labels as pictures (`label_picture`), domain B photos;
what is painted is B's style on A's content.
"""

from abc import abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from likeness.command import BadInput
from shards.records import LabelSchema
from trainer.losses import exact, least_squares
from trainer.method import Batch, Losses, Method
from trainer.methods._depth import check_depth
from trainer.methods._label_picture import label_picture
from trainer.networks.munit_networks import STYLE_CHANNELS, ContentEncoder, Decoder, ScaledDiscriminators, StyleEncoder
from trainer.options import Options

TURNS, DOMAINS = 2, 2


class MunitOptions(Options):
    """Options of both; the weights are the paper's, with the cycle that its labels-to-photos settings have."""

    generator_base: int = Field(64, gt=0, description="channels after an encoder's first convolution")
    generator_downsamplings: int = Field(2, gt=0, description="stride-2 convolutions of a content encoder")
    generator_blocks: int = Field(4, gt=0, description="residual blocks of a content encoder, and of a decoder")
    generator_hidden: int | None = Field(
        None, gt=0, description="numbers in each hidden layer of a decoder's perceptron; null: 4 · generator_base"
    )
    style_channels: int = Field(STYLE_CHANNELS, gt=0, description="length of a style code")
    discriminator_base: int = Field(64, gt=0, description="channels after a discriminator's first convolution")
    discriminator_layers: int = Field(4, gt=0, description="stride-2 convolutions of a discriminator")
    discriminator_scales: int = Field(3, gt=0, description="discriminators of a domain, at halving sizes")
    image_weight: float = Field(10.0, gt=0, description="L1 of a picture put together again from its own two codes")
    style_weight: float = Field(1.0, ge=0, description="L1 of the style code read back from a translated picture")
    content_weight: float = Field(1.0, ge=0, description="L1 of the content code read back from a translated picture")
    cycle_weight: float = Field(10.0, ge=0, description="L1 of a picture translated there and back, in its own style")
    realism_weight: float = Field(1.0, ge=0, description="weight of the adversaries in the generators' loss")


@dataclass(frozen=True)
class Codes:
    """A generator step's codes that further losses look at."""

    label_content: Tensor
    """The content codes of the label pictures: (N, C, h, w)."""
    photo_style: Tensor
    """The style codes of the photos: (N, style_channels)."""


class TwoDomains(Method):
    """Translates both ways between labels and photos that need not belong together: x and I, never z.

    The domain-invariant perceptual term is left out: its authors use it for pictures of 512 and more. The loss network
    serves MUNIT's held-out figures alone, which are then those of all methods.

    Every iteration draws styles twice, afresh for the generators: `noise` holds those of labels and photos for the
    discriminators' turn, then for the generators'.
    """

    players: Mapping[str, tuple[str, ...]] = {
        "discriminator": ("label_discriminator", "photo_discriminator"),
        "generator": (
            *("label_content", "label_style", "label_decoder"),
            *("photo_content", "photo_style", "photo_decoder"),
        ),
    }
    synthesizers = ("label_content", "photo_style", "photo_decoder")
    inputs = ("label", "exemplar")
    ways = (("label", "style"),)
    needs_perceptual = True
    one_seed = True

    def __init__(self, options: MunitOptions, schema: LabelSchema) -> None:
        """Raises BadInput where the generator, or the smallest of its discriminators, is too deep for the pictures."""
        depth = options.generator_downsamplings
        check_depth(schema, depth, f"options.generator_downsamplings {depth}")
        least = 2 ** (options.discriminator_layers + options.discriminator_scales - 1)
        if min(schema.height, schema.width) < least:
            raise BadInput(
                f"options.discriminator_scales {options.discriminator_scales} of options.discriminator_layers "
                f"{options.discriminator_layers} needs pictures of at least {least}×{least}, but these are "
                f"{schema.width} wide and {schema.height} high; set one of them lower"
            )
        self.options, self.schema = options, schema
        self.style_length = options.style_channels
        self.noise = TURNS * DOMAINS * options.style_channels
        size = (options.generator_base, options.generator_downsamplings, options.generator_blocks)
        self.networks = {}
        for domain in ("label", "photo"):
            self.networks |= {
                f"{domain}_content": ContentEncoder(3, *size),
                f"{domain}_style": StyleEncoder(3, options.generator_base, options.style_channels),
                f"{domain}_decoder": Decoder(3, *size, options.style_channels, options.generator_hidden),
                f"{domain}_discriminator": ScaledDiscriminators(
                    3, options.discriminator_base, options.discriminator_scales, options.discriminator_layers
                ),
            }

    def synthesize(self, networks: Mapping[str, nn.Module], inputs: Mapping[str, Tensor]) -> Tensor:
        """The label in the exemplar's style, or, without an exemplar, in the style of the code."""
        style = networks["photo_style"](inputs["exemplar"]) if "exemplar" in inputs else inputs["style"]
        content = networks["label_content"](label_picture(inputs["label"], self.schema))
        image: Tensor = networks["photo_decoder"](content, style)
        return image

    def play(self, batch: Batch, images: int) -> Generator[tuple[str, Losses], None, None]:
        labels, photos = label_picture(batch.label, self.schema), batch.exemplar
        yield "discriminator", self._discriminator_losses(batch, labels, photos)
        yield "generator", self._generator_losses(batch, labels, photos)

    @abstractmethod
    def _painted_styles(self, batch: Batch, turn: int, encoded: Callable[[], Tensor]) -> Tensor:
        """The styles (N, style_channels) in which labels become photos. encoded: gives those of the exemplars."""

    @abstractmethod
    def _further_losses(self, batch: Batch, codes: Codes) -> Losses:
        """Losses of the generators beyond MUNIT's."""

    def _prior(self, batch: Batch, turn: int, domain: int) -> Tensor:
        """The styles drawn for the discriminators' turn, 0, or the generators', 1; of labels, 0, or of photos, 1."""
        length = self.style_length
        first = (DOMAINS * turn + domain) * length
        return batch.noise[:, first : first + length]

    def _discriminator_losses(self, batch: Batch, labels: Tensor, photos: Tensor) -> Losses:
        networks = self.networks
        with torch.no_grad():
            # Painted anew without gradients, not taken over: these are other styles than the generators' turn has.
            styles = self._painted_styles(batch, 0, lambda: networks["photo_style"](photos))
            fakes = {
                "label": networks["label_decoder"](networks["photo_content"](photos), self._prior(batch, 0, 0)),
                "photo": networks["photo_decoder"](networks["label_content"](labels), styles),
            }
        real, fake = [], []
        for domain, pictures in (("label", labels), ("photo", photos)):
            # Nothing in a discriminator mixes samples, so that all scores come from one exact call.
            for scores in networks[f"{domain}_discriminator"](torch.cat([pictures, fakes[domain]])):
                of_real, of_fake = scores.chunk(2)
                real.append(least_squares(of_real, 1.0))
                fake.append(least_squares(of_fake, 0.0))
        return {"real": torch.stack(real).sum(), "fake": torch.stack(fake).sum()}

    def _generator_losses(self, batch: Batch, labels: Tensor, photos: Tensor) -> Losses:
        options, networks = self.options, self.networks
        label_content, photo_content = networks["label_content"](labels), networks["photo_content"](photos)
        label_style, photo_style = networks["label_style"](labels), networks["photo_style"](photos)
        # Not differentiated: a code that is read back shall be where it came from, not the other way round.
        label_wanted = self._prior(batch, 1, 0)
        photo_painted = self._painted_styles(batch, 1, lambda: photo_style)

        own_labels, fake_labels = self._decode("label", (label_content, label_style), (photo_content, label_wanted))
        own_photos, fake_photos = self._decode("photo", (photo_content, photo_style), (label_content, photo_painted))
        losses = {"image": options.image_weight * (distance(own_labels, labels) + distance(own_photos, photos))}
        if options.style_weight:
            read = distance(networks["label_style"](fake_labels), label_wanted)
            read = read + distance(networks["photo_style"](fake_photos), photo_painted.detach())
            losses["style"] = options.style_weight * read
        if options.content_weight or options.cycle_weight:
            there, back = networks["photo_content"](fake_photos), networks["label_content"](fake_labels)
            if options.content_weight:
                read = distance(there, label_content) + distance(back, photo_content)
                losses["content"] = options.content_weight * read
            if options.cycle_weight:
                again = distance(networks["label_decoder"](there, label_style), labels)
                again = again + distance(networks["photo_decoder"](back, photo_style), photos)
                losses["cycle"] = options.cycle_weight * again
        if options.realism_weight:
            scores = [*networks["label_discriminator"](fake_labels), *networks["photo_discriminator"](fake_photos)]
            realism = torch.stack([least_squares(each, 1.0) for each in scores]).sum()
            losses["realism"] = options.realism_weight * realism
        return losses | self._further_losses(batch, Codes(label_content, photo_style))

    def _decode(self, domain: str, *codes: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """The pictures of several pairs of content and style, from one call: nothing in a decoder mixes samples."""
        contents, styles = zip(*codes, strict=True)
        pictures = self.networks[f"{domain}_decoder"](torch.cat(contents), torch.cat(styles))
        return tuple(pictures.chunk(len(codes)))


def distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean |difference|, over everything."""
    return (exact(ours) - exact(theirs)).abs().mean()
