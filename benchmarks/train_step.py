"""Our training step against a straightforward one of the same losses, interleaved on one machine.

    python benchmarks/train_step.py --config trainer/configs/face.yaml                  the paper's networks and size
    python benchmarks/train_step.py --config trainer/configs/face.yaml --size 128 --runs 9 --precision fp32,bf16
    python benchmarks/train_step.py --config trainer/configs/face.yaml --data data/face/train   with data wait, too

The plain step does what research code of this family does (style-consistent specification, section 8): a copy of the
loss network for each of its three uses, of which one is never looked at, hence six passes; discriminators that gather
gradients while the generator is trained; one call for each picture that a discriminator judges; torch's default Adam;
everything in float32. For pix2pixHD it is one copy and two passes, and the same otherwise. It keeps no averages and
computes no gradient norms, which ours does. Both begin with the same weights; the losses of the first step must agree.

Prints one JSON object. Everything is measured in one process, in turns; ratios are medians over pairs of turns.
"""

import argparse
import copy
import json
import platform
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from deploy.batch import device as describe_device
from shards.read import Stream, open_shards
from trainer import config as configs
from trainer.batches import ahead, reading_of
from trainer.config import Config
from trainer.estimate import peak_flops
from trainer.losses import feature_distances, least_squares, same_style_l1, semantic_factors
from trainer.method import Batch
from trainer.methods.pix2pixhd import feature_matching
from trainer.schedules import phase
from trainer.training import Training

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
AGREE = 1e-3
"""Relative difference that the first step's losses may have: the order of float32 sums."""


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def batch_of(size: int, channels: int, height: int, width: int, device: torch.device) -> Batch:
    generator = torch.Generator().manual_seed(5)

    def tensor(planes: int, scale: float = 1.0, offset: float = 0.0) -> Tensor:
        return (torch.rand(size, planes, height, width, generator=generator) * scale + offset).to(device)

    photos = [tensor(3, 2.0, -1.0) for _ in range(4)]
    same = (torch.arange(size) % 2 == 0).float().to(device)
    return Batch(tensor(channels), photos[0], tensor(channels), photos[1], photos[2], photos[3], same)


class Plain:
    """The straightforward step, on copies of the networks that a method begins with."""

    def __init__(self, training: Training, images: int) -> None:
        method = training.method
        self.networks = copy.deepcopy(method.networks)
        for network in self.networks.values():
            network.requires_grad_(True)
        assert method.perceptual is not None
        self.perceptual = [copy.deepcopy(method.perceptual) for _ in range(3)]
        settings = training.config.optimizer
        self.optimizers = {
            player: torch.optim.Adam(
                [p for name in names for p in self.networks[name].parameters()],
                lr=settings.learning_rate,
                betas=settings.betas,
            )
            for player, names in method.players.items()
        }
        self.options: Any = training.config.options
        self.images = images
        self.play = {"style_consistent": self._style_consistent, "pix2pixhd": self._pix2pixhd}[training.config.method]

    def step(self, batch: Batch, autocast: AbstractContextManager[Any]) -> dict[str, Tensor]:
        figures: dict[str, Tensor] = {}
        plays = self.play(batch)
        while True:
            with autocast:
                try:
                    player, terms = next(plays)
                except StopIteration:
                    return figures
            self.optimizers[player].zero_grad()
            total = torch.stack(list(terms.values())).sum()
            total.backward()  # type: ignore[no-untyped-call]
            self.optimizers[player].step()
            figures[f"{player}/total"] = total.detach()

    def _style_consistent(self, batch: Batch) -> Generator[tuple[str, dict[str, Tensor]], None, None]:
        generator, realism, style = (self.networks[name] for name in ("generator", "realism", "style"))
        options = self.options
        fake = generator(batch.label, batch.exemplar_label, batch.exemplar)
        first, second, third = self.perceptual
        distances = feature_distances(first(fake), first(batch.target))
        # The exemplar's pair: computed, and not used.
        feature_distances(second(fake), second(batch.exemplar))
        again = feature_distances(third(fake), third(batch.target))
        base = semantic_factors(torch.zeros_like(batch.same_style), "adaptive", options.semantic_weight)
        whole = semantic_factors(batch.same_style, "adaptive", options.semantic_weight)
        semantic = (base * distances).sum(1).mean() + ((whole - base) * again).sum(1).mean()
        terms = {
            "realism": options.realism_weight * least_squares(realism(torch.cat([batch.label, fake], 1)), 1.0),
            "semantic": semantic,
        }
        if weight := options.style_weight * phase(self.images, options.style_phases):
            terms["style"] = weight * least_squares(style(torch.cat([fake, batch.exemplar], 1)), 1.0)
        if options.pixel_weight:
            terms["pixel"] = options.pixel_weight * same_style_l1(fake, batch.target, batch.same_style)
        yield "generator", terms
        fake = fake.detach()
        yield (
            "realism",
            {
                "real": least_squares(realism(torch.cat([batch.label, batch.target], 1)), 1.0) / 2,
                "fake": least_squares(realism(torch.cat([batch.label, fake], 1)), 0.0) / 2,
            },
        )
        yield (
            "style",
            {
                name: least_squares(style(torch.cat([photo, batch.exemplar], 1)), wanted) / 2
                for name, photo, wanted in (
                    ("consistent", batch.consistent, 1.0),
                    ("fake", fake, 0.0),
                    ("inconsistent", batch.inconsistent, 0.0),
                )
            },
        )

    def _pix2pixhd(self, batch: Batch) -> Generator[tuple[str, dict[str, Tensor]], None, None]:
        generator, discriminator = self.networks["generator"], self.networks["discriminator"]
        options = self.options
        fake = generator(batch.label)
        judged = discriminator(torch.cat([batch.label, fake], 1))
        real = discriminator(torch.cat([batch.label, batch.target], 1))
        first = self.perceptual[0]
        distances = feature_distances(first(fake), first(batch.target))
        yield (
            "generator",
            {
                "realism": torch.stack([least_squares(scale[-1], 1.0) for scale in judged]).sum(),
                "features": options.feature_weight * feature_matching(judged, real),
                "perceptual": (semantic_factors(batch.same_style, "fixed", options.perceptual_weight) * distances)
                .sum(1)
                .mean(),
            },
        )
        real = discriminator(torch.cat([batch.label, batch.target], 1))
        judged = discriminator(torch.cat([batch.label, fake.detach()], 1))
        yield (
            "discriminator",
            {
                "real": torch.stack([least_squares(scale[-1], 1.0) for scale in real]).sum() / 2,
                "fake": torch.stack([least_squares(scale[-1], 0.0) for scale in judged]).sum() / 2,
            },
        )


class Phases:
    """Seconds per part of our step, by wrapping what the step calls."""

    def __init__(self, training: Training) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.device = training.device
        for player, engine in training.engines.items():
            for name, words in (("run", "forward"), ("backward", "backward"), ("step", "Adam and norm")):
                self._wrap(engine, name, f"{player} {words}")
        self._wrap(training.averages, "update", "averages")
        if training.method.perceptual is not None:
            self._wrap(training.method.perceptual, "forward", "of generator forward: loss network")

    def _wrap(self, owner: Any, name: str, words: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            synchronise(self.device)
            begun = time.perf_counter()
            result = inner(*arguments, **named)
            synchronise(self.device)
            self.seconds[words] += time.perf_counter() - begun
            return result

        setattr(owner, name, timed)


def make_training(config: Config) -> Training:
    AcceleratorState._reset_state(reset_partial_state=True)  # one process has one precision, but for this benchmark
    return Training(config, config.data.label_schema, None)


def data_wait(config: Config, training: Training, location: str, steps: int) -> float:
    """The share of the time that training on real shards waits for them."""
    with open_shards(location) as (manifest, store):
        reading = replace(reading_of(type(training.method), config.batch), workers=config.data.workers, flip=True)
        batches = ahead(Stream(manifest, store, reading), manifest.schema, training.device)
        for _ in range(3):
            training.step(next(batches).batch)
        synchronise(training.device)
        begun, waited = time.perf_counter(), 0.0
        for _ in range(steps):
            asked = time.perf_counter()
            ready = next(batches)
            waited += time.perf_counter() - asked
            training.step(ready.batch)
        synchronise(training.device)
        return waited / (time.perf_counter() - begun)


def measure(config: Config, precisions: list[str], variants: list[str], runs: int, data: str | None) -> dict[str, Any]:
    schema = config.data.label_schema
    settings = {
        "plain": {},
        "channels_last": {"channels_last": True},
        "compile": {"compile": True},
        "compile+channels_last": {"compile": True, "channels_last": True},
    }
    made: dict[str, tuple[Callable[[], Any], torch.device]] = {}
    trainings: dict[str, Training] = {}
    plain_first: dict[str, float] = {}
    for precision in precisions:
        for variant in variants:
            changed = config.model_copy(
                update={"precision": precision, "speed": config.speed.model_copy(update=settings[variant])}
            )
            training = make_training(changed)
            # Past the phases, where every term counts.
            training.images = 10**6 if config.optimizer.constant_images > 10**6 else config.optimizer.constant_images
            batch = batch_of(config.batch, schema.channels, schema.height, schema.width, training.device)
            name = f"ours {precision}" + ("" if variant == "plain" else f" {variant}")
            if variant == "plain":
                plain = Plain(training, training.images)

                def turn(plain: Plain = plain, batch: Batch = batch, precision: str = precision) -> Any:
                    on = (
                        torch.autocast(batch.label.device.type, torch.bfloat16)
                        if precision == "bf16"
                        else nullcontext()
                    )
                    return plain.step(batch, on)

                made[f"plain {precision}"] = (turn, training.device)
            trainings[name] = training

            def ours(training: Training = training, batch: Batch = batch) -> Any:
                images = training.images
                figures, _ = training.step(batch)
                training.images = images  # the schedule stands still
                return figures

            made[name] = (ours, training.device)
    device = next(iter(made.values()))[1]
    peaks = {precision: peak_flops(device, DTYPES[precision]) for precision in precisions}
    losses: dict[str, dict[str, float]] = {}
    flops: dict[str, int] = {}
    for name, (turn, _) in made.items():
        with FlopCounterMode(display=False) as counter:
            figures = turn()
        flops[name] = counter.get_total_flops()
        losses[name] = {key: value.item() for key, value in figures.items() if key.endswith("/total")}
    for precision in precisions:
        expected, seen = losses[f"plain {precision}"], losses[f"ours {precision}"]
        plain_first |= expected
        tolerance = AGREE if precision == "fp32" else 0.05
        for key, value in expected.items():
            if abs(seen[key] - value) > tolerance * abs(value):
                raise RuntimeError(f"the two steps are not the same mathematics: {key} is {value} and {seen[key]}")
    for turn, _ in made.values():
        turn()
    seconds: dict[str, list[float]] = defaultdict(list)
    memory: dict[str, float] = {}
    for _ in range(runs):
        for name, (turn, _) in made.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            synchronise(device)
            begun = time.perf_counter()
            turn()
            synchronise(device)
            seconds[name].append(time.perf_counter() - begun)
            if device.type == "cuda":
                memory[name] = torch.cuda.max_memory_allocated(device) / 1e9
    rows = {}
    for name, times in seconds.items():
        precision = name.split()[1]
        middle = statistics.median(times)
        rows[name] = {
            "seconds": round(middle, 4),
            "images_per_s": round(config.batch / middle, 3),
            "gflop": round(flops[name] / 1e9, 2),
            "gflop_per_s": round(flops[name] / middle / 1e9, 1),
            "share_of_matmul_peak": round(flops[name] / middle / peaks[precision], 3),
            "times_plain_fp32": ratio(seconds["plain fp32"], times) if "plain fp32" in seconds else None,
            "times_plain_same_precision": ratio(seconds[f"plain {precision}"], times),
            **({"gb_allocated_at_most": round(memory[name], 2)} if name in memory else {}),
        }
    breakdown = {}
    for precision in precisions:
        name = f"ours {precision}"
        phases = Phases(trainings[name])
        for _ in range(3):
            made[name][0]()
        whole = sum(value for words, value in phases.seconds.items() if not words.startswith("of "))
        breakdown[name] = {words: round(value / whole, 3) for words, value in phases.seconds.items()}
    waits = None
    if data is not None:
        name = f"ours {precisions[-1]}"
        waits = round(data_wait(config, trainings[name], data, runs), 4)
    return {
        "first_losses": {key: round(value, 5) for key, value in plain_first.items()},
        "matmul_peak_gflop_per_s": {precision: round(peak / 1e9, 1) for precision, peak in peaks.items()},
        "steps": rows,
        "shares_of_our_step": breakdown,
        "data_wait_share": waits,
    }


def ratio(plain: list[float], ours: list[float]) -> float:
    return round(statistics.median(first / second for first, second in zip(plain, ours, strict=True)), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("trainer/configs/demo.yaml"))
    parser.add_argument("--method", help="train the config's data with this method instead")
    parser.add_argument("--size", type=int, help="height and width in pixels instead of the config's")
    parser.add_argument("--batch", type=int, help="samples per step instead of the config's")
    parser.add_argument("--runs", type=int, default=7, help="measured turns of each, after two that are not counted")
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or both, separated by a comma")
    parser.add_argument("--variants", default="plain", help="plain,channels_last,compile,compile+channels_last")
    parser.add_argument("--data", help="shards to read, for the share of the time that is spent waiting for them")
    options = parser.parse_args()
    overrides = ["--perceptual.weights", "random:0"]
    if options.size:
        overrides += ["--data.height", str(options.size), "--data.width", str(options.size)]
    if options.batch:
        overrides += ["--batch", str(options.batch)]
    config = configs.load(options.config, overrides)
    if options.method:
        config = configs.validate(
            {**config.model_dump(mode="json"), "method": options.method, "options": {}}, str(options.config)
        )
    measured = measure(config, options.precision.split(","), options.variants.split(","), options.runs, options.data)
    figures = {
        "config": str(options.config),
        "method": config.method,
        "size": [config.data.width, config.data.height],
        "batch": config.batch,
        "runs": options.runs,
        **measured,
        "hardware": describe_device("cuda" if torch.cuda.is_available() else "cpu"),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    json.dump(figures, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
