"""Body keypoints on photographs: MediaPipe's 33 points, reduced to OpenPose's 18."""

import numpy as np

from likeness.array import Array
from shards.operators.mediapipe_graph import Graph

POINTS_OF_18: tuple[tuple[int, ...], ...] = (
    (0,),  # nose
    (11, 12),  # neck: between the shoulders
    (12,), (14,), (16,),  # right shoulder, elbow, wrist
    (11,), (13,), (15,),  # left shoulder, elbow, wrist
    (24,), (26,), (28,),  # right hip, knee, ankle
    (23,), (25,), (27,),  # left hip, knee, ankle
    (5,), (2,), (8,), (7,),  # right eye, left eye, right ear, left ear
)  # fmt: skip
"""For each of OpenPose's 18 keypoints, the points of MediaPipe's body model whose mean it is.

"Right" and "left" are the person's own.
"""


class BodyPose:
    """MediaPipe's body model (the "full" one, which its package carries). Each picture is judged for itself.

    Raises BadInput when MediaPipe is not installed.
    """

    def __init__(self) -> None:
        settings = {"model_complexity": 1, "smooth_landmarks": False, "use_prev_landmarks": False}
        settings |= {"enable_segmentation": False, "smooth_segmentation": False}
        self._graph = Graph("pose_landmark/pose_landmark_cpu.binarypb", "pose_landmarks", settings)

    def detect(self, image: Array) -> Array | None:
        """The keypoints of the most certain body in uint8 (H, W, 3) RGB, or None where there is none.

        float (18, 3): x and y as fractions of width and height, and a confidence in [0, 1]; points outside the
        picture have confidence 0, as those that OpenPose does not find.
        """
        packet = self._graph.run(image)
        if packet is None:
            return None
        body = self._graph.getter.get_proto(packet).landmark
        points = np.array([(point.x, point.y, point.visibility) for point in body])
        keypoints = np.array(
            [(*points[list(of), :2].mean(axis=0), points[list(of), 2].min()) for of in POINTS_OF_18], np.float64
        )
        inside = ((keypoints[:, :2] > 0) & (keypoints[:, :2] < 1)).all(axis=1)
        keypoints[:, 2] = np.where(inside, keypoints[:, 2].clip(0, 1), 0)
        return keypoints
