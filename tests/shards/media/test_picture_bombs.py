"""Pictures that are small as files and huge when they are decoded, refused within the memory that a small one takes."""

import io
import os
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from likeness.command import BadInput
from shards.media.orientation import orientation
from shards.media.pictures import (
    MOST_PIXELS,
    check_picture,
    decode_ids,
    decode_instances,
    decode_picture,
    read_bytes,
    stored_size,
)

SIDE = 65_500
MEMORY = 2**30
"""Bytes of addresses that a process gets that must refuse a bomb; Python, NumPy and OpenCV take about a third."""
READ = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
from pathlib import Path
from likeness.command import BadInput
from shards.media.pictures import read_ids, read_picture
for read in (read_picture, read_ids):
    try:
        read(Path(sys.argv[2]))
    except BadInput as error:
        print(error)
"""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, colour: int = 2, interlaced: int = 0, more: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def deflated(mebibytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(mebibytes)) + packer.flush()


def huge(format: str) -> bytes:
    """A whole small file whose header says that it is huge."""
    if format == "png":
        return png(SIDE, SIDE, deflated(1))
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, format, lossless=True)
    content = file.getvalue()
    if format == "webp":
        at = content.index(b"VP8L") + 9
        return content[:at] + b"\xff" * 4 + content[at + 4 :]
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", SIDE, SIDE) + content[at + 4 :]


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_a_huge_picture_is_refused_by_its_header(tmp_path: Path, format: str) -> None:
    file = tmp_path / "bomb"
    file.write_bytes(huge(format))
    threads = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", READ, str(MEMORY), str(file)], capture_output=True, text=True, env=threads
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all(f"{file} is " in line and "make it smaller" in line for line in lines)


@pytest.mark.parametrize("format", ["gif", "ico", "tiff", "bmp"])
def test_formats_of_several_frames_or_sizes_are_refused(format: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, format)
    for read in (decode_picture, decode_ids, decode_instances, check_picture):
        with pytest.raises(BadInput, match="neither PNG, JPEG nor WebP"):
            read(file.getvalue(), "it")


@pytest.mark.parametrize("colour", [0, 2])
def test_surplus_image_data_are_not_inflated(colour: int) -> None:
    """A gibibyte of zeros behind 64×64 pixels: it would take seconds, as a whole."""
    content = png(64, 64, deflated(1000), colour)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    for read in (decode_picture, decode_ids, decode_instances):
        with pytest.raises(BadInput, match="more image data than its 64×64 pixels"):
            read(content, "it")
    # Seconds of this process's own work, of which the machine's load is no part.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 1


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("mode", "width", "height"), [("RGB", 1201, 903), ("L", 3, 5), ("1", 17, 1), ("RGBA", 1, 1)])
def test_whole_pictures_have_the_bytes_that_their_size_needs(
    monkeypatch: pytest.MonkeyPatch, mode: str, width: int, height: int, interlaced: int
) -> None:
    """Judged by Pillow's files; interlaced ones, which it does not write, by rows of Adam7 put together here."""
    from shards.media import png_data

    monkeypatch.setattr(png_data, "_FREE", -(2**40))
    if interlaced and mode == "L":
        steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        rows = [
            bytes(1 + len(range(x, width, dx))) for x, y, dx, dy in steps for _ in range(y, height, dy) if x < width
        ]
        data = b"".join(rows)
        assert decode_picture(png(width, height, zlib.compress(data), 0, 1), "it").shape == (height, width, 3)
        with pytest.raises(BadInput, match="more image data"):
            decode_picture(png(width, height, zlib.compress(data + b"0"), 0, 1), "it")
        return
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
    Image.fromarray(noise, "RGBA").convert(mode).save(file, "png")
    assert decode_picture(file.getvalue(), "it").shape == (height, width, 3)


def test_texts_and_further_frames_are_left_out() -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + deflated(64))
    still = png(16, 16, zlib.compress(bytes(16 * 49)), more=text)
    assert decode_picture(still, "it").shape == (16, 16, 3)
    frames = io.BytesIO()
    first, *others = (Image.new("RGB", (16, 16), (level, 0, 0)) for level in (10, 20, 30))
    first.save(frames, "png", save_all=True, append_images=others)
    assert (decode_picture(frames.getvalue(), "it")[..., 0] == 10).all()


def test_very_many_scans_are_refused() -> None:
    content = bytes(simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8)))
    scan = content[content.index(b"\xff\xda") : -2]
    with pytest.raises(BadInput, match="scans"):
        check_picture(content[:-2] + scan * 200 + b"\xff\xd9", "it")


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_size_of_a_webp(lossless: bool, mode: str) -> None:
    file = io.BytesIO()
    picture = Image.new(mode, (301, 203), 100)
    picture.putpixel((0, 0), 0)
    picture.save(file, "webp", lossless=lossless, exif=b"Exif\0\0" if mode == "RGBA" else b"")
    assert stored_size(file.getvalue()) == (301, 203)
    assert stored_size(file.getvalue()[:25]) is None


@pytest.mark.parametrize("length", [0, 1])
def test_a_mark_of_impossible_length_is_none(length: int) -> None:
    assert orientation(b"\xff\xd8\xff\xe1" + struct.pack(">H", length) + b"Exif\0\0" + bytes(100)) == 1


def test_files_without_an_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shards.media.pictures.LARGEST_FILE", 2**20)
    sparse = tmp_path / "sparse.png"
    with sparse.open("wb") as file:
        file.truncate(2**40)
    for path in (sparse, Path("/dev/zero")):
        with pytest.raises(BadInput, match="more than 1 MiB; give a smaller file"):
            read_bytes(path)
    assert read_bytes(Path("/dev/null")) == b""


def test_the_most_is_more_than_any_camera_takes() -> None:
    assert MOST_PIXELS > 11_656 * 8_742
