"""Evaluation as a user runs it: what known pictures score, from checkpoints, folders and lists, on one rank or two."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from likeness.command import BadInput
from shards.media.pictures import read_picture
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.records import load_manifest
from shards.worlds.film import film
from tests.browser import CHROMIUM, FLAGS, needs_browser
from trainer.config import Config
from trainer.evaluate import report
from trainer.evaluate.__main__ import main, table_of
from trainer.evaluate.judged_pairs import open_judged
from trainer.evaluate.paint import BATCH, PICTURES, SWAPPED, slice_of
from trainer.loop import train
from trainer.metrics.reader.files import save
from trainer.metrics.reader.recipe import Recipe
from trainer.metrics.reader.training import train as train_reader
from trainer.metrics.truth import Truth
from trainer.tables.__main__ import CONTROLS, paint_control

ROOT = Path(__file__).parents[3]
PAIRS = 16


@dataclass(frozen=True)
class World:
    """Faces with held-out shards, a little trained reader, and the controls' pictures by name."""

    folder: Path

    @property
    def shards(self) -> Path:
        return self.folder / "test"

    def words(self, control: str, out: Path) -> list[str]:
        painted = self.folder / control
        subject = ["--pictures", str(painted / PICTURES), "--swapped", str(painted / SWAPPED)]
        return [*subject, *self.truth, "--data", str(self.shards), "--out", str(out)]

    @property
    def truth(self) -> list[str]:
        return ["--videos", str(self.folder / "videos"), "--reader", str(self.folder / "reader.safetensors")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("evaluated")
    film("faces", folder / "videos", videos=32, seconds=1, size=64, seed=8, fps=3)
    packing = Packing(folder / "videos", preset("default"), pairs=4, size=32, test_pairs=PAIRS, test_fraction=0.5)
    pack(packing, folder / "train", folder / "test")
    recipe = Recipe("faces", 32, 32, steps=60, pictures=200, held_out=8)
    save(train_reader(recipe), folder / "reader.safetensors")
    truth = Truth(folder / "videos", load_manifest(folder / "test")[0].schema)
    with open_judged(str(folder / "test")) as pairs:
        for name in CONTROLS:
            paint_control(name, pairs, truth, folder / name)
    return World(folder)


@pytest.fixture(scope="module")
def controls(world: World) -> dict[str, dict[str, Any]]:
    """The figures of every control, by name."""
    found = {}
    for name in CONTROLS:
        out = world.folder / f"{name}-judged"
        assert main(world.words(name, out)) == 0
        found[name] = json.loads((out / "evaluation.json").read_text())["figures"]
    return found


def test_known_pictures_land_where_they_must(controls: dict[str, dict[str, Any]]) -> None:
    def value(name: str, figure: str) -> float:
        found: float = controls[name][figure]["value"]
        return found

    truth, copy, noise = "truth", "exemplar copied", "noise"
    assert value(truth, "truth/distance") == value(truth, "truth/exemplar_copy") == 0
    assert value(truth, "style/top1") == value(truth, "swap/label_follows") == 100
    assert value(truth, "swap/label_change") == value(truth, "swap/exemplar_change") == pytest.approx(1)
    assert value(copy, "truth/exemplar_copy") == 1
    assert value(copy, "style/palette_top1") > 80 > value(noise, "style/palette_top1")
    assert value(copy, "factors/colour_error") < 0.3 * value(noise, "factors/colour_error")
    assert value(copy, "swap/label_change") == 0 < value(copy, "swap/exemplar_change")
    assert value(truth, "reader/lepe") < value(copy, "reader/lepe")
    for figure in ("truth/distance", "world_frechet", "factors/colour_error"):
        assert value(truth, figure) < value(noise, figure), figure
    assert value(copy, "truth/distance") < value(noise, "truth/distance")
    assert value("real photo", "world_frechet") == pytest.approx(0, abs=1e-6)
    assert value(truth, "truth/psnr") > 58 > 20 > value(copy, "truth/psnr") > value(noise, "truth/psnr")


def test_fewer_pairs_than_were_painted_are_judged_alike(world: World, tmp_path: Path) -> None:
    """The last of the first pairs was swapped with one that is not judged."""
    assert main([*world.words("truth", tmp_path / "out"), "--pairs", "12"]) == 0
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())["figures"]
    assert figures["swap/label_follows"]["value"] == figures["swap/exemplar_follows"]["value"] == 100
    assert figures["swap/label_change"]["value"] == figures["swap/exemplar_change"]["value"] == pytest.approx(1)


def test_every_measurement_of_every_picture_is_kept(world: World, controls: dict[str, dict[str, Any]]) -> None:
    table = pq.read_table(world.folder / "noise-judged" / "pictures.parquet").to_pydict()
    with open_judged(str(world.shards)) as pairs:
        assert table["key"] == [pairs.pair(number).key for number in range(PAIRS)]
    assert np.mean(table["truth/distance"]) == pytest.approx(controls["noise"]["truth/distance"]["value"])
    interval = controls["noise"]["truth/distance"]
    assert interval["low"] < interval["value"] < interval["high"]


def test_values_are_printed_with_units_that_read_as_such(controls: dict[str, dict[str, Any]]) -> None:
    assert {figure["unit"] for figure in controls["noise"].values()} == {"", "%", "dB", "of 255"}
    figure = {"value": 0.33412, "low": None, "high": None, "better": "less", "pictures": 8, "unit": "of 255"}
    assert table_of({"figures": {"truth/distance": figure}}).splitlines()[1].split("  ")[1] == "0.3341 of 255"


@given(total=st.integers(0, 200), ranks=st.integers(1, 9))
def test_every_pair_is_painted_once_and_in_the_same_company(total: int, ranks: int) -> None:
    def batches(ranks: int) -> list[range]:
        slices = [slice_of(total, rank, ranks) for rank in range(ranks)]
        return [mine[start : start + BATCH] for mine in slices for start in range(0, len(mine), BATCH)]

    assert [number for batch in batches(ranks) for number in batch] == list(range(total))
    assert batches(ranks) == batches(1)
    sizes = [len(slice_of(total, rank, ranks)) for rank in range(ranks)]
    assert max(sizes) - min(sizes) <= 2 * BATCH


def test_ranks_share_the_pairs_and_agree(world: World, small_config: Callable[..., Config], tmp_path: Path) -> None:
    """Painted and judged by two processes, exactly once: the same files as by one."""
    data = {"train": str(world.folder / "train"), "test": str(world.shards)}
    config = small_config("style_consistent", data__train=data["train"], data__test=data["test"], images=2)
    train(config)
    words = ["--checkpoint", str(config.run), *world.truth, "--pairs", "15"]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    two = [*launch, "-m", "trainer.evaluate", *words, "--out", str(tmp_path / "two")]
    done = subprocess.run(two, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, other = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("one", "two"))
    assert one == other and one["pairs"] == 15
    tables = [pq.read_table(tmp_path / name / "pictures.parquet") for name in ("one", "two")]
    assert tables[0].schema == tables[1].schema and tables[0].num_rows == 15
    for name in tables[0].column_names:
        np.testing.assert_array_equal(*(table.column(name).to_numpy() for table in tables), err_msg=name)
    for folder in (PICTURES, SWAPPED):
        painted = [sorted((tmp_path / name / folder).iterdir()) for name in ("one", "two")]
        assert [file.name for file in painted[0]] == [file.name for file in painted[1]] and len(painted[0]) == 15
        assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*painted, strict=True))


def test_a_checkpoint_is_judged_as_the_folder_of_its_pictures(
    world: World, small_config: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config("pix2pixhd", data__train=str(world.folder / "train"), data__test=str(world.shards), images=2)
    train(config)
    capsys.readouterr()
    assert main(["--checkpoint", str(config.run), "--json", "--out", str(tmp_path / "own")]) == 0
    own = json.loads(capsys.readouterr().out)
    folders = ["--pictures", str(tmp_path / "own" / PICTURES), "--swapped", str(tmp_path / "own" / SWAPPED)]
    assert main([*folders, "--data", str(world.shards), "--out", str(tmp_path / "again"), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert own["figures"] == again["figures"] and own["method"] == "pix2pixhd"
    assert own["figures"]["swap/exemplar_changed"]["value"] == 0, "it reads no exemplar"
    assert own["figures"]["swap/label_changed"]["value"] > 0


def test_pictures_of_anything_by_a_list(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another system's pictures: a CSV says which photo each should be."""
    rows = []
    with open_judged(str(world.shards)) as pairs:
        for number in range(6):
            photos = pairs.photos(number)
            for side in ("target", "exemplar"):
                Image.fromarray(getattr(photos, side)).save(tmp_path / f"{side}{number}.png")
            (tmp_path / "painted").mkdir(exist_ok=True)
            Image.fromarray(photos.target // 2).save(tmp_path / "painted" / f"p{number}.jpg", quality=100)
            rows.append(
                [f"p{number}.jpg", f"target{number}.png", f"exemplar{number}.png", str(number % 2), f"g{number}"]
            )
    # Another system's folder: a link to it, files beside the pictures, names that a Mac has spelled.
    (tmp_path / "target0.png").rename(tmp_path / "tärget0.png".replace("ä", "a\u0308"))
    rows[0][0:2] = "pä0.jpg", "tärget0.png"
    (tmp_path / "painted" / "p0.jpg").rename(tmp_path / "painted" / "pa\u03080.jpg")
    for name in (".DS_Store", "notes.txt", "p7.png"):
        (tmp_path / "painted" / name).touch()
    (tmp_path / "painted").rename(tmp_path / "elsewhere")
    (tmp_path / "painted").symlink_to(tmp_path / "elsewhere")
    with (tmp_path / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["picture", "target", "exemplar", "same_style", "group"], *rows])
    words = ["--pictures", str(tmp_path / "painted"), "--data", str(tmp_path / "pairs.csv"), "--json"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    beside = "not used: 1 hidden (.DS_Store); 1 of no pair (p7); 1 that are no pictures (notes.txt)"
    assert f"note: {tmp_path / 'painted'}: {beside}" in printed.err.splitlines()
    figures = json.loads(printed.out)["figures"]
    assert figures["l1"]["pictures"] == 3, "only where the style is the same is the target the answer"
    targets = [np.asarray(Image.open(tmp_path / f"target{number}.png")).astype(float) for number in (1, 3, 5)]
    assert figures["l1"]["value"] == pytest.approx(np.mean([np.abs(t - t // 2).mean() for t in targets]), abs=1.0)
    assert main([*words, "--out", str(tmp_path / "out"), "--videos", str(tmp_path)]) == 2


def test_a_photo_with_a_rotation_mark_is_judged_upright(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cameras store a photo as the sensor lay, with a mark that says how to turn it. Packing turns it; so does this."""
    upright = np.zeros((48, 32, 3), np.uint8)
    upright[:16, 16:] = (200, 40, 40)
    mark = Image.Exif()
    mark[274] = 6  # the tag Orientation: turn it clockwise by a quarter
    lying = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    lying.save(tmp_path / "photo.jpg", quality=100, subsampling=0, exif=mark)
    packed = read_picture(tmp_path / "photo.jpg")
    assert packed.shape == upright.shape and np.abs(packed.astype(int) - upright).max() <= 3
    (tmp_path / "painted").mkdir()
    Image.fromarray(packed).save(tmp_path / "painted" / "same.png")
    lying.save(tmp_path / "painted" / "marked.jpg", quality=100, subsampling=0, exif=mark)
    rows = [[name, "photo.jpg", "photo.jpg", "1"] for name in ("same", "marked")]
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["picture", "target", "exemplar", "same_style"], *rows])
    with open_judged(str(tmp_path / "pairs.csv")) as pairs:
        np.testing.assert_array_equal(pairs.photos(0).target, packed)
        np.testing.assert_array_equal(pairs.photos(0).exemplar, packed)
    words = ["--pictures", str(tmp_path / "painted"), "--data", str(tmp_path / "pairs.csv"), "--json"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out)["figures"]["l1"]["value"] == 0


def test_maps_of_numbers_are_no_pictures(tmp_path: Path) -> None:
    """What a grey PNG of 16 bits holds is no brightness, and a list's label map holds ids of 8 bits."""
    Image.fromarray(np.full((16, 16), 300, np.uint16)).save(tmp_path / "numbers.png")
    Image.fromarray(np.full((16, 16), 3, np.uint8)).save(tmp_path / "photo.png")
    for photo, label, message in (
        ("numbers.png", "photo.png", r"numbers\.png has more than 8 bits"),
        ("photo.png", "numbers.png", r"numbers\.png holds the id 300 at row 0, column 0, but class ids are 0 to 255"),
    ):
        (tmp_path / "pairs.csv").write_text(f"picture,target,exemplar,label\na,{photo},photo.png,{label}\n")
        with open_judged(str(tmp_path / "pairs.csv")) as pairs, pytest.raises(BadInput, match=message):
            pairs.photos(0)


def test_the_old_way_to_launch_it_names_the_new_one() -> None:
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    old, new = (
        subprocess.run([*launch, *words, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True)
        for words in (["trainer/evaluate.py"], ["-m", "trainer.evaluate"])
    )
    assert "accelerate launch -m trainer.evaluate" in old.stderr
    assert "returned non-zero exit status 2" in old.stderr, "accelerate makes 1 of it"
    assert new.returncode == 0 and "usage: python -m trainer.evaluate" in new.stdout, new.stderr
    direct = subprocess.run([sys.executable, "trainer/evaluate.py"], cwd=ROOT, capture_output=True, text=True)
    assert direct.returncode == 2 and direct.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (lambda folder: next(folder.iterdir()).unlink(), [], "is missing"),
        (lambda folder: Image.new("RGB", (16, 16)).save(next(folder.iterdir())), [], "is 16×16, but"),
        (lambda folder: next(folder.iterdir()).write_bytes(b"nothing"), [], "is no readable picture"),
        (lambda folder: None, ["--eyes", "nowhere.pth"], "nowhere.pth does not exist"),
        (
            lambda folder: None,
            ["--parser", "parser.onnx"],
            "--parser goes with shards whose label maps are of classes, or a CSV",
        ),
        (lambda folder: None, ["--features", "world"], "go with --videos"),
        (lambda folder: None, ["--features", "inception"], "likeness[fidelity]"),
        (lambda folder: None, ["--lpips", "download"], "likeness[fidelity]"),
        (lambda folder: None, ["--videos", "."], "has no sidecar"),
    ],
)
def test_bad_input_is_named_and_nothing_is_left(
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    words: list[str],
    said: str,
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("torch_fidelity", "lpips")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("torch_fidelity", "lpips"):
        # As where the extra fidelity is not installed.
        monkeypatch.setitem(sys.modules, name, None)
    painted = tmp_path / "painted"
    shutil.copytree(world.folder / "noise" / PICTURES, painted)
    change(painted)
    out = tmp_path / "out"
    assert main(["--pictures", str(painted), "--data", str(world.shards), "--out", str(out), *words]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["painted"]


def test_results_are_not_overwritten(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    assert main(world.words("noise", tmp_path / "out")) == 2
    assert "exists already" in capsys.readouterr().err


def test_what_was_not_measured_is_neither_worst_nor_best() -> None:
    values = np.random.default_rng(0).permutation([*range(60), *[float("nan")] * 20])
    shown = values[report._extremes(values)]
    assert sorted(shown.tolist()) == [*range(12), *range(48, 60)]


@needs_browser
def test_the_page_shows_the_worst_and_the_best(world: World, controls: dict[str, dict[str, Any]]) -> None:
    from playwright.sync_api import sync_playwright

    folder = world.folder / "noise-judged"
    table = pq.read_table(folder / "pictures.parquet").to_pydict()
    distances = dict(zip(table["key"], table["truth/distance"], strict=True))
    ranked = sorted(distances, key=lambda key: distances[key])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((folder / "report.html").as_uri())
        assert page.locator("#cases img").count() == 12, "there is something to see before anything is chosen"
        offered = page.locator("#figure option").all_inner_texts()
        assert "truth/ssim" in offered and "ssim" not in offered, "these pairs have two styles"
        page.select_option("#figure", label="truth/distance")
        shown = page.locator("#cases figcaption span").all_inner_texts()
        assert shown == ranked[::-1][: len(shown)] and len(shown) == 12
        page.click("#best")
        assert page.locator("#cases figcaption span").all_inner_texts() == ranked[:12]
        strip = page.locator("#cases img").first
        strip.scroll_into_view_if_needed()
        page.wait_for_function("image => image.complete && image.naturalWidth === 4 * 128", arg=strip.element_handle())
        page.get_by_role("button", name="truth/distance").click()
        page.get_by_role("button", name="truth/distance").click()
        assert page.locator("#rows tbody tr td:first-child").first.inner_text() == ranked[-1]
        assert not complaints
        browser.close()
