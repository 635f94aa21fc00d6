"""SPADE against its specification: section 9's checks, and an independent computation of what is looked up."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from likeness.command import BadInput
from shards.labels import standard_schema
from shards.records import LabelSchema
from shards.sources import ade20k, cityscapes, coco_stuff
from trainer.config import Config, load
from trainer.losses import feature_matching, hinge, semantic_loss
from trainer.method import Batch, Synthesizer
from trainer.methods.spade import METHOD as SPADE
from trainer.methods.spade import Spade, divergence
from trainer.networks.instances import boundaries
from trainer.networks.norms import BatchNorm2d, with_statistics
from trainer.networks.spade import SpadeGenerator, SpadeNorm
from trainer.networks.spade_discriminator import SpadeDiscriminators
from trainer.networks.spade_encoder import SpadeEncoder, halvings_of
from trainer.perceptual import load_vgg19
from trainer.training import Training

CONFIGS = Path(__file__).parents[3] / "trainer" / "configs"
SIDE = 64
CLASSES = 5
SCHEMA = LabelSchema(
    "classes",
    CLASSES,
    SIDE,
    SIDE,
    tuple(f"class {number}" for number in range(CLASSES)),
    tuple((number, 0, 0) for number in range(CLASSES)),
    (0, 1, 2, 3, 255),
    255,
)
SMALL: dict[str, Any] = {"generator_base": 2, "discriminator_base": 4, "encoder_base": 4, "hidden": 6}
MakeConfig = Callable[..., Config]


def make(schema: LabelSchema = SCHEMA, **options: Any) -> Spade:
    torch.manual_seed(0)
    method = SPADE(SPADE.options_type(**SMALL | options), schema)
    method.perceptual = load_vgg19("random:0", divisor=16, resize_below=0)
    return method


def stirred(module: nn.Module, scale: float = 0.1) -> nn.Module:
    """Weights far from 0, and norms that have seen something: what begins near 0 would hide mistakes."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
        for _, norm in with_statistics(module):
            norm.running_mean.copy_(torch.randn(norm.running_mean.shape, generator=generator))
            norm.running_var.copy_(torch.rand(norm.running_var.shape, generator=generator) + 0.5)
    return module


def one_hot(count: int = 2, side: int = SIDE, channels: int = CLASSES, seed: int = 1) -> Tensor:
    """Random blocks of 4 pixels."""
    ids = torch.randint(0, channels, (count, side // 4, side // 4), generator=torch.Generator().manual_seed(seed))
    return F.one_hot(ids, channels).permute(0, 3, 1, 2).float().repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(method: Spade, count: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(2)
    photos = [torch.rand(count, 3, SIDE, SIDE, generator=generator) * 2 - 1 for _ in range(2)]
    blocks = torch.randint(0, 3, (count, 8, 8), generator=generator, dtype=torch.int32)
    empty = torch.empty(0)
    return Batch(
        label=one_hot(count),
        target=photos[0],
        exemplar_label=empty,
        exemplar=photos[1],
        consistent=empty,
        inconsistent=empty,
        same_style=torch.ones(count),
        instances=blocks.repeat_interleave(8, 1).repeat_interleave(8, 2),
        noise=torch.randn(count, method.noise, generator=generator),
    )


def spade_norms(module: nn.Module) -> Iterator[SpadeNorm]:
    return (each for each in module.modules() if isinstance(each, SpadeNorm))


def test_grids_and_receptive_field_of_the_discriminators() -> None:
    with torch.device("meta"):
        outputs = SpadeDiscriminators(187)(torch.empty(1, 187, 256, 256))
    grids = [[tuple(output.shape[-2:]) for output in scale] for scale in outputs]
    assert grids == [[(side, side) for side in sides] for sides in ((129, 65, 33, 34, 35), (65, 33, 17, 18, 19))]
    field = 1
    for stride in (1, 1, 2, 2, 2):
        field = stride * (field - 1) + 4
    assert field == 70


@pytest.mark.parametrize(
    ("start", "closed_form"),
    [
        (None, lambda labels: 91_969_731 + 29_952 * labels),
        ((8, 8), lambda labels: 108_811_459 + 20_736 * labels),
        ((4, 8), lambda labels: 100_390_083 + 20_736 * labels),
    ],
)
def test_closed_forms_of_the_generators_size(start: Any, closed_form: Callable[[int], int]) -> None:
    for labels in (13, 184):
        with torch.device("meta"):
            generator = SpadeGenerator(labels, start=start)
        assert sum(parameter.numel() for parameter in generator.parameters()) == closed_form(labels)


@pytest.mark.parametrize(("depth", "side"), [("normal", 32), ("more", 64), ("most", 128)])
def test_depths_have_their_multiples(depth: Any, side: int) -> None:
    generator = SpadeGenerator(3, 2, depth, hidden=4).eval()
    assert generator(torch.zeros(1, 3, side, 2 * side)).shape == (1, 3, side, 2 * side)
    with pytest.raises(BadInput, match=rf"options.depth {depth} needs pictures whose sides are multiples of {side}, "):
        make(replace(SCHEMA, height=side + 16), depth=depth)


def test_zero_scales_and_shifts_leave_batch_norm() -> None:
    norm = SpadeNorm(3, CLASSES, 4)
    features = torch.randn(4, 3, 8, 8) * 3 + 2
    for layer in (norm.scale, norm.shift):
        nn.init.zeros_(layer.weight)
    out = norm(features, one_hot(4, 8))
    assert torch.equal(out, nn.BatchNorm2d(3, affine=False)(features))
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(out.var((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_a_uniform_map_modulates_alike_but_at_its_border() -> None:
    norm = stirred(SpadeNorm(3, CLASSES, 4))
    assert isinstance(norm, SpadeNorm)
    uniform = torch.zeros(1, CLASSES, 12, 12)
    uniform[:, 2] = 1
    scale = norm.scale(F.relu(norm.shared(uniform)))
    inside = scale[..., 2:-2, 2:-2]
    torch.testing.assert_close(inside, inside[..., :1, :1].expand_as(inside))
    assert (scale[..., 0, :] - inside[..., :1, 0]).abs().min() > 1e-3


def test_uniform_maps_of_two_classes_differ_where_instance_norm_would_wash_them_out() -> None:
    maps = torch.eye(CLASSES).view(CLASSES, CLASSES, 1, 1).expand(-1, -1, 12, 12).contiguous()
    washed = F.instance_norm(nn.Conv2d(CLASSES, 4, 1)(maps))
    assert washed.abs().max() < 1e-3
    norm = stirred(SpadeNorm(3, CLASSES, 4))
    assert isinstance(norm, SpadeNorm)
    read = F.relu(norm.shared(maps))
    for layer in (norm.scale, norm.shift):
        middle = layer(read)[..., 6, 6]
        assert torch.pdist(middle).min() > 1e-2


@pytest.mark.parametrize("lookup", [False, True])
def test_labels_are_interchangeable_with_the_weights_that_read_them(lookup: bool) -> None:
    generator = stirred(SpadeGenerator(CLASSES, 2, hidden=6, lookup=lookup)).eval()
    assert isinstance(generator, SpadeGenerator) and isinstance(generator.start, nn.Conv2d)
    label = one_hot()
    before = generator(label).detach()
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        for convolution in (generator.start, *(norm.shared for norm in spade_norms(generator))):
            convolution.weight.copy_(convolution.weight[:, order])
    torch.testing.assert_close(generator(label[:, order]), before, atol=1e-6, rtol=0)
    assert (generator(label) - before).abs().max() > 1e-3


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("boundary", [False, True])
def test_looking_up_is_convolving(kernel: int, boundary: bool) -> None:
    """Pictures and every gradient, in double precision: the only difference is the order of a sum."""
    label = one_hot().double()
    if boundary:
        label = torch.cat([label, (torch.rand(2, 1, SIDE, SIDE) < 0.3).double()], dim=1)
    results = []
    for lookup in (False, True):
        torch.manual_seed(0)
        generator = SpadeGenerator(
            label.shape[1], 2, hidden=6, kernel=kernel, boundary=boundary, lookup=lookup
        ).double()
        image = stirred(generator)(label)
        image.square().mean().backward()
        results.append((image, [parameter.grad for parameter in generator.parameters()]))
    (plain, gradients), (looked_up, same) = results
    assert plain.std() > 1e-2
    torch.testing.assert_close(looked_up, plain, rtol=0, atol=1e-12)
    torch.testing.assert_close(same, gradients, rtol=1e-9, atol=1e-12)


def test_only_label_maps_of_classes_are_looked_up() -> None:
    def looks_up(method: Spade) -> bool:
        generator = method.networks["generator"]
        assert isinstance(generator, SpadeGenerator)
        return generator.lookup

    assert looks_up(make())
    assert not looks_up(make(lookup=False))
    assert not looks_up(make(standard_schema("sketch", 64, 64)))
    assert not looks_up(make(conditioning="concatenation"))


def test_a_style_is_256_numbers_of_the_exemplar_and_nothing_else() -> None:
    method = make(style=True, style_numbers=7)
    assert make(style=True).style_length == 256
    assert method.inputs == ("label", "exemplar") and method.ways == (("label", "style"),)
    for network in method.networks.values():
        stirred(network).eval()
    given = batch(method)
    guided = Synthesizer(method, method.networks, 0).paint(given)
    codes = method.networks["encoder"](given.exemplar)[0]
    styled = Synthesizer(method, method.networks, 0, ("label", "style"))
    assert codes.shape == (2, 7)
    torch.testing.assert_close(styled(given.label, codes), guided)
    assert (styled(given.label, codes + 1) - guided).abs().max() > 1e-4
    other_noise = replace(given, noise=given.noise + 1)
    assert torch.equal(Synthesizer(method, method.networks, 0).paint(other_noise), guided)


@pytest.mark.parametrize("style", [False, True])
def test_pictures_are_a_function_of_their_inputs(style: bool) -> None:
    method = make(style=style)
    for network in method.networks.values():
        network.eval()
    given = batch(method)
    first, second = (Synthesizer(method, method.networks, 0).paint(given) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(("side", "halvings", "square"), [(256, 6, 256), (512, 6, 256), (128, 5, 128), (32, 3, 32)])
def test_the_encoder_sees_a_square_whose_code_is_of_4x4(side: int, halvings: int, square: int) -> None:
    assert halvings_of(side, 2 * side) == halvings
    encoder = SpadeEncoder(4, 6, halvings)
    assert encoder.side == square
    mean, log_variance = encoder.eval()(torch.rand(2, 3, side, 2 * side))
    assert mean.shape == log_variance.shape == (2, 6)


def test_losses_on_known_scores_and_differences() -> None:
    zeros = torch.zeros(2, 1, 5, 5)
    assert hinge(zeros, 1) + hinge(zeros, -1) == 2
    assert hinge(zeros + 1, 1) + hinge(zeros - 1, -1) == 0
    assert hinge(zeros - 2, 1) == 3 and hinge(zeros + 2, -1) == 3
    scales = [[torch.zeros(2, 3, 4, 4) for _ in range(5)] for _ in range(2)]
    ones = [[stage + 1 for stage in scale] for scale in scales]
    assert SPADE.options_type().feature_weight * feature_matching(scales, ones) == 40
    weight = SPADE.options_type().perceptual_weight
    assert semantic_loss(torch.ones(2, 5), torch.ones(2), "fixed", weight).item() == pytest.approx(14.6875)
    none = torch.zeros(3, 256)
    assert divergence(none, none) == 0
    assert divergence(none + 1, none) == 128
    assert SPADE.options_type().prior_weight * divergence(none + 1, none).item() == pytest.approx(25.6)


def test_losses_of_a_discriminator_that_says_zero() -> None:
    method = make(style=True)
    for copy in method.networks["discriminator"].copies:
        nn.init.zeros_(copy.stages[-1].weight)
    losses = dict(method.play(batch(method), 0))
    assert losses["generator"]["realism"] == 0
    assert losses["discriminator"]["real"] + losses["discriminator"]["fake"] == 2
    assert set(losses["generator"]) == {"realism", "features", "perceptual", "prior"}
    without = make(feature_weight=0, perceptual_weight=0)
    assert set(dict(without.play(batch(without), 0))["generator"]) == {"realism"}


def test_features_of_photos_get_no_gradient() -> None:
    """But for those of painted pictures: with photos alone under the gradient, nothing would be left."""
    method = make()
    given = batch(method)
    given.target.requires_grad_()
    plays = method.play(given, 0)
    _, losses = next(plays)
    losses["features"].backward()
    assert given.target.grad is None or given.target.grad.abs().max() == 0
    assert all(parameter.grad is not None for parameter in method.networks["generator"].parameters())


def test_boundaries_are_of_instances_and_not_of_their_numbers() -> None:
    halves = torch.zeros(1, 8, 8, dtype=torch.int32)
    halves[..., 4:] = 7
    columns = boundaries(halves)
    assert columns[0, 0].sum(0).tolist() == [0, 0, 0, 8, 8, 0, 0, 0]
    assert torch.equal(boundaries(halves * 3 + 1), columns)
    assert boundaries(torch.ones(1, 8, 8, dtype=torch.int32)).sum() == 0
    method = make(boundaries=True)
    assert method.inputs == ("label", "instances")
    generator = method.networks["generator"]
    assert isinstance(generator, SpadeGenerator) and isinstance(generator.start, nn.Conv2d)
    assert generator.start.in_channels == CLASSES + 1
    stirred(generator).eval()
    given = batch(method)
    painted = Synthesizer(method, method.networks, 0).paint(given)
    moved = Synthesizer(method, method.networks, 0).paint(replace(given, instances=given.instances.flip(2)))
    assert (moved - painted).abs().max() > 1e-4


def test_channels_of_the_published_data_sets() -> None:
    """Specification 1: the unknown channel is the last label channel; boundaries come after it."""
    for name, classes, channels, size in (
        ("coco", coco_stuff.things_and_stuff(), 184, (256, 256)),
        ("ade20k", ade20k.scene_parsing(), 151, (256, 256)),
        ("cityscapes", cityscapes.label_ids(), 36, (256, 512)),
    ):
        config = load(CONFIGS / f"spade-{name}.yaml")
        assert (config.data.height, config.data.width) == size
        options = config.options
        assert isinstance(options, SPADE.options_type)
        assert options.boundaries == (name != "ade20k")
        assert classes.schema(*size).channels + options.boundaries == channels
    assert ade20k.scene_parsing().of_raw[0] == 150 and ade20k.scene_parsing().of_raw[1] == 0


def test_the_published_rates() -> None:
    config = load(CONFIGS / "spade-ade20k.yaml")
    method = SPADE(config.options.model_copy(update=SMALL), replace(SCHEMA, height=64, width=64))
    epoch = 20_210
    assert config.images == 200 * epoch
    for player, rate in (("generator", 1e-4), ("discriminator", 4e-4)):
        settings = config.optimizer.of(player)
        assert settings.betas == (0.0, 0.9)
        for epochs, factor in ((0, 1), (100, 1), (150, 0.5), (200, 0)):
            factor_there = method.rate(player, epochs * epoch, settings.schedule)
            assert settings.learning_rate * factor_there == pytest.approx(rate * factor)


def test_weights_begin_small_and_biases_at_zero() -> None:
    """Glorot's normal rule with gain 0.02, of every layer (specification 4)."""
    torch.manual_seed(0)
    networks = make(generator_base=8, hidden=32, style=True).networks.values()
    checked = 0
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                weight = layer.parametrizations.weight.original if is_parametrized(layer) else layer.weight
                receptive = weight[0, 0].numel()
                wanted = 0.02 * (2 / (receptive * (weight.shape[0] + weight.shape[1]))) ** 0.5
                if weight.numel() > 2000:
                    assert weight.std().item() == pytest.approx(wanted, rel=0.1)
                    checked += 1
                assert layer.bias is None or not layer.bias.any()
    assert checked > 30


def test_spectral_norm_is_where_the_code_has_it_and_makes_the_largest_singular_value_one() -> None:
    method = make(style=True)
    normed = {
        name: [key for key, layer in network.named_modules() if is_parametrized(layer)]
        for name, network in method.networks.items()
    }
    blocks = [f"blocks.{number}.{part}" for number in range(7) for part in ("first", "second")]
    assert set(normed["generator"]) == {*blocks, *(f"blocks.{number}.shortcut" for number in (3, 4, 5, 6))}
    assert normed["discriminator"] == [f"copies.{copy}.stages.{stage}.0" for copy in (0, 1) for stage in (1, 2, 3)]
    assert normed["encoder"] == [f"body.{number}.0" for number in range(4)]
    for name, keys in normed.items():
        for key in keys:
            layer = method.networks[name].get_submodule(key).train()
            for _ in range(300):
                # Each reading in training is a step of the power iteration. Some values lie near each other.
                assert isinstance(layer.weight, Tensor)
            before = layer.eval().weight
            assert torch.equal(layer.weight, before)
            weight = before.detach().flatten(1)
            assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=1e-3), f"{name}.{key}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 2, "accumulate": 2}, "accumulate 2 would give the batch norms of spade's generator statistics of"),
        ({"speed": {"recompute": True}}, "speed.recompute would have the batch norms of spade's generator count"),
    ],
)
def test_what_does_not_go_with_statistics_of_the_whole_batch_is_refused(
    changes: dict[str, Any], message: str, small_config: MakeConfig
) -> None:
    config = small_config("spade", **changes)
    with pytest.raises(BadInput, match=message):
        Training(config, config.data.label_schema, None)


def test_kernels_without_a_middle_are_refused() -> None:
    with pytest.raises(BadInput, match=r"options.label_kernel 2 is even; give an odd number, such as 3"):
        make(label_kernel=2)


def test_averaged_weights_paint_as_in_training_once_they_have_settled() -> None:
    """Specification 8: pictures of averages differ between training and eval mode; settling closes the gap."""
    from trainer.players.ema import MovingAverages
    from trainer.players.norm_statistics import settle

    method = make(style=True)
    given = batch(method, 8)
    generator = method.networks["generator"]
    stirred(generator)
    averages = MovingAverages({name: method.networks[name] for name in method.synthesizers}, 0.9)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)))
        for _ in range(20):
            list(method.play(given, 0))
    averages.update(method.networks, dict.fromkeys(method.networks, 1))
    average = averages.networks["generator"]

    def gap() -> float:
        code = method._styles(averages.networks, given, 0)[0]
        for _, norm in with_statistics(average):
            norm.train()
        before = [buffer.clone() for buffer in average.buffers()]
        with torch.no_grad():
            wanted = average(given.label, code)
            for buffer, value in zip(average.buffers(), before, strict=True):
                buffer.copy_(value)
            average.eval()
            return float((average(given.label, code) - wanted).abs().mean())

    unsettled = gap()
    settle(averages.networks.values(), [given], lambda each: method.settle(averages.networks, each))
    assert gap() < 0.1 * unsettled
    assert all(isinstance(norm, BatchNorm2d) for _, norm in with_statistics(average))
