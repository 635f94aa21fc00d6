"""`python -m shards` from outside: files, exit codes, and the one line that says what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from shards.__main__ import main
from shards.operators.photos import OPERATORS
from shards.reading.samples import decode, iter_samples
from shards.records import load_manifest
from shards.worlds import WORLDS
from shards.worlds.film import film

SIZE = "64"


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds") / "faces"
    assert main(["worlds", "faces", "--out", str(folder), "--videos", "5", "--seconds", "1", "--size", SIZE]) == 0
    return folder


@pytest.fixture
def videos(faces: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(faces, tmp_path / "videos"))


def pack(source: Path, out: Path, *more: str) -> int:
    return main(["pack", "--source", str(source), "--out", str(out), "--size", SIZE, "--pairs", "30", *more])


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """The error line; fails when there are several."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_from_videos_to_verified_shards(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = tmp_path / "sets" / "train", tmp_path / "sets" / "test"
    held_out = ("--test-out", str(test), "--test-pairs", "7", "--test-fraction", "0.4")
    assert pack(faces, train, "--samples-per-shard", "20", *held_out) == 0
    assert sorted(content(train)) == ["manifest.json", "pairs-000000.tar", "pairs-000001.tar"]
    for folder, split, count in ((train, "train", 30), (test, "test", 7)):
        manifest, _ = load_manifest(folder)
        assert (manifest.split, manifest.samples) == (split, count)
        assert (len(manifest.sources["train"]), len(manifest.sources["test"])) == (3, 2)
        assert main(["verify", str(folder)]) == 0
        for _, members in iter_samples(folder, manifest):
            sample = decode(members, manifest.schema)
            assert sample.pair.target.source in manifest.sources[manifest.split]
            assert sample.labels["target"].shape == (15, 64, 64)
    capsys.readouterr()
    assert main(["inspect", str(train), "--rows", "3"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert Path(printed[-1]) == tmp_path / "sets" / "train-sheet.png"
    sheet = cv2.imread(printed[-1])
    assert sheet is not None
    assert sheet.shape == (30 + 3 * (192 + 26), 34 + 7 * 198, 3)
    assert sorted(content(train)) == ["manifest.json", "pairs-000000.tar", "pairs-000001.tar"]


def test_photos_show_the_frames_that_the_record_names(faces: Path, tmp_path: Path) -> None:
    """The target of a record against the frame of that number, decoded by OpenCV instead."""
    assert pack(faces, tmp_path / "s", "--format", "png") == 0
    manifest, folder = load_manifest(tmp_path / "s")
    for _, members in list(iter_samples(folder, manifest))[:10]:
        sample = decode(members, manifest.schema, ("target",), ())
        capture = cv2.VideoCapture(str(faces / sample.pair.target.source))
        capture.set(cv2.CAP_PROP_POS_FRAMES, sample.pair.target.number)
        _, frame = capture.read()
        difference = abs(sample.photos["target"].astype(float) - frame[..., ::-1])
        assert difference.mean() < 4


def test_equal_commands_give_equal_bytes(faces: Path, tmp_path: Path) -> None:
    held_out = ("--test-fraction", "0.4", "--test-pairs", "5", "--test-out")
    for name in ("one", "two"):
        assert pack(faces, tmp_path / name, "--seed", "3", *held_out, str(tmp_path / f"{name}-test")) == 0
    assert pack(faces, tmp_path / "other", "--seed", "4") == 0
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert content(tmp_path / "one-test") == content(tmp_path / "two-test")
    assert content(tmp_path / "one") != content(tmp_path / "other")


def test_without_a_number_every_frame_gives_pairs(faces: Path, tmp_path: Path) -> None:
    assert main(["pack", "--source", str(faces), "--out", str(tmp_path / "s"), "--size", "32", "--every", "4"]) == 0
    manifest, _ = load_manifest(tmp_path / "s")
    assert manifest.samples == 5 * 2 * 30


def test_a_flipped_byte_fails_verification(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack(faces, tmp_path / "s") == 0
    shard = tmp_path / "s" / "pairs-000000.tar"
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 0x10
    shard.write_bytes(damaged)
    assert main(["verify", str(tmp_path / "s")]) == 2
    assert "pairs-000000.tar is damaged" in refusal(capsys)


def test_an_existing_output_is_left_alone(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "mine.txt").write_text("kept")
    for out, more in (
        ("old", ()),
        ("new", ("--test-out", str(tmp_path / "old"))),
        ("new", ("--test-out", str(tmp_path / "new" / "test"))),
        ("new", ("--test-out", str(tmp_path / "new"))),
    ):
        assert pack(faces, tmp_path / out, *more) == 2
        line = refusal(capsys)
        assert "exists already" in line or "within each other" in line
        assert content(tmp_path / "old") == {"mine.txt": b"kept"}
        assert [path.name for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--size", "100"), "100 is not a multiple of 16 of at least 32"),
        (("--size", "16"), "16 is not a multiple of 16 of at least 32"),
        (("--window-seconds", "0.01"), "window of 0.01 seconds"),
        (("--every", "1000"), "at least 2 frames each"),
        (("--test-out", "TEST", "--test-fraction", "1"), "test fraction 1.0"),
    ],
)
def test_bad_values_are_refused(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    arguments = tuple(str(tmp_path / "test") if value == "TEST" else value for value in arguments)
    assert pack(faces, tmp_path / "s", *arguments) == 2
    assert words in refusal(capsys)
    assert {path.name for path in tmp_path.iterdir()} <= {".s-packing"}, "only what labelling has finished"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--same-style-rate", "2"), "--same-style-rate: '2' is not a share between 0 and 1"),
        (("--window-seconds", "-1"), "--window-seconds: '-1' is not a number above 0"),
        (("--size", "64x"), "--size: '' is not a whole number"),
    ],
)
def test_values_that_no_option_takes(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        pack(faces, tmp_path / "s", *arguments)
    assert ended.value.code == 2 and words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("test_out", [False, True])
@pytest.mark.parametrize("kept", [0.0, 0.6])
def test_a_broken_video_stops_all_but_what_is_done(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: float, test_out: bool
) -> None:
    broken = videos / "video-0003.mp4"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: int(kept * len(whole))])
    more = ("--test-out", str(tmp_path / "test"), "--test-fraction", "0.4") if test_out else ()
    assert pack(videos, tmp_path / "s", *more) == 2
    assert "video-0003.mp4" in refusal(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".s-packing", "videos"]
    broken.write_bytes(whole)
    assert pack(videos, tmp_path / "s", *more) == 0, "the same command goes on once the video is mended"
    assert not (tmp_path / ".s-packing").exists()


def test_a_folder_without_videos_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for source in ("empty", "absent"):
        assert pack(tmp_path / source, tmp_path / "s") == 2
        assert source in refusal(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_video_without_its_sidecar_is_refused(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (videos / "video-0002.json").unlink()
    assert pack(videos, tmp_path / "s") == 2
    assert "video-0002.mp4 has no sidecar video-0002.json" in refusal(capsys)


def test_no_shards_where_some_are_expected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("verify", "inspect"):
        assert main([command, str(tmp_path / "nowhere")]) == 2
        assert "no manifest at" in refusal(capsys)


PRIVATE_MOUNTS = (("unshare", "-m"), ("unshare", "-rm"))


@pytest.mark.parametrize("room", ["64k", "1m"], ids=["while decoding", "while packing"])
def test_a_full_disk_leaves_only_what_is_done(faces: Path, tmp_path: Path, room: str) -> None:
    """A real file system of `room`, mounted where only the command sees it; with more room the command goes on."""
    mount = f"mount -t tmpfs -o size={room} tmpfs {tmp_path}"
    private = next((tool for tool in PRIVATE_MOUNTS if _succeeds([*tool, "sh", "-c", mount])), None)
    if private is None:
        pytest.skip("no private mounts here: unshare -m is not permitted")
    command = f"{sys.executable} -m shards pack --source {faces} --out {tmp_path}/s --size {SIZE} --pairs 400"
    more = f"mount -o remount,size=64m {tmp_path}"
    once = f"{command}; echo code $?; ls -A {tmp_path}"
    script = f"{mount} && {{ {once}; {more}; {once}; }}"
    done = subprocess.run([*private, "sh", "-c", script], capture_output=True, text=True)
    shown = [line for line in done.stdout.splitlines() if line.startswith("code") or line in ("s", ".s-packing")]
    assert shown == ["code 2", ".s-packing", "code 0", "s"], done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def _succeeds(command: list[str]) -> bool:
    return bool(shutil.which(command[0])) and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.parametrize("world", WORLDS)
def test_every_world_can_be_packed(tmp_path: Path, world: str) -> None:
    width = 256
    film(world, tmp_path / "videos", videos=4, seconds=0.5, size=width, seed=1)
    source, out = str(tmp_path / "videos"), str(tmp_path / "s")
    assert main(["pack", "--source", source, "--out", out, "--size", str(width), "--pairs", "8"]) == 0
    manifest, _ = load_manifest(tmp_path / "s")
    module = WORLDS[world]
    assert manifest.schema.kind == module.KIND.name
    assert (manifest.schema.height, manifest.schema.width) == (module.height_of(width), width)
    assert main(["verify", out]) == 0
    assert main(["inspect", out]) == 0


def test_streets_are_packed_at_any_width_with_the_nearest_height_that_fits(tmp_path: Path) -> None:
    """64 wide would be 36 high; generators need multiples of 16."""
    film("streets", tmp_path / "videos", videos=4, seconds=0.5, size=256, seed=1)
    assert pack(tmp_path / "videos", tmp_path / "s") == 0
    manifest, folder = load_manifest(tmp_path / "s")
    assert (manifest.schema.height, manifest.schema.width) == (32, 64)
    for _, members in iter_samples(folder, manifest):
        sample = decode(members, manifest.schema)
        assert sample.photos["target"].shape == (32, 64, 3) and sample.labels["target"].shape == (32, 64)


def test_two_worlds_do_not_mix(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film("dance", videos / "more", videos=1, seconds=0.5, size=64, seed=1)
    assert pack(videos, tmp_path / "s") == 2
    assert "pack one world at a time" in refusal(capsys)


def test_every_label_operator_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pack", "--help"])
    assert f"{{auto,{','.join(OPERATORS)}}}" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["worlds"], ["pack"], ["inspect"], ["verify"]])
def test_help_needs_no_torch(command: list[str]) -> None:
    code = "import sys; from shards.__main__ import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "False"
