"""Our training step against a straightforward one of the same losses, interleaved on one machine.

    python benchmarks/train_step.py --config trainer/configs/face.yaml                  the paper's networks and size
    python benchmarks/train_step.py --config trainer/configs/face.yaml --size 128 --runs 9
    python benchmarks/train_step.py --config trainer/configs/face.yaml --data data/face/train   with data wait, too

The plain step does what research code of this family does (style-consistent specification, section 8): a copy of the
loss network for each of its three uses, of which one is never looked at, hence six passes; discriminators that gather
gradients while the generator is trained; one call for each picture that a discriminator judges; torch's default Adam;
everything in float32, on a GPU as well: TF32, to which PyTorch by itself would round convolutions there, is a precision
of its own (`--kinds "plain fp32 plain,plain tf32 plain,ours tf32 plain"`), of the step and of the peak beside it. For
pix2pixHD it is one copy and two passes, and the same otherwise. It keeps no averages and computes no gradient norms,
which ours does. Both begin with the same weights; the losses of the first step must agree.

Prints one JSON object. Every kind of step has a process of its own, and they take turns; ratios are
medians over pairs of turns.
"""

import argparse
import copy
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from likeness.arguments import count
from likeness.machine import device as describe_device
from shards.reading.stream import Stream, open_shards
from trainer import config as configs
from trainer.batches import ahead, reading_of
from trainer.config import Config
from trainer.estimate import peak_flops
from trainer.losses import feature_distances, feature_matching, least_squares, same_style_l1, semantic_factors
from trainer.method import Batch
from trainer.schedules import phase
from trainer.speed.arithmetic import Precision
from trainer.speed.host_memory import keep_freed_memory
from trainer.training import Training

VARIANTS: dict[str, dict[str, bool]] = {
    "plain": {},
    "channels_last": {"channels_last": True},
    "compile": {"compile": True},
    "compile+channels_last": {"compile": True, "channels_last": True},
}
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


def make_training(config: Config, variant: str) -> Training:
    speed = config.speed.model_copy(update=VARIANTS[variant])
    return Training(config.model_copy(update={"speed": speed}), config.data.label_schema, None)


def data_wait(config: Config, training: Training, location: str, steps: int) -> float:
    """The share of the time that training on real shards waits for them."""
    with open_shards(location) as (manifest, store):
        reading = replace(reading_of(training.method, config.batch), workers=config.data.workers, flip=True)
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


class Turns:
    """One kind of step in a process of its own, so that neither memory nor settings of another one touch it."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        command = [sys.executable, __file__, *arguments, "--turns", name]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self.first: dict[str, Any] = self._ask("")

    def _ask(self, word: str) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        if word:
            self.process.stdin.write(f"{word}\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("a process that takes turns has ended; its error stands above")
        return json.loads(answer)

    def take(self) -> dict[str, float]:
        """One step: its seconds, and the GB allocated at most on a GPU."""
        turn: dict[str, float] = self._ask("turn")
        return turn

    def end(self) -> dict[str, Any]:
        """What the process says in the end: where the time went, and its own memory."""
        last: dict[str, Any] = self._ask("end")
        self.process.wait()
        return last


def take_turns(name: str, config: Config, data: str | None, runs: int) -> None:
    """What such a process does: says losses and arithmetic of the first step, then takes a turn for every line."""
    kind, precision, variant = name.split()
    config = config.model_copy(update={"precision": precision})
    schema = config.data.label_schema
    training = make_training(config, variant)
    device = training.device
    # Past the phases, where every term counts.
    training.images = config.optimizer.constant_images
    batch = batch_of(config.batch, schema.channels, schema.height, schema.width, device)
    if kind == "plain":
        plain = Plain(training, training.images)
        autocast = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()

        def step() -> dict[str, Tensor]:
            return plain.step(batch, autocast)

    else:
        if device.type == "cpu":
            keep_freed_memory()  # as training does

        def step() -> dict[str, Tensor]:
            images = training.images
            figures, _ = training.step(batch)
            training.images = images  # the schedule stands still
            return figures

    with FlopCounterMode(display=False) as counter:
        figures = step()
    losses = {key: value.item() for key, value in figures.items() if key.endswith("/total")}
    say({"losses": losses, "flops": counter.get_total_flops()})
    for line in sys.stdin:
        if line.strip() == "end":
            break
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        synchronise(device)
        begun = time.perf_counter()
        step()
        synchronise(device)
        seconds = time.perf_counter() - begun
        allocated = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
        say({"seconds": seconds, "gb_allocated": allocated})
    last: dict[str, Any] = {"gb_resident": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)}
    if kind == "ours":
        phases = Phases(training)
        for _ in range(3):
            step()
        whole = sum(value for words, value in phases.seconds.items() if not words.startswith("of "))
        last["shares"] = {words: round(value / whole, 3) for words, value in phases.seconds.items()}
        last["data_wait_share"] = round(data_wait(config, training, data, runs), 4) if data else None
    say(last)


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def measure(names: list[str], arguments: list[str], batch: int, runs: int) -> dict[str, Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precisions = {name.split()[1] for name in names}
    peaks = {precision: peak_flops(device, cast(Precision, precision)) for precision in sorted(precisions)}
    players = {name: Turns(name, arguments) for name in names}
    expected = players["plain fp32 plain"].first["losses"]
    for name, player in players.items():
        for key, value in expected.items():
            tolerance = AGREE if name.split()[1] == "fp32" else 50 * AGREE
            if abs(player.first["losses"][key] - value) > tolerance * abs(value):
                raise RuntimeError(
                    f"not the same mathematics: {key} is {value} in the plain step, {player.first['losses'][key]} in "
                    f"{name}"
                )
    for player in players.values():
        player.take()
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in tqdm(range(runs), "turns"):
        for name, player in players.items():
            turns[name].append(player.take())
    seconds = {name: [turn["seconds"] for turn in taken] for name, taken in turns.items()}
    rows, shares, waits = {}, {}, {}
    for name, player in players.items():
        _, precision, _ = name.split()
        last = player.end()
        flops, middle = player.first["flops"], statistics.median(seconds[name])
        same = f"plain {precision} plain"
        rows[name] = {
            "seconds": round(middle, 4),
            "images_per_s": round(batch / middle, 3),
            "gflop": round(flops / 1e9, 2),
            "gflop_per_s": round(flops / middle / 1e9, 1),
            "share_of_matmul_peak": round(flops / middle / peaks[precision], 3),
            "times_plain_fp32": ratio(seconds["plain fp32 plain"], seconds[name]),
            "times_plain_same_precision": ratio(seconds[same], seconds[name]) if same in seconds else None,
            "gb_resident_at_most": last["gb_resident"],
            "gb_allocated_on_gpu_at_most": round(max(turn["gb_allocated"] for turn in turns[name]), 2),
        }
        if "shares" in last:
            shares[name], waits[name] = last["shares"], last["data_wait_share"]
    return {
        "first_losses": {key: round(value, 5) for key, value in expected.items()},
        "matmul_peak_gflop_per_s": {precision: round(peak / 1e9, 1) for precision, peak in peaks.items()},
        "steps": rows,
        "shares_of_our_step": shares,
        "data_wait_share": waits,
    }


def ratio(plain: list[float], ours: list[float]) -> float:
    return round(statistics.median(first / second for first, second in zip(plain, ours, strict=True)), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("trainer/configs/demo.yaml"))
    parser.add_argument("--method", help="train the config's data with this method instead")
    parser.add_argument("--size", type=count, help="height and width in pixels instead of the config's")
    parser.add_argument("--batch", type=count, help="samples per step instead of the config's")
    parser.add_argument("--runs", type=count, default=7, help="measured turns of each, after two that are not counted")
    parser.add_argument(
        "--kinds",
        default="plain fp32 plain,ours fp32 plain,ours bf16 plain",
        help="what takes turns: plain or ours, fp32, tf32 or bf16, and one of " + ", ".join(VARIANTS),
    )
    parser.add_argument("--data", help="shards to read, for the share of the time that is spent waiting for them")
    parser.add_argument("--turns", help=argparse.SUPPRESS)
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
    if options.turns:
        take_turns(options.turns, config, options.data, options.runs)
        return
    measured = measure(options.kinds.split(","), sys.argv[1:], config.batch, options.runs)
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
