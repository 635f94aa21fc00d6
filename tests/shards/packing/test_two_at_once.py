"""What packing and merging leave alone, and two of them at one place."""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from likeness.command import BadInput
from likeness.one_writer import only_writer
from shards.inspection.verify import verify
from shards.labels import standard_schema
from shards.operators.photos import Labelling, Photo
from shards.packing import write
from shards.packing.merge import merge
from shards.packing.photo_cache import PhotoCache, Preprocessing, Unit, write_unit
from shards.packing.write import pack, part_folder
from shards.records import load_manifest
from tests.shards.packing.small_shards import packing


def slices_of(videos: Path, out: Path) -> list[Path]:
    for number in (0, 1):
        pack(packing(videos), out, part=(number, 2))
    return [part_folder(out, (number, 2)) for number in (0, 1)]


def test_merging_into_a_slice_is_refused_and_deletes_nothing(videos: Path, tmp_path: Path) -> None:
    slices = slices_of(videos, tmp_path / "many")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for out in (slices[1] / "out", slices[0]):
        with pytest.raises(BadInput, match=r"--out .* lies in .*choose another --out|exists already"):
            merge(out, slices)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_merging_keeps_what_others_put_into_a_slice(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slices = slices_of(videos, tmp_path / "many")
    mine = slices[1] / "notes.txt"
    mine.write_text("mine")
    merge(tmp_path / "many")
    assert mine.read_text() == "mine" and [*slices[1].iterdir()] == [mine] and not slices[0].exists()
    assert f"{slices[1]} stays: pack did not write notes.txt" in capsys.readouterr().err
    verify(tmp_path / "many")


def test_slices_that_hold_one_shard_twice_are_refused(videos: Path, tmp_path: Path) -> None:
    slices = slices_of(videos, tmp_path / "many")
    manifest, _ = load_manifest(slices[0])
    shard = manifest.shards[0]
    other = load_manifest(slices[1])[0]
    (slices[1] / shard.name).write_bytes((slices[0] / shard.name).read_bytes())
    type(other)(**{**vars(other), "shards": (*other.shards, shard)}).save(slices[1])
    with pytest.raises(BadInput, match=f"both hold {shard.name}"):
        merge(tmp_path / "many")
    assert all((folder / shard.name).is_file() for folder in slices) and not (tmp_path / "many").exists()


def test_of_two_packings_to_one_place_one_is_whole(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins, with another seed, while the first one writes its shards."""
    writing, refused = threading.Event(), threading.Event()
    written = write.write_shards

    def slow(*arguments: object, **others: object) -> object:
        writing.set()
        assert refused.wait(60)
        return written(*arguments, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(write, "write_shards", slow)
    first = threading.Thread(target=pack, args=(packing(videos), tmp_path / "out"))
    first.start()
    try:
        assert writing.wait(60)
        with pytest.raises(BadInput, match=r"another pack writes .*out; wait for it, or choose another --out"):
            pack(packing(videos, seed=9), tmp_path / "out")
    finally:
        refused.set()
        first.join()
    assert verify(tmp_path / "out").samples > 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    # A lock is let go of with its holder, whatever became of the file.
    with only_writer(tmp_path / ".out.lock", "held", keep=False):
        pass


def test_a_file_that_cannot_be_read_is_one_bad_file(tmp_path: Path) -> None:
    """Whatever the system says of it; where the disk is full, packing ends."""
    preprocessing = Preprocessing(Labelling("edges", standard_schema("edges", 32, 32)), "png", None)

    def fails(number: int) -> Iterator[Photo]:
        raise OSError(number, os.strerror(number), "clip.mp4")
        yield

    for name, number in (("EACCES", 13), ("EISDIR", 21), ("ENAMETOOLONG", 36)):
        write_unit(tmp_path, name, [("clip.mp4", lambda _, number=number: fails(number))], preprocessing)
        with PhotoCache(tmp_path, [Unit(name, ())], preprocessing) as cache:
            assert str(cache.results[0].error).startswith(f"clip.mp4: {os.strerror(number)}; ")
    with pytest.raises(OSError, match="No space left"):
        write_unit(tmp_path, "full", [("clip.mp4", lambda _: fails(28))], preprocessing)
    assert Counter(path.suffix for path in tmp_path.iterdir()) == {".bin": 3, ".json": 3}
