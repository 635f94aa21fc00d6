"""Semantic parsing scores by a real segmentation session: a model whose answer is the colour of a pixel."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from likeness.array import Array
from likeness.command import BadInput
from shards.labels import standard_schema
from shards.records import Frame, LabelSchema, Pair
from trainer.evaluate.__main__ import main
from trainer.metrics.metric import Judged, stacked
from trainer.metrics.parsing import parsing

FRAME = Frame("a.mp4", 0, 0.0, "a")
PAIR = Pair("3", FRAME, FRAME, FRAME, FRAME, True)
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255)], np.uint8)
VOID = 9
SCHEMA = LabelSchema(
    "classes", 4, 32, 32, ("red", "green", "blue", "void"), ((255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)),
    ids=(0, 1, 2, VOID), void=VOID,
)  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A 1×1 convolution with the channels for logits: class 0 is red, 1 green, and blue means void or class 2."""
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [3, 3, 1, 1], np.eye(3, dtype=np.float32).ravel())
    picture, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 32, 32]) for name in ("picture", "logits")
    )
    graph = helper.make_graph(
        [helper.make_node("Conv", ["picture", "weight"], ["logits"])], "colours", [picture], [logits], [weight]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, tmp_path / "colours.onnx")
    return tmp_path / "colours.onnx"


def describe(model: Path, **entries: object) -> None:
    model.with_suffix(".json").write_text(json.dumps({"mean": [0, 0, 0], "std": [1, 1, 1], **entries}))


def judged(asked: Array, painted: Array) -> Judged:
    """asked: ids of the label map, one for each of 32 rows; painted: the class whose colour each row has."""
    picture = np.broadcast_to(COLOURS[painted][:, None], (32, 32, 3)).copy()
    ids = np.broadcast_to(asked[:, None], (32, 32)).astype(np.uint8)
    return Judged(PAIR, picture, picture, picture, ids)


PERFECT = {
    "sps/pixel_accuracy": 100, "sps/class_accuracy": 100, "sps/class_iou": 1, "sps/picture_accuracy": 100,
}  # fmt: skip
ROWS = np.repeat([0, 1, 2, 0], 8)


def computed(model: Path, *group: Judged) -> dict[str, float]:
    metric = parsing(model, SCHEMA)
    columns = metric.measure(group)
    return {name: figure.compute(columns) for name, figure in metric.figures.items()}


def test_a_perfect_picture(model: Path) -> None:
    describe(model)
    scores = computed(model, judged(ROWS, ROWS))
    assert scores == PERFECT
    assert "colours.onnx" in parsing(model, SCHEMA).figures["sps/class_iou"].meaning


def test_scores_by_hand(model: Path) -> None:
    """Of 16 red rows 4 are painted green; 8 green are right, 8 blue are painted red."""
    describe(model)
    painted = ROWS.copy()
    painted[:4], painted[16:24] = 1, 0
    scores = computed(model, judged(ROWS, painted))
    assert scores["sps/pixel_accuracy"] == pytest.approx(100 * 20 / 32)
    assert scores["sps/class_accuracy"] == pytest.approx(100 * (12 / 16 + 1 + 0) / 3)
    assert scores["sps/class_iou"] == pytest.approx((12 / 24 + 8 / 12 + 0 / 8) / 3)


def test_void_of_the_label_map_is_ignored_whatever_is_painted(model: Path) -> None:
    describe(model)
    asked, painted = ROWS.copy(), ROWS.copy()
    asked[24:], painted[24:] = VOID, 1
    scores = computed(model, judged(asked, painted))
    assert scores == PERFECT


def test_void_said_of_a_class_is_an_error(model: Path) -> None:
    """Blue rows are read as void: a quarter of the pixels is wrong, and void itself is no class of the means."""
    describe(model, ids={"0": 0, "1": 1}, void=VOID)
    scores = computed(model, judged(ROWS, ROWS))
    assert scores["sps/pixel_accuracy"] == pytest.approx(75)
    assert scores["sps/class_accuracy"] == pytest.approx(100 * 2 / 3)
    assert scores["sps/class_iou"] == pytest.approx(2 / 3)


def test_scores_are_of_the_whole_set(model: Path) -> None:
    """Pixels are counted over all pictures: not the mean of the pictures' scores."""
    describe(model)
    first, second = judged(np.zeros(32, int), np.zeros(32, int)), judged(ROWS, np.ones(32, int))
    scores = computed(model, first, second)
    assert scores["sps/pixel_accuracy"] == pytest.approx(100 * 40 / 64)
    assert scores["sps/class_accuracy"] == pytest.approx(100 * (32 / 48 + 1 + 0) / 3)
    measure = parsing(model, SCHEMA).measure
    split = stacked([measure([first]), measure([]), measure([second])])
    assert np.array_equal(measure([first, second])["sps/confusion"], split["sps/confusion"])


def test_mistakes_are_named(model: Path, tmp_path: Path) -> None:
    describe(model)
    with pytest.raises(BadInput, match="labels of kind 'classes'"):
        parsing(model, standard_schema("sketch", 32, 32))
    with pytest.raises(BadInput, match=r"none\.onnx"):
        parsing(tmp_path / "none.onnx", SCHEMA)
    one = judged(ROWS, ROWS)
    with pytest.raises(BadInput, match="pair 3 has no label map"):
        parsing(model, SCHEMA).measure([Judged(PAIR, one.picture, one.target, one.exemplar)])


def test_the_command_parses_pictures_of_a_list(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another system's pictures, with label maps of its own: half of the rows are painted as asked."""
    describe(model, names=["red", "green", "blue"], colours=COLOURS.tolist(), void=VOID)
    asked = np.broadcast_to(np.repeat([0, 1], 16)[:, None], (32, 32)).astype(np.uint8)
    Image.fromarray(asked).save(tmp_path / "label.png")
    Image.fromarray(COLOURS[np.zeros_like(asked)]).save(tmp_path / "photo.png")
    (tmp_path / "painted").mkdir()
    Image.fromarray(COLOURS[np.zeros_like(asked)]).save(tmp_path / "painted" / "a.png")
    (tmp_path / "pairs.csv").write_text("picture,target,exemplar,label\na,photo.png,photo.png,label.png\n")
    words = ["--pictures", str(tmp_path / "painted"), "--data", str(tmp_path / "pairs.csv"), "--parser", str(model)]
    assert main([*words, "--out", str(tmp_path / "out"), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures["sps/pixel_accuracy"]["value"] == figures["sps/picture_accuracy"]["value"] == 50
    Image.fromarray(asked + 200).save(tmp_path / "label.png")
    assert main([*words, "--out", str(tmp_path / "again")]) == 2
    assert "the label map of a holds the id 200" in capsys.readouterr().err
