"""Pictures that a model gave, and the files that they become."""

import cv2
import numpy as np
import simplejpeg

from likeness.array import Array


def to_picture(image: Array) -> Array:
    """float (3, H, W) in [-1, 1] to the nearest uint8 (H, W, 3)."""
    picture: Array = ((image.transpose(1, 2, 0) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return picture


def encoded(picture: Array, format: str = "png", quality: int = 95) -> bytes:
    """The content of a file of uint8 (H, W, 3) RGB. format: png, jpg or webp. quality: 1 to 100; png has none."""
    if format == "jpg":
        # Full resolution of colours: reduced ones blur the edges of lips and eyes.
        return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality, "RGB", "444"))
    options = (cv2.IMWRITE_WEBP_QUALITY, quality) if format == "webp" else ()
    done, content = cv2.imencode(f".{format}", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise RuntimeError(f"OpenCV could not encode a picture of shape {picture.shape} as {format}")
    return content.tobytes()
