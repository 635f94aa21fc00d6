"""The label operator for photographs of faces: 68 landmarks, and the crop around them (specification 5.4)."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from shards.command import BadInput

Array = np.ndarray[Any, Any]

CROP = 512
LEAST_SYMMETRY = 0.7
LEAST_SIDE = 128
Rejection = Literal["no face", "side face", "crop leaves the picture", "face too small", "no face in the crop"]

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


class Detector(Protocol):
    """Finds the landmarks of one face."""

    def detect(self, image: Array) -> Array | None:
        """(68, 2) float pixel coordinates (x, y) of the most certain face in an RGB uint8 (H, W, 3), or None."""
        ...


class FaceLandmarks:
    """MediaPipe's face mesh, reduced to the 68-point scheme. Each picture is judged for itself.

    The graph is run directly: MediaPipe's own FaceMesh class needs a protobuf older than the one that
    ONNX and MLflow need.

    Raises BadInput when MediaPipe is not installed.
    """

    def __init__(self) -> None:
        with _quiet():
            try:
                import mediapipe
                from mediapipe.python import packet_creator, packet_getter
                from mediapipe.python._framework_bindings import calculator_graph, image_frame, resource_util
            except ImportError as error:
                raise BadInput(
                    f"landmarks on photographs need MediaPipe, which is not here ({error}); run `make install`, or "
                    "`pip install --no-deps -r requirements-faces.txt` with Python 3.11 or 3.12"
                ) from error
            package = Path(mediapipe.__file__).parent
            resource_util.set_resource_dir(str(package.parent))
            self._create, self._get = packet_creator, packet_getter
            self._format = image_frame.ImageFormat.SRGB
            self._graph = calculator_graph.CalculatorGraph(
                binary_graph_path=str(package / "modules/face_landmark/face_landmark_front_cpu.binarypb")
            )
            self._found: list[Any] = []
            self._graph.observe_output_stream("multi_face_landmarks", lambda _, packet: self._found.append(packet))
            self._graph.start_run(
                {
                    "num_faces": packet_creator.create_int(1),
                    "with_attention": packet_creator.create_bool(False),
                    "use_prev_landmarks": packet_creator.create_bool(False),
                }
            )
            self._clock, self._seasoned = 0, False
            self.detect(np.zeros((LEAST_SIDE, LEAST_SIDE, 3), np.uint8))

    def detect(self, image: Array) -> Array | None:
        """As `Detector.detect`. Raises ValueError when the picture is not uint8 (H, W, 3)."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"faces are looked for in uint8 (H, W, 3), not in {image.dtype} {image.shape}")
        self._found.clear()
        self._clock += 1
        packet = self._create.create_image_frame(image_format=self._format, data=np.ascontiguousarray(image))
        # The graph's later stages greet the first face with a warning.
        with nullcontext() if self._seasoned else _quiet():
            self._graph.add_packet_to_input_stream(stream="image", packet=packet.at(self._clock))
            self._graph.wait_until_idle()
        if not self._found or self._found[0].is_empty():
            return None
        self._seasoned = True
        mesh = self._get.get_proto_list(self._found[0])[0].landmark
        height, width = image.shape[:2]
        return np.array([(mesh[point].x * width, mesh[point].y * height) for point in MESH_OF_68])


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds back what native code writes to stderr while MediaPipe starts; shows it when starting fails."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    kept = os.dup(2)
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), 2)
        try:
            yield
        except BadInput:
            raise
        except BaseException:
            noise.seek(0)
            os.write(kept, noise.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@dataclass(frozen=True)
class Face:
    """A face cut out: the crop, uint8 (512, 512, 3) RGB, and its 68 landmarks, (68, 2) integers in that crop."""

    crop: Array
    landmarks: Array


def symmetry(landmarks: Array) -> float:
    """How frontal a face is: 1 when jaw point 8 lies midway between jaw points 1 and 15, 0 for a profile.

    r = |x8 - x1| / |x8 - x15|, or its inverse where that is smaller; 0 where a denominator would be 0.
    """
    right, chin, left = (float(x) for x in landmarks[[1, 8, 15], 0])
    sides = sorted((abs(chin - right), abs(chin - left)))
    return sides[0] / sides[1] if sides[0] else 0.0


def crop_box(landmarks: Array) -> tuple[int, int, int, int]:
    """Rows [top, bottom) and columns [left, right) of the crop: (top, bottom, left, right), in pixels.

    Twice the height h and the width of the landmarks' bounding box, moved up by 0.2 h.
    """
    (left, top), (right, bottom) = landmarks.min(axis=0), landmarks.max(axis=0)
    height, width = bottom - top, right - left
    shift = 0.2 * height
    return (
        round(float(top - height / 2 - shift)),
        round(float(bottom + height / 2 - shift)),
        round(float(left - width / 2)),
        round(float(right + width / 2)),
    )


def crop_face(image: Array, detector: Detector) -> Face | Rejection:
    """Cuts the face out of a photograph, or says why it cannot be used.

    image: uint8 (H, W, 3), RGB. The crop is resized to 512×512 whatever its aspect ratio, and the landmarks
    are detected again in it.
    """
    landmarks = detector.detect(image)
    if landmarks is None:
        return "no face"
    landmarks = landmarks.round()
    if symmetry(landmarks) < LEAST_SYMMETRY:
        return "side face"
    top, bottom, left, right = crop_box(landmarks)
    if top < 0 or left < 0 or bottom > image.shape[0] or right > image.shape[1]:
        return "crop leaves the picture"
    if min(bottom - top, right - left) < LEAST_SIDE:
        return "face too small"
    crop = image[top:bottom, left:right]
    shrinks = min(crop.shape[:2]) >= CROP
    crop = cv2.resize(crop, (CROP, CROP), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    again = detector.detect(crop)
    if again is None:
        return "no face in the crop"
    return Face(crop, again.round().astype(np.int64))
