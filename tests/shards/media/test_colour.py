"""Colours of videos are those that were meant, whatever matrix, range, transfer and primaries a file has."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from likeness.command import BadInput
from shards.media.video import decode

COLOURS = np.array([(220, 160, 125), (30, 63, 190), (255, 255, 255), (90, 90, 90)])
"""RGB in BT.709, of four upright stripes."""
WIDTH, HEIGHT = 128, 64

TO_2020 = np.array([(0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956)])
"""BT.2087: linear BT.709 to linear BT.2020."""
TO_P3 = np.array([(0.8225, 0.1775, 0.0), (0.0332, 0.9668, 0.0), (0.0171, 0.0724, 0.9105)])
"""Linear BT.709 to linear P3 with D65, from their chromaticities."""
LUMA = {"bt2020nc": (0.2627, 0.0593), "bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114)}
"""Shares of red and blue in luma (BT.2020, BT.709, BT.601)."""


def pq(nits: np.ndarray) -> np.ndarray:
    """BT.2100 table 4."""
    power = (nits / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(nits: np.ndarray) -> np.ndarray:
    """BT.2100 table 5 for a display of 1000 cd/m²: the scene's light, from the display's, to a signal."""
    luminance = nits @ (0.2627, 0.6780, 0.0593) / 1000
    scene = nits / 1000 * luminance[:, None] ** (1 / 1.2 - 1)
    bright = 0.17883277 * np.log(12 * np.maximum(scene, 1 / 12) - 0.28466892) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def film(path: Path, signal: np.ndarray, matrix: str, tags: str, full: bool = False, bits: int = 10) -> Path:
    """Stripes of a signal (4, 3) in [0, 1], R'G'B', in two frames of 4:2:0."""
    red, blue = LUMA[matrix]
    luma = signal @ (red, 1 - red - blue, blue)
    differences = (signal[:, 2] - luma) / (2 - 2 * blue), (signal[:, 0] - luma) / (2 - 2 * red)
    unit, most = 1 << bits - 8, (1 << bits) - 1
    grey = luma * most if full else (16 + 219 * luma) * unit
    colours = [128 * unit + each * (most if full else 224 * unit) for each in differences]
    planes = [np.tile(np.repeat(grey, WIDTH // 4), HEIGHT)]
    planes += [np.tile(np.repeat(each, WIDTH // 8), HEIGHT // 2) for each in colours]
    frame = np.concatenate(planes).round().astype("<u2" if bits > 8 else "u1").tobytes()
    pixels = "yuv420p10le" if bits > 8 else "yuv420p"
    codec = ["-c:v", "libx265", "-x265-params", "log-level=none:lossless=1"]
    if bits == 8:
        codec = ["-c:v", "libx264", "-qp", "0"]
    how = f"setparams=colorspace={matrix}:range={'pc' if full else 'tv'}:{tags}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", pixels]
    command += ["-color_range", "pc" if full else "tv", "-s", f"{WIDTH}x{HEIGHT}", "-r", "4", "-i", "-"]
    subprocess.run([*command, "-vf", how, *codec, str(path)], input=2 * frame, check=True)
    return path


def stripes(path: Path) -> np.ndarray:
    frames = [frame for _, _, frame in decode(path)]
    assert len(frames) == 2
    return frames[1][HEIGHT // 2, WIDTH // 8 :: WIDTH // 4].astype(int)


DISPLAYED = (COLOURS / 255) ** 2.4
"""Of white, by the display's gamma (BT.1886)."""


@pytest.mark.parametrize(("transfer", "encode"), [("smpte2084", pq), ("arib-std-b67", hlg)])
def test_hdr_has_the_colours_of_its_sdr_twin(
    tmp_path: Path, transfer: str, encode: Callable[[np.ndarray], np.ndarray]
) -> None:
    """203 cd/m² of HDR are SDR's white (BT.2408)."""
    signal = encode(DISPLAYED @ TO_2020.T * 203)
    path = film(tmp_path / "a.mov", signal, "bt2020nc", f"color_primaries=bt2020:color_trc={transfer}")
    assert np.abs(stripes(path) - COLOURS).max() <= 3


def test_frames_of_odd_sizes_are_converted(tmp_path: Path) -> None:
    tags = "color_primaries=bt2020:color_trc=smpte2084"
    path, odd = film(tmp_path / "a.mov", pq(DISPLAYED * 203), "bt2020nc", tags), tmp_path / "odd.mkv"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-vf", "crop=101:51:0:0:exact=1"]
    subprocess.run([*command, "-c:v", "ffv1", str(odd)], check=True)
    assert [frame.shape for _, _, frame in decode(odd)] == [(51, 101, 3)] * 2


def test_what_is_brighter_than_white_is_white(tmp_path: Path) -> None:
    tags = "color_primaries=bt2020:color_trc=smpte2084"
    path = film(tmp_path / "a.mov", pq(np.full((4, 3), 1000.0)), "bt2020nc", tags)
    assert (stripes(path) == 255).all()


@pytest.mark.parametrize(
    ("tags", "matrix", "gamut"),
    [
        ("color_primaries=bt2020:color_trc=bt709", "bt2020nc", TO_2020),
        ("color_primaries=bt2020:color_trc=unknown", "bt2020nc", TO_2020),
        ("color_primaries=smpte432:color_trc=bt709", "bt709", TO_P3),
    ],
)
def test_wide_gamuts_are_brought_to_bt709(tmp_path: Path, tags: str, matrix: str, gamut: np.ndarray) -> None:
    signal = np.maximum(DISPLAYED @ gamut.T, 0) ** (1 / 2.4)
    assert np.abs(stripes(film(tmp_path / "a.mov", signal, matrix, tags)) - COLOURS).max() <= 3


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("matrix", "bits"), [("smpte170m", 8), ("bt709", 8), ("bt709", 10), ("bt2020nc", 10)])
def test_matrix_and_range_are_obeyed(tmp_path: Path, matrix: str, bits: int, full: bool) -> None:
    path = film(tmp_path / "a.mov", COLOURS / 255, matrix, "color_primaries=bt709:color_trc=bt709", full, bits)
    assert np.abs(stripes(path) - COLOURS).max() <= 3


def test_an_ffmpeg_that_cannot_convert_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = "color_primaries=bt2020:color_trc=smpte2084"
    path = film(tmp_path / "a.mov", pq(DISPLAYED * 203), "bt2020nc", tags)
    monkeypatch.setattr("shards.media.colour.ZSCALE", "zscale_of_another_build")
    monkeypatch.setattr("shards.media.video.ZSCALE", "zscale_of_another_build")
    with pytest.raises(BadInput, match=r"a\.mov is of high dynamic range .* no zscale_of_another_build; use"):
        next(decode(path))
