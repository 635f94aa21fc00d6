"""Decodes videos with ffmpeg: real frames at their real times, or one clear line about what is wrong."""

import os
import queue
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import ffmpeg
import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.media.colour import ZSCALE, to_bt709
from shards.media.ffmpeg_program import NAMED, ffmpeg_in_use, with_files

FASTEST = 240.0
"""Frames per second: what claims more is a time base and no rate."""

_SHIFTED = ("mpegts", "mpeg", "ogg", "nut")
"""Formats in which ffmpeg moves to 0 what begins first of what it is told to read, not of all that there is."""

_TIME = re.compile(r"^frame:\d+\s+pts:\S+\s+pts_time:(\S+)")
_CONTEXT = re.compile(r"\[(?:[^\]]* @ 0x[0-9a-f]+|error|fatal|panic)\] ")
_TS_PACKETS, _TS_BEGINS = (188, 192), {0x47}
"""Bytes of an MPEG-TS's packets, plain and with a camera's time before each, and the byte that each begins with."""
_PS_BEGINS, _PS_LEAST = b"\x00\x00\x01", b"\xba"
"""How the packets of an MPEG program stream begin: a code and a number, the least of which is a pack's."""
_REMEDY = "replace it, write it anew with ffmpeg, or take it out of the folder"


class _Times(threading.Thread):
    """Reads what the filters note on a pipe of their own: one (number, seconds) per frame sent, then None.

    It is a thread because ffmpeg stops when a pipe of its is full.
    """

    def __init__(self, notes: IO[str]) -> None:
        super().__init__(daemon=True)
        self.notes = notes
        self.frames: queue.Queue[tuple[int, str] | None] = queue.Queue()
        self.decoded = 0

    def run(self) -> None:
        time = ""
        for line in self.notes:
            if match := _TIME.match(line):
                time = match.group(1)
            elif line.startswith("likeness=seen"):
                self.decoded += 1
            elif line.startswith("likeness=kept"):
                self.frames.put((self.decoded - 1, time))
        self.frames.put(None)


def decode(path: Path, every: int = 1, timeout_s: float | None = None) -> Iterator[tuple[int, float, Array]]:
    """Yields (number, seconds, frame) of every `every`-th frame of a video's first moving picture.

    An MPEG transport or program stream, which may be cut anywhere, is read from its first key frame on. High dynamic
    range and wide gamuts are brought to BT.709, see `shards.media.colour`.

    number: position among all decoded frames, from 0. seconds: presentation time, measured from the
    start of the file. frame: uint8 (H, W, 3), RGB, turned upright when the file says how; all frames have the
    size of the first. Frames are neither repeated nor dropped to even out a variable frame rate.
    timeout_s: seconds after which ffmpeg is stopped, whatever it is waiting for; None waits for ever.

    Raises BadInput naming the file when it is missing, empty, not a video, damaged, cut off, or takes too long. Damage
    shows when ffmpeg comes to it: good frames may have been yielded by then.
    """
    path = Path(path)
    if every < 1:
        raise BadInput(f"every {every}th frame of {path} cannot be taken; choose 1 or more")
    broadcast = _check_file(path)
    # Three channels, because ffmpeg stands still when one of its pipes is full: pictures are read here, times by a
    # thread, and complaints go to a file, which is never full.
    with tempfile.TemporaryFile() as complaints:
        process, times = _start(path, every, broadcast, complaints)
        received = forgiven = 0
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        # Reading waits inside the kernel, where no clock of ours is looked at; killing ffmpeg ends it.
        alarm = threading.Timer(timeout_s or 0, give_up)
        if timeout_s is not None:
            alarm.start()
        try:
            # The n-th picture of one pipe belongs to the n-th time of the other: ffmpeg notes the time of every frame
            # that it sends. One of them may be lacking at the end, of a file that is cut off; that is looked at below.
            while (frame := _read_picture(process.stdout)) is not None and (noted := times.frames.get()) is not None:
                number, time = noted
                if time == "NOPTS":
                    raise BadInput(f"{path}: frame {number} has no presentation time; write the file anew with ffmpeg")
                received += 1
                if broadcast and received == 1:
                    # Before its first picture a decoder complains of what a recording that begins anywhere refers to.
                    forgiven = os.fstat(complaints.fileno()).st_size
                yield number, float(time), frame
            if late.is_set():
                raise BadInput(
                    f"{path} took longer than {timeout_s:g} s and was given up after {received} frames; replace it, or "
                    "allow more with --file-timeout"
                )
            if frame is not None:
                raise RuntimeError(f"{path}: ffmpeg sent more pictures than times, {received} of them")
            whole = times.frames.get() is None
            code = process.wait()
            complaints.seek(0 if code else forgiven)
            log = complaints.read().decode(errors="replace")
            _check_end(path, log, code, times.decoded, whole)
        finally:
            # Also when whoever iterates has had enough: ffmpeg would wait for ever for room in its pipe.
            alarm.cancel()
            process.kill()
            process.stdout.close()
            process.wait()
            times.join()
            times.notes.close()


@dataclass(frozen=True)
class Timing:
    """What a video's header says of its times; in `fps` and `seconds`, 0 stands for what the file does not say."""

    fps: Fraction
    """Frames per second at which all frames can be shown at their times; where the gaps between frames vary, that of
    the smallest one, or the mean rate where that is absurd."""
    seconds: float
    """How long the file lasts."""
    sound_offset: float
    """Seconds by which the sound begins after the first moving picture where ffmpeg would forget it: in formats such as
    MPEG-TS it moves to 0 whatever it reads alone. 0 in all others."""


def timing(path: Path) -> Timing:
    """What a video's header and its first frame say of its times."""
    command = [ffmpeg_in_use().path, "-hide_banner", "-protocol_whitelist", "file", "-i", f"file:{path}"]
    command += ["-map", "0:V:0", "-vf", "showinfo", "-frames:v", "1", "-f", "null", "-"]
    log = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).stderr.decode(errors="replace")
    # Of the input only, and from the beginning of a line: a title may say anything.
    header = log.partition("Stream mapping:")[0]
    streams = re.findall(r"^ {2,4}Stream #0:.*?: ((?:Video|Audio): .*)$", header, re.MULTILINE)
    pictures = [each for each in streams if each.startswith("Video") and "(attached pic)" not in each]
    mean = re.search(r"([\d.]+) fps\b", pictures[0]) if pictures else None
    fps = Fraction(mean[1]) if mean else Fraction(0)
    # Without rounding: the header's 23.98 means 24000/1001.
    exact = re.search(
        r"^\[Parsed_showinfo_0 .*\] config in time_base: \S+, frame_rate: (\d+)/([1-9]\d*)$", log, re.MULTILINE
    )
    if exact and fps * Fraction(99, 100) <= (rate := Fraction(int(exact[1]), int(exact[2]))) <= FASTEST:
        fps = rate
    lasts = re.search(r"^  Duration: (\d+):(\d+):([\d.]+)", header, re.MULTILINE)
    seconds = int(lasts[1]) * 3600 + int(lasts[2]) * 60 + float(lasts[3]) if lasts else 0.0
    sounds = [_begins(each) for each in streams if each.startswith("Audio")]
    shifted = re.search(rf"^Input #0, ({'|'.join(_SHIFTED)}),", header, re.MULTILINE) and sounds and pictures
    return Timing(fps, seconds, min(sounds) - _begins(pictures[0]) if shifted else 0.0)


def _begins(stream: str) -> float:
    """The start of a stream, which ffmpeg tells where it is not 0."""
    found = re.search(r", start (-?[\d.]+)", stream)
    return float(found[1]) if found else 0.0


def _start(path: Path, every: int, broadcast: bool, complaints: IO[bytes]) -> tuple[Any, _Times]:
    """Starts ffmpeg: pictures come on stdout as PPM, frame times on a second pipe, errors in a file.

    The times are not taken from ffmpeg's log, where messages of several threads mix within a line.
    """
    program = ffmpeg_in_use()
    colour = f"{filters}," if (filters := to_bt709(path)) else ""
    reader, writer = os.pipe()
    # Noted before and after the selection: counting the first gives a frame's number among all that were decoded.
    # direct=1 writes each note at once, where ffmpeg would gather them while its reader waits.
    note = f"metadata=print:key=likeness:file=pipe\\\\:{writer}:direct=1"
    # The whitelist: a playlist cannot fetch from elsewhere.
    read = ffmpeg.input(NAMED, protocol_whitelist="file", **(program.from_key_frame if broadcast else {}))
    shown = read.output(
        "pipe:",
        # A capital V leaves out still pictures, such as the cover of a film.
        map="0:V:0",
        format="image2pipe",
        vcodec="ppm",
        pix_fmt="rgb24",
        vf=f"metadata=add:key=likeness:value=seen,{note},select=not(mod(n\\,{every})),{colour}"
        f"metadata=modify:key=likeness:value=kept,{note}",
        # Otherwise ffmpeg repeats and drops frames until their rate is constant.
        **program.every_frame,
    )
    # -xerror: otherwise ffmpeg goes on after damage, with frames that it has made up.
    quietly = shown.global_args("-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+error", "-xerror")
    command = with_files(ffmpeg.compile(quietly, cmd=program.path), path)
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, pass_fds=(writer,)
        )
    except BaseException:
        os.close(reader)
        raise
    finally:
        # ffmpeg has a copy of its own. While any copy is open the pipe does not end, and its reader waits.
        os.close(writer)
    times = _Times(os.fdopen(reader, encoding="utf-8", errors="replace"))
    times.start()
    return process, times


def _check_file(path: Path) -> bool:
    """Raises BadInput for what ffmpeg would not find fault with; whether it is a stream that may be cut anywhere."""
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file")
    size = path.stat().st_size
    if size == 0:
        raise BadInput(f"{path} is empty (0 bytes); {_REMEDY}")
    with path.open("rb") as file:
        head = file.read(2048)
    # ffmpeg rebuilds a missing AVI index without a word, so that a file cut between two frames looks whole to it.
    if head[:4] == b"RIFF" and head[8:12] == b"AVI " and int.from_bytes(head[4:8], "little") + 8 > size:
        raise BadInput(f"{path} is cut off: it announces more bytes than the {size:,} that are there; {_REMEDY}")
    packets = (head[first::step] for step in _TS_PACKETS for first in range(step))
    return any(set(begins) == _TS_BEGINS for begins in packets) or (head[:3] == _PS_BEGINS and head[3:4] >= _PS_LEAST)


def _read_picture(stdout: IO[bytes]) -> Array | None:
    """One PPM picture from the pipe, uint8 (H, W, 3); None when the pipe ends before it is complete."""
    if not stdout.readline():
        return None
    # ffmpeg writes a PPM's header as three lines: the format, width and height, the largest value.
    size, depth = stdout.readline().split(), stdout.readline()
    if len(size) != 2 or not depth.endswith(b"\n"):
        return None
    picture = np.empty((int(size[1]), int(size[0]), 3), np.uint8)
    view = picture.reshape(-1).data
    while len(view):
        count = stdout.readinto(view)  # type: ignore[attr-defined]
        if not count:
            return None
        view = view[count:]
    return picture


def _check_end(path: Path, log: str, code: int, decoded: int, whole: bool) -> None:
    """Raises BadInput unless ffmpeg ended well, had nothing to complain of, and all its pictures arrived."""
    lines = [_CONTEXT.sub("", line).strip() for line in log.splitlines()]
    reason = next(filter(None, lines), f"ffmpeg ended with code {code}")
    if "matches no streams" in reason:
        raise BadInput(f"{path} has no moving picture in it; {_REMEDY}")
    if f"filter: '{ZSCALE}'" in log:
        raise BadInput(
            f"{path} is of high dynamic range or wide gamut, which this ffmpeg cannot bring to BT.709, as it has no "
            f"{ZSCALE}; use the one of imageio-ffmpeg"
        )
    if (code or log.strip()) and not decoded:
        raise BadInput(f"{path} is not a video that ffmpeg can read ({reason}); {_REMEDY}")
    after = f"after {decoded} frame{'' if decoded == 1 else 's'}"
    if code or log.strip():
        raise BadInput(f"{path} is damaged or cut off {after} ({reason}); {_REMEDY}")
    if not decoded:
        raise BadInput(f"{path} holds no frames; {_REMEDY}")
    if not whole:
        raise BadInput(f"{path}: ffmpeg ended well {after}, yet not all of its pictures arrived; try again")
