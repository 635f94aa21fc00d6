"""Shards: what is written, what is read back, and what `verify` refuses."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
import webdataset

from likeness.array import Array
from likeness.checksums import sha256_of
from likeness.command import BadInput
from shards import labels
from shards.inspection.sheet import contact_sheet, overview
from shards.inspection.verify import verify
from shards.operators.photos import Labelling, Photo
from shards.packing.pairs import PRESETS, preset, sample_pairs
from shards.packing.photo_cache import PhotoCache, Preprocessing, Unit, encode_photo, perceptual_hash, write_unit
from shards.packing.plan import Packing
from shards.packing.write import pack, write_shards
from shards.reading.samples import (
    KEY,
    SHARD,
    Members,
    check_shards,
    decode,
    decode_label_picture,
    decode_pair,
    iter_samples,
    iter_shard,
)
from shards.records import SIDES, Frame, LabelKind, Manifest, load_manifest
from shards.worlds.film import film

HEIGHT, WIDTH = 32, 48
SOURCES = ("a.mp4", "b/b.mp4", "c.mp4")


def photos(kind: LabelKind) -> list[Photo]:
    """Five frames of each of three videos, smooth pictures with a hue per video."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    made = []
    for style, source in enumerate(SOURCES):
        hue = rng.uniform(40, 200, 3)
        for number in range(5):
            wave = 40 * np.sin(rows / 9 + number) + 10 * np.cos(columns / 7 - number)
            image = np.clip(hue + wave[..., None], 0, 255).astype(np.uint8)
            points = rng.integers(0, 512, (68, 2))
            keypoints = rng.uniform(0, 1, (18, 3))
            frame = Frame(
                source,
                number,
                number / 8,
                f"style-{style}",
                tuple((int(x), int(y)) for x, y in points) if kind == "sketch" else None,
                tuple((float(x), float(y), float(c)) for x, y, c in keypoints) if kind == "pose" else None,
            )
            ids = rng.choice(np.array([0, 7, 18, 255], np.uint8), (HEIGHT, WIDTH)) if kind == "classes" else None
            made.append(Photo(frame, image, ids))
    return made


def photo_cache(folder: Path, kind: LabelKind, picture_format: str = "jpg") -> PhotoCache:
    """A cache of `photos`, all in one unit."""
    folder.mkdir()
    preprocessing = Preprocessing(Labelling("worlds", labels.standard_schema(kind, HEIGHT, WIDTH)), picture_format)
    sources = [(name, lambda _, name=name: [p for p in photos(kind) if p.frame.source == name]) for name in SOURCES]
    write_unit(folder, "unit", sources, preprocessing)
    return PhotoCache(folder, [Unit("unit", ())], preprocessing)


def packed(folder: Path, kind: LabelKind = "sketch", picture_format: str = "jpg", pairs: int = 23) -> Manifest:
    """Packs pairs of `photos` into shards of 10."""
    folder.mkdir()
    schema = labels.standard_schema(kind, HEIGHT, WIDTH)
    with photo_cache(folder.with_name(f"{folder.name}-cache"), kind, picture_format) as shown:
        frames = [frame for made in shown.results for frame in made.frames]
        drawn = sample_pairs(frames, PRESETS["default"], pairs, seed=4)
        shards = write_shards(drawn, shown, folder, samples_per_shard=10)
    sources = {"train": SOURCES, "test": ("d.mp4",)}
    manifest = Manifest(schema, "train", 4, PRESETS["default"].to_json(), shards, sources)  # type: ignore[arg-type]
    manifest.save(folder)
    return manifest


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


def rewrite(folder: Path, change: Callable[[Members], Members | None], position: int = 12) -> str:
    """Changes the sample at a position, mends the manifest's sizes and checksums, and returns the sample's key.

    `change` gets the members; returning None leaves the sample out.
    """
    manifest, _ = load_manifest(folder)
    shards, key, seen = [], "", 0
    for shard in manifest.shards:
        path = folder / shard.name
        records = list(iter_shard(path))
        with tarfile.open(path, "w") as tar:
            for members in records:
                if seen == position:
                    key = members[KEY].decode()
                    members = change(dict(members)) or {}
                seen += 1
                for name, content in members.items():
                    if not name.startswith("__"):
                        info = tarfile.TarInfo(f"{members[KEY].decode()}.{name}")
                        info.size = len(content)
                        tar.addfile(info, BytesIO(content))
        shards.append(replace(shard, bytes=path.stat().st_size, sha256=sha256_of(path)))
    replace(manifest, shards=tuple(shards)).save(folder)
    return key


def record(edit: Callable[[dict[str, Any]], None]) -> Callable[[Members], Members]:
    """A change of the json member."""

    def change(members: Members) -> Members:
        data = json.loads(members["json"])
        edit(data)
        return {**members, "json": json.dumps(data).encode()}

    return change


def without(name: str) -> Callable[[Members], Members]:
    return lambda members: {extension: content for extension, content in members.items() if extension != name}


def png(array: Array) -> bytes:
    return bytes(cv2.imencode(".png", array)[1].tobytes())


def jpg(height: int, width: int) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.zeros((height, width, 3), np.uint8)))


def point_less(data: dict[str, Any]) -> None:
    data["target"]["landmarks"].pop()


def other_flag(data: dict[str, Any]) -> None:
    data["s"] = 1 - data["s"]


def a_fifth_source(data: dict[str, Any]) -> None:
    data["inconsistent"]["source"] = "d.mp4"


VIOLATIONS: list[tuple[LabelKind, Callable[[Members], Members | None], str]] = [
    ("sketch", without("consistent.jpg"), "consistent.jpg is missing"),
    ("sketch", without("json"), "json is missing"),
    ("classes", without("exemplar.label.png"), r"exemplar\.label\.png is missing"),
    ("sketch", lambda m: {**m, "target.label.png": png(np.zeros((4, 4), np.uint8))}, "does not belong"),
    ("sketch", lambda m: {**m, "target.png": m["target.jpg"]}, r"target\.png stands beside target\.jpg"),
    ("sketch", lambda m: {**m, "target.jpg": jpg(16, 16)}, r"target\.jpg is 16×16 pixels, .* 48×32"),
    ("sketch", lambda m: {**m, "target.jpg": m["target.jpg"][:40]}, r"target\.jpg is no readable picture"),
    ("sketch", lambda m: {**m, "exemplar.jpg": b""}, r"exemplar\.jpg is no readable picture"),
    (
        "classes",
        lambda m: {**m, "target.label.png": png(np.full((HEIGHT, WIDTH), 77, np.uint8))},
        r"target\.label\.png: .*77.*schema",
    ),
    (
        "classes",
        lambda m: {**m, "target.label.png": png(np.zeros((HEIGHT, WIDTH, 3), np.uint8))},
        "not an 8-bit grey PNG",
    ),
    ("classes", lambda m: {**m, "target.label.png": m["target.label.png"][:60]}, "no readable picture"),
    ("classes", lambda m: {**m, "target.label.png": b"GIF89a"}, "not a PNG file"),
    ("sketch", lambda m: {**m, "json": b"{"}, "json: "),
    ("sketch", lambda m: {**m, "json": b"[1]"}, "not a pair record"),
    ("sketch", record(lambda data: data.pop("exemplar")), "not a pair record"),
    ("sketch", record(lambda data: data.update(target="x")), "not a pair record"),
    ("sketch", record(lambda data: data.update(key="00000099")), "says key '00000099'"),
    ("sketch", record(other_flag), "says s = "),
    ("sketch", record(point_less), "target has 67 label points instead of 68"),
    ("pose", record(lambda data: data["exemplar"].pop("keypoints")), "exemplar has 0 label points instead of 18"),
    ("sketch", record(lambda data: data.update(consistent=data["exemplar"])), "consistent is the exemplar itself"),
    ("sketch", record(lambda data: data.update(consistent=data["inconsistent"])), "consistent has style"),
    ("sketch", record(lambda data: data.update(inconsistent=data["consistent"])), "inconsistent has the exemplar's"),
    ("sketch", record(a_fifth_source), r"inconsistent comes from d\.mp4, which is no train source"),
]


@pytest.mark.parametrize(("kind", "change", "words"), VIOLATIONS)
def test_verify_names_what_is_wrong(
    tmp_path: Path, kind: LabelKind, change: Callable[[Members], Members | None], words: str
) -> None:
    packed(tmp_path / "s", kind)
    key = rewrite(tmp_path / "s", change)
    with pytest.raises(BadInput, match=words) as error:
        verify(tmp_path / "s")
    assert f"pairs-000001.tar sample {key} member" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_untouched_rewrite_is_verified(tmp_path: Path) -> None:
    """The changes above are what `verify` refuses, not the rewriting itself."""
    packed(tmp_path / "s")
    rewrite(tmp_path / "s", lambda members: members)
    assert verify(tmp_path / "s").samples == 23


def test_verify_counts_samples_and_keys(tmp_path: Path) -> None:
    packed(tmp_path / "s")
    rewrite(tmp_path / "s", lambda members: None)
    with pytest.raises(BadInput, match=r"pairs-000001\.tar holds 9 samples, but the manifest says 10"):
        verify(tmp_path / "s")
    packed(tmp_path / "t")
    rewrite(tmp_path / "t", lambda members: {**members, KEY: b"00000003"})
    with pytest.raises(BadInput, match=r"pairs-000001\.tar holds the key 00000003 again"):
        verify(tmp_path / "t")


def test_verify_refuses_a_source_in_both_splits(tmp_path: Path) -> None:
    manifest = packed(tmp_path / "s")
    replace(manifest, sources={"train": SOURCES, "test": SOURCES[:1]}).save(tmp_path / "s")
    with pytest.raises(BadInput, match=r"a\.mp4 stands in train and in test"):
        verify(tmp_path / "s")


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


def test_the_contact_sheet_shows_the_photos(tmp_path: Path) -> None:
    manifest = packed(tmp_path / "s", "classes", "png")
    contact_sheet(tmp_path / "s", tmp_path / "sheet.png", rows=23)
    drawn = cv2.imread(str(tmp_path / "sheet.png"))
    assert drawn is not None
    sheet = drawn[..., ::-1]
    for position, (_, members) in enumerate(iter_samples(tmp_path / "s", manifest)):
        sample = decode(members, manifest.schema)
        height, width = HEIGHT * 4, WIDTH * 4
        top = 30 + position * (height + 26)
        shown = [sheet[top : top + height : 4, 34 + n * (width + 6) :][:, :width:4] for n in range(7)]
        assert np.array_equal(shown[0], labels.picture(manifest.schema, sample.labels["target"]))
        assert np.array_equal(shown[3], labels.picture(manifest.schema, sample.labels["exemplar"]))
        both = (shown[0].astype(int) + shown[1]) / 2
        assert np.abs(shown[2] - both).mean() < 60, "label over photo"
        for place, side in ((1, "target"), (4, "exemplar"), (5, "consistent"), (6, "inconsistent")):
            assert np.array_equal(shown[place], sample.photos[side])


def test_the_overview_counts_what_is_there(tmp_path: Path) -> None:
    manifest = packed(tmp_path / "s")
    pairs = [decode(members, manifest.schema, (), ()).pair for _, members in iter_samples(tmp_path / "s", manifest)]
    seen = overview(tmp_path / "s")
    assert seen.same_style == sum(pair.same_style for pair in pairs)
    assert seen.styles == 3
    assert "23" in seen.table() and "sketch, 15 channels" in seen.table()


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
