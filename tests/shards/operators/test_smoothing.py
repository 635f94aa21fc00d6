"""The One-Euro filter: rest does not tremble, movement does not lag, and nothing is smoothed over a cut."""

import numpy as np

from shards.operators.smoothing import OneEuro

RATE = 25
FACE = np.random.default_rng(5).uniform(0, 100, (68, 2))


def smoothed(frames: np.ndarray, rate: float = RATE) -> np.ndarray:
    smoother = OneEuro()
    return np.stack([smoother.smoothed(points, number / rate) for number, points in enumerate(frames)])


def test_a_face_at_rest_trembles_less() -> None:
    noise = np.random.default_rng(0).normal(0, 0.5, (100, 68, 2))
    still = smoothed(FACE + noise)[20:]
    assert np.diff(still, axis=0).std() < 0.4 * np.diff(noise, axis=0).std()
    assert np.abs(still.mean(axis=0) - FACE).max() < 0.6


def test_a_quick_movement_lags_by_less_than_a_frame() -> None:
    """Twice its size in a second: behind by less than what it moves from frame to frame."""
    way = np.arange(50)[:, None, None] * np.array((200 / RATE, 0))
    behind = (FACE + way - smoothed(FACE + way))[20:, :, 0]
    assert behind.min() >= 0 and behind.max() < 200 / RATE


def test_it_does_not_matter_how_large_a_face_is() -> None:
    moving = FACE + np.random.default_rng(1).normal(0, 1, (30, 68, 2)).cumsum(axis=0)
    np.testing.assert_allclose(smoothed(moving * 10), smoothed(moving) * 10, rtol=1e-9)


def test_another_shot_and_a_long_gap_begin_anew() -> None:
    cut = np.stack([FACE, FACE, FACE + np.array((400, 0))])
    np.testing.assert_array_equal(smoothed(cut)[2], cut[2])
    near = np.stack([FACE, FACE + 5])
    np.testing.assert_array_equal(smoothed(near, rate=1)[1], near[1])
    assert (np.abs(smoothed(near)[1] - near[1]) > 0.5).all()


def test_points_that_nobody_sees_are_left_alone() -> None:
    points = np.column_stack([FACE, np.ones(68)])
    unseen = points.copy()
    unseen[3] = 0, 0, 0
    result = smoothed(np.stack([points, unseen, points + np.array((3, 0, 0))]))
    np.testing.assert_array_equal(result[1, 3], (0, 0, 0))
    np.testing.assert_array_equal(result[2, 3, :2], points[3, :2] + (3, 0))
    np.testing.assert_array_equal(result[:, :, 2], np.stack([points, unseen, points])[:, :, 2])
    nobody = np.zeros((68, 3))
    np.testing.assert_array_equal(OneEuro().smoothed(nobody, 0.0), nobody)
