"""The centres of instance features that travel with a model."""

import numpy as np

from likeness.command import BadInput
from shards.inputs import FEATURES_MAP
from shards.labels.instance_features import FILE, FeatureCentres, parse_centres
from trainer.checkpoints.synthesis import Synthesis

MADE_UP = 10
"""Centres of each class of an untrained model, as many as a trained one has (pix2pixHD 2.4)."""


def centres_of(synthesis: Synthesis) -> FeatureCentres | None:
    """What `python -m trainer.feature_centres` wrote beside a checkpoint; made up at random for an untrained model.

    None for a model that reads no features, or whose label maps have no classes.
    Raises BadInput when there are none, or when they are another checkpoint's.
    """
    if FEATURES_MAP.name not in synthesis.inputs or not synthesis.schema.ids:
        return None
    if synthesis.folder is None:
        rng = np.random.default_rng(0)
        size = (MADE_UP, synthesis.feature_channels)
        centres = {number: rng.uniform(-1, 1, size).round(4).tolist() for number in synthesis.schema.ids}
        counts = {number: [0] * MADE_UP for number in centres}
        return FeatureCentres(synthesis.sha256, synthesis.regions, centres, counts)
    file = synthesis.folder / FILE
    remedy = f"run `python -m trainer.feature_centres --checkpoint {synthesis.folder}`"
    if not file.is_file():
        raise BadInput(f"{file} is missing, from which a model draws the looks of instances; {remedy}")
    stored = parse_centres(file.read_bytes(), file)
    if stored.checkpoint != synthesis.sha256:
        raise BadInput(f"{file} was made with another checkpoint than the one beside it; {remedy}")
    return stored
