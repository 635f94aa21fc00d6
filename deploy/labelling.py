"""How photos and videos are labelled that somebody gives to a model."""

import argparse

from likeness.command import BadInput
from shards.labels.kinds import kind_of
from shards.operators.arguments import OPERATOR_OPTIONS
from shards.operators.labelling import Labelling
from shards.operators.photos import options_of
from shards.records import LabelSchema


def auto_labelling(schema: LabelSchema, options: argparse.Namespace) -> Labelling:
    """How to label, by the arguments that label operators have; which operator, each file says.

    Raises BadInput for an argument that the schema's kind of label has no use for.
    """
    useful = options_of(kind_of(schema))
    for name in OPERATOR_OPTIONS:
        if getattr(options, name) and name not in useful:
            raise BadInput(f"--{name} is of no use to a model whose label maps are of kind {schema.kind!r}")
    given = {name: getattr(options, name) for name in OPERATOR_OPTIONS}
    # How long a video takes is the model's affair, and somebody waits for it.
    return Labelling("auto", schema, **given, timeout_s=None)
