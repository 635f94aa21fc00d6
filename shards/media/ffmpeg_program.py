"""The ffmpeg that decodes and encodes: the one that imageio-ffmpeg brings along, or that the environment names."""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import imageio_ffmpeg

from likeness.command import BadInput

VARIABLE = "IMAGEIO_FFMPEG_EXE"
"""By which imageio-ffmpeg, and other projects that use it, are given another program."""
OLDEST = (58, 76)
"""The libavformat of ffmpeg 4.4, the first whose filter `metadata` writes at once."""
_FPS_MODE = (59, 27)
"""Of ffmpeg 5.1, whose -fps_mode replaced -vsync."""
_INPUT_BSF = (61, 7)
"""Of ffmpeg 7.1, which takes bitstream filters for what it reads."""
_SECONDS = 60.0


NAMED = "file:%s"
"""Stands for a file in what ffmpeg-python compiles, see `with_files`."""


@dataclass(frozen=True)
class Ffmpeg:
    """A program that runs, and what it can do."""

    path: str
    """Of the program."""
    version: str
    """As it names it: `7.1`, `n9.0.2-17-g2a571b6068`, say."""
    libavformat: tuple[int, int]
    """The library's version, by which builds from a repository are told apart, too."""

    @property
    def every_frame(self) -> dict[str, str]:
        """The option of an output by which frames are neither repeated nor dropped."""
        return {"fps_mode" if self.libavformat >= _FPS_MODE else "vsync": "passthrough"}

    @property
    def from_key_frame(self) -> dict[str, str]:
        """The option of an input that leaves out what is before its first key frame; empty in old programs."""
        if self.libavformat < _INPUT_BSF:
            return {}
        # Register 0 of the expression remembers that a key frame has come.
        return {"bsf:v": r"noise=drop=not(if(key\,st(0\,1)\,ld(0)))"}


def ffmpeg_in_use() -> Ffmpeg:
    """The program in use. Raises BadInput when it does not run or is too old, with the variable that names it."""
    named = os.environ.get(VARIABLE)
    try:
        path = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise BadInput(f"there is no ffmpeg: {error}; run `pip install imageio-ffmpeg` again") from error
    return _asked(path, f"{VARIABLE} names {named}" if named else f"imageio-ffmpeg uses {path}", bool(named))


def with_files(command: Sequence[str], *files: Path) -> list[str]:
    """A compiled command line in which the files take the places of `NAMED`, in order.

    ffmpeg-python takes names in UTF-8 only, and files have others. "file:" before them: a name with a colon is no
    protocol.
    """
    waiting = iter(files)
    return [f"file:{next(waiting)}" if word == NAMED else word for word in command]


@cache
def _asked(path: str, who: str, named: bool) -> Ffmpeg:
    remedy = f"unset {VARIABLE}, or name" if named else "run `pip install --force-reinstall imageio-ffmpeg`, or name"
    remedy += f"{'' if named else f' in {VARIABLE}'} an ffmpeg of 4.4 or later"
    try:
        done = subprocess.run([path, "-version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it does not answer within {_SECONDS:g} s"
        raise BadInput(f"{who}, which does not run ({reason}); {remedy}") from error
    told = (done.stdout + done.stderr).decode(errors="replace")
    version = re.search(r"^ffmpeg version (\S+)", told, re.MULTILINE)
    library = re.search(r"^libavformat +(\d+)\. *(\d+)\.", told, re.MULTILINE)
    if done.returncode or version is None or library is None:
        said = next(filter(None, map(str.strip, told.splitlines())), f"exit code {done.returncode}")
        raise BadInput(f"{who}, which does not answer as ffmpeg does ({said}); {remedy}")
    found = Ffmpeg(path, version[1], (int(library[1]), int(library[2])))
    if found.libavformat < OLDEST:
        raise BadInput(f"{who}, which is ffmpeg {found.version}; {remedy}")
    return found
