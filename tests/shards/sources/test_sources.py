"""A folder of videos becomes labelled photos, or one line says why not."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from likeness.command import BadInput
from shards.labels import load, standard_schema
from shards.media.boxes import resized
from shards.media.video import decode
from shards.operators.labelling import Labelling, Photo
from shards.operators.photos import labelled_photos
from shards.records import LabelSchema
from shards.sources.videos import EXTENSIONS, find, find_videos
from shards.worlds.film import film


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("worlds")
    for world, size in (("faces", 64), ("dance", 64), ("streets", 256)):
        film(world, root / world, videos=1, seconds=1.0, size=size, seed=3)
    return root


def copied(worlds: Path, world: str, to: Path) -> Path:
    shutil.copytree(worlds / world, to / world)
    return to / world / "video-0000.mp4"


def test_find_videos(tmp_path: Path) -> None:
    for name in ("b.mp4", "a/z.MKV", "a/b.webm", "notes.txt", "a/b.json", ".cache/c.mp4", ".d.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    assert [path.relative_to(tmp_path).as_posix() for path in find_videos(tmp_path)] == ["a/b.webm", "a/z.MKV", "b.mp4"]
    with pytest.raises(BadInput, match="no videos"):
        find_videos(tmp_path / "empty")
    with pytest.raises(BadInput, match="no such folder"):
        find_videos(tmp_path / "absent")


def labelled_frames(video: Path, root: Path, schema: LabelSchema, operator: str, every: int) -> Iterator[Photo]:
    item = next(item for item in find(root).items if item.path == video)
    return labelled_photos(item, Labelling(operator, schema, every))


@pytest.mark.parametrize("world", ["faces", "dance"])
def test_worlds_with_drawn_labels(worlds: Path, world: str) -> None:
    video = worlds / world / "video-0000.mp4"
    sidecar = json.loads(video.with_suffix(".json").read_text())
    kind, member = {"faces": ("sketch", "landmarks"), "dance": ("pose", "keypoints")}[world]
    schema = standard_schema(kind, 32, 32)  # type: ignore[arg-type]
    photos = list(labelled_frames(video, worlds, schema, "worlds", every=2))
    assert [photo.frame.number for photo in photos] == list(range(0, len(sidecar["frames"]), 2))
    for photo, (number, seconds, image) in zip(photos, decode(video, every=2), strict=True):
        assert photo.frame.source == f"{world}/video-0000.mp4" and photo.frame.style == f"{world}/video-0000"
        assert (photo.frame.number, photo.frame.seconds) == (number, seconds)
        assert [list(point) for point in getattr(photo.frame, member)] == sidecar["frames"][number][member]
        assert photo.label_picture is None and photo.image.dtype == np.uint8
        np.testing.assert_array_equal(photo.image, cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA))
        assert load(schema, photo.frame).shape == (schema.channels, 32, 32)


def test_streets_have_id_maps(worlds: Path) -> None:
    video = worlds / "streets" / "video-0000.mp4"
    sidecar = json.loads(video.with_suffix(".json").read_text())
    schema = standard_schema("classes", 32, 64)
    photos = list(labelled_frames(video, worlds, schema, "worlds", every=1))
    assert len(photos) == len(sidecar["frames"])
    for photo, entry in zip(photos, sidecar["frames"], strict=True):
        assert photo.label_picture is not None and photo.label_picture.shape == (schema.height, schema.width)
        stored = cv2.imread(str(video.parent / entry["label"]), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(photo.label_picture)) <= set(np.unique(stored)) and len(np.unique(stored)) > 3
        assert photo.frame.style == sidecar["style_key"]


def test_equal_names_in_two_folders_are_two_styles(worlds: Path, tmp_path: Path) -> None:
    schema = standard_schema("sketch", 32, 32)
    for folder in ("one", "two"):
        copied(worlds, "faces", tmp_path / folder)
    keys = {next(labelled_frames(video, tmp_path, schema, "worlds", 1)).frame.style for video in find_videos(tmp_path)}
    assert keys == {"one/faces/video-0000", "two/faces/video-0000"}


def test_what_does_not_fit_is_refused(worlds: Path, tmp_path: Path) -> None:
    video = copied(worlds, "faces", tmp_path)

    def refuse(match: str, kind: str = "sketch", operator: str = "worlds") -> None:
        with pytest.raises(BadInput, match=match):
            list(labelled_frames(video, tmp_path, standard_schema(kind, 32, 32), operator, 1))  # type: ignore[arg-type]

    refuse("no label operator 'tarot'", operator="tarot")
    refuse("'faces', which has no keypoints", kind="pose")
    refuse("kind 'sketch', not 'classes'", kind="classes", operator="face-landmarks")

    path = video.with_suffix(".json")
    sidecar = json.loads(path.read_text())
    path.write_text(json.dumps({**sidecar, "frames": sidecar["frames"][:-2]}))
    refuse("but video-0000.mp4 has more")
    twice = sidecar["frames"] + [{**entry, "number": entry["number"] + 8} for entry in sidecar["frames"]]
    path.write_text(json.dumps({**sidecar, "frames": twice}))
    refuse("ends with frame 7, but video-0000.json describes 16")
    path.write_text('{"world": "faces"}')
    refuse("not a world's sidecar")
    path.unlink()
    refuse("has no sidecar")


def test_an_id_outside_the_schema_is_refused(worlds: Path, tmp_path: Path) -> None:
    video = copied(worlds, "streets", tmp_path)
    label = video.parent / "video-0000.labels" / "000002.png"
    ids = cv2.imread(str(label), cv2.IMREAD_UNCHANGED)
    ids[:] = 42
    cv2.imwrite(str(label), ids)
    photos = labelled_frames(video, tmp_path, standard_schema("classes", 32, 64), "worlds", 1)
    with pytest.raises(BadInput, match=r"000002\.png: label id 42 at row 0, column 0"):
        list(photos)
    label.unlink()
    with pytest.raises(BadInput, match=r"000002\.png cannot be read"):
        list(labelled_frames(video, tmp_path, standard_schema("classes", 32, 64), "worlds", 1))


def test_resized() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (64, 64, 3), np.uint8)
    means = image.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(resized(image, 32, 32) - means).max() <= 1
    assert resized(image, 96, 128).shape == (96, 128, 3)
    assert resized(image, 64, 64) is image


class Blind:
    def detect(self, image: np.ndarray) -> np.ndarray | None:
        return None


def test_a_video_without_a_face_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shards.operators.points.landmark_detector", lambda predictor: Blind())
    video = tmp_path / "sea.mp4"
    source = "testsrc2=size=160x160:rate=10:duration=1"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, str(video)]
    subprocess.run(command, check=True)
    schema = standard_schema("sketch", 64, 64)
    with pytest.raises(BadInput, match=r"sea\.mp4: no usable frame among 5 \(no face: 5\)"):
        list(labelled_frames(video, tmp_path, schema, "face-landmarks", 2))


def test_videos_through_links_and_what_is_no_video(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    for name in ("videos/a.divx", "videos/notes.txt", "videos/a.json", "elsewhere/b.M2V"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}", encoding="utf-8")
    (root / "more").symlink_to(tmp_path / "elsewhere")
    (root / os.fsdecode(b"caf\xe9.mp4")).touch()
    found = find(root)
    assert [item.source for item in found.items] == ["a.divx", "caf%E9.mp4", "more/b.M2V"]
    assert [item.path.is_file() for item in found.items] == [True] * 3
    assert found.notes == (
        "not used: 1 beside videos, but no sidecars of a world (a.json); 1 that are no videos (notes.txt)",
    )


def test_everything_that_a_world_draws_is_used(worlds: Path) -> None:
    assert find(worlds).notes == ()


def test_every_container_of_moving_pictures_that_ffmpeg_writes_is_looked_for() -> None:
    """ffmpeg names the endings of what it writes itself; what has a video codec by default holds moving pictures."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    muxers = (
        "mp4 mov matroska webm avi mpegts mpeg vob svcd flv f4v asf gxf mxf nut ogg ogv rm 3gp 3g2 psp dv ivf gif "
        "apng h261 h263 h264 hevc vvc m4v mjpeg mpeg1video mpeg2video avs2 avs3 obu evc vc1 yuv4mpegpipe"
    )
    for muxer in muxers.split():
        told = subprocess.run([program, "-hide_banner", "-h", f"muxer={muxer}"], capture_output=True, check=True).stdout
        match = re.search(r"Common extensions: ([\w,]+)", told.decode())
        endings = {f".{ending}" for ending in match[1].split(",")} if match else set()
        assert endings - {".wma", ".m4a", ".ism", ".m1a", ".m2a", ".ra", ".avs"} <= EXTENSIONS, muxer
