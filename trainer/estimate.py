"""What a run will cost, before it starts: parameters, arithmetic, memory, time. Nothing is computed for it.

Networks are built on torch's meta device, where tensors have shapes and types and no content.
"""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from shards.records import LabelSchema
from trainer import methods
from trainer.checkpoints.synthesis import FINISHED
from trainer.config import Config
from trainer.method import Batch, Method
from trainer.perceptual import loss_network
from trainer.players import norm_statistics
from trainer.players.engines import set_trainable
from trainer.speed.arithmetic import DTYPES, Precision, used
from trainer.speed.recompute import recompute_in

ITERATIONS = 64
"""Iterations over which costs are averaged: players need not have equally many turns in each."""
PRODUCTS = frozenset((F.conv2d, F.conv_transpose2d, F.linear, torch.matmul, Tensor.__matmul__))
"""What runs in bfloat16 under autocast, of what networks here call."""
_ENGINE: Any = torch.autograd.Variable._execution_engine
MATMUL = {"cpu": 1024, "cuda": 8192}
"""Side of the matrices whose product measures the peak."""


@dataclass(frozen=True)
class Estimate:
    """Costs of a run on one rank, in one stage of its training."""

    parameters: dict[str, int]
    """By network; averages and the loss network are extra."""
    flops_by_player: dict[str, int]
    """Floating-point operations per image, forward and backward, in all turns of a player; means over iterations."""
    turns_by_player: dict[str, float]
    """Turns per iteration; means over iterations."""
    held_bytes: int
    """Weights, averages, buffers, the loss network, the moments that Adam keeps of what learns, and the largest
    player's gradients."""
    activation_bytes: int
    """What is kept for the backward pass of the most demanding player, for one part of the batch."""
    checkpoint_bytes: int
    """One checkpoint on the disk."""

    @property
    def flops(self) -> int:
        """Of all players."""
        return sum(self.flops_by_player.values())

    @property
    def memory_bytes(self) -> int:
        return self.held_bytes + self.activation_bytes


def estimates(config: Config, schema: LabelSchema) -> dict[int, Estimate]:
    """The costs of each stage that the run reaches, by the images seen at its start."""
    with torch.device("meta"):
        starts = methods.find(config.method)(config.options, schema).stage_starts
    return {start: estimate(config, schema, start) for start in starts if start < config.images}


def estimate(config: Config, schema: LabelSchema, images: int = FINISHED) -> Estimate:
    """The costs of one step after so many images, by running it on shapes alone."""
    kind = methods.find(config.method)
    with torch.device("meta"):
        method = kind(config.options, schema)
        norm_statistics.check(method.learning_networks(), config)
        if method.needs_perceptual:
            loss = config.perceptual
            network = loss_network(loss.weights, loss.divisor, loss.imagenet_norm, loss.resize_below)
            method.perceptual = network.eval().requires_grad_(False)
    if config.speed.recompute:
        recompute_in(network for network in (*method.networks.values(), method.perceptual) if network is not None)
    part = config.batch // config.accumulate
    cast = _Autocast() if config.precision == "bf16" else None
    flops, turns, saved = _iterations(method, _batch(part, schema, method.noise), images, config.batch, cast)
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in method.networks.items()}
    players = method.stage(images).players
    per_player = {player: sum(counts[name] for name in names) for player, names in players.items()}
    averaged = sum(counts[name] for name in method.synthesizers)
    frozen = sum(p.numel() for p in method.perceptual.parameters()) if method.perceptual is not None else 0
    buffers = sum(b.nbytes for network in method.networks.values() for b in network.buffers())
    learning = sum(per_player.values())
    checkpoint_bytes = 4 * (sum(counts.values()) + averaged + 2 * learning) + buffers
    return Estimate(
        parameters=counts,
        flops_by_player={player: int(count / part) for player, count in flops.items()},
        turns_by_player=turns,
        held_bytes=checkpoint_bytes + 4 * (frozen + max(per_player.values())),
        activation_bytes=saved,
        checkpoint_bytes=checkpoint_bytes,
    )


def _batch(size: int, schema: LabelSchema, noise: int) -> Batch:
    def tensor(channels: int) -> Tensor:
        return torch.empty(size, channels, schema.height, schema.width, device="meta")

    photos = [tensor(3) for _ in range(4)]
    flags = torch.empty(size, device="meta")
    label, exemplar_label = tensor(schema.channels), tensor(schema.channels)
    instances = torch.empty(size, schema.height, schema.width, dtype=torch.int32, device="meta")
    draws = torch.empty(size, noise, device="meta")
    return Batch(label, photos[0], exemplar_label, photos[1], photos[2], photos[3], flags, instances, draws)


def _iterations(
    method: Method, batch: Batch, images: int, wide: int, cast: "_Autocast | None"
) -> tuple[dict[str, Fraction], dict[str, float], int]:
    """What an iteration costs each player, on average over those that follow: floating-point operations, and turns.

    Also the most bytes that a turn keeps for its backward pass. wide: images of an iteration. cast: for bfloat16.
    """
    end = min((start for start in method.stage_starts if start > images), default=images + ITERATIONS * wide)
    firsts: dict[tuple[str, ...], int] = {}
    counts: Counter[tuple[str, ...]] = Counter()
    for at in range(images, min(end, images + ITERATIONS * wide), wide):
        turns = method.turns(at)
        firsts.setdefault(turns, at)
        counts[turns] += 1
    flops = dict.fromkeys(method.stage(images).players, Fraction(0))
    often = dict.fromkeys(flops, 0.0)
    most = 0
    for turns, at in firsts.items():
        share = Fraction(counts[turns], counts.total())
        operations, kept = _play(method, batch, turns, at, cast)
        most = max(most, kept)
        for player, count in operations.items():
            flops[player] += share * count
            often[player] += float(share * turns.count(player))
    return flops, often, most


def _play(
    method: Method, batch: Batch, turns: Sequence[str], images: int, cast: "_Autocast | None"
) -> tuple[dict[str, int], int]:
    """Floating-point operations of each player in its turns, and the most bytes that a turn keeps for backward."""
    kept: dict[int, tuple[Any, int]] = {}
    own = {p.untyped_storage()._cdata for network in method.networks.values() for p in network.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            # Held until the end of the player's turn, so that its address is not given to another one.
            kept[storage._cdata] = (storage, storage.nbytes())
        return tensor

    most = 0
    flops: Counter[str] = Counter()
    play = method.play(batch, images)
    players = method.stage(images).players
    for player in turns:
        set_trainable(method.networks, players[player])
        kept.clear()
        with FlopCounterMode(display=False) as counter, cast or nullcontext():
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                _, terms = next(play)
            total = torch.stack(list(terms.values())).sum()
            # What `total.backward()` calls: within that the cast would rest, and what is computed again is cast, too.
            _ENGINE.run_backward((total,), (torch.ones_like(total),), False, False, (), True, True)
        if cast:
            cast.converted.clear()
        flops[player] += counter.get_total_flops()
        most = max(most, sum(size for _, size in kept.values()))
    play.close()
    return flops, most


def peak_flops(device: torch.device, precision: Precision) -> float:
    """Floating-point operations per second of a large matrix product in an arithmetic, the best of six."""
    side = MATMUL[device.type]
    left = torch.randn(side, side, device=device).to(DTYPES[precision])
    best = 0.0
    with used(precision):
        for _ in range(6):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            begun = time.perf_counter()
            left @ left
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = max(best, 2 * side**3 / (time.perf_counter() - begun))
    return best


class _Autocast(TorchFunctionMode):
    """What torch.autocast does, on the meta device, which has none: products of bfloat16, everything else as it comes.

    Weights are converted once and kept, as autocast does until a turn ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self.converted: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in PRODUCTS:
            args, kwargs = tree_map(self._half, (args, kwargs))
        return func(*args, **kwargs or {})

    def _half(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        if not (value.is_leaf and value.requires_grad):
            return value.bfloat16()
        if id(value) not in self.converted:
            self.converted[id(value)] = value, value.bfloat16()
        return self.converted[id(value)][1]
