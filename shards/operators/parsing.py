"""Class maps by any segmentation model in ONNX form, run through ONNX Runtime."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from likeness.onnx_runtime import REFUSED, one_line, start
from shards.labels import classes
from shards.media.boxes import nearest
from shards.records import LabelSchema

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEFAULT_SIDE = 512


@dataclass(frozen=True)
class Description:
    """What `MODEL.json` beside `MODEL.onnx` says; everything may be left out."""

    mean: tuple[float, ...] = IMAGENET_MEAN
    """What is subtracted from RGB values in [0, 1]; ImageNet's unless given."""
    std: tuple[float, ...] = IMAGENET_STD
    """What RGB values are divided by then; ImageNet's unless given."""
    size: tuple[int, int] | None = None
    """Height and width of the input, where the model leaves them open; unless given, the shorter side becomes 512."""
    ids: dict[int, int] | None = None
    """The model's class to the schema's id; unless given, they are equal."""
    void: int | None = None
    """The schema's id for classes that `ids` does not list; unless given, such a class is an error."""
    names: tuple[str, ...] = ()
    """The classes of the schema, with ids from 0; unless given, Cityscapes' 19 train classes, and 255 for void."""
    colours: tuple[tuple[int, int, int], ...] = ()
    """The palette of the schema, one RGB triple for each of `names`."""
    logits: bool = False
    """Of an edge network: whether it gives logits, of which the sigmoid is taken; unless given, it gives [0, 1]."""

    def schema(self, height: int, width: int) -> LabelSchema:
        """The label schema at a picture size: the description's own classes, or the standard ones."""
        if not self.names:
            return classes.schema(height, width)
        ids, names, colours = (*range(len(self.names)),), self.names, self.colours
        if self.void is not None and self.void not in ids:
            ids, names, colours = (*ids, self.void), (*names, "void"), (*colours, (0, 0, 0))
        return LabelSchema("classes", len(names), height, width, names, colours, ids, self.void)


def read_description(model: Path) -> Description:
    """The description beside a model. Raises BadInput naming the file when it is none."""
    path = model.with_suffix(".json")
    if not path.is_file():
        return Description()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        known = [field.name for field in fields(Description)]
        if unknown := set(data) - set(known):
            raise ValueError(f"unknown entry {min(unknown)!r}; known are {', '.join(known)}")
        description = Description(
            mean=tuple(float(value) for value in data.get("mean", IMAGENET_MEAN)),
            std=tuple(float(value) for value in data.get("std", IMAGENET_STD)),
            size=None if data.get("size") is None else (int(data["size"][0]), int(data["size"][1])),
            ids=None if data.get("ids") is None else {int(own): int(ours) for own, ours in data["ids"].items()},
            void=None if data.get("void") is None else int(data["void"]),
            names=tuple(str(name) for name in data.get("names", ())),
            colours=tuple((int(r), int(g), int(b)) for r, g, b in data.get("colours", ())),
            logits=bool(data.get("logits", False)),
        )
        names, colours = len(description.names), len(description.colours)
        if names != colours:
            raise ValueError(f"{names} names but {colours} colours; give one colour for each class")
        if len(description.mean) != 3 or len(description.std) != 3 or min(description.std) <= 0:
            raise ValueError("mean and std hold one number for each of red, green and blue; std is above 0")
        return description
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise BadInput(f"{path} does not describe a model: {error}") from error


class PictureModel:
    """An ONNX model with one RGB picture as its input: float32 (1, 3, H, W).

    Raises BadInput when the file is missing, broken, or takes something else.
    """

    def __init__(self, model: Path) -> None:
        self.path = model
        self.description = read_description(model)
        self._session = start(model, remedy="give an ONNX model that takes float32 (1, 3, H, W)")
        inputs = self._session.get_inputs()
        shape = list(inputs[0].shape) if len(inputs) == 1 else []
        fits = (len(shape) == 4 and shape[1] in (3, None)) or (len(shape) == 4 and isinstance(shape[1], str))
        if not fits or inputs[0].type != "tensor(float)":
            taken = ", ".join(f"{tensor.name} of {tensor.type} {tensor.shape}" for tensor in inputs)
            raise BadInput(f"{model} takes {taken}; give a model with one input, float32 (1, 3, H, W)")
        self._name = inputs[0].name
        self._fixed = tuple(side if isinstance(side, int) else None for side in shape[2:])

    def run(self, image: Array) -> Array:
        """The model's first output for a picture, uint8 (H, W, 3) RGB.

        Raises BadInput when the model cannot run, or gives values that are not finite.
        """
        height, width = self._size(image)
        shrinks = height <= image.shape[0] and width <= image.shape[1]
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        scaled = small.astype(np.float32) / np.float32(255)
        mean, std = (np.asarray(values, np.float32) for values in (self.description.mean, self.description.std))
        normal = (scaled - mean) / std
        try:
            output: Array = self._session.run(None, {self._name: normal.transpose(2, 0, 1)[None]})[0]
        except REFUSED as error:
            raise BadInput(f"{self.path} cannot run a picture of {width}×{height}: {one_line(str(error))}") from error
        if not np.isfinite(output).all():
            raise BadInput(f"{self.path} gave values that are not finite; use another model")
        return output

    def _size(self, image: Array) -> tuple[int, int]:
        height, width = self._fixed
        if height is not None and width is not None:
            return height, width
        if self.description.size is not None:
            return self.description.size
        scale = DEFAULT_SIDE / min(image.shape[:2])
        # Multiples of 32 suit networks that halve a picture five times.
        high, wide = (max(32, round(side * scale / 32) * 32) for side in image.shape[:2])
        return high, wide


class Parser:
    """A segmentation model whose classes are those of a label schema.

    It gives logits, (1, classes, h, w), or ids, (1, h, w) or (1, 1, h, w). Raises BadInput as PictureModel does.
    """

    def __init__(self, model: Path, schema: LabelSchema) -> None:
        self._model, self._schema = PictureModel(model), schema

    def ids(self, image: Array) -> Array:
        """The classes of a picture, uint8 (H, W, 3) RGB: uint8 ids of the schema, at the schema's size.

        Raises BadInput naming model and class when it gives one that is not in the schema.
        """
        schema, model = self._schema, self._model
        output = model.run(image)
        to = (schema.width, schema.height)
        if output.ndim == 4 and output.shape[1] > 1:
            # Class by class: OpenCV resizes at most four channels at once by this way of enlarging.
            best = np.full((schema.height, schema.width), -np.inf, np.float32)
            own = np.zeros((schema.height, schema.width), np.int64)
            for number, plane in enumerate(output[0].astype(np.float32)):
                scores = cv2.resize(plane, to, interpolation=cv2.INTER_LINEAR)
                better = scores > best
                best[better], own[better] = scores[better], number
        elif output.size == output.shape[-1] * output.shape[-2] and output.dtype.kind in "iu":
            plane = output.reshape(output.shape[-2:]).astype(np.int32)
            own = nearest(plane, schema.height, schema.width).astype(np.int64)
        else:
            raise BadInput(
                f"{model.path} gives {output.dtype} {output.shape}; a segmentation model gives logits (1, classes, h, "
                "w) or whole-number ids (1, h, w)"
            )
        return classes.checked(schema, self._mapped(own), str(model.path))

    def _mapped(self, own: Array) -> Array:
        described = self._model.description
        if described.ids is None:
            return own
        ids = np.full(own.shape, -1 if described.void is None else described.void, np.int64)
        for theirs, ours in described.ids.items():
            ids[own == theirs] = ours
        if (ids < 0).any():
            raise BadInput(
                f"{self._model.path} found its class {int(own[ids < 0][0])}, which {self._model.path.stem}.json does "
                "not map; add it to ids, or give void"
            )
        return ids
