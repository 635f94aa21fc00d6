"""Cuts: found where shots are joined, and nowhere else; a place that is shown again is known."""

import subprocess
from collections import Counter
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from likeness.array import Array
from shards.labels import standard_schema
from shards.media.video import decode
from shards.operators.labelling import Labelling
from shards.operators.photos import labelled_photos
from shards.operators.shots import Places
from shards.sources.dataset import Item
from shards.worlds.film import film
from tests.photographs import photographs


def panned(photo: Array, frames: int, step: int = 6) -> list[Array]:
    """A camera that moves over a photograph."""
    side = 160
    large = cv2.resize(photo, (side + frames * step, side + frames * step // 2), interpolation=cv2.INTER_AREA)
    return [large[n * step // 2 :][:side, n * step :][:, :side] for n in range(frames)]


def places(frames: list[Array]) -> list[int]:
    numbered = Places()
    return [numbered.place_of(frame) for frame in frames]


def test_cuts_between_photographs_and_none_while_the_camera_moves() -> None:
    """Ten shots of different photographs, each with a moving camera: every cut, at its frame, and no other."""
    names = ("astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry", "retina")
    shots = [panned(photographs()[f"{name}/0"], 9) for name in names]
    assert places([frame for shot in shots for frame in shot]) == [n for n in range(len(shots)) for _ in range(9)]


def test_a_place_that_is_shown_again_has_its_number() -> None:
    """As an interview is cut: to and fro."""
    one, other = (panned(photographs()[f"{name}/0"], 6, 2) for name in ("astronaut", "coffee"))
    assert places([*one, *other, *one, *other]) == [0] * 6 + [1] * 6 + [0] * 6 + [1] * 6


@pytest.mark.parametrize("world", ("faces", "dance", "streets"))
def test_worlds_are_not_cut(world: str, tmp_path: Path) -> None:
    film(world, tmp_path / "films", videos=3, seconds=2, size=256 if world == "streets" else 64, seed=2)
    for video in (tmp_path / "films").glob("*.mp4"):
        assert {*places([image for _, _, image in decode(video)])} == {0}


def test_the_shots_of_a_file_are_styles_of_their_own(tmp_path: Path) -> None:
    """Joined by ffmpeg: 8 frames each of two photographs, the second shot brightening a little."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "160x160"]
    command += ["-r", "8", "-i", "-", "-pix_fmt", "yuv420p", str(tmp_path / "cut.mp4")]
    shots = [panned(photographs()[f"{name}/0"], 8) for name in ("rocket", "retina")]
    pixels = b"".join(np.ascontiguousarray(frame).tobytes() for shot in shots for frame in shot)
    subprocess.run(command, input=pixels, check=True)
    item = Item("cut.mp4", tmp_path / "cut.mp4", "cut.mp4")
    labelling = Labelling("edges", standard_schema("edges", 32, 32), shots=True)
    styles = Counter(photo.frame.style for photo in labelled_photos(item, labelling))
    assert styles == {"cut.mp4": 8, "cut.mp4 place 1": 8}
    one = Labelling("edges", standard_schema("edges", 32, 32))
    assert {photo.frame.style for photo in labelled_photos(item, one)} == {"cut.mp4"}
