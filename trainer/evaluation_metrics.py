"""Which metrics an evaluation measures, and the networks and videos that they need."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from shards.command import BadInput
from shards.records import Frame
from trainer.judged_pairs import Pairs, ShardPairs
from trainer.metrics import read_labels
from trainer.metrics.factors import factor_metric
from trainer.metrics.metric import Metric
from trainer.metrics.reader import WORLD_OF, Reader, load_reader
from trainer.metrics.style_truth import style_metric
from trainer.metrics.swaps import swap_metric, swap_metric_without_truth
from trainer.truth import Truth, styles_of

DISTRACTORS = 10
READER = {
    "sketch": read_labels.landmark_metric,
    "pose": read_labels.keypoint_metric,
    "classes": read_labels.class_metric,
}


@dataclass(frozen=True)
class Sources:
    """What metrics are made from, as the command line names it.

    truth: draws true pictures, where the pairs are of a world. reader: file of the world's reader; None: trained once.
    """

    truth: Truth | None = None
    reader: Path | None = None

    def identity(self) -> dict[str, str]:
        """The networks that figures depend on, by name, for the record."""
        return {}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name what metrics need."""
    add = parser.add_argument_group("what is measured").add_argument
    add("--videos", type=Path, metavar="DIR", help="the world's videos that the pairs were packed from")
    add("--reader", type=Path, metavar="FILE", help="the world's reader; without it, it is trained once and kept")


def sources_of(options: argparse.Namespace, pairs: Pairs) -> Sources:
    """Checks the options against the pairs. Raises BadInput naming what does not fit."""
    truth = None
    if options.videos is not None:
        if not isinstance(pairs, ShardPairs):
            raise BadInput("--videos goes with shards: pairs of a CSV have no label that a world could draw")
        truth = Truth(options.videos, pairs.schema)
    elif options.reader is not None:
        raise BadInput("--reader goes with --videos: it reads pictures of a world")
    return Sources(truth, options.reader)


def metrics_of(sources: Sources, pairs: Pairs, total: int, accelerator: Accelerator) -> dict[str, Metric]:
    """The metrics, by name. Loads networks, and trains the world's reader where nobody has, rank 0 first."""
    if sources.truth is None:
        return {"swaps": swap_metric_without_truth()}
    assert isinstance(pairs, ShardPairs)
    styles = styles_of([pairs.pair(number).exemplar for number in range(total)])
    with accelerator.main_process_first():
        reader = _reader(sources, pairs, styles)
    return {
        "style": style_metric(sources.truth, styles, DISTRACTORS),
        "factors": factor_metric(sources.truth, styles),
        "swaps": swap_metric(sources.truth),
        "reader": READER[pairs.schema.kind](reader, pairs.schema),
        "features": read_labels.world_features_metric(reader),
    }


def _reader(sources: Sources, pairs: ShardPairs, styles: list[Frame]) -> Reader:
    assert sources.truth is not None
    schema = pairs.schema
    world, labels = sources.truth.world(styles[0]), WORLD_OF[schema.kind]
    if world != labels:
        raise BadInput(f"{sources.truth.videos} shows the world {world}, but the pairs' labels are those of {labels}")
    return load_reader(world, schema.height, schema.width, sources.reader)
