"""Manipulated instances: numbers as Cityscapes has them, looks, and changes only where they should be."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from deploy.__main__ import main
from deploy.manipulation import edit as manipulate
from deploy.manipulation import scenes
from deploy.manipulation.edit import Change, NewClass, NewLook, Scene
from deploy.metadata import Metadata
from deploy.runtime import Session
from likeness.command import BadInput
from shards.labels import standard_schema
from tests.deploy.drawn import style
from trainer import methods
from trainer.method import Synthesizer
from trainer.networks.norms import InstanceNorm2d

ROAD, BUILDING, SKY, PERSON, CAR, VOID = 0, 2, 10, 11, 13, 255
IDS = np.array([[ROAD, ROAD, CAR, CAR], [ROAD, SKY, CAR, PERSON]], np.uint8)
INSTANCES = np.array([[ROAD, ROAD, 13001, 13001], [ROAD, SKY, 13002, 11001]], np.uint16)


@pytest.mark.parametrize(
    ("instance", "class_id", "number"),
    [
        (13001, PERSON, 11000),  # 11001 is taken: the first n that is free
        (13002, PERSON, 11002),  # n stays
        (13001, BUILDING, 2001),  # no building anywhere: a thing of its own
        (13001, ROAD, ROAD),  # it becomes a part of the road
        (13001, VOID, VOID),  # 255,001 has more than 16 bits
        (SKY, ROAD, ROAD),
        (SKY, CAR, CAR),  # what was not counted is not
    ],
)
def test_numbers_after_another_class(instance: int, class_id: int, number: int) -> None:
    before = IDS.copy(), INSTANCES.copy()
    ids, instances = manipulate.relabel(IDS, INSTANCES, instance, class_id)
    inside = instance == INSTANCES
    assert (ids[inside] == class_id).all() and (ids[~inside] == IDS[~inside]).all()
    assert (instances[inside] == number).all() and (instances[~inside] == INSTANCES[~inside]).all()
    assert np.array_equal(IDS, before[0]) and np.array_equal(INSTANCES, before[1])


def test_looks_are_set_on_the_instance_alone() -> None:
    features = np.random.default_rng(0).uniform(-1, 1, (3, 2, 4)).astype(np.float32)
    changed = manipulate.set_features(features, INSTANCES, 13001, [0.5, -0.5, 1])
    inside = INSTANCES == 13001
    assert (changed[:, inside] == np.array([[0.5], [-0.5], [1]], np.float32)).all()
    assert np.array_equal(changed[:, ~inside], features[:, ~inside]) and changed.dtype == np.float32


def test_what_changed_where() -> None:
    before, after = np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 3), np.uint8)
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    after[4, 4], after[2:7, 2:7, 0] = 30, 12
    after[0, 0] = 56
    found = manipulate.outside(before, after, mask, 2)
    assert found == Change((12 + 30 + 30) / 3, pytest.approx(24 * 4 / 24), pytest.approx(56 / 56))
    assert manipulate.outside(before, after, mask, 9).beyond is None


SIZES = {"generator_base": 2, "generator_downsamplings": 2, "generator_blocks": 1, "encoder_base": 2}
ENHANCED = {"enhancer": True, "enhancer_blocks": 1}


@pytest.mark.parametrize(("extra", "size"), [({}, 64), (ENHANCED, 96)])
def test_without_norms_features_change_what_is_within_reach(extra: dict[str, Any], size: int) -> None:
    schema = standard_schema("classes", size, size)
    kind = methods.find("pix2pixhd")
    options = kind.options_type.model_validate({**SIZES, "instances": True, "features": "instances", **extra})
    torch.manual_seed(0)
    method = kind(options, schema)
    for network in method.networks.values():
        for name, part in list(network.named_modules()):
            if isinstance(part, InstanceNorm2d | nn.ReLU):
                network.set_submodule(name, nn.Identity())
    paint = Synthesizer(method, method.networks, 10**12).double().eval()
    label, instances = torch.zeros(1, schema.channels, size, size).double(), torch.zeros(1, size, size).int()
    features = torch.zeros(1, 3, size, size).double()
    farthest = 0
    with torch.inference_mode():
        before = paint(label, instances, features)
        for place in range(size // 2, size // 2 + 8):
            changed = features.clone()
            changed[:, :, place, place] = 1
            rows = (paint(label, instances, changed) != before).any(1)[0].any(1).nonzero()
            farthest = max(farthest, place - int(rows[0]), int(rows[-1]) - place)
    # One pixel more for boundaries of instances.
    assert method.reach() == farthest + 1 < size // 2 + 1


def test_the_model_says_how_far_a_change_reaches(instanced: Path, styled: Path) -> None:
    metadata, silent = Session(instanced).metadata, Session(styled).metadata
    assert metadata.reach is not None and silent.reach is None
    props = metadata.to_props()
    assert Metadata.from_props(props, "model.onnx") == metadata
    del props["likeness.reach"]
    assert Metadata.from_props(props, "model.onnx") == replace(metadata, reach=None), "one of before"
    assert "likeness.reach" not in silent.to_props(), "what nobody knows is not written"
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    inside = np.zeros((4, 4), bool)
    assert manipulate.outside(black, white, inside, None).around is None


def test_a_look_changes_its_instance_most(instanced: Path, streets: Path) -> None:
    session = Session(instanced)
    scene = scenes.scene_of(session, streets, "00000000", 0)
    known = manipulate.instances_of(scene.ids, scene.instances)
    instance = next(each for each in known if each.share < 0.1 and each.class_id != VOID)
    mask = scene.instances == instance.number
    reach = session.metadata.reach
    for wanted in (NewLook(instance.number, 7), NewClass(instance.number, VOID)):
        before, after, changed = manipulate.edit(session, scene, [wanted])
        assert np.array_equal(before, manipulate.paint(session, scene))
        change = manipulate.outside(before, after, mask, reach)
        assert change.inside is not None and change.around is not None and change.beyond is not None
        # Instance norms of an untrained network leak: every statistic is the whole picture's.
        assert change.inside > 1.5 * change.around and change.inside > 2.5 * change.beyond
        assert np.array_equal(changed.loaded["features"][:, ~mask], scene.loaded["features"][:, ~mask])
    assert (changed.ids[mask] == VOID).all() and (changed.instances[mask] == VOID).all()


def test_what_joins_a_region_looks_like_it(instanced: Path, streets: Path) -> None:
    session = Session(instanced)
    scene = scenes.scene_of(session, streets, "00000000", 0)
    known = manipulate.instances_of(scene.ids, scene.instances)
    car, road = (next(each for each in known if each.class_id == kind) for kind in (CAR, ROAD))
    after = manipulate.changed(scene, NewClass(car.number, ROAD), session.metadata)
    joined = after.instances == road.number
    assert (scene.instances[joined] == car.number).any()
    assert len(np.unique(after.loaded["features"][:, joined], axis=1).T) == 1


def test_models_without_instances_have_classes_for_them(styled: Path, streets: Path) -> None:
    session = Session(styled)
    scene = scenes.scene_of(session, streets, "00000000", 3)
    assert np.array_equal(scene.loaded["style"], style(3, "00000000"))
    before, after, changed = manipulate.edit(session, scene, [NewClass(ROAD, SKY)])
    assert ROAD not in changed.ids and not np.array_equal(before, after)
    with pytest.raises(BadInput, match=r"has no instance 77; it has .*0 road"):
        manipulate.instance_of(scene, 77, session.schema)
    scene = Scene({"label": np.zeros((2, 2), np.uint8)})
    assert manipulate.instances_of(scene.ids, scene.instances) == [manipulate.Instance(0, 0, 1.0)]
    assert session.metadata.reach is None


def test_the_command(
    instanced: Path, model: Path, streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "before-after.png"

    def run(*more: str, model: Path = instanced, name: str = "before-after.png") -> tuple[int, str]:
        given = ["manipulate", "--model", str(model), "--pairs", str(streets), "--out", str(tmp_path / name), *more]
        code = main(given)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    pair = ("--pair", "00000001")
    session = Session(instanced)
    scene = scenes.scene_of(session, streets, pair[1], 0)
    instance = manipulate.instances_of(scene.ids, scene.instances)[1]
    for what in (("--class", "bus"), ("--centre", "2")):
        code, told = run(*pair, "--instance", str(instance.number), *what)
        assert code == 0 and "in the instance" in told
        shown = cv2.imread(str(out))[..., ::-1]
        wanted = NewClass(instance.number, 15) if what[0] == "--class" else NewLook(instance.number, 2)
        before, after, _ = manipulate.edit(session, scene, [wanted])
        assert shown.shape == (3 * 64, 3 * 4 * 128 + 3 * manipulate.GAP, 3)
        for panel, picture in ((1, before), (2, after)):
            left = panel * (3 * 128 + manipulate.GAP)
            assert np.array_equal(shown[:, left : left + 3 * 128], picture.repeat(3, 0).repeat(3, 1))
    assert not [file for file in tmp_path.iterdir() if file != out]

    for given, words in (
        ((), "choose a --pair; it has 00000000, 00000001"),
        (("--pair", "none"), "has no pair none"),
        (
            pair,
            f"choose an --instance; it has .*{instance.number} {manipulate.name_of(instance.class_id, session.schema)}",
        ),
        ((*pair, "--instance", "999"), "the picture has no instance 999"),
        ((*pair, "--instance", str(instance.number)), "give a --class or a --centre"),
        ((*pair, "--instance", str(instance.number), "--class", "tree"), "no class 'tree'.*vegetation"),
        ((*pair, "--instance", str(instance.number), "--centre", "10"), "10 centres, from 0"),
    ):
        code, told = run(*given)
        assert code == 2 and len(told.splitlines()) == 1
        assert re.search(words, told), told
    assert run(*pair, name="out.jpg")[0] == 2
    code, told = run(*pair, model=model)
    assert code == 2 and "no label maps of classes" in told
