"""The encoder: what a broken pipe, damaged sound or an error of the caller's leaves, and that none of them hangs."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from likeness.array import Array
from shards.media.video import decode
from shards.media.video_writer import encode

SIDE = 64


def sine(path: Path, seconds: int, *options: str) -> Path:
    source = ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *source, *options, str(path)]
    subprocess.run(command, check=True)
    return path


def frames(count: int) -> Iterator[Array]:
    for number in range(count):
        yield np.full((SIDE, SIDE, 3), number % 256, np.uint8)


@pytest.mark.timeout(60)
def test_damaged_sound_neither_hangs_nor_ends_the_video(tmp_path: Path) -> None:
    """Every third packet is noise: ffmpeg says so in more words than a pipe holds."""
    damaged = sine(tmp_path / "damaged.mkv", 90, "-c:a", "flac", "-bsf:a", "noise=amount='if(mod(n,3),0,1)'")
    out = tmp_path / "out.mp4"
    encode(out, frames(900), 10, SIDE, SIDE, audio=damaged)
    assert sum(1 for _ in decode(out)) == 900


@pytest.mark.timeout(60)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, BrokenPipeError])
def test_an_error_between_frames_stops_the_encoder(error: type[BaseException], tmp_path: Path) -> None:
    """At once: it does not make a short video of what it has got, with an hour of sound."""

    def broken() -> Iterator[Array]:
        yield from frames(20)
        raise error("of the caller's")

    out = tmp_path / "out.mp4"
    with pytest.raises(error, match="of the caller's"):
        encode(out, broken(), 10, SIDE, SIDE, audio=sine(tmp_path / "sound.wav", 60))
    assert not out.exists() or b"moov" not in out.read_bytes()


def test_a_failure_is_told_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "sound.mp4"
    text.write_text("no sound\n" * 1000)
    with pytest.raises(OSError, match=re.escape(f"ffmpeg could not write {tmp_path / 'out.mp4'}: ")) as failed:
        encode(tmp_path / "out.mp4", frames(900), 10, SIDE, SIDE, audio=text)
    assert "\n" not in str(failed.value)
