"""Pictures in and out, judged by Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from shards.media.pictures import decode_picture, encode_picture

STRIPES = np.zeros((16, 48, 3), np.uint8)
STRIPES[:, :16] = (250, 20, 60)
STRIPES[:, 16:32] = (20, 200, 90)
STRIPES[:, 32:] = (30, 70, 220)
WITHIN = (slice(4, 12), (8, 24, 40))
"""Away from edges, at which WebP blurs colours."""


@pytest.mark.parametrize(("format", "most"), [("png", 0), ("jpg", 6), ("webp", 12)])
def test_colours_keep_their_order(format: str, most: int) -> None:
    """Red is red to other programs, and theirs to us; most: what the format loses, of 255."""
    content = encode_picture(STRIPES, format)
    seen = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert np.abs(seen - STRIPES)[WITHIN].max() <= most
    written = io.BytesIO()
    Image.fromarray(STRIPES).save(written, {"jpg": "jpeg"}.get(format, format), quality=95, subsampling=0)
    ours = decode_picture(written.getvalue(), "stripes").astype(int)
    assert np.abs(ours - STRIPES)[WITHIN].max() <= most
