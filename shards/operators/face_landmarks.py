"""68 landmarks of faces on photographs, by MediaPipe."""

import numpy as np

from likeness.array import Array
from shards.operators.mediapipe_graph import Graph

MESH_OF_68: tuple[int, ...] = (
    127, 234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454, 356,  # jaw 0-16
    46, 53, 52, 65, 55,  # right brow 17-21
    285, 295, 282, 283, 276,  # left brow 22-26
    168, 197, 5, 4,  # nose bridge 27-30
    98, 97, 2, 326, 327,  # nose base 31-35
    33, 160, 158, 133, 153, 144,  # right eye 36-41
    362, 385, 387, 263, 373, 380,  # left eye 42-47
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips 48-59
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips 60-67
)  # fmt: skip
"""For each of the 68 landmarks, the point of MediaPipe's 468-point face mesh that stands for it.

"Right" and "left" are the person's own, so that right features lie on the left of the picture.
"""


class FaceLandmarks:
    """MediaPipe's face mesh, reduced to the 68-point scheme. Each picture is judged for itself.

    Raises BadInput when MediaPipe is not installed.
    """

    def __init__(self) -> None:
        self._graph = Graph(
            "face_landmark/face_landmark_front_cpu.binarypb",
            "multi_face_landmarks",
            {"num_faces": 1, "with_attention": False, "use_prev_landmarks": False},
        )

    def detect(self, image: Array) -> Array | None:
        """As `Detector.detect` in face_crops. Raises ValueError when the picture is not uint8 (H, W, 3)."""
        packet = self._graph.run(image)
        if packet is None:
            return None
        mesh = self._graph.getter.get_proto_list(packet)[0].landmark
        height, width = image.shape[:2]
        return np.array([(mesh[point].x * width, mesh[point].y * height) for point in MESH_OF_68])
