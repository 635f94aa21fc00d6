"""Videos are decoded completely, with real times, or refused with one line."""

import os
import subprocess
import time
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from likeness.command import BadInput
from shards.media.video import decode, timing

WIDTH, HEIGHT, FRAMES = 96, 64, 20


def make(path: Path, *options: str, frames: int = FRAMES, size: str = f"{WIDTH}x{HEIGHT}", rate: int = 10) -> Path:
    """A test pattern as a video; `options` come before the output's name."""
    source = f"testsrc2=size={size}:rate={rate}:duration={frames / rate}"
    ffmpeg("-f", "lavfi", "-i", source, *options, str(path))
    return path


def ffmpeg(*arguments: str) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *arguments], check=True)


def shades(path: Path, *options: str) -> Path:
    """A video whose frame n has the grey value 10 n, so that a frame tells its own number."""
    greys = np.repeat(np.arange(FRAMES, dtype=np.uint8) * 10, HEIGHT * WIDTH * 3).tobytes()
    command = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", "10", "-i", "-", *options]
    executable = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([executable, "-v", "error", "-y", *command, str(path)], input=greys, check=True)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", ()),
        ("a.mkv", ()),
        ("a.mov", ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p")),
        ("a.avi", ("-c:v", "mpeg4")),
        ("a.webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")),
        ("a.ts", ("-c:v", "mpeg2video", "-q:v", "2")),
        ("odd : name %03d.mp4", ()),
    ],
)
def test_every_container_gives_every_frame(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    frames = list(decode(shades(tmp_path / name, *options)))
    assert [number for number, _, _ in frames] == list(range(FRAMES))
    assert [seconds for _, seconds, _ in frames] == pytest.approx([n / 10 for n in range(FRAMES)], abs=0.002)
    for number, _, frame in frames:
        assert frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8
        assert abs(frame.mean() - 10 * number) < 4


def test_every_third_frame_keeps_numbers_and_times(tmp_path: Path) -> None:
    video = shades(tmp_path / "a.mp4")
    everything = list(decode(video))
    third = list(decode(video, every=3))
    assert [number for number, _, _ in third] == list(range(0, FRAMES, 3))
    for number, seconds, frame in third:
        assert seconds == everything[number][1]
        np.testing.assert_array_equal(frame, everything[number][2])
    with pytest.raises(BadInput, match="every 0th"):
        next(decode(video, every=0))


def test_channels_are_red_green_blue(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:size=64x64:rate=5:duration=1", str(tmp_path / "red.mp4"))
    _, _, frame = next(decode(tmp_path / "red.mp4"))
    assert frame[..., 0].min() > 240 and frame[..., 1:].max() < 15


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_a_variable_frame_rate_is_neither_filled_nor_thinned(tmp_path: Path, name: str) -> None:
    video = make(tmp_path / name, "-vf", r"select=lt(n\,10)+not(mod(n\,5))", "-fps_mode", "vfr", frames=60, rate=30)
    expected = [n / 30 for n in range(60) if n < 10 or n % 5 == 0]
    assert [seconds for _, seconds, _ in decode(video)] == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "10/3", "25"])
def test_rates_are_exact(rate: str, tmp_path: Path) -> None:
    """A rounded 23.98 would show a frame twice every other minute. What people wrote into the file is no rate."""
    words = ["-metadata", "title=Video: 60 fps, 60 tbr", "-metadata", "comment=Duration: 99:00:00.00"]
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size=64x64:rate={rate}:duration=3", *words, str(tmp_path / "a.mp4"))
    told = timing(tmp_path / "a.mp4")
    assert (told.fps, told.sound_offset) == (Fraction(rate), 0)
    assert told.seconds == pytest.approx(3, abs=0.4)


def test_rotation_metadata_is_honoured(tmp_path: Path) -> None:
    straight = make(tmp_path / "a.mp4")
    for angle, turns in ((90, 1), (180, 2), (270, 3)):
        turned = tmp_path / f"{angle}.mp4"
        ffmpeg("-display_rotation", str(angle), "-i", str(straight), "-c", "copy", str(turned))
        for (_, _, before), (_, _, after) in zip(decode(straight), decode(turned), strict=True):
            np.testing.assert_allclose(np.rot90(before, turns).astype(int), after, atol=12)


def test_a_picture_that_changes_size_keeps_the_first_size(tmp_path: Path) -> None:
    for name, size in (("a", "96x64"), ("b", "48x48")):
        make(tmp_path / f"{name}.h264", "-bf", "0", size=size, frames=5)
    both = tmp_path / "both.h264"
    both.write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    frames = list(decode(both, every=2))
    assert [number for number, _, _ in frames] == [0, 2, 4, 5, 7, 9]
    assert {frame.shape for _, _, frame in frames} == {(64, 96, 3)}


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("share", [0.4, 0.75, 0.97])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", ()),
        ("fast.mp4", ("-movflags", "+faststart")),
        ("a.mkv", ()),
        ("sound.mkv", ("-f", "lavfi", "-i", "sine=duration=2", "-c:a", "aac")),
        ("a.webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")),
        ("a.avi", ("-c:v", "mpeg4")),
    ],
)
def test_a_truncated_video_is_refused(
    tmp_path: Path, name: str, options: tuple[str, ...], share: float, every: int
) -> None:
    whole = make(tmp_path / name, *options)
    cut = tmp_path / f"cut-{name}"
    content = whole.read_bytes()
    cut.write_bytes(content[: int(len(content) * share)])
    assert sum(1 for _ in decode(whole)) == FRAMES
    with pytest.raises(BadInput) as refused:
        list(decode(cut, every))
    assert str(cut) in str(refused.value) and "\n" not in str(refused.value)


def test_an_avi_cut_between_two_frames_is_refused(tmp_path: Path) -> None:
    content = make(tmp_path / "a.avi", "-c:v", "mpeg4").read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(content[: content.rindex(b"00dc", 0, content.rindex(b"idx1"))])
    with pytest.raises(BadInput, match="cut off"):
        list(decode(cut))


def test_damage_in_the_middle_is_refused(tmp_path: Path) -> None:
    content = bytearray(make(tmp_path / "a.mp4", "-movflags", "+faststart").read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 400] = bytes(400)
    (tmp_path / "hurt.mp4").write_bytes(content)
    with pytest.raises(BadInput, match=r"hurt\.mp4 is damaged"):
        list(decode(tmp_path / "hurt.mp4"))


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    contents = {"empty.mp4": b"", "text.mp4": b"no video\n" * 50, "noise.mkv": np.random.default_rng(0).bytes(5000)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", str(tmp_path / "sound.mp4"))
    expected = {
        "empty.mp4": r"empty \(0 bytes\)",
        "text.mp4": "not a video",
        "noise.mkv": "not a video",
        "sound.mp4": "no moving picture",
        "absent.mp4": "no such file",
    }
    for name, words in expected.items():
        with pytest.raises(BadInput, match=words) as refused:
            list(decode(tmp_path / name))
        assert name in str(refused.value) and "\n" not in str(refused.value)


def test_a_playlist_cannot_make_ffmpeg_fetch(tmp_path: Path) -> None:
    (tmp_path / "list.ts").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(BadInput, match=r"list\.ts"):
        list(decode(tmp_path / "list.ts"))


def test_stopping_early_ends_ffmpeg(tmp_path: Path) -> None:
    video = make(tmp_path / "long.mp4", frames=300)
    frames = decode(video)
    next(frames)
    frames.close()
    children = Path("/proc/self/task")
    alive = [
        Path(f"/proc/{child}/cmdline").read_bytes()
        for task in children.iterdir()
        for child in (task / "children").read_text().split()
    ]
    assert not any(str(video).encode() in command for command in alive)


def test_a_video_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    """Ten minutes of pictures, which ffmpeg cannot decode in a fifth of a second."""
    long = tmp_path / "long.mkv"
    source = "color=gray:size=320x240:rate=25:duration=600"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "ffv1", str(long)]
    subprocess.run(command, check=True)
    started_at = time.monotonic()
    with pytest.raises(BadInput, match=r"long\.mkv took longer than 0\.2 s and was given up after \d+ frames"):
        for _ in decode(long, timeout_s=0.2):
            pass
    assert time.monotonic() - started_at < 5
    assert next(iter(decode(long, timeout_s=60)))[0] == 0


@pytest.mark.parametrize(
    "codec",
    [
        ("-c:v", "libx264", "-x264-params", "open-gop=1:keyint=10:min-keyint=10:scenecut=0:bframes=2"),
        ("-c:v", "mpeg2video", "-q:v", "2", "-g", "8", "-bf", "2"),
    ],
)
@pytest.mark.parametrize("name", ["whole.ts", "whole.m2ts", "whole.mpg"])
def test_a_broadcast_may_begin_between_key_frames(tmp_path: Path, name: str, codec: tuple[str, ...]) -> None:
    """A recording is cut anywhere: its frames from the first key frame on are those of the whole, at later times."""
    whole = make(tmp_path / name, *codec, frames=50, size="192x128", rate=25)
    content = whole.read_bytes()
    packet = {"whole.ts": 188, "whole.m2ts": 192, "whole.mpg": 2048}[name]
    cut = tmp_path / f"cut{whole.suffix}"
    # Of an MPEG-TS anywhere, in the middle of a packet, too.
    cut.write_bytes(content[len(content) // 5 // packet * packet + (100 if "ts" in name else 0) :])
    of_whole, of_cut = list(decode(whole)), list(decode(cut))
    assert 5 <= len(of_cut) < len(of_whole)
    for (_, _, ours), (_, _, theirs) in zip(of_whole[::-1], of_cut[::-1], strict=False):
        assert np.abs(ours.astype(int) - theirs).mean() < 2
    gaps = np.diff([seconds for _, seconds, _ in of_cut])
    assert gaps == pytest.approx(np.diff([seconds for _, seconds, _ in of_whole])[-len(gaps) :], abs=0.01)
    damaged = tmp_path / f"damaged{whole.suffix}"
    middle = 3 * len(content) // 5
    damaged.write_bytes(content[:middle] + bytes(8 * packet) + content[middle + 8 * packet :])
    with pytest.raises(BadInput, match="damaged or cut off"):
        list(decode(damaged))


def test_a_name_that_is_no_utf_8_is_decoded(tmp_path: Path) -> None:
    video = shades(tmp_path / "a.mp4").rename(tmp_path / os.fsdecode(b"caf\xe9.mp4"))
    assert sum(1 for _ in decode(video)) == FRAMES and timing(video).fps == 10


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, r"which does not run \(No such file or directory\)"),
        ("echo \"Unrecognized option 'version'.\" >&2; exit 1", r"not answer as ffmpeg does \(Unrecognized option"),
        ("echo 'ffmpeg version 4.2.2-static'; echo 'libavformat    58. 29.100 / 58. 29.100'", r"is ffmpeg 4\.2\.2"),
    ],
)
def test_another_ffmpeg_of_the_environment_is_named(
    tmp_path: Path, script: str | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, other = shades(tmp_path / "a.mp4"), tmp_path / "ffmpeg"
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(other if script is None else program(other, script)))
    with pytest.raises(BadInput, match=rf"IMAGEIO_FFMPEG_EXE names {other}, .*{reason}.*; unset IMAGEIO_FFMPEG_EXE"):
        list(decode(video))


def test_an_older_ffmpeg_is_told_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled program stands for one of before 5.1: it does not know -fps_mode, and takes -vsync for it."""
    video, bundled = shades(tmp_path / "a.mp4"), imageio_ffmpeg.get_ffmpeg_exe()
    version = "if [ \"$1\" = -version ]; then echo 'ffmpeg version 5.0.1'; echo 'libavformat    59. 16.100'; exit; fi"
    refuse = 'for word; do case "$word" in -fps_mode|-bsf:v) echo "Unrecognized option" >&2; exit 1;; esac; done'
    renamed = f'exec {bundled} $(echo "$@")'
    assert renamed
    translate = (
        'set -- "$@" ""; while [ -n "$1" ]; do word=$1; shift; [ "$word" = -vsync ] && word=-fps_mode; '
        'set -- "$@" "$word"; done; shift'
    )
    old = program(tmp_path / "ffmpeg", f'{version}\n{refuse}\n{translate}\nexec {bundled} "$@"')
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(old))
    assert [number for number, _, _ in decode(video)] == list(range(FRAMES))
