"""Which metrics an evaluation measures, and the networks and videos that they need."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from accelerate import Accelerator

from shards.command import BadInput
from shards.records import Frame, LabelSchema
from trainer.judged_pairs import ListedPairs, Pairs, ShardPairs
from trainer.metrics import read_labels
from trainer.metrics.eyes import eye_patches
from trainer.metrics.factors import factor_metric
from trainer.metrics.inception import fid
from trainer.metrics.lepe import lepe
from trainer.metrics.likeness_to_target import likeness_to_target, likeness_to_truth
from trainer.metrics.metric import Metric
from trainer.metrics.parsing import parsing
from trainer.metrics.perceptual_similarity import lpips
from trainer.metrics.reader import WORLD_OF, Reader, load_reader
from trainer.metrics.style_truth import style_metric
from trainer.metrics.swaps import swap_metric, swap_metric_without_truth
from trainer.truth import Truth, styles_of

DISTRACTORS = 10
"""Other styles that a picture's own is told from; fewer where the pairs show fewer, which the figure's meaning says."""
READER = {
    "sketch": read_labels.landmark_metric,
    "pose": read_labels.keypoint_metric,
    "classes": read_labels.class_metric,
}
RANDOM_DIVISOR = 4
"""Of the widths of a VGG with random weights, which nobody's figures are compared with: a sixteenth of the work."""


@dataclass(frozen=True)
class Sources:
    """What metrics are made from, as the command line names it; None, or no truth, leaves a metric out.

    truth: draws true pictures, where the pairs are of a world. reader: file of the world's reader; None: trained once.
    features: `inception` (FID and KID) or `world` (the reader's). inception, lpips, eyes: weights: a path, `download`,
    or for eyes also `random:SEED`. detector: `mediapipe`, or the path of dlib's predictor. parser: a model's file.
    """

    truth: Truth | None = None
    reader: Path | None = None
    features: Literal["inception", "world"] | None = None
    inception: str = "download"
    lpips: str | None = None
    detector: str | None = None
    parser: Path | None = None
    eyes: str | None = None

    def identity(self) -> dict[str, str]:
        """The networks that figures depend on, by name, for the record."""
        named = {
            "features": self.inception if self.features == "inception" else self.features,
            "lpips": self.lpips,
            "detector": self.detector,
            "parser": self.parser and self.parser.name,
            "eyes": self.eyes,
        }
        return {name: str(value) for name, value in named.items() if value}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name what metrics need."""
    add = parser.add_argument_group("what is measured").add_argument
    add("--videos", type=Path, metavar="DIR", help="the world's videos that the pairs were packed from")
    add("--reader", type=Path, metavar="FILE", help="the world's reader (default: trained once, kept in ~/.cache)")
    add(
        "--features",
        choices=("inception", "world"),
        help="distances between sets: FID and KID, or those of the world's reader (default: world with --videos)",
    )
    add(
        "--inception",
        default="download",
        metavar="PATH",
        help="weights of --features inception: torch-fidelity's file, or `download` (default)",
    )
    add("--lpips", metavar="PATH|download", help="LPIPS, with torchvision's AlexNet from there")
    add("--detector", metavar="mediapipe|PATH", help="LEPE, by MediaPipe or with dlib's predictor file")
    add("--parser", type=Path, metavar="ONNX", help="SPS, by this segmentation model")
    add("--eyes", metavar="VGG", help="eye patches of faces: VGG-19's weights as a path, download or random:SEED")


def sources_of(options: argparse.Namespace, pairs: Pairs) -> Sources:
    """Checks the options against the pairs. Raises BadInput naming what does not fit."""
    truth = None
    if options.videos is not None:
        if not isinstance(pairs, ShardPairs):
            raise BadInput("--videos goes with shards: pairs of a CSV have no label that a world could draw")
        truth = Truth(options.videos, pairs.schema)
    elif options.reader is not None or options.features == "world":
        raise BadInput("--reader and --features world go with --videos: they are of a world's pictures")
    kind = pairs.schema.kind if pairs.schema is not None else None
    if options.eyes is not None and kind != "sketch":
        raise BadInput("--eyes goes with shards of faces: only their records say where the eyes are")
    if options.parser is not None and kind != "classes":
        raise BadInput("--parser goes with shards whose label maps are of classes")
    if options.detector is not None and kind == "classes":
        raise BadInput("--detector goes with faces and bodies; label maps of classes have no endpoints")
    return Sources(
        truth,
        options.reader,
        options.features or ("world" if truth else None),
        options.inception,
        options.lpips,
        options.detector,
        options.parser,
        options.eyes,
    )


def metrics_of(sources: Sources, pairs: Pairs, total: int, accelerator: Accelerator) -> dict[str, Metric]:
    """The metrics, by name. Loads networks, and trains the world's reader where nobody has, rank 0 first.

    Raises BadInput when a network or its weights are missing.
    """
    device = accelerator.device
    metrics = {"target": likeness_to_target()}
    if sources.truth is None:
        metrics["swaps"] = swap_metric_without_truth()
    else:
        assert isinstance(pairs, ShardPairs)
        styles = styles_of([pairs.pair(number).exemplar for number in range(total)])
        with accelerator.main_process_first():
            reader = _reader(sources, pairs.schema, sources.truth, styles)
        metrics |= {
            "truth": likeness_to_truth(sources.truth.draw),
            "style": style_metric(sources.truth, styles, _distractors(styles)),
            "factors": factor_metric(sources.truth, styles),
            "swaps": swap_metric(sources.truth),
            "reader": READER[pairs.schema.kind](reader, pairs.schema),
        }
        if sources.features == "world":
            metrics["features"] = read_labels.world_features_metric(reader)
    if sources.features == "inception":
        metrics["features"] = fid(sources.inception, device)
    if sources.lpips is not None:
        metrics["lpips"] = lpips(sources.lpips, device)
    if sources.detector is not None:
        predictor = None if sources.detector == "mediapipe" else Path(sources.detector)
        metrics["lepe"] = lepe("sketch" if isinstance(pairs, ListedPairs) else _schema(pairs).kind, predictor)
    if sources.parser is not None:
        metrics["parser"] = parsing(sources.parser, _schema(pairs))
    if sources.eyes is not None:
        divisor = RANDOM_DIVISOR if sources.eyes.startswith("random:") else 1
        metrics["eyes"] = eye_patches(sources.eyes, device, divisor)
    return metrics


def _distractors(styles: list[Frame]) -> int:
    """How many other styles there are for each exemplar, at most DISTRACTORS. Raises BadInput when there is none."""
    others = (sum(other.style != one.style for other in styles) for one in styles)
    if not (least := min(DISTRACTORS, *others)):
        raise BadInput("all exemplars show one style: there is nothing to tell theirs from; judge more --pairs")
    return least


def _schema(pairs: Pairs) -> LabelSchema:
    assert pairs.schema is not None, "checked with the options"
    return pairs.schema


def _reader(sources: Sources, schema: LabelSchema, truth: Truth, styles: list[Frame]) -> Reader:
    world, labels = truth.world(styles[0]), WORLD_OF[schema.kind]
    if world != labels:
        raise BadInput(f"{truth.videos} shows the world {world}, but the pairs' labels are those of {labels}")
    return load_reader(world, schema.height, schema.width, sources.reader)
