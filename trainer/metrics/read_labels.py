"""What the world reader sees in a painted picture, against the label that was to be painted (specification 6.1)."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.labels.kinds import kind_of
from shards.records import LabelSchema, Pair
from shards.worlds import world_of
from trainer.metrics import confusion, frechet
from trainer.metrics.metric import FigureOf, Judged, Metric, mean_of
from trainer.metrics.reader.network import Reader
from trainer.metrics.reader.points import PIXELS, distances, true_points

FACE_CAP, POINT_CAP = 10, 1000
"""Pixels that a face, and one of its landmarks, can be wrong at most (specification 6.1)."""


def landmark_metric(reader: Reader, schema: LabelSchema) -> Metric:
    """LEPE of faces: per picture min(10, mean distance of the 68 landmarks in pixels of a picture 256 high) / 256.

    The truth is the target's own landmarks, not what the reader makes of the target photo. Columns `reader/lepe`,
    `reader/lepe_of_targets` (of the target photo: what the reader itself is wrong) and `reader/lepe_of_exemplars` (of
    the exemplar: what copying it would score).

    Raises BadInput when the reader is of another world than the schema's labels.
    """
    return _point_metric(reader, schema, capped=True)


def keypoint_metric(reader: Reader, schema: LabelSchema) -> Metric:
    """LEPE of dancers: mean distance of the visible keypoints in pixels of a picture 256 high / 256, without a cap.

    Columns and errors are those of `landmark_metric`.
    """
    return _point_metric(reader, schema, capped=False)


def _point_metric(reader: Reader, schema: LabelSchema, capped: bool) -> Metric:
    _check_world(reader, schema)
    aspect = schema.width / schema.height

    def error(pair: Pair, read: Array) -> float:
        true, visible = true_points(pair.target.landmarks, pair.target.keypoints)
        apart = distances(read, true, aspect)[visible]
        if not len(apart):
            return float("nan")
        mean = float(np.minimum(apart, POINT_CAP).mean())
        return (min(mean, FACE_CAP) if capped else mean) / PIXELS

    def measure(judged: Sequence[Judged]) -> dict[str, Array]:
        sides = {"": "picture", "_of_targets": "target", "_of_exemplars": "exemplar"}
        return {
            f"reader/lepe{end}": np.array([
                error(one.pair, read)
                for one, read in zip(judged, reader.points([getattr(one, side) for one in judged]), strict=True)
            ])
            for end, side in sides.items()
        }  # fmt: skip

    things = "landmarks" if capped else "keypoints"
    cap = f", at most {FACE_CAP} px for a picture" if capped else ""
    how = f"and the label's {things}, in pixels of a picture {PIXELS} high / {PIXELS}{cap}"
    return Metric(
        measure,
        {
            "reader/lepe": mean_of(
                "reader/lepe",
                "less",
                f"Mean distance between the {things} that the world reader finds in the painted picture {how}. "
                "reader/lepe_of_targets is as good as it gets, reader/lepe_of_exemplars is chance.",
            ),
            "reader/lepe_of_targets": mean_of(
                "reader/lepe_of_targets",
                None,
                f"Mean distance between the {things} that the world reader finds in the true photo {how}: the "
                "reader's own error.",
            ),
            "reader/lepe_of_exemplars": mean_of(
                "reader/lepe_of_exemplars",
                None,
                f"Mean distance between the {things} that the world reader finds in the exemplar {how}: what a copy of "
                "the exemplar scores.",
            ),
        },
    )


def class_metric(reader: Reader, schema: LabelSchema) -> Metric:
    """Semantic parsing scores of streets: the classes that the reader sees, against the label map's.

    Columns `reader/confusion` and `reader/confusion_of_targets`, int64 (N, C, C) as `confusion.confusion` gives them,
    of the painted picture and of the target photo, and `reader/picture_accuracy`.

    Raises BadInput when the reader is of another world, or the label maps have other ids than the world's.
    """
    _check_world(reader, schema)
    if unknown := set(reader.ids) - set(schema.ids):
        raise BadInput(
            f"the world reader sees the class ids {reader.ids}; the label schema lacks {sorted(unknown)}: "
            "judge label maps of the streets world with it"
        )
    count = partial(confusion.confusion, ids=schema.ids, void=schema.void)

    def measure(judged: Sequence[Judged]) -> dict[str, Array]:
        maps = [_ids_of(one) for one in judged]
        columns = {
            f"reader/confusion{end}": np.stack(
                [count(true, read) for true, read in zip(maps, reader.class_ids(pictures), strict=True)]
            )
            for end, pictures in (
                ("", [one.picture for one in judged]),
                ("_of_targets", [one.target for one in judged]),
            )
        }
        return {**columns, "reader/picture_accuracy": confusion.accuracies(columns["reader/confusion"])}

    void = None if schema.void is None else schema.ids.index(schema.void)
    figures: dict[str, FigureOf] = {}
    for of in ("", "_of_targets"):
        figures |= confusion.figures("reader", void, of)
    return Metric(measure, figures | dict(confusion.picture_figure("reader")))


def _ids_of(judged: Judged) -> Array:
    if judged.ids is None:
        raise ValueError(f"{judged.pair.key} has no label map of class ids")
    return judged.ids


def world_features_metric(reader: Reader) -> Metric:
    """`world_frechet` and `world_kernel`: distances in the reader's features, not in Inception's: no FID, no KID."""
    return frechet.features_metric("world", reader.features, of=f"the {reader.recipe.world} world's reader, not FID")


def _check_world(reader: Reader, schema: LabelSchema) -> None:
    world = world_of(kind_of(schema))
    if reader.recipe.world != world:
        raise BadInput(
            f"labels of the kind {schema.kind} are read by a reader of {world}, not of {reader.recipe.world}; "
            f"train one with `python -m trainer.metrics.reader --world {world}`"
        )
