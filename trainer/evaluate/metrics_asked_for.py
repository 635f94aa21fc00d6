"""Which metrics an evaluation measures, and the networks and videos that they need."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from accelerate import Accelerator

from likeness.command import BadInput
from shards.labels.kinds import CLASSES, LANDMARKS, POSE, SKETCH, kind_of
from shards.operators.parsing import read_description
from shards.records import Frame, LabelSchema
from shards.worlds import world_of
from trainer.evaluate.judged_pairs import JudgedList, JudgedPairs, JudgedShards
from trainer.metrics import read_labels
from trainer.metrics.eyes import eye_patches
from trainer.metrics.factors import factor_metric
from trainer.metrics.inception import fid
from trainer.metrics.lepe import lepe
from trainer.metrics.likeness_to_target import likeness_to_target, likeness_to_truth
from trainer.metrics.metric import Metric
from trainer.metrics.parsing import parsing
from trainer.metrics.perceptual_similarity import lpips
from trainer.metrics.reader.files import load_reader
from trainer.metrics.reader.network import Reader
from trainer.metrics.style_truth import style_metric
from trainer.metrics.swaps import swap_metric, swap_metric_without_truth
from trainer.metrics.truth import Truth, styles_of

DISTRACTORS = 10
"""Other styles that a picture's own is told from; fewer where the pairs show fewer, which the figure's meaning says."""
READER = {
    SKETCH: read_labels.landmark_metric,
    POSE: read_labels.keypoint_metric,
    CLASSES: read_labels.class_metric,
}
"""What the world's reader measures, by kind of label maps."""
RANDOM_DIVISOR = 4
"""Of the widths of a VGG with random weights, which nobody's figures are compared with: a sixteenth of the work."""


@dataclass(frozen=True)
class Sources:
    """What metrics are made from, as the command line names it; None leaves a metric out."""

    truth: Truth | None = None
    """Draws true pictures, where the pairs are of a world."""
    reader: Path | None = None
    """The file of the world's reader; None for the one that is trained once."""
    features: Literal["inception", "world"] | None = None
    """In which features sets are compared: `inception` gives FID and KID, `world` uses the reader's."""
    inception: str | None = None
    """Weights of Inception: a path, or `download`."""
    lpips: str | None = None
    """Weights of LPIPS's AlexNet: a path, or `download`."""
    detector: str | None = None
    """Of landmarks: `mediapipe`, or the path of dlib's predictor."""
    parser: Path | None = None
    """The file of a segmentation model."""
    eyes: str | None = None
    """What judges the eyes' patches, as `perceptual.weights` names it."""


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
        metavar="PATH",
        help="weights of --features inception: torch-fidelity's file (default: downloaded once)",
    )
    add("--lpips", metavar="PATH|download", help="LPIPS, with torchvision's AlexNet from there")
    add("--detector", metavar="mediapipe|PATH", help="LEPE, by MediaPipe or with dlib's predictor file")
    add("--parser", type=Path, metavar="ONNX", help="SPS, by this segmentation model")
    add(
        "--eyes",
        metavar="VGG",
        help="eye patches of faces: by the loss network of a path, download, hed-vgg16 or random:SEED",
    )


def sources_of(options: argparse.Namespace, pairs: JudgedPairs) -> Sources:
    """Checks the options against the pairs. Raises BadInput naming what does not fit."""
    truth = None
    if options.videos is not None:
        if not isinstance(pairs, JudgedShards):
            raise BadInput("--videos goes with shards: pairs of a CSV have no label that a world could draw")
        truth = Truth(options.videos, pairs.schema)
    elif options.reader is not None or options.features == "world":
        raise BadInput("--reader and --features world go with --videos: they are of a world's pictures")
    kind = kind_of(pairs.schema) if pairs.schema is not None else None
    if options.eyes is not None and (kind is None or kind.points is not LANDMARKS):
        raise BadInput("--eyes goes with shards of faces: only their records say where the eyes are")
    listed = isinstance(pairs, JudgedList) and pairs.labelled
    if options.parser is not None and not (kind is not None and kind.ids) and not listed:
        raise BadInput("--parser goes with shards whose label maps are of classes, or a CSV with the column label")
    if options.inception is not None and options.features != "inception":
        raise BadInput("--inception names the weights of --features inception; add that, or leave it away")
    if options.detector is not None and kind is not None and kind.points is None:
        raise BadInput(f"--detector goes with faces and bodies; label maps of {kind.name} have no endpoints")
    return Sources(
        truth=truth,
        reader=options.reader,
        features=options.features or ("world" if truth else None),
        inception=options.inception,
        lpips=options.lpips,
        detector=options.detector,
        parser=options.parser,
        eyes=options.eyes,
    )


def metrics_of(
    sources: Sources, pairs: JudgedPairs, total: int, accelerator: Accelerator
) -> tuple[dict[str, Metric], dict[str, str]]:
    """The metrics by name, and the networks that they depend on, in words.

    Loads networks, and trains the world's reader where nobody has, rank 0 first. Raises BadInput when a network or its
    weights are missing.
    """
    device, truth = accelerator.device, sources.truth
    metrics, networks = {"target": likeness_to_target()}, {}
    if truth is None:
        metrics["swaps"] = swap_metric_without_truth()
    else:
        assert isinstance(pairs, JudgedShards)
        styles = styles_of([pairs.pair(number).exemplar for number in range(total)])
        with accelerator.main_process_first():
            reader = _reader(sources, pairs.schema, truth, styles)
        metrics |= {
            "truth": likeness_to_truth(truth.draw),
            "style": style_metric(truth, styles, _distractors(styles)),
            "factors": factor_metric(truth, styles),
            "swaps": swap_metric(truth),
            "reader": READER[kind_of(pairs.schema)](reader, pairs.schema),
        }
        recipe = reader.recipe
        held_out = ", ".join(f"{name} {value:.3g}" for name, value in sorted(reader.held_out.items()))
        networks["reader"] = f"{recipe.world} {recipe.width}×{recipe.height} {recipe.digest} (held out: {held_out})"
        if sources.features == "world":
            metrics["features"] = read_labels.world_features_metric(reader)
    if sources.features == "inception":
        networks["inception"] = sources.inception or "download"
        metrics["features"] = fid(networks["inception"], device)
    if sources.lpips is not None:
        networks["lpips"] = sources.lpips
        metrics["lpips"] = lpips(sources.lpips, device, None if truth is None else truth.draw)
    if sources.detector is not None:
        networks["detector"] = sources.detector
        predictor = None if sources.detector == "mediapipe" else Path(sources.detector)
        metrics["lepe"] = lepe(SKETCH if pairs.schema is None else kind_of(pairs.schema), predictor)
    if sources.parser is not None:
        networks["parser"] = sources.parser.name
        metrics["parser"] = parsing(sources.parser, pairs.schema or _listed_schema(sources.parser, pairs))
    if sources.eyes is not None:
        networks["eyes"] = sources.eyes
        divisor = RANDOM_DIVISOR if sources.eyes.startswith("random:") else 1
        metrics["eyes"] = eye_patches(sources.eyes, device, divisor)
    return metrics, networks


def _listed_schema(parser: Path, pairs: JudgedPairs) -> LabelSchema:
    """The classes that a parser's description names, for label maps of a list."""
    height, width, _ = pairs.photos(0).target.shape
    return read_description(parser).schema(height, width)


def _distractors(styles: list[Frame]) -> int:
    """How many other styles there are for each exemplar, at most DISTRACTORS. Raises BadInput when there is none."""
    others = (sum(other.style != one.style for other in styles) for one in styles)
    if not (least := min(DISTRACTORS, *others)):
        raise BadInput("all exemplars show one style: there is nothing to tell theirs from; judge more --pairs")
    return least


def _reader(sources: Sources, schema: LabelSchema, truth: Truth, styles: list[Frame]) -> Reader:
    world, labels = truth.world(styles[0]), world_of(kind_of(schema))
    if world != labels:
        whose = f"those of {labels}" if labels else f"of kind {schema.kind!r}, which no world has"
        raise BadInput(f"{truth.videos} shows the world {world}, but the pairs' labels are {whose}")
    return load_reader(world, schema.height, schema.width, sources.reader)
