"""Crops of bodies: nobody is squeezed, nobody is cut off, and nothing trembles."""

from dataclasses import replace

import numpy as np

from likeness.array import Array
from shards.labels import standard_schema
from shards.media.boxes import Box
from shards.operators.labelling import Labelling
from shards.operators.points import body_boxes
from shards.preparation import Fit, Preparation

SHAPE = (1080, 1920)


def labelling(height: int = 256, width: int = 128, fit: Fit = "crop") -> Labelling:
    schema = replace(standard_schema("pose", height, width), preparation=Preparation(fit=fit))
    return Labelling("pose", schema)


def body(x: float, y: float, height: float = 400) -> Array:
    """18 keypoints, upright, about a place."""
    points = np.random.default_rng(3).uniform(-0.5, 0.5, (18, 3))
    points[:2, 1] = -0.5, 0.5
    return np.column_stack([x + points[:, 0] * height / 3, y + points[:, 1] * height, np.ones(18)])


def shows(box: Box, points: Array) -> bool:
    places = box.points(points[:, :2])
    return bool(((places >= 0) & (places <= 1)).all())


def test_a_dancer_on_the_spot_has_one_crop() -> None:
    bodies = [body(900 + 40 * np.sin(n), 540) for n in range(20)]
    boxes = body_boxes(bodies, SHAPE, labelling())
    assert len({*boxes}) == 1 and boxes[0].outside(*SHAPE) == 0
    assert abs(boxes[0].width * 2 - boxes[0].height) <= 1
    assert all(shows(box, points) for box, points in zip(boxes, bodies, strict=True))
    assert 1.1 < boxes[0].height / 400 < 1.6


def test_somebody_who_walks_through_is_followed() -> None:
    """A crop of one size and without leaps, inside the photo, with all of the body in every frame."""
    bodies = [body(150 + 40 * n, 600) for n in range(40)]
    boxes = body_boxes(bodies, SHAPE, labelling())
    assert len({(box.height, box.width) for box in boxes}) == 1
    assert all(box.outside(*SHAPE) == 0 and shows(box, points) for box, points in zip(boxes, bodies, strict=True))
    assert np.abs(np.diff([box.left for box in boxes])).max() <= 45


def test_a_body_as_high_as_the_photo_keeps_its_proportions() -> None:
    """A portrait-format dancer in a square picture: room at the sides, not a squeezed body."""
    (box,) = body_boxes([body(300, 960, 1700)], (1920, 600), labelling(256, 256))
    assert box.height == box.width and shows(box, body(300, 960, 1700)) and box.outside(1920, 600) > 0.5


def test_other_fits_show_the_frame() -> None:
    assert body_boxes([body(900, 540)], SHAPE, labelling(fit="squeeze")) == [Box(0, 0, *SHAPE)]
    (padded,) = body_boxes([body(900, 540)], SHAPE, labelling(fit="pad"))
    assert padded.width == 1920 and padded.height == 3840
    unseen = body(900, 540) * (1, 1, 0)
    assert body_boxes([unseen], SHAPE, labelling())[0].outside(*SHAPE) == 0
