"""The chunks of PNG files, and how much image data they hold: a small file can inflate to gigabytes."""

import struct
import zlib
from collections.abc import Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"
Chunks = list[tuple[bytes, bytes]]
"""(type, data) of each, in order."""
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values per pixel, by colour type (PNG specification, 11.2.2)."""
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""(first column, first row, columns apart, rows apart) of Adam7's passes (8.2)."""
_DEFLATE = 1032
"""At most so many bytes come out of one byte of deflated data (zlib's technical details)."""
_UNSEEN = (b"acTL", b"fcTL", b"fdAT", b"iCCP", b"iTXt", b"tEXt", b"zTXt")
"""Further frames, texts and profiles: decoders inflate them, and nobody here looks at them."""


def chunks_of(content: bytes) -> Chunks:
    """All chunks of a file. Raises ValueError when it is no PNG, cut off, or a checksum is wrong."""
    if not content.startswith(SIGNATURE):
        raise ValueError("not a PNG file")
    chunks: Chunks = []
    at = len(SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        if len(content) < at + 12:
            raise ValueError("the PNG file ends early")
        length = int.from_bytes(content[at : at + 4], "big")
        end = at + 8 + length
        kind, data, checksum = content[at + 4 : at + 8], content[at + 8 : end], content[end : end + 4]
        if len(checksum) < 4:
            raise ValueError("the PNG file ends early")
        if zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(checksum, "big"):
            raise ValueError(f"the checksum of its {kind.decode('ascii', 'replace')} chunk is wrong")
        chunks.append((kind, data))
        at = end + 4
    if chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise ValueError("the PNG file has no header")
    return chunks


def file_of(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of these chunks."""
    return SIGNATURE + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(data, zlib.crc32(kind)).to_bytes(4, "big")
        for kind, data in chunks
    )


def without_unseen(content: bytes, chunks: Chunks) -> bytes:
    """The file without what decoders inflate and nobody looks at; `content` itself where there is none."""
    seen = [(kind, data) for kind, data in chunks if kind not in _UNSEEN]
    return content if len(seen) == len(chunks) else file_of(seen)


def check_image_data(chunks: Chunks) -> None:
    """Raises ValueError when the image data are more, or can only be less, than the header's size needs.

    Inflates no further than that size, and nothing where even the densest data come to little more.
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if colour not in _SAMPLES:
        raise ValueError(f"the PNG file has the colour type {colour}")
    needed = _bytes_of(width, height, depth * _SAMPLES[colour], bool(interlaced))
    packed = [data for kind, data in chunks if kind == b"IDAT"]
    densest = _DEFLATE * sum(map(len, packed))
    if densest < needed:
        raise ValueError("the PNG file ends early")
    if densest > 2 * needed + _FREE and _inflates_beyond(packed, needed):
        raise ValueError(f"it holds more image data than its {width}×{height} pixels are")


_FREE = 2**25
"""Bytes of surplus that cost less than looking for them."""
_STEP = 2**20


def _inflates_beyond(packed: Sequence[bytes], needed: int) -> bool:
    inflater = zlib.decompressobj()
    left = needed
    for data in packed:
        while data and not inflater.eof:
            try:
                left -= len(inflater.decompress(data, min(left + 1, _STEP)))
            except zlib.error:
                return False  # the decoder says what is wrong with it
            if left < 0:
                return True
            data = inflater.unconsumed_tail
    return False


def _bytes_of(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Of all rows before they are deflated, each with the byte that names its filter. bits: of a pixel."""
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    total = 0
    for x, y, across, down in passes:
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
