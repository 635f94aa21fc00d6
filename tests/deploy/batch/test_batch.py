"""Batch inference: shards and CSV, resume after kill -9, refusals, and no torch anywhere."""

import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.runtime import Session
from export.__main__ import main as export
from shards import labels
from shards.reading import samples
from shards.records import load_manifest

ROOT = Path(__file__).parents[3]
SMALL = [
    "--data.height=32",
    "--data.width=32",
    "--options.generator_base=4",
    "--options.generator_downsamplings=2",
    "--options.generator_blocks=1",
]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def batch(model: Path, pairs: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy", "batch", "--model", model, "--pairs", pairs, "--out", out, *more]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)


def pictures(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("[!.]*.png"))}


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr, progress bars aside."""
    assert done.returncode == 2
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in done.stderr
    return lines[0]


def test_shards_become_the_models_pictures(model: Path, packed: Path, tmp_path: Path) -> None:
    done = batch(model, packed / "test", tmp_path / "out", "--batch", "3")
    assert done.returncode == 0, done.stderr
    manifest, folder = load_manifest(packed / "test")
    session = Session(model)
    keys = []
    for _, members in samples.iter_samples(folder, manifest):
        sample = samples.decode(members, manifest.schema, ("exemplar",))
        image = session.run(
            label=labels.expand(manifest.schema, sample.labels["target"])[None],
            exemplar_label=labels.expand(manifest.schema, sample.labels["exemplar"])[None],
            exemplar=(sample.photos["exemplar"].astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None],
        )[0]
        wanted = np.clip(np.rint((image.transpose(1, 2, 0) + 1) * 127.5), 0, 255)
        found = np.asarray(Image.open(tmp_path / "out" / f"{sample.pair.key}.png")).astype(int)
        assert np.abs(found - wanted).max() <= 1
        keys.append(f"{sample.pair.key}.png")
    assert sorted(pictures(tmp_path / "out")) == sorted(keys)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["pictures"], summary["skipped"], summary["provider"]) == (8, 0, "cpu")
    assert summary["latency_ms"].keys() == {"p50", "p95", "p99"}
    assert summary["pictures_per_s"] > 0
    assert "8-10 ms" in done.stdout and "do not compare" in done.stdout


def test_rolled_labels_are_the_next_pairs_labels(model: Path, packed: Path, tmp_path: Path) -> None:
    manifest, folder = load_manifest(packed / "test")
    decoded = [samples.decode(m, manifest.schema, ("exemplar",)) for _, m in samples.iter_samples(folder, manifest)]
    assert batch(model, packed / "test", tmp_path / "out", "--roll-labels", "1").returncode == 0
    image = Session(model).run(
        label=labels.expand(manifest.schema, decoded[0].labels["target"])[None],
        exemplar_label=labels.expand(manifest.schema, decoded[-1].labels["exemplar"])[None],
        exemplar=(decoded[-1].photos["exemplar"].astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None],
    )[0]
    found = np.asarray(Image.open(tmp_path / "out" / f"{decoded[-1].pair.key}.png")).astype(int)
    assert np.abs(found - np.clip(np.rint((image.transpose(1, 2, 0) + 1) * 127.5), 0, 255)).max() <= 1


def write_csv(folder: Path, packed: Path, count: int) -> Path:
    """Pairs as loose files, with a CSV beside them."""
    manifest, shards = load_manifest(packed / "test")
    rows = []
    for index, (_, members) in enumerate(samples.iter_samples(shards, manifest)):
        sample = samples.decode(members, manifest.schema, ("exemplar",), ())
        for side in ("target", "exemplar"):
            points = getattr(sample.pair, side).landmarks
            (folder / f"{index}-{side}.json").write_text(json.dumps({"landmarks": points}))
        Image.fromarray(sample.photos["exemplar"]).save(folder / f"{index}.png")
        rows.append((f"{index}-target.json", f"{index}-exemplar.json", f"{index}.png", f"{sample.pair.key}.png"))
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("label", "exemplar_label", "exemplar", "output"))
        writer.writerows((*rows[index % len(rows)][:3], f"{index:04}.png") for index in range(count))
    return folder / "pairs.csv"


def test_a_csv_gives_what_the_shards_give(model: Path, packed: Path, tmp_path: Path) -> None:
    pairs = write_csv(tmp_path, packed, 8)
    assert batch(model, pairs, tmp_path / "csv").returncode == 0
    assert batch(model, packed / "test", tmp_path / "shards").returncode == 0
    assert list(pictures(tmp_path / "csv").values()) == list(pictures(tmp_path / "shards").values())


def test_killed_and_run_again_it_ends_as_if_never_killed(model: Path, packed: Path, tmp_path: Path) -> None:
    pairs = write_csv(tmp_path, packed, 400)
    assert batch(model, pairs, tmp_path / "straight").returncode == 0
    command = [
        sys.executable,
        "-m",
        "deploy",
        "batch",
        "--model",
        model,
        "--pairs",
        pairs,
        "--out",
        tmp_path / "killed",
    ]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(pictures(tmp_path / "killed")) < 20:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    survived = {file: file.stat().st_mtime_ns for file in (tmp_path / "killed").glob("[!.]*.png")}
    assert 0 < len(survived) < 400
    again = batch(model, pairs, tmp_path / "killed")
    assert again.returncode == 0
    assert pictures(tmp_path / "killed") == pictures(tmp_path / "straight")
    assert all(file.stat().st_mtime_ns == at for file, at in survived.items()), "finished pictures are not made again"
    assert not list((tmp_path / "killed").glob(".*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("label,exemplar_label\na,b\n", "no column 'exemplar'"),
        ("label,exemplar_label,exemplar\n0-target.json,0-exemplar.json,none.png\n", "none.png"),
        ("", "pairs.csv"),
    ],
)
def test_a_csv_that_does_not_fit_is_refused_up_front(
    change: str, message: str, model: Path, packed: Path, tmp_path: Path
) -> None:
    pairs = write_csv(tmp_path, packed, 8)
    pairs.write_text(change)
    assert message in refusal(batch(model, pairs, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_refusals(model: Path, packed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "holiday.png").touch()
    assert "exists already" in refusal(batch(model, packed / "test", tmp_path / "mine"))
    assert "no pairs at" in refusal(batch(model, tmp_path / "none", tmp_path / "out"))
    assert "use --provider cpu" in refusal(batch(model, packed / "test", tmp_path / "out", "--provider", "cuda"))
    manifest = json.loads((packed / "test" / "manifest.json").read_text())
    manifest["schema"]["height"] = 48
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text(json.dumps(manifest))
    assert "height" in refusal(batch(model, tmp_path / "other", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_it_runs_where_torch_cannot_be_imported(model: Path, packed: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    for name in ("torch", "mlflow", "webdataset", "trainer", "export"):
        (blocked / name).mkdir(parents=True)
        (blocked / name / "__init__.py").write_text(f"raise ImportError('{name} is not for deploy')")
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{blocked}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-P", "-m", "deploy", "batch", "--model", model, "--pairs", packed / "test"]
    subprocess.run([*command, "--out", tmp_path / "out"], env=environment, check=True, timeout=120)
    assert len(pictures(tmp_path / "out")) == 8


def test_hidden_files_that_are_not_ours_are_left_alone(model: Path, packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert batch(model, packed / "test", out).returncode == 0
    (out / ".gitignore").write_text("*.png")
    (out / ".thumbnails").mkdir()
    (out / ".thumbnails" / "a.png").touch()
    leftover = out / f".{next(out.glob('[!.]*.png')).stem}-k1ll3d.png"
    leftover.touch()
    assert batch(model, packed / "test", out).returncode == 0
    assert (out / ".gitignore").read_text() == "*.png"
    assert (out / ".thumbnails" / "a.png").exists()
    assert not leftover.exists()


@pytest.mark.parametrize(("source", "roll"), [("shards", 0), ("shards", 3), ("csv", 0)])
def test_slices_at_one_time_make_every_picture_once(
    source: str, roll: int, model: Path, packed: Path, tmp_path: Path
) -> None:
    pairs = packed / "train" if source == "shards" else write_csv(tmp_path, packed, 20)
    more = ("--roll-labels", str(roll)) if roll else ()
    assert batch(model, pairs, tmp_path / "whole", *more).returncode == 0
    command = [sys.executable, "-m", "deploy", "batch", "--model", model, "--pairs", pairs]
    command += ["--out", tmp_path / "sliced", *more, "--slice"]
    running = [
        subprocess.Popen([*command, f"{number}/3"], env=ENVIRONMENT, stderr=subprocess.DEVNULL) for number in range(3)
    ]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    assert pictures(tmp_path / "sliced") == pictures(tmp_path / "whole")
    summaries = [json.loads((tmp_path / "sliced" / f"summary-{number}-of-3.json").read_text()) for number in range(3)]
    assert sorted(summary["pictures"] for summary in summaries) == [6, 7, 7]
    assert [(summary["skipped"], summary["total"]) for summary in summaries] == [(0, 20)] * 3


def test_a_slice_goes_on_and_leaves_the_others_work_alone(model: Path, packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert batch(model, packed / "test", out, "--slice", "0/2").returncode == 0
    made = sorted(pictures(out))
    assert len(made) == 4
    (out / made[0]).rename(out / f".{Path(made[0]).stem}-k1ll3d.png")
    keys = [
        members[samples.KEY].decode() for _, members in samples.iter_samples(*reversed(load_manifest(packed / "test")))
    ]
    others = out / f".{keys[-1]}-wr1t1ng.png"
    others.touch()
    assert batch(model, packed / "test", out, "--slice", "0/2").returncode == 0
    assert sorted(pictures(out)) == made
    assert others.exists(), "what another slice is writing"
    assert not (out / f".{Path(made[0]).stem}-k1ll3d.png").exists()
    summary = json.loads((out / "summary-0-of-2.json").read_text())
    assert (summary["pictures"], summary["skipped"], summary["slice"]) == (1, 3, [0, 2])
    assert "in 2 slices" in refusal(batch(model, packed / "test", out, "--slice", "0/3"))
    assert "in 2 slices" in refusal(batch(model, packed / "test", out))
    with (out / ".slice-1-of-2.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another process is writing slice 1-of-2" in refusal(
            batch(model, packed / "test", out, "--slice", "1/2")
        )
        assert batch(model, packed / "test", out, "--slice", "0/2").returncode == 0
    assert batch(model, packed / "test", out, "--slice", "2/2").returncode == 2


@pytest.mark.parametrize(
    ("made", "run"), [(["--io", "uint8"], []), ([], ["--provider", "openvino"])], ids=["uint8", "openvino"]
)
def test_pixels_and_other_runtimes_paint_the_same(
    model: Path, packed: Path, tmp_path: Path, made: list[str], run: list[str]
) -> None:
    other = model
    if made:
        other = tmp_path / "other.onnx"
        config = str(ROOT / "trainer" / "configs" / "demo.yaml")
        assert export(["--config", config, "--untrained", "--out", str(other), *SMALL, *made]) == 0
    assert batch(model, packed / "test", tmp_path / "plain").returncode == 0
    done = batch(other, packed / "test", tmp_path / "out", "--batch", "3", *run)
    assert done.returncode == 0, done.stderr
    wanted, found = pictures(tmp_path / "plain"), pictures(tmp_path / "out")
    assert list(wanted) == list(found)
    for name in wanted:
        first, second = (np.asarray(Image.open(tmp_path / folder / name)).astype(int) for folder in ("plain", "out"))
        assert np.abs(first - second).max() <= 1


def test_a_size_is_refused_by_a_model_of_one_size(model: Path, packed: Path, tmp_path: Path) -> None:
    done = batch(model, packed / "test", tmp_path / "out", "--size", "64x48")
    assert "makes pictures of 32×32, not of 64×48; export it with --dynamic-size" in refusal(done)
