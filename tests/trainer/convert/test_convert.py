"""Checkpoints of published systems: networks of torch's own layers, built by the specifications, with official names.

Sections are those of the methods' specifications. Nothing of ours is in these networks: what a converted checkpoint
paints has to be what they paint.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deploy.batch.open_pairs import open_pairs
from deploy.runtime import Session
from export.__main__ import main as export
from likeness.checksums import sha256_of
from shards.labels import standard_schema
from shards.records import LabelSchema, load_manifest
from trainer import methods
from trainer.checkpoints.files import Checkpoint
from trainer.checkpoints.synthesis import Synthesis, load_for_synthesis
from trainer.config import Config, validate
from trainer.convert import __main__ as convert
from trainer.convert import official_names as official
from trainer.convert import systems
from trainer.convert.official_weights import Names, Weights
from trainer.convert.systems import munit as munit_names
from trainer.loop import train

MakeConfig = Callable[..., Config]
Module = TypeVar("Module", bound=nn.Module)
SIDE = 32
BASE, DOWNSAMPLINGS, BLOCKS = 4, 2, 2
CLASSES, SKETCH = 20, 15


class Residual(nn.Module):
    """R: pix2pixHD 2.1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            *(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width), nn.ReLU()),
            *(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def down(narrow: int) -> list[nn.Module]:
    return [nn.Conv2d(narrow, 2 * narrow, 3, 2, 1), nn.InstanceNorm2d(2 * narrow), nn.ReLU()]


def up(narrow: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(2 * narrow, narrow, 3, 2, 1, 1), nn.InstanceNorm2d(narrow), nn.ReLU()]


def first(channels: int, width: int) -> list[nn.Module]:
    return [nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7), nn.InstanceNorm2d(width), nn.ReLU()]


def last(width: int) -> list[nn.Module]:
    return [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()]


def body(channels: int, base: int, downsamplings: int, blocks: int) -> list[nn.Module]:
    layers = first(channels, base)
    widths = [base * 2**level for level in range(downsamplings)]
    for width in widths:
        layers += down(width)
    layers += [Residual(base * 2**downsamplings) for _ in range(blocks)]
    for width in reversed(widths):
        layers += up(width)
    return layers


class Global(nn.Module):
    """G1, and the encoder without blocks: pix2pixHD 2.1, 2.4."""

    def __init__(
        self, channels: int, base: int = BASE, downsamplings: int = DOWNSAMPLINGS, blocks: int = BLOCKS
    ) -> None:
        super().__init__()
        self.model = nn.Sequential(*body(channels, base, downsamplings, blocks), *last(base))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


def half(x: Tensor) -> Tensor:
    return nn.AvgPool2d(3, 2, 1, count_include_pad=False)(x)


class Enhanced(nn.Module):
    """G2 around G1: pix2pixHD 2.2. base: G2's, half of G1's."""

    def __init__(
        self,
        channels: int,
        base: int = BASE // 2,
        downsamplings: int = DOWNSAMPLINGS,
        blocks: int = BLOCKS,
        own_blocks: int = 1,
    ) -> None:
        super().__init__()
        self.model = nn.Sequential(*body(channels, 2 * base, downsamplings, blocks))
        self.model1_1 = nn.Sequential(*first(channels, base), *down(base))
        self.model1_2 = nn.Sequential(*(Residual(2 * base) for _ in range(own_blocks)), *up(base), *last(base))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model1_2(self.model1_1(x) + self.model(half(x)))
        return out


class Discriminators(nn.Module):
    """D: pix2pixHD 2.3. The last of them sees full size. staged: as they are stored for feature matching."""

    def __init__(self, channels: int, base: int = BASE, scales: int = 2, staged: bool = True) -> None:
        super().__init__()
        self.scales, self.staged = scales, staged
        for scale in range(scales):
            stages = [nn.Sequential(nn.Conv2d(channels, base, 4, 2, 2), nn.LeakyReLU(0.2))]
            for width, stride in ((base, 2), (2 * base, 2), (4 * base, 1)):
                convolution = nn.Conv2d(width, 2 * width, 4, stride, 2)
                stages.append(nn.Sequential(convolution, nn.InstanceNorm2d(2 * width), nn.LeakyReLU(0.2)))
            stages.append(nn.Sequential(nn.Conv2d(8 * base, 1, 4, 1, 2)))
            if staged:
                for number, stage in enumerate(stages):
                    setattr(self, f"scale{scale}_layer{number}", stage)
            else:
                setattr(self, f"layer{scale}", nn.Sequential(*(layer for stage in stages for layer in stage)))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Scores, from full size down."""
        scores = []
        for scale in reversed(range(self.scales)):
            names = [f"scale{scale}_layer{number}" for number in range(5)] if self.staged else [f"layer{scale}"]
            y = x
            for name in names:
                y = getattr(self, name)(y)
            scores.append(y)
            x = half(x)
        return scores


class AdaIN(nn.Module):
    """By batch norm, with the batch folded into the channels (MUNIT 2); amounts are put in before each call."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.amounts = (torch.empty(0), torch.empty(0))

    def forward(self, x: Tensor) -> Tensor:
        bias, scale = self.amounts
        folded = x.reshape(1, -1, *x.shape[2:])
        normed = F.batch_norm(folded, None, None, scale.flatten(), bias.flatten(), training=True)
        return normed.view_as(x)


class LayerNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.rand(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(1)
        normed = (rows - rows.mean(1, keepdim=True)) / (rows.std(1, keepdim=True) + 1e-5)
        return normed.view_as(x) * self.gamma[:, None, None] + self.beta[:, None, None]


class Convolution(nn.Module):
    """pad, conv, norm, activation."""

    def __init__(
        self,
        narrow: int,
        wide: int,
        kernel: int,
        stride: int = 1,
        norm: nn.Module | None = None,
        act: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(narrow, wide, kernel, stride)
        self.norm, self.act = norm, act
        self.padding = (kernel - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.pad(x, (self.padding,) * 4, mode="reflect"))
        x = x if self.norm is None else self.norm(x)
        return x if self.act is None else self.act(x)


class MunitBlock(nn.Module):
    def __init__(self, width: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.model = nn.Sequential(
            Convolution(width, width, 3, 1, norm(width), nn.ReLU()), Convolution(width, width, 3, 1, norm(width))
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.model(x)


class Sequence(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


class Dense(nn.Module):
    def __init__(self, narrow: int, wide: int, act: bool = True) -> None:
        super().__init__()
        self.fc, self.act = nn.Linear(narrow, wide), act

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(x)) if self.act else self.fc(x)


class AutoEncoder(nn.Module):
    """One domain of MUNIT (2)."""

    def __init__(self, base: int = BASE, blocks: int = BLOCKS) -> None:
        super().__init__()
        wide = 4 * base
        widths = [base, 2 * base, wide]
        relu = nn.ReLU
        self.enc_content = Sequence(
            Convolution(3, base, 7, 1, nn.InstanceNorm2d(base), relu()),
            *(Convolution(w, 2 * w, 4, 2, nn.InstanceNorm2d(2 * w), relu()) for w in widths[:-1]),
            Sequence(*(MunitBlock(wide, nn.InstanceNorm2d) for _ in range(blocks))),
        )
        self.enc_style = Sequence(
            Convolution(3, base, 7, act=relu()),
            *(Convolution(w, 2 * w, 4, 2, act=relu()) for w in widths[:-1]),
            *(Convolution(wide, wide, 4, 2, act=relu()) for _ in range(2)),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(wide, 8, 1),
        )
        decoder: list[nn.Module] = [Sequence(*(MunitBlock(wide, AdaIN) for _ in range(blocks)))]
        for width in reversed(widths[:-1]):
            decoder += [nn.Upsample(scale_factor=2), Convolution(2 * width, width, 5, 1, LayerNorm(width), relu())]
        self.dec = Sequence(*decoder, Convolution(base, 3, 7, act=nn.Tanh()))
        self.mlp = Sequence(Dense(8, wide), Dense(wide, wide), Dense(wide, 4 * blocks * wide, act=False))

    def decode(self, content: Tensor, style: Tensor) -> Tensor:
        amounts = self.mlp(style.flatten(1))
        norms = [module for module in self.dec.modules() if isinstance(module, AdaIN)]
        for norm, own in zip(norms, amounts.chunk(len(norms), dim=1), strict=True):
            bias, scale = own.chunk(2, dim=1)
            norm.amounts = (bias, scale)
        out: Tensor = self.dec(content)
        return out


class PhotoDiscriminators(nn.Module):
    """Of one domain of MUNIT (2); the first sees full size."""

    def __init__(self, base: int = BASE, scales: int = 2) -> None:
        super().__init__()
        self.cnns = nn.ModuleList(
            nn.Sequential(
                Convolution(3, base, 4, 2, act=nn.LeakyReLU(0.2)),
                *(Convolution(base * 2**k, base * 2 ** (k + 1), 4, 2, act=nn.LeakyReLU(0.2)) for k in range(3)),
                nn.Conv2d(8 * base, 1, 1),
            )
            for _ in range(scales)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        scores = []
        for cnn in self.cnns:
            scores.append(cnn(x))
            x = half(x)
        return scores


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))


def stirred(module: Module, seed: int = 0) -> Module:
    """Draws every weight and bias, none of them near 0, so that none can be left out or swapped unnoticed."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.copy_(numbers(*parameter.shape, seed=1000 * seed + number) / fan_in**0.5)
    return module.eval()


def saved(state: Mapping[str, Any], file: Path) -> Path:
    torch.save(dict(state), file)
    return file


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Runs the command, which must succeed: arguments without `--out`; gives the checkpoint's folder."""

    def run(*arguments: str | Path) -> Path:
        out = tmp_path / "checkpoint-converted"
        assert convert.main([*map(str, arguments), "--out", str(out)]) == 0
        return out

    return run


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command, which must refuse in one line and write nothing; gives the line."""

    def run(*arguments: str | Path) -> str:
        out = tmp_path / "refused"
        assert convert.main([*map(str, arguments), "--out", str(out)]) == 2
        assert not out.exists()
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        return error

    return run


def agree(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.abs().mean() > 0.05, "nothing to compare"
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def at(kind: str) -> list[str]:
    return ["--label", kind, "--height", str(SIDE), "--width", str(SIDE)]


def labels(channels: int, seed: int = 1) -> Tensor:
    return numbers(2, channels, SIDE, SIDE, seed=seed).sigmoid()


def photos(seed: int) -> Tensor:
    return numbers(2, 3, SIDE, SIDE, seed=seed).tanh()


def network_of(checkpoint: Path, name: str) -> nn.Module:
    """One network of a converted checkpoint, as training would restore it."""
    loaded = Checkpoint(checkpoint)
    config = validate(loaded.state.config, "test")
    method = methods.find(config.method)(config.options, LabelSchema.from_json(loaded.state.schema))
    network = method.networks[name]
    network.load_state_dict(loaded.tensors(name))
    return network


def painted(synthesis: Synthesis, **inputs: Tensor) -> Tensor:
    with torch.inference_mode():
        image: Tensor = synthesis.module(*(inputs[name] for name in synthesis.inputs))
    return image


def edges(instances: Tensor) -> Tensor:
    """1 where one of the 4 neighbours is another instance (pix2pixHD 1)."""
    maps = instances.numpy()
    found = np.zeros(maps.shape, np.float32)
    for axis in (1, 2):
        differs = np.diff(maps, axis=axis) != 0
        before = [(0, 0)] * 3
        before[axis] = (0, 1)
        after = [(0, 0)] * 3
        after[axis] = (1, 0)
        found = np.maximum(found, np.maximum(np.pad(differs, before), np.pad(differs, after)))
    return torch.from_numpy(found.astype(np.float32)).unsqueeze(1)


def test_style_consistent(written: Callable[..., Path], tmp_path: Path) -> None:
    theirs = stirred(Global(2 * SKETCH + 3))
    realism, style = (
        stirred(Discriminators(channels, scales=1, staged=staged), seed)
        for seed, (channels, staged) in enumerate([(SKETCH + 3, False), (6, True)], start=1)
    )
    files = {
        "G": saved(theirs.state_dict(), tmp_path / "latest_net_G.pth"),
        "D": saved(realism.state_dict(), tmp_path / "latest_net_D.pth"),
        "SD": saved(style.state_dict(), tmp_path / "latest_net_SD.pth"),
    }
    out = written(
        *("style-consistent", files["G"], "--discriminator", files["D"], "--style-discriminator", files["SD"]),
        *at("sketch"),
    )
    given = {"label": labels(SKETCH, 1), "exemplar_label": labels(SKETCH, 2), "exemplar": photos(3)}
    synthesis = load_for_synthesis(out)
    agree(painted(synthesis, **given), theirs(torch.cat(list(given.values()), 1)).detach())
    seen = torch.cat([given["label"], photos(4)], 1)
    agree(network_of(out, "realism")(seen).detach(), realism(seen)[0].detach())
    seen = torch.cat([photos(4), photos(5)], 1)
    agree(network_of(out, "style")(seen).detach(), style(seen)[0].detach())
    state = Checkpoint(out).state
    assert state.images == 0 and synthesis.images_seen == 0
    assert state.converted == {str(file): sha256_of(file) for file in files.values()}
    assert LabelSchema.from_json(state.schema) == standard_schema("sketch", SIDE, SIDE)


@pytest.mark.parametrize("conditions", ["", "boundaries", "boundaries, features", "features"])
@pytest.mark.parametrize("enhanced", [False, True], ids=["global", "enhanced"])
def test_pix2pixhd(
    conditions: str, enhanced: bool, written: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boundaries, features = "boundaries" in conditions, "features" in conditions
    channels = CLASSES + boundaries + 3 * features
    theirs = stirred((Enhanced if enhanced else Global)(channels))
    # The two ways in which files differ: running statistics of older versions, and names of a parallel wrapper.
    state = {f"module.{name}": value for name, value in theirs.state_dict().items()}
    norms = 0
    for name, module in theirs.named_modules():
        if isinstance(module, nn.InstanceNorm2d):
            norms += 1
            state[f"module.{name}.running_mean"] = numbers(module.num_features, seed=norms)
            state[f"module.{name}.running_var"] = numbers(module.num_features, seed=norms).exp()
    arguments = ["pix2pixhd", saved(state, tmp_path / "latest_net_G.pth"), *at("classes")]
    encoder = stirred(Global(3, blocks=0), 1)
    if features:
        arguments += ["--encoder", saved(encoder.state_dict(), tmp_path / "latest_net_E.pth")]
    out = written(*arguments)
    synthesis = load_for_synthesis(out)
    given = {"label": labels(CLASSES)}
    read = [given["label"]]
    if boundaries:
        given["instances"] = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (2, SIDE, SIDE), np.int32))
        read.append(edges(given["instances"]))
    if features:
        given["features"] = photos(6)
        read.append(given["features"])
        agree(synthesis.module.networks["encoder"](photos(7)).detach(), encoder(photos(7)).detach())
    assert synthesis.inputs == tuple(given)
    options = synthesis.config["options"]
    assert options["features"] == ("none" if not features else "instances" if boundaries else "classes")
    agree(painted(synthesis, **given), theirs(torch.cat(read, 1)).detach())
    assert f"left out: {2 * norms} running statistics" in capsys.readouterr().out


@pytest.mark.parametrize("staged", [True, False], ids=["by stage", "whole"])
@pytest.mark.parametrize("enhanced", [False, True], ids=["global", "enhanced"])
def test_discriminators_of_pix2pixhd(
    enhanced: bool, staged: bool, written: Callable[..., Path], tmp_path: Path
) -> None:
    theirs = stirred(Discriminators(CLASSES + 1 + 3, scales=3, staged=staged))
    generator = stirred((Enhanced if enhanced else Global)(CLASSES + 1))
    file = saved(theirs.state_dict(), tmp_path / "D.pth")
    out = written(
        *("pix2pixhd", saved(generator.state_dict(), tmp_path / "G.pth"), "--discriminator", file, *at("classes"))
    )
    seen = torch.cat([labels(CLASSES + 1), photos(2)], 1)
    inputs, scores = seen, []
    if enhanced:
        scores += [scale[-1] for scale in network_of(out, "fine_discriminator")(inputs)]
        inputs = half(inputs)
    scores += [scale[-1] for scale in network_of(out, "discriminator")(inputs)]
    for ours, wanted in zip(scores, theirs(seen), strict=True):
        agree(ours.detach(), wanted.detach())


@pytest.mark.parametrize("letter", ["a", "b"])
def test_munit(letter: str, written: Callable[..., Path], tmp_path: Path) -> None:
    generators = {each: stirred(AutoEncoder(), seed) for seed, each in enumerate("ab")}
    judges = {each: stirred(PhotoDiscriminators(), seed) for seed, each in enumerate("ab", start=2)}
    files = [
        saved({each: network.state_dict() for each, network in networks.items()}, tmp_path / f"{name}_01000000.pt")
        for name, networks in (("gen", generators), ("dis", judges))
    ]
    out = written("munit", files[0], "--discriminator", files[1], "--labels", letter, *at("sketch"))
    label, photo = letter, "b" if letter == "a" else "a"
    drawn, exemplar, style = labels(SKETCH), photos(2), numbers(2, 8)
    content = generators[label].enc_content(drawn[:, :1].expand(-1, 3, -1, -1) * 2 - 1)

    guided = generators[photo].decode(content, generators[photo].enc_style(exemplar)).detach()
    agree(painted(load_for_synthesis(out), label=drawn, exemplar=exemplar), guided)
    random = generators[photo].decode(content, style).detach()
    agree(painted(load_for_synthesis(out, ("label", "style")), label=drawn, style=style), random)
    back = generators[label].decode(content, style).detach()
    ours = network_of(out, "label_decoder")(content, style).detach()
    agree(ours, back)
    for domain, each in (("label", label), ("photo", photo)):
        scores = network_of(out, f"{domain}_discriminator")(exemplar)
        for own, wanted in zip(scores, judges[each](exemplar), strict=True):
            agree(own.detach(), wanted.detach())


def taken(names: Names, network: nn.Module, prefix: str, theirs: nn.Module, letter: str = "") -> int:
    """How many numbers a network takes of a full-size one; every name and shape has to fit."""
    ours = {f"{prefix}.{key}": value for key, value in network.state_dict().items()}
    state = {f"{letter}{key}": value for key, value in theirs.state_dict().items()}
    tensors, _ = Weights(Path("full"), state).take(names, ours)
    assert tensors.keys() == ours.keys()
    return sum(tensor.numel() for tensor in tensors.values())


def test_full_size() -> None:
    """Every published count (pix2pixHD 2, style-consistent 2, MUNIT 2), without a number computed."""
    schema = standard_schema("sketch", 256, 256)

    def of(method: str, **options: Any) -> dict[str, nn.Module]:
        kind = methods.find(method)
        return kind(kind.options_type.model_validate(options), schema).networks

    with torch.device("meta"):
        generator = Global(33, 64, 4, 9)
        weights = Weights(Path("full"), generator.state_dict())
        names = official.global_generator(official.generator_sizes(weights), "generator.body")
        assert taken(names, of("style_consistent")["generator"], "generator", generator) == 182_537_347

        boundaries = of("pix2pixhd", instances=True, enhancer=True, discriminator_scales=3)
        enhanced = Enhanced(SKETCH + 1, 32, 4, 9, 3)
        sizes = official.generator_sizes(Weights(Path("full"), enhanced.state_dict()), picture=False)
        assert (sizes.base, sizes.downsamplings, sizes.blocks) == (64, 4, 9)
        names = official.global_generator(sizes, "all.generator", picture=False)
        both = nn.ModuleDict({name: boundaries[name] for name in ("generator", "enhancer")})
        names |= official.local_enhancer(3, "all.enhancer")
        # 182,857,059 at 36 channels; each channel is read by 64 and by 32 filters of 7×7.
        assert taken(names, both, "all", enhanced) == 182_857_059 - 20 * 49 * (64 + 32)

        encoder = Global(3, 16, 4, 0)
        sizes = official.generator_sizes(Weights(Path("full"), encoder.state_dict()))
        featured = of("pix2pixhd", instances=True, features="instances", discriminator_scales=3)
        names = official.global_generator(sizes, "encoder")
        assert taken(names, featured["encoder"], "encoder", encoder) == 788_803

        judges = Discriminators(SKETCH + 4, 64, 3)
        names = Names()
        for scale in range(3):
            names |= official.patchgan(scale, True, f"discriminator.copies.{scale}")
        count = taken(names, featured["discriminator"], "discriminator", judges)
        assert count == 8_404_803 - 3 * 20 * 1_024

        domain = AutoEncoder(64, 4)
        munit = nn.ModuleDict({name: each for name, each in of("munit").items() if name.startswith("photo")})
        weights = Weights(Path("full"), {f"b.{name}": value for name, value in domain.state_dict().items()})
        names = munit_names.auto_encoder(munit_names.auto_encoder_sizes(weights, "b"), "all.photo").inside("b.")
        judge = munit.pop("photo_discriminator")
        assert taken(names, munit, "all", domain, "b.") == 15_026_187
        names = munit_names.discriminators(3, "photo_discriminator")
        assert taken(names, judge, "photo_discriminator", PhotoDiscriminators(64, 3)) == 8_271_171


State = dict[str, Tensor]


def without(name: str) -> Callable[[State], None]:
    def change(state: State) -> None:
        del state[name]

    return change


def with_tensor(name: str, *shape: int) -> Callable[[State], None]:
    def change(state: State) -> None:
        state[name] = torch.zeros(shape)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("model.7.bias"), r"G\.pth has no tensor model\.7\.bias \(our generator\.body\.down\.1\.0\.bias\)"),
        (without("model.1.weight"), r"has no tensor model\.1\.weight; it holds model\.1\.bias, "),
        (
            with_tensor("model.11.conv_block.5.weight", 16, 16, 1, 1),
            r"model\.11\.conv_block\.5\.weight \(our generator\.body\.trunk\.1\.body\.5\.weight\) has shape "
            r"\(16, 16, 1, 1\) instead of \(16, 16, 3, 3\)",
        ),
        (with_tensor("extra.weight", 3), r"has a tensor extra\.weight, of shape \(3,\), which our networks have not"),
        (with_tensor("model.2.weight", 4), r"tensor model\.2\.weight.*norms with parameters \(--norm batch\)"),
        (with_tensor("model.2.running_mean", 5), r"model\.2\.running_mean has shape \(5,\) instead of \(4,\)"),
        (with_tensor("model.3.running_mean", 4), r"has a tensor model\.3\.running_mean"),
        (with_tensor("model2_1.1.weight", 4), r"has a local enhancer"),
    ],
)
def test_what_does_not_fit_is_named(
    change: Callable[[State], None], message: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    state = dict(Global(2 * SKETCH + 3).state_dict())
    change(state)
    error = refused("style-consistent", saved(state, tmp_path / "latest_net_G.pth"), *at("sketch"))
    assert re.search(message, error), error


class Foreign:
    """What a file may bring that is not a tensor."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": Foreign()}, "holds more than tensors, and is not read"),
        ({"epoch": 3}, "epoch is a int, not a tensor"),
        ([torch.zeros(3)], "holds a list, not a state dict"),
    ],
)
def test_files_of_anything_else_are_refused(
    content: Any, message: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    file = tmp_path / "latest_net_G.pth"
    torch.save(content, file)
    assert message in refused("pix2pixhd", file, *at("classes"))


def test_broken_and_missing_files_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "does not exist" in refused("pix2pixhd", tmp_path / "none.pth", *at("classes"))
    whole = saved(Global(CLASSES).state_dict(), tmp_path / "whole.pth").read_bytes()
    for name in ("cut.pth", "cut.safetensors"):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        assert "is not a whole" in refused("pix2pixhd", tmp_path / name, *at("classes"))


def test_channels_have_to_be_those_of_the_labels(refused: Callable[..., str], tmp_path: Path) -> None:
    def file(name: str, network: nn.Module) -> Path:
        return saved(network.state_dict(), tmp_path / f"{name}.pth")

    rgb, plain = file("rgb", Global(3)), file("plain", Global(CLASSES))
    error = refused("pix2pixhd", rgb, *at("classes"))
    assert "rgb.pth reads 3 channels, but label maps of 20 channels (classes)" in error and "label_nc 0" in error
    error = refused("pix2pixhd", file("features", Global(CLASSES + 4)), *at("classes"))
    assert "reads 4 channels beside the 20 of its label maps: 3 of them are features; give their encoder" in error
    error = refused("pix2pixhd", plain, "--encoder", file("e", Global(3, blocks=0)), *at("classes"))
    assert "none of them is a feature" in error
    error = refused("pix2pixhd", plain, "--discriminator", file("d", Discriminators(CLASSES + 4)), *at("classes"))
    assert "d.pth reads 24 channels, but label channels, boundaries if any, and a photo are 23" in error
    error = refused("style-consistent", file("no_label", Global(SKETCH + 3)), *at("sketch"))
    assert "reads 18 channels, but two label maps and an exemplar of label maps of 15 channels (sketch) are 33" in error
    three = file("three", Discriminators(SKETCH + 3, scales=3))
    right = file("right", Global(2 * SKETCH + 3))
    assert "three.pth has 3 scales" in refused("style-consistent", right, "--discriminator", three, *at("sketch"))


@pytest.mark.parametrize("kind", ["picture", "edges"])
@pytest.mark.parametrize("system", systems.available())
def test_labels_that_are_pictures_are_refused(
    system: str, kind: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    """Their channels fit, as pix2pixHD's `label_nc 0` has them: only the range of values is another."""
    channels = standard_schema(kind, SIDE, SIDE).channels
    networks = {"pix2pixhd": Global(channels), "style-consistent": Global(2 * channels + 3)}
    state = networks[system].state_dict() if system in networks else {"a": AutoEncoder().state_dict()}
    error = refused(system, saved(state, tmp_path / "latest_net_G.pth"), *at(kind))
    assert f"label maps of kind {kind} are not converted" in error and "[-1, 1], ours are in [0, 1]" in error
    assert "sketch, pose, classes (--label or --schema)" in error


def test_shards_of_pictures_are_refused(packed: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    manifest = json.loads((packed / "test" / "manifest.json").read_text())
    manifest["schema"] = standard_schema("picture", SIDE, SIDE).to_json()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    file = saved(Global(3).state_dict(), tmp_path / "latest_net_G.pth")
    assert "label maps of kind picture" in refused("pix2pixhd", file, "--schema", tmp_path)


def test_a_label_schema_of_shards(packed: Path, written: Callable[..., Path], tmp_path: Path) -> None:
    file = saved(Global(SKETCH).state_dict(), tmp_path / "G.pth")
    out = written("pix2pixhd", file, "--schema", packed / "test")
    state = Checkpoint(out).state
    assert LabelSchema.from_json(state.schema) == load_manifest(packed / "test")[0].schema
    assert load_for_synthesis(out).test_shards == str(packed / "test")


def test_what_exists_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = saved(Global(CLASSES).state_dict(), tmp_path / "G.pth")
    assert convert.main(["pix2pixhd", str(file), *at("classes"), "--out", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.fixture
def face(packed: Path, written: Callable[..., Path], tmp_path: Path) -> Path:
    """A converted style-consistent generator for the shards at hand, without its discriminators."""
    file = saved(stirred(Global(2 * SKETCH + 3)).state_dict(), tmp_path / "latest_net_G.pth")
    return written("style-consistent", file, "--schema", packed / "test")


def test_it_is_to_begin_with_and_not_to_resume(face: Path, small_config: MakeConfig, tmp_path: Path) -> None:
    config = small_config(
        "style_consistent",
        images=4,
        start=str(face),
        options__generator_blocks=BLOCKS,
        optimizer__learning_rate=1e-9,
    )
    with pytest.raises(ValueError, match=r"converted from .*latest_net_G\.pth and has no optimizers .*--start "):
        train(config, resume=str(face))
    train(config)
    after = Checkpoint(config.run / "checkpoint-0000000004")
    assert after.state.steps == 2 and not after.state.converted
    for name in ("generator", "generator.ema"):
        before = Checkpoint(face).tensors(name)
        for key, tensor in after.tensors(name).items():
            torch.testing.assert_close(tensor, before[key], atol=1e-6, rtol=0)


def test_a_network_that_was_never_given_is_not_damaged(face: Path) -> None:
    with pytest.raises(ValueError, match=r"was written without realism\.safetensors; it has generator, generator\.ema"):
        Checkpoint(face).tensors("realism")
    (face / "generator.safetensors").unlink()
    with pytest.raises(ValueError, match="is damaged"):
        Checkpoint(face).tensors("generator")


def test_it_is_exported_and_served(face: Path, packed: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    assert export(["--checkpoint", str(face), "--out", str(model)]) == 0
    command = [sys.executable, "-m", "deploy", "batch", "--model", model, "--pairs", packed / "test"]
    done = subprocess.run([*command, "--out", tmp_path / "pictures"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == load_manifest(packed / "test")[0].samples


@pytest.mark.parametrize("system", ["pix2pixhd", "munit"])
def test_the_baselines_are_exported_and_run(
    system: str, packed: Path, written: Callable[..., Path], tmp_path: Path
) -> None:
    arguments = [system, tmp_path / "weights.pth", "--schema", packed / "test"]
    if system == "munit":
        saved({each: stirred(AutoEncoder()).state_dict() for each in "ab"}, tmp_path / "weights.pth")
        judges = {each: stirred(PhotoDiscriminators()).state_dict() for each in "ab"}
        arguments += ["--discriminator", saved(judges, tmp_path / "dis.pth")]
    else:
        saved(stirred(Global(SKETCH)).state_dict(), tmp_path / "weights.pth")
    out = written(*arguments)
    model = tmp_path / "model.onnx"
    assert export(["--checkpoint", str(out), "--out", str(model), "--samples", str(packed / "test")]) == 0
    session = Session(model)
    assert session.method == system
    pairs = open_pairs(packed / "test", session.schema, session.inputs)
    loaded = next(iter(pairs.jobs(lambda *_: True))).load()
    image = session.run(**{name: value[None] for name, value in session.tensors(loaded).items()})
    assert image.shape == (1, 3, 32, 32) and np.isfinite(image).all() and image.std() > 0
