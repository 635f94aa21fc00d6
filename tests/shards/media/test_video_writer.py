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
    out = tmp_path / "folder" / "out.mp4"
    with pytest.raises(OSError, match=re.escape(f"ffmpeg could not write {out}: ")) as failed:
        encode(out, frames(900), 10, SIDE, SIDE)
    assert "\n" not in str(failed.value)


def test_a_file_that_is_no_sound_is_said(tmp_path: Path) -> None:
    text = tmp_path / "sound.mp4"
    text.write_text("no sound\n" * 1000)
    (note,) = encode(tmp_path / "out.mp4", frames(3), 10, SIDE, SIDE, audio=text)
    assert note == f"{text} gives no sound: ffmpeg cannot read it"


def test_sound_that_cannot_be_taken_along_is_left_out_and_said(tmp_path: Path) -> None:
    """Three streams: one that decodes, one whose packets are noise, and one of a codec that nobody knows."""
    tone = sine(tmp_path / "tone.mov", 2, "-c:a", "aac")
    damaged = sine(tmp_path / "damaged.mov", 2, "-c:a", "aac", "-bsf:a", "noise=amount='if(gt(n,1),1,0)'")
    film = tmp_path / "film.mov"
    unknown = sine(tmp_path / "unknown.mov", 2, "-c:a", "pcm_s16le")
    inputs = [word for path in (tone, damaged, unknown) for word in ("-i", str(path))]
    maps = [word for number in range(3) for word in ("-map", f"{number}:a")]
    ffmpeg(*inputs, *maps, "-c", "copy", str(film))
    film.write_bytes(film.read_bytes().replace(b"sowt", b"zzzz"))
    out = tmp_path / "out.mp4"
    notes = encode(out, frames(16), 8, SIDE, SIDE, audio=film)
    assert len(notes) == 2 and all(f"stream {number} of {film}" in notes[number - 1] for number in (1, 2))
    assert all("is left out: ffmpeg can neither copy nor decode it" in note for note in notes)
    assert streams_of_sound(out) == 1 and sum(1 for _ in decode(out)) == 16
    # What is only damaged can be copied where the container is the same.
    assert len(encode(tmp_path / "out.mov", frames(16), 8, SIDE, SIDE, audio=film)) <= 1
    assert streams_of_sound(tmp_path / "out.mov") >= 2


def ffmpeg(*arguments: str) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *arguments], check=True)


def streams_of_sound(path: Path) -> int:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    return subprocess.run(command, capture_output=True).stderr.count(b": Audio: ")
