"""Picture and label files of people, and their way to and from tensors."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg

from shards import atomic, labels
from shards.command import BadInput
from shards.records import Frame, LabelSchema

Array = np.ndarray[Any, Any]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
FARTHEST = 512
"""Landmarks may lie this far outside the 512×512 frame: what a cropped face needs, and no more."""


def read_photo(path: Path, schema: LabelSchema) -> Array:
    """A PNG or JPEG file as uint8 (H, W, 3) RGB; a camera's rotation mark is obeyed, transparency dropped.

    Raises BadInput when it is missing, broken, or not of the schema's size.
    """
    content = _read(path)
    try:
        if content.startswith(PNG_SIGNATURE):
            _png_chunks(content)
        elif content.startswith(b"\xff\xd8"):
            # OpenCV paints the missing part of a file that was cut off grey, without a word.
            simplejpeg.decode_jpeg(content)
        else:
            raise ValueError("neither PNG nor JPEG")
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise ValueError("its pixels cannot be decoded")
    except (ValueError, cv2.error) as error:
        raise BadInput(f"{path} is no readable picture ({error}); give a whole PNG or JPEG file") from error
    height, width = picture.shape[:2]
    if (height, width) != (schema.height, schema.width):
        raise BadInput(
            f"{path} is {width}×{height} pixels, but the model takes {schema.width}×{schema.height}; crop or resize it"
        )
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def read_label(path: Path, schema: LabelSchema) -> Array:
    """A label file as a loaded label map: uint8 (C, H, W), or (H, W) ids for `classes`.

    `sketch`: JSON, 68 [x, y] in a 512×512 frame laid over the picture, either bare or as {"landmarks": …}.
    `pose`: JSON, 18 [x, y, confidence], x and y as fractions of the picture's sides, bare or as {"keypoints": …}.
    `classes`: a grey PNG whose values are class ids, or a palette PNG whose indices are.
    Raises BadInput naming the file, the first value that is wrong, and what is expected.
    """
    if schema.kind == "classes":
        try:
            ids = _png_ids(_read(path))
        except ValueError as error:
            raise BadInput(f"{path} is no label picture ({error}); give an 8-bit grey or palette PNG of ids") from error
        return labels.classes.checked(schema, ids, str(path))
    name, count, width = {"sketch": ("landmarks", 68, 2), "pose": ("keypoints", 18, 3)}[schema.kind]
    try:
        data = json.loads(_read(path))
        points = np.asarray(data[name] if isinstance(data, dict) else data, np.float64)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BadInput(
            f"{path} is no JSON file of {name} ({error!r}); give {count} lists of {width} numbers"
        ) from error
    if points.shape != (count, width):
        raise BadInput(f"{path} holds {name} of shape {points.shape}; give {count} lists of {width} numbers")
    margin = FARTHEST if schema.kind == "sketch" else 1
    low, high = -margin, (512 if schema.kind == "sketch" else 1) + margin
    fits = ((points[:, :2] >= low) & (points[:, :2] <= high) & np.isfinite(points[:, -1:])).all(axis=1)
    if not fits.all():
        first = int(np.argmin(fits))
        unit = "a 512×512 frame" if schema.kind == "sketch" else "fractions of the picture's sides"
        raise BadInput(f"{path}: {name}[{first}] is {points[first].tolist()}; x and y are in {unit}")
    if schema.kind == "sketch":
        frame = Frame(str(path), 0, 0.0, "", landmarks=tuple((int(x), int(y)) for x, y in points))
    else:
        frame = Frame(str(path), 0, 0.0, "", keypoints=tuple((float(x), float(y), float(c)) for x, y, c in points))
    return labels.load(schema, frame)


def to_tensor(photo: Array) -> Array:
    """uint8 (H, W, 3) to float32 (3, H, W) in [-1, 1]: (v/255 - 0.5)/0.5."""
    scaled: Array = photo.transpose(2, 0, 1).astype(np.float32) / np.float32(127.5) - np.float32(1)
    return scaled


def to_picture(image: Array) -> Array:
    """float (3, H, W) in [-1, 1] to the nearest uint8 (H, W, 3)."""
    picture: Array = ((image.transpose(1, 2, 0) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return picture


def write_png(path: Path, picture: Array) -> None:
    """Writes uint8 (H, W, 3) RGB to `path`, whole or not at all."""
    done, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise RuntimeError(f"OpenCV could not encode {path}")
    atomic.write_bytes(path, content.tobytes())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error


def _png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """(type, data) of every chunk. Raises ValueError when the file is cut off or a checksum is wrong."""
    if not content.startswith(PNG_SIGNATURE):
        raise ValueError("not a PNG file")
    chunks: list[tuple[bytes, bytes]] = []
    at = len(PNG_SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        if len(content) < at + 12:
            raise ValueError("the PNG file ends early")
        length = int.from_bytes(content[at : at + 4], "big")
        end = at + 8 + length
        kind, data, checksum = content[at + 4 : at + 8], content[at + 8 : end], content[end : end + 4]
        if len(checksum) < 4:
            raise ValueError("the PNG file ends early")
        if zlib.crc32(kind + data) != int.from_bytes(checksum, "big"):
            raise ValueError(f"the checksum of its {kind.decode('ascii', 'replace')} chunk is wrong")
        chunks.append((kind, data))
        at = end + 4
    if chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise ValueError("the PNG file has no header")
    return chunks


def _png_ids(content: bytes) -> Array:
    """The stored values of a grey or palette PNG: (H, W) whole numbers. Raises ValueError for any other file."""
    chunks = _png_chunks(content)
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    if colour not in (_GREY, _PALETTE):
        raise ValueError("it is a colour picture; ids are one number per pixel")
    # Decoders turn a palette's indices into colours. Called grey and rid of its palette, the same file gives indices.
    chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, _GREY, *rest))
    grey = PNG_SIGNATURE + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in chunks
        if kind in (b"IHDR", b"IDAT", b"IEND")
    )
    ids = cv2.imdecode(np.frombuffer(grey, np.uint8), cv2.IMREAD_UNCHANGED)
    if ids is None or ids.ndim != 2:
        raise ValueError("its pixels cannot be decoded")
    # Fewer than 8 bits per value are stretched to 0…255 by the decoder.
    return ids // (255 // (2**depth - 1)) if depth < 8 else ids
