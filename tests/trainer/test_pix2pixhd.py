"""pix2pixHD as its specification says it: networks, instance maps, pool, losses, and three stages (sections 2 to 8)."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from trainer.enhancer import LocalEnhancer
from trainer.feature_encoder import FeatureEncoder
from trainer.generator import GlobalGenerator, halved
from trainer.image_pool import ImagePool
from trainer.instances import boundaries, instance_classes, instance_means
from trainer.patchgan import MultiScalePatchGAN

FULL = (1024, 2048)
COUNTS = {
    # name: (network, its inputs' shapes, parameters, multiply-accumulates), sections 2.1 to 2.4
    "G1, 36 in, 256×256": (lambda: GlobalGenerator(36), [(36, 256, 256)], 182_546_755, 61_165_535_232),
    "G1, 36 in, 1024×512": (lambda: GlobalGenerator(36), [(36, 512, 1024)], 182_546_755, 489_324_281_856),
    "G1, 39 in, 256×256": (lambda: GlobalGenerator(39), [(39, 256, 256)], 182_556_163, 61_782_097_920),
    "G1, 39 in, 1024×512": (lambda: GlobalGenerator(39), [(39, 512, 1024)], 182_556_163, 494_256_783_360),
    "G2, 36 in, 2048×1024": (lambda: WithEnhancer(36), [(36, *FULL)], 182_857_059, 747_928_289_280),
    "G2, 39 in, 2048×1024": (lambda: WithEnhancer(39), [(39, *FULL)], 182_871_171, 762_725_793_792),
    "D, K=1, 256×256": (lambda: MultiScalePatchGAN(39, scales=1), [(39, 256, 256)], 2_801_601, 4_223_646_720),
    "D, K=2, 256×256": (lambda: MultiScalePatchGAN(39, scales=2), [(39, 256, 256)], 5_603_202, 5_369_067_520),
    "D, K=3, 256×256": (lambda: MultiScalePatchGAN(39, scales=3), [(39, 256, 256)], 8_404_803, 5_703_611_392),
    "D, K=1, 1024×512": (lambda: MultiScalePatchGAN(39, scales=1), [(39, 512, 1024)], 2_801_601, 32_072_252_416),
    "D, K=2, 1024×512": (lambda: MultiScalePatchGAN(39, scales=2), [(39, 512, 1024)], 5_603_202, 40_345_106_432),
    "D, K=3, 1024×512": (lambda: MultiScalePatchGAN(39, scales=3), [(39, 512, 1024)], 8_404_803, 42_544_149_504),
    "E, 256×256": (lambda: FeatureEncoder(), [(3, 256, 256)], 788_803, 912_261_120),
}


class WithEnhancer(nn.Module):
    """Both generators, as they are run together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body, self.enhancer = GlobalGenerator(channels, picture=False), LocalEnhancer(channels)

    def forward(self, inputs: Tensor) -> Tensor:
        image: Tensor = self.enhancer(inputs, self.body(halved(inputs)))
        return image


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_sizes_are_those_of_the_specification(name: str) -> None:
    build, shapes, count, macs = COUNTS[name]
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = build()
        network(*(torch.empty(1, *shape) for shape in shapes))
    assert parameters(network) == count
    assert counter.get_total_flops() // 2 == macs


@pytest.mark.parametrize(("channels", "count"), [(36, 319_715), (39, 324_419)])
def test_what_the_enhancer_adds_and_leaves_out(channels: int, count: int) -> None:
    with torch.device("meta"):
        whole, body, enhancer = (
            GlobalGenerator(channels),
            GlobalGenerator(channels, picture=False),
            LocalEnhancer(channels),
        )
    assert parameters(enhancer) == count and len(enhancer.state_dict()) == 20
    shared = {name: value.shape for name, value in body.state_dict().items()}
    assert len(shared) == 54 and {"last.1.weight", "last.1.bias"} == whole.state_dict().keys() - shared.keys()
    assert all(whole.state_dict()[name].shape == shape for name, shape in shared.items())
    front = sum(parameters(part) for part in (enhancer.first, enhancer.down))
    if channels == 36:
        assert (parameters(body), front, count - front) == (182_537_344, 74_976, 244_739)


@pytest.mark.parametrize(("height", "width", "grids"), [(512, 1024, [(67, 131), (35, 67), (19, 35)])])
def test_grids_of_scores(height: int, width: int, grids: list[tuple[int, int]]) -> None:
    with torch.device("meta"):
        outputs = MultiScalePatchGAN(39, scales=3)(torch.empty(1, 39, height, width))
    assert [tuple(scale[-1].shape[2:]) for scale in outputs] == grids


def test_the_single_scale_generator_draws_what_it_always_drew() -> None:
    """Sums of |weight| that seed 0 gives; other sums mean that older results cannot be made again."""
    torch.manual_seed(0)
    generator, discriminator = GlobalGenerator(7, 4, 2, 1), MultiScalePatchGAN(10, 4)
    sums = [sum(p.double().abs().sum().item() for p in network.parameters()) for network in (generator, discriminator)]
    assert sums == pytest.approx([154.97412860814075, 383.13588239341414], rel=1e-12)


def small(size: tuple[int, int] = (32, 64)) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    network = WithSmallEnhancer()
    return network, torch.randn(2, 5, *size)


class WithSmallEnhancer(WithEnhancer):
    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.body = GlobalGenerator(5, base=8, downsamplings=4, blocks=1, picture=False)
        self.enhancer = LocalEnhancer(5, base=4, blocks=1)


def test_the_enhancer_keeps_sizes_that_are_multiples_of_32() -> None:
    network, inputs = small((64, 96))
    image = network(inputs)
    assert image.shape == (2, 3, 64, 96) and image.abs().max() < 1
    with pytest.raises(RuntimeError, match="must match"):
        network(inputs[:, :, :48])
    torch.testing.assert_close(image[:1], network(inputs[:1]), atol=1e-5, rtol=0)


def test_gradients_of_a_fixed_global_generator_are_none() -> None:
    network, inputs = small((64, 64))
    network.body.requires_grad_(False)
    network(inputs).sum().backward()
    assert all(parameter.grad is None for parameter in network.body.parameters())
    assert all(parameter.grad is not None for parameter in network.enhancer.parameters())


def test_boundaries_of_half_planes_and_of_nothing() -> None:
    instances = torch.zeros(2, 6, 8, dtype=torch.int32)
    instances[0, :, 5:] = 65_535
    instances[1, 2:] = 1
    lines = boundaries(instances)
    assert lines.shape == (2, 1, 6, 8) and lines.dtype == torch.float32
    wanted = torch.zeros(2, 1, 6, 8)
    wanted[0, :, :, 4:6] = 1
    wanted[1, :, 1:3] = 1
    assert torch.equal(lines, wanted)
    assert not boundaries(torch.full((1, 4, 4), 7, dtype=torch.int32)).any()


def drawn_instances(samples: int = 2, height: int = 12, width: int = 10, numbers: int = 5) -> Tensor:
    return torch.from_numpy(np.random.default_rng(4).integers(0, numbers, (samples, height, width)).astype(np.int32))


def test_boundaries_against_neighbours_one_by_one_and_under_other_numbers() -> None:
    instances = drawn_instances()
    lines = boundaries(instances)
    for n, row, column in np.ndindex(*instances.shape):
        near = [
            instances[n, row + down, column + right]
            for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0))
            if 0 <= row + down < instances.shape[1] and 0 <= column + right < instances.shape[2]
        ]
        assert lines[n, 0, row, column] == float(any(value != instances[n, row, column] for value in near))
    others = torch.tensor([65_535, 3, 256, 0, 4_000], dtype=torch.int32)[instances.long()]
    assert torch.equal(boundaries(others), lines)


def test_instance_means_are_means_of_each_instance_of_each_sample() -> None:
    instances = drawn_instances()
    instances[1] += 65_530
    values = torch.randn(2, 3, 12, 10)
    pooled = instance_means(values, instances)
    assert pooled.dtype == torch.float32
    for n in range(2):
        for number in instances[n].unique():
            inside = instances[n] == number
            mean = values[n].double()[:, inside].mean(1, keepdim=True)
            assert torch.equal(pooled[n][:, inside], mean.float().expand(-1, int(inside.sum())))
    assert torch.equal(instance_means(pooled, instances), pooled), "pooling twice is pooling once"


def test_instances_of_a_batch_do_not_mix_though_their_numbers_are_equal() -> None:
    instances = drawn_instances()
    values = torch.randn(2, 3, 12, 10)
    together = instance_means(values, instances)
    for n in range(2):
        assert torch.equal(together[n : n + 1], instance_means(values[n : n + 1], instances[n : n + 1]))


def test_gradients_of_instance_means_are_means_of_gradients() -> None:
    instances = drawn_instances()
    values = torch.randn(2, 3, 12, 10, requires_grad=True)
    weights = torch.randn(2, 3, 12, 10)
    (instance_means(values, instances) * weights).sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad, instance_means(weights, instances), atol=1e-6, rtol=0)


def test_classes_of_instances_are_those_of_most_of_their_pixels() -> None:
    ids = torch.tensor([[[2, 2, 0], [2, 1, 0], [1, 1, 1]]])
    instances = torch.tensor([[[9, 9, 4], [9, 9, 4], [5, 5, 4]]], dtype=torch.int32)
    label = torch.nn.functional.one_hot(ids, 3).permute(0, 3, 1, 2).float()
    assert instance_classes(label, instances).tolist() == [[[2, 2, 0], [2, 2, 0], [1, 1, 0]]]


def pairs(count: int, start: int = 0) -> tuple[Tensor, Tensor]:
    """Pairs that bear their number."""
    numbers = torch.arange(start, start + count).float().view(-1, 1, 1, 1)
    return numbers.expand(-1, 2, 4, 4).clone(), -numbers.expand(-1, 3, 4, 4).clone()


def test_the_pool_gives_back_its_first_pairs_and_then_old_ones_half_of_the_time() -> None:
    size, many = 5, 2_000
    pool = ImagePool(size, 2, 4, 4)
    first = pairs(size)
    for ours, given in zip(pool(*first, torch.randn(size, 2)), first, strict=True):
        assert torch.equal(ours, given)
    generator = torch.Generator().manual_seed(0)
    given = pairs(many, size)
    conditions, fakes = pool(*given, torch.randn(many, 2, generator=generator))
    assert torch.equal(conditions[:, 0, 0, 0], -fakes[:, 0, 0, 0]), "condition and fake stay together"
    shown = conditions[:, 0, 0, 0]
    old = shown != given[0][:, 0, 0, 0]
    assert abs(old.float().mean().item() - 0.5) < 4 * 0.5 / many**0.5
    assert (shown[old] < given[0][:, 0, 0, 0][old]).all()
    # A pair that is given back from the pool leaves it: none is shown twice.
    assert len(shown.unique()) == many
    left = pool.conditions[:, 0, 0, 0]
    seen = torch.cat([shown, left, first[0][:, 0, 0, 0]]).unique()
    assert len(seen) == many + size, "every pair was shown, or is in the pool"


def test_every_place_of_the_pool_is_drawn_alike() -> None:
    size, many = 4, 4_000
    pool = ImagePool(size, 2, 4, 4)
    pool(*pairs(size), torch.randn(size, 2))
    generator = torch.Generator().manual_seed(1)
    changed = torch.zeros(size)
    for number, draws in enumerate(torch.randn(many, 1, 2, generator=generator), start=size):
        before = pool.conditions[:, 0, 0, 0].clone()
        pool(*pairs(1, number), draws)
        changed += pool.conditions[:, 0, 0, 0] != before
    assert changed.sum().item() == pytest.approx(many / 2, rel=0.1)
    assert (changed / changed.sum() - 1 / size).abs().max() < 0.04


def test_the_pool_goes_on_from_its_state_and_keeps_no_picture_that_is_not_finite() -> None:
    ours, theirs = ImagePool(3, 2, 4, 4), ImagePool(3, 2, 4, 4)
    ours(*pairs(4), torch.ones(4, 2))
    theirs.load_state_dict(ours.state_dict())
    draws = torch.randn(6, 2)
    for one, other in zip(ours(*pairs(6, 4), draws), theirs(*pairs(6, 4), draws), strict=True):
        assert torch.equal(one, other)
    condition, fake = pairs(1, 20)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    shown = ours(condition, fake * torch.nan, torch.ones(1, 2))
    assert torch.equal(shown[0], condition) and shown[1].isnan().all()
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())
