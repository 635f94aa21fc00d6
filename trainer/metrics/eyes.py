"""How alike the eyes of painted picture and exemplar look to a loss network (specification 6.1, last row: VGG-19).

For ranking systems only: the paper leaves layers, norm and normalisation open, so that its numbers are others.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from likeness.array import Array
from likeness.command import BadInput
from shards.media.boxes import resized
from shards.records import Frame
from trainer.losses import feature_distances
from trainer.metrics.metric import Judged, Metric, mean_of
from trainer.perceptual import figure_suffix, load_loss_network, title_of

SIDE = 256
"""Pixels of the pictures that the patches are cut from."""
PATCH = 50
LANDMARK_SIDE = 512
"""Pixels of the frame that a record's landmarks lie in."""
EYES = (slice(36, 42), slice(42, 48))
"""The landmarks around the right and the left eye, the person's own."""
LAYERS = 4
"""relu1_1, relu2_1, relu3_1 and relu4_1."""


def eye_patches(weights: str, device: torch.device | str = "cpu", divisor: int = 1) -> Metric:
    """VGG distance of 50×50 patches around the eyes, figure `eye_patches`.

    weights: as for `load_loss_network`. All but VGG-19's name the figure, `eye_patches_random_vgg` or
    `eye_patches_hed_vgg16`, as such numbers compare with no others. divisor: divides all widths, for `random:SEED`
    only.

    Raises BadInput when the weights are missing or another network's; measuring raises it, naming the pair, where
    records have no landmarks.
    """
    network = load_loss_network(weights, divisor, imagenet_norm=True, resize_below=0).to(device)
    name = f"eye_patches{figure_suffix(weights)}"
    judge = title_of(weights) + ("" if divisor == 1 else f", its widths divided by {divisor}")

    def measure(judged: Sequence[Judged]) -> dict[str, Array]:
        # Pair by pair: the last digits of a convolution depend on how many pictures it is given.
        return {name: np.array([_distance(network, one, device) for one in judged], np.float64)}

    meaning = (
        f"Distance of 50×50 patches around the eyes of painted picture and exemplar, at 256×256, to {judge}: mean |Δ| "
        "over relu1_1 to relu4_1 and both eyes; 0 is the exemplar's own eyes. For ranking only."
    )
    return Metric(measure, {name: mean_of(name, "less", meaning)})


def eye_centres(landmarks: Array) -> Array:
    """The means of landmarks 36-41 and 42-47: (68, 2) to (2, 2), x and y."""
    return np.stack([landmarks[eye].mean(axis=0) for eye in EYES])


def patch_at(picture: Array, centre: Array) -> Array:
    """The 50×50 patch around (x, y), (50, 50, 3); moved inside where it would leave the picture."""
    height, width = picture.shape[:2]
    left, top = (
        int(np.clip(round(float(at)) - PATCH // 2, 0, side - PATCH))
        for at, side in zip(centre, (width, height), strict=True)
    )
    return picture[top : top + PATCH, left : left + PATCH]


def _patches(picture: Array, frame: Frame, key: str) -> list[Array]:
    if frame.landmarks is None:
        raise BadInput(f"pair {key} has no face landmarks; eye patches are for labels of kind sketch")
    centres = eye_centres(np.asarray(frame.landmarks, np.float64)) * (SIDE / LANDMARK_SIDE)
    seen = resized(picture, SIDE, SIDE)
    return [patch_at(seen, centre) for centre in centres]


def _distance(network: nn.Module, one: Judged, device: torch.device | str) -> float:
    """The painted eyes are looked for where the label puts them: a detector might find none, or others."""
    pair = one.pair
    painted = _tensor(_patches(one.picture, pair.target, pair.key), device)
    exemplar = _tensor(_patches(one.exemplar, pair.exemplar, pair.key), device)
    with torch.inference_mode():
        distances = feature_distances(network(painted)[:LAYERS], network(exemplar)[:LAYERS])
    return float(distances.mean())


def _tensor(patches: Sequence[Array], device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.stack(patches)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
