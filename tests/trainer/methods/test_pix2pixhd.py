"""pix2pixHD as its specification says it: networks, instance maps, pool, losses, and three stages (sections 2 to 8)."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from likeness.command import BadInput
from shards.labels import standard_schema
from tests.trainer.networks import numpy_reference as reference
from trainer.checkpoints import files as checkpoints
from trainer.checkpoints.files import Checkpoint
from trainer.config import Config
from trainer.method import Batch, Synthesizer
from trainer.methods.pix2pixhd import Pix2PixHD, Pix2PixHDOptions
from trainer.networks.enhancer import LocalEnhancer
from trainer.networks.feature_encoder import FeatureEncoder
from trainer.networks.generator import GlobalGenerator, halved
from trainer.networks.image_pool import ImagePool
from trainer.networks.instances import boundaries, instance_classes, instance_means
from trainer.networks.patchgan import MultiScalePatchGAN
from trainer.perceptual import load_vgg19
from trainer.schedules import Schedule
from trainer.training import Training

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


def stirred(network: nn.Module) -> nn.Module:
    """Every weight and bias drawn anew, in double precision, none of them near 0."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            scale = parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 2
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / scale)
    return network.double()


def state_of(network: nn.Module) -> dict[str, reference.Array]:
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}


def test_the_enhancer_agrees_with_the_reference() -> None:
    network, _ = small()
    stirred(network)
    x = np.random.default_rng(0).standard_normal((2, 5, 64, 96))
    ours = network(torch.from_numpy(x)).detach().numpy()
    wanted = reference.local_enhancer(x, state_of(network.body), state_of(network.enhancer))
    np.testing.assert_allclose(ours, wanted, atol=1e-10, rtol=0)


def test_the_feature_encoder_agrees_with_the_reference() -> None:
    encoder = stirred(FeatureEncoder(base=4))
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 48))
    np.testing.assert_allclose(
        encoder(torch.from_numpy(x)).detach().numpy(), reference.generator(x, state_of(encoder)), atol=1e-10, rtol=0
    )


SCHEMA = standard_schema("sketch", 32, 32)
CLASSES = standard_schema("classes", 32, 64)
INSTANCES = {"instances": True}
FEATURES = {"instances": True, "features": "instances"}
STAGES = {**FEATURES, "enhancer": True, "enhancer_blocks": 1, "global_images": 4, "fixed_images": 4}
IN_STAGE = {"global": 0, "fixed": 4, "joint": 8}
Tiny = Callable[[str], dict[str, int]]
MakeConfig = Callable[..., Config]


@pytest.fixture
def tiny(tiny_options: Tiny) -> Callable[..., Pix2PixHD]:
    """Makes a small method with some options."""

    def make(schema: Any = SCHEMA, **options: Any) -> Pix2PixHD:
        torch.manual_seed(0)
        method = Pix2PixHD(Pix2PixHDOptions(**{**tiny_options("pix2pixhd"), **options}), schema)
        method.perceptual = load_vgg19("random:0", divisor=16, resize_below=0)
        return method

    return make


def batch_of(schema: Any, count: int = 2, seed: int = 1, noise: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    size = (schema.height, schema.width)
    target = torch.rand(count, 3, *size, generator=generator) * 2 - 1
    label = torch.rand(count, schema.channels, *size, generator=generator)
    if schema.kind == "classes":
        label = nn.functional.one_hot(label.argmax(1), schema.channels).permute(0, 3, 1, 2).float()
    blocks = torch.randint(0, 4, (count, size[0] // 8, size[1] // 8), generator=generator, dtype=torch.int32)
    instances = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    empty = torch.empty(0)
    draws = torch.randn(count, noise, generator=generator)
    return Batch(label, target, empty, empty, empty, empty, torch.ones(count), instances, draws)


ALL_OPTIONS = [
    ({}, (0,)),
    (INSTANCES, (0,)),
    (FEATURES, (0,)),
    ({**INSTANCES, "pool": 3}, (0,)),
    (STAGES, (0, 4, 8)),
    ({"enhancer": True, "enhancer_blocks": 0}, (0,)),
    ({**STAGES, "pool": 1, "discriminator_scales": 3}, (0, 4, 8)),
]


@pytest.mark.parametrize(("options", "starts"), ALL_OPTIONS)
def test_in_every_stage_each_player_gets_every_gradient_and_nobody_else_any(
    options: dict[str, Any], starts: tuple[int, ...], tiny: Callable[..., Pix2PixHD]
) -> None:
    method = tiny(**options)
    assert method.stage_starts == starts
    given = batch_of(SCHEMA)
    for images in starts:
        plays = method.play(given, images)
        players = method.stage(images).players
        for player, names in players.items():
            for name, network in method.networks.items():
                network.requires_grad_(name in names)
            played, losses = next(plays)
            assert played == player
            torch.stack(list(losses.values())).sum().backward()
            for name, network in method.networks.items():
                for parameter in network.parameters():
                    assert (parameter.grad is not None) == (name in names), (images, player, name)
                    parameter.grad = None
        assert next(plays, None) is None


@pytest.mark.parametrize(("options", "starts"), ALL_OPTIONS)
def test_pictures_have_the_labels_size_in_every_stage(
    options: dict[str, Any], starts: tuple[int, ...], tiny: Callable[..., Pix2PixHD]
) -> None:
    method = tiny(**options)
    given = batch_of(SCHEMA)
    for images in (*starts, 10**12):
        image = Synthesizer(method, method.networks, images).paint(given)
        assert image.shape == given.target.shape and image.abs().max() < 1
        pairs = zip(fields(Batch), (getattr(given, field.name)[:1] for field in fields(Batch)), strict=True)
        alone = Synthesizer(method, method.networks, images).paint(Batch(**{field.name: v for field, v in pairs}))
        torch.testing.assert_close(image[:1], alone, atol=1e-5, rtol=0)


def test_the_baseline_is_what_it_was(tiny: Callable[..., Pix2PixHD]) -> None:
    method = tiny()
    assert method.inputs == ("label",) and method.synthesizers == ("generator",)
    assert method.players == {"generator": ("generator",), "discriminator": ("discriminator",)}
    assert list(method.networks) == ["generator", "discriminator"] and not method.noise and method.alone is None
    losses = {player: list(terms) for player, terms in method.play(batch_of(SCHEMA), 0)}
    assert losses == {"generator": ["realism", "features", "perceptual"], "discriminator": ["real", "fake"]}


def test_who_plays_and_who_paints_in_each_stage(tiny: Callable[..., Pix2PixHD]) -> None:
    method = tiny(**STAGES)
    coarse, fine = ("generator", "global_picture", "encoder"), ("generator", "enhancer", "encoder")
    both = ("discriminator", "fine_discriminator")
    table = {
        0: (coarse, ("discriminator",), coarse),
        3: (coarse, ("discriminator",), coarse),
        # The enhancer learns next; what has learned so far paints at half size.
        4: (("enhancer",), both, coarse),
        5: (("enhancer",), both, fine),
        7: (("enhancer",), both, fine),
        8: (("generator", "enhancer"), both, fine),
        10**9: (("generator", "enhancer"), both, fine),
    }
    for images, (generator, discriminator, painters) in table.items():
        stage = method.stage(images)
        assert dict(stage.players) == {"generator": generator, "discriminator": discriminator}, images
        assert sorted(stage.synthesizers) == sorted(painters), images
    assert sorted(method.synthesizers) == sorted({*coarse, *fine})


def test_the_rate_begins_anew_after_the_coarse_stage(tiny: Callable[..., Pix2PixHD]) -> None:
    method = tiny(enhancer=True, global_images=100, fixed_images=10)
    schedule = Schedule(constant=50, decay=50)
    rates = {0: 1, 50: 1, 75: 0.5, 99: 0.02, 100: 1, 110: 1, 150: 1, 175: 0.5, 200: 0}
    assert {images: method.rate("generator", images, schedule) for images in rates} == pytest.approx(rates)
    assert tiny().rate("generator", 75, schedule) == 0.5


@pytest.mark.parametrize(("classes", "features"), [(False, "instances"), (True, "instances"), (True, "classes")])
def test_who_reads_what(classes: bool, features: str, tiny: Callable[..., Pix2PixHD]) -> None:
    """G: labels, boundary, features; D: labels, boundary, photo (1)."""
    schema = CLASSES if classes else SCHEMA
    method = tiny(schema, instances=features == "instances", features=features)
    assert method.inputs == (("label", "instances", "features") if features == "instances" else ("label", "features"))
    conditions = schema.channels + (features == "instances")
    generator, discriminator = method.networks["generator"], method.networks["discriminator"]
    assert generator.first[1].in_channels == conditions + 3
    assert discriminator.copies[0].stages[0][0].in_channels == conditions + 3
    seen: dict[str, list[Tensor]] = {"generator": [], "discriminator": []}
    for name in seen:
        method.networks[name].register_forward_pre_hook(lambda _, given, name=name: seen[name].append(given[0]))
    given = batch_of(schema)
    list(method.play(given, 0))
    condition = torch.cat([given.label, boundaries(given.instances)], 1)[:, :conditions]
    regions = given.instances if features == "instances" else given.label.argmax(1)
    wanted = instance_means(method.networks["encoder"](given.target), regions)
    assert torch.equal(seen["generator"][0], torch.cat([condition, wanted], 1))
    assert all(torch.equal(inputs[:2, :conditions], condition) for inputs in seen["discriminator"])
    assert torch.equal(seen["discriminator"][1][:, conditions:], given.target)


def test_the_coarse_stage_reads_what_the_enhancer_will_show_the_global_generator(
    tiny: Callable[..., Pix2PixHD],
) -> None:
    method = tiny(**STAGES, discriminator_scales=3)
    seen: dict[str, list[Tensor]] = {name: [] for name in method.networks}
    for name, network in method.networks.items():
        network.register_forward_pre_hook(lambda _, given, name=name: seen[name].append(given[0].detach()))
    given = batch_of(SCHEMA)
    coarse = []
    for images in (0, 4, 8):
        list(method.play(given, images))
        coarse.append(seen["generator"].pop())
        assert seen["encoder"].pop().shape == (2, 3, 16, 16)
        painted = [*seen["discriminator"]]
        assert {inputs.shape[-2:] for inputs in painted} == {(16, 16)}
        assert bool(seen["fine_discriminator"]) == bool(seen["enhancer"]) == (images > 0)
        assert torch.equal(painted[1][:, -3:], halved(given.target))
        for names in seen.values():
            names.clear()
    assert torch.equal(coarse[0], coarse[1]) and torch.equal(coarse[1], coarse[2])
    features = method.inputs_of(method.networks, given)["features"]
    own = instance_means(method.networks["encoder"](halved(given.target)), given.instances[:, ::2, ::2])
    assert torch.equal(features, own.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert len(method.networks["discriminator"].copies) == 2 and len(method.networks["fine_discriminator"].copies) == 1
    coarse_picture = method.networks["global_picture"](method.networks["generator"](coarse[0])).detach()
    wanted = nn.functional.interpolate(coarse_picture, (32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(Synthesizer(method, method.networks, 1).paint(given), wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "instances"}, "features: instances needs instances: true"),
        ({"fixed_images": 3}, "global_images and fixed_images are stages of enhancer: true"),
        ({"global_images": 3}, "global_images and fixed_images are stages of enhancer: true"),
        ({"enhancer": True, "global_images": 4, "discriminator_scales": 1}, "needs discriminator_scales of at least 2"),
        ({"enhancer": True, "generator_base": 5}, "needs an even generator_base"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str, small_config: MakeConfig) -> None:
    with pytest.raises(BadInput, match=message):
        small_config("pix2pixhd", options=options)


def test_sizes_and_labels_that_do_not_fit_are_refused(tiny: Callable[..., Pix2PixHD]) -> None:
    with pytest.raises(BadInput, match="multiples of 32, of at least 32, not 48×64"):
        tiny(standard_schema("sketch", 64, 48), enhancer=True)
    with pytest.raises(BadInput, match=r"enhancer with .* multiples of 32, of at least 64, not 32×32"):
        tiny(standard_schema("sketch", 32, 32), enhancer=True, generator_downsamplings=4)
    with pytest.raises(BadInput, match=r"features classes needs label maps of classes, but data.label is sketch"):
        tiny(features="classes")


def test_old_pictures_are_shown_to_the_discriminator_alone(tiny: Callable[..., Pix2PixHD]) -> None:
    method = tiny(**INSTANCES, pool=2)
    assert method.noise == 2 and method.alone is not None
    first, second = batch_of(SCHEMA, seed=1), batch_of(SCHEMA, seed=2)
    list(method.play(first, 0))
    pool = method.networks["pool"]
    fakes = pool.fakes.clone()
    torch.testing.assert_close(fakes, Synthesizer(method, method.networks, 0).paint(first), atol=1e-6, rtol=0)
    seen: list[Tensor] = []
    method.networks["discriminator"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    # The first is swapped for the pair in place 0, the second is not swapped.
    list(method.play(replace(second, noise=torch.tensor([[1.0, -3.0], [-1.0, 3.0]])), 0))
    shown = seen[-1][2:]
    condition = torch.cat([first.label, boundaries(first.instances)], 1)
    assert torch.equal(shown[0], torch.cat([condition[0], fakes[0]]))
    assert torch.equal(shown[1], torch.cat([seen[0][1]]))
    assert torch.equal(pool.fakes[0], seen[0][0, -3:].detach()) and torch.equal(pool.fakes[1], fakes[1])


def everything(training: Training) -> dict[str, Tensor]:
    """Weights, averages, pools and moments."""
    networks = training.method.networks | {f"{n}.ema": network for n, network in training.averages.networks.items()}
    named = {
        f"{name}.{key}": v.clone() for name, network in networks.items() for key, v in network.state_dict().items()
    }
    moments = {f"{p}/{key}": v.clone() for p, engine in training.engines.items() for key, v in engine.state().items()}
    return named | moments


def differing(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> Sequence[str]:
    assert ours.keys() == theirs.keys()
    return [name for name, value in ours.items() if not torch.equal(value, theirs[name])]


POOLED = {**STAGES, "pool": 3}


def staged(small_config: MakeConfig, tiny_options: Tiny, resume: Checkpoint | None = None, **more: Any) -> Training:
    config = small_config("pix2pixhd", images=12, options={**tiny_options("pix2pixhd"), **POOLED}, **more)
    return Training(config, config.data.label_schema, resume)


BATCHES = [batch_of(SCHEMA, seed=number) for number in range(6)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Room for what one run through all stages gives, for all tests that look at it."""
    return {"folder": tmp_path_factory.mktemp("stages")}


def run_straight(small_config: MakeConfig, tiny_options: Tiny, straight: dict[str, Any]) -> list[dict[str, Tensor]]:
    """What is there after each step of 2 images; checkpoints lie in the folder."""
    if "states" not in straight:
        training = staged(small_config, tiny_options)
        states = [everything(training)]
        for batch in BATCHES:
            _, skipped = training.step(batch)
            assert not skipped
            states.append(everything(training))
            snapshot = training.snapshot("manifest", {})
            assert snapshot is not None
            checkpoints.save(straight["folder"], snapshot)
        straight["states"] = states
    states = straight["states"]
    assert isinstance(states, list)
    return states


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_a_resumed_run_is_the_straight_one_in_and_between_stages(
    steps: int, small_config: MakeConfig, tiny_options: Tiny, straight: dict[str, Any]
) -> None:
    """Stages begin after 2 and 4 steps."""
    states = run_straight(small_config, tiny_options, straight)
    checkpoint = Checkpoint(checkpoints.folder_of(straight["folder"], 2 * steps))
    training = staged(small_config, tiny_options, checkpoint)
    for batch in BATCHES[steps:]:
        training.step(batch)
    assert differing(everything(training), states[-1]) == []


def test_what_learns_and_what_rests(small_config: MakeConfig, tiny_options: Tiny, straight: dict[str, Any]) -> None:
    states = run_straight(small_config, tiny_options, straight)
    learning = [
        {"generator", "global_picture", "encoder", "discriminator"},
        {"enhancer", "discriminator", "fine_discriminator"},
        {"generator", "enhancer", "discriminator", "fine_discriminator"},
    ]
    networks = set().union(*learning)
    for step, (before, after) in enumerate(pairwise(states)):
        changed = {
            name.partition(".")[0]
            for name, value in after.items()
            if "/" not in name and ".ema." not in name and name in before and not torch.equal(value, before[name])
        }
        assert changed & networks == learning[step // 2], step
    # The enhancer's moments go on when the global generator joins, whose own begin anew (6).
    counts = {name: v.item() for name, v in states[-1].items() if name.endswith("/step") and name.startswith("gen")}
    assert {v for name, v in counts.items() if "/enhancer." in name} == {4}
    assert {v for name, v in counts.items() if "/generator." in name} == {2}
    assert {v.item() for name, v in states[-1].items() if name.endswith("/step") and "/fine_dis" in name} == {4}
    assert {v.item() for name, v in states[-1].items() if name.endswith("/step") and "/discr" in name} == {6}


def test_a_run_begins_with_the_enhancer_around_a_generator_that_is_given(
    small_config: MakeConfig, tiny_options: Tiny, tmp_path: Path
) -> None:
    """It takes a single-scale run's encoder, discriminator, and generator but for the output layer (2.2)."""
    tiny = tiny_options("pix2pixhd")
    first = small_config("pix2pixhd", options={**tiny, **FEATURES, "discriminator_scales": 1})
    coarse = Training(first, first.data.label_schema, None)
    coarse.step(BATCHES[0])
    snapshot = coarse.snapshot("manifest", {})
    assert snapshot is not None
    folder = checkpoints.save(tmp_path / "first", snapshot)
    later = {**tiny, **STAGES, "global_images": 0, "fixed_images": 2}
    with pytest.raises(
        BadInput, match="start is not set, but pix2pixhd with these options begins with generator and encoder"
    ):
        config = small_config("pix2pixhd", options=later)
        Training(config, config.data.label_schema, None)
    plain = small_config("pix2pixhd", options={**tiny, **INSTANCES, "discriminator_scales": 1})
    snapshot = Training(plain, plain.data.label_schema, None).snapshot("manifest", {})
    assert snapshot is not None
    with pytest.raises(BadInput, match="has no network encoder"):
        start = checkpoints.save(tmp_path / "plain", snapshot)
        config = small_config("pix2pixhd", options=later, start=str(start))
        Training(config, config.data.label_schema, None)
    config = small_config("pix2pixhd", options=later, start=str(folder))
    training = Training(config, config.data.label_schema, None)
    for name in ("generator", "encoder", "discriminator"):
        theirs = coarse.method.networks[name].state_dict()
        ours = training.method.networks[name].state_dict()
        assert ours.keys() == {key for key in theirs if (name, key[:5]) != ("generator", "last.")}
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    before = everything(training)
    training.step(BATCHES[1])
    moved = [name for name, value in everything(training).items() if "/" not in name and ".ema." not in name]
    changed = {name.partition(".")[0] for name in moved if not torch.equal(before[name], everything(training)[name])}
    assert changed == {"enhancer", "discriminator", "fine_discriminator"}


def test_a_pool_begins_empty_in_a_run_that_starts_from_another(
    small_config: MakeConfig, tiny_options: Tiny, tmp_path: Path
) -> None:
    """Also where the other run's pool has room for more pictures."""
    options = {**tiny_options("pix2pixhd"), **FEATURES, "pool": 3}
    first = small_config("pix2pixhd", options=options)
    training = Training(first, first.data.label_schema, None)
    training.step(BATCHES[0])
    snapshot = training.snapshot("manifest", {})
    assert snapshot is not None
    folder = checkpoints.save(tmp_path / "first", snapshot)
    config = small_config("pix2pixhd", options={**options, "pool": 5}, start=str(folder))
    started = Training(config, config.data.label_schema, None)
    pool, before = started.method.networks["pool"], training.method.networks["pool"]
    assert all(not value.any() for value in pool.state_dict().values())
    assert any(value.any() for value in before.state_dict().values())
    assert torch.equal(
        next(started.method.networks["generator"].parameters()),
        next(training.method.networks["generator"].parameters()),
    )


def test_a_stage_that_begins_within_a_step_is_refused(small_config: MakeConfig, tiny_options: Tiny) -> None:
    options = {**tiny_options("pix2pixhd"), **STAGES, "global_images": 5}
    config = small_config("pix2pixhd", options=options)
    with pytest.raises(BadInput, match=r"a stage begins after 5 images, in the middle of a step of 2 .*multiples of 2"):
        Training(config, config.data.label_schema, None)


def test_the_enhancers_average_counts_from_where_it_begins_to_learn(
    small_config: MakeConfig, tiny_options: Tiny, straight: dict[str, Any]
) -> None:
    """After its first step the average has moved as one does after the first step of a run: by 9 of 11 parts."""
    states = run_straight(small_config, tiny_options, straight)
    before, after = states[2], states[3]
    names = [name for name in after if name.startswith("enhancer.") and not name.startswith("enhancer.ema.")]
    assert names
    for name in names:
        average = f"enhancer.ema.{name.removeprefix('enhancer.')}"
        assert torch.equal(before[average], before[name]), "unchanged since it was drawn"
        wanted = before[name] + 9 / 11 * (after[name] - before[name])
        torch.testing.assert_close(after[average], wanted, atol=1e-7, rtol=1e-5)
