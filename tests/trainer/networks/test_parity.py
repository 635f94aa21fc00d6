"""The networks and losses against an independent forward in NumPy, and against every number that is published of them.

Sections are those of the specifications of the style-consistent method and, where it is named, of pix2pixHD.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shards.labels import standard_schema
from tests.trainer.networks import numpy_reference as reference
from trainer.config import load
from trainer.method import Batch, Method
from trainer.methods.pix2pixhd import METHOD as PIX2PIXHD
from trainer.methods.style_consistent import METHOD as STYLE_CONSISTENT
from trainer.networks.generator import ColourShift, GlobalGenerator, ResidualBlock
from trainer.networks.norms import InstanceNorm2d
from trainer.networks.patchgan import MultiScalePatchGAN, PatchGAN
from trainer.networks.vgg import VGG19
from trainer.perceptual import load_vgg19
from trainer.schedules import linear_decay, phase

SINGLE, DOUBLE = 5e-5, 1e-10
"""How near torch's float32 and float64 come to the reference, in units of the largest value.

Each processor sums float32 in an order of its own: without AVX-512 the generator of four levels comes to 2.4e-5.
"""


def numbers(*shape: int, seed: int = 0) -> reference.Array:
    return np.random.default_rng(seed).standard_normal(shape)


def state_of(module: nn.Module) -> dict[str, reference.Array]:
    return {name: value.detach().double().numpy() for name, value in module.state_dict().items()}


def stir(module: nn.Module) -> nn.Module:
    """Draws every weight and bias anew, none of them near 0, so that none can be left out unnoticed."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
    return module


def assert_agree(ours: Tensor, wanted: reference.Array) -> None:
    assert ours.shape == wanted.shape
    tolerance = SINGLE if ours.dtype == torch.float32 else DOUBLE
    scale = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(ours.detach().double().numpy(), wanted, atol=tolerance * scale, rtol=0)


PRECISIONS = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])


@PRECISIONS
@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        (nn.ReflectionPad2d(3), lambda x, _: reference.reflect(x, 3)),
        (
            nn.Conv2d(6, 5, 3, stride=2, padding=1),
            lambda x, s: reference.convolution(x, s["weight"], s["bias"], stride=2, padding=1),
        ),
        (
            nn.Conv2d(6, 5, 4, stride=2, padding=2),
            lambda x, s: reference.convolution(x, s["weight"], s["bias"], stride=2, padding=2),
        ),
        (
            nn.ConvTranspose2d(6, 5, 3, stride=2, padding=1, output_padding=1),
            lambda x, s: reference.transposed_convolution(x, s["weight"], s["bias"]),
        ),
        (InstanceNorm2d(6), lambda x, _: reference.instance_norm(x)),
        (nn.LeakyReLU(0.2), lambda x, _: reference.leaky_relu(x)),
        (
            ResidualBlock(6),
            lambda x, s: reference.residual_block(
                x, (s["body.1.weight"], s["body.1.bias"]), (s["body.5.weight"], s["body.5.bias"])
            ),
        ),
        (nn.MaxPool2d(2), lambda x, _: reference.max_pool(x)),
        (nn.AvgPool2d(3, 2, 1, count_include_pad=False), lambda x, _: reference.average_pool(x)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_each_block_agrees_with_the_reference(block: nn.Module, wanted: Any, dtype: torch.dtype) -> None:
    """At sizes that are odd, and neither square nor whole multiples of anything."""
    block = stir(block).to(dtype)
    x = 3 * numbers(2, 6, 13, 8) + 1
    assert_agree(block(torch.from_numpy(x).to(dtype)), wanted(x, state_of(block)))


@PRECISIONS
@pytest.mark.parametrize("shape", [(2, 3, 9, 16), (2, 3, 36, 28)])
def test_resizing_agrees_with_the_reference(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = numbers(*shape)
    ours = F.interpolate(torch.from_numpy(x).to(dtype), (24, 24), mode="bilinear", align_corners=False)
    assert_agree(ours, reference.bilinear(x, 24))


@PRECISIONS
def test_the_colour_modulation_agrees_with_the_reference(dtype: torch.dtype) -> None:
    shift = stir(ColourShift(12, 5)).to(dtype)
    x, colour = numbers(2, 5, 7, 6), numbers(2, 12, seed=1)
    ours = shift(torch.from_numpy(x).to(dtype), torch.from_numpy(colour).to(dtype))
    named = {f"colour.0.{name}": value for name, value in state_of(shift).items()}
    assert_agree(ours, reference.colour_shift(x, colour, named, "colour.0"))


@PRECISIONS
@pytest.mark.parametrize(("base", "downs", "blocks"), [(8, 4, 2), (16, 2, 2)], ids=["four levels", "two levels"])
def test_the_generator_agrees_with_the_reference(base: int, downs: int, blocks: int, dtype: torch.dtype) -> None:
    """The small generators of 9.1."""
    generator = stir(GlobalGenerator(33, base, downs, blocks)).to(dtype)
    x = numbers(2, 33, 64, 48)
    assert_agree(generator(torch.from_numpy(x).to(dtype)), reference.generator(x, state_of(generator)))


@PRECISIONS
@pytest.mark.parametrize("height", [256, 144])
def test_the_discriminator_agrees_with_the_reference_stage_by_stage(height: int, dtype: torch.dtype) -> None:
    discriminator = stir(PatchGAN(6, base=2)).to(dtype)
    x = numbers(1, 6, height, 256)
    wanted = reference.patchgan(x, state_of(discriminator))
    assert isinstance(discriminator, PatchGAN)
    ours = discriminator.features(torch.from_numpy(x).to(dtype))
    for one, other in zip(ours, wanted, strict=True):
        assert_agree(one, other)


@PRECISIONS
def test_the_multi_scale_discriminator_agrees_with_the_reference(dtype: torch.dtype) -> None:
    discriminator = stir(MultiScalePatchGAN(5, base=4, scales=3)).to(dtype)
    x = numbers(2, 5, 66, 50)
    wanted = reference.multi_scale_patchgan(x, state_of(discriminator), 3)
    for one, other in zip(discriminator(torch.from_numpy(x).to(dtype)), wanted, strict=True):
        for ours, theirs in zip(one, other, strict=True):
            assert_agree(ours, theirs)


@PRECISIONS
@pytest.mark.parametrize(("resize_below", "imagenet_norm"), [(0, False), (48, False), (0, True)])
def test_the_loss_network_agrees_with_the_reference(resize_below: int, imagenet_norm: bool, dtype: torch.dtype) -> None:
    network = stir(VGG19(8, imagenet_norm, resize_below)).to(dtype)
    x = numbers(2, 3, 40, 56)
    wanted = reference.vgg19(x, state_of(network), resize_below, imagenet_norm)
    for ours, theirs in zip(network(torch.from_numpy(x).to(dtype)), wanted, strict=True):
        assert_agree(ours, theirs)


SIZE = 64
SCHEMA = standard_schema("sketch", SIZE, SIZE)
SMALL = {"generator_base": 6, "generator_downsamplings": 3, "generator_blocks": 1, "discriminator_base": 4}


def stirred(method: Method) -> Method:
    method.perceptual = load_vgg19("random:0", divisor=16, resize_below=0)
    for network in (*method.networks.values(), method.perceptual):
        stir(network).double()
    return method


def batch() -> Batch:
    """A sample whose target and exemplar share a style, and two that do not."""
    photos = [np.tanh(numbers(3, 3, SIZE, SIZE, seed=seed)) for seed in range(4)]
    labels = [np.abs(np.tanh(numbers(3, SCHEMA.channels, SIZE, SIZE, seed=seed))) for seed in (4, 5)]
    arrays = (labels[0], photos[0], labels[1], *photos[1:], np.array([1.0, 0.0, 0.0]))
    return Batch(*(torch.from_numpy(array) for array in arrays))


def plain(given: Batch) -> dict[str, reference.Array]:
    return {name: getattr(given, name).numpy() for name in Batch.__dataclass_fields__}


def assert_played(method: Method, given: Batch, wanted: dict[str, dict[str, float]]) -> None:
    played = {player: {name: loss.item() for name, loss in terms.items()} for player, terms in method.play(given, 0)}
    assert played.keys() == wanted.keys()
    for player, terms in wanted.items():
        assert played[player] == pytest.approx(terms, rel=1e-10, abs=0), player


@pytest.mark.parametrize("colour_aware", [False, True], ids=["published", "colour-aware"])
@pytest.mark.parametrize(
    ("weighting", "same", "other"),
    [
        # 3.3, effective factors in front of mean|ΔVGG_i|: readings A and B, and the ablation of 6.2.
        ("adaptive", [10, 10, 10, 10, 10], [0.3125, 0.625, 1.25, 2.5, 10]),
        ("official", [20.3125, 20.625, 21.25, 22.5, 30], [0.3125, 0.625, 1.25, 2.5, 10]),
        ("fixed", [0.3125, 0.625, 1.25, 2.5, 10], [0.3125, 0.625, 1.25, 2.5, 10]),
    ],
)
def test_every_loss_of_the_style_consistent_method(
    weighting: str, same: list[float], other: list[float], colour_aware: bool
) -> None:
    """One iteration by the formulas of 3.1 and 3.2, with networks, losses and schedule in NumPy."""
    options = {"weighting": weighting, "colour_aware": colour_aware, "style_phases": [(0, 0.3)], "pixel_weight": 2.0}
    method = stirred(STYLE_CONSISTENT(STYLE_CONSISTENT.options_type(**SMALL | options), SCHEMA))
    given = batch()
    b = plain(given)
    states = {name: state_of(network) for name, network in method.networks.items()}
    generator = {name.removeprefix("body."): value for name, value in states["generator"].items()}
    assert method.perceptual is not None
    loss_network = state_of(method.perceptual)

    x = np.concatenate([b["label"], b["exemplar_label"], b["exemplar"]], axis=1)
    fake = reference.generator(x, generator, reference.cell_means(b["exemplar"], 8) if colour_aware else None)

    def realism(photo: reference.Array) -> reference.Array:
        return reference.patchgan(np.concatenate([b["label"], photo], axis=1), states["realism"])[-1]

    def style(photo: reference.Array) -> reference.Array:
        return reference.patchgan(np.concatenate([photo, b["exemplar"]], axis=1), states["style"])[-1]

    distances = reference.distances(reference.vgg19(fake, loss_network), reference.vgg19(b["target"], loss_network))
    factors = np.array([same if flag else other for flag in b["same_style"]])
    pixel = np.abs(fake[0] - b["target"][0]).mean() / 3  # of three samples, the first shares its exemplar's style
    squared = reference.squared
    assert_played(
        method,
        given,
        {
            "generator": {
                "realism": squared(realism(fake), 1),
                "style": 10 * 0.3 * squared(style(fake), 1),
                "semantic": float((factors * distances).sum(1).mean()),
                "pixel": 2 * float(pixel),
            },
            "realism": {"real": squared(realism(b["target"]), 1) / 2, "fake": squared(realism(fake), 0) / 2},
            "style": {
                "consistent": squared(style(b["consistent"]), 1) / 2,
                "fake": squared(style(fake), 0) / 2,
                "inconsistent": squared(style(b["inconsistent"]), 0) / 2,
            },
        },
    )


@pytest.mark.parametrize("scales", [1, 2])
def test_every_loss_of_pix2pixhd(scales: int) -> None:
    """One iteration by the formulas of pix2pixHD 3, with networks and losses in NumPy."""
    options = PIX2PIXHD.options_type(**SMALL, discriminator_scales=scales)
    method = stirred(PIX2PIXHD(options, SCHEMA))
    given = batch()
    b = plain(given)
    states = {name: state_of(network) for name, network in method.networks.items()}
    assert method.perceptual is not None
    loss_network = state_of(method.perceptual)
    fake = reference.generator(b["label"], states["generator"])

    def judged(photo: reference.Array) -> list[list[reference.Array]]:
        return reference.multi_scale_patchgan(
            np.concatenate([b["label"], photo], axis=1), states["discriminator"], scales
        )

    of_fake, of_real = judged(fake), judged(b["target"])
    features = sum(
        np.abs(ours - theirs).mean()
        for one, other in zip(of_fake, of_real, strict=True)
        for ours, theirs in zip(one[:4], other[:4], strict=True)
    )
    distances = reference.distances(reference.vgg19(fake, loss_network), reference.vgg19(b["target"], loss_network))
    weights = np.array([1 / 32, 1 / 16, 1 / 8, 1 / 4, 1])
    squared = reference.squared
    assert_played(
        method,
        given,
        {
            "generator": {
                "realism": sum(squared(scale[-1], 1) for scale in of_fake),
                "features": 10 * float(features) / scales,
                "perceptual": 10 * float((distances * weights).sum(1).mean()),
            },
            "discriminator": {
                "real": sum(squared(scale[-1], 1) for scale in of_real) / 2,
                "fake": sum(squared(scale[-1], 0) for scale in of_fake) / 2,
            },
        },
    )


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def convolutions(network: nn.Module, *shape: int) -> list[tuple[int, tuple[int, ...], int]]:
    """(parameters, size of the output, multiply-accumulates) of each convolution, in the order in which they run.

    A transposed convolution counts its input pixels × k² × C_in × C_out (2.1); bias, norms and pools count nothing.
    """
    rows = []

    def count(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        pixels = (given[0] if isinstance(layer, nn.ConvTranspose2d) else out).shape[-2:].numel()
        rows.append((parameters(layer), tuple(out.shape[-2:]), pixels * layer.weight.numel()))

    hooks = [
        layer.register_forward_hook(count)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    ]
    with torch.no_grad():
        network.to("meta")(torch.empty(shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return rows


def macs(network: nn.Module, *shape: int) -> int:
    return sum(row[2] for row in convolutions(network, *shape))


def test_the_generators_layers_are_those_of_table_2_1() -> None:
    """Parameters, outputs and MMACs of layers 1 to 19, for 33 input channels at 256×256."""
    with torch.device("meta"):
        generator = GlobalGenerator(33)
    half_block = (18_876_416 // 2, 16, 4_831.8 / 2)
    table = [
        (103_552, 256, 6_782.2),
        (73_856, 128, 1_208.0),
        (295_168, 64, 1_208.0),
        (1_180_160, 32, 1_208.0),
        (4_719_616, 16, 1_208.0),
        *[half_block] * 18,
        (4_719_104, 32, 1_208.0),
        (1_179_904, 64, 1_208.0),
        (295_040, 128, 1_208.0),
        (73_792, 256, 1_208.0),
        (9_411, 256, 616.6),
    ]
    rows = convolutions(generator, 1, 33, 256, 256)
    assert [(count, size) for count, size, _ in rows] == [(count, (side, side)) for count, side, _ in table]
    assert [row[2] / 1e6 for row in rows] == pytest.approx([row[2] for row in table], abs=0.06)
    assert parameters(generator.trunk) == 169_887_744, "93 % of the parameters sit in the trunk (2.1)"
    assert 4 * parameters(generator) == 730_149_388, "bytes of the face model in FP32 (1.3)"


@pytest.mark.parametrize(
    ("height", "sizes"),
    [
        (256, [(129, 129), (65, 65), (33, 33), (34, 34), (35, 35)]),
        (144, [(73, 129), (37, 65), (19, 33), (20, 34), (21, 35)]),
    ],
)
def test_the_discriminators_layers_are_those_of_table_2_2(height: int, sizes: list[tuple[int, int]]) -> None:
    rows = convolutions(PatchGAN(6), 1, 6, height, 256)
    assert [row[0] for row in rows] == [6_208, 131_200, 524_544, 2_097_664, 8_193]
    assert [row[1] for row in rows] == sizes


@pytest.mark.parametrize("kind", ["generator", "discriminator"])
def test_arithmetic_grows_with_the_channels_as_published(kind: str) -> None:
    """The general lines of the tables of 2.1 and 2.2, at 256×256."""
    network, constant, slope = {
        "generator": (GlobalGenerator, 53_766_782_976, 205_520_896),
        "discriminator": (PatchGAN, 3_559_071_744, 17_040_384),
    }[kind]
    for channels in (1, 26):
        with torch.device("meta"):
            assert macs(network(channels), 1, channels, 256, 256) == constant + slope * channels


@pytest.mark.parametrize(
    ("height", "width", "count"), [(144, 256, 13_313_507_328), (224, 224, 18_121_162_752)], ids=["144×256", "224×224"]
)
def test_the_loss_networks_arithmetic(height: int, width: int, count: int) -> None:
    """2.3."""
    with torch.device("meta"):
        assert macs(VGG19(resize_below=0), 1, 3, height, width) == count


@pytest.mark.parametrize(
    ("channels", "generator", "realism"),
    [
        # Face, dance and street as the official code encodes them, and street with the 20 channels of 5.6 (2.1, 2.2).
        (15, 182_537_347, 2_780_097),
        (23, 182_587_523, 2_788_289),
        (42, 182_706_691, 2_807_745),
        (20, 182_568_707, 2_761_665 + 1_024 * 23),
    ],
)
def test_the_style_consistent_networks_by_label_channels(channels: int, generator: int, realism: int) -> None:
    with torch.device("meta"):
        networks = STYLE_CONSISTENT(STYLE_CONSISTENT.options_type(), _Channels(channels)).networks  # type: ignore[arg-type]
    counts = {name: parameters(network) for name, network in networks.items()}
    assert counts == {"generator": generator, "realism": realism, "style": 2_767_809}


class _Channels:
    """As much of a label schema as a method looks at: the official code's encodings are none of ours."""

    def __init__(self, channels: int) -> None:
        self.channels, self.height, self.width = channels, 256, 256


@pytest.mark.parametrize(
    ("channels", "height", "generator", "discriminator", "arithmetic"),
    [
        (15, 256, 182_480_899, 5_560_194, 56_849_596_416),
        (23, 256, 182_505_987, 5_576_578, 58_493_763_584),
        (42, 144, 182_565_571, 5_615_490, 35_099_246_592),
    ],
)
def test_the_baseline_by_label_channels(
    channels: int, height: int, generator: int, discriminator: int, arithmetic: int
) -> None:
    """pix2pixHD 5: the settings of the comparison."""
    with torch.device("meta"):
        networks = PIX2PIXHD(PIX2PIXHD.options_type(), _Channels(channels)).networks  # type: ignore[arg-type]
    counts = {name: parameters(network) for name, network in networks.items()}
    assert counts == {"generator": generator, "discriminator": discriminator}
    assert macs(networks["generator"], 1, channels, height, 256) == arithmetic


@pytest.mark.parametrize(
    ("channels", "count", "small", "large"),
    [(36, 182_546_755, 61_165_535_232, 489_324_281_856), (39, 182_556_163, 61_782_097_920, 494_256_783_360)],
)
def test_pix2pixhds_generator(channels: int, count: int, small: int, large: int) -> None:
    """pix2pixHD 2.1: parameters, and arithmetic at 256×256 and at 1024×512."""
    with torch.device("meta"):
        generator = GlobalGenerator(channels)
    assert parameters(generator) == count
    assert macs(generator, 1, channels, 256, 256) == small
    assert macs(generator, 1, channels, 512, 1024) == large


@pytest.mark.parametrize(
    ("scales", "count", "small", "large", "grids"),
    [
        (1, 2_801_601, 4_223_646_720, 32_072_252_416, [(67, 131)]),
        (2, 5_603_202, 5_369_067_520, 40_345_106_432, [(67, 131), (35, 67)]),
        (3, 8_404_803, 5_703_611_392, 42_544_149_504, [(67, 131), (35, 67), (19, 35)]),
    ],
)
def test_pix2pixhds_discriminators(
    scales: int, count: int, small: int, large: int, grids: list[tuple[int, int]]
) -> None:
    """pix2pixHD 2.3, 39 channels: parameters, arithmetic at 256×256 and 1024×512, score grids at 1024×512."""
    with torch.device("meta"):
        discriminator = MultiScalePatchGAN(39, scales=scales)
        outputs = discriminator(torch.empty(1, 39, 512, 1024))
    assert parameters(discriminator) == count
    assert macs(discriminator, 1, 39, 256, 256) == small
    assert macs(discriminator, 1, 39, 512, 1024) == large
    assert [tuple(scale[-1].shape[-2:]) for scale in outputs] == grids


def test_receptive_fields_of_the_scales() -> None:
    """pix2pixHD 2.3: 70, 141 and 283 pixels of the full size, on the direct path, which norms do not widen."""
    discriminator = MultiScalePatchGAN(1, base=2, scales=3)
    for copy in discriminator.copies:
        assert isinstance(copy, PatchGAN)
        for stage in list(copy.stages)[1:4]:
            assert isinstance(stage, nn.Sequential)
            stage[1] = nn.Identity()
    stir(discriminator)
    reached = []
    for scale in range(3):
        picture = torch.randn(1, 1, 384, 384, requires_grad=True)
        scores = discriminator(picture)[scale][-1]
        scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
        assert picture.grad is not None
        touched = picture.grad[0, 0] != 0
        reached.append((int(touched.any(1).sum()), int(touched.any(0).sum())))
    assert reached == [(70, 70), (141, 141), (283, 283)]


def test_norms_let_every_score_see_the_whole_picture() -> None:
    """2.2, measured there: all input pixels carry gradient for one score."""
    discriminator = stir(PatchGAN(6, base=4)).double()
    picture = torch.from_numpy(numbers(1, 6, 128, 128)).requires_grad_(True)
    discriminator(picture)[0, 0, 0, 0].backward()
    assert picture.grad is not None
    assert (picture.grad.abs().sum(1) > 0).all()


def test_one_factor_on_all_inputs_is_invisible_but_one_on_the_exemplar_is_not() -> None:
    """2.1, structural blind spot: the first instance norm takes a common factor out."""
    generator = GlobalGenerator(7, base=8, downsamplings=2, blocks=1).double()
    x = torch.from_numpy(numbers(1, 7, 32, 32))
    torch.testing.assert_close(generator(3 * x), generator(x), atol=2e-4, rtol=0)
    exemplar = torch.cat([x[:, :4], 3 * x[:, 4:]], 1)
    assert (generator(exemplar) - generator(x)).abs().max() > 0.05


class Constant(nn.Module):
    """A multi-scale discriminator of one score, whose stages tell a picture of ones from any other."""

    def __init__(self, score: float, scales: int) -> None:
        super().__init__()
        self.score, self.scales = score, scales

    def forward(self, inputs: Tensor) -> list[list[Tensor]]:
        ones = (inputs[:, -3:] == 1).flatten(1).all(1).double().view(-1, 1, 1, 1).expand(-1, 4, 3, 3)
        scores = torch.full((len(inputs), 1, 3, 3), self.score, dtype=torch.float64)
        return [[ones, ones, ones, ones, scores]] * self.scales


@pytest.mark.parametrize("scales", [1, 2, 3])
@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_pix2pixhds_losses_on_constant_scores(score: float, scales: int) -> None:
    """pix2pixHD 8: G = K(v-1)², D = K/2·((v-1)² + v²), and feature matching 10·4 = 40 where all stages differ by 1."""
    options = PIX2PIXHD.options_type(**SMALL, discriminator_scales=scales, perceptual_weight=0)
    method = stirred(PIX2PIXHD(options, SCHEMA))
    method.networks["discriminator"] = Constant(score, scales)
    given = batch()
    given.target.fill_(1.0)
    plays = dict(method.play(given, 0))
    assert plays["generator"]["realism"].item() == pytest.approx(scales * (score - 1) ** 2)
    assert plays["generator"]["features"].item() == pytest.approx(40)
    total = sum(loss.item() for loss in plays["discriminator"].values())
    assert total == pytest.approx(scales / 2 * ((score - 1) ** 2 + score**2))


@pytest.mark.parametrize(
    ("preset", "wanted"),
    [
        # 4.1: (images, learning rate, m(t)); the paper's table for faces and dance, the official scripts' for streets.
        ("face", [(0, 2e-4, 0), (249_999, 2e-4, 0), (250_000, 2e-4, 1), (750_000, 1e-4, 1), (1_000_000, 0, 1)]),
        ("dance", [(0, 2e-4, 0), (249_999, 2e-4, 0), (250_000, 2e-4, 1), (750_000, 1e-4, 1), (1_000_000, 0, 1)]),
        ("street", [(0, 2e-4, 1), (200_000, 2e-4, 1), (300_000, 1e-4, 1), (400_000, 0, 1)]),
    ],
)
def test_the_presets_follow_their_published_schedules(preset: str, wanted: list[tuple[int, float, float]]) -> None:
    config = load(Path(__file__).parents[3] / "trainer" / "configs" / f"{preset}.yaml")
    optimizer = config.optimizer
    for images, rate, multiplier in wanted:
        decayed = linear_decay(images, optimizer.constant_images, optimizer.decay_images)
        assert optimizer.learning_rate * decayed == pytest.approx(rate)
        assert phase(images, config.options.model_dump()["style_phases"]) == multiplier
    assert config.images == wanted[-1][0]
