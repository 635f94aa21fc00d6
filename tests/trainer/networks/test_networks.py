"""Sizes, reach and invariants of the networks, against the specification's numbers (sections 2, 9.1, 9.2)."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trainer.networks.generator import GlobalGenerator
from trainer.networks.patchgan import MultiScalePatchGAN, PatchGAN
from trainer.networks.vgg import VGG19


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def macs(network: nn.Module, *shape: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        network.to("meta")(torch.empty(shape, device="meta"))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(("channels", "count"), [(33, 182_537_347), (49, 182_587_523), (87, 182_706_691)])
def test_generator_parameters(channels: int, count: int) -> None:
    with torch.device("meta"):
        generator = GlobalGenerator(channels)
    assert parameters(generator) == count == 182_433_859 + 3_136 * channels
    assert len(generator.state_dict()) == 56


@pytest.mark.parametrize(
    ("channels", "height", "count"),
    [(33, 256, 60_548_972_544), (49, 256, 63_837_306_880), (87, 144, 40_301_494_272), (15, 256, 56_849_596_416)],
)
def test_generator_macs(channels: int, height: int, count: int) -> None:
    with torch.device("meta"):
        generator = GlobalGenerator(channels)
    assert macs(generator, 1, channels, height, 256) == count


@pytest.mark.parametrize(("base", "downs", "blocks", "count"), [(8, 4, 2, 800_659), (16, 2, 2, 222_179)])
def test_small_generator_parameters(base: int, downs: int, blocks: int, count: int) -> None:
    assert parameters(GlobalGenerator(33, base, downs, blocks)) == count


@pytest.mark.parametrize(("channels", "count"), [(6, 2_767_809), (18, 2_780_097), (26, 2_788_289), (45, 2_807_745)])
def test_discriminator_parameters(channels: int, count: int) -> None:
    assert parameters(PatchGAN(channels)) == count == 2_761_665 + 1_024 * channels


@pytest.mark.parametrize(
    ("channels", "height", "count"),
    [(6, 256, 3_661_314_048), (18, 256, 3_865_798_656), (6, 144, 2_133_899_264), (45, 144, 2_509_976_576)],
)
def test_discriminator_macs(channels: int, height: int, count: int) -> None:
    assert macs(PatchGAN(channels), 1, channels, height, 256) == count


@pytest.mark.parametrize(("scales", "grids"), [(1, [35]), (2, [35, 19]), (3, [35, 19, 11])])
def test_multi_scale_discriminator(scales: int, grids: list[int]) -> None:
    with torch.device("meta"):
        discriminator = MultiScalePatchGAN(39, scales=scales)
        outputs = discriminator(torch.empty(1, 39, 256, 256))
    assert [scale[-1].shape[-1] for scale in outputs] == grids
    assert parameters(discriminator) == scales * (2_761_665 + 1_024 * 39)


@pytest.mark.parametrize(("score", "reached"), [(17, (90, 159)), (0, (0, 23))])
def test_discriminator_receptive_field(score: int, reached: tuple[int, int]) -> None:
    discriminator = PatchGAN(3, base=8)
    for stage in discriminator.stages:
        if isinstance(stage, nn.Sequential):
            stage[1] = nn.Identity() if isinstance(stage[1], nn.InstanceNorm2d) else stage[1]
    picture = torch.randn(1, 3, 256, 256, requires_grad=True)
    discriminator(picture)[0, 0, score, score].backward()
    assert picture.grad is not None
    rows = picture.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert (int(rows[0]), int(rows[-1])) == reached
    assert len(rows) == reached[1] - reached[0] + 1


def test_vgg_sizes() -> None:
    with torch.device("meta"):
        network = VGG19()
    assert parameters(network) == 12_944_960
    assert macs(network, 1, 3, 256, 256) == 23_668_457_472


@pytest.mark.parametrize(("height", "width"), [(256, 256), (144, 256), (224, 224)])
def test_vgg_element_ratios(height: int, width: int) -> None:
    with torch.device("meta"):
        features = VGG19(resize_below=0)(torch.empty(1, 3, height, width))
    counts = [feature.numel() for feature in features]
    assert [count / counts[-1] for count in counts] == [32, 16, 8, 4, 1]


def test_vgg_resizes_what_is_less_than_224_high() -> None:
    with torch.device("meta"):
        assert VGG19()(torch.empty(1, 3, 144, 256))[0].shape[-2:] == (224, 224)


def small_generator(colour_channels: int = 0) -> GlobalGenerator:
    torch.manual_seed(0)
    return GlobalGenerator(7, base=8, downsamplings=4, blocks=2, colour_channels=colour_channels)


def test_generator_keeps_the_size() -> None:
    generator = small_generator()
    assert generator(torch.zeros(1, 7, 48, 64)).shape == (1, 3, 48, 64)
    assert generator(torch.zeros(1, 7, 40, 64)).shape == (1, 3, 48, 64), "why sizes must be multiples of 16"
    assert generator(torch.zeros(1, 7, 32, 32)).shape == (1, 3, 32, 32)
    with pytest.raises(ValueError, match="spatial"):
        generator(torch.zeros(1, 7, 16, 16))


def test_batches_do_not_mix_samples() -> None:
    inputs = torch.randn(2, 7, 32, 32, dtype=torch.float64)
    for network in (small_generator().double(), PatchGAN(7, 8).double()):
        singly = torch.cat([network(inputs[:1]), network(inputs[1:])])
        torch.testing.assert_close(network(inputs), singly, atol=1e-12, rtol=0)


def test_biases_before_instance_norm_are_dead() -> None:
    generator, inputs = small_generator().double(), torch.randn(1, 7, 32, 32, dtype=torch.float64)
    before = generator(inputs)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("bias") and not name.startswith("last"):
                parameter.add_(torch.randn_like(parameter))
    # Not 0: variances are not taken of exact numbers, and 1e-5 is added to them.
    torch.testing.assert_close(generator(inputs), before, atol=1e-12, rtol=0)


def test_fresh_generator() -> None:
    generator = small_generator()
    weights = torch.cat([p.flatten() for name, p in generator.named_parameters() if name.endswith("weight")])
    assert abs(weights.mean().item()) < 5e-4
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    inputs = torch.randn(1, 7, 32, 32)
    image = generator(inputs)
    assert image.abs().max() < 1
    assert torch.equal(generator.eval()(inputs), image), "train and eval mode agree"


def test_offsets_of_the_input_are_invisible_to_the_published_generator() -> None:
    generator, inputs = small_generator().double(), torch.randn(1, 7, 32, 32, dtype=torch.float64)
    offset = torch.tensor([0, 0, 0, 0, 0.5, -0.3, 0.2], dtype=torch.float64).view(1, 7, 1, 1)
    torch.testing.assert_close(generator(inputs + offset), generator(inputs), atol=1e-6, rtol=0)
    assert not torch.allclose(PatchGAN(7, 8).double()(inputs + offset), PatchGAN(7, 8).double()(inputs), atol=1e-2)
