"""Parts of pictures: proportions kept, borders repeated or mirrored, shares outside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.media.boxes import Box, around, cut, fitted
from shards.preparation import FITS, Fit

IMAGE = np.arange(60 * 100, dtype=np.int32).reshape(60, 100)


def test_the_middle_of_a_picture() -> None:
    np.testing.assert_array_equal(cut(IMAGE, fitted(60, 100, 1.0, "crop")), IMAGE[:, 20:80])
    np.testing.assert_array_equal(cut(IMAGE, fitted(60, 100, 2.0, "crop")), IMAGE[5:55])
    np.testing.assert_array_equal(cut(IMAGE, fitted(60, 100, 2.0, "squeeze")), IMAGE)
    assert cut(IMAGE[..., None], fitted(60, 100, 5 / 3, "crop")).shape == (60, 100, 1)


def test_room_around_a_picture() -> None:
    padded = cut(IMAGE.astype(np.uint8), fitted(60, 100, 1.0, "pad"))
    np.testing.assert_array_equal(padded, np.pad(IMAGE.astype(np.uint8), ((20, 20), (0, 0)), mode="edge"))


@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    aspect=st.sampled_from((0.25, 0.75, 1.0, 4 / 3, 2.0)),
    fit=st.sampled_from(list(FITS)),
)
def test_proportions_are_kept_unless_squeezed(height: int, width: int, aspect: float, fit: Fit) -> None:
    box = fitted(height, width, aspect, fit)
    if fit == "squeeze":
        assert box == Box(0, 0, height, width)
        return
    # Up to half a pixel.
    assert abs(box.width - box.height * aspect) <= max(aspect, 1)
    assert (box.outside(height, width) == 0) == (fit == "crop" or box == Box(0, 0, height, width))


@given(st.integers(-150, 70), st.integers(-250, 120), st.integers(1, 300), st.integers(1, 300))
def test_what_lies_outside_is_mirrored_at_the_border(top: int, left: int, height: int, width: int) -> None:
    box = Box(top, left, height, width)
    if box.outside(60, 100) == 1:
        with pytest.raises(ValueError, match="lies outside a picture of 100×60"):
            cut(IMAGE, box, "reflected")
        return
    room = 400
    far = np.pad(IMAGE, room, mode="symmetric")
    np.testing.assert_array_equal(
        cut(IMAGE, box, "reflected"), far[room + top : room + top + height, room + left : room + left + width]
    )
    inside = np.pad(np.ones_like(IMAGE), room)[room + top : room + top + height, room + left : room + left + width]
    assert box.outside(60, 100) == pytest.approx(1 - inside.mean())


def test_the_box_around_points_has_the_proportions_and_the_points() -> None:
    points = np.array([(10.0, 20.0), (30.0, 100.0)])
    assert around(points, 1.0, 1.0) == Box(20, -20, 80, 80)
    assert around(points, 0.5, 160.0) == Box(-20, -20, 160, 80)
    np.testing.assert_allclose(Box(20, -20, 80, 80).points(points), [(0.375, 0), (0.625, 1)])
