"""How a camera was held: the EXIF mark by which viewers, and `shards.media.pictures`, turn a photo upright.

A label map lies on the photo as it is shown, or on its pixels as they are stored: programs that annotate do either.
"""

import io
import struct
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from likeness.array import Array
from likeness.command import BadInput

DrawnOn = Literal["stored", "shown"]
"""What label maps were drawn on: a photo's pixels as they are stored, or as its mark has them shown."""
MARKS = {
    1: "upright",
    2: "mirrored",
    3: "turned by 180°",
    4: "mirrored and turned by 180°",
    5: "mirrored and turned by 90°",
    6: "turned by 90°",
    7: "mirrored and turned by 90°",
    8: "turned by 90°",
}
"""The values of the mark (EXIF 2.32, 4.6.5) in words."""
QUARTER = 5
"""From this mark on height and width change places."""
_ORIENTATION, _SHORT = 0x0112, 3
_LONGEST = 2**20
"""Bytes of EXIF data that are read; a damaged length may say gigabytes."""


def orientation_of(path: Path) -> int:
    """The mark of a picture file, see `orientation`. Raises BadInput when the file cannot be read."""
    try:
        with path.open("rb") as file:
            return _orientation(file)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error


def orientation(content: bytes) -> int:
    """The EXIF mark of a JPEG, PNG or WebP, 1 to 8; 1, upright, where there is none, or none that can be read."""
    return _orientation(io.BytesIO(content))


def turned(stored: Array, mark: int) -> Array:
    """The picture, (H, W) or (H, W, 3), that is shown for stored pixels with a mark."""
    picture = stored
    if mark >= QUARTER:
        picture = picture.swapaxes(0, 1)
    if mark in (3, 4, 7, 8):
        picture = picture[::-1]
    if mark in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)


def as_shown(
    label: Array, file: Path, photo: Path, size: tuple[int, int], drawn_on: DrawnOn | None, remedy: str
) -> Array:
    """A label map, (H, W) or (H, W, 3) as stored in `file`, on its photo as shown, which is of `size` (H, W).

    A label file with a mark of its own is turned by that. Else, where the photo's mark changes its size, the label's
    own size tells what it was drawn on; elsewhere drawn_on does.

    Raises BadInput naming both files when the sizes do not belong together, and, with `remedy`, when nothing tells.
    """
    own, mark = orientation_of(file), orientation_of(photo)
    if own != 1:
        label, drawn_on, mark = turned(label, own), "shown", 1
    if mark == 1:
        drawn_on = "shown"
    elif mark >= QUARTER and size[0] != size[1] and drawn_on is None and label.shape[:2] in (size, size[::-1]):
        drawn_on = "shown" if label.shape[:2] == size else "stored"
    expected = size[::-1] if mark >= QUARTER and drawn_on == "stored" else size
    if label.shape[:2] != expected:
        marked = f", as its EXIF mark has it {MARKS[mark]}" if mark != 1 else ""
        raise BadInput(
            f"{file} is {label.shape[1]}×{label.shape[0]} pixels, but its photo {size[1]}×{size[0]}{marked}; the two "
            "must have one size"
        )
    if drawn_on is None:
        raise BadInput(
            f"{photo} has an EXIF mark that has it {MARKS[mark]}, and its label map {file} may lie on the pixels as "
            f"stored or as shown; {remedy}"
        )
    return turned(label, mark) if drawn_on == "stored" else label


def _orientation(file: BinaryIO) -> int:
    head = file.read(12)
    try:
        if head.startswith(b"\xff\xd8"):
            exif = _of_jpeg(file)
        elif head.startswith(b"\x89PNG\r\n\x1a\n"):
            exif = _chunk(file, 8, ">I4s", b"eXIf", trailer=4)
        elif head.startswith(b"RIFF") and head.endswith(b"WEBP"):
            exif = _chunk(file, 12, "<4sI", b"EXIF", trailer=0)
        else:
            exif = b""
        return _in_tiff(exif.removeprefix(b"Exif\0\0"))
    except struct.error:
        # Cut off: whoever decodes the picture says so.
        return 1


def _of_jpeg(file: BinaryIO) -> bytes:
    file.seek(2)
    while True:
        fill, marker, length = struct.unpack(">BBH", file.read(4))
        if fill != 0xFF or marker in (0xDA, 0xD9) or length < 2:
            return b""
        if marker == 0xE1 and (data := file.read(length - 2)).startswith(b"Exif\0\0"):
            return data
        if marker != 0xE1:
            file.seek(length - 2, io.SEEK_CUR)


def _chunk(file: BinaryIO, start: int, header: str, wanted: bytes, trailer: int) -> bytes:
    """The first chunk of a name. header: of a chunk, name and length in either order; trailer: bytes behind its data,
    where WebP fills up to an even length."""
    file.seek(start)
    while True:
        fields = struct.unpack(header, file.read(8))
        length, name = fields if header.startswith(">") else fields[::-1]
        if name == wanted:
            return file.read(min(length, _LONGEST))
        file.seek(length + (trailer or length % 2), io.SEEK_CUR)


def _in_tiff(exif: bytes) -> int:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    (at,) = struct.unpack_from(f"{order}I", exif, 4)
    (count,) = struct.unpack_from(f"{order}H", exif, at)
    for entry in range(count):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, at + 2 + 12 * entry)
        if tag == _ORIENTATION and kind == _SHORT:
            return value if value in MARKS else 1
    return 1
