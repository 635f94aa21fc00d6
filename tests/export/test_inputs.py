"""Models that read instance maps, features and style codes, through the gates: every way, size and precision."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deploy.metadata import Metadata
from deploy.runtime import Session
from export import registry
from export.__main__ import main
from export.centres import centres_of
from export.gates import behaviour, compare
from export.gates import checks as gates
from export.gates.result import Candidate
from export.gates.samples import Samples, drawn, real_samples
from export.graph import save, to_onnx
from export.latency import timing
from export.latency.graph import Graph
from export.served import Recipe, metadata_of
from likeness.command import BadInput
from shards.inputs import STYLE_LENGTH
from shards.labels.instance_features import FILE, FeatureCentres, parse_centres
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.worlds.film import film
from tests.conftest import write_tiny
from trainer.checkpoints.synthesis import Synthesis, untrained
from trainer.networks import munit_networks

INSTANCED = {"instances": True, "features": "instances"}
ENHANCED = {**INSTANCED, "enhancer": True, "enhancer_blocks": 1}
BY_CLASS = {"features": "classes"}
STYLE = ("label", "style")
Make = Callable[..., Synthesis]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(method: str, inputs: tuple[str, ...] | None = None, **options: object) -> Synthesis:
        return untrained(write_tiny(tmp_path / "tiny.yaml", method, 64, 96, **options), (), inputs)

    return made


@pytest.mark.parametrize(
    ("method", "inputs", "options", "recipe"),
    [
        ("pix2pixhd", None, INSTANCED, Recipe(precision="fp16", io="uint8")),
        ("pix2pixhd", None, ENHANCED, Recipe(dynamic_size=True)),
        ("pix2pixhd", None, BY_CLASS, Recipe()),
        ("munit", None, {}, Recipe(dynamic_size=True)),
        ("munit", STYLE, {}, Recipe(precision="fp16")),
        ("paired_munit", STYLE, {}, Recipe(io="uint8", dynamic_size=True)),
    ],
)
def test_every_gate(
    method: str, inputs: tuple[str, ...] | None, options: dict[str, Any], recipe: Recipe, make: Make, tmp_path: Path
) -> None:
    synthesis = make(method, inputs, **options)
    count = 64 if recipe.precision == "fp16" else 3
    samples = real_samples(synthesis, None, count)
    assert tuple(samples.loaded) == synthesis.inputs
    exported = to_onnx(synthesis, recipe)
    save(exported.model, metadata_of(synthesis, recipe).to_props(), tmp_path / "model.onnx")
    candidate = Candidate(exported, tmp_path / "model.onnx", synthesis, samples)
    verdict = gates.run_gates(candidate, recipe.opset)
    assert verdict.passed, verdict.results[-1].line()
    session = Session(tmp_path / "model.onnx")
    assert session.inputs == synthesis.inputs
    # Every input matters; the label alone does not paint the picture.
    feeds = compare.feeds(session, samples[:1])
    before = session.run(**feeds)
    other = compare.feeds(session, samples[1:2])
    for name in synthesis.inputs:
        assert not np.array_equal(session.run(**{**feeds, name: other[name]}), before), name


def test_the_gate_of_parity_looks_at_instances(make: Make, tmp_path: Path) -> None:
    """A graph that takes equal neighbours for boundaries does not pass."""
    synthesis = make("pix2pixhd", **INSTANCED)
    with torch.no_grad():
        for parameter in synthesis.module.parameters():
            parameter.mul_(4)
    recipe = Recipe()
    exported = to_onnx(synthesis, recipe)
    nodes = [node for node in exported.model.graph.node if node.op_type == "Not"]
    assert len(nodes) == 2
    for node in nodes:
        node.op_type = "Identity"
    save(exported.model, metadata_of(synthesis, recipe).to_props(), tmp_path / "model.onnx")
    candidate = Candidate(exported, tmp_path / "model.onnx", synthesis, real_samples(synthesis, None, 3))
    result, _, _ = behaviour.check_parity(candidate)
    assert not result.passed


def test_samples_are_those_of_streets(make: Make) -> None:
    synthesis = make("pix2pixhd", **INSTANCED)
    samples = drawn(synthesis, 4)
    label, instances, features = (samples.loaded[name] for name in ("label", "instances", "features"))
    assert (instances.dtype, instances.shape) == (np.int32, (4, 64, 96))
    centres = centres_of(synthesis)
    assert centres is not None and set(centres.centres) == set(synthesis.schema.ids)
    for number in range(4):
        counted = instances[number] >= 1000
        assert counted.any() and (instances[number][~counted] == label[number][~counted]).all()
        assert (instances[number][counted] // 1000 == label[number][counted]).all()
        for instance in np.unique(instances[number]):
            look = np.unique(features[number][:, instances[number] == instance], axis=1)
            assert look.shape == (3, 1)
    assert len(np.unique(features.reshape(4, -1), axis=0)) == 4


def test_samples_from_shards_bring_their_instance_maps(make: Make, tmp_path: Path) -> None:
    film("streets", tmp_path / "videos", videos=2, seconds=0.5, size=256, seed=2)
    pack(Packing(tmp_path / "videos", preset("default"), pairs=3, size=64), tmp_path / "shards")
    synthesis = make("pix2pixhd", **INSTANCED)
    schema = replace(synthesis.schema, height=32, width=64)
    samples = real_samples(replace(synthesis, schema=schema), str(tmp_path / "shards"), 3)
    assert samples.loaded["instances"].shape == (3, 32, 64) and samples.loaded["instances"].max() >= 1000
    assert samples.loaded["features"].shape == (3, 3, 32, 64)


def test_centres_travel_from_the_checkpoint(make: Make, tmp_path: Path) -> None:
    synthesis = replace(make("pix2pixhd", **INSTANCED), folder=tmp_path, sha256="abc")
    with pytest.raises(
        BadInput, match=rf"{FILE} is missing.*python -m trainer.feature_centres --checkpoint {tmp_path}"
    ):
        metadata_of(synthesis, Recipe())
    centres = FeatureCentres("abc", "instances", {13: [[0.5, -1.0, 0.25]]}, {13: [4]})
    (tmp_path / FILE).write_text(centres.dumps())
    props = metadata_of(synthesis, Recipe()).to_props()
    assert parse_centres(props["likeness.feature_centres"], "here") == centres
    assert Metadata.from_props(props, "here").feature_centres == centres
    with pytest.raises(BadInput, match="was made with another checkpoint"):
        metadata_of(replace(synthesis, sha256="abd"), Recipe())
    bare = metadata_of(replace(make("pix2pixhd"), folder=tmp_path), Recipe())
    assert bare.feature_centres is None and "likeness.feature_centres" not in bare.to_props()


def test_what_is_measured_and_logged(make: Make, tmp_path: Path) -> None:
    for method, inputs, options in (("pix2pixhd", None, INSTANCED), ("munit", STYLE, {})):
        synthesis = make(method, inputs, **options)
        exported = to_onnx(synthesis)
        file = tmp_path / f"{method}.onnx"
        save(exported.model, metadata_of(synthesis, Recipe()).to_props(), file)
        session = Session(file)
        feeds = timing.example_feeds(Graph.read(file), session.metadata, 2)
        assert session.run(**feeds).shape == (2, 3, 64, 96)
        if "instances" in feeds:
            assert feeds["instances"].dtype == np.int32 and len(np.unique(feeds["instances"])) > 20
        signature = registry.signature(exported.model)
        assert [each.name for each in signature.inputs] == list(synthesis.inputs)


def test_latency_in_turns_with_eager_pytorch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_tiny(tmp_path / "tiny.yaml", "pix2pixhd", 64, 96, **INSTANCED)
    out = tmp_path / "model.onnx"
    assert main(["--config", str(config), "--untrained", "--out", str(out)]) == 0
    capsys.readouterr()
    given = ["latency", "--model", str(out), "--batch", "1", "--runs", "2", "--warmup", "0", "--threads", "1"]
    assert main([*given, "--target-ms", "60000", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["against"] == "the same network, random weights" and told["speedup_over_eager"] > 0


def test_a_style_code_is_as_long_as_munits() -> None:
    assert STYLE_LENGTH == munit_networks.STYLE_CHANNELS


def test_worlds_without_instance_maps_say_so(make: Make) -> None:
    synthesis = make("pix2pixhd", **INSTANCED)
    faces = replace(synthesis.schema, kind="sketch", ids=(), void=None)
    with pytest.raises(BadInput, match="the faces world has no instance maps"):
        drawn(replace(synthesis, schema=faces), 3)


def test_what_grows_with_a_picture_and_what_does_not(make: Make, tmp_path: Path) -> None:
    synthesis = make("munit", STYLE)
    exported = to_onnx(synthesis, Recipe(dynamic_size=True))
    save(exported.model, metadata_of(synthesis, Recipe(dynamic_size=True)).to_props(), tmp_path / "model.onnx")
    session = Session(tmp_path / "model.onnx", size=(96, 128))
    grown = behaviour._grown(Samples(dict(drawn(synthesis, 1).loaded), ""), session)
    assert grown.loaded["label"].shape == (1, 96, 128) and grown.loaded["style"].shape == (1, 8)
