"""The six commands on a very small world, as the README strings them together, and the report they end in."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = [
    "--images=8",
    "--batch=2",
    "--data.workers=0",
    "--data.height=32",
    "--data.width=32",
    "--options.generator_base=4",
    "--options.generator_blocks=1",
    "--options.discriminator_base=4",
    "--perceptual.divisor=16",
    "--tracking.log_every=2",
]


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def demo(tracked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished demo in the layout of `make demo`, made by the real commands."""
    here = tmp_path_factory.mktemp("line")
    shutil.copyfile(tracked, here / "m.db")
    run(
        "-m",
        "shards",
        "worlds",
        "faces",
        "--out",
        "videos",
        "--videos",
        "8",
        "--seconds",
        "1",
        "--size",
        "64",
        cwd=here,
    )
    sampling = ["--pairs", "16", "--size", "32", "--test-pairs", "14", "--test-fraction", "0.5"]
    run("-m", "shards", "pack", "--source=videos", "--out=shards/train", "--test-out=shards/test", *sampling, cwd=here)
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes=1", "--num_machines=1"]
    launch += ["--mixed_precision=no", "--dynamo_backend=no", str(ROOT / "trainer" / "run.py")]
    places = ["--run=train", "--data.train=shards/train", "--data.test=shards/test", "--tracking.uri=sqlite:///m.db"]
    run(*launch, "--config", str(ROOT / "trainer" / "configs" / "demo.yaml"), *places, *TINY, cwd=here)
    run("-m", "export", "--checkpoint", "train", "--out", "model.onnx", cwd=here)
    batch = ["-m", "deploy", "batch", "--model", "model.onnx", "--pairs", "shards/test", "--out"]
    run(*batch, "pictures", cwd=here)
    run(*batch, "swapped", "--roll-labels", "1", cwd=here)
    (here / "stages").mkdir()
    (here / "stages" / "worlds").write_text("1.5\n")
    assert run("-m", "trainer.report", "--demo", ".", cwd=here).splitlines()[-1] == "report.html"
    return here


def test_the_report_for_machines_is_complete(demo: Path) -> None:
    report = json.loads((demo / "report.json").read_text())
    assert report["pairs"] == 14
    for name in ("exemplar_percent", "label_percent"):
        assert 0 <= report[name] <= 100
        assert report[name] * 14 / 100 == pytest.approx(round(report[name] * 14 / 100), abs=1e-2), "a share of 14 pairs"
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p95"] <= report["latency_ms"]["p99"]
    assert report["parity"]["max_abs"] <= 1e-3
    assert report["parity"]["psnr_db"] >= 60
    assert report["stages_s"] == {"worlds": 1.5}
    assert report["provider"] == "cpu"
    assert {"torch", "onnxruntime-gpu", "mlflow"} <= report["versions"].keys()


def test_the_report_for_people_shows_pictures_and_needs_no_other_file(demo: Path) -> None:
    page = (demo / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 12 * 4
    assert "<svg" in page
    assert "random" in page, "says plainly that the loss network's weights are random"
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "{{" not in page


def test_a_missing_stage_is_named(demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo, tmp_path / "demo")
    shutil.rmtree(tmp_path / "demo" / "pictures")
    done = subprocess.run(
        [sys.executable, "-m", "trainer.report", "--demo", str(tmp_path / "demo")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert re.search(r"^error: .*pictures/summary\.json is missing; run", done.stderr, re.MULTILINE)


def test_running_the_batch_again_makes_nothing_anew(demo: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in (demo / "pictures").glob("*.png")}
    run("-m", "deploy", "batch", "--model=model.onnx", "--pairs=shards/test", "--out=pictures", cwd=demo)
    assert before == {file.name: file.stat().st_mtime_ns for file in (demo / "pictures").glob("*.png")}
