"""Writes H.264 videos with ffmpeg, with the sound of another file if wanted."""

import errno
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import ffmpeg
import numpy as np

from likeness.array import Array
from shards.media.ffmpeg_program import NAMED, ffmpeg_in_use, with_files

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
) -> tuple[str, ...]:
    """Writes RGB frames, uint8 (height, width, 3), as an H.264 video in the container that the suffix names.

    crf: x264's constant rate factor, 0 (lossless) to 51. audio: a file whose sound is taken along, if it has any: as it
    is where the container is the same or Matroska and takes it, as AAC otherwise. audio_offset: seconds that it is
    moved by. Returns what became of streams of sound that are left out, or could not be copied, in words.
    One encoder thread and no version strings, so that equal frames give equal bytes.
    Raises OSError when the encoder fails, with what it said first; its errno is ENOSPC when the disk is full.
    """
    sound, notes = ([], []) if audio is None else _sound(audio, path)
    command = _command(path, fps, width, height, crf, audio, audio_offset, sound)
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
    return tuple(notes)


def _command(
    path: Path,
    fps: float | Fraction,
    width: int,
    height: int,
    crf: int,
    audio: Path | None,
    audio_offset: float,
    sound: Sequence[tuple[str, str]],
) -> list[str]:
    """ffmpeg's command line, which reads raw frames from its stdin. sound: streams of `audio`, see `_sound`."""
    pictures = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=fps)
    streams, files = [pictures.video], [path]
    if audio is not None and sound:
        heard = ffmpeg.input(NAMED, protocol_whitelist="file", itsoffset=audio_offset)
        streams += [heard[number] for number, _ in sound]
        files = [audio, path]
    written = ffmpeg.output(
        *streams,
        NAMED,
        **{f"c:a:{place}": way for place, (_, way) in enumerate(sound)},
        **{"c:v": "libx264", "flags:v": "+bitexact", "x264-params": "threads=1:lookahead-threads=1"},
        pix_fmt="yuv420p",
        crf=crf,
        preset="veryfast",
        threads=1,
        vf="scale=out_color_matrix=bt709:out_range=tv",
        colorspace="bt709",
        color_primaries="bt709",
        color_trc="bt709",
        color_range="tv",
        map_metadata=-1,
        movflags="+faststart",
        fflags="+bitexact",
        format=_container(path),
    ).global_args("-loglevel", "error", "-nostats", "-y")
    return with_files(ffmpeg.compile(written, cmd=ffmpeg_in_use().path), *files)


def _container(path: Path) -> str:
    return CONTAINERS.get(path.suffix.lower(), "mp4")


def _reading(file: Path) -> list[str]:
    # "file:" and the whitelist: a name with a colon is no protocol, and a playlist cannot fetch from elsewhere.
    return ["-protocol_whitelist", "file", "-i", f"file:{file}"]


def _sound(audio: Path, path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """The streams of a file's sound that are taken along, and notes on those that are not as they were.

    Of each its number and by which encoder, or `copy`.

    Each is tried beforehand: where one cannot be taken, ffmpeg would not write the pictures either.
    """
    command = [ffmpeg_in_use().path, "-hide_banner", *_reading(audio)]
    header = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).stderr.decode(errors="replace")
    wanted = "copy" if path.suffix.lower() in (audio.suffix.lower(), ".mkv") else "aac"
    streams: list[tuple[str, str]] = []
    notes = []
    if "Input #0" not in header:
        notes.append(f"{audio} gives no sound: ffmpeg cannot read it")
    # From the beginning of a line: a title may say anything.
    for number, codec in re.findall(r"^ {2,4}Stream #0:(\d+).*?: Audio: (\w+)", header, re.MULTILINE):
        said = {way: _tried(audio, number, way, path) for way in dict.fromkeys((wanted, "aac"))}
        way = next((way for way, fault in said.items() if fault is None), None)
        called = f"stream {number} of {audio}, sound in {codec},"
        if way is None:
            notes.append(f"{called} is left out: ffmpeg can neither copy nor decode it ({said['aac']})")
            continue
        if way != wanted:
            notes.append(f"{called} is encoded anew, as AAC: it cannot be copied ({said[wanted]})")
        streams.append((number, way))
    return streams, notes


def _tried(audio: Path, number: str, way: str, path: Path) -> str | None:
    """What ffmpeg says against a stream of sound in the container of `path`; None where it takes it."""
    command = ["-loglevel", "error", "-y", *_reading(audio), "-map", f"0:{number}", "-c:a", way]
    command += ["-f", _container(path), os.devnull]
    with tempfile.TemporaryFile() as complaints:
        done = subprocess.run([ffmpeg_in_use().path, *command], stdin=subprocess.DEVNULL, stderr=complaints)
        complaints.seek(0)
        lines = complaints.read().decode(errors="replace").splitlines()
    return next(filter(None, map(str.strip, lines)), "no message") if done.returncode else None


def _feed(process: "subprocess.Popen[bytes]", frames: Iterable[Array]) -> None:
    assert process.stdin is not None
    for frame in frames:
        try:
            process.stdin.write(np.ascontiguousarray(frame).tobytes())
        except BrokenPipeError:
            # The encoder has ended early; its message follows.
            return
