"""MUNIT and PairedMUNIT against the numbers of their specification, an independent forward in NumPy, and invariants."""

from dataclasses import replace
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
from tests.trainer.networks.test_parity import PRECISIONS, assert_agree, numbers, state_of, stir
from trainer.config import load
from trainer.method import Batch
from trainer.methods._label_picture import label_picture
from trainer.methods._two_domains import TwoDomains
from trainer.methods.munit import METHOD as MUNIT
from trainer.methods.paired_munit import METHOD as PAIRED
from trainer.methods.paired_munit import pair_loss
from trainer.networks.munit_networks import (
    AdaptiveResidualBlock,
    ContentEncoder,
    Decoder,
    ScaledDiscriminators,
    StyleEncoder,
)
from trainer.networks.norms import AdaptiveInstanceNorm2d, InstanceNorm2d, SampleNorm2d
from trainer.perceptual import load_vgg19
from trainer.speed.recompute import recompute_in

# Specification 2. By channels of the pictures: style encoder, content encoder, decoder without and with its
# perceptron apart, three discriminators.
PARAMETERS = {
    3: {"style": 2_764_936, "content": 5_385_856, "decoder": 5_754_627, "mlp": 1_120_768, "discriminator": 8_271_171},
    15: {"style": 2_802_568, "content": 5_423_488, "decoder": 5_792_271, "mlp": 1_120_768, "discriminator": 8_308_035},
    23: {"style": 2_827_656, "content": 5_448_576, "decoder": 5_817_367, "mlp": 1_120_768, "discriminator": 8_332_611},
    42: {"style": 2_887_240, "content": 5_508_160, "decoder": 5_876_970, "mlp": 1_120_768, "discriminator": 8_390_979},
}
AUTO_ENCODER = {3: 15_026_187, 15: 15_139_095, 23: 15_214_367, 42: 15_393_138}
MACS = {
    "style": 6_253_709_312,
    "content": 24_238_882_816,
    "decoder": 46_788_577_280,
    "discriminator": 2_180_161_536,
}
"""Multiplications at 256×256 and 3 channels; the decoder with its perceptron."""
WHOLE_MODEL = 46_594_716

SCHEMA = standard_schema("sketch", 32, 32)
SMALL: dict[str, Any] = {
    "generator_base": 4,
    "generator_blocks": 2,
    "discriminator_base": 4,
    "discriminator_scales": 2,
}
PRIOR = 32
"""Draws of MUNIT: styles of 8 numbers, for two turns and two domains. PairedMUNIT's coins follow."""
OFF: dict[str, Any] = {"exemplar_styles": False, "semantic_weight": 0, "pair_weight": 0, "pixel_weight": 0}
CONFIGS = Path(__file__).parents[3] / "trainer" / "configs"


def make(kind: type[TwoDomains] = MUNIT, **options: Any) -> TwoDomains:
    torch.manual_seed(0)
    method = kind(kind.options_type(**SMALL | options), SCHEMA)  # type: ignore[arg-type]
    method.perceptual = load_vgg19("random:0", divisor=16, resize_below=0)
    return method


def batch(count: int = 2, noise: int = PRIOR + 2) -> Batch:
    generator = torch.Generator().manual_seed(1)
    photos = [torch.rand(count, 3, 32, 32, generator=generator) * 2 - 1 for _ in range(4)]
    labels = [torch.rand(count, SCHEMA.channels, 32, 32, generator=generator) for _ in range(2)]
    return Batch(
        label=labels[0],
        target=photos[0],
        exemplar_label=labels[1],
        exemplar=photos[1],
        consistent=photos[2],
        inconsistent=photos[3],
        same_style=torch.tensor([1.0, 0.0, 0.0, 1.0])[:count],
        noise=torch.randn(count, noise, generator=generator),
    )


def with_coins(given: Batch, *coins: float) -> Batch:
    """The batch with a coin for each turn, the same for all samples."""
    noise = given.noise.clone()
    noise[:, PRIOR:] = torch.tensor(coins)
    return replace(given, noise=noise)


def played(method: TwoDomains, given: Batch) -> dict[str, dict[str, Tensor]]:
    return dict(method.play(given, 0))


def count_of(*networks: nn.Module) -> int:
    return sum(parameter.numel() for network in networks for parameter in network.parameters())


@pytest.mark.parametrize("channels", PARAMETERS)
def test_parameters(channels: int) -> None:
    with torch.device("meta"):
        decoder, content, style = Decoder(channels), ContentEncoder(channels), StyleEncoder(channels)
        found = {
            "style": count_of(style),
            "content": count_of(content),
            "decoder": count_of(decoder) - count_of(decoder.perceptron),
            "mlp": count_of(decoder.perceptron),
            "discriminator": count_of(ScaledDiscriminators(channels)),
        }
    assert found == PARAMETERS[channels]
    assert count_of(decoder, content, style) == AUTO_ENCODER[channels]
    last = decoder.perceptron[-1]
    assert isinstance(last, nn.Linear) and last.out_features == 4096


@pytest.mark.parametrize("kind", ["sketch", "pose", "classes"])
def test_the_whole_model_whatever_the_label(kind: Any) -> None:
    with torch.device("meta"):
        method = MUNIT(MUNIT.options_type(), standard_schema(kind, 256, 256))
    assert count_of(*method.networks.values()) == WHOLE_MODEL
    assert {name for names in method.players.values() for name in names} == set(method.networks)


def test_multiplications_and_shapes() -> None:
    with torch.device("meta"):
        networks = {"style": StyleEncoder(), "content": ContentEncoder(), "discriminator": ScaledDiscriminators()}
        decoder = Decoder()
    picture = torch.empty(1, 3, 256, 256, device="meta")
    found, outputs = {}, {}
    for name, network in networks.items():
        with FlopCounterMode(display=False) as counter:
            outputs[name] = network(picture)
        found[name] = counter.get_total_flops() // 2
    with FlopCounterMode(display=False) as counter:
        image = decoder(outputs["content"], outputs["style"])
    assert found | {"decoder": counter.get_total_flops() // 2} == MACS
    assert outputs["content"].shape == (1, 256, 64, 64)
    assert outputs["style"].shape == (1, 8)
    assert image.shape == picture.shape
    assert [scores.shape for scores in outputs["discriminator"]] == [(1, 1, 16, 16), (1, 1, 8, 8), (1, 1, 4, 4)]


def test_shapes_of_a_street() -> None:
    picture = torch.empty(1, 3, 144, 256, device="meta")
    with torch.device("meta"):
        content, style = ContentEncoder()(picture), StyleEncoder()(picture)
        scores = ScaledDiscriminators()(picture)
        image = Decoder()(content, style)
    assert content.shape == (1, 256, 36, 64)
    assert [each.shape[2:] for each in scores] == [(9, 16), (4, 8), (2, 4)]
    assert image.shape == picture.shape


@pytest.mark.parametrize(("scale", "reach"), [(0, 46), (1, 93), (2, 187)])
def test_receptive_fields_of_the_discriminators(scale: int, reach: int) -> None:
    discriminator = ScaledDiscriminators(3, base=2)
    picture = torch.randn(1, 3, 512, 512, requires_grad=True)
    scores = discriminator(picture)[scale]
    middle = scores.shape[-1] // 2
    scores[0, 0, middle, middle].backward()
    assert picture.grad is not None
    rows = picture.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows[-1] - rows[0]) + 1 == reach


def test_nothing_is_normalised_where_it_would_take_the_style_away() -> None:
    for network in (StyleEncoder(3, 4), ScaledDiscriminators(3, 4)):
        assert not [part for part in network.modules() if "Norm" in type(part).__name__]
    assert [part for part in ContentEncoder(3, 4).modules() if isinstance(part, InstanceNorm2d)]


def test_fresh_weights() -> None:
    for network in (ContentEncoder(3, 16), StyleEncoder(3, 16), Decoder(3, 16)):
        for part in network.modules():
            if isinstance(part, nn.Conv2d | nn.Linear) and part.weight.numel() > 4096:
                # Kaiming, for ReLU.
                wanted = (2 / part.weight[0].numel()) ** 0.5
                assert part.weight.std().item() == pytest.approx(wanted, rel=0.05)
            if isinstance(part, SampleNorm2d):
                assert part.gain.eq(1).all()
    discriminator = ScaledDiscriminators(3, 16)
    for network in (ContentEncoder(3, 4), StyleEncoder(3, 4), Decoder(3, 4), discriminator):
        assert not [name for name, bias in network.named_parameters() if name.endswith("bias") and bias.any()]
    weights = torch.cat([p.flatten() for name, p in discriminator.named_parameters() if name.endswith("weight")])
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)


def test_a_batch_of_two_is_two_singles() -> None:
    pictures = torch.from_numpy(numbers(2, 3, 32, 48))
    content, style = torch.from_numpy(numbers(2, 16, 8, 12)), torch.from_numpy(numbers(2, 8, seed=1))
    networks: list[tuple[nn.Module, tuple[Tensor, ...]]] = [
        (ContentEncoder(3, 4), (pictures,)),
        (StyleEncoder(3, 4), (pictures,)),
        (ScaledDiscriminators(3, 4, 2), (pictures,)),
        (Decoder(3, 4), (content, style)),
    ]
    for network, inputs in networks:
        network = stir(network).double()
        both, first, second = (network(*(each[part] for each in inputs)) for part in (slice(2), slice(1), slice(1, 2)))
        for one, *two in zip(*(x if isinstance(x, list) else [x] for x in (both, first, second)), strict=True):
            torch.testing.assert_close(one, torch.cat(two), atol=1e-12, rtol=0)


def test_the_content_code_is_blind_to_gain_and_colour_cast_and_the_style_code_is_not() -> None:
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 64, 64, dtype=torch.float64) * 2 - 1
    cast = 0.6 * picture + torch.tensor([0.3, -0.2, 0.1]).view(3, 1, 1)
    content, style = ContentEncoder(3, 16).double(), StyleEncoder(3, 16).double()
    largest = content(picture).abs().max()
    assert (content(cast) - content(picture)).abs().max() < 1e-3 * largest
    assert (style(cast) - style(picture)).abs().max() > 0.05 * style(picture).abs().max()


def test_adain_sets_mean_and_spread() -> None:
    x = torch.from_numpy(3 * numbers(2, 5, 16, 24) + 1)
    scale, bias = torch.from_numpy(numbers(2, 5, seed=1)), torch.from_numpy(numbers(2, 5, seed=2))
    out = AdaptiveInstanceNorm2d()(x, scale, bias)
    torch.testing.assert_close(out.mean((2, 3)), bias, atol=1e-12, rtol=0)
    torch.testing.assert_close(out.std((2, 3), correction=0), scale.abs(), atol=0, rtol=1e-5)
    plain = AdaptiveInstanceNorm2d()(x, torch.ones_like(scale), torch.zeros_like(bias))
    torch.testing.assert_close(plain, InstanceNorm2d(5)(x), atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_round_once_in_half_precision(dtype: torch.dtype) -> None:
    """Off the exact values by the rounding of their results, not by that of statistics around a mean of 3."""
    generator = torch.Generator().manual_seed(0)
    x = (3 + torch.randn(1, 4, 128, 128, generator=generator)).to(dtype)
    scale, bias = (torch.randn(1, 4, generator=generator).to(dtype) for _ in range(2))
    for norm, inputs in ((AdaptiveInstanceNorm2d(), (x, scale, bias)), (SampleNorm2d(4), (x,))):
        ours, exact = norm(*inputs), norm.double()(*(each.double() for each in inputs))
        assert ours.dtype == dtype
        rounding = torch.finfo(dtype).eps / 2
        assert ((ours.double() - exact).abs() <= exact.abs() * rounding + 1e-6).all()


def test_a_constant_sample_has_finite_gradients_in_the_sample_norm() -> None:
    x = torch.full((1, 3, 8, 8), 2.0, requires_grad=True)
    SampleNorm2d(3)(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


@PRECISIONS
def test_norms_agree_with_the_reference(dtype: torch.dtype) -> None:
    x, scale, bias = 3 * numbers(2, 6, 13, 8) + 1, numbers(2, 6, seed=1), numbers(2, 6, seed=2)
    given = [torch.from_numpy(each).to(dtype) for each in (x, scale, bias)]
    assert_agree(AdaptiveInstanceNorm2d()(*given), reference.adaptive_instance_norm(x, scale, bias))
    norm = stir(SampleNorm2d(6)).to(dtype)
    state = state_of(norm)
    assert_agree(norm(given[0]), reference.sample_norm(x, state["gain"], state["bias"]))


@PRECISIONS
def test_the_adaptive_block_agrees_with_the_reference(dtype: torch.dtype) -> None:
    block = stir(AdaptiveResidualBlock(6)).to(dtype)
    x, amounts = 3 * numbers(2, 6, 13, 8) + 1, numbers(2, 24, seed=1)
    ours = block(*(torch.from_numpy(each).to(dtype) for each in (x, amounts)))
    assert_agree(ours, reference.adaptive_residual_block(x, amounts, state_of(block)))


@PRECISIONS
def test_encoders_and_discriminators_agree_with_the_reference(dtype: torch.dtype) -> None:
    x = numbers(2, 3, 48, 64)
    given = torch.from_numpy(x).to(dtype)
    content, style = stir(ContentEncoder(3, 6, 2, 2)).to(dtype), stir(StyleEncoder(3, 6)).to(dtype)
    assert_agree(content(given), reference.content_encoder(x, state_of(content)))
    assert_agree(style(given), reference.style_encoder(x, state_of(style)))
    discriminator = stir(ScaledDiscriminators(3, 4, 2)).to(dtype)
    wanted = reference.scaled_discriminators(x, state_of(discriminator))
    for ours, theirs in zip(discriminator(given), wanted, strict=True):
        assert_agree(ours, theirs)


@PRECISIONS
def test_the_decoder_agrees_with_the_reference(dtype: torch.dtype) -> None:
    decoder = stir(Decoder(3, 6, 2, 2)).to(dtype)
    content, style = numbers(2, 24, 9, 7), numbers(2, 8, seed=1)
    ours = decoder(*(torch.from_numpy(each).to(dtype) for each in (content, style)))
    assert_agree(ours, reference.decoder(content, style, state_of(decoder)))


STRONGEST: dict[str, Any] = {"pixel_weight": 10}


@pytest.mark.parametrize(
    ("kind", "options"),
    [(MUNIT, {}), (MUNIT, {"cycle_weight": 0}), (PAIRED, {}), (PAIRED, STRONGEST), (PAIRED, OFF)],
    ids=["MUNIT", "without the cycle", "PairedMUNIT", "strongest", "all off"],
)
def test_every_loss_agrees_with_the_formulas(kind: type[TwoDomains], options: dict[str, Any]) -> None:
    """One iteration by the formulas of 3 and 4.3, with networks and losses in NumPy."""
    method = make(kind, **options)
    assert method.perceptual is not None
    for network in (*method.networks.values(), method.perceptual):
        stir(network).double()
    given = batch(4)._each(Tensor.double)
    ours = {
        player: {name: loss.item() for name, loss in terms.items()} for player, terms in played(method, given).items()
    }
    wanted = expected(method, given, kind is PAIRED)
    assert ours.keys() == wanted.keys()
    for player, terms in wanted.items():
        assert ours[player] == pytest.approx(terms, rel=1e-9, abs=0), player


def expected(method: TwoDomains, given: Batch, paired: bool) -> dict[str, dict[str, float]]:
    states = {name: state_of(network) for name, network in method.networks.items()}
    options: Any = method.options
    a, b = (2 * np.repeat(given.label.numpy()[:, :1], 3, 1) - 1, given.exemplar.numpy())
    noise = given.noise.numpy()

    def run(domain: str, part: str, *inputs: reference.Array) -> Any:
        function = {
            "content": reference.content_encoder,
            "style": reference.style_encoder,
            "decoder": reference.decoder,
            "discriminator": reference.scaled_discriminators,
        }[part]
        return function(*inputs, states[f"{domain}_{part}"])  # type: ignore[operator]

    def l1(x: reference.Array, y: reference.Array) -> float:
        return float(np.abs(x - y).mean())

    content = {"label": run("label", "content", a), "photo": run("photo", "content", b)}
    style = {"label": run("label", "style", a), "photo": run("photo", "style", b)}

    def drawn(turn: int) -> dict[str, reference.Array]:
        s_a, s_b = noise[:, 16 * turn : 16 * turn + 8], noise[:, 16 * turn + 8 : 16 * turn + 16].copy()
        if paired and options.exemplar_styles:
            for sample in range(len(s_b)):
                if noise[sample, 32 + turn] > 0:
                    s_b[sample] = style["photo"][sample]
        return {"label": s_a, "photo": s_b}

    def translated(s: dict[str, reference.Array]) -> dict[str, reference.Array]:
        return {
            "photo": run("photo", "decoder", content["label"], s["photo"]),
            "label": run("label", "decoder", content["photo"], s["label"]),
        }

    fakes = translated(drawn(0))
    real = {"label": a, "photo": b}
    domains = ("label", "photo")
    discriminator = {
        "real": sum(reference.squared(scores, 1) for d in domains for scores in run(d, "discriminator", real[d])),
        "fake": sum(reference.squared(scores, 0) for d in domains for scores in run(d, "discriminator", fakes[d])),
    }
    s = drawn(1)
    fakes = translated(s)
    other = {"label": "photo", "photo": "label"}
    read = {d: run(d, "content", fakes[d]) for d in domains}
    generator = {
        "image": 10 * sum(l1(run(d, "decoder", content[d], style[d]), real[d]) for d in domains),
        "style": sum(l1(run(d, "style", fakes[d]), s[d]) for d in domains),
        "content": sum(l1(read[d], content[other[d]]) for d in domains),
        "realism": sum(reference.squared(scores, 1) for d in domains for scores in run(d, "discriminator", fakes[d])),
    }
    if options.cycle_weight:
        generator["cycle"] = 10 * sum(l1(run(d, "decoder", read[other[d]], style[d]), real[d]) for d in domains)
    if paired:
        flags, z = given.same_style.numpy(), given.target.numpy()
        guided = run("photo", "decoder", content["label"], style["photo"])
        if options.semantic_weight:
            assert method.perceptual is not None
            state = state_of(method.perceptual)
            layers = reference.distances(reference.vgg19(guided, state), reference.vgg19(z, state))
            factors = np.where(flags[:, None] == 1, 1.0, np.array([1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]))
            generator["semantic"] = 10 * float((factors * layers).sum(1).mean())
        if options.pair_weight:
            near, far = (run("photo", "style", each.numpy()) for each in (given.consistent, given.inconsistent))
            apart = np.maximum(0, 1 - np.abs(style["photo"] - far)).mean()
            generator["pair"] = l1(style["photo"], near) + float(apart)
        if options.pixel_weight:
            generator["pixel"] = 10 * float((flags * np.abs(guided - z).mean((1, 2, 3))).mean())
    return {"discriminator": discriminator, "generator": generator}


class Constant(nn.Module):
    """Discriminators that score everything alike."""

    def __init__(self, score: float, scales: int = 3) -> None:
        super().__init__()
        self.score, self.scales = nn.Parameter(torch.tensor(score)), scales

    def forward(self, picture: Tensor) -> list[Tensor]:
        return [self.score.expand(len(picture), 1, 8 >> scale, 8 >> scale) for scale in range(self.scales)]


@pytest.mark.parametrize("score", [0.0, 0.25, 0.5, 1.0, 2.0])
def test_adversarial_losses_on_constant_scores(score: float) -> None:
    """Of both domains, three scales each."""
    method = make()
    method.networks["label_discriminator"] = method.networks["photo_discriminator"] = Constant(score)
    losses = played(method, batch())
    of_discriminators = sum(loss.item() for loss in losses["discriminator"].values())
    assert of_discriminators == pytest.approx(2 * 3 * ((score - 1) ** 2 + score**2), abs=1e-6)
    assert losses["generator"]["realism"].item() == pytest.approx(2 * 3 * (score - 1) ** 2, abs=1e-6)


class Whole(nn.Module):
    """A decoder that gives the content back."""

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        return content


def test_a_perfect_auto_encoder_has_nothing_to_reconstruct() -> None:
    method = make()
    for domain in ("label", "photo"):
        method.networks[f"{domain}_content"], method.networks[f"{domain}_decoder"] = nn.Identity(), Whole()
    losses = played(method, batch())["generator"]
    assert losses["image"].item() == losses["cycle"].item() == losses["content"].item() == 0
    assert losses["style"].item() > 0


def test_weights_scale_their_terms() -> None:
    given = batch()
    plain = played(make(), given)["generator"]
    names = ("image", "style", "content", "cycle", "realism")
    doubled = {f"{name}_weight": 2 * weight for name, weight in zip(names, (10, 1, 1, 10, 1), strict=True)}
    twice = played(make(**doubled), given)["generator"]
    assert set(plain) == set(names)
    for name in names:
        torch.testing.assert_close(twice[name], 2 * plain[name])


@pytest.mark.parametrize(
    ("options", "decoded", "encoded"),
    [({}, 2, 2), ({"cycle_weight": 0}, 1, 2), ({"cycle_weight": 0, "content_weight": 0}, 1, 1)],
)
def test_what_has_no_weight_is_not_computed(options: dict[str, Any], decoded: int, encoded: int) -> None:
    method = make(**options)
    calls: list[str] = []
    for name, network in method.networks.items():
        network.register_forward_hook(lambda *_, name=name: calls.append(name))
    plays = method.play(batch(), 0)
    next(plays)
    calls.clear()
    _, losses = next(plays)
    assert ("cycle" in losses, "content" in losses) == (decoded == 2, encoded == 2)
    for domain in ("label", "photo"):
        assert calls.count(f"{domain}_decoder") == decoded
        assert calls.count(f"{domain}_content") == encoded


@pytest.mark.parametrize("kind", [MUNIT, PAIRED])
def test_the_discriminators_losses_leave_no_gradient_in_the_auto_encoders(kind: type[TwoDomains]) -> None:
    method = make(kind)
    player, losses = next(method.play(batch(), 0))
    assert player == "discriminator"
    torch.stack(list(losses.values())).sum().backward()
    for name, network in method.networks.items():
        for parameter in network.parameters():
            assert (parameter.grad is not None) == name.endswith("discriminator")


def test_where_codes_are_read_back_from_moves_for_contents_and_not_for_styles() -> None:
    """What is left of the gradients once no translated photo carries any: content targets have some, styles none."""
    method = make(PAIRED)
    codes: dict[str, list[Tensor]] = {"label_content": [], "photo_style": []}
    for name, seen in codes.items():
        method.networks[name].register_forward_hook(lambda *call, seen=seen: seen.append(call[2]))
    method.networks["photo_decoder"].register_forward_hook(lambda *call: call[2].detach())
    plays = method.play(with_coins(batch(), 1, 1), 0)
    next(plays)
    for seen in codes.values():
        seen.clear()
    _, losses = next(plays)
    (moved,) = torch.autograd.grad(losses["content"], codes["label_content"][0], retain_graph=True)
    assert moved.any()
    (kept,) = torch.autograd.grad(losses["style"], codes["photo_style"][0], allow_unused=True)
    assert kept is None


def test_each_turn_has_fresh_styles_and_draws_nothing_itself() -> None:
    method, given = make(), batch()
    state = torch.get_rng_state()
    plain = played(method, given)
    assert torch.equal(torch.get_rng_state(), state)
    for first, turned, kept in ((0, "discriminator", "generator"), (16, "generator", "discriminator")):
        for column in (first, first + 8):
            noise = given.noise.clone()
            noise[:, column : column + 8] += 1
            other = played(method, replace(given, noise=noise))
            assert all(torch.equal(other[kept][name], loss) for name, loss in plain[kept].items())
            assert any(not torch.equal(other[turned][name], loss) for name, loss in plain[turned].items())


def test_the_label_never_meets_its_photo() -> None:
    method, given = make(), batch()
    assert method.reads == ("exemplar",)
    blank = torch.empty(0)
    without = replace(given, target=blank, consistent=blank, inconsistent=blank, exemplar_label=blank)
    played(method, without)


@pytest.mark.parametrize("kind", [MUNIT, PAIRED])
def test_both_ways_of_painting(kind: type[TwoDomains]) -> None:
    method, given = make(kind), batch()
    guided = method.synthesize(method.networks, {"label": given.label, "exemplar": given.exemplar})
    code = method.networks["photo_style"](given.exemplar)
    assert torch.equal(method.synthesize(method.networks, {"label": given.label, "style": code}), guided)
    drawn = method.synthesize(method.networks, {"label": given.label, "style": given.noise[:, :8]})
    assert (drawn - guided).abs().max() > 1e-2
    assert method.inputs == ("label", "exemplar") and method.ways == (("label", "style"),)
    needed = {name: method.networks[name] for name in method.synthesizers}
    assert torch.equal(method.synthesize(needed, {"label": given.label, "exemplar": given.exemplar}), guided)


def test_the_domain_of_labels_is_their_picture() -> None:
    method, given = make(), batch()
    seen: list[Tensor] = []
    method.networks["label_style"].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    played(method, given)
    assert torch.equal(seen[0], label_picture(given.label, SCHEMA))


def test_pictures_that_are_too_small_for_the_scales_are_refused() -> None:
    with pytest.raises(
        BadInput, match="discriminator_layers 4 needs pictures of at least 64×64, but these are 32 wide"
    ):
        make(discriminator_scales=3)


def test_with_all_switches_off_it_is_munit_bit_for_bit() -> None:
    plain, paired = make(MUNIT), make(PAIRED, **OFF)
    assert (paired.reads, paired.noise) == (plain.reads, plain.noise)
    given = batch(4)
    ours, theirs = played(paired, given), played(plain, given)
    assert ours.keys() == theirs.keys()
    for player, terms in theirs.items():
        assert ours[player].keys() == terms.keys()
        assert all(torch.equal(ours[player][name], loss) for name, loss in terms.items())


def test_the_coin_decides_in_whose_style_a_label_is_painted() -> None:
    paired, given = make(PAIRED, semantic_weight=0, pair_weight=0), batch(4)
    assert paired.noise == PRIOR + 2
    plain = played(make(MUNIT), given)
    tails = played(paired, with_coins(given, -1, -1))
    for player, terms in plain.items():
        assert all(torch.equal(tails[player][name], loss) for name, loss in terms.items())

    styles: list[Tensor] = []
    paired.networks["photo_decoder"].register_forward_pre_hook(lambda _, args: styles.append(args[1]))
    played(paired, given)
    encoded = paired.networks["photo_style"](given.exemplar)
    for turn, used in enumerate((styles[0], styles[1][4:])):
        heads = given.noise[:, PRIOR + turn] > 0
        assert 0 < heads.sum() < 4, "both sides are seen"
        drawn = given.noise[:, 16 * turn + 8 : 16 * turn + 16]
        assert torch.equal(used, torch.where(heads[:, None], encoded, drawn))


def test_the_adversary_teaches_the_style_encoder_where_the_exemplar_is_painted_with() -> None:
    paired = make(PAIRED, semantic_weight=0, pair_weight=0)
    for coin, taught in ((1, True), (-1, False)):
        plays = paired.play(with_coins(batch(), coin, coin), 0)
        next(plays)
        _, losses = next(plays)
        (grad,) = torch.autograd.grad(
            losses["realism"],
            paired.networks["photo_style"].code.weight,
            allow_unused=True,  # type: ignore[arg-type]
        )
        assert (grad is not None and bool(grad.any())) == taught


def test_the_pair_wise_loss() -> None:
    style = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    near = torch.tensor([[0.5, 0.0], [1.0, 0.5]])
    far = torch.tensor([[0.25, 2.0], [1.0, 0.0]])
    assert pair_loss(style, near, far).item() == pytest.approx((0.5 + 0 + 0 + 0.5) / 4 + (0.75 + 0 + 1 + 0) / 4)


def test_pixels_count_for_same_style_samples_alone() -> None:
    paired, given = make(PAIRED, pixel_weight=10), batch()
    guided = paired.synthesize(paired.networks, {"label": given.label, "exemplar": given.exemplar})
    losses = played(paired, given)["generator"]
    assert losses["pixel"].item() == pytest.approx(10 * (guided - given.target)[0].abs().mean().item() / 2, rel=1e-5)
    others = replace(given, same_style=torch.zeros(2))
    assert played(paired, others)["generator"]["pixel"].item() == 0


@pytest.mark.parametrize(
    ("options", "reads", "terms"),
    [
        (OFF, {"exemplar"}, set()),
        (OFF | {"exemplar_styles": True}, {"exemplar"}, set()),
        (OFF | {"semantic_weight": 10}, {"exemplar", "target"}, {"semantic"}),
        (OFF | {"pair_weight": 1}, {"exemplar", "consistent", "inconsistent"}, {"pair"}),
        (OFF | {"pixel_weight": 10}, {"exemplar", "target"}, {"pixel"}),
        ({}, {"exemplar", "target", "consistent", "inconsistent"}, {"semantic", "pair"}),
    ],
)
def test_each_switch_alone(options: dict[str, Any], reads: set[str], terms: set[str]) -> None:
    paired = make(PAIRED, **options)
    assert set(paired.reads) == reads
    given = batch()
    unread = {name: torch.empty(0) for name in ("target", "consistent", "inconsistent") if name not in reads}
    losses = played(paired, replace(given, **unread))["generator"]
    assert set(losses) - {"image", "style", "content", "cycle", "realism"} == terms


def test_blocks_and_upsamplings_can_be_recomputed() -> None:
    plain, again = make(), make()
    recompute_in(again.networks.values())
    for method in (plain, again):
        torch.stack(list(played(method, batch())["generator"].values())).sum().backward()
    for name, network in plain.networks.items():
        for ours, theirs in zip(again.networks[name].parameters(), network.parameters(), strict=True):
            assert (ours.grad is None) == (theirs.grad is None)
            assert ours.grad is None or torch.equal(ours.grad, theirs.grad)  # type: ignore[arg-type]
    decoder = again.networks["photo_decoder"]
    assert isinstance(decoder, Decoder)
    assert all("forward" in vars(part) for part in (*decoder.trunk, *decoder.up)), "what is recomputed is wrapped"


@pytest.mark.parametrize("preset", ["munit", "paired_munit"])
def test_the_presets_are_the_comparison(preset: str) -> None:
    config = load(CONFIGS / f"{preset}.yaml")
    optimizer, options = config.optimizer, config.options
    assert (config.method, config.images, config.batch) == (preset, 1_000_000, 1)
    assert (optimizer.learning_rate, optimizer.betas, optimizer.weight_decay) == (1e-4, (0.5, 0.999), 1e-4)
    for images, rate in ((0, 1e-4), (99_999, 1e-4), (100_000, 5e-5), (250_000, 2.5e-5), (999_999, 1e-4 / 2**9)):
        assert optimizer.learning_rate * optimizer.schedule.at(images) == pytest.approx(rate)
    assert options.cycle_weight == 10  # type: ignore[attr-defined]
    assert options == type(options)()
