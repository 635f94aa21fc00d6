"""Edges: Canny's against what is known of it, and networks in ONNX form."""

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from likeness.array import Array
from likeness.command import BadInput
from shards.__main__ import main
from shards.labels import standard_schema
from shards.operators.edges import EdgeNetwork, canny
from shards.operators.labelling import Labelling
from shards.operators.photos import labelled_photos, prepare, prepared_for
from shards.records import load_manifest
from shards.sources.dataset import Item
from shards.worlds.film import film
from tests.photographs import write_photos


def square(light: int, dark: int = 0, size: int = 64) -> Array:
    """A light square in the middle of a dark picture."""
    image = np.full((size, size, 3), dark, np.uint8)
    image[16:48, 16:48] = light
    return image


def network(path: Path, value: float = 1 / 3, bias: float = 0.0, channels: int = 1) -> Path:
    """A model that gives a weighted sum of red, green and blue at every second pixel."""
    size, batch = (None, None), 1
    taken = helper.make_tensor_value_info("rgb", TensorProto.FLOAT, [batch, 3, *size])
    given = helper.make_tensor_value_info("edges", TensorProto.FLOAT, [batch, channels, *size])
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT, [channels, 3, 1, 1], [value] * 3 * channels),
        helper.make_tensor("b", TensorProto.FLOAT, [channels], [bias] * channels),
    ]
    nodes = [helper.make_node("Conv", ["rgb", "w", "b"], ["edges"], strides=[2, 2])]
    graph = helper.make_graph(nodes, "edges", [taken], [given], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def described(path: Path, **more: object) -> Path:
    path.with_suffix(".json").write_text(json.dumps({"mean": [0, 0, 0], "std": [1, 1, 1], "size": [64, 64], **more}))
    return path


@pytest.mark.parametrize(("light", "dark"), [(255, 0), (30, 0), (255, 150), (60, 20)])
def test_a_square_has_its_outline(light: int, dark: int) -> None:
    edges = canny(square(light, dark))
    assert edges.shape == (64, 64) and edges.dtype == np.uint8 and set(np.unique(edges)) == {0, 255}
    rows, columns = np.nonzero(edges)
    near = np.minimum.reduce([abs(axis - border) for axis in (rows, columns) for border in (15.5, 47.5)])
    assert near.max() <= 1.5
    assert len(rows) == pytest.approx(4 * 32, abs=16), "one pixel thin"


def test_nothing_has_no_edges() -> None:
    noise = np.random.default_rng(0).integers(0, 5, (64, 64, 3), np.uint8)
    for ground in (0, 120, 250):
        assert not canny(noise + np.uint8(ground)).any()


def test_a_network(tmp_path: Path) -> None:
    schema = standard_schema("edges", 64, 64)
    image = square(255)
    small = np.where(square(255)[..., 0] > 0, 255, 0)
    edges = EdgeNetwork(described(network(tmp_path / "e.onnx")), schema).edges(image)
    assert edges.shape == (64, 64) and edges.dtype == np.uint8
    assert abs(edges.astype(int) - small).mean() < 10
    logits = EdgeNetwork(described(network(tmp_path / "l.onnx", 40 / 3, -20.0), logits=True), schema).edges(image)
    assert abs(logits.astype(int) - small).mean() < 10 and logits.min() == 0 and logits.max() == 255


def test_what_no_edge_network_is(tmp_path: Path) -> None:
    schema = standard_schema("edges", 64, 64)
    logits = EdgeNetwork(described(network(tmp_path / "e.onnx", 40 / 3, -20.0)), schema)
    with pytest.raises(BadInput, match=r'from -20 to 20, not from 0 to 1; .*write \{"logits": true\} into e\.json'):
        logits.edges(square(255))
    several = EdgeNetwork(described(network(tmp_path / "s.onnx", channels=2)), schema)
    with pytest.raises(BadInput, match=r"s\.onnx gives float32 \(1, 2, 32, 32\); an edge network gives"):
        several.edges(square(255))
    with pytest.raises(BadInput, match=r"no model at .*none\.onnx"):
        prepare(Labelling("edges", schema, edges=tmp_path / "none.onnx"))


def test_any_photo_and_any_video_has_edges(tmp_path: Path) -> None:
    """A photo's edges are those of its square middle, a video's those of each frame; of a world's video, too."""
    film("streets", tmp_path / "drawn", videos=1, seconds=0.5, size=256, seed=1)
    video = tmp_path / "drawn" / "video-0000.mp4"
    schema = standard_schema("edges", 64, 64)
    labelling = prepared_for(video, Labelling("auto", schema))
    assert labelling.operator == "edges", "though a sidecar lies beside it"
    outcomes: Counter[str] = Counter()
    photos = list(labelled_photos(Item("v", video, "v"), labelling, outcomes))
    assert len(photos) == outcomes["used"] == 4
    for photo in photos:
        assert photo.label_picture is not None
        np.testing.assert_array_equal(photo.label_picture, canny(photo.image))
    with pytest.raises(BadInput, match="needs a label map of kind 'picture', which nothing makes of a photo"):
        prepared_for(video, Labelling("auto", standard_schema("picture", 64, 64)))


def test_packing_with_a_network(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    model = described(network(tmp_path / "e.onnx"))
    command = ["pack", "--dataset", "photos", "--source", str(tmp_path / "photos"), "--size", "32", "--pairs", "6"]
    command += ["--workers", "1", "--labels", "edges", "--edges", str(model), "--out", str(tmp_path / "s")]
    assert main(command) == 0
    assert main(["verify", str(tmp_path / "s")]) == 0
    assert load_manifest(tmp_path / "s")[0].schema == standard_schema("edges", 32, 32)


@pytest.mark.parametrize("labels", ["picture", "given"])
def test_photos_have_no_labels_beside_them(labels: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    assert cv2.imwrite(str(tmp_path / "photos" / "a.png"), square(255))
    command = ["pack", "--dataset", "photos", "--source", str(tmp_path / "photos"), "--out", str(tmp_path / "s")]
    assert main([*command, "--labels", labels]) == 2
    assert f"--dataset photos has no label pictures; choose another --labels than {labels}" in capsys.readouterr().err
