"""Edges of photos, by Canny's detector or by a network in ONNX form: labels that any photo has."""

from pathlib import Path

import cv2
import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.records import LabelSchema

SPREAD = 0.33
"""How far below and above the median grey value the two thresholds lie, as a share of it."""
UPPER = (40.0, 160.0)
"""Bounds of the upper threshold: nearly black pictures have noise but no edges, nearly white ones have soft edges."""


def canny(image: Array) -> Array:
    """The edges of a photo, uint8 (H, W, 3) RGB: uint8 (H, W), 255 on an edge and 0 elsewhere.

    Canny (PAMI 1986), as OpenCV has it: a Gaussian of 5×5 pixels, Sobel gradients, and edges one pixel thin that
    reach the upper threshold somewhere and the lower one everywhere. The thresholds follow the brightness of the
    picture, 0.67 and 1.33 times its median grey value (within bounds), so that photos taken at dusk have edges, too.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (5, 5), 0)
    median = float(np.median(grey))
    upper = float(np.clip((1 + SPREAD) * median, *UPPER))
    return cv2.Canny(grey, upper * (1 - SPREAD) / (1 + SPREAD), upper, L2gradient=True)


class EdgeNetwork:
    """A network that gives the strength of an edge at every pixel, such as HED (Xie and Tu, ICCV 2015).

    model: an ONNX file with one input, float32 (1, 3, H, W) RGB, whose first output is (1, 1, h, w) or (1, h, w), in
    [0, 1], or logits where its description says so (see `shards.operators.parsing.Description`).
    Raises BadInput when it is missing, broken, or takes something else.
    """

    def __init__(self, model: Path, schema: LabelSchema) -> None:
        # ONNX Runtime is loaded by those who have a model.
        from shards.operators.parsing import PictureModel

        self._model, self._schema = PictureModel(model), schema

    def edges(self, image: Array) -> Array:
        """The edges of a photo, uint8 (H, W, 3) RGB: uint8 at the schema's size, 255 for the strongest edge.

        Raises BadInput when the model gives anything but one value in [0, 1] per pixel.
        """
        model, output = self._model, self._model.run(image)
        if output.size != output.shape[-1] * output.shape[-2] or output.dtype.kind != "f":
            raise BadInput(
                f"{model.path} gives {output.dtype} {output.shape}; an edge network gives float (1, 1, h, w)"
            )
        plane = output.reshape(output.shape[-2:]).astype(np.float32)
        if model.description.logits:
            plane = 1 / (1 + np.exp(-plane.clip(-80, 80)))
        low, high = float(plane.min()), float(plane.max())
        if low < -1e-3 or high > 1 + 1e-3:
            raise BadInput(
                f"{model.path} gives values from {low:g} to {high:g}, not from 0 to 1; if these are logits, write "
                f'{{"logits": true}} into {model.path.stem}.json beside it'
            )
        strength = cv2.resize(plane, (self._schema.width, self._schema.height), interpolation=cv2.INTER_LINEAR)
        edges: Array = (strength * 255).round().clip(0, 255).astype(np.uint8)
        return edges
