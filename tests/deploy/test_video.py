"""Videos: every frame painted by its own label, at its own time, with the sound kept. Real H.264, real faces."""

import argparse
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from deploy.__main__ import main
from deploy.chain import Chain
from deploy.labelling import auto_labelling
from deploy.runtime import Session
from deploy.video import synthesize_video
from likeness.array import Array
from likeness.command import BadInput
from shards import labels
from shards.media.video import decode
from shards.operators.labelling import Photo
from shards.operators.photos import every_frame
from shards.records import Frame
from shards.worlds.film import film
from shards.worlds.sidecar import sidecar_of, sidecar_path

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
FRAMES = 16  # two seconds


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two faces of a world: `video-0000.mp4`, with a tone as its sound, and `video-0001.mp4`, silent."""
    folder = tmp_path_factory.mktemp("figures") / "videos"
    film("faces", folder, videos=2, seconds=FRAMES / 8, size=64, seed=8)
    silent = folder / "video-0000.mp4"
    speaking = folder / "speaking.mp4"
    tone = ["-f", "lavfi", "-i", f"sine=frequency=440:duration={FRAMES / 8}"]
    run_ffmpeg("-i", silent, *tone, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", speaking)
    speaking.replace(silent)
    return folder


def run_ffmpeg(*arguments: str | Path) -> bytes:
    done = subprocess.run([FFMPEG, "-v", "error", "-y", *map(str, arguments)], check=True, capture_output=True)
    return done.stdout


def sound(video: Path) -> bytes:
    return run_ffmpeg("-i", video, "-map", "0:a", "-f", "s16le", "-")


def pictures(video: Path) -> list[Array]:
    return [picture for _, _, picture in decode(video)]


def painted(model: Path, video: Path, exemplar: Path) -> list[Array]:
    """What the model makes of every frame's sidecar, with the exemplar's first frame."""
    session = Session(model)

    def loaded(path: Path, number: int) -> Array:
        sidecar = sidecar_of(path)
        assert sidecar is not None
        points = tuple((x, y) for x, y in sidecar["frames"][number]["landmarks"])
        return labels.load(session.schema, Frame(path.name, number, 0.0, "", landmarks=points))

    photo = cv2.resize(pictures(exemplar)[0], (32, 32), interpolation=cv2.INTER_AREA)
    feeds = {"exemplar_label": loaded(exemplar, 0), "exemplar": photo}
    tensors = [session.tensors({"label": loaded(video, number), **feeds}) for number in range(FRAMES)]
    return [session.pictures(session.run(**{name: value[None] for name, value in each.items()}))[0] for each in tensors]


def psnr(one: Array, other: Array) -> float:
    return float(10 * np.log10(255**2 / (np.mean((one.astype(float) - other) ** 2) + 1e-9)))


def test_every_frame_is_the_models_picture_of_its_label(
    model: Path, figures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, exemplar, out = figures / "video-0000.mp4", figures / "video-0001.mp4", tmp_path / "out.mp4"
    command = ["batch", "--model", str(model), "--video", str(video), "--exemplar", str(exemplar), "--out", str(out)]
    assert main([*command, "--batch", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["frames"], told["pictures"], told["held"], told["fps"]) == (FRAMES, FRAMES, 0, 8)
    found, wanted = pictures(out), painted(model, video, exemplar)
    assert [round(seconds, 3) for _, seconds, _ in decode(out)] == [number / 8 for number in range(FRAMES)]
    # Sub-sampled colour is what H.264 costs; the right frame is nearer than any other all the same, but for a tenth of
    # a decibel between frames that hardly differ.
    distances = np.array([[psnr(one, other) for other in wanted] for one in found])
    assert distances.diagonal().min() > 20
    assert (distances.diagonal() > distances.max(axis=1) - 0.1).all()
    assert sound(out) == sound(video)
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
def test_other_containers_and_videos_without_sound(suffix: str, model: Path, figures: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out{suffix}"
    command = ["batch", "--model", str(model), "--exemplar", str(figures / "video-0000.mp4"), "--out", str(out)]
    assert main([*command, "--video", str(figures / "video-0001.mp4")]) == 0
    assert len(pictures(out)) == FRAMES
    out.unlink()
    assert main([*command, "--video", str(figures / "video-0000.mp4")]) == 0
    # AAC that is encoded again begins with silence of its own; the tone must be there for as long.
    assert len(sound(out)) == pytest.approx(len(sound(figures / "video-0000.mp4")), rel=0.1)


@pytest.mark.parametrize("suffix", [".ts", ".webm", ".mov"])
def test_sound_that_begins_later_does_so_in_the_result(suffix: str, model: Path, figures: Path, tmp_path: Path) -> None:
    silent, video, out = figures / "video-0001.mp4", tmp_path / f"video{suffix}", tmp_path / "out.mp4"
    codecs = ["-c:v", "libvpx", "-c:a", "libopus"] if suffix == ".webm" else ["-c:v", "copy", "-c:a", "aac"]
    late = ["-itsoffset", "0.5", "-f", "lavfi", "-i", "sine=frequency=440:duration=1.5"]
    run_ffmpeg("-i", silent, *late, "-map", "0:v", "-map", "1:a", *codecs, video)
    sidecar_path(video).write_text(sidecar_path(silent).read_text())
    command = ["batch", "--model", str(model), "--video", str(video), "--exemplar", str(silent), "--out", str(out)]
    assert main(command) == 0
    assert [round(seconds * 8) for _, seconds, _ in decode(out)] == list(range(FRAMES))
    clock = ["-af", "aresample=48000:async=1:first_pts=0", "-ac", "1", "-f", "s16le", "-"]
    heard = np.frombuffer(run_ffmpeg("-i", out, "-map", "0:a", *clock), np.int16)
    assert np.argmax(np.abs(heard.astype(int)) > 500) / 48000 == pytest.approx(0.5, abs=0.03)


def test_a_variable_frame_rate_keeps_its_times(model: Path, figures: Path, tmp_path: Path) -> None:
    """Frames 3 to 5 are taken out: frame 2 is shown for four times as long."""
    video, exemplar, out = tmp_path / "video.mp4", figures / "video-0001.mp4", tmp_path / "out.mp4"
    gap = "select='not(between(n,3,5))'"
    run_ffmpeg("-i", figures / "video-0000.mp4", "-vf", gap, "-fps_mode", "passthrough", video)
    sidecar = json.loads(sidecar_path(figures / "video-0000.mp4").read_text())
    kept = [entry for number, entry in enumerate(sidecar["frames"]) if number not in (3, 4, 5)]
    frames = [{**entry, "number": number} for number, entry in enumerate(kept)]
    sidecar_path(video).write_text(json.dumps({**sidecar, "frames": frames}))
    times = [round(seconds * 8) for _, seconds, _ in decode(video)]
    assert times == [0, 1, 2, *range(6, FRAMES)], "ffmpeg keeps the gap"
    command = ["batch", "--model", str(model), "--video", str(video), "--exemplar", str(exemplar), "--out", str(out)]
    assert main(command) == 0
    found, wanted = pictures(out), painted(model, figures / "video-0000.mp4", exemplar)
    assert len(found) == FRAMES
    nearest = [int(np.argmax([psnr(one, other) for other in wanted])) for one in found]
    assert nearest == [0, 1, 2, 2, 2, 2, *range(6, FRAMES)]


def test_an_error_does_not_wait_for_the_next_label(
    model: Path, figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two faces come half a minute of frames without any; meanwhile the model fails."""
    video, out, session = figures / "video-0000.mp4", tmp_path / "out.mp4", Session(model)
    given = argparse.Namespace(predictor=None, openpose=None, densepose=None, parser=None, edges=None)
    labelling = auto_labelling(session.schema, given)
    faces = list(every_frame(video, replace(labelling, operator="worlds"), Counter()))[:2]

    def looking(*_: object) -> Iterator[tuple[float, Photo | None]]:
        yield from faces
        for number in range(3000):
            time.sleep(0.01)
            yield 1 + number / 8, None

    def failing(_: dict[str, Array]) -> Array:
        raise BadInput("the model is broken")

    monkeypatch.setattr("deploy.video.every_frame", looking)
    monkeypatch.setattr(session, "run_unchecked", failing)
    begun = time.monotonic()
    with pytest.raises(BadInput, match="the model is broken"):
        synthesize_video(Chain.of(session), video, figures / "video-0001.mp4", out, labelling)
    assert time.monotonic() - begun < 10
    assert not list(tmp_path.iterdir())


def test_a_video_may_take_as_long_as_the_model_needs(model: Path) -> None:
    """The limit of `python -m shards pack` is for files that hang; it counts what the model takes, too."""
    given = argparse.Namespace(predictor=None, openpose=None, densepose=None, parser=None, edges=None)
    assert auto_labelling(Session(model).schema, given).timeout_s is None


def test_refusals_leave_no_file(model: Path, figures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video, exemplar = figures / "video-0000.mp4", figures / "video-0001.mp4"
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[:3000])
    sidecar_path(cut).write_text(sidecar_path(video).read_text())
    still = tmp_path / "still.png"
    cv2.imwrite(str(still), pictures(exemplar)[0])
    out = tmp_path / "out"

    def refused(*more: str | Path, name: str = "out.mp4") -> str:
        command = ["batch", "--model", str(model), "--out", str(out / name), *map(str, more)]
        assert main(command) == 2
        assert not out.exists() or not list(out.iterdir())
        return capsys.readouterr().err

    assert "needs --exemplar" in refused("--video", video)
    assert "ends in one of .mp4" in refused("--video", video, "--exemplar", exemplar, name="out.avi")
    assert "no such file" in refused("--video", tmp_path / "none.mp4", "--exemplar", exemplar)
    assert "no exemplar at" in refused("--video", video, "--exemplar", tmp_path / "none.png")
    assert "cut.mp4" in refused("--video", cut, "--exemplar", exemplar)
    assert "64×64 pixels, and its label map" in refused(
        "--video", video, "--exemplar", still, "--exemplar-label", sidecar_path(video)
    )
    (tmp_path / "folder.mp4").mkdir()
    assert "is a folder" in refused("--video", video, "--exemplar", exemplar, name="../folder.mp4")
    assert "is what is read" in refused("--video", video, "--exemplar", exemplar, name=str(video))
    kept = tmp_path / "kept.mp4"
    kept.write_bytes(b"somebody's")
    assert f"{kept} exists already" in refused("--video", video, "--exemplar", exemplar, name=str(kept))
    assert kept.read_bytes() == b"somebody's"
    for option, value in (("--per-shard", "3"), ("--slice", "1/2"), ("--format", "jpg"), ("--cache", str(tmp_path))):
        assert f"{option} goes with --pairs" in refused("--video", video, "--exemplar", exemplar, option, value)
    for option in ("--exemplar", "--exemplar-label"):
        assert f"{option} goes with --video" in refused("--pairs", figures, option, exemplar)
    assert "--parser is of no use" in refused("--video", video, "--exemplar", exemplar, "--parser", still)


def test_faces_on_real_footage_and_frames_without_any(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without loss: pictures of one label are equal then.
    monkeypatch.setattr("deploy.video.CRF", 0)
    pytest.importorskip("mediapipe", reason="no wheel for Python 3.13 and newer")
    data = pytest.importorskip("skimage.data")
    photo = np.pad(data.astronaut(), ((160, 0), (80, 80), (0, 0)), mode="reflect")
    cv2.imwrite(str(tmp_path / "photo.png"), photo[..., ::-1])
    move = "zoompan=z='1+0.02*on':x='40+3*on':y='20+4*on':d=12:s=640x640:fps=10"
    black = "drawbox=t=fill:enable='lt(n,2)+between(n,6,8)+gte(n,10)'"
    run_ffmpeg("-i", tmp_path / "photo.png", "-vf", f"{move},{black}", "-pix_fmt", "yuv420p", tmp_path / "video.mp4")
    command = ["batch", "--model", model, "--video", tmp_path / "video.mp4", "--exemplar", tmp_path / "photo.png"]
    assert main([*map(str, command), "--out", str(tmp_path / "out.mp4"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["frames"], told["held"]) == (12, 7)
    found = pictures(tmp_path / "out.mp4")
    still: Callable[[int, int], bool] = lambda one, other: psnr(found[one], found[other]) > 100  # noqa: E731
    assert still(0, 2) and still(1, 2) and still(6, 5) and still(8, 5) and still(11, 9), (
        "the label before stays, or the first one"
    )
    assert not still(2, 4) and not still(9, 5)
