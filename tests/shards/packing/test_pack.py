"""Shards: what is written and what is read back."""

import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import webdataset

from likeness.command import BadInput
from shards import labels
from shards.__main__ import main
from shards.inspection.verify import verify
from shards.operators.labelling import Labelling
from shards.packing.pairs import PRESETS, preset, sample_pairs
from shards.packing.photo_cache import Preprocessing, encode_photo, perceptual_hash
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.reading.samples import (
    KEY,
    SHARD,
    check_shards,
    decode,
    decode_label_picture,
    decode_pair,
    iter_samples,
    iter_shard,
)
from shards.reading.stream import Reading, Stream, open_shards
from shards.records import SIDES, LabelKind, load_manifest
from shards.worlds.film import film
from tests.shards.packing.small_shards import HEIGHT, WIDTH, packed, photos


@pytest.mark.parametrize("kind", ["sketch", "pose", "classes"])
@pytest.mark.parametrize("picture_format", ["jpg", "png"])
def test_what_is_packed_is_read_back(tmp_path: Path, kind: LabelKind, picture_format: str) -> None:
    manifest = packed(tmp_path / "s", kind, picture_format)
    assert [shard.samples for shard in manifest.shards] == [10, 10, 3]
    originals = {(photo.frame.source, photo.frame.number): photo for photo in photos(kind)}
    hashed = [replace(photo.frame, hash=perceptual_hash(photo.image)) for photo in originals.values()]
    expected = sample_pairs(hashed, PRESETS["default"], 23, seed=4)
    extensions = {"json", *(f"{side}.{picture_format}" for side in SIDES)}
    if kind == "classes":
        extensions |= {"target.label.png", "exemplar.label.png"}
    read = list(iter_samples(tmp_path / "s", manifest))
    assert [shard for shard, _ in read] == ["pairs-000000.tar"] * 10 + ["pairs-000001.tar"] * 10 + [
        "pairs-000002.tar"
    ] * 3
    for (_, members), pair in zip(read, expected, strict=True):
        assert set(members) == extensions | {KEY, SHARD}
        sample = decode(members, manifest.schema)
        bare = {side: getattr(pair, side).unlabelled for side in ("consistent", "inconsistent")}
        assert sample.pair == replace(pair, **bare)
        for side in SIDES:
            frame = getattr(pair, side)
            photo, original = sample.photos[side], originals[frame.source, frame.number].image
            assert (photo.dtype, photo.shape) == (np.uint8, (HEIGHT, WIDTH, 3))
            difference = np.abs(photo.astype(int) - original)
            assert difference.max() <= (0 if picture_format == "png" else 8)
        for side, frame in (("target", pair.target), ("exemplar", pair.exemplar)):
            ids = originals[frame.source, frame.number].label_picture
            assert np.array_equal(sample.labels[side], labels.load(manifest.schema, frame, ids))
            found = decode_label_picture(members, side, manifest.schema)
            assert (found is None) == (ids is None)
            assert found is None or ids is None or np.array_equal(found, ids)
    assert verify(tmp_path / "s").samples == 23


def test_decoding_only_what_is_asked_for(tmp_path: Path) -> None:
    manifest = packed(tmp_path / "s")
    _, members = next(iter_samples(tmp_path / "s", manifest))
    members["consistent.jpg"] = b"never looked at"
    sample = decode(members, manifest.schema, ("target",), ("exemplar",))
    assert set(sample.photos) == {"target"}
    assert set(sample.labels) == {"exemplar"}


def test_webdataset_reads_the_same_members(tmp_path: Path) -> None:
    manifest = packed(tmp_path / "s", "classes")
    for shard in manifest.shards:
        path = tmp_path / "s" / shard.name
        theirs = list(webdataset.WebDataset(str(path), shardshuffle=False))
        ours = list(iter_shard(path))
        assert len(theirs) == len(ours) == shard.samples
        for their, our in zip(theirs, ours, strict=True):
            assert their["__key__"].encode() == our[KEY]
            assert {name: their[name] for name in our if not name.startswith("__")} == {
                name: content for name, content in our.items() if not name.startswith("__")
            }


def test_photos_are_jpeg_without_chroma_subsampling(tmp_path: Path) -> None:
    manifest = packed(tmp_path / "s")
    _, members = next(iter_samples(tmp_path / "s", manifest))
    assert simplejpeg.decode_jpeg_header(members["target.jpg"]) == (HEIGHT, WIDTH, "YCbCr", "444")


@pytest.mark.parametrize("kind", ["sketch", "classes"])
def test_equal_input_gives_equal_bytes(tmp_path: Path, kind: LabelKind) -> None:
    one, other = packed(tmp_path / "one", kind), packed(tmp_path / "other", kind)
    assert one.digest == other.digest
    for shard in one.shards:
        assert (tmp_path / "one" / shard.name).read_bytes() == (tmp_path / "other" / shard.name).read_bytes()


def test_reading_samples_imports_neither_torch_nor_webdataset() -> None:
    check = "import sys, shards.reading.samples; print({'torch', 'webdataset', 'mlflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_photo_of_another_size_is_refused(tmp_path: Path) -> None:
    photo = photos("classes")[0]
    schema = labels.standard_schema("classes", HEIGHT, WIDTH)
    preprocessing = Preprocessing(Labelling("given", schema))
    with pytest.raises(BadInput, match=r"a\.mp4 frame 0"):
        encode_photo(replace(photo, image=photo.image[:16]), preprocessing)
    with pytest.raises(BadInput, match="no label picture"):
        encode_photo(replace(photo, label_picture=None), preprocessing)


@pytest.mark.parametrize("where", [0.0, 0.3, 0.999])
def test_a_flipped_byte_is_found(tmp_path: Path, where: float) -> None:
    manifest = packed(tmp_path / "s")
    path = tmp_path / "s" / "pairs-000001.tar"
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"pairs-000001\.tar is damaged"):
        check_shards(tmp_path / "s", manifest)


def test_missing_and_short_shards_are_found(tmp_path: Path) -> None:
    manifest = packed(tmp_path / "s")
    path = tmp_path / "s" / "pairs-000002.tar"
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(BadInput, match=r"pairs-000002\.tar has \d+ bytes, but the manifest says \d+"):
        check_shards(tmp_path / "s", manifest)
    path.unlink()
    with pytest.raises(BadInput, match=r"pairs-000002\.tar is missing"):
        check_shards(tmp_path / "s", manifest)
    with pytest.raises(BadInput, match=r"pairs-000002\.tar is missing"):
        list(iter_samples(tmp_path / "s", manifest))


@pytest.mark.parametrize("kept", [0, 700, 5000])
def test_reading_a_truncated_shard_is_bad_input(tmp_path: Path, kept: int) -> None:
    """Without checksums, too: readers of single shards must not hand out half a sample as a whole one."""
    manifest = packed(tmp_path / "s")
    path = tmp_path / "s" / "pairs-000000.tar"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadInput, match=r"pairs-000000\.tar"):
        list(iter_samples(tmp_path / "s", manifest))


def test_entries_that_are_no_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    for name, kind in (("plain", tarfile.REGTYPE), ("00.json", tarfile.SYMTYPE), (".json", tarfile.REGTYPE)):
        with tarfile.open(path, "w") as tar:
            info = tarfile.TarInfo(name)
            info.type = kind
            tar.addfile(info)
        with pytest.raises(BadInput, match=r"x\.tar holds .*, which is no file named"):
            list(iter_shard(path))


def test_held_out_pairs_meet_unseen_videos_and_always_another_style(tmp_path: Path) -> None:
    """As the paper's tests (specification 5.1), whatever the rate of same-style pairs in training."""
    film("faces", tmp_path / "videos", videos=8, seconds=0.5, size=64, seed=4)
    sampling = preset("default", same_style_rate=1.0)
    places = {"out": tmp_path / "train", "test_out": tmp_path / "test"}
    packing = Packing(tmp_path / "videos", sampling, pairs=12, size=32, test_pairs=12, test_fraction=0.5)
    pack(packing, **places)
    pairs = {}
    for split in ("train", "test"):
        manifest, folder = load_manifest(tmp_path / split)
        pairs[split] = [decode_pair(members) for _, members in iter_samples(folder, manifest)]
    assert all(pair.same_style for pair in pairs["train"])
    assert not any(pair.same_style for pair in pairs["test"])
    seen, unseen = ({getattr(p, side).source for p in pairs[split] for side in SIDES} for split in ("train", "test"))
    assert seen and unseen and not seen & unseen


def test_one_style_is_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One person's video: whole shards without another style, which a method that compares styles refuses by name."""
    film("faces", tmp_path / "videos", videos=1, seconds=2, size=64, seed=3)
    out, held_out = tmp_path / "train", tmp_path / "test"
    pack = ["pack", "--source", str(tmp_path / "videos"), "--out", str(out), "--size", "32", "--pairs", "12"]
    assert main([*pack, "--workers", "1", "--halves", "--test-out", str(held_out), "--test-pairs", "3"]) == 0
    assert "all photos have one style: samples have no inconsistent photo" in capsys.readouterr().out
    manifest, folder = load_manifest(out)
    assert manifest.one_style and manifest.sides == ("target", "exemplar", "consistent")
    for _, members in iter_samples(folder, manifest):
        assert not any(name.startswith("inconsistent") for name in members)
        sample = decode(members, manifest.schema, manifest.sides)
        assert sample.pair.same_style and sample.pair.inconsistent is None
        places = {(frame.source, frame.number) for frame in (sample.pair.exemplar, sample.pair.consistent)}
        assert len(places) == 2 and sample.pair.target.number != sample.pair.exemplar.number
    assert main(["verify", str(out)]) == 0 and main(["inspect", str(out), "--out", str(tmp_path / "sheet.png")]) == 0
    with open_shards(out) as (found, store):
        reading = Reading(batch=2, rank=0, ranks=1, seed=0, photos=("target",), labels=("target",))
        assert next(iter(Stream(found, store, replace(reading, epochs=1)))).photos.keys() == {"target"}
        with pytest.raises(BadInput, match=r"samples have no inconsistent\.jpg, which this method reads"):
            Stream(found, store, replace(reading, photos=("target", "inconsistent")))
