"""SPADE: Park et al., CVPR 2019; with a style, an exemplar's or one drawn from the prior, where options ask."""

from collections.abc import Callable, Generator, Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from likeness.command import BadInput
from shards.records import LabelSchema
from trainer.losses import feature_distances, feature_matching, hinge, semantic_loss
from trainer.method import Ablation, Batch, Losses, Method, PublishedCount
from trainer.networks.instances import boundaries
from trainer.networks.spade import DOUBLINGS, Conditioning, Depth, SpadeGenerator
from trainer.networks.spade_discriminator import SpadeDiscriminators
from trainer.networks.spade_encoder import SpadeEncoder, halvings_of
from trainer.options import Options

PHOTO = 3
"""Channels of a photo."""
TURNS = 2
"""Turns of an iteration, each of which paints in styles drawn anew."""


class FromLabels(SpadeGenerator):
    """A generator of style codes on label maps alone, to be counted by their size."""

    def forward(self, label: Tensor, style: Tensor | None = None) -> Tensor:
        assert isinstance(self.start, nn.Linear)
        return super().forward(label, label.new_empty(len(label), self.start.in_features))


def _plain(channels: int, parameters: int, size: tuple[int, int], macs: int, depth: Depth = "normal") -> PublishedCount:
    return PublishedCount(
        "plain generator", channels, parameters, {size: macs}, lambda labels: SpadeGenerator(labels, depth=depth)
    )


def _styled(
    channels: int, parameters: int, size: tuple[int, int], macs: int, depth: Depth = "normal"
) -> PublishedCount:
    start = (size[0] // 2 ** DOUBLINGS[depth], size[1] // 2 ** DOUBLINGS[depth])
    build: Callable[[int], nn.Module] = lambda labels: FromLabels(labels, depth=depth, start=start)  # noqa: E731
    return PublishedCount("VAE generator", channels, parameters, {size: macs}, build)


def _judges(channels: int, parameters: int, size: tuple[int, int], macs: int) -> PublishedCount:
    return PublishedCount("2 discriminators", channels + PHOTO, parameters, {size: macs}, SpadeDiscriminators)


SQUARE, STREET = (256, 256), (256, 512)
COUNTS = (
    _plain(184, 97_480_899, SQUARE, 191_140_069_376),
    _plain(151, 96_492_483, SQUARE, 181_150_072_832),
    _plain(36, 93_048_003, STREET, 281_276_612_608, "more"),
    _styled(184, 112_626_883, SQUARE, 191_048_318_976),
    _styled(151, 111_942_595, SQUARE, 181_077_786_624),
    _styled(36, 101_136_579, STREET, 281_274_384_384, "more"),
    _judges(184, 5_904_514, SQUARE, 8_531_351_552),
    _judges(151, 5_836_930, SQUARE, 7_826_247_680),
    _judges(36, 5_601_410, STREET, 10_471_897_088),
    PublishedCount("style encoder", PHOTO, 10_463_424, {SQUARE: 1_127_219_200}, lambda _: SpadeEncoder()),
)
"""The specification's figures, of its section 2: COCO-Stuff, ADE20K and Cityscapes."""


class SpadeOptions(Options):
    """Options of SPADE; the defaults are the published plain one's."""

    style: bool = Field(False, description="paint in a style: an exemplar's, or one drawn from the prior (SPADE-VAE)")
    boundaries: bool = Field(False, description="show both players the boundaries between instances")
    depth: Depth = Field("normal", description="doublings of the generator: normal 5, more 6, most 7")
    generator_base: int = Field(64, gt=1, description="channels of the generator's last block at depth normal")
    hidden: int = Field(128, gt=0, description="channels between a label map and its scales and shifts")
    discriminator_base: int = Field(64, gt=0, description="channels after a discriminator's first convolution")
    discriminator_scales: int = Field(2, gt=0, description="discriminators, at halving sizes")
    encoder_base: int = Field(64, gt=0, description="channels after the style encoder's first convolution")
    style_numbers: int = Field(256, gt=0, description="numbers of a style code")
    feature_weight: float = Field(10.0, ge=0, description="weight of feature matching")
    perceptual_weight: float = Field(10.0, ge=0, description="weight of the VGG loss")
    prior_weight: float = Field(0.2, ge=0, description="weight of a sample's KL divergence from the prior")
    settling: int = Field(240, gt=0, description="training samples that averaged weights take norm statistics from")
    conditioning: Conditioning = Field(
        "modulation", description="how blocks read the label map; concatenation: ablation"
    )
    label_kernel: int = Field(3, gt=0, description="side of the convolutions that read the label map; 1: ablation")
    lookup: bool = Field(True, description="read label maps of classes by looking weights up, else by convolutions")


class Spade(Method):
    """A label map to a picture, each block of whose generator reads the label map.

    With `style` a code of 256 numbers is where the generator starts, instead of the label map: in training one that the
    encoder draws for the target (mean and variance), afterwards the mean of an exemplar's, or any that is given.

    Statistics of the generator's norms are the whole batch's on any number of ranks; `accumulate` is refused with them.
    """

    options_type = SpadeOptions
    needs_perceptual = True
    players: Mapping[str, tuple[str, ...]] = {"generator": ("generator",), "discriminator": ("discriminator",)}
    synthesizers: tuple[str, ...] = ("generator",)
    title = "SPADE"
    published_counts = COUNTS
    ablations = (
        Ablation("SPADE-VAE", "spade_style", everywhere=True),
        Ablation("SPADE by concatenation", "spade_concatenation", one_seed=True),
        Ablation("SPADE, 1×1 label kernels", "spade_label_kernel_1", one_seed=True),
        Ablation("SPADE w/o VGG", "spade_without_perceptual", one_seed=True),
        Ablation("SPADE w/o feature matching", "spade_without_features", one_seed=True),
    )

    def __init__(self, options: SpadeOptions, schema: LabelSchema) -> None:
        """Raises BadInput for sizes that the generator does not keep, and kernels of even sides."""
        self.options = options
        self.size_multiple = 2 ** DOUBLINGS[options.depth]
        self.settling = options.settling
        self.style_length = options.style_numbers
        _check(options, schema, self.size_multiple)
        channels = schema.channels + options.boundaries
        start = (schema.height // self.size_multiple, schema.width // self.size_multiple)
        self.networks = {
            "generator": SpadeGenerator(
                channels,
                options.generator_base,
                options.depth,
                hidden=options.hidden,
                kernel=options.label_kernel,
                start=start if options.style else None,
                style_numbers=options.style_numbers,
                boundary=options.boundaries,
                conditioning=options.conditioning,
                # Only label maps of ids are one-hot.
                lookup=options.lookup and bool(schema.ids),
            ),
            "discriminator": SpadeDiscriminators(
                channels + PHOTO, options.discriminator_base, options.discriminator_scales
            ),
        }
        read = ("label", *(("instances",) if options.boundaries else ()))
        self.inputs, self.reads = read, ("target",)
        if options.style:
            self.networks["encoder"] = SpadeEncoder(
                options.encoder_base, options.style_numbers, halvings_of(schema.height, schema.width)
            )
            self.players = {**self.players, "generator": ("generator", "encoder")}
            self.synthesizers = ("generator", "encoder")
            self.inputs, self.ways = (*read, "exemplar"), ((*read, "style"),)
            self.reads = ("target", "exemplar")
            self.noise = TURNS * options.style_numbers

    def synthesize(self, networks: Mapping[str, nn.Module], inputs: Mapping[str, Tensor]) -> Tensor:
        condition = self._condition(inputs)
        if not self.options.style:
            return self._paint(networks, condition, None)
        style = inputs["style"] if "style" in inputs else networks["encoder"](inputs["exemplar"])[0]
        return self._paint(networks, condition, style)

    def settle(self, networks: Mapping[str, nn.Module], batch: Batch) -> None:
        """As in training: photos in styles that are drawn around their own."""
        condition = self._condition({"label": batch.label, "instances": batch.instances})
        self._paint(networks, condition, self._styles(networks, batch, 0)[0])

    def play(self, batch: Batch, images: int) -> Generator[tuple[str, Losses], None, None]:
        condition = self._condition({"label": batch.label, "instances": batch.instances})
        style, prior = self._styles(self.networks, batch, 0)
        fake = self._paint(self.networks, condition, style)
        judged = self._judged(condition, fake, batch.target)
        ours = [[output.chunk(2)[0] for output in scale] for scale in judged]
        losses = {"realism": -torch.stack([scale[-1].mean() for scale in ours]).mean()}
        if self.options.feature_weight:
            theirs = [[output.chunk(2)[1] for output in scale] for scale in judged]
            losses["features"] = self.options.feature_weight * feature_matching(ours, theirs)
        if self.options.perceptual_weight:
            assert self.perceptual is not None, "the loop gives the method its loss network"
            with torch.no_grad():
                wanted = self.perceptual(batch.target)
            distances = feature_distances(self.perceptual(fake), wanted)
            losses["perceptual"] = semantic_loss(distances, batch.same_style, "fixed", self.options.perceptual_weight)
        if prior is not None:
            losses["prior"] = self.options.prior_weight * prior
        yield "generator", losses

        # Painted anew, by what the generator is after its step, and in other styles (specification 4).
        with torch.no_grad():
            style, _ = self._styles(self.networks, batch, 1)
            fake = self._paint(self.networks, condition, style)
        scores = [scale[-1].chunk(2) for scale in self._judged(condition, fake, batch.target)]
        yield (
            "discriminator",
            {
                "real": torch.stack([hinge(real, 1) for _, real in scores]).mean(),
                "fake": torch.stack([hinge(judged_fake, -1) for judged_fake, _ in scores]).mean(),
            },
        )

    def _condition(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What generator and discriminators read: labels and boundaries (specification 1)."""
        label = inputs["label"]
        if not self.options.boundaries:
            return label
        return torch.cat([label, boundaries(inputs["instances"]).to(label.dtype)], dim=1)

    def _paint(self, networks: Mapping[str, nn.Module], condition: Tensor, style: Tensor | None) -> Tensor:
        generator = networks["generator"]
        image: Tensor = generator(condition) if style is None else generator(condition, style)
        return image

    def _styles(
        self, networks: Mapping[str, nn.Module], batch: Batch, turn: int
    ) -> tuple[Tensor | None, Tensor | None]:
        """Codes drawn around those of the targets, and their divergence from the prior; None without a style."""
        if not self.options.style:
            return None, None
        mean, log_variance = networks["encoder"](batch.target)
        draws = batch.noise.chunk(TURNS, dim=1)[turn]
        return mean + draws * (log_variance / 2).exp(), divergence(mean, log_variance)

    def _judged(self, condition: Tensor, fake: Tensor, photo: Tensor) -> list[list[Tensor]]:
        """Outputs of all scales and stages, for the painted pictures and then for the photos, in one pass."""
        both = torch.cat([torch.cat([condition, fake], dim=1), torch.cat([condition, photo], dim=1)])
        outputs: list[list[Tensor]] = self.networks["discriminator"](both)
        return outputs


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL from the standard normal prior, summed over the numbers of a code (N, C): the mean over samples.

    The authors sum over the 4 samples of a device with weight 0.05, which are 0.2 for each (specification 3).
    """
    terms = 1 + log_variance - mean.square() - log_variance.exp()
    return -0.5 * terms.sum(1).mean()


def _check(options: SpadeOptions, schema: LabelSchema, multiple: int) -> None:
    if options.label_kernel % 2 == 0:
        raise BadInput(f"options.label_kernel {options.label_kernel} is even; give an odd number, such as 3")
    if schema.height % multiple or schema.width % multiple:
        raise BadInput(
            f"options.depth {options.depth} needs pictures whose sides are multiples of {multiple}, not "
            f"{schema.width}×{schema.height}; pack the shards at another size, or take another depth"
        )


METHOD = Spade
