"""`--dry-run`: the resolved config, and what the run would come to."""

from collections.abc import Iterator

import torch
import yaml

from likeness.command import BadInput
from shards.reading.stream import open_shards
from trainer.config import Config
from trainer.estimate import Estimate, estimates, peak_flops

DAY_S = 86_400
PEAK_SHARE = 0.4
"""The share of the matmul peak that training is assumed to reach."""


def preview(config: Config, ranks: int) -> str:
    """A YAML config that gives the same run, with the estimates as comments behind it."""
    resolved = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return resolved + "".join(f"# {line}\n" for line in _lines(config, ranks))


def _player_lines(config: Config, costs: Estimate) -> Iterator[str]:
    """What players have otherwise than each other: turns, and settings of Adam. Nothing where they are alike."""
    turns = costs.turns_by_player
    if any(count != 1 for count in turns.values()):
        yield f"{'turns':<16} per step: {', '.join(f'{player} {count:g}' for player, count in turns.items())}"
    for player in turns:
        if player in config.optimizer.players:
            own = config.optimizer.of(player)
            rate, (first, second) = own.learning_rate, own.betas
            yield f"{'optimizer':<16} {player}: learning rate {rate:g}, betas {first:g} and {second:g}"


def _lines(config: Config, ranks: int) -> Iterator[str]:
    schema = config.data.label_schema
    samples = None
    try:
        with open_shards(config.data.train) as (manifest, store):
            config.data.check_schema(manifest.schema, store.where)
            schema, samples = manifest.schema, manifest.samples
    except BadInput as error:
        yield f"the shards cannot be read yet: {error}"
    stages = estimates(config, schema)
    for name, count in stages[0].parameters.items():
        if count:
            yield f"{name:<16} {count:>13,} parameters"
    ends = [*[*stages][1:], config.images]
    for (start, costs), end in zip(stages.items(), ends, strict=True):
        if len(stages) > 1:
            yield f"{'stage':<16} {start:>13,} to {end:,} images"
        yield from _player_lines(config, costs)
        yield f"{'arithmetic':<16} {costs.flops / 1e9:>13,.1f} GFLOP per image, forward and backward of all players"
        yield (
            f"{'memory':<16} {costs.memory_bytes / 1e9:>13,.2f} GB per rank: {costs.held_bytes / 1e9:,.2f} for "
            f"weights, averages, Adam and gradients, {costs.activation_bytes / 1e9:,.2f} for activations; work space "
            "comes on top"
        )
    largest = max(costs.checkpoint_bytes for costs in stages.values())
    kept = config.checkpoint.keep
    yield f"{'checkpoint':<16} {largest / 1e9:>13,.2f} GB each, {kept} kept and the best one"
    wide = config.batch * ranks
    if samples is not None:
        yield (
            f"{'epoch':<16} {samples:>13,} images, {-(-samples // wide):,} steps of {wide} on {ranks} ranks; "
            f"{config.images / samples:,.1f} epochs in all"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # What the run computes in; a CPU without bfloat16 of its own would measure its emulation.
    precision = config.precision if device.type == "cuda" else "fp32"
    peak = peak_flops(device, precision)
    flops = sum((end - start) * costs.flops for (start, costs), end in zip(stages.items(), ends, strict=True))
    seconds = flops / (peak * PEAK_SHARE * ranks)
    lasts = f"{seconds / DAY_S:,.1f} days" if seconds > DAY_S else f"{seconds / 3600:,.1f} hours"
    yield (
        f"{'duration':<16} {lasts:>13} on {ranks} of this machine's {device.type} devices, if they reach "
        f"{PEAK_SHARE:.0%} of the {peak / 1e12:,.2f} TFLOP/s that a matrix product in {precision} reaches here"
    )
