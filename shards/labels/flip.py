"""Mirroring a frame's geometry: left and right change places, not only the coordinates."""

from dataclasses import replace

from shards.labels.sketch import FRAME
from shards.records import Frame


def _mirrored_landmarks() -> tuple[int, ...]:
    """For each of the 68 points, the point on the other side of the face."""
    pairs = [(i, 16 - i) for i in range(8)] + [(17 + i, 26 - i) for i in range(5)]
    pairs += [(31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (59, 55), (58, 56), (60, 64), (61, 63), (67, 65)]
    order = list(range(68))
    for left, right in pairs:
        order[left], order[right] = right, left
    return tuple(order)


LANDMARKS = _mirrored_landmarks()
KEYPOINTS = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)
"""OpenPose's 18 keypoints: shoulders, elbows, wrists, hips, knees, ankles, eyes and ears change sides."""


def flip_frame(frame: Frame) -> Frame:
    """The frame whose landmarks and keypoints belong to the mirrored photo (specification 5.7)."""
    landmarks, keypoints = frame.landmarks, frame.keypoints
    if landmarks is not None:
        landmarks = tuple((FRAME - 1 - landmarks[i][0], landmarks[i][1]) for i in LANDMARKS)
    if keypoints is not None:
        keypoints = tuple((1.0 - keypoints[i][0], keypoints[i][1], keypoints[i][2]) for i in KEYPOINTS)
    return replace(frame, landmarks=landmarks, keypoints=keypoints)
