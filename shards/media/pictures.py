"""Picture files and label files, read as people have them and written: JPEG, PNG, WebP, and PNG files of class ids."""

import base64
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from likeness.array import Array
from likeness.command import BadInput

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"
_GREY, _PALETTE, _GREY_ALPHA = 0, 3, 4
PNG_HEADER_BYTES = 26
"""How much of a PNG file `png_header` needs."""
LARGEST_ID = 255
"""Of a class: ids are kept in 8 bits."""


def read_picture(path: Path, obey_mark: bool = True) -> Array:
    """A PNG, JPEG or WebP file as uint8 (H, W, 3) RGB, transparency dropped; a camera's rotation mark is obeyed.

    obey_mark: False for the pixels as they are stored. Raises BadInput when it is missing, broken or cut off.
    """
    return decode_picture(read_bytes(path), str(path), obey_mark)


def decode_picture(content: bytes, name: str, obey_mark: bool = True) -> Array:
    """What `read_picture` gives, of a file's content. name: what messages call it. Raises BadInput as it does."""
    try:
        if is_png(content):
            _png_chunks(content)
        elif is_jpeg(content):
            # OpenCV paints the missing part of a file that was cut off grey, without a word.
            simplejpeg.decode_jpeg(content)
        elif not (content.startswith(b"RIFF") and content[8:12] == b"WEBP"):
            raise ValueError("neither PNG, JPEG nor WebP")
        flags = cv2.IMREAD_COLOR if obey_mark else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        if picture is None:
            raise ValueError("its pixels cannot be decoded")
    except (ValueError, cv2.error) as error:
        raise BadInput(f"{name} is no readable picture ({error}); give a whole PNG or JPEG file") from error
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


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
        ids = _png_ids(content)
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
        return _png_ids(content).astype(np.uint16)
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
    """(width, height) that a PNG or JPEG states in its header, before a camera's rotation; its pixels are not decoded.

    None for any other file, and where the header is damaged.
    """
    if is_png(content):
        header = png_header(content)
        return None if header is None else (header.width, header.height)
    if not is_jpeg(content):
        return None
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(content, strict=False)
    except (KeyError, ValueError):  # it looks up codes that libjpeg-turbo gives back of what it could not read
        return None
    return width, height


def read_bytes(path: Path) -> bytes:
    """Raises BadInput when the file cannot be read."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error


def _png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """(type, data) of every chunk. Raises ValueError when the file is cut off or a checksum is wrong."""
    if not is_png(content):
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
        what = "grey with transparency" if colour == _GREY_ALPHA else "a colour picture"
        raise ValueError(f"it is {what}; ids are one number per pixel")
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
