"""Picture files and label files, read as people have them and written: JPEG, PNG, WebP, and PNG files of class ids."""

import base64
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from likeness.array import Array
from likeness.command import BadInput
from shards.media import png_data

PNG_SIGNATURE = png_data.SIGNATURE
JPEG_SIGNATURE = b"\xff\xd8"
_GREY, _PALETTE, _GREY_ALPHA = 0, 3, 4
PNG_HEADER_BYTES = 26
"""How much of a PNG file `png_header` needs."""
LARGEST_ID = 255
"""Of a class: ids are kept in 8 bits."""
MOST_PIXELS = 2**27
"""Of any picture: 134 million, which take 400 MB as RGB."""
LARGEST_FILE = 2**30
"""Bytes of any file that is read into memory as a whole."""
_MOST_SCANS = 100
"""Of a progressive JPEG; encoders write about ten, and each is a walk over all pixels."""


def read_picture(path: Path, obey_mark: bool = True) -> Array:
    """A PNG, JPEG or WebP file as uint8 (H, W, 3) RGB, transparency dropped; a camera's rotation mark is obeyed.

    obey_mark: False for the pixels as they are stored. Raises BadInput when it is missing, broken or cut off.
    """
    return decode_picture(read_bytes(path), str(path), obey_mark)


def decode_picture(content: bytes, name: str, obey_mark: bool = True) -> Array:
    """What `read_picture` gives, of a file's content. name: what messages call it. Raises BadInput as it does."""
    try:
        chunks = _checked(content, name)
        if chunks:
            content = png_data.without_unseen(content, chunks)
        elif is_jpeg(content):
            # OpenCV paints the missing part of a file that was cut off grey, without a word.
            simplejpeg.decode_jpeg(content)
        flags = cv2.IMREAD_COLOR if obey_mark else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        if picture is None:
            raise ValueError("its pixels cannot be decoded")
    except BadInput:
        raise
    except (ValueError, cv2.error) as error:
        raise BadInput(f"{name} is no readable picture ({error}); give a whole PNG or JPEG file") from error
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def check_picture(content: bytes, name: str) -> None:
    """Refuses a picture that is small as a file and huge when it is decoded; decodes no pixels.

    By its header: more than `MOST_PIXELS`. By its data: more than a PNG's header promises, very many scans of a JPEG.
    Other formats than PNG, JPEG and WebP are refused: of several frames or sizes, a header tells only the first.

    name: what messages call it. Raises BadInput with the reason.
    """
    try:
        _checked(content, name)
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput(f"{name} is no readable picture ({error}); give a whole PNG or JPEG file") from error


def _checked(content: bytes, name: str) -> png_data.Chunks:
    """The chunks of a PNG, of another file nothing.

    Raises BadInput for a picture that is too large, and ValueError for anything else that `check_picture` refuses.
    """
    chunks: png_data.Chunks = []
    if is_png(content):
        chunks = png_data.chunks_of(content)
    elif not is_jpeg(content) and not _is_webp(content):
        raise ValueError("neither PNG, JPEG nor WebP")
    width, height = stored_size(content) or (0, 0)
    if not width or not height:
        raise ValueError("its header is damaged")
    if width * height > MOST_PIXELS:
        raise BadInput(f"{name} is {width}×{height} pixels, more than {MOST_PIXELS:,}; make it smaller")
    if chunks:
        png_data.check_image_data(chunks)
    elif is_jpeg(content) and content.count(b"\xff\xda") > _MOST_SCANS:
        raise ValueError(f"it has more than {_MOST_SCANS} scans")
    return chunks


def encode_picture(picture: Array, format: str = "png", quality: int = 95) -> bytes:
    """The content of a picture file; equal arguments give equal bytes.

    picture: uint8 (H, W, 3) RGB, or, for a PNG of ids or instance numbers, uint8 or uint16 (H, W). format: `png`, `jpg`
    or `webp`. quality: 1 to 100; PNG has none.
    """
    if format == "jpg":
        # Full resolution of colours: reduced ones blur the edges of lips and eyes.
        return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality, "RGB", "444"))
    options = (cv2.IMWRITE_WEBP_QUALITY, quality) if format == "webp" else ()
    stored = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    encoded, content = cv2.imencode(f".{format}", stored, options)
    if not encoded:
        raise ValueError(f"OpenCV could not encode a picture of shape {picture.shape} as {format}")
    return content.tobytes()


def data_url(picture: Array) -> str:
    """A picture, uint8 (H, W, 3) RGB, as the URL of a PNG that holds all of it: for pages without files beside them."""
    return "data:image/png;base64," + base64.b64encode(encode_picture(picture)).decode()


def read_ids(path: Path) -> Array:
    """A grey PNG whose values are class ids, or a palette PNG whose indices are: uint8 (H, W).

    Values are taken as they are stored, whether in 1, 2, 4, 8 or 16 bits. Raises BadInput when the file is missing,
    broken, of another kind, or holds an id above 255.
    """
    return decode_ids(read_bytes(path), str(path))


def decode_ids(content: bytes, name: str) -> Array:
    """What `read_ids` gives, of a file's content. name: what messages call it. Raises BadInput as it does."""
    try:
        ids = _png_ids(_checked(content, name))
    except BadInput:
        raise
    except (ValueError, cv2.error) as error:
        raise BadInput(f"{name} is no label picture ({error}); give an 8-bit grey or palette PNG of ids") from error
    if ids.max(initial=0) > LARGEST_ID:
        row, column = (int(value) for value in np.argwhere(ids > LARGEST_ID)[0])
        raise BadInput(
            f"{name} holds the id {int(ids[row, column])} at row {row}, column {column}, but class ids are 0 to "
            f"{LARGEST_ID}; number the classes anew"
        )
    return ids.astype(np.uint8)


def read_instances(path: Path) -> Array:
    """A grey PNG of 16 or 8 bits whose values are instance numbers: uint16 (H, W).

    Raises BadInput when it is missing, broken or another kind of file.
    """
    return decode_instances(read_bytes(path), str(path))


def decode_instances(content: bytes, name: str) -> Array:
    """What `read_instances` gives, of a file's content. name: what messages call it. Raises BadInput as it does."""
    try:
        return _png_ids(_checked(content, name)).astype(np.uint16)
    except BadInput:
        raise
    except (ValueError, cv2.error) as error:
        raise BadInput(
            f"{name} is no instance map ({error}); give a grey PNG of 16 or 8 bits with a number per pixel"
        ) from error


def is_png(content: bytes) -> bool:
    """Whether a file begins as PNG files do."""
    return content.startswith(PNG_SIGNATURE)


def is_jpeg(content: bytes) -> bool:
    """Whether a file begins as JPEG files do."""
    return content.startswith(JPEG_SIGNATURE)


@dataclass(frozen=True)
class PngHeader:
    """What a PNG states of itself."""

    width: int
    """In pixels."""
    height: int
    """In pixels."""
    depth: int
    """Bits of each value: of a colour, or of an index of the palette."""
    colour_type: int
    """0 for grey, 2 for RGB, 3 for a palette, 4 and 6 for grey and RGB with transparency."""


def png_header(content: bytes) -> PngHeader | None:
    """The header of a PNG, from the file's first 26 bytes; None where they are not those of a PNG."""
    start = len(PNG_SIGNATURE)
    if not is_png(content) or len(content) < PNG_HEADER_BYTES or content[start + 4 : start + 8] != b"IHDR":
        return None
    return PngHeader(*struct.unpack(">IIBB", content[start + 8 : PNG_HEADER_BYTES]))


def stored_size(content: bytes) -> tuple[int, int] | None:
    """(width, height) that a PNG, JPEG or WebP states in its header, before a camera's rotation; no pixel is decoded.

    None for any other file, and where the header is damaged.
    """
    if is_png(content):
        header = png_header(content)
        return None if header is None else (header.width, header.height)
    if not is_jpeg(content):
        return _webp_size(content) if _is_webp(content) else None
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(content, strict=False)
    except (KeyError, ValueError):  # it looks up codes that libjpeg-turbo gives back of what it could not read
        return None
    return width, height


def read_bytes(path: Path) -> bytes:
    """Raises BadInput when the file cannot be read, or holds more than `LARGEST_FILE`."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            # Devices and pipes tell no size, and may never end.
            endless = not stat.S_ISREG(status.st_mode)
            large = status.st_size > LARGEST_FILE
            content = b"" if large else file.read(LARGEST_FILE + 1 if endless else -1)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    if large or len(content) > LARGEST_FILE:
        raise BadInput(f"{path} holds more than {LARGEST_FILE / 2**20:,.0f} MiB; give a smaller file")
    return content


def _is_webp(content: bytes) -> bool:
    return content.startswith(b"RIFF") and content[8:12] == b"WEBP"


def _webp_size(content: bytes) -> tuple[int, int] | None:
    """(width, height) of a WebP's canvas, which is that of its picture or of all its frames."""
    kind, at = content[12:16], 20
    if len(content) < at + 10:
        return None
    if kind == b"VP8X":
        width, height = (int.from_bytes(content[start : start + 3], "little") + 1 for start in (at + 4, at + 7))
        return width, height
    if kind == b"VP8L":
        bits = int.from_bytes(content[at + 1 : at + 5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, at + 6)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _png_ids(chunks: png_data.Chunks) -> Array:
    """The stored values of a grey or palette PNG: (H, W) whole numbers. Raises ValueError for any other file."""
    if not chunks:
        raise ValueError("not a PNG file")
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    if colour not in (_GREY, _PALETTE):
        what = "grey with transparency" if colour == _GREY_ALPHA else "a colour picture"
        raise ValueError(f"it is {what}; ids are one number per pixel")
    # Decoders turn a palette's indices into colours. Called grey and rid of its palette, the same file gives indices.
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, _GREY, *rest))
    grey = png_data.file_of([header, *(chunk for chunk in chunks[1:] if chunk[0] in (b"IDAT", b"IEND"))])
    ids = cv2.imdecode(np.frombuffer(grey, np.uint8), cv2.IMREAD_UNCHANGED)
    if ids is None or ids.ndim != 2:
        raise ValueError("its pixels cannot be decoded")
    # Fewer than 8 bits per value are stretched to 0…255 by the decoder.
    return ids // (255 // (2**depth - 1)) if depth < 8 else ids
