"""Instance maps from the source to the batch: packed for targets, verified, read with the sample they belong to."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from likeness.array import Array
from likeness.command import BadInput
from shards.__main__ import main
from shards.inspection.sheet import contact_sheet, overview
from shards.inspection.verify import verify
from shards.packing.estimate import estimate
from shards.packing.merge import merge
from shards.packing.pairs import preset
from shards.packing.plan import Packing, plan_of
from shards.packing.write import pack, part_folder
from shards.reading.samples import INSTANCES, KEY, Members, decode, decode_instances, iter_samples
from shards.reading.stream import Reading, Stream, first_samples, open_shards
from shards.records import Manifest, load_manifest, parse_manifest
from shards.sources import find
from shards.worlds import streets
from shards.worlds.film import film
from shards.worlds.sidecar import sidecar_of, sidecar_path, states_of
from tests.shards.inspection.rewriting import png, rewrite, without
from tests.shards.sources import dataset_fixtures

WIDTH, HEIGHT = 64, 32
PAIRS = 12


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streets") / "videos"
    film("streets", folder, videos=5, seconds=0.75, size=256, seed=8)
    return folder


def packing(source: Path, **changes: Any) -> Packing:
    return Packing(source, **{"sampling": preset("default"), "pairs": PAIRS, "size": WIDTH, "seed": 1, **changes})


@pytest.fixture(scope="module")
def packed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "s"
    pack(packing(videos, samples_per_shard=5), folder)
    return folder


@pytest.fixture
def copy(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "s"))


def older(videos: Path, folder: Path, names: str = "*.mp4") -> Path:
    """The videos as they were drawn before there were instance maps, those of a pattern of names."""
    shutil.copytree(videos, folder)
    for video in folder.glob(names):
        told = json.loads(sidecar_path(video).read_text())
        for frame in told["frames"]:
            del frame["instances"]
        sidecar_path(video).write_text(json.dumps(told))
        shutil.rmtree(video.with_suffix(".instances"))
    return folder


def samples_of(folder: Path) -> list[Members]:
    manifest, place = load_manifest(folder)
    return [members for _, members in iter_samples(place, manifest)]


def nearest(numbers: Array, height: int, width: int) -> Array:
    """The value at each new pixel's centre."""
    rows, columns = (
        ((np.arange(small) + 0.5) * large / small).astype(int)
        for small, large in zip((height, width), numbers.shape, strict=True)
    )
    return numbers[rows][:, columns]


OLDER = """\
{
 "audit": {
  "copy_score": 0.5
 },
 "notes": [
  "frames left out, blank: 3"
 ],
 "sampling": {
  "preset": "default",
  "same_style_rate": 0.3
 },
 "schema": {
  "channels": 2,
  "colours": [
   [
    128,
    64,
    128
   ],
   [
    0,
    0,
    0
   ]
  ],
  "height": 32,
  "ids": [
   0,
   255
  ],
  "kind": "classes",
  "names": [
   "road",
   "void"
  ],
  "void": 255,
  "width": 48
 },
 "seed": 4,
 "shards": [
  {
   "bytes": 10240,
   "name": "pairs-000000.tar",
   "samples": 2,
   "sha256": "abababababababababababababababababababababababababababababababab"
  }
 ],
 "shared_sources": false,
 "slice": null,
 "sources": {
  "test": [
   "c.mp4"
  ],
  "train": [
   "a.mp4",
   "b.mp4"
  ]
 },
 "split": "train",
 "version": 2
}
"""
"""A manifest as it was written before there were instance maps."""


def test_manifests_without_instance_maps_keep_their_digests() -> None:
    manifest = parse_manifest(OLDER, "test")
    assert not manifest.instances and manifest.dumps() == OLDER
    assert manifest.digest == "dfb0e5826fc3005ee49a9c06b6f5abd052ada7365976fc7adfd42ce5d5022fe8"
    assert manifest.digest == hashlib.sha256(OLDER.encode()).hexdigest()
    have = replace(manifest, instances=True)
    assert json.loads(have.dumps())["instances"] is True and have.digest != manifest.digest
    assert parse_manifest(have.dumps(), "test") == have
    with pytest.raises(BadInput, match=r"test is not a manifest: .*instances is 'yes'"):
        parse_manifest(have.dumps().replace('"instances": true', '"instances": "yes"'), "test")


def test_targets_of_streets_carry_the_map_of_their_frame(videos: Path, packed: Path) -> None:
    manifest, _ = load_manifest(packed)
    assert manifest.instances and (manifest.schema.height, manifest.schema.width) == (HEIGHT, WIDTH)
    states = {}
    for video in videos.glob("*.mp4"):
        sidecar = sidecar_of(video)
        assert sidecar is not None
        states[video.name] = states_of(sidecar)
    things = 0
    for members in samples_of(packed):
        assert [name for name in members if name.endswith("instances.png")] == [INSTANCES]
        sample = decode(members, manifest.schema, instances=True)
        target = sample.pair.target
        drawn = nearest(streets.instance_ids(states[target.source][target.number], 256), HEIGHT, WIDTH)
        assert sample.instances is not None and sample.instances.dtype == np.uint16
        assert np.array_equal(sample.instances, drawn)
        of_class = np.where(drawn < 1000, drawn, drawn // 1000)
        assert np.array_equal(of_class, sample.labels["target"])
        things += int((np.unique(drawn) >= 1000).sum())
    assert things > PAIRS
    assert decode(samples_of(packed)[0], manifest.schema).instances is None, "only what is asked for"


def test_older_videos_are_packed_as_before(videos: Path, packed: Path, tmp_path: Path) -> None:
    pack(packing(older(videos, tmp_path / "v"), samples_per_shard=5), tmp_path / "s")
    manifest, _ = load_manifest(tmp_path / "s")
    assert not manifest.instances and "instances" not in (tmp_path / "s" / "manifest.json").read_text()
    assert manifest.notes == ()
    for before, now in zip(samples_of(tmp_path / "s"), samples_of(packed), strict=True):
        assert before == {name: content for name, content in now.items() if name != INSTANCES}
    verify(tmp_path / "s")


def test_some_older_videos_cost_all_instance_maps_and_a_note_says_so(videos: Path, tmp_path: Path) -> None:
    pack(packing(older(videos, tmp_path / "v", "video-000[24].mp4")), tmp_path / "s")
    manifest, _ = load_manifest(tmp_path / "s")
    assert not manifest.instances
    assert manifest.notes == (
        "files without an instance map, so that no sample has one: 2 (video-0002.mp4 is the first)",
    )
    verify(tmp_path / "s")


def test_slices_and_the_single_run_are_one(videos: Path, packed: Path, tmp_path: Path) -> None:
    job = packing(videos, samples_per_shard=5)
    for number in (1, 0):
        pack(job, tmp_path / "s", part=(number, 2))
        assert load_manifest(part_folder(tmp_path / "s", (number, 2)))[0].instances
    merge(tmp_path / "s")
    one, many = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in (packed, tmp_path / "s"))
    assert one == many


def test_a_dry_run_counts_them(videos: Path, packed: Path, tmp_path: Path) -> None:
    written = sum(shard.bytes for shard in load_manifest(packed)[0].shards)
    told = estimate(plan_of(packing(videos, samples_per_shard=5), False), tmp_path / "x", False)
    assert 0.7 < told.bytes / written < 1.4
    bare = estimate(plan_of(packing(older(videos, tmp_path / "v")), False), tmp_path / "y", False)
    sizes = [len(members[INSTANCES]) for members in samples_of(packed)]
    assert (told.bytes - bare.bytes) / PAIRS == pytest.approx(np.mean(sizes), rel=0.3)


def test_a_lost_map_is_a_broken_video(videos: Path, tmp_path: Path) -> None:
    shutil.copytree(videos, tmp_path / "v")
    (tmp_path / "v" / "video-0001.instances" / "000003.png").unlink()
    with pytest.raises(BadInput, match=r"video-0001\.instances/000003\.png cannot be read: No such file"):
        pack(packing(tmp_path / "v"), tmp_path / "s")
    for content, words in ((b"GIF", "is no instance map"), (png(np.zeros((4, 6), np.uint16)), "is 6×4 pixels, but")):
        (tmp_path / "v" / "video-0001.instances" / "000003.png").write_bytes(content)
        with pytest.raises(BadInput, match=rf"000003\.png {words}"):
            pack(packing(tmp_path / "v"), tmp_path / f"s{len(content)}")


DAMAGES: list[tuple[Callable[[Members], Members], str]] = [
    (without(INSTANCES), "is missing"),
    (lambda m: {**m, INSTANCES: m[INSTANCES][:60]}, "is no readable picture"),
    (lambda m: {**m, INSTANCES: b"GIF89a"}, "is no readable picture: not a PNG file"),
    (lambda m: {**m, INSTANCES: png(np.zeros((16, 48), np.uint16))}, "is 48×16 pixels, but the manifest says 64×32"),
    (lambda m: {**m, INSTANCES: m["target.label.png"]}, r"not a 16-bit grey PNG \(bit depth 8, colour type 0\)"),
]


@pytest.mark.parametrize(("change", "words"), DAMAGES)
def test_verify_and_reader_name_what_is_wrong(copy: Path, change: Callable[[Members], Members], words: str) -> None:
    key = rewrite(copy, change, position=7)
    with pytest.raises(BadInput, match=words) as error:
        verify(copy)
    assert str(error.value).startswith(f"pairs-000001.tar sample {key} member target.instances.png ")
    with open_shards(copy) as (manifest, store):
        stream = Stream(manifest, store, reading(epochs=1, batch=4, max_bad=0.1))
        list(stream)
        assert list(stream.bad) == [f"pairs-000001.tar sample {key}"]
        assert words.split("(")[0].rstrip("\\ ") in stream.bad[f"pairs-000001.tar sample {key}"]
        list(Stream(manifest, store, reading(epochs=1, instances=False)))
        with pytest.raises(BadInput, match=r"target\.instances\.png"):
            first_samples(manifest, store, PAIRS, reading())


def test_verify_refuses_maps_that_the_manifest_denies(copy: Path) -> None:
    manifest, folder = load_manifest(copy)
    verify(folder)
    replace(manifest, instances=False).save(folder)
    with pytest.raises(BadInput, match=r"target\.instances\.png does not belong .* without instance maps"):
        verify(folder)


def reading(**changes: Any) -> Reading:
    return Reading(**{"photos": ("target",), "labels": ("target",), "batch": 1, "instances": True, **changes})


def maps_of(folder: Path) -> dict[str, torch.Tensor]:
    """The true map of every sample, by key."""
    manifest, _ = load_manifest(folder)
    return {
        members[KEY].decode(): torch.from_numpy(decode_instances(members, manifest.schema).astype(np.int32))
        for members in samples_of(folder)
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_hold_the_maps_of_their_targets(packed: Path, workers: int) -> None:
    true = maps_of(packed)
    with open_shards(packed) as (manifest, store):
        seen = set()
        for loaded in Stream(manifest, store, reading(batch=4, workers=workers, epochs=1)):
            assert loaded.instances is not None
            assert (loaded.instances.dtype, tuple(loaded.instances.shape)) == (torch.int32, (4, HEIGHT, WIDTH))
            for row, key in enumerate(loaded.keys):
                assert torch.equal(loaded.instances[row], true[key])
                seen.add(key)
        assert seen == set(true)
        fixed = first_samples(manifest, store, 5, reading(flip=True))
        assert fixed.instances is not None
        assert all(torch.equal(fixed.instances[row], true[key]) for row, key in enumerate(fixed.keys))
        bare = next(iter(Stream(manifest, store, reading(instances=False))))
        assert bare.instances is None


def test_a_mirrored_sample_has_a_mirrored_map(packed: Path) -> None:
    true = maps_of(packed)
    with open_shards(packed) as (manifest, store):
        turned = 0
        plain = {loaded.keys[0]: loaded for loaded in Stream(manifest, store, reading(epochs=1))}
        for loaded in Stream(manifest, store, reading(epochs=1, flip=True)):
            (key,) = loaded.keys
            assert loaded.instances is not None
            mirrored = not torch.equal(loaded.photos["target"], plain[key].photos["target"])
            turned += mirrored
            assert torch.equal(loaded.instances[0], true[key].flip(1) if mirrored else true[key])
        assert 0 < turned < PAIRS


def test_a_stand_in_brings_its_own_map(copy: Path) -> None:
    rewrite(copy, lambda members: {**members, "target.jpg": b""}, position=7)
    true = maps_of(copy)
    with open_shards(copy) as (manifest, store):
        batches = list(Stream(manifest, store, reading(batch=4, epochs=1, max_bad=0.1)))
    (hurt,) = (loaded for loaded in batches if loaded.bad)
    assert len(set(hurt.keys)) == 3 and hurt.instances is not None
    assert all(torch.equal(hurt.instances[row], true[key]) for row, key in enumerate(hurt.keys))


def test_shards_without_maps_say_how_to_get_them(videos: Path, tmp_path: Path) -> None:
    pack(packing(older(videos, tmp_path / "v")), tmp_path / "s")
    with open_shards(tmp_path / "s") as (manifest, store):
        for read in (lambda: Stream(manifest, store, reading()), lambda: first_samples(manifest, store, 2, reading())):
            with pytest.raises(BadInput, match=r"s has no instance maps; draw the streets world again .*cityscapes"):
                read()


def test_inspect_shows_them(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "classes, 20 channels, instance maps" in overview(packed).table()
    for name in ("one.png", "two.png"):
        contact_sheet(packed, tmp_path / name, rows=2)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes(), "the same colours again"
    sheet = cv2.imread(str(tmp_path / "one.png"))
    assert sheet is not None
    factor = 192 // WIDTH
    shown = sheet[30 : 30 + HEIGHT * factor : factor, 34 + 7 * (192 + 6) :][:, : WIDTH * factor : factor].astype(int)
    colours = shown @ (1, 256, 65536)
    (first, *_) = maps_of(packed).values()
    pairs = set(zip(first.flatten().tolist(), colours.flatten().tolist(), strict=True))
    numbers, painted = ({pair[place] for pair in pairs} for place in (0, 1))
    assert len(pairs) == len(numbers) == len(painted) > 5, "one colour per number"
    capsys.readouterr()
    assert main(["doctor", "--data", str(packed)]) == 0
    assert "there are instance maps" in capsys.readouterr().out


# Datasets of stills


def pack_stills(source: Path, dataset: str, out: Path) -> Manifest:
    pack(packing(source, dataset=dataset, pairs=8, sampling=preset("default", least_distance=0)), out)
    verify(out)
    return load_manifest(out)[0]


def test_cityscapes_keeps_the_publishers_numbers(tmp_path: Path) -> None:
    root = tmp_path / "data"
    dataset_fixtures.write_cityscapes(root)
    assert all(item.instances and item.instances.is_file() for item in find("cityscapes", root).items)
    manifest = pack_stills(root, "cityscapes", tmp_path / "s")
    assert manifest.instances and not any("instance" in note for note in manifest.notes)

    cars = set()
    for members in samples_of(tmp_path / "s"):
        sample = decode(members, manifest.schema, instances=True)
        name = sample.pair.target.source.replace("leftImg8bit/", "gtFine/")
        file = cv2.imread(str(root / name.replace("leftImg8bit", "gtFine_instanceIds")), cv2.IMREAD_UNCHANGED)
        assert file is not None and sample.instances is not None
        assert np.array_equal(sample.instances, nearest(file, HEIGHT, WIDTH))
        cars |= set(sample.instances[sample.instances >= 1000].tolist())
    assert cars <= set(range(26000, 26008)) and len(cars) > 1


def test_cityscapes_with_some_instance_maps_goes_without(tmp_path: Path) -> None:
    root = tmp_path / "data"
    dataset_fixtures.write_cityscapes(root)
    lost = sorted((root / "gtFine/train").rglob("*_instanceIds.png"))[2:5]
    for path in lost:
        path.unlink()
    manifest = pack_stills(root, "cityscapes", tmp_path / "s")
    first = lost[0].relative_to(root / "gtFine").as_posix().replace("gtFine_instanceIds", "leftImg8bit")
    assert not manifest.instances
    assert f"files without an instance map, so that no sample has one: 3 (leftImg8bit/{first} is the first)" in (
        manifest.notes
    )
    for path in root.rglob("*_instanceIds.png"):
        path.unlink()
    assert not any("instance" in note for note in pack_stills(root, "cityscapes", tmp_path / "t").notes)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_with_a_folder_of_instance_maps(tmp_path: Path, dtype: type) -> None:
    root = tmp_path / "data"
    dataset_fixtures.write_pictures(root, pictures=8)
    factor = np.iinfo(dtype).max // 255
    for label in (root / "labels").rglob("*.png"):
        ids = cv2.imread(str(label), cv2.IMREAD_UNCHANGED)
        assert ids is not None
        dataset_fixtures.save(root / "instances" / label.relative_to(root / "labels"), ids.astype(dtype) * factor)
    manifest = pack_stills(root, "pictures", tmp_path / "s")
    assert manifest.instances
    for members in samples_of(tmp_path / "s"):
        sample = decode(members, manifest.schema, instances=True)
        assert sample.instances is not None and sample.instances.max() == 255 * factor
        assert np.array_equal(sample.instances, sample.labels["target"].astype(int) * factor), "pixel by pixel"


def test_a_folder_of_instance_maps_is_whole_or_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    dataset_fixtures.write_pictures(root, pictures=8)
    shutil.copytree(root / "labels", root / "instances")
    assert all(item.instances for item in find("pictures", root).items)
    lost = root / "instances" / "town" / "4.png"
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(BadInput, match=r"town/4\.jpg: its instance map .*instances/town/4\.png is missing"):
        find("pictures", root)
    lost.write_bytes(content)
    (root / "instances" / "more.png").write_bytes(content)
    with pytest.raises(BadInput, match=r"instances/more\.png is the instance map of no picture"):
        find("pictures", root)
    (root / "instances" / "more.png").unlink()
    dataset_fixtures.save(lost, np.zeros((32, 96), np.uint16))
    with pytest.raises(BadInput, match=r"town/4\.png is 96×32 pixels, but its photo 96×64"):
        pack_stills(root, "pictures", tmp_path / "s")
    dataset_fixtures.save(lost, np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(BadInput, match=r"town/4\.png is no instance map \(it is a colour picture.*16 or 8 bits"):
        pack_stills(root, "pictures", tmp_path / "t")


def test_a_changed_instance_map_is_packed_again(tmp_path: Path) -> None:
    """The cache must not give out what an earlier, killed run had read."""
    root = tmp_path / "data"
    dataset_fixtures.write_pictures(root, pictures=8)
    shutil.copytree(root / "labels", root / "instances")
    job = packing(root, dataset="pictures", pairs=8)
    before = plan_of(job, held_out=False)
    dataset_fixtures.save(root / "instances" / "town" / "4.png", np.zeros((64, 96), np.uint16))
    after = plan_of(job, held_out=False)
    shutil.rmtree(root / "instances")
    bare = plan_of(job, held_out=False)
    assert len({plan.digest for plan in (before, after, bare)}) == 3
    assert len({plan.units[0].name for plan in (before, after, bare)}) == 3


def test_labels_by_another_operator_take_no_instance_maps(tmp_path: Path) -> None:
    """A face is cropped out of its picture: the maps of the whole picture would not fit."""
    root = tmp_path / "data"
    dataset_fixtures.write_cityscapes(root)
    plan = plan_of(packing(root, dataset="cityscapes", operator="face-landmarks"), held_out=False)
    assert not plan.preprocessing.labelling.instances and not any("instance" in note for note in plan.data.notes)
