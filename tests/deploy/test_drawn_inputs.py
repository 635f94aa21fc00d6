"""Style codes, instance maps and looks: given in files, or drawn, in batches, from the service, and in Triton."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.__main__ import main
from deploy.batch.open_pairs import open_pairs
from deploy.runtime import Session
from deploy.triton import repository as triton
from likeness.array import Array
from likeness.command import BadInput
from shards.labels.instance_features import paint
from shards.media.pictures import encode_picture
from shards.reading import samples
from shards.records import load_manifest
from tests.deploy.drawn import features as drawn_features
from tests.deploy.drawn import style as drawn_style
from tests.deploy.service.test_serve import Server
from tests.deploy.triton.test_triton import parsed

Loaded = dict[str, Array]


def painted(session: Session, **loaded: Array) -> bytes:
    image = session.run(**{name: tensor[None] for name, tensor in session.tensors(loaded).items()})
    return encode_picture(session.pictures(image)[0])


def batch(model: Path, pairs: Path, out: Path, *more: str) -> int:
    return main(["batch", "--model", str(model), "--pairs", str(pairs), "--out", str(out), *more])


def made(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(out.glob("*.png"))}


def targets(shards: Path) -> dict[str, Loaded]:
    """Label and instance map of every pair, by its key."""
    manifest, folder = load_manifest(shards)
    found = {}
    for _, members in samples.iter_samples(folder, manifest):
        sample = samples.decode(members, manifest.schema, (), ("target",), instances=True)
        assert sample.instances is not None
        found[sample.pair.key] = {"label": sample.labels["target"], "instances": sample.instances}
    return found


def as_csv(folder: Path, rows: list[dict[str, str]]) -> Path:
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "pairs.csv"


def as_files(folder: Path, streets: Path) -> list[dict[str, str]]:
    """The pairs as files, and as rows of a CSV beside them."""
    rows = []
    for key, sample in targets(streets).items():
        for name, value in sample.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / name / f"{key}.png"), value)
        rows.append({"label": f"label/{key}.png", "instances": f"instances/{key}.png", "output": f"{key}.png"})
    return rows


def test_draws_are_standard_normal_and_a_function_of_seed_name_and_number() -> None:
    every = np.stack([drawn_style(seed, name, number) for seed in range(20) for name in "abcde" for number in (1, 2)])
    assert (every.shape, every.dtype) == ((200, 8), np.float32)
    # 1,600 draws: six standard errors of mean and deviation.
    assert abs(every.mean()) < 6 / 40 and abs(every.std() - 1) < 6 / 57
    assert len(np.unique(every)) == every.size
    assert np.array_equal(drawn_style(3, "a", 2), drawn_style(3, "a", 2))


def test_shards_and_files_with_drawn_looks_give_the_same_pictures(
    instanced: Path, streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(instanced)
    centres = session.metadata.feature_centres
    assert centres is not None
    assert batch(instanced, streets, tmp_path / "shards", "--seed", "3", "--batch", "2") == 0
    found = made(tmp_path / "shards")
    known = targets(streets)
    for key, sample in known.items():
        features = drawn_features(centres, sample, 3, key)
        for number in np.unique(sample["instances"]):
            inside = sample["instances"] == number
            look = np.unique(features[:, inside], axis=1)
            kind = int(np.bincount(sample["label"][inside]).argmax())
            assert look.shape == (3, 1) and (look[:, 0] == centres.arrays[kind]).all(1).any()
        assert found[f"{key}.png"] == painted(session, **sample, features=features)

    rows = as_files(tmp_path / "files", streets)
    assert batch(instanced, as_csv(tmp_path / "files", rows), tmp_path / "csv", "--seed", "3") == 0
    (tmp_path / "files" / "pairs.csv").unlink()
    assert batch(instanced, tmp_path / "files", tmp_path / "folder", "--seed", "3") == 0
    assert made(tmp_path / "csv") == made(tmp_path / "folder") == found

    (tmp_path / "folder" / f"{next(iter(known))}.png").unlink()
    assert batch(instanced, tmp_path / "files", tmp_path / "folder", "--seed", "4") == 2
    assert "begun with another --seed" in capsys.readouterr().err
    assert batch(instanced, tmp_path / "files", tmp_path / "folder", "--seed", "3") == 0
    assert made(tmp_path / "folder") == found
    assert batch(instanced, tmp_path / "files", tmp_path / "other", "--seed", "4") == 0
    assert not set(made(tmp_path / "other").values()) & set(found.values())


def test_looks_are_given_in_pictures(instanced: Path, streets: Path, tmp_path: Path) -> None:
    session = Session(instanced)
    key, sample = next(iter(targets(streets).items()))
    stored = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    (tmp_path / "features.png").write_bytes(encode_picture(stored))
    row = next(row for row in as_files(tmp_path, streets) if row["label"] == f"label/{key}.png")
    # 8 bits are enough for few instances.
    few = np.searchsorted(np.unique(sample["instances"]), sample["instances"]).astype(np.uint8)
    assert cv2.imwrite(str(tmp_path / "few.png"), few)
    rows = [row | {"features": "features.png"}, row | {"features": "", "output": "drawn.png", "instances": "few.png"}]
    assert batch(instanced, as_csv(tmp_path, rows), tmp_path / "out") == 0
    features = (stored.transpose(2, 0, 1) / 127.5 - 1).astype(np.float32)
    found = made(tmp_path / "out")
    assert found[f"{key}.png"] == painted(session, **sample, features=features)
    centres = session.metadata.feature_centres
    assert centres is not None
    drawn = drawn_features(centres, {**sample, "instances": few}, 0, "drawn")
    assert found["drawn.png"] == painted(session, label=sample["label"], instances=few, features=drawn)
    assert np.array_equal(
        paint(few, sample["label"], centres.arrays, {}),
        paint(sample["instances"], sample["label"], centres.arrays, {}),
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("instances", np.zeros((64, 128, 3), np.uint8), "is no instance map .*it is a colour picture"),
        ("features", np.zeros((32, 128, 3), np.uint8), "is 128×32 pixels, but the model takes 128×64"),
        ("features", None, "give features as an RGB PNG"),
    ],
)
def test_pictures_that_do_not_fit(
    name: str,
    value: Array | None,
    words: str,
    instanced: Path,
    streets: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = as_files(tmp_path, streets)[0]
    if value is None:
        (tmp_path / "bad.png").write_bytes(b"\xff\xd8no")
    else:
        assert cv2.imwrite(str(tmp_path / "bad.png"), value)
    assert batch(instanced, as_csv(tmp_path, [row | {name: "bad.png"}]), tmp_path / "out") == 2
    with pytest.raises(BadInput, match=words):
        raise BadInput(capsys.readouterr().err)


def test_shards_without_instance_maps_are_refused(instanced: Path, streets: Path, tmp_path: Path) -> None:
    shutil.copytree(streets, tmp_path / "shards")
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_text())
    del manifest["instances"]
    (tmp_path / "shards" / "manifest.json").write_text(json.dumps(manifest))
    session = Session(instanced)
    with pytest.raises(BadInput, match="has no instance maps, which the model reads"):
        open_pairs(tmp_path / "shards", session.schema, session.inputs)


def test_a_pair_in_several_styles(
    styled: Path, streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(styled)
    assert batch(styled, streets, tmp_path / "one", "--seed", "5") == 0
    assert batch(styled, streets, tmp_path / "three", "--seed", "5", "--styles", "3") == 0
    one, three = made(tmp_path / "one"), made(tmp_path / "three")
    known = targets(streets)
    assert list(three) == [f"{key}-{number}.png" for key in known for number in (1, 2, 3)]
    for key, sample in known.items():
        for number in (1, 2, 3):
            style = drawn_style(5, key, number)
            assert three[f"{key}-{number}.png"] == painted(session, label=sample["label"], style=style)
        assert three[f"{key}-1.png"] == one[f"{key}.png"]
    assert len({*three.values()}) == len(three)
    record = json.loads((tmp_path / "three" / "batch.json").read_text())
    assert (record["seed"], record["styles"], record["count"]) == (5, 3, 3 * len(known))

    rows = [{"label": row["label"], "output": row["output"]} for row in as_files(tmp_path / "files", streets)]
    pairs = as_csv(tmp_path / "files", rows)
    for number in range(5):
        more = ("--seed", "5", "--styles", "3", "--slice", f"{number}/5")
        assert batch(styled, streets, tmp_path / "slices", *more) == 0
        assert batch(styled, pairs, tmp_path / "files-out", *more) == 0
    assert made(tmp_path / "slices") == made(tmp_path / "files-out") == three
    more = ("--seed", "5", "--per-shard", "2")
    assert batch(styled, streets, tmp_path / "tars", *more, "--styles", "3") == 0
    assert json.loads((tmp_path / "tars" / "index.json").read_text())["pictures"] == len(three)

    assert batch(styled, streets, tmp_path / "three", "--seed", "5", "--styles", "2") == 2
    assert "begun with another --styles" in capsys.readouterr().err


def test_styles_are_given_in_cells_and_files(
    styled: Path, instanced: Path, streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(styled)
    key, sample = next(iter(targets(streets).items()))
    as_files(tmp_path, streets)
    code = [0.5, -1.0, 2.0, 0.0, 0.25, 3.0, -2.5, 1.0]
    (tmp_path / "style.json").write_text(json.dumps({"style": code}))
    label = f"label/{key}.png"
    rows = [
        {"label": label, "style": json.dumps(code), "output": "cell.png"},
        {"label": label, "style": "style.json", "output": "file.png"},
        {"label": label, "style": "", "output": "drawn.png"},
    ]
    assert batch(styled, as_csv(tmp_path, rows), tmp_path / "out") == 0
    found = made(tmp_path / "out")
    wanted = painted(session, label=sample["label"], style=np.array(code, np.float32))
    assert found["cell.png"] == found["file.png"] == wanted
    assert found["drawn.png"] == painted(session, label=sample["label"], style=drawn_style(0, "drawn"))
    assert batch(styled, as_csv(tmp_path, rows), tmp_path / "several", "--styles", "2") == 2
    assert "cell.png has a style already" in capsys.readouterr().err
    assert batch(instanced, streets, tmp_path / "several", "--styles", "2") == 2
    assert "--styles 2 is for models that read style codes" in capsys.readouterr().err

    for wrong, words in (
        ("[1, 2]", "a style code has 8 numbers"),
        (json.dumps([1e9] * 8), "none beyond ±100"),
        ("[NaN, 0, 0, 0, 0, 0, 0, 0]", "none beyond ±100"),
        ("[x]", "is no style code in JSON"),
    ):
        pairs = as_csv(tmp_path, [rows[0] | {"style": wrong}, rows[1]])
        assert batch(styled, pairs, tmp_path / f"wrong-{len(wrong)}", "--max-bad", "1") == 0
        (bad,) = (tmp_path / f"wrong-{len(wrong)}").glob("bad.csv")
        assert words in bad.read_text()


def test_the_service_draws_what_is_not_sent(instanced: Path, styled: Path, streets: Path, tmp_path: Path) -> None:
    as_files(tmp_path, streets)
    key, sample = next(iter(targets(streets).items()))
    label, instances = ((tmp_path / name / f"{key}.png").read_bytes() for name in ("label", "instances"))
    session = Session(instanced)
    centres = session.metadata.feature_centres
    assert centres is not None
    with Server(instanced) as server:
        described = json.loads(server.get("/").content)["inputs"]
        assert list(described) == ["label", "instances", "features", "seed"]
        assert "-F label=@label.png -F instances=@instances.png -F seed=1" in server.example
        both = [("label", label), ("instances", instances)]
        for parts, seed in ((both, 0), ([*both, ("seed", b"9")], 9)):
            features = drawn_features(centres, sample, seed, "")
            wanted = painted(session, **sample, features=features)
            assert server.post(parts).content == wanted
        given = server.post([*both, ("features", encode_picture(np.full((64, 128, 3), 255, np.uint8)))])
        assert given.content == painted(session, **sample, features=np.ones((3, 64, 128), np.float32))
        for parts, status, words in (
            (both[:1], 422, "send exactly label, instances, and if wanted features, seed"),
            ([*both, both[0]], 422, "each once"),
            ([*both, ("seed", b"-1")], 422, "seed is no whole number"),
            ([both[0], ("instances", b"no")], 415, "the part instances is no PNG"),
        ):
            answer = server.post(parts)
            assert answer.status == status and words in answer.error
        assert server.end()[0] == 0
    session = Session(styled)
    with Server(styled) as server:
        code = json.dumps([0.5] * 8).encode()
        wanted = painted(session, label=sample["label"], style=np.full(8, 0.5, np.float32))
        assert server.post([("label", label), ("style", code)]).content == wanted
        drawn = painted(session, label=sample["label"], style=drawn_style(2, ""))
        assert server.post([("label", label), ("seed", b"2")]).content == drawn
        answer = server.post([("label", label), ("style", b"[1]")])
        assert answer.status == 422 and "a style code has 8 numbers" in answer.error
        assert server.end()[0] == 0


def test_triton_learns_of_every_input(instanced: Path, styled: Path, tmp_path: Path) -> None:
    for model, wanted in (
        (instanced, {"label": (2, [64, 128]), "instances": (8, [64, 128]), "features": (11, [3, 64, 128])}),
        (styled, {"label": (2, [64, 128]), "style": (11, [8])}),
    ):
        folder = triton.write(Session(model), tmp_path / model.parent.name, "likeness", on="cpu")
        config = parsed((folder / "config.pbtxt").read_text())
        assert {each.name: (each.data_type, list(each.dims)) for each in config.input} == wanted


def test_a_video_has_neither_instances_nor_looks_but_may_have_a_style(
    instanced: Path, styled: Path, streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = next((streets.parent / "videos").glob("*.mp4"))

    def run(model: Path, name: str, *more: str) -> int:
        return main(["batch", "--model", str(model), "--video", str(film), "--out", str(tmp_path / name), *more])

    assert run(instanced, "out.mp4") == 2
    assert "reads instance maps, which no label operator finds in a video" in capsys.readouterr().err
    assert run(styled, "first.mp4", "--seed", "1") == run(styled, "again.mp4", "--seed", "1") == 0
    assert run(styled, "other.mp4", "--seed", "2") == 0
    first, again, other = (
        cv2.VideoCapture(str(tmp_path / f"{name}.mp4")).read()[1].astype(int) for name in ("first", "again", "other")
    )
    assert np.array_equal(first, again) and np.abs(first - other).mean() > 1


def test_features_without_centres_must_be_given(instanced: Path, streets: Path) -> None:
    session = Session(instanced)
    session.metadata = replace(session.metadata, feature_centres=None)
    sample = next(iter(targets(streets).values()))
    with pytest.raises(BadInput, match="has no centres to draw them from"):
        session.completed(sample, 0, "")


def test_files_are_read_where_their_names_are_all_of_their_paths(
    instanced: Path, streets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list in the working directory, and one with absolute paths, are those of a folder with relative ones."""
    session = Session(instanced)
    key, loaded = next(iter(targets(streets).items()))
    for name, picture in loaded.items():
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    monkeypatch.chdir(tmp_path)
    rows = [
        {"label": "label.png", "instances": "instances.png"},
        {"label": str(tmp_path / "label.png"), "instances": str(tmp_path / "instances.png")},
    ]
    as_csv(Path("."), rows)
    found = [job.load() for job in open_pairs("pairs.csv", session.schema, session.inputs).jobs(lambda *_: True)]
    assert len(found) == 2, key
    for each in found:
        for name, picture in loaded.items():
            np.testing.assert_array_equal(each[name], picture)
