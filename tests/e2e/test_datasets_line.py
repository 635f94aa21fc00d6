"""Every dataset, from the layout that its publisher ships to two training steps; and shards that lie in a bucket."""

from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import cv2
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from shards.__main__ import main
from shards.records import load_manifest
from tests.shards.sources import dataset_fixtures as fixtures
from trainer.config import Config
from trainer.loop import train

MakeConfig = Callable[..., Config]

DATASETS: dict[str, tuple[Callable[[Path], None], int, list[str]]] = {
    "bdd100k": (fixtures.write_bdd100k, 256, []),
    "cityscapes": (fixtures.write_cityscapes, 128, []),
    "coco-stuff": (fixtures.write_coco_stuff, 64, []),
    "ade20k": (fixtures.write_ade20k, 64, []),
    "pictures": (fixtures.write_pictures, 64, ["--test-fraction", "0.5"]),
    "face-forensics": (
        lambda root: fixtures.write_face_forensics(root, size=256),
        64,
        # Drawn faces in short videos: the detector finds few of them.
        ["--every", "1", "--max-bad", "0.7", "--least-distance", "0"],
    ),
}
CHANNELS = {"bdd100k": 20, "cityscapes": 35, "coco-stuff": 183, "ade20k": 151, "face-forensics": 15}


@pytest.mark.parametrize("dataset", DATASETS)
def test_from_the_publishers_layout_to_two_steps(dataset: str, tmp_path: Path, small_config: MakeConfig) -> None:
    write, size, more = DATASETS[dataset]
    if dataset == "face-forensics":
        pytest.importorskip("mediapipe", reason="no wheel for Python 3.13 and newer")
    write(tmp_path / "data")
    train_out, test_out = (str(tmp_path / name) for name in ("train", "test"))
    command = ["pack", "--dataset", dataset, "--source", str(tmp_path / "data"), "--out", train_out, "--pairs", "12"]
    command += ["--size", str(size), "--workers", "1", *more]
    if dataset != "face-forensics":
        command += ["--test-out", test_out, "--test-pairs", "4"]
    assert main(command) == 0
    assert main(["verify", train_out]) == 0
    assert main(["inspect", train_out, "--rows", "3"]) == 0
    assert cv2.imread(f"{train_out}-sheet.png").shape[1] > 7 * 190
    assert main(["doctor", "--data", train_out, "--batch", "2"]) == 0
    manifest, _ = load_manifest(Path(train_out))
    schema = manifest.schema
    assert schema.channels == CHANNELS.get(dataset, schema.channels)
    places = {"data__train": train_out, "data__test": test_out if Path(test_out).exists() else None}
    shape = {"data__label": schema.kind, "data__height": schema.height, "data__width": schema.width}
    assert train(small_config("style_consistent", images=4, **places, **shape)) == 0


@pytest.fixture
def bucket(packed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The packed shards in a bucket of a real S3-compatible server on this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    s3fs.S3FileSystem.clear_instance_cache()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "hushhush",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    name = f"shards-{tmp_path.name.lower().replace('_', '-')}"[:60].rstrip("-")
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for path in packed.rglob("*"):
        if path.is_file() and path.parent.name in ("train", "test"):
            client.upload_file(str(path), name, f"face/{path.parent.name}/{path.name}")
    yield f"s3://{name}/face"
    server.stop()


@pytest.mark.parametrize("cached", [True, False])
def test_training_on_shards_in_a_bucket(
    bucket: str, tmp_path: Path, small_config: MakeConfig, capfd: pytest.CaptureFixture[str], cached: bool
) -> None:
    """The weights are those of a run on the local shards; two loader workers share the downloads."""
    remote = {"data__train": f"{bucket}/train", "data__test": f"{bucket}/test", "data__workers": 2}
    if cached:
        remote |= {"data__cache": str(tmp_path / "cache"), "data__cache_gb": 1.0}
    weights = []
    for name, places in (("local", {"data__workers": 2}), ("remote", remote)):
        config = small_config("pix2pixhd", images=8, run=str(tmp_path / name), **places)
        assert train(config) == 0
        weights.append((tmp_path / name / "checkpoint-0000000008" / "generator.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert "hushhush" not in "".join(capfd.readouterr())
    assert cached == (tmp_path / "cache").exists()


def test_the_trace_of_shards_in_a_bucket(bucket: str, packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for location in (f"{bucket}/train", f"{bucket}/train/manifest.json", str(packed / "train")):
        assert main(["trace", "--data", location, "--batch", "3", "--workers", "1"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] == said[2]
    assert main(["doctor", "--data", f"{bucket}/train"]) == 0
    assert main(["trace", "--data", f"{bucket}/nowhere"]) == 2
