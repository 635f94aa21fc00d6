"""Semantic parsing scores: does a segmentation model see in the painted picture what the label map asks for?

Specification 6.1. There is one rule for void: pixels that the label map calls void are ignored, whatever the model says
of them; where the label map names a class, a model that says void is wrong.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.operators.parsing import Parser
from shards.records import LabelSchema
from trainer.metrics.confusion import accuracies, confusion, figures, picture_figure
from trainer.metrics.metric import Judged, Metric


def parsing(model: Path, schema: LabelSchema) -> Metric:
    """Pixel accuracy, class accuracy and class IoU over the whole set: `sps/pixel_accuracy` and so on.

    model: an ONNX segmentation model with its description beside it, as packing takes one. schema: of the labels that
    were painted.

    Raises BadInput when the schema is not of classes, or the model is missing, broken, or takes no pictures; measuring
    raises it, too, for a class that the schema does not know.
    """
    if not schema.ids:
        raise BadInput(
            f"{model} reads classes, but the labels are of kind {schema.kind!r}; semantic parsing scores are for "
            "labels of kind 'classes'"
        )
    parser = Parser(model, schema)

    def measure(judged: Sequence[Judged]) -> dict[str, Array]:
        matrices = [_confusion(parser, schema, one) for one in judged]
        count = len(schema.ids)
        return {
            "sps/confusion": np.reshape(matrices, (-1, count, count)).astype(np.int64),
            "sps/picture_accuracy": accuracies(matrices),
        }

    void = None if schema.void is None else schema.ids.index(schema.void)
    rule = f" Read by {model.name}; where the label map names a class, void is a wrong answer."
    return Metric(
        measure,
        {
            name: replace(figure, meaning=figure.meaning + rule)
            for name, figure in (*figures("sps", void).items(), *picture_figure("sps").items())
        },
    )


def _confusion(parser: Parser, schema: LabelSchema, one: Judged) -> Array:
    if one.ids is None:
        raise BadInput(f"pair {one.pair.key} has no label map; pack it with labels of kind 'classes'")
    if unknown := set(np.unique(one.ids).tolist()) - set(schema.ids):
        raise BadInput(f"the label map of {one.pair.key} holds the id {min(unknown)}, which is none of {schema.ids}")
    return confusion(one.ids, parser.ids(one.picture), schema.ids, schema.void)
