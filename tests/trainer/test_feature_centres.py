"""pix2pixHD on packed streets: a run through all stages, and the looks of large instances, grouped by class."""

from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from likeness.command import BAD_INPUT, DONE, BadInput
from shards.labels.instance_features import FILE, paint, parse_centres
from shards.media.pictures import read_picture
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.reading.stream import Reading, first_samples, open_shards
from shards.worlds.film import film
from trainer.batches import to_device
from trainer.checkpoints.files import Checkpoint, folder_of
from trainer.checkpoints.synthesis import load_for_synthesis
from trainer.config import Config
from trainer.evaluate.__main__ import main as evaluate
from trainer.evaluate.paint import PICTURES, SWAPPED
from trainer.feature_centres import LEAST_AREA, InstanceFeatures, centres_of, instance_features_of, main
from trainer.grid import picture
from trainer.loop import train
from trainer.method import Batch, Losses, Method
from trainer.networks.feature_encoder import FeatureEncoder
from trainer.networks.generator import halved

MakeConfig = Callable[..., Config]
STAGES = {"instances": True, "features": "instances", "enhancer": True, "enhancer_blocks": 1, "pool": 2}


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `train` and `test` shards of 64×32 streets with instance maps."""
    folder = tmp_path_factory.mktemp("streets")
    film("streets", folder / "videos", videos=4, seconds=1, size=256, seed=2)
    packing = Packing(folder / "videos", preset("default"), pairs=10, size=64, test_pairs=8, test_fraction=0.25)
    pack(packing, folder / "train", folder / "test")
    return folder


@pytest.fixture
def staged(streets: Path, small_config: MakeConfig, tiny_options: Callable[[str], dict[str, int]]) -> MakeConfig:
    """A maker of configs on streets: `features` and, where it is so, three stages of 4 images each."""

    def make(**options: object) -> Config:
        config = small_config(
            "pix2pixhd",
            images=12,
            checkpoint={"every": 2, "keep": 9},
            evaluation={"every": 4, "pairs": 8, "grid_rows": 2},
            options={**tiny_options("pix2pixhd"), **options},
            data__train=str(streets / "train"),
            data__test=str(streets / "test"),
            data__label="classes",
            data__height=32,
            data__width=64,
        )
        return config

    return make


@pytest.fixture(scope="module")
def finished() -> dict[str, Path]:
    """Room for the one finished run that all tests look at."""
    return {}


@pytest.fixture
def run(staged: MakeConfig, finished: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has been through all stages."""
    if "run" not in finished:
        folder = tmp_path_factory.mktemp("run") / "straight"
        config = staged(**STAGES, global_images=4, fixed_images=4)
        assert train(config.model_copy(update={"run": folder})) == DONE
        finished["run"] = folder
    return finished["run"]


@pytest.mark.parametrize("images", [2, 4, 6, 8, 10])
def test_a_resumed_run_on_shards_is_the_straight_one(
    images: int, run: Path, staged: MakeConfig, tmp_path: Path
) -> None:
    """In every stage, and where one ends; the pool and its draws included."""
    config = staged(**STAGES, global_images=4, fixed_images=4)
    again = config.model_copy(update={"run": tmp_path / "again"})
    assert train(again, resume=str(folder_of(run, images))) == DONE
    ours, theirs = (Checkpoint(folder_of(folder, 12)).state for folder in (tmp_path / "again", run))
    assert ours.files == theirs.files
    assert {"pool.safetensors", "coarse_pool.safetensors", "encoder.ema.safetensors"} <= ours.files.keys()


def test_pictures_of_a_checkpoint_are_those_of_its_stage(run: Path) -> None:
    names = {images: set(load_for_synthesis(folder_of(run, images)).module.networks) for images in (2, 4, 6, 12)}
    coarse, fine = {"generator", "global_picture", "encoder"}, {"generator", "enhancer", "encoder"}
    assert names == {2: coarse, 4: coarse, 6: fine, 12: fine}


def test_centres_are_those_of_large_instances_of_the_training_pictures(run: Path, streets: Path) -> None:
    assert main(["--checkpoint", str(run), "--clusters", "2"]) == DONE
    folder = folder_of(run, 12)
    found = parse_centres((folder / FILE).read_text(), FILE)
    checkpoint = Checkpoint(folder)
    assert found.checkpoint == checkpoint.state.digest and found.regions == "instances"
    encoder = FeatureEncoder(4, 2)
    encoder.load_state_dict(checkpoint.tensors("encoder.ema"))
    with open_shards(streets / "train") as (manifest, store):
        reading = Reading(("target",), ("target",), 1, instances=True)
        loaded = first_samples(manifest, store, manifest.samples, reading)
    batch = to_device(loaded, manifest.schema, torch.device("cpu"))
    with torch.inference_mode():
        features = encoder(halved(batch.target)).numpy()
    ids, instances = (tensor.numpy()[:, ::2, ::2] for tensor in (loaded.labels["target"], batch.instances))
    counts: Counter[int] = Counter()
    sums: dict[int, np.ndarray] = {}
    for n in range(len(ids)):
        for number in np.unique(instances[n]):
            inside = instances[n] == number
            if inside.mean() > LEAST_AREA:
                (kind,) = np.unique(ids[n][inside])
                counts[int(kind)] += 1
                sums[int(kind)] = sums.get(int(kind), 0) + features[n][:, inside].mean(1)
    assert {kind: sum(sizes) for kind, sizes in found.counts.items()} == counts
    for kind, rows in found.centres.items():
        assert len(rows) <= 2
        mean = np.average(np.array(rows), axis=0, weights=found.counts[kind])
        np.testing.assert_allclose(mean, sums[kind] / counts[kind], atol=1e-5)
    painted = paint(instances[0], ids[0], found.arrays, np.random.default_rng(0))
    assert painted.shape == (3, *ids[0].shape) and painted.any()


class Encoding(Method):
    """A method that nobody has seen yet; its features are the mean colours of classes."""

    encoders = ("anything",)
    regions = "classes"

    def __init__(self) -> None: ...
    def play(self, batch: Batch, images: int) -> Generator[tuple[str, Losses], None, None]:
        raise AssertionError

    def synthesize(self, networks: Mapping[str, nn.Module], inputs: Mapping[str, Tensor]) -> Tensor:
        raise AssertionError

    def encode(self, networks: Mapping[str, nn.Module], batch: Batch) -> tuple[Tensor, Tensor]:
        classes = batch.label.argmax(1)
        return networks["anything"](batch.target), classes


def test_any_method_that_encodes_has_looks() -> None:
    label = torch.zeros(1, 2, 2, 2)
    label[:, 0, 0], label[:, 1, 1] = 1, 1
    photo = torch.tensor([[0.5, 0.5], [-0.25, -0.25]]).expand(1, 3, 2, 2)
    empty = torch.empty(0)
    batch = Batch(label, photo, empty, empty, empty, empty, empty)
    rows = instance_features_of(Encoding(), {"anything": nn.Identity()}, batch, [7, 9])
    assert [(row.class_id, row.area, row.features.tolist()) for row in rows] == [
        (7, 0.5, [0.5] * 3),
        (9, 0.5, [-0.25] * 3),
    ]


def instances(*groups: tuple[float, int], area: float = 0.5, class_id: int = 7) -> list[InstanceFeatures]:
    """Looks around points, by (place, how many)."""
    generator = np.random.default_rng(0)
    return [
        InstanceFeatures(class_id, area, (place + generator.normal(0, 0.01, 3)).astype(np.float32))
        for place, many in groups
        for _ in range(many)
    ]


def test_clusters_are_found_and_never_more_than_there_are_looks() -> None:
    centres, counts = centres_of(instances((-0.5, 5), (0.5, 9), (0.0, 2)), 3)
    assert counts == {7: [9, 5, 2]}
    np.testing.assert_allclose(centres[7], np.outer([0.5, -0.5, 0.0], np.ones(3)), atol=0.02)
    assert centres_of(instances((-0.5, 5), (0.5, 9), (0.0, 2)), 3) == (centres, counts), (
        "the same features, the same centres"
    )
    centres, counts = centres_of(instances((0.2, 2)), 10)
    assert len(centres[7]) == 2 and counts == {7: [1, 1]}
    equal = [replace(each, features=np.full(3, 0.25, np.float32)) for each in instances((0.0, 4))]
    assert centres_of(equal, 10) == ({7: [[0.25] * 3]}, {7: [4]})


def test_a_checkpoint_that_reads_instances_is_judged(staged: MakeConfig, streets: Path, tmp_path: Path) -> None:
    """Its pictures are painted from each pair's own instance map, and after the swap from the next pair's."""
    config = staged(instances=True)
    assert train(config) == DONE
    assert evaluate(["--checkpoint", str(config.run), "--out", str(tmp_path / "judged")]) == DONE
    with open_shards(str(streets / "test")) as (manifest, store):
        loaded = first_samples(manifest, store, 8, Reading(("target",), ("target",), 8, instances=True))
    batch = to_device(loaded, manifest.schema, torch.device("cpu"))
    module = load_for_synthesis(config.run).module
    with torch.inference_mode():
        own = module(batch.label, batch.instances)
        swapped = module(batch.label.roll(-1, 0), batch.instances.roll(-1, 0))
        unlike = module(batch.label, batch.instances.roll(-1, 0))
    assert not torch.equal(own, unlike)
    for folder, wanted in ((PICTURES, own), (SWAPPED, swapped)):
        for key, image in zip(loaded.keys, wanted, strict=True):
            found = read_picture(tmp_path / "judged" / folder / f"{key}.png").astype(int)
            assert np.abs(found - picture(image)).max() <= 1


def test_what_pairs_do_not_hold_is_named(
    run: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "judged"
    assert evaluate(["--checkpoint", str(run), "--out", str(out)]) == BAD_INPUT
    assert "paints from features, which pairs do not hold; paint them with `python -m deploy batch`" in (
        capsys.readouterr().err
    )
    assert evaluate(["--checkpoint", str(run), "--data", str(packed / "test"), "--out", str(out)]) == BAD_INPUT
    assert "has another label schema" in capsys.readouterr().err
    assert not out.exists()


def test_classes_without_large_instances_have_no_centres() -> None:
    """Large is more than 1/64 of the picture (2.4)."""
    small, large = instances((0.0, 3), area=1 / 64), instances((0.5, 3), area=1 / 64 + 1e-6, class_id=9)
    centres, _ = centres_of([*small, *large], 10)
    assert list(centres) == [9]


def test_looks_by_class(staged: MakeConfig, tmp_path: Path) -> None:
    config = staged(features="classes").model_copy(update={"images": 2, "run": tmp_path / "classes"})
    assert train(config) == DONE
    assert main(["--checkpoint", str(config.run)]) == DONE
    found = parse_centres((folder_of(config.run, 2) / FILE).read_text(), FILE)
    assert found.regions == "classes" and found.centres
    assert all(sum(sizes) <= 10 for sizes in found.counts.values()), "a class is one region of each of 10 pictures"


def test_what_has_no_features_is_refused(
    staged: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = staged().model_copy(update={"images": 2, "run": tmp_path / "plain"})
    assert train(config) == DONE
    assert main(["--checkpoint", str(config.run)]) == BAD_INPUT
    message = capsys.readouterr().err
    assert "has no feature encoder: it is a pix2pixhd without options.features" in message
    assert "; train pix2pixhd with --options.features instances or classes" in message, "all methods that encode"
    assert main(["--checkpoint", str(tmp_path / "nowhere")]) == BAD_INPUT
    assert "no checkpoint at" in capsys.readouterr().err


def test_a_run_without_instance_maps_is_refused_before_its_folder_is_made(staged: MakeConfig, packed: Path) -> None:
    """So that the same command can be given again once the shards are mended."""
    config = staged(instances=True)
    without = config.model_copy(
        update={
            "data": config.data.model_copy(
                update={"train": str(packed / "train"), "test": None, "label": "sketch", "width": 32}
            )
        }
    )
    with pytest.raises(BadInput, match="has no instance maps"):
        train(without)
    assert not without.run.exists()
