"""Writes H.264 videos with ffmpeg, with the sound of another file if wanted."""

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
import numpy as np

from likeness.array import Array

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""What H.264 is written into: suffix, and ffmpeg's name."""


def encode(
    path: Path,
    frames: Iterable[Array],
    fps: float | Fraction,
    width: int,
    height: int,
    crf: int = 14,
    audio: Path | None = None,
    audio_offset: float = 0.0,
) -> None:
    """Writes RGB frames, uint8 (height, width, 3), as an H.264 video in the container that the suffix names.

    crf: x264's constant rate factor, 0 (lossless) to 51. audio: a file whose sound is taken along, if it has any: as it
    is where the container is the same or Matroska, as AAC otherwise. audio_offset: seconds that it is moved by.
    One encoder thread and no version strings, so that equal frames give equal bytes.
    Raises OSError when the encoder fails, with what it said first; its errno is ENOSPC when the disk is full.
    """
    command = _command(path, fps, width, height, crf, audio, audio_offset)
    # A file, because ffmpeg stops when a pipe of its is full: damaged sound makes it talk a lot.
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=complaints)
        try:
            _feed(process, frames)
            process.communicate()
        except BaseException:
            # What it has got so far is no video: it must not go on to encode all of the sound.
            process.kill()
            process.communicate()
            raise
        complaints.seek(0)
        messages = complaints.read().decode(errors="replace").split("\n")
    if process.returncode:
        if any(os.strerror(errno.ENOSPC) in line for line in messages):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        raise OSError(f"ffmpeg could not write {path}: {next(filter(str.strip, messages), 'no message').strip()}")


def _command(
    path: Path,
    fps: float | Fraction,
    width: int,
    height: int,
    crf: int,
    audio: Path | None,
    audio_offset: float,
) -> list[str]:
    """ffmpeg's command line, which reads raw frames from its stdin."""
    pictures = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=fps)
    streams, sound = [pictures.video], {}
    if audio is not None:
        # "file:" and the whitelist: a name with a colon is no protocol, and a playlist cannot fetch from elsewhere.
        streams.append(ffmpeg.input(f"file:{audio}", protocol_whitelist="file", itsoffset=audio_offset)["a?"])
        same = path.suffix.lower() in (audio.suffix.lower(), ".mkv")
        sound = {"acodec": "copy" if same else "aac"}
    command: list[str] = (
        ffmpeg.output(
            *streams,
            f"file:{path}",
            **sound,
            format=CONTAINERS.get(path.suffix.lower(), "mp4"),
            vcodec="libx264",
            pix_fmt="yuv420p",
            crf=crf,
            preset="veryfast",
            threads=1,
            map_metadata=-1,
            movflags="+faststart",
            **{
                "flags:v": "+bitexact",
                "fflags": "+bitexact",
                "x264-params": "threads=1:lookahead-threads=1",
                "vf": "scale=out_color_matrix=bt709:out_range=tv",
                "colorspace": "bt709",
                "color_primaries": "bt709",
                "color_trc": "bt709",
                "color_range": "tv",
            },
        )
        .global_args("-loglevel", "error", "-nostats")
        .overwrite_output()
        .compile(cmd=imageio_ffmpeg.get_ffmpeg_exe())
    )
    return command


def _feed(process: "subprocess.Popen[bytes]", frames: Iterable[Array]) -> None:
    assert process.stdin is not None
    for frame in frames:
        try:
            process.stdin.write(np.ascontiguousarray(frame).tobytes())
        except BrokenPipeError:
            # The encoder has ended early; its message follows.
            return
