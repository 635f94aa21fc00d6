"""The world reader on pictures whose labels are known: it reads, it is kept, and what it reads is scored."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from likeness.command import BadInput
from shards.labels import classes
from shards.records import Frame, LabelSchema, Pair
from shards.worlds import WORLDS, render
from trainer.metrics import read_labels
from trainer.metrics.metric import Judged, Metric
from trainer.metrics.reader import __main__ as command_line
from trainer.metrics.reader import files
from trainer.metrics.reader.files import cached, load_reader, save
from trainer.metrics.reader.network import Reader
from trainer.metrics.reader.points import distances, true_points
from trainer.metrics.reader.recipe import Recipe
from trainer.metrics.reader.training import train

SKETCH = LabelSchema("sketch", 1, 32, 32, ("sketch",), ((0, 0, 0),))
POSE = replace(SKETCH, kind="pose", names=("pose",))
TINY = Recipe("faces", 32, 32, steps=90, batch=16, pictures=240, held_out=48)


@pytest.fixture(scope="module")
def faces() -> Reader:
    return train(TINY)


@pytest.fixture(scope="module")
def untrained_faces() -> Reader:
    return train(replace(TINY, steps=0, pictures=8, held_out=4))


@pytest.fixture(scope="module")
def streets() -> Reader:
    return train(Recipe("streets", 64, 32, steps=35, batch=8, pictures=48, held_out=4))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "likeness" / "readers"


def frame_of(world: str, state: object, number: int) -> Frame:
    marks = WORLDS[world].annotate(state, 32)
    landmarks, keypoints = marks.get("landmarks"), marks.get("keypoints")
    return Frame(
        "video.mp4", number, 0.0, "style",
        landmarks and tuple((x, y) for x, y in landmarks), keypoints and tuple((x, y, c) for x, y, c in keypoints),
    )  # fmt: skip


def drawn(world: str, count: int, width: int = 32) -> list[Judged]:
    """Pictures of a world that are their own targets; the exemplars show other states."""
    place = WORLDS[world]
    rng = np.random.default_rng(11)
    states = [place.sample_states(rng, 1, 1.0)[0] for _ in range(count)]
    pictures = [render(world, state, place.sample_style(rng), width)[: width // 16 * 16] for state in states]
    frames = [frame_of(world, state, i) for i, state in enumerate(states)]
    found = []
    for i in range(count):
        j = (i + 1) % count
        pair = Pair(str(i), frames[i], frames[j], frames[j], frames[j], False)
        ids = place.class_ids(states[i], width)[: width // 16 * 16] if place.KIND.ids else None
        found.append(Judged(pair, pictures[i], pictures[i], pictures[j], ids))
    return found


def figures(metric: Metric, judged: Sequence[Judged]) -> dict[str, float]:
    columns = metric.measure(judged)
    assert all(len(column) == len(judged) for column in columns.values())
    return {name: figure.compute(columns) for name, figure in metric.figures.items()}


def noise(judged: Sequence[Judged]) -> list[Judged]:
    rng = np.random.default_rng(0)
    return [replace(one, picture=rng.integers(0, 256, one.picture.shape, np.uint8)) for one in judged]


def test_seconds_of_training_read_better_than_the_best_constant_guess(faces: Reader) -> None:
    judged = drawn("faces", 40)
    true = np.stack([true_points(one.pair.target.landmarks, None)[0] for one in judged])
    guess = distances(true.mean(0), true).mean()
    read = distances(faces.points([one.picture for one in judged]), true).mean()
    assert read < 0.75 * guess
    assert faces.held_out["pixels"] < 0.75 * guess


def test_truth_beats_a_copy_of_the_exemplar_which_is_all_that_chance_gives(faces: Reader) -> None:
    judged = drawn("faces", 40)
    metric = read_labels.landmark_metric(faces, SKETCH)
    truth = figures(metric, judged)
    copies = figures(metric, [replace(one, picture=one.exemplar) for one in judged])
    assert truth["reader/lepe"] == truth["reader/lepe_of_targets"] < 0.98 * copies["reader/lepe"]
    assert copies["reader/lepe"] == copies["reader/lepe_of_exemplars"] == truth["reader/lepe_of_exemplars"]
    assert figures(metric, noise(judged))["reader/lepe"] > truth["reader/lepe"]


def test_lepe_is_what_the_specification_says(untrained_faces: Reader) -> None:
    """A shift by (3, 4) px of a picture 256 high is 5/256, by 20 px the cap of 10/256 (specification 9.5)."""
    judged = drawn("faces", 3)

    def shifted(x: float, y: float) -> Reader:
        class Shifted(Reader):
            def points(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
                true = [true_points(one.pair.target.landmarks, None)[0] for one in judged]
                return np.stack(true) + np.array([x, y]) / 256

        return Shifted(untrained_faces.recipe, untrained_faces.network, {})

    def lepe(x: float, y: float) -> float:
        return figures(read_labels.landmark_metric(shifted(x, y), SKETCH), judged)["reader/lepe"]

    assert lepe(0, 0) == 0
    assert lepe(3, 4) == pytest.approx(5 / 256)
    assert lepe(20, 0) == 10 / 256


def test_dancers_have_no_cap_and_unseen_keypoints_do_not_count() -> None:
    dancers = train(Recipe("dance", 32, 32, steps=1, batch=2, pictures=4, held_out=4))
    one = drawn("dance", 2)[0]
    read = dancers.points([one.picture])[0]
    unseen = [(0.0, 0.0, 0.0)] * 17
    seen = (float(read[0, 0]) - 40 / 256, float(read[0, 1]) - 30 / 256, 1.0)
    metric = read_labels.keypoint_metric(dancers, POSE)

    def lepe(keypoints: Sequence[tuple[float, float, float]]) -> float:
        target = replace(one.pair.target, keypoints=tuple(keypoints))
        return figures(metric, [replace(one, pair=replace(one.pair, target=target))])["reader/lepe"]

    assert lepe([seen, *unseen]) == pytest.approx(50 / 256)
    assert np.isnan(lepe([*unseen, (0.0, 0.0, 0.0)]))


def test_streets_are_parsed_better_than_by_their_commonest_class(streets: Reader) -> None:
    judged = drawn("streets", 12, width=64)
    schema = classes.schema(32, 64)
    judged = [
        replace(one, picture=one.picture[:32], target=one.target[:32], ids=one.ids[:32])  # type: ignore[index]
        for one in judged
    ]
    metric = read_labels.class_metric(streets, schema)
    truth = figures(metric, judged)
    everything = np.concatenate([one.ids.ravel() for one in judged if one.ids is not None])
    counts = np.bincount(everything[everything != classes.VOID])
    assert truth["reader/pixel_accuracy"] > 100 * counts.max() / counts.sum() + 10
    assert truth["reader/class_iou"] == truth["reader/class_iou_of_targets"] > 0
    lost = figures(metric, noise(judged))
    assert lost["reader/pixel_accuracy"] < truth["reader/pixel_accuracy"] == lost["reader/pixel_accuracy_of_targets"]
    assert lost["reader/class_iou"] < truth["reader/class_iou"]


def test_world_distances_order_truth_then_other_pictures_then_noise(faces: Reader) -> None:
    judged = drawn("faces", 40)
    metric = read_labels.world_features_metric(faces)
    soft = [replace(one, picture=np.uint8(0.5 * one.picture + 64)) for one in judged]
    for name in ("world_frechet", "world_kernel"):
        truth, faded, lost = (figures(metric, some)[name] for some in (judged, soft, noise(judged)))
        assert truth <= 1e-9
        assert truth < faded < lost


def test_a_picture_is_read_alike_in_any_company(untrained_faces: Reader) -> None:
    judged = drawn("faces", 20)
    for make in (lambda one: read_labels.landmark_metric(one, SKETCH), read_labels.world_features_metric):
        metric = make(untrained_faces)
        together = metric.measure(judged)
        for name, column in together.items():
            parts = judged[:1], judged[1:8], judged[8:]
            apart = np.concatenate([metric.measure(part)[name] for part in parts])
            np.testing.assert_array_equal(column, apart)


def test_the_recipe_is_all_that_decides_a_reader() -> None:
    recipe = Recipe("faces", 32, 32, steps=2, batch=2, pictures=8, held_out=4)
    torch.manual_seed(1)
    first = train(recipe).network.state_dict()
    torch.manual_seed(2)
    np.random.seed(2)
    again = train(recipe).network.state_dict()
    other = train(replace(recipe, seed=1)).network.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_reader_is_trained_once_and_then_loaded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe("faces", 32, 32, steps=1, batch=2, pictures=4, held_out=4)
    made = cached(recipe)
    (file,) = home.glob("*.safetensors")
    monkeypatch.setattr(files, "train", lambda recipe: pytest.fail("trained again"))
    kept = cached(recipe)
    assert (kept.recipe, kept.held_out) == (recipe, made.held_out)
    picture = [drawn("faces", 1)[0].picture]
    np.testing.assert_array_equal(kept.points(picture), made.points(picture))
    np.testing.assert_array_equal(kept.features(picture), made.features(picture))
    assert load_reader("faces", 32, 32, file).held_out == made.held_out
    assert recipe.digest in file.name
    assert recipe.digest != replace(recipe, steps=2).digest


def test_a_damaged_or_foreign_file_is_named(home: Path, tmp_path: Path, untrained_faces: Reader) -> None:
    recipe = untrained_faces.recipe
    file = home / f"faces-32x32-{recipe.digest}.safetensors"
    save(untrained_faces, file)
    whole = file.read_bytes()
    for broken in (b"", b"rubbish", whole[: len(whole) // 2]):
        file.write_bytes(broken)
        with pytest.raises(BadInput, match=rf"{file.name} is not a world reader.*delete it"):
            cached(recipe)
    file.write_bytes(whole)
    with pytest.raises(BadInput, match=rf"{file.name} reads faces of 32×32 pixels, not faces of 64×64"):
        load_reader("faces", 64, 64, file)
    with pytest.raises(BadInput, match=r"there is no file .*missing.*trainer\.metrics\.reader"):
        load_reader("faces", 32, 32, tmp_path / "missing")
    with pytest.raises(BadInput, match="read by a reader of dance, not of faces"):
        read_labels.keypoint_metric(untrained_faces, POSE)


def test_a_second_process_waits_and_then_loads(home: Path) -> None:
    recipe = Recipe("faces", 32, 32, steps=1, batch=2, pictures=4, held_out=4)
    code = (
        "from trainer.metrics.reader import files, recipe\n"
        "def never(recipe): raise SystemExit('trained')\n"
        "files.train = never\n"
        "print(files.cached(recipe.Recipe('faces', 32, 32, steps=1, batch=2, pictures=4, held_out=4)).held_out)\n"
    )
    made = cached(recipe)
    (file,) = home.glob("*.safetensors")
    away = file.rename(file.with_suffix(".away"))
    with file.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        assert second.stderr is not None
        assert "another process trains this reader" in second.stderr.readline()
        time.sleep(0.2)
        assert second.poll() is None
        away.rename(file)
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out.strip()) == (0, str(made.held_out)), err


def test_the_command_writes_a_reader_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "faces.safetensors"
    small = Recipe("faces", 32, 32, batch=2, pictures=4, held_out=4)
    monkeypatch.setattr(command_line, "default_recipe", lambda world, height, width: replace(small, width=width))
    command = ["--world", "faces", "--out", str(out), "--steps", "1"]
    assert command_line.main([*command, "--size", "32"]) == 0
    kept = load_reader("faces", 32, 32, out)
    assert kept.recipe == replace(small, steps=1)
    assert f"held-out pixels {kept.held_out['pixels']:.4f}" in capsys.readouterr().out
    for wrong, said in (("32", "exists already"), ("large", "--size large is no size")):
        assert command_line.main([*command, "--size", wrong]) == 2
        assert said in capsys.readouterr().err
    out.unlink()
    assert command_line.main([*command, "--size", "40"]) == 2
    assert "40 is not a multiple of 16" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command_line.main([*command, "--size", "32", "--steps", "0"])
    assert "--steps: '0' is not a whole number from 1" in capsys.readouterr().err
    assert not out.exists()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BadInput, match=r"file/likeness/readers.*point XDG_CACHE_HOME to a folder of yours"):
        cached(TINY)
