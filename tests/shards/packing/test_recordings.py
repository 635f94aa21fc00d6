"""Footage that is there twice: found whatever its encoding, size, cut or side, and nothing else is."""

import subprocess
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from shards.__main__ import main
from shards.media.video import decode
from shards.packing.recordings import mirrored, same_footage, slopes
from shards.reading.samples import decode_pair, iter_samples
from shards.records import load_manifest
from tests.photographs import photographs
from tests.shards.operators.test_shots import panned


def video_of(path: Path, photo: str, *options: str, frames: int = 24) -> None:
    """A camera that moves over a photograph, encoded as `options` of ffmpeg say."""
    shots = panned(photographs()[photo], frames)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "160x160"]
    command += ["-r", "8", "-i", "-", *options, "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, input=b"".join(np.ascontiguousarray(shot).tobytes() for shot in shots), check=True)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        video_of(folder / f"{name}.mp4", f"{name}/0")
    video_of(folder / "again.mkv", "coffee/0", "-crf", "35", "-vf", "scale=96:96")
    video_of(folder / "cut.mp4", "coffee/0", "-ss", "1")
    video_of(folder / "mirrored.mp4", "rocket/0", "-vf", "hflip")
    # Another look is another style.
    video_of(folder / "warm.mp4", "coffee/0", "-vf", "colorbalance=rm=0.3:bm=-0.3")
    return folder


def test_copies_are_found_and_nothing_else(footage: Path) -> None:
    photos = ((path.name, image) for path in sorted(footage.iterdir()) for _, _, image in decode(path))
    assert same_footage(photos) == [("again.mkv", "coffee.mp4", "cut.mp4"), ("mirrored.mp4", "rocket.mp4")]


def test_a_mirrored_picture_has_the_mirrored_slopes() -> None:
    for photo in photographs().values():
        # Of eight rows and nine columns, so that nothing is resized.
        small = cv2.resize(photo, (9, 8), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(mirrored(slopes(small)[None])[0], slopes(np.ascontiguousarray(small[:, ::-1])))


def test_a_recording_is_in_one_split_and_of_one_style(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the seed draws, copies are together, and never stand for two styles."""
    pack = ["pack", "--source", str(footage), "--labels", "edges", "--size", "32", "--every", "1", "--workers", "1"]
    pack += ["--pairs", "60", "--test-pairs", "6", "--test-fraction", "0.5", "--no-cuts"]
    for seed in range(3):
        where = tmp_path / str(seed)
        assert main([*pack, "--seed", str(seed), "--out", str(where / "a"), "--test-out", str(where / "b")]) == 0
        told = capsys.readouterr().out
        assert "one recording under several names: again.mkv, coffee.mp4, cut.mp4" in told
        sources = load_manifest(where / "a")[0].sources
        for group in ({"again.mkv", "coffee.mp4", "cut.mp4"}, {"mirrored.mp4", "rocket.mp4"}):
            assert group <= {*sources["train"]} or group <= {*sources["test"]}
        for split in ("a", "b"):
            manifest, folder = load_manifest(where / split)
            for _, members in iter_samples(folder, manifest, ("json",)):
                pair = decode_pair(members)
                assert pair.inconsistent is not None
                together = {pair.exemplar.source, pair.inconsistent.source}
                assert not together <= {"again.mkv", "coffee.mp4", "cut.mp4"} and together != {
                    "mirrored.mp4",
                    "rocket.mp4",
                }
