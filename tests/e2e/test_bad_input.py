"""Every bad input, as a user meets it: one clear line, exit code 2, nothing half-written."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import imageio_ffmpeg
import pytest

from likeness.checksums import sha256_of
from shards.records import load_manifest
from shards.worlds.film import film
from trainer.checkpoints.files import find
from trainer.checkpoints.synthesis import load_for_synthesis
from trainer.config import Config
from trainer.loop import train

ROOT = Path(__file__).parents[2]
PACK = ["-m", "shards", "pack", "--pairs", "8", "--size", "32"]
MakeConfig = Callable[..., Config]


def run(cwd: Path, *command: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *(str(word) for word in command)]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, env=environment, timeout=300)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says what is wrong; progress bars and messages of libraries do not count."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def names(folder: Path) -> set[str]:
    """What lies in a folder, hidden files included."""
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def videos(packed: Path, tmp_path: Path) -> Path:
    """A copy of some videos of the faces world, to be damaged."""
    return Path(shutil.copytree(packed / "videos", tmp_path / "videos"))


def command_of(config: Config, folder: Path) -> list[object]:
    file = folder / "config.json"  # JSON is YAML
    file.write_text(config.model_dump_json())
    return [ROOT / "trainer" / "run.py", "--config", file]


@pytest.mark.parametrize("damage", ["truncated", "zero bytes"])
def test_a_broken_video(damage: str, videos: Path, tmp_path: Path) -> None:
    victim = videos / "video-0002.mp4"
    content = victim.read_bytes()
    victim.write_bytes(content[: len(content) * 2 // 3] if damage == "truncated" else b"")
    assert "video-0002.mp4" in refusal(run(tmp_path, *PACK, "--source", "videos", "--out", "out"))
    assert names(tmp_path) == {"videos", ".out-packing"}, "what is labelled stays, to go on from there"


def test_a_video_without_a_face(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", reason="no wheel for Python 3.13 and newer")
    (tmp_path / "videos").mkdir()
    for number in (0, 1):
        pattern = ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=10:duration=1", "-pix_fmt", "yuv420p"]
        target = str(tmp_path / "videos" / f"{number}.mp4")
        subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *pattern, target], check=True)
    done = run(tmp_path, *PACK, "--source", "videos", "--out", "out", "--labels", "face-landmarks", "--every", "5")
    assert "0.mp4" in refusal(done) and "face" in refusal(done)
    assert names(tmp_path) == {"videos", ".out-packing"}


def test_a_label_id_outside_the_schema(tmp_path: Path) -> None:
    film("streets", tmp_path / "videos", videos=2, seconds=0.5, size=256, seed=1)
    label = sorted((tmp_path / "videos").glob("video-0001.labels/*.png"))[1]
    ids = cv2.imread(str(label), cv2.IMREAD_UNCHANGED)
    ids[7, 9] = 77
    cv2.imwrite(str(label), ids)
    line = refusal(run(tmp_path, "-m", "shards", "pack", "--pairs", "4", "--source", "videos", "--out", "out"))
    assert "77" in line and "video-0001" in line
    assert names(tmp_path) == {"videos", ".out-packing"}


@pytest.mark.parametrize("reader", ["verify", "train"])
def test_a_shard_with_a_flipped_byte(reader: str, packed: Path, small_config: MakeConfig, tmp_path: Path) -> None:
    shutil.copytree(packed / "train", tmp_path / "train")
    shard = tmp_path / "train" / "pairs-000002.tar"
    content = bytearray(shard.read_bytes())
    content[3000] ^= 4
    shard.write_bytes(content)
    config = small_config("pix2pixhd", data__train=str(tmp_path / "train"))
    command = ["-m", "shards", "verify", "train"] if reader == "verify" else command_of(config, tmp_path)
    assert "pairs-000002.tar" in refusal(run(tmp_path, *command))
    assert not list(config.run.glob("checkpoint-*"))


def test_a_manifest_of_another_label_schema_than_the_checkpoints(
    packed: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    config = small_config("pix2pixhd", images=2)
    train(config)
    source = ["--source", packed / "videos", "--out", "wide", "--size", "48"]
    assert run(tmp_path, "-m", "shards", "pack", "--pairs", "8", *source).returncode == 0
    resume = ["--resume", "latest", "--data.train", "wide", "--images", "4"]
    line = refusal(run(tmp_path, *command_of(config, tmp_path), *resume))
    assert "data.height is 32 in the config and 48 in the shards" in line
    export = ["-m", "export", "--checkpoint", config.run, "--samples", "wide", "--out", "model.onnx"]
    assert "height is 32 here and 48 there" in refusal(run(tmp_path, *export))
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("command", ["worlds", "pack", "train"])
def test_a_size_that_is_no_multiple_of_16(command: str, packed: Path, small_config: MakeConfig, tmp_path: Path) -> None:
    config = small_config("pix2pixhd")
    words: list[object] = {
        "worlds": ["-m", "shards", "worlds", "faces", "--size", "100", "--out", "out"],
        "pack": ["-m", "shards", "pack", "--source", packed / "videos", "--size", "100", "--out", "out"],
        "train": [*command_of(config, tmp_path), "--data.width", "100"],
    }[command]
    assert "100 is not a multiple of 16" in refusal(run(tmp_path, *words))
    assert names(tmp_path) <= {"config.json", "mlflow.db"}


def test_an_unknown_config_key(small_config: MakeConfig, tmp_path: Path) -> None:
    words = [*command_of(small_config("pix2pixhd"), tmp_path), "--options.feature_wieght", "3"]
    line = refusal(run(tmp_path, *words))
    assert "unknown key 'options.feature_wieght'; did you mean 'feature_weight'?" in line


@pytest.mark.parametrize("command", ["worlds", "pack", "train", "batch"])
def test_an_output_folder_that_exists(command: str, packed: Path, small_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("mine")
    config = small_config("pix2pixhd")
    words: list[object] = {
        "worlds": ["-m", "shards", "worlds", "faces", "--out", "run"],
        "pack": [*PACK, "--source", packed / "videos", "--out", "run"],
        "train": command_of(config, tmp_path),
        "batch": ["-m", "deploy", "batch", "--model", "model.onnx", "--pairs", packed / "test", "--out", "run"],
    }[command]
    if command == "batch":
        export = ["--config", command_of(config, tmp_path)[2], "--untrained", "--out", "model.onnx"]
        assert run(tmp_path, "-m", "export", *export).returncode == 0
    assert "run exists already" in refusal(run(tmp_path, *words))
    assert names(tmp_path / "run") == {"precious"}


def full_disk(folder: Path, size: str, command: list[object], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command with a real file system of `size` mounted on `folder`, in a mount namespace of its own."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root and namespaces")
    words = shlex.join(str(word) for word in (sys.executable, *command))
    mount = f"mount -t tmpfs -o size={size} none {shlex.quote(str(folder))}"
    script = f"{mount} && {{ {words}; code=$?; ls -A {shlex.quote(str(folder))} > listing; exit $code; }}"
    return subprocess.run(
        ["unshare", "-m", "bash", "-c", script],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )


@pytest.mark.parametrize("command", ["worlds", "pack", "batch"])
def test_a_full_disk_leaves_nothing(command: str, packed: Path, small_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    words: list[object] = {
        "worlds": ["-m", "shards", "worlds", "faces", "--videos", "8", "--seconds", "2", "--out", "small/out"],
        "pack": [*PACK, "--source", packed / "videos", "--out", "small/out"],
        "batch": ["-m", "deploy", "batch", "--model", "model.onnx", "--pairs", packed / "test", "--out", "small/out"],
    }[command]
    if command == "batch":
        file = command_of(small_config("pix2pixhd"), tmp_path)[2]
        assert run(tmp_path, "-m", "export", "--config", file, "--untrained", "--out", "model.onnx").returncode == 0
    done = full_disk(tmp_path / "small", "16k" if command == "batch" else "48k", words, tmp_path)
    assert "No space left" in refusal(done)
    left = set((tmp_path / "listing").read_text().split())
    stays = {"worlds": set(), "pack": {".out-packing"}, "batch": {"out"}}[command]
    assert left == stays, "finished pictures stay, to be continued"


def test_a_full_disk_leaves_the_previous_checkpoint(packed: Path, small_config: MakeConfig, tmp_path: Path) -> None:
    config = small_config("pix2pixhd", images=2)
    train(config)
    before = find(config.run)
    assert before is not None
    digest = {file.name: sha256_of(file) for file in before.iterdir()}
    used = sum(file.stat().st_size for file in config.run.rglob("*") if file.is_file())
    kept = tmp_path / "kept"
    shutil.copytree(config.run, kept)
    # The run's folder is laid into the small file system first, so that the next checkpoint finds it nearly full.
    script = tmp_path / "train.py"
    script.write_text(
        "import shutil, subprocess, sys\n"
        f"shutil.copytree({str(kept)!r}, {str(config.run / 'run')!r})\n"
        "code = subprocess.call([sys.executable, *sys.argv[1:]])\n"
        f"shutil.rmtree({str(kept)!r}); shutil.copytree({str(config.run / 'run')!r}, {str(kept)!r})\n"
        "sys.exit(code)\n"
    )
    inner = config.run / "run"
    words = [script, *command_of(config, tmp_path), "--run", inner, "--resume", "latest", "--images", "4"]
    done = full_disk(config.run, f"{used // 1024 + 200}k", words, tmp_path)
    assert "No space left" in refusal(done)
    after = find(kept)
    assert after is not None and after.name == before.name
    assert {file.name: sha256_of(file) for file in after.iterdir()} == digest
    assert not list(kept.glob(".checkpoint*"))
    assert load_for_synthesis(kept).images_seen == 2


def test_shards_whose_splits_share_a_video(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed / "train", tmp_path / "train")
    data = json.loads((tmp_path / "train" / "manifest.json").read_text())
    data["sources"]["test"].append(data["sources"]["train"][0])
    (tmp_path / "train" / "manifest.json").write_text(json.dumps(data))
    assert data["sources"]["train"][0] in refusal(run(tmp_path, "-m", "shards", "verify", "train"))


def test_the_damage_is_what_is_refused(videos: Path, tmp_path: Path) -> None:
    """The same commands on whole input succeed: the tests above fail for the reason they name."""
    assert run(tmp_path, *PACK, "--source", "videos", "--out", "out").returncode == 0
    manifest, folder = load_manifest(tmp_path / "out")
    assert manifest.samples == 8
    assert run(tmp_path, "-m", "shards", "verify", folder).returncode == 0
