"""The stream: every sample once per epoch, an order that is a pure function of the seed, exact resume."""

import io
import itertools
import logging
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likeness.checksums import sha256_of
from likeness.command import BadInput
from shards.labels import load
from shards.labels.flip import flip_frame
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.reading.order import Place
from shards.reading.samples import OpenShard
from shards.reading.store import Store
from shards.reading.stream import Loaded, Reading, Stream, _Memory, first_samples, mirrored, noise_of, open_shards
from shards.records import Frame, Manifest
from shards.worlds.film import film

SAMPLES = 23
Packed = tuple[Manifest, Store]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """23 samples in four shards of unequal size."""
    folder = tmp_path_factory.mktemp("stream")
    film("faces", folder / "videos", videos=4, seconds=1, size=64, seed=5)
    packing = Packing(folder / "videos", preset("default"), pairs=SAMPLES, size=32, samples_per_shard=7)
    pack(packing, folder / "train")
    return opened(folder / "train")


def opened(folder: Path) -> Packed:
    with open_shards(folder) as found:
        return found


def reading(**changes: object) -> Reading:
    return replace(Reading(photos=("target", "exemplar"), labels=("target",), batch=1), **changes)  # type: ignore[arg-type]


def keys(packed: Packed, settings_: Reading, batches: int) -> list[tuple[str, ...]]:
    return [loaded.keys for loaded in itertools.islice(Stream(*packed, settings_), batches)]


def rest_of_epoch(packed: Packed, one: Reading) -> Iterator[tuple[tuple[str, ...], int]]:
    """(keys, padding) of this rank's batches to the end of the epoch."""
    for loaded in Stream(*packed, replace(one, epochs=1)):
        yield loaded.keys, loaded.padding


@settings(max_examples=15)
@given(
    ranks=st.integers(1, 4),
    batch=st.integers(1, 4),
    seed=st.integers(0, 99),
    shuffle=st.integers(1, 40),
    epoch=st.integers(0, 3),
)
def test_an_epoch_holds_every_sample_once_over_the_ranks(
    packed: Packed, ranks: int, batch: int, seed: int, shuffle: int, epoch: int
) -> None:
    """By the real reader; tests/shards/reading/test_order.py has the same for thousands of shapes."""
    once: Counter[str] = Counter()
    lengths = set()
    for rank in range(ranks):
        one = reading(ranks=ranks, rank=rank, batch=batch, seed=seed, shuffle=shuffle, start=Place(epoch, 0))
        batches = list(rest_of_epoch(packed, one))
        lengths.add(len(batches))
        for keys_, padding in batches:
            once.update(keys_[: len(keys_) - padding])
    assert len(lengths) == 1, "every rank has the same number of batches"
    assert len(once) == SAMPLES
    assert set(once.values()) == {1}


@pytest.mark.parametrize("workers", [0, 1, 3, 8])
def test_loader_workers_do_not_change_the_sequence(packed: Packed, workers: int) -> None:
    """Eight workers are more than there are shards, and than there are batches in an epoch."""
    assert keys(packed, reading(workers=workers, batch=4), 9) == keys(packed, reading(batch=4), 9)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("stop", [1, 5, 16])
def test_resuming_reads_what_the_straight_run_reads(packed: Packed, workers: int, stop: int) -> None:
    one = reading(workers=workers, batch=2, shuffle=5)
    straight = list(itertools.islice(Stream(*packed, one), stop + 12))
    again = keys(packed, replace(one, start=straight[stop - 1].place), 12)
    assert again == [loaded.keys for loaded in straight][stop:]


@pytest.mark.parametrize(("ranks", "workers", "batch"), [(1, 0, 3), (3, 2, 1), (5, 1, 2)])
def test_resuming_on_other_ranks_and_workers_loses_nothing(
    packed: Packed, ranks: int, workers: int, batch: int
) -> None:
    """Two ranks stop in the middle of an epoch; other ranks with other batches read exactly the rest."""
    read = []
    for rank in range(2):
        one = reading(batch=2, ranks=2, rank=rank, workers=2)
        read += [loaded for loaded in itertools.islice(Stream(*packed, one), 3)]
    seen = {key for loaded in read for key in loaded.keys}
    assert len(seen) == 12
    assert {loaded.place for loaded in read} == {Place(0, 4), Place(0, 8), Place(0, 12)}
    rest: list[str] = []
    for rank in range(ranks):
        one = reading(batch=batch, ranks=ranks, rank=rank, workers=workers, start=Place(0, 12))
        for keys_, padding in rest_of_epoch(packed, one):
            rest += keys_[: len(keys_) - padding]
    assert len(rest) == SAMPLES - 12
    assert seen | set(rest) == {f"{number:08d}" for number in range(SAMPLES)}


def test_nothing_that_is_passed_over_is_read(packed: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going on at 20 of 23 samples touches 3 samples, and only the shards that hold them."""
    touched = []
    true = OpenShard.members
    monkeypatch.setattr(OpenShard, "members", lambda *call: touched.append(call[1]) or true(*call))
    rest = list(rest_of_epoch(packed, reading(start=Place(0, 20))))
    assert len(rest) == len(touched) == 3


def test_epochs_and_seeds_differ(packed: Packed) -> None:
    two_epochs = keys(packed, reading(), 2 * SAMPLES)
    assert sorted(two_epochs[:SAMPLES]) == sorted(two_epochs[SAMPLES:])
    assert two_epochs[:SAMPLES] != two_epochs[SAMPLES:]
    assert keys(packed, reading(seed=1), SAMPLES) != two_epochs[:SAMPLES]


def test_only_what_is_named_is_decoded(packed: Packed) -> None:
    loaded = next(iter(Stream(*packed, reading(batch=3))))
    assert set(loaded.photos) == {"target", "exemplar"}
    assert set(loaded.labels) == {"target"}
    assert loaded.photos["target"].shape == (3, 32, 32, 3)
    assert loaded.labels["target"].shape == (3, 15, 32, 32)
    assert loaded.labels["target"].dtype == torch.uint8


def by_key(packed: Packed, one: Reading) -> dict[str, Loaded]:
    return {loaded.keys[0]: loaded for loaded in itertools.islice(Stream(*packed, one), SAMPLES)}


def test_mirroring_turns_photos_and_labels_of_a_sample_alike(packed: Packed) -> None:
    plain, flipped = by_key(packed, reading()), by_key(packed, reading(flip=True))
    turned = 0
    for key, before in plain.items():
        after = flipped[key]
        mirrored = torch.equal(after.photos["target"], before.photos["target"].flip(2))
        assert mirrored or torch.equal(after.photos["target"], before.photos["target"])
        assert torch.equal(after.photos["exemplar"], before.photos["exemplar"].flip(2)) == mirrored
        turned += mirrored
        if mirrored:
            # Rasterised curves are not symmetric to the pixel: most of the sketch must agree, not all of it.
            ours, theirs = (label[:, 0].float() for label in (after.labels["target"], before.labels["target"].flip(3)))
            assert torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), 0) > 0.6
    assert 0 < turned < SAMPLES


def test_mirrored_landmarks_are_the_same_points_of_the_face() -> None:
    rng = np.random.default_rng(0)
    points = tuple((int(x), int(y)) for x, y in rng.integers(0, 512, (68, 2)))
    body = tuple((float(x), float(y), 1.0) for x, y in rng.random((18, 2)))
    frame = Frame("v", 0, 0.0, "s", landmarks=points, keypoints=body)
    mirrored = flip_frame(frame)
    assert mirrored.landmarks is not None and mirrored.keypoints is not None
    assert flip_frame(mirrored).landmarks == points
    assert mirrored.landmarks[0] == (511 - points[16][0], points[16][1]), "the jaw's ends change places"
    assert mirrored.landmarks[36] == (511 - points[45][0], points[45][1]), "outer eye corners, too"
    assert mirrored.landmarks[8] == (511 - points[8][0], points[8][1]), "the chin stays the chin"
    assert mirrored.keypoints[4] == (1 - body[7][0], body[7][1], 1.0), "the right wrist becomes the left one"


def test_fixed_samples_are_the_first_ones(packed: Packed) -> None:
    manifest, store = packed
    fixed = first_samples(manifest, store, 9, reading(flip=True))
    assert fixed.keys == tuple(sorted(fixed.keys))
    assert len(fixed.keys) == 9
    assert (
        load(manifest.schema, Frame("v", 0, 0.0, "s", landmarks=((1, 1),) * 68)).shape
        == fixed.labels["target"][0].shape
    )


def test_less_than_a_batch_is_padded_or_refused(packed: Packed) -> None:
    one = reading(batch=16, ranks=2, epochs=1)
    (first,), (second,) = (list(Stream(*packed, replace(one, rank=rank))) for rank in range(2))
    assert (first.padding, second.padding) == (0, 9)
    assert second.keys[7:] == first.keys[:9], "the padding repeats the epoch's beginning"
    with pytest.raises(BadInput, match="23 samples are less than one batch of 16 on each of 2 ranks"):
        Stream(*packed, replace(one, remainder="drop"))


def test_half_of_the_samples_are_mirrored_and_which_changes_with_the_epoch() -> None:
    drawn = np.array([[mirrored(7, epoch, f"{key:08d}") for key in range(2000)] for epoch in range(4)])
    assert np.all(np.abs(drawn.mean(axis=1) - 0.5) < 0.05)
    assert np.abs(np.corrcoef(drawn)[np.triu_indices(4, 1)]).max() < 0.08


def damaged(packed: Packed, folder: Path, key: str, member: str, content: bytes, checksums: bool) -> Packed:
    """A copy of the shards in which one member has another content; `checksums` makes the manifest agree with it."""
    manifest, store = packed
    shards = []
    for shard in manifest.shards:
        with tarfile.open(store.open(shard)) as before, tarfile.open(folder / shard.name, "w") as after:
            for entry in before:
                read = before.extractfile(entry)
                data = read.read() if read else b""
                if entry.name == f"{key}.{member}":
                    data = content
                    entry.size = len(data)
                after.addfile(entry, io.BytesIO(data))
        path = folder / shard.name
        known = replace(shard, bytes=path.stat().st_size, sha256=sha256_of(path))
        shards.append(known if checksums else shard)
    replace(manifest, shards=tuple(shards)).save(folder)
    return opened(folder)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff\xe0 broken"])
def test_a_broken_picture_is_skipped_counted_and_logged(
    packed: Packed, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    hurt = damaged(packed, tmp_path, "00000005", "target.jpg", content, checksums=True)
    stream = Stream(*hurt, reading(batch=4, epochs=2, max_bad=0.05))
    with caplog.at_level(logging.WARNING):
        batches = list(stream)
    assert list(stream.bad) == ["pairs-000000.tar sample 00000005"]
    assert "target.jpg" in stream.bad["pairs-000000.tar sample 00000005"]
    assert len([record for record in caplog.records if "00000005" in record.message]) == 1, "logged once"
    first = batches[:6]
    assert sum(len(loaded.bad) for loaded in first) == 1
    assert all(len(loaded.keys) == 4 and "" not in loaded.keys for loaded in batches)
    assert {key for loaded in first for key in loaded.keys} == {f"{n:08d}" for n in range(SAMPLES)} - {"00000005"}
    assert all(loaded.photos["target"].float().std() > 10 for loaded in batches), "no empty picture in any batch"


def test_the_bound_on_bad_samples_ends_the_run(packed: Packed, tmp_path: Path) -> None:
    hurt = damaged(packed, tmp_path, "00000005", "exemplar.jpg", b"", checksums=True)
    with pytest.raises(BadInput, match=r"1 of 23 samples cannot be read.*00000005.*exemplar\.jpg"):
        list(Stream(*hurt, reading(batch=4, epochs=1, workers=1)))
    with pytest.raises(BadInput, match=r"sample 00000005"):
        first_samples(*hurt, 9, reading())
    list(Stream(*hurt, replace(reading(batch=4, epochs=1), photos=("target",))))


def test_a_damaged_shard_costs_its_samples_and_no_others(packed: Packed, tmp_path: Path) -> None:
    hurt = damaged(packed, tmp_path, "00000008", "target.jpg", b"other", checksums=False)
    stream = Stream(*hurt, reading(batch=2, epochs=1, max_bad=0.4))
    keys_ = {key for loaded in stream for key in loaded.keys}
    assert keys_ == {f"{n:08d}" for n in (*range(7), *range(14, SAMPLES))}
    assert len(stream.bad) == 7
    path = tmp_path / "pairs-000002.tar"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BadInput, match=r"max_bad 0\.4"):
        list(Stream(*hurt, reading(batch=2, epochs=1, max_bad=0.4)))


def test_a_batch_of_bad_samples_gets_a_stand_in(packed: Packed, tmp_path: Path) -> None:
    hurt = damaged(packed, tmp_path, "00000005", "target.jpg", b"", checksums=True)
    batches = list(Stream(*hurt, reading(batch=1, epochs=1, max_bad=0.05)))
    assert [loaded.keys for loaded in batches if loaded.bad] == [("00000006",)]


def test_nothing_is_unpickled_and_strange_members_are_left_alone(packed: Packed, tmp_path: Path) -> None:
    """A member that would leave a file when it is unpickled, and one whose name is a path."""
    manifest, store = packed
    trace = tmp_path / "trace"
    evil = b"cos\nsystem\n(S'touch " + str(trace).encode() + b"'\ntR."
    folder = tmp_path / "evil"
    folder.mkdir()
    source = store.open(manifest.shards[0])
    with tarfile.open(source) as before, tarfile.open(folder / "pairs-000000.tar", "w") as after:
        for entry in before:
            read = before.extractfile(entry)
            after.addfile(entry, read)
            if entry.name.endswith(".json"):
                key = entry.name.removesuffix(".json")
                for name in (f"{key}.pyd", f"{key}.pickle", f"{key}.pth", f"{key}.target.npy"):
                    info = tarfile.TarInfo(name)
                    info.size = len(evil)
                    after.addfile(info, io.BytesIO(evil))
    path = folder / "pairs-000000.tar"
    shard = replace(manifest.shards[0], bytes=path.stat().st_size, sha256=sha256_of(path))
    replace(manifest, shards=(shard,)).save(folder)
    batches = list(Stream(*opened(folder), reading(batch=7, epochs=1)))
    assert len(batches) == 1 and not batches[0].bad
    assert not trace.exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_that_are_kept_do_not_change(packed: Packed, workers: int) -> None:
    """Memory is used again, but never while somebody holds a batch, or a part of one."""
    one = reading(batch=3, workers=workers, flip=True)
    stream = iter(Stream(*packed, one))
    kept, copies = [], []
    for number in range(20):
        loaded = next(stream)
        kept.append(loaded.photos["exemplar"][:1] if number % 2 else loaded.photos["target"])
        copies.append(kept[-1].clone())
        del loaded
    assert all(torch.equal(one, other) for one, other in zip(kept, copies, strict=True))
    again = [loaded.photos["target"].clone() for loaded in itertools.islice(Stream(*packed, one), 20)]
    assert all(torch.equal(kept[number], again[number]) for number in range(0, 20, 2))


def test_resampled_epochs_repeat_some_shards(packed: Packed) -> None:
    batches = [keys(packed, reading(resampled=True, seed=seed, epochs=1), SAMPLES) for seed in range(8)]
    assert all(len(batch) == SAMPLES for batch in batches)
    assert any(len(set(batch)) < SAMPLES for batch in batches)


def noise_by_key(packed: Packed, settings_: Reading) -> dict[str, list[float]]:
    return {
        key: row.tolist()
        for loaded in Stream(*packed, replace(settings_, epochs=1))
        for key, row in zip(loaded.keys, loaded.noise, strict=True)
    }


def test_noise_belongs_to_the_sample_and_its_epoch(packed: Packed) -> None:
    """However it is read: on one rank or three, in any batches, by any number of workers, from any place on."""
    alone = noise_by_key(packed, reading(noise=5, batch=4, seed=3))
    assert len(alone) == SAMPLES and len({tuple(values) for values in alone.values()}) == SAMPLES
    shared: dict[str, list[float]] = {}
    for rank in range(3):
        shared |= noise_by_key(packed, reading(noise=5, batch=2, seed=3, rank=rank, ranks=3, workers=1))
    assert shared == alone
    later = noise_by_key(packed, reading(noise=5, batch=1, seed=3, start=Place(0, 9)))
    assert later and all(alone[key] == values for key, values in later.items())
    assert noise_of(3, 1, "00000000", 5).tolist() != noise_of(3, 0, "00000000", 5).tolist()
    assert noise_of(4, 0, "00000000", 5).tolist() != noise_of(3, 0, "00000000", 5).tolist()


def test_noise_is_standard_normal() -> None:
    drawn = np.concatenate([noise_of(0, 0, f"{number:08d}", 32) for number in range(2000)])
    assert drawn.dtype == np.float32
    # 64,000 draws: the mean's standard error is 0.004, that of the standard deviation 0.003.
    assert abs(drawn.mean()) < 0.02 and abs(drawn.std() - 1) < 0.015
    assert abs(np.mean(drawn > 0) - 0.5) < 0.01


def test_memory_is_lent_again_once_no_part_of_a_batch_is_left() -> None:
    """Whatever holds a part: a view of a view, or a tensor, as a loader hands out."""
    memory = _Memory()
    batch = memory.take((2, 3, 4))
    address = batch.ctypes.data
    batch[:] = 7
    part = torch.from_numpy(np.asarray(batch[1:])[:, 1:])
    del batch
    memory.take((2, 3, 4))[:] = 0
    assert part.unique().tolist() == [7]
    del part
    assert {memory.take((2, 3, 4)).ctypes.data for _ in range(3)} >= {address}, "memory comes round again"
    assert memory.take((4, 3, 4)).shape == (4, 3, 4), "another size is another piece"
