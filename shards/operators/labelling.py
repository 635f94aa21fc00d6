"""How photos are labelled, and what a labelled photo is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from likeness.array import Array
from shards.media.boxes import Box
from shards.media.orientation import DrawnOn
from shards.operators.face_crops import ANY_FACE, Demands
from shards.records import Frame, LabelSchema


@dataclass(frozen=True)
class Photo:
    """A photo with what its label is made of."""

    frame: Frame
    """Where it comes from, and the points that its label is drawn from."""
    image: Array
    """uint8 (H, W, 3), RGB, at the schema's size."""
    label_picture: Array | None
    """What the label picture holds, None where there is none: uint8 (H, W), or (H, W, 3) where the kind has colours."""
    instances: Array | None = None
    """uint16 (H, W), the instance map where the labelling takes them."""


@dataclass(frozen=True)
class Labelling:
    """How photos are labelled."""

    operator: str
    """One of OPERATORS."""
    schema: LabelSchema
    """Of the labels, and by its size of the photos."""
    every: int = 1
    """Keep every n-th frame of a video."""
    of_raw: Mapping[int, int] | None = None
    """For `given`, the publisher's class id to the schema's."""
    predictor: Path | None = None
    """dlib's 68-point predictor; None for the one that is installed, `mediapipe` for MediaPipe."""
    openpose: Path | None = None
    """Folder of OpenPose's keypoint files, None to detect poses."""
    densepose: Path | None = None
    """Folder of DensePose's IUV pictures, None for poses without them."""
    parser: Path | None = None
    """An ONNX segmentation model."""
    edges: Path | None = None
    """An ONNX edge network, None for Canny's detector."""
    timeout_s: float | None = 1800.0
    """Seconds that one video may take, with all that is done to its frames meanwhile; None for no limit."""
    labels_drawn_on: DrawnOn | None = None
    """What label pictures beside photos were drawn on, where a photo has an EXIF mark; None where sizes are to tell."""
    demands: Demands = ANY_FACE
    """Which faces are used."""
    smooth: bool = False
    """Smooth the points of a video's frames, see `shards.operators.smoothing`."""
    shots: bool = False
    """Give each place that a video shows between its cuts a style of its own, see `shards.operators.shots`."""
    instances: bool = False
    """Take the instance maps that lie beside label pictures (`given`, and `worlds` of class maps); every photo must
    have one."""


@dataclass(frozen=True)
class Found:
    """What an operator has found in a photo, before it is cut."""

    points: Array
    """(N, 2) or (N, 3): x and y in the photo's pixels, and a confidence."""
    box: Box | None
    """The part of the photo to show, where all frames of a video have a say in it."""


@dataclass(frozen=True)
class Labelled:
    """What an operator makes of a picture."""

    image: Array
    """The picture itself, maybe cropped: uint8 (h, w, 3) RGB."""
    landmarks: tuple[tuple[int, int], ...] | None = None
    """See `Frame`."""
    keypoints: tuple[tuple[float, float, float], ...] | None = None
    """See `Frame`."""
    label_picture: Array | None = None
    """At the schema's size; None where the points are all."""
    instances: Array | None = None
    """uint16, at the schema's size."""
    outside: float = 0.0
    """Share of the picture that lies outside the photo, in [0, 1]."""
