"""What a model paints, as pictures."""

import numpy as np

from likeness.array import Array


def to_picture(image: Array) -> Array:
    """float (3, H, W) in [-1, 1] to the nearest uint8 (H, W, 3)."""
    picture: Array = ((image.transpose(1, 2, 0) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return picture
