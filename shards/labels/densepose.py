"""DensePose pictures: which part of the body a pixel shows, and where on that part (specification 5.5)."""

from pathlib import Path

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.media.pictures import read_picture

PARTS = 24
MIRRORED_PARTS = (0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15, 18, 17, 20, 19, 22, 21, 24, 23)
"""For each part, 0 being none, the one on the other side of the body: hands, feet, legs, arms and halves of the head
change places, the two of the torso (back and front) do not."""


def densepose_of(folder: Path, stem: str, number: int) -> Array:
    """The DensePose picture of a video's frame: uint8 (H, W, 3), V, U and the part's number 0 to 24.

    Read from `STEM_000000000012_IUV.png`; DensePose writes I, U, V as blue, green, red. Raises BadInput naming the file
    when it is missing, broken, or names a part above 24.
    """
    path = folder / f"{stem}_{number:012d}_IUV.png"
    if not path.is_file():
        raise BadInput(f"{path} is missing; run DensePose over all frames of {stem}")
    picture = read_picture(path)
    check(picture, str(path))
    return picture


def check(picture: Array, name: str) -> None:
    """Raises BadInput when a picture uint8 (H, W, 3) names a part above 24. name: what messages call it."""
    if picture[..., 2].max() > PARTS:
        raise BadInput(f"{name} names part {picture[..., 2].max()}, but DensePose has {PARTS}; give its IUV pictures")


def channels(picture: Array) -> Array:
    """uint8 (H, W, 3) as recorded to uint8 (3, H, W) as networks read it: V, U, and the part as part/24 of 255."""
    planes = picture.transpose(2, 0, 1).copy()
    planes[2] = np.round(planes[2].astype(np.float32) * (255 / PARTS)).astype(np.uint8)
    return planes


def mirrored(picture: Array) -> Array:
    """The picture of the mirrored photo: left and right parts change places.

    U and V stay as they are, which is an approximation: on the other side of the body the chart runs differently, and
    only the publisher's tables of symmetry say how.
    """
    turned = picture[:, ::-1].copy()
    turned[..., 2] = np.asarray(MIRRORED_PARTS, np.uint8)[turned[..., 2]]
    return turned
