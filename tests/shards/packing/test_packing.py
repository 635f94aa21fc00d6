"""The compiler: slices, going on after a kill, quarantine, splits, lists and judgement, and what manifests prove."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from likeness.command import BadInput
from shards.__main__ import main
from shards.packing import retrieval
from shards.packing.audit import audit, copy_score, hash_distance
from shards.packing.estimate import estimate
from shards.packing.merge import merge
from shards.packing.pairs import Sampling, preset
from shards.packing.photo_cache import perceptual_hash
from shards.packing.plan import Packing, plan_of
from shards.packing.write import pack, part_folder, work_folder
from shards.reading.samples import decode_pair, iter_samples
from shards.records import SIDES, Frame, Manifest, Pair, Split, load_manifest
from tests.shards.packing.small_shards import packing
from tests.shards.sources import dataset_fixtures


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def pairs_of(folder: Path) -> list[Pair]:
    manifest, place = load_manifest(folder)
    return [decode_pair(members) for _, members in iter_samples(place, manifest, ("json",))]


@pytest.mark.parametrize("count", [2, 3, 10])
def test_slices_together_are_the_single_run_byte_for_byte(videos: Path, tmp_path: Path, count: int) -> None:
    """Ten slices are more than there are shards."""
    job = packing(videos)
    pack(job, tmp_path / "one", tmp_path / "one-test")
    for number in reversed(range(count)):
        pack(job, tmp_path / "many", tmp_path / "many-test", part=(number, count))
        (manifest, _) = load_manifest(part_folder(tmp_path / "many", (number, count)))
        assert manifest.slice == (number, count)
    parts = [content(part_folder(tmp_path / "many", (number, count))) for number in range(count)]
    tars = Counter(name for part in parts for name in part if name.endswith(".tar"))
    assert set(tars.values()) == {1}, "no shard in two slices"
    for name in ("many", "many-test"):
        merge(tmp_path / name)
    assert content(tmp_path / "many") == content(tmp_path / "one")
    assert content(tmp_path / "many-test") == content(tmp_path / "one-test")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many", "many-test", "one", "one-test"]


def test_merge_names_what_is_missing_or_foreign(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no slices of .*many lie beside it"):
        merge(tmp_path / "many")
    for number in (0, 2):
        pack(packing(videos), tmp_path / "many", part=(number, 3))
    with pytest.raises(BadInput, match=r"many-slice-0001-of-0003 is missing \(1 of 3"):
        merge(tmp_path / "many")
    pack(packing(videos, seed=9), tmp_path / "many", part=(1, 3))
    with pytest.raises(BadInput, match="packed from another plan"):
        merge(tmp_path / "many")
    shutil.rmtree(part_folder(tmp_path / "many", (1, 3)))
    pack(packing(videos), tmp_path / "many", part=(1, 3))
    shard = part_folder(tmp_path / "many", (1, 3)) / "pairs-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(BadInput, match=r"pairs-000001\.tar has \d+ bytes"):
        merge(tmp_path / "many")
    assert not (tmp_path / "many").exists()


def test_workers_do_not_change_a_byte(videos: Path, tmp_path: Path) -> None:
    pack(packing(videos), tmp_path / "one")
    pack(packing(videos), tmp_path / "two", workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_killed_packing_goes_on_and_repeats_nothing_finished(videos: Path, tmp_path: Path) -> None:
    """SIGKILL while labelling, then while packing; what was finished keeps its time of writing."""
    command = [sys.executable, "-m", "shards", "pack", "--source", str(videos), "--out", str(tmp_path / "s")]
    command += ["--pairs", "900", "--size", "32", "--samples-per-shard", "20", "--seed", "2", "--workers", "1"]
    work = work_folder(tmp_path / "s")

    def kill_when(pattern: str, least: int) -> dict[Path, int]:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 60
        while len(list(work.glob(pattern))) < least:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.001)
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return {path: path.stat().st_mtime_ns for path in work.glob(pattern)}

    units = kill_when("photos/[0-9a-f]*.json", 3)
    assert not (tmp_path / "s").exists()
    shards = kill_when("s-*-notes/pairs-*.json", 4)
    assert not (tmp_path / "s").exists()
    again = {path: path.stat().st_mtime_ns for path in units}
    assert again == units, "videos that were labelled are not labelled again"
    tars = {path: path.stat().st_mtime_ns for path in work.glob("s-*/pairs-*.tar")}
    # One of the finished ones is cut, as by a disk that was full: it is written again.
    cut = min(path for path in tars if f"{path.name}.json" in {note.name for note in shards})
    cut.write_bytes(cut.read_bytes()[:-512])
    del tars[cut]
    third = subprocess.run(command, capture_output=True, text=True)
    assert third.returncode == 0, third.stderr
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s").glob("*.tar")}
    kept = [path.name for path in tars if f"{path.name}.json" in {note.name for note in shards}]
    assert len(kept) >= 3
    for path, moment in tars.items():
        if path.name in kept:
            assert written[path.name] == moment, "finished shards are not written again"
    straight = subprocess.run([*command[:7], str(tmp_path / "straight"), *command[8:]], capture_output=True, text=True)
    assert straight.returncode == 0, straight.stderr
    assert content(tmp_path / "s") == content(tmp_path / "straight")
    assert not work.exists()


def test_the_outputs_may_lie_on_different_disks(videos: Path, tmp_path: Path) -> None:
    """Between file systems nothing can be renamed."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=shared) as other:
        pack(packing(videos), tmp_path / "train", Path(other) / "test")
        assert [path.name for path in Path(other).iterdir()] == ["test"]
        assert main(["verify", str(Path(other) / "test")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_a_changed_video_is_labelled_again(videos: Path, tmp_path: Path) -> None:
    shutil.copytree(videos, tmp_path / "v")
    with pytest.raises(BadInput, match="of at least 2 styles"):
        pack(packing(tmp_path / "v", sampling=preset("default", window_seconds=0.001)), tmp_path / "s")
    units = sorted(path.name for path in (work_folder(tmp_path / "s") / "photos").glob("*.json"))
    assert len(units) == 8
    for ending in (".mp4", ".json"):
        shutil.copy(tmp_path / "v" / f"video-0001{ending}", tmp_path / "v" / f"video-0000{ending}")
    plan = plan_of(packing(tmp_path / "v"), held_out=False)
    assert len({unit.name + ".json" for unit in plan.units} & set(units)) == 7


def test_bad_files_are_listed_and_bounded(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(videos, tmp_path / "v")
    broken = tmp_path / "v" / "video-0003.mp4"
    broken.write_bytes(broken.read_bytes()[:900])
    with pytest.raises(BadInput, match=r"video-0003\.mp4 .*--max-bad 0\.1"):
        pack(packing(tmp_path / "v"), tmp_path / "s")
    command = ["pack", "--source", str(tmp_path / "v"), "--out", str(tmp_path / "s"), "--pairs", "20", "--size", "32"]
    assert main([*command, "--max-bad", "0.2"]) == 0
    with (tmp_path / "s" / "quarantine.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == ["video-0003.mp4"]
    assert "video-0003.mp4" in rows[0]["reason"]
    assert "files that could not be read, see quarantine.csv: 1" in capsys.readouterr().out
    assert not any("video-0003" in getattr(pair, side).source for pair in pairs_of(tmp_path / "s") for side in SIDES)
    assert main(["verify", str(tmp_path / "s")]) == 0


def test_halves_of_the_same_videos(videos: Path, tmp_path: Path) -> None:
    """The paper's dance split: train from the first half of each video, test from the second."""
    pack(packing(videos, halves=True, test_pairs=40), tmp_path / "train", tmp_path / "test")
    latest: dict[str, float] = {}
    for pair in pairs_of(tmp_path / "train"):
        for side in SIDES:
            frame = getattr(pair, side)
            latest[frame.source] = max(latest.get(frame.source, 0.0), frame.seconds)
    for pair in pairs_of(tmp_path / "test"):
        for side in SIDES:
            frame = getattr(pair, side)
            assert frame.seconds > latest.get(frame.source, 0.0)
    manifest, _ = load_manifest(tmp_path / "test")
    assert manifest.shared_sources and manifest.audit["shared_sources"] == 8
    assert main(["verify", str(tmp_path / "test")]) == 0


def frame(source: str, number: int, bits: int = 0) -> Frame:
    """A frame whose perceptual hash has its lowest `bits` bits set."""
    return Frame(source, number, 0.0, source, hash=f"{(1 << bits) - 1:016x}")


def audited(pairs: list[Pair], sources: dict[Split, list[str]], shared: bool = False) -> dict[str, Any]:
    return audit(pairs, sources, "train", shared, 3, lambda each: np.zeros((16, 16, 3), np.uint8))


def test_near_duplicates_are_nearer_than_the_bound() -> None:
    """Two bits are, three are not, of a bound of three; no distance at all is the exemplar itself, counted apart."""
    rest = frame("a", 8), frame("b", 9)
    pairs = [Pair(str(bits), frame("a", 0), frame("a", 1, bits), *rest, same_style=True) for bits in (2, 3, 4)]
    found = audited([*pairs, Pair("self", frame("a", 0), frame("a", 0), *rest, same_style=True)], {"train": ["a", "b"]})
    assert (found["near_duplicates"], found["self_exemplars"], found["nearest_exemplar"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("pair", "sources", "words"),
    [
        ((("a", 0), ("a", 1), ("a", 2), ("c", 0)), {"train": ["a", "b"], "test": ["c"]}, "1 photos of other sources"),
        ((("a", 0), ("a", 1), ("a", 1), ("b", 0)), {"train": ["a", "b"]}, "1 consistent photos that are the exemplar"),
        ((("a", 0), ("a", 1), ("a", 2), ("b", 0)), {"train": ["a", "b"], "test": ["b"]}, "1 sources in both splits"),
    ],
)
def test_pairs_that_leak_are_refused(pair: Any, sources: dict[Split, list[str]], words: str) -> None:
    pairs = [Pair("0", *(frame(*place) for place in pair), same_style=True)]
    with pytest.raises(BadInput, match=words):
        audited(pairs, sources)


def test_the_audit_says_what_the_pairs_say(videos: Path, tmp_path: Path) -> None:
    pack(packing(videos), tmp_path / "s", tmp_path / "t")
    for name in ("s", "t"):
        manifest, _ = load_manifest(tmp_path / name)
        pairs = pairs_of(tmp_path / name)
        distances = [hash_distance(pair.target, pair.exemplar) for pair in pairs]
        assert manifest.audit["nearest_exemplar"] == min(distances)  # type: ignore[type-var]
        assert manifest.audit["near_duplicates"] == sum(d < 3 for d in distances) == 0  # type: ignore[operator]
        assert manifest.audit["self_exemplars"] == 0 and manifest.audit["foreign"] == 0
    assert load_manifest(tmp_path / "t")[0].audit["copy_score"] is None, "no same-style pairs among the held out"
    assert 0 < load_manifest(tmp_path / "s")[0].audit["copy_score"] < 1


def test_a_wider_bound_on_near_duplicates_is_kept(videos: Path, tmp_path: Path) -> None:
    pack(packing(videos, sampling=preset("default", same_style_rate=1.0, least_distance=0)), tmp_path / "free")
    pack(packing(videos, sampling=preset("default", same_style_rate=1.0, least_distance=6)), tmp_path / "apart")
    free, apart = (
        [hash_distance(pair.target, pair.exemplar) for pair in pairs_of(tmp_path / name)] for name in ("free", "apart")
    )
    assert min(free) < 6 <= min(apart)  # type: ignore[type-var]
    scores = [load_manifest(tmp_path / name)[0].audit["copy_score"] for name in ("free", "apart")]
    assert scores[1] < scores[0], "pairs that are farther apart are copied less well"


def test_the_perceptual_hash_knows_copies_from_others() -> None:
    rng = np.random.default_rng(0)
    pictures = [cv2.GaussianBlur(rng.integers(0, 256, (128, 128, 3), np.uint8), (0, 0), 12) for _ in range(12)]
    pictures = [cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX) for picture in pictures]

    def distance(one: np.ndarray, other: np.ndarray) -> int:
        frames = [Frame("v", 0, 0.0, "s", hash=perceptual_hash(picture)) for picture in (one, other)]
        found = hash_distance(*frames)
        assert found is not None
        return found

    for picture in pictures:
        encoded = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)
        assert distance(picture, encoded) <= 3
        assert distance(picture, cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA)) <= 3
    others = [distance(one, other) for at, one in enumerate(pictures) for other in pictures[:at]]
    assert min(others) > 10 and 25 < np.mean(others) < 39


def test_copy_score_of_known_pictures() -> None:
    frames = {name: Frame(name, 0, 0.0, "s") for name in "abcd"}
    thumbs = {
        name: np.full((16, 16, 3), level, np.uint8) for name, level in zip("abcd", (100, 110, 110, 180), strict=True)
    }
    pair = Pair("0", frames["a"], frames["b"], frames["c"], frames["d"], same_style=True)
    assert copy_score([pair], lambda frame: thumbs[frame.source]) == pytest.approx(1 - 10 / 80)
    same = replace(pair, exemplar=frames["a"])
    assert copy_score([same], lambda frame: thumbs[frame.source]) == 1.0
    assert copy_score([replace(pair, same_style=False)], lambda frame: thumbs[frame.source]) is None


def test_several_exemplars_for_each_target(videos: Path, tmp_path: Path) -> None:
    pack(packing(videos, pairs=40, sampling=preset("default", exemplars=5)), tmp_path / "s")
    pairs = pairs_of(tmp_path / "s")
    groups = [pairs[at : at + 5] for at in range(0, 40, 5)]
    for group in groups:
        assert len({(pair.target.source, pair.target.number) for pair in group}) == 1
        assert len({(pair.exemplar.source, pair.exemplar.number) for pair in group}) == 5
    assert len({(group[0].target.source, group[0].target.number) for group in groups}) == 8


def judgements(path: Path, rows: list[tuple[str, int, str, int, str]]) -> Path:
    fields = "one,one_frame,other,other_frame,judgement,rater,seconds,answered_at"
    lines = [f"{','.join(map(str, row))},ann,1.0,2026-11-01T10:00:00+00:00" for row in rows]
    path.write_text("\n".join((fields, *lines)) + "\n")
    return path


def test_people_overrule_the_style_keys(videos: Path, tmp_path: Path) -> None:
    """Two videos of one person become one style; two frames of one video that differ are never one."""
    told = judgements(
        tmp_path / "judged.csv",
        [
            ("video-0000.mp4", 0, "video-0001.mp4", 3, "consistent"),
            ("video-0002.mp4", 0, "video-0002.mp4", 1, "inconsistent"),
            ("video-0003.mp4", 0, "video-0004.mp4", 0, "inconsistent"),
            ("video-0005.mp4", 0, "video-0006.mp4", 0, "unsure"),
        ],
    )
    sampling = preset("default", same_style_rate=1.0, least_distance=0)
    pack(packing(videos, pairs=600, judged=told, sampling=sampling), tmp_path / "s")
    together = Counter(
        tuple(sorted({pair.target.source, pair.exemplar.source}))
        for pair in pairs_of(tmp_path / "s")
        if pair.target.source != pair.exemplar.source
    )
    assert set(together) == {("video-0000.mp4", "video-0001.mp4")}
    apart = {("video-0002.mp4", 0), ("video-0002.mp4", 1)}
    for pair in pairs_of(tmp_path / "s"):
        for other in (pair.target, pair.consistent):
            assert {(pair.exemplar.source, pair.exemplar.number), (other.source, other.number)} != apart
        assert {pair.exemplar.source, pair.inconsistent.source} != {"video-0000.mp4", "video-0001.mp4"}
    assert main(["verify", str(tmp_path / "s")]) == 0


@pytest.mark.parametrize("option", ["judged", "pair_list"])
def test_a_packing_is_known_by_what_its_lists_say(videos: Path, tmp_path: Path, option: str) -> None:
    """Wherever they lie: what an interrupted packing has finished is for the same lists only."""

    def digest(name: str, content: str) -> str:
        file = tmp_path / name
        file.write_text(content)
        return plan_of(packing(videos, **{option: file}), held_out=False).digest

    begun = digest("list.csv", "a,b\n")
    assert digest("moved.csv", "a,b\n") == begun
    assert digest("list.csv", "a,c\n") != begun


def test_pairs_from_a_list(videos: Path, tmp_path: Path) -> None:
    listed = tmp_path / "pairs.csv"
    listed.write_text(
        "target,exemplar,consistent,inconsistent,s\n"
        "video-0000.mp4#2,video-0001.mp4#4,,,\n"
        "video-0000.mp4#3,video-0000.mp4#7,video-0000.mp4#9,video-0005.mp4#0,\n"
        "video-0002.mp4#0,video-0003.mp4#1,,,1\n"
    )
    pack(packing(videos, pair_list=listed), tmp_path / "s")
    first, second, third = pairs_of(tmp_path / "s")
    assert (first.target.source, first.target.number, first.exemplar.number) == ("video-0000.mp4", 2, 4)
    assert first.consistent.style == first.exemplar.style and first.consistent != first.exemplar
    assert first.inconsistent.style != first.exemplar.style
    assert (second.consistent.number, second.inconsistent.source, second.same_style) == (9, "video-0005.mp4", True)
    assert third.same_style and not first.same_style, "the list's word on s counts"
    assert main(["verify", str(tmp_path / "s")]) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("target\na\n", "no column 'exemplar'"),
        ("target,exemplar,style\na,b,c\n", "column 'style'"),
        ("target,exemplar\nvideo-0000.mp4#2,\n", "line 2: exemplar is empty"),
        ("target,exemplar\nvideo-0000.mp4#2,video-0001.mp4#x\n", "line 2: exemplar 'video-0001.mp4#x' has no frame"),
        ("target,exemplar\nvideo-0000.mp4#2,nowhere.mp4#0\n", "line 2: exemplar 'nowhere.mp4#0' is no photo"),
        ("target,exemplar\nnowhere.mp4#2,video-0001.mp4#0\n", "names no target"),
        ("target,exemplar,s\nvideo-0000.mp4#2,video-0001.mp4#0,yes\n", "line 2: s is 'yes'"),
        (
            "target,exemplar,consistent\nvideo-0000.mp4#2,video-0001.mp4#0,video-0001.mp4#0\n",
            "line 2: consistent is the exemplar itself",
        ),
    ],
)
def test_bad_lists_are_refused_by_line(videos: Path, tmp_path: Path, text: str, words: str) -> None:
    listed = tmp_path / "pairs.csv"
    listed.write_text(text)
    with pytest.raises(BadInput, match=words.replace("(", r"\\(")):
        pack(packing(videos, pair_list=listed), tmp_path / "s")


def test_retrieval_finds_pictures_that_look_alike(tmp_path: Path) -> None:
    """COCO-Stuff has no style keys; the fixture's pictures come in four looks, which only their pixels tell."""
    dataset_fixtures.write_coco_stuff(tmp_path / "coco", pictures=40)
    sampling = preset("default", same_style_rate=0.5, nearest=4)
    job = Packing(tmp_path / "coco", sampling, "coco-stuff", pairs=120, size=32, test_pairs=10)
    pack(job, tmp_path / "train", tmp_path / "test")
    manifest, _ = load_manifest(tmp_path / "train")
    assert manifest.sampling["pairing"] == "retrieval"
    pairs = pairs_of(tmp_path / "train")
    photos = {path.name: cv2.imread(str(path)).mean(axis=(0, 1)) for path in (tmp_path / "coco").rglob("*.jpg")}

    def apart(one: Frame, other: Frame) -> float:
        return float(np.abs(photos[Path(one.source).name] - photos[Path(other.source).name]).mean())

    near = [apart(pair.target, pair.exemplar) for pair in pairs if pair.same_style]
    far = [apart(pair.target, pair.exemplar) for pair in pairs if not pair.same_style]
    assert 30 < len(near) < 90
    assert np.mean(near) < 0.3 * np.mean(far)
    assert np.mean([apart(p.exemplar, p.consistent) for p in pairs]) < 0.3 * np.mean(
        [apart(p.exemplar, p.inconsistent) for p in pairs]
    )
    assert not any(pair.same_style for pair in pairs_of(tmp_path / "test"))
    assert main(["verify", str(tmp_path / "train")]) == 0


def test_neighbours_are_the_nearest_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the block that a picture is computed in."""
    monkeypatch.setattr(retrieval, "_ROWS", 16)
    vectors = np.random.default_rng(0).normal(size=(41, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[:20] = np.abs(vectors[:20])
    cosines = vectors @ vectors.T
    found = retrieval.neighbours(vectors, 3)
    np.testing.assert_allclose(found.medians, np.median(cosines, axis=1), rtol=1e-5)
    np.fill_diagonal(cosines, -2)
    np.testing.assert_array_equal(found.positions, np.argsort(-cosines, axis=1)[:, :3])
    np.testing.assert_allclose(found.cosines, -np.sort(-cosines, axis=1)[:, :3], rtol=1e-5)


def test_a_dry_run_tells_and_writes_nothing(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["pack", "--source", str(videos), "--out", str(tmp_path / "s"), "--pairs", "41", "--size", "32"]
    command += ["--test-out", str(tmp_path / "t"), "--test-pairs", "9", "--test-fraction", "0.3", "--seed", "2"]
    command += ["--samples-per-shard", "6"]
    assert main([*command, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert main(command) == 0
    told = estimate(plan_of(packing(videos), True), tmp_path / "u", True)
    # The free space is the machine's, which others fill and empty meanwhile.
    free = r"; ([0-9.,]+) GB are free"
    assert re.sub(free, "", said) == re.sub(free, "", told.table() + "\n")
    free_gb = [float(found.replace(",", "")) for text in (said, told.table()) for found in re.findall(free, text)]
    assert len(free_gb) == 2 and min(free_gb) > 0
    for split, name in (("train", "s"), ("test", "t")):
        manifest, _ = load_manifest(tmp_path / name)
        assert told.pairs[split] == manifest.samples and told.shards[split] == len(manifest.shards)
        assert told.sources[split] == len(manifest.sources[split])
    written = sum(shard.bytes for name in ("s", "t") for shard in load_manifest(tmp_path / name)[0].shards)
    assert 0.7 < told.bytes / written < 1.4
    assert told.frames["train"] + told.frames["test"] == 8 * 12


def test_a_manifest_of_an_older_format_is_refused(videos: Path, tmp_path: Path) -> None:
    ((_, manifest),) = pack(packing(videos), tmp_path / "s")
    assert isinstance(manifest, Manifest) and isinstance(packing(videos).sampling, Sampling)
    path = tmp_path / "s" / "manifest.json"
    path.write_text(path.read_text().replace('"version": 2', '"version": 1'))
    with pytest.raises(BadInput, match="format version 1; this release reads version 2: pack the shards again"):
        load_manifest(tmp_path / "s")
