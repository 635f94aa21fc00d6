"""What settings come to together: refused where part of a run would train nothing, said where the outcome surprises.

Each of them may be valid by itself. Nothing is computed for it; networks are built without content.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch

from likeness.command import BadInput
from trainer import methods
from trainer.config import Config
from trainer.health import WINDOW
from trainer.method import Method
from trainer.schedules import Schedule

NOTHING = 1e-9
"""A factor of the learning rate up to which steps are lost in the rounding of float32 weights."""
UNFINISHED = 0.1
"""The share of the learning rate above which a run counts as ended before its schedule."""


def check(config: Config, ranks: int = 1) -> None:
    """Raises BadInput for the first of `problems`."""
    for problem in problems(config, ranks):
        raise BadInput(problem)


def problems(config: Config, ranks: int = 1) -> Iterator[str]:
    """Settings that together train nothing for a part of the run, or are used by nobody: a line each."""
    method = _method(config)
    schedule = config.optimizer.schedule
    wide = config.batch * ranks
    last = (config.images - 1) // wide * wide
    if _rate(method, last, schedule) <= NOTHING:
        end = _first_without_rate(method, schedule)
        assert end is not None
        if _rate(method, last, replace(schedule, halve_every=None)) > NOTHING:
            yield (
                f"images {config.images}, but from {end:,} on optimizer.halve_every {schedule.halve_every} leaves next "
                f"to nothing of the learning rate, and nothing is trained; set it to {max(1, config.images // 10)}, a "
                "tenth of the run, or to null"
            )
        else:
            yield (
                f"images {config.images}, but from {end:,} on the learning rate is 0 (after optimizer.constant_images "
                f"{schedule.constant} and decay_images {schedule.decay}), and nothing is trained; set images to {end}, "
                f"or for these images: {_in_proportion(config, method, end)}"
            )
    if config.faults.max_skipped >= WINDOW:
        yield (
            f"faults.max_skipped {config.faults.max_skipped}: of the last {WINDOW} iterations all could be left "
            "out, and a run that trains nothing would never end; set it to a few"
        )
    if config.data.cache_gb is not None and config.data.cache is None:
        yield f"data.cache_gb {config.data.cache_gb:g} limits nothing without data.cache; set data.cache to a folder"


def surprises(config: Config, ranks: int = 1) -> Iterator[str]:
    """Settings of which a run makes less than they say, a line each."""
    method = _method(config)
    yield from _unfinished(config, method)
    for start in method.stage_starts:
        if start >= config.images:
            yield f"a stage begins after {start:,} images, which this run of {config.images:,} never reaches"
    for option, phases in method.phases.items():
        late = [first for first, _ in phases if first >= config.images]
        if late:
            yield (
                f"options.{option}: what begins at {late[0]:,} images never begins in this run of {config.images:,}; "
                "let it begin earlier, or raise images"
            )
        elif not any(value for _, value in phases):
            yield f"options.{option} is 0 from beginning to end: what it weighs teaches nobody"
    for key, every, what in (
        ("evaluation.every", config.evaluation.every, "held-out pairs are measured once, at the end"),
        ("checkpoint.every", config.checkpoint.every, "the only checkpoint is the last one, and a kill loses all"),
        ("tracking.log_every", config.tracking.log_every, "figures are logged once, at the end"),
        ("optimizer.halve_every", config.optimizer.halve_every or 0, "the learning rate is never halved"),
    ):
        if every > config.images:
            yield f"{key} {every} is more than this run's {config.images} images: {what}"
    wide = config.batch * ranks
    if over := -config.images % wide:
        end = config.images + over
        yield f"images {config.images} is no multiple of a step's {wide}: the last step goes on to {end}"


def _unfinished(config: Config, method: Method) -> Iterator[str]:
    """A schedule for more images than the run has, but for one that is told to stay constant to its very end."""
    schedule, images = config.optimizer.schedule, config.images
    end = _first_without_rate(method, schedule)
    if (
        schedule.halve_every
        or end is None
        or images in (end, end - schedule.decay)
        or images <= method.stage_starts[-1]
    ):
        return
    left = _rate(method, images, schedule)
    if left > UNFINISHED:
        yield (
            f"the run ends at {left:.0%} of its learning rate: optimizer.constant_images {schedule.constant} and "
            f"decay_images {schedule.decay} are for {end:,} images, and this run has {images:,}; for these: "
            f"{_in_proportion(config, method, end)}"
        )


def _method(config: Config) -> Method:
    with torch.device("meta"):
        return methods.find(config.method)(config.options, config.data.label_schema)


def _rate(method: Method, images: int, schedule: Schedule) -> float:
    """The largest factor of any player's learning rate, in the step after so many images."""
    return max(method.rate(player, images, schedule) for player in method.stage(images).players)


def _first_without_rate(method: Method, schedule: Schedule) -> int | None:
    """Images from which on, in the last stage, nobody has a learning rate; None where a rate never ends."""
    low = method.stage_starts[-1]
    high = low + 1
    while _rate(method, high, schedule) > NOTHING:
        low, high = high, 2 * high
        if high > 2**62:
            return None
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if _rate(method, middle, schedule) > NOTHING else (low, middle)
    return low


def _in_proportion(config: Config, method: Method, end: int) -> str:
    """The options that fit the schedule, which ends after `end` images, to the run's images, in proportion."""
    optimizer, images = config.optimizer, config.images
    whole = optimizer.constant_images + optimizer.decay_images
    # What comes before the schedule, such as a stage with a decay of its own, keeps its length.
    rest = images - (end - whole)
    constant = round(optimizer.constant_images * rest / whole)
    options = [f"--optimizer.constant_images {constant}", f"--optimizer.decay_images {max(1, rest - constant)}"]
    options += [
        f'--options.{option} "{[[round(first * images / end), value] for first, value in phases]}"'
        for option, phases in method.phases.items()
        if len(phases) > 1
    ]
    return " ".join(options)
