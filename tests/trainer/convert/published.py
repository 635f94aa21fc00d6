"""Checkpoints of published systems: networks of torch's own layers, built by the specifications, with official names.

Sections are those of the methods' specifications. Nothing of ours is in these networks: what a converted checkpoint
paints has to be what they paint.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shards.records import LabelSchema
from trainer import methods
from trainer.checkpoints.files import Checkpoint
from trainer.checkpoints.synthesis import Synthesis
from trainer.config import validate

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

    def __init__(self, channels: int, base: int = BASE, scales: int = 2, staged: bool = True, layers: int = 3) -> None:
        super().__init__()
        self.scales, self.staged, self.layers = scales, staged, layers
        for scale in range(scales):
            stages = [nn.Sequential(nn.Conv2d(channels, base, 4, 2, 2), nn.LeakyReLU(0.2))]
            narrow = base
            for layer in range(1, layers + 1):
                wide = min(2 * narrow, 512)
                convolution = nn.Conv2d(narrow, wide, 4, 2 if layer < layers else 1, 2)
                stages.append(nn.Sequential(convolution, nn.InstanceNorm2d(wide), nn.LeakyReLU(0.2)))
                narrow = wide
            stages.append(nn.Sequential(nn.Conv2d(narrow, 1, 4, 1, 2)))
            if staged:
                for number, stage in enumerate(stages):
                    setattr(self, f"scale{scale}_layer{number}", stage)
            else:
                setattr(self, f"layer{scale}", nn.Sequential(*(layer for stage in stages for layer in stage)))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Scores, from full size down."""
        scores = []
        for scale in reversed(range(self.scales)):
            names = (
                [f"scale{scale}_layer{number}" for number in range(self.layers + 2)]
                if self.staged
                else [f"layer{scale}"]
            )
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

    def __init__(
        self,
        base: int = BASE,
        blocks: int = BLOCKS,
        downsamplings: int = 2,
        code: int = 8,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        widths = [base * 2**level for level in range(downsamplings + 1)]
        wide = widths[-1]
        relu = nn.ReLU
        self.enc_content = Sequence(
            Convolution(3, base, 7, 1, nn.InstanceNorm2d(base), relu()),
            *(Convolution(w, 2 * w, 4, 2, nn.InstanceNorm2d(2 * w), relu()) for w in widths[:-1]),
            Sequence(*(MunitBlock(wide, nn.InstanceNorm2d) for _ in range(blocks))),
        )
        self.enc_style = Sequence(
            Convolution(3, base, 7, act=relu()),
            *(Convolution(w, 2 * w, 4, 2, act=relu()) for w in (base, 2 * base)),
            *(Convolution(4 * base, 4 * base, 4, 2, act=relu()) for _ in range(2)),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(4 * base, code, 1),
        )
        decoder: list[nn.Module] = [Sequence(*(MunitBlock(wide, AdaIN) for _ in range(blocks)))]
        for width in reversed(widths[:-1]):
            decoder += [nn.Upsample(scale_factor=2), Convolution(2 * width, width, 5, 1, LayerNorm(width), relu())]
        self.dec = Sequence(*decoder, Convolution(base, 3, 7, act=nn.Tanh()))
        hidden = hidden or 4 * base
        self.mlp = Sequence(Dense(code, hidden), Dense(hidden, hidden), Dense(hidden, 4 * blocks * wide, act=False))

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

    def __init__(self, base: int = BASE, scales: int = 2, layers: int = 4) -> None:
        super().__init__()
        self.cnns = nn.ModuleList(
            nn.Sequential(
                Convolution(3, base, 4, 2, act=nn.LeakyReLU(0.2)),
                *(
                    Convolution(base * 2**k, base * 2 ** (k + 1), 4, 2, act=nn.LeakyReLU(0.2))
                    for k in range(layers - 1)
                ),
                nn.Conv2d(base * 2 ** (layers - 1), 1, 1),
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
