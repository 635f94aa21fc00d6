"""pix2pixHD: Wang et al., CVPR 2018; with instances, instance features and the local enhancer where options ask."""

from collections.abc import Generator, Mapping
from functools import partial
from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from likeness.command import BadInput
from shards.labels.instance_features import CHANNELS
from shards.records import SIZE_MULTIPLE, LabelSchema
from trainer.losses import feature_distances, feature_matching, least_squares, semantic_loss
from trainer.method import Batch, Losses, Method, PublishedCount, Stage
from trainer.methods._depth import check_depth
from trainer.networks.enhancer import LocalEnhancer
from trainer.networks.feature_encoder import FeatureEncoder
from trainer.networks.generator import GlobalGenerator, PictureLayer, halved, initialise
from trainer.networks.image_pool import ImagePool
from trainer.networks.instances import boundaries, instance_means
from trainer.networks.patchgan import MultiScalePatchGAN
from trainer.options import Options
from trainer.schedules import Schedule, linear_decay

ENHANCED_MULTIPLE = 32
Part = Literal["whole", "global", "fixed", "joint"]
"""What learns: the only generator; the global one at half size; the enhancer around it; both."""


class Enhanced(nn.Module):
    """The local enhancer and the global generator within it, which has no output convolution there; to be counted."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coarse, self.enhancer = GlobalGenerator(channels, picture=False), LocalEnhancer(channels)

    def forward(self, inputs: Tensor) -> Tensor:
        image: Tensor = self.enhancer(inputs, self.coarse(halved(inputs)))
        return image


def _scales(count: int, parameters: int, macs: Mapping[tuple[int, int], int]) -> PublishedCount:
    build = partial(MultiScalePatchGAN, scales=count)
    return PublishedCount(f"{count} discriminators", 39, parameters, macs, build)


COUNTS = (
    PublishedCount("generator", 15, 182_480_899, {(256, 256): 56_849_596_416}, GlobalGenerator),
    PublishedCount("generator", 23, 182_505_987, {(256, 256): 58_493_763_584}, GlobalGenerator),
    PublishedCount("generator", 42, 182_565_571, {(144, 256): 35_099_246_592}, GlobalGenerator),
    PublishedCount(
        "generator", 36, 182_546_755, {(256, 256): 61_165_535_232, (512, 1024): 489_324_281_856}, GlobalGenerator
    ),
    PublishedCount(
        "generator", 39, 182_556_163, {(256, 256): 61_782_097_920, (512, 1024): 494_256_783_360}, GlobalGenerator
    ),
    PublishedCount("generator, enhanced", 36, 182_857_059, {(1024, 2048): 747_928_289_280}, Enhanced),
    PublishedCount("generator, enhanced", 39, 182_871_171, {(1024, 2048): 762_725_793_792}, Enhanced),
    _scales(1, 2_801_601, {(256, 256): 4_223_646_720, (512, 1024): 32_072_252_416}),
    _scales(2, 5_603_202, {(256, 256): 5_369_067_520, (512, 1024): 40_345_106_432}),
    _scales(3, 8_404_803, {(256, 256): 5_703_611_392, (512, 1024): 42_544_149_504}),
    PublishedCount("feature encoder", 3, 788_803, {(256, 256): 912_261_120}, lambda _: FeatureEncoder()),
)
"""The specification's figures, of its sections 2.1 to 2.4 and 5."""


class Pix2PixHDOptions(Options):
    """Options of pix2pixHD; the defaults are those of the baseline in the style-consistency comparison."""

    generator_base: int = Field(64, gt=0, description="channels after the generator's first convolution")
    generator_downsamplings: int = Field(4, gt=0, description="stride-2 convolutions of the generator")
    generator_blocks: int = Field(9, ge=0, description="residual blocks of the generator")
    discriminator_base: int = Field(64, gt=0, description="channels after a discriminator's first convolution")
    discriminator_layers: int = Field(3, gt=0, description="stride-2 convolutions of a discriminator")
    discriminator_scales: int = Field(2, gt=0, description="K, discriminators at halving sizes")
    feature_weight: float = Field(10.0, ge=0, description="weight of feature matching")
    perceptual_weight: float = Field(10.0, ge=0, description="weight of the VGG loss")
    instances: bool = Field(False, description="show both players the boundaries between instances")
    features: Literal["none", "instances", "classes"] = Field(
        "none", description="give the generator encoded looks of the target, a mean per instance or per class"
    )
    feature_channels: int = Field(CHANNELS, gt=0, description="channels of features, where the generator reads any")
    encoder_base: int = Field(16, gt=0, description="channels after the feature encoder's first convolution")
    encoder_downsamplings: int | None = Field(
        None, gt=0, description="stride-2 convolutions of the feature encoder; null: as many as the generator's"
    )
    enhancer: bool = Field(False, description="coarse to fine: a local enhancer around a generator of half the size")
    enhancer_blocks: int = Field(3, ge=0, description="residual blocks of the enhancer")
    global_images: int = Field(
        0, ge=0, description="images for which the generator learns at half size, alone; 0: none"
    )
    fixed_images: int = Field(0, ge=0, description="images after them for which only the enhancer learns")
    pool: int = Field(0, ge=0, description="past pictures that the discriminator may be shown again; kept at full size")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.features == "instances" and not self.instances:
            raise ValueError("features: instances needs instances: true, or take features: classes")
        if not self.enhancer and (self.global_images or self.fixed_images):
            raise ValueError("global_images and fixed_images are stages of enhancer: true; leave them 0 without it")
        if self.global_images and self.discriminator_scales < 2:
            raise ValueError("global_images needs discriminator_scales of at least 2: the coarse generator has one too")
        if self.enhancer and self.generator_base % 2:
            raise ValueError("enhancer: true needs an even generator_base: the enhancer's is half of it")
        return self


class Pix2PixHD(Method):
    """A label map to a picture, without an exemplar.

    Coarse to fine it is one run of three stages, where the paper has two runs: the global generator learns at half
    size, against all discriminators but the finest; then the enhancer around it, which stays fixed; then both
    (specification 2.2, 4). The coarse stage reads what the enhancer will show the global generator: halved inputs.

    Features are the encoder's means over instances or classes of the target (specification 2.4). The encoder learns
    with the generator; coarse to fine it reads halved photos, rests after the coarse stage, and its features are
    enlarged to the nearest, which is what the paper's stored 8-bit pictures were for.
    """

    options_type = Pix2PixHDOptions
    reads = ("target",)
    needs_perceptual = True
    title = "pix2pixHD"
    published_counts = COUNTS

    def __init__(self, options: Pix2PixHDOptions, schema: LabelSchema) -> None:
        """Raises BadInput for sizes that the networks do not keep, and class features without classes."""
        self.options = options
        self.size_multiple = _multiple(options)
        _check(options, schema)
        conditions = schema.channels + options.instances
        channels = conditions + (options.feature_channels if options.features != "none" else 0)
        scales, layers = options.discriminator_scales - options.enhancer, options.discriminator_layers
        self.networks = {
            "generator": GlobalGenerator(
                channels,
                options.generator_base,
                options.generator_downsamplings,
                options.generator_blocks,
                picture=not options.enhancer,
            ),
        }
        if scales:
            self.networks["discriminator"] = MultiScalePatchGAN(
                conditions + 3, options.discriminator_base, scales, layers
            )
        if options.features != "none":
            self.encoders, self.regions = ("encoder",), options.features
            self.feature_channels = options.feature_channels
            self.networks["encoder"] = FeatureEncoder(
                options.encoder_base, _encoder_downsamplings(options), options.feature_channels
            )
        if options.enhancer:
            if options.global_images:
                self.networks["global_picture"] = PictureLayer(options.generator_base)
                initialise(self.networks["global_picture"])
            self.networks["enhancer"] = LocalEnhancer(channels, options.generator_base // 2, options.enhancer_blocks)
            self.networks["fine_discriminator"] = MultiScalePatchGAN(
                conditions + 3, options.discriminator_base, 1, layers
            )
        if options.pool:
            self.networks["pool"] = ImagePool(options.pool, conditions, schema.height, schema.width)
            # One says whether a stored picture is shown, the other which. They come with the sample, and not from
            # torch's random state, so that a run that goes on draws the same.
            self.noise = 2
            self.alone = "each process would have a pool of its own; set options.pool to 0"
            if options.global_images:
                self.networks["coarse_pool"] = ImagePool(
                    options.pool, conditions, schema.height // 2, schema.width // 2
                )
        self.inputs = (
            "label",
            *(("instances",) if options.instances else ()),
            *(("features",) if options.features != "none" else ()),
        )
        painters = ("generator", "global_picture", "enhancer", "encoder")
        self.synthesizers = tuple(name for name in painters if name in self.networks)
        starts = (0, options.global_images, options.global_images + options.fixed_images)
        self.stage_starts = tuple(sorted(set(starts)))
        self.players = self.stage(0).players
        if options.enhancer and not options.global_images:
            resting = ("generator", "encoder") if options.fixed_images else ("encoder",)
            self.needed_from_start = tuple(name for name in resting if name in self.networks)

    def stage(self, images: int) -> Stage:
        """After exactly the images of the coarse stage the enhancer is the next to learn, and has not painted yet."""
        part = self._part(images)
        learning: dict[Part, tuple[str, ...]] = {
            "whole": ("generator", "encoder"),
            "global": ("generator", "global_picture", "encoder"),
            "fixed": ("enhancer",),
            "joint": ("generator", "enhancer"),
        }
        judging = ("discriminator",) if part in ("whole", "global") else ("discriminator", "fine_discriminator")
        # Who learns next is told by `images`, but who paints by the image before: at the very border, checkpoints,
        # previews and averages are still of the coarse stage, whose enhancer is as it was drawn. `unused` is the one
        # painter that the stage does without: the enhancer while the global generator learns alone, and afterwards that
        # one's own output layer.
        unused = {"whole": "", "global": "enhancer"}.get(self._part(max(0, images - 1)), "global_picture")
        return Stage(
            players={
                "generator": tuple(name for name in learning[part] if name in self.networks),
                "discriminator": tuple(name for name in judging if name in self.networks),
            },
            synthesizers=tuple(name for name in self.synthesizers if name != unused),
        )

    def _part(self, images: int) -> Part:
        options = self.options
        if not options.enhancer:
            return "whole"
        if images < options.global_images:
            return "global"
        return "fixed" if images < options.global_images + options.fixed_images else "joint"

    def rate(self, player: str, images: int, schedule: Schedule) -> float:
        """The coarse stage has its own decay, to 0 over its second half; the schedule begins after it.

        The enhancer's rate and moments go on when the global generator joins it (specification 6).
        """
        coarse = self.options.global_images
        if images < coarse:
            return linear_decay(images, coarse // 2, coarse - coarse // 2)
        return schedule.at(images - coarse)

    def synthesize(self, networks: Mapping[str, nn.Module], inputs: Mapping[str, Tensor]) -> Tensor:
        channels = self._channels(inputs)
        if not self.options.enhancer:
            image: Tensor = networks["generator"](channels)
            return image
        coarse = networks["generator"](halved(channels))
        if "enhancer" in networks:
            image = networks["enhancer"](channels, coarse)
            return image
        return F.interpolate(networks["global_picture"](coarse), scale_factor=2, mode="bilinear", align_corners=False)

    def taken_over(self, name: str, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """An enhanced generator has no use for the output layer of one that was trained alone (specification 2.2)."""
        if name == "generator" and self.options.enhancer:
            return {key: value for key, value in tensors.items() if not key.startswith("last.")}
        return tensors

    def inputs_of(self, networks: Mapping[str, nn.Module], batch: Batch) -> dict[str, Tensor]:
        """The batch's own inputs. Features are encoded from its targets: pictures made of them know the true looks."""
        inputs = {name: getattr(batch, name) for name in self.inputs if name != "features"}
        if "features" in self.inputs:
            features, _ = self.encode(networks, batch)
            inputs["features"] = _enlarged(features) if self.options.enhancer else features
        return inputs

    def encode(self, networks: Mapping[str, nn.Module], batch: Batch) -> tuple[Tensor, Tensor]:
        """The targets' features, and the regions that they are means over, at the size that the encoder reads.

        Features are (N, C, h, w) in (-1, 1); regions are (N, h, w), numbers of instances or of label channels.
        """
        regions = batch.instances if self.options.features == "instances" else batch.label.argmax(1)
        photo = batch.target
        if self.options.enhancer:
            # Photos are averaged and regions picked: the mean of two instances' numbers is a third one's.
            photo, regions = halved(photo), regions[:, ::2, ::2]
        return instance_means(networks["encoder"](photo), regions), regions

    def reach(self) -> int | None:
        """Of features and label maps, and a pixel more of instance maps for their boundaries."""
        options = self.options
        scale = int(2**options.generator_downsamplings)
        # 7×7, halvings, blocks of two 3×3, doublings: 3×3 at 1/2^level of the size reaches 2^level pixels.
        body = 3 + (scale - 1) + 2 * options.generator_blocks * scale + (scale - 1)
        if options.enhancer:
            # The body sees halved inputs; blocks at half size, a doubling.
            body = 1 + 2 * body + 2 * 2 * options.enhancer_blocks + 1
        return body + 3 + options.instances

    def play(self, batch: Batch, images: int) -> Generator[tuple[str, Losses], None, None]:
        part = self._part(images)
        inputs = self.inputs_of(self.networks, batch)
        condition, photo = self._condition(inputs), batch.target
        if part == "global":
            condition, photo = halved(condition), halved(photo)
        fake = self._paint(inputs, part)
        judged = self._discriminate(part, condition, fake)
        losses = {"realism": torch.stack([least_squares(scale[-1], 1.0) for scale in judged]).sum()}
        # The photo's features are the goal here and get no gradient; the discriminator learns from photos in its own
        # turn.
        if self.options.feature_weight:
            with torch.no_grad():
                real = self._discriminate(part, condition, photo)
            losses["features"] = self.options.feature_weight * feature_matching(judged, real)
        if self.options.perceptual_weight:
            assert self.perceptual is not None, "the loop gives the method its loss network"
            with torch.no_grad():
                wanted = self.perceptual(photo)
            distances = feature_distances(self.perceptual(fake), wanted)
            losses["perceptual"] = semantic_loss(distances, batch.same_style, "fixed", self.options.perceptual_weight)
        yield "generator", losses

        shown, fake = condition, fake.detach()
        if self.options.pool:
            shown, fake = self.networks["coarse_pool" if part == "global" else "pool"](shown, fake, batch.noise)
        # One call for both: instance norm keeps samples apart, so that each gets the scores that it would get alone.
        both = self._discriminate(part, torch.cat([condition, shown]), torch.cat([photo, fake]))
        scores = [scale[-1].chunk(2) for scale in both]
        yield (
            "discriminator",
            {
                # Halved, so that the discriminator learns no faster than the generator (Isola et al. 2017, section
                # 3.3).
                "real": torch.stack([least_squares(real, 1.0) for real, _ in scores]).sum() / 2,
                "fake": torch.stack([least_squares(judged, 0.0) for _, judged in scores]).sum() / 2,
            },
        )

    def _paint(self, inputs: Mapping[str, Tensor], part: Part) -> Tensor:
        """What the losses look at: pictures at full size, or at half size in the coarse stage."""
        if part != "global":
            return self.synthesize(self.networks, inputs)
        coarse: Tensor = self.networks["global_picture"](self.networks["generator"](halved(self._channels(inputs))))
        return coarse

    def _channels(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What the generator reads, at full size: labels, boundaries, features (specification 1)."""
        condition = self._condition(inputs)
        return torch.cat([condition, inputs["features"]], dim=1) if "features" in inputs else condition

    def _condition(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What the discriminators read beside a photo: labels and boundaries, never features (specification 1)."""
        label = inputs["label"]
        if "instances" not in inputs:
            return label
        return torch.cat([label, boundaries(inputs["instances"]).to(label.dtype)], dim=1)

    def _discriminate(self, part: Part, condition: Tensor, photo: Tensor) -> list[list[Tensor]]:
        """Per scale, the finest first: the outputs of the stages and, last, the scores."""
        inputs = torch.cat([condition, photo], dim=1)
        outputs: list[list[Tensor]] = []
        if part in ("fixed", "joint"):
            outputs += self.networks["fine_discriminator"](inputs)
            inputs = halved(inputs)
        if "discriminator" in self.networks:
            outputs += self.networks["discriminator"](inputs)
        return outputs


def _enlarged(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="nearest")


def _encoder_downsamplings(options: Pix2PixHDOptions) -> int:
    return options.encoder_downsamplings or options.generator_downsamplings


def _multiple(options: Pix2PixHDOptions) -> int:
    """What the sides of a picture must be multiples of. With an enhancer, halved pictures are halved further."""
    return int(max(ENHANCED_MULTIPLE if options.enhancer else SIZE_MULTIPLE, 2 ** _halvings(options)))


def _halvings(options: Pix2PixHDOptions) -> int:
    """How often a picture is halved where the networks are deepest."""
    deepest = options.generator_downsamplings
    if options.features != "none":
        deepest = max(deepest, _encoder_downsamplings(options))
    return deepest + options.enhancer


def _check(options: Pix2PixHDOptions, schema: LabelSchema) -> None:
    if options.features == "classes" and schema.kind != "classes":
        raise BadInput(
            f"options.features classes needs label maps of classes, but data.label is {schema.kind}; "
            "set options.features to instances or none"
        )
    causes = f"options.generator_downsamplings {options.generator_downsamplings}"
    if options.features != "none":
        causes += f" with a feature encoder of {_encoder_downsamplings(options)}"
    if options.enhancer:
        check_depth(
            schema,
            _halvings(options),
            f"options.enhancer with {causes}",
            "set it to false",
            multiple=_multiple(options),
        )
    else:
        check_depth(schema, _halvings(options), causes, "make them less deep")


METHOD = Pix2PixHD
