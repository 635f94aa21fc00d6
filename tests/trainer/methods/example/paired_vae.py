"""A method to read, and to test the contract with: a conditional VAE with an adversary, small and in one file.

It is nobody's published system. It uses what a method may say beyond its players: turns that repeat, a rate of its own,
noise for training, batch norms, averages that settle, a frozen network that paints, and losses that are negative.
"""

from collections.abc import Generator, Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from shards.records import LabelSchema
from trainer.method import Batch, Losses, Method
from trainer.networks.norms import BatchNorm2d
from trainer.options import Options
from trainer.schedules import Schedule

CODE = 6
"""Numbers of a style code."""


class PairedVAEOptions(Options):
    """Sizes, and how often the adversary plays."""

    generator_base: int = Field(32, gt=0, description="channels of encoder and generator")
    discriminator_base: int = Field(32, gt=0, description="channels of the discriminator")
    rest_every: int = Field(0, ge=0, description="images after each of which the discriminator has one turn only")


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    # No bias: a norm follows, which would subtract it again.
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), BatchNorm2d(outputs), nn.ReLU())


class Encoder(nn.Module):
    """A photo (N, 3, H, W) to the mean and the logarithm of the variance of its style code, each (N, 6)."""

    def __init__(self, base: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_block(3, base, 2), _block(base, base, 2))
        self.head = nn.Linear(base, 2 * CODE)

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.head(self.body(photo).mean((2, 3))).chunk(2, dim=1)
        return mean, log_variance


class Painter(nn.Module):
    """A label map (N, C_L, H, W) and a style code (N, 6) to three channels (N, 3, H, W), of any size of value."""

    def __init__(self, channels: int, base: int) -> None:
        super().__init__()
        self.first = _block(channels, base, 2)
        self.style = nn.Linear(CODE, base)
        self.body = _block(base, base)
        self.last = nn.Conv2d(base, 3, 3, padding=1)

    def forward(self, label: Tensor, code: Tensor) -> Tensor:
        features = self.first(label) + self.style(code).unsqueeze(-1).unsqueeze(-1)
        channels: Tensor = self.last(F.interpolate(self.body(features), scale_factor=2, mode="nearest"))
        return channels


class Discriminator(nn.Module):
    """A label map and a photo to a score for each eighth of a side; any number."""

    def __init__(self, channels: int, base: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels + 3, base, 4, stride=2, padding=1), nn.LeakyReLU(0.2), _block(base, base, 2)
        )
        self.last = nn.Conv2d(base, 1, 3, padding=1)

    def forward(self, label: Tensor, photo: Tensor) -> Tensor:
        scores: Tensor = self.last(self.body(torch.cat([label, photo], dim=1)))
        return scores


class Palette(nn.Module):
    """Three channels of any value to a picture in (-1, 1). Nobody trains it: it comes with its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.mix.weight.copy_((torch.eye(3) * 0.8 + 0.1).view(3, 3, 1, 1))

    def forward(self, channels: Tensor) -> Tensor:
        return torch.tanh(self.mix(channels))


class PairedVAE(Method):
    """Paints a label map in the style of an exemplar, or of a code drawn from the prior."""

    options_type = PairedVAEOptions
    players: Mapping[str, tuple[str, ...]] = {
        "discriminator": ("discriminator",),
        "generator": ("encoder", "generator"),
    }
    synthesizers = ("encoder", "generator", "palette")
    inputs = ("label", "exemplar")
    ways = (("label", "style"),)
    reads = ("target", "exemplar")
    noise = CODE
    style_length = CODE
    settling = 12
    # For the held-out figures alone, which are then those of all methods.
    needs_perceptual = True

    def __init__(self, options: PairedVAEOptions, schema: LabelSchema) -> None:
        self.options = options
        self.networks = {
            "encoder": Encoder(options.generator_base),
            "generator": Painter(schema.channels, options.generator_base),
            "palette": Palette(),
            "discriminator": Discriminator(schema.channels, options.discriminator_base),
        }

    def turns(self, images: int) -> tuple[str, ...]:
        every = self.options.rest_every
        rests = every > 0 and images % every == 0
        return ("discriminator", "generator") if rests else ("discriminator", "generator", "discriminator")

    def rate(self, player: str, images: int, schedule: Schedule) -> float:
        """The discriminator's never falls."""
        return 1.0 if player == "discriminator" else schedule.at(images)

    def synthesize(self, networks: Mapping[str, nn.Module], inputs: Mapping[str, Tensor]) -> Tensor:
        code = inputs["style"] if "style" in inputs else networks["encoder"](inputs["exemplar"])[0]
        return self._paint(networks, inputs["label"], code)

    def play(self, batch: Batch, images: int) -> Generator[tuple[str, Losses], None, None]:
        yield "discriminator", self._discriminator_losses(batch)
        mean, log_variance = self.networks["encoder"](batch.target)
        fake = self._paint(self.networks, batch.label, mean + batch.noise * (0.5 * log_variance).exp())
        yield (
            "generator",
            {
                # Wasserstein's critic, which has no sign.
                "realism": -0.1 * self.networks["discriminator"](batch.label, fake).mean(),
                "picture": 10 * (fake - batch.target).abs().mean(),
                "prior": 0.01 * (mean.square() + log_variance.exp() - log_variance - 1).mean() / 2,
            },
        )
        if len(self.turns(images)) > 2:
            yield "discriminator", self._discriminator_losses(batch)

    def _discriminator_losses(self, batch: Batch) -> Losses:
        with torch.no_grad():
            fake = self._paint(self.networks, batch.label, batch.noise)
        discriminator = self.networks["discriminator"]
        real_scores, fake_scores = discriminator(batch.label, batch.target), discriminator(batch.label, fake)
        return {"real": -real_scores.mean(), "fake": fake_scores.mean(), "size": real_scores.square().mean()}

    def _paint(self, networks: Mapping[str, nn.Module], label: Tensor, code: Tensor) -> Tensor:
        image: Tensor = networks["palette"](networks["generator"](label, code))
        return image


METHOD = PairedVAE
