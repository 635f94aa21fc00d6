"""A real photograph, turned into a real video with pan and zoom, becomes frames, landmarks and a sketch."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from shards.labels import load, standard_schema
from shards.media.video import decode
from shards.operators.face_crops import symmetry
from shards.operators.labelling import Labelling
from shards.operators.photos import labelled_photos
from shards.reading import samples
from shards.records import load_manifest
from shards.sources.videos import find
from trainer.config import Config
from trainer.loop import train

FRAMES = 16

pytest.importorskip("mediapipe", reason="no wheel for Python 3.13 and newer")
data = pytest.importorskip("skimage.data")


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    return film_photo(folder, folder / "clips" / "astronaut.mp4")


def film_photo(folder: Path, video: Path, grading: str = "null") -> Path:
    """16 frames of H.264, 640×640, that pan and zoom over scikit-image's astronaut, in ffmpeg's colour `grading`."""
    photo = np.pad(data.astronaut(), ((160, 0), (80, 80), (0, 0)), mode="reflect")
    cv2.imwrite(str(folder / "photo.png"), photo[..., ::-1])
    move = f"zoompan=z='1+0.02*on':x='40+3*on':y='20+4*on':d={FRAMES}:s=640x640:fps=10,{grading}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(folder / "photo.png"), "-vf", move]
    video.parent.mkdir(exist_ok=True)
    subprocess.run([*command, "-c:v", "libx264", "-pix_fmt", "yuv420p", str(video)], check=True)
    return video


def test_landmarks_and_sketch_follow_the_face(footage: Path) -> None:
    schema = standard_schema("sketch", 256, 256)
    assert sum(1 for _ in decode(footage)) == FRAMES
    (item,) = find(footage.parent).items
    photos = list(labelled_photos(item, Labelling("face-landmarks", schema)))
    assert len(photos) == FRAMES
    for photo in photos:
        assert photo.frame.source == photo.frame.style == "astronaut.mp4"
        assert photo.image.shape == (256, 256, 3)
        landmarks = np.array(photo.frame.landmarks)
        assert symmetry(landmarks) > 0.7
        # The face fills half the crop, and its box begins at (1/2 + 0.2)/2 of the height.
        (left, top), (right, bottom) = landmarks.min(axis=0) / 512, landmarks.max(axis=0) / 512
        assert (right - left, bottom - top) == pytest.approx((0.5, 0.5), abs=0.06)
        assert (left, top) == pytest.approx((0.25, 0.35), abs=0.05)
        # What lies under the landmarks: lips are redder than cheeks, pupils darker than both.
        colours = cv2.cvtColor(cv2.resize(photo.image, (512, 512)), cv2.COLOR_RGB2LAB).astype(int)

        def mean(points: np.ndarray, colours: np.ndarray = colours) -> np.ndarray:
            x, y = points.mean(axis=0).round().astype(int)
            return colours[y - 4 : y + 5, x - 4 : x + 5].mean(axis=(0, 1))

        cheek, eye = mean(landmarks[[31, 3, 36]]), mean(landmarks[36:42])
        lower_lip = mean(landmarks[[57, 66]])
        assert lower_lip[1] > cheek[1] + 3
        assert eye[0] < cheek[0] - 20
        label = load(schema, photo.frame)
        assert label.shape == (15, 256, 256)
        assert 0.01 < (label[0] > 127).mean() < 0.05
        assert (label[1:].min(axis=(1, 2)) < 5).all()


def test_footage_goes_the_whole_way_to_a_trained_checkpoint(
    tmp_path: Path, small_config: Callable[..., Config]
) -> None:
    """Two videos of one photograph, warm and cold: two styles. Decoded, sketched, paired, packed, trained on."""
    film_photo(tmp_path, tmp_path / "footage" / "warm.mp4", "colorbalance=rm=0.3:bm=-0.3")
    film_photo(tmp_path, tmp_path / "footage" / "cold.mkv", "colorbalance=rm=-0.3:bm=0.3")

    def run(*command: str) -> str:
        words = [sys.executable, *command]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    pack = ["--pairs", "24", "--size", "64", "--every", "2", "--labels", "face-landmarks", "--seed", "1"]
    run("-m", "shards", "pack", "--source", "footage", "--out", "shards", *pack)
    assert "24 samples" in run("-m", "shards", "verify", "shards")
    sheet = Path(run("-m", "shards", "inspect", "shards").splitlines()[-1])
    assert cv2.imread(str(tmp_path / sheet)).shape[1] > 6 * 128
    manifest, folder = load_manifest(tmp_path / "shards")
    decoded = [samples.decode(m, manifest.schema) for _, m in samples.iter_samples(folder, manifest)]
    redness = {
        side: [float(one.photos[side][..., 0].mean()) - float(one.photos[side][..., 2].mean()) for one in decoded]
        for side in ("exemplar", "consistent", "inconsistent")
    }
    for one, exemplar, same, other in zip(decoded, *redness.values(), strict=True):
        assert {one.pair.exemplar.style, one.pair.inconsistent.style} == {"warm.mp4", "cold.mkv"}
        assert abs(exemplar - same) < abs(exemplar - other), "the photos are of the styles that the record says"
        assert one.labels["target"].shape == (15, 64, 64)
    assert {one.pair.same_style for one in decoded} == {True, False}
    places = {"data__train": str(folder), "data__test": None, "data__height": 64, "data__width": 64}
    assert train(small_config("style_consistent", images=4, **places)) == 0
