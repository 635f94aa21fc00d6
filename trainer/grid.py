"""Sample grids: label map, exemplar, our picture and the target, on fixed held-out samples."""

import cv2
import numpy as np
import torch
from torch import Tensor

from likeness.array import Array
from shards import labels
from shards.inputs import EXEMPLAR
from shards.reading.stream import Loaded
from shards.records import LabelSchema
from trainer.batches import to_device
from trainer.method import Synthesizer

CELL = 128


def picture(image: Tensor) -> Array:
    """(3, H, W) in [-1, 1] to uint8 (H, W, 3) RGB."""
    channels_last = image.detach().float().cpu().permute(1, 2, 0).numpy()
    return np.clip(np.rint((channels_last + 1) * 127.5), 0, 255).astype(np.uint8)


def enlarge(image: Array, least: int = CELL) -> Array:
    """Scales a picture up by a whole factor, so that it is at least `least` pixels high."""
    factor = max(1, -(-least // image.shape[0]))
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)


def sample_grid(synthesizer: Synthesizer, loaded: Loaded, schema: LabelSchema, device: torch.device) -> Array:
    """One row per sample: label map | exemplar | our picture | target. uint8 (rows·h, 4·w, 3)."""
    ours = synthesizer.paint(to_device(loaded, schema, device))
    exemplars = EXEMPLAR.of(loaded)
    rows = []
    for index in range(len(loaded.keys)):
        cells = [labels.picture(schema, loaded.labels["target"][index].numpy())]
        if exemplars is not None:
            cells.append(exemplars[index].numpy())
        cells += [picture(ours[index]), loaded.photos["target"][index].numpy()]
        rows.append(np.concatenate([enlarge(cell) for cell in cells], axis=1))
    return np.concatenate(rows, axis=0)
