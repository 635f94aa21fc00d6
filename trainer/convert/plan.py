"""What a converter of a published system says: which files it reads, and what they hold."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from likeness.command import BadInput
from shards.labels.instance_features import FeatureCentres
from shards.records import LabelSchema
from trainer.convert.official_options import OfficialOptions
from trainer.convert.official_weights import Names, Weights

RGB = 3


@dataclass(frozen=True)
class Plan:
    """What a system's files hold."""

    method: str
    """Ours, by name."""
    options: dict[str, Any]
    """The method's, as far as shapes tell them."""
    sources: list[tuple[Weights, Names]]
    """Files, each with the names of its tensors."""
    summary: str
    """What was read off the shapes, for people."""
    told: OfficialOptions
    """What the authors' options said, and what is assumed."""
    centres: FeatureCentres | None = None
    """Looks of instances that came with the weights, as yet without a checkpoint; None where none were given."""


@dataclass(frozen=True)
class System:
    """One published system's files. A file in `trainer/convert/systems/` assigns it to `SYSTEM`."""

    files: str
    """Which files of which repository, in one line."""
    examples: tuple[str, ...]
    """Command lines without `python -m trainer.convert` and the system's name."""
    weights: str
    """Help of the file that paints."""
    discriminator: str
    """Help of `--discriminator`."""
    config: str
    """Help of `--config`: the file of the authors' options."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    """Adds what the system takes beyond the two."""
    plan: Callable[[argparse.Namespace, LabelSchema], Plan]
    """Reads the files that the arguments name. Raises BadInput for files that are another network's."""


def check_channels(weights: Weights, channels: int, wanted: int, what: str, schema: LabelSchema | None = None) -> None:
    """Raises BadInput unless a network reads as many channels as it should."""
    if channels != wanted:
        labels = f" of {labels_in_words(schema)}" if schema else ""
        raise BadInput(
            f"{weights.file} reads {channels} channels, but {what}{labels} are {wanted}; give the file and the label "
            "maps that belong together"
        )


def check_painted(weights: Weights, channels: int) -> None:
    """Raises BadInput unless a generator paints pictures in red, green and blue."""
    if channels != RGB:
        raise BadInput(
            f"{weights.file} makes {channels} channels (output_nc), but pictures have {RGB} here; give the file of a "
            "generator of pictures"
        )


def joined(names: Sequence[Names]) -> Names:
    """All of them, of one file."""
    together = Names()
    for each in names:
        together |= each
    return together


def labels_in_words(schema: LabelSchema) -> str:
    return f"label maps of {schema.channels} channels ({schema.kind})"
