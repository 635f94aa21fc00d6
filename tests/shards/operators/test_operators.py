"""Label operators on photographs and on other people's files: dlib, body poses, OpenPose, DensePose, segmentation."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from likeness.array import Array
from likeness.command import BadInput
from shards import labels
from shards.__main__ import main
from shards.labels import densepose, standard_schema
from shards.operators import openpose
from shards.operators.dlib_landmarks import DlibLandmarks
from shards.operators.face_crops import PAPER, Face, crop_face
from shards.operators.face_landmarks import FaceLandmarks
from shards.operators.labelling import Labelling
from shards.operators.parsing import Parser, PictureModel
from shards.operators.photos import labelled_photos
from shards.packing.retrieval import Features, describe
from shards.preparation import PREPARATION
from shards.reading.samples import decode, iter_samples
from shards.records import Frame, LabelSchema, load_manifest
from shards.sources.dataset import Item
from shards.worlds.film import film


def photograph() -> Array:
    """scikit-image's astronaut, with room around her head."""
    data = pytest.importorskip("skimage.data")
    return np.pad(data.astronaut(), ((160, 0), (80, 80), (0, 0)), mode="reflect")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real, small 68-point predictor, trained on views of one photograph with MediaPipe's landmarks."""
    dlib = pytest.importorskip("dlib")
    pytest.importorskip("mediapipe", reason="no wheel for Python 3.13 and newer")
    photo, teacher, rng = photograph(), FaceLandmarks(), np.random.default_rng(0)
    images, shapes = [], []
    for _ in range(24):
        turn = cv2.getRotationMatrix2D((336, 300), rng.uniform(-8, 8), rng.uniform(0.85, 1.15))
        turn[:, 2] += rng.uniform(-20, 20, 2)
        view = cv2.warpAffine(photo, turn, photo.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
        faces, points = dlib.get_frontal_face_detector()(view, 1), teacher.detect(view)
        if faces and points is not None:
            images.append(view)
            shapes.append([dlib.full_object_detection(faces[0], [dlib.point(int(x), int(y)) for x, y in points])])
    options = dlib.shape_predictor_training_options()
    options.tree_depth, options.cascade_depth, options.num_trees_per_cascade_level = 3, 8, 60
    options.oversampling_amount, options.num_threads, options.be_verbose = 6, 1, False
    path = tmp_path_factory.mktemp("dlib") / "predictor.dat"
    dlib.train_shape_predictor(images, shapes, options).save(str(path))
    return path


def test_dlib_finds_the_points_that_it_was_taught(predictor: Path) -> None:
    photo = photograph()
    found, taught = DlibLandmarks(predictor).detect(photo), FaceLandmarks().detect(photo)
    assert found is not None and taught is not None and found.shape == (68, 2)
    face = float(np.ptp(taught[:, 1]))
    assert np.abs(found - taught).mean() < 0.04 * face
    assert DlibLandmarks(predictor).detect(np.zeros((200, 200, 3), np.uint8)) is None
    crop = crop_face(photo, found, (256, 256), PREPARATION, PAPER, DlibLandmarks(predictor))
    assert isinstance(crop, Face) and crop.crop.shape == (512, 512, 3)


def test_dlib_refuses_what_is_no_predictor(predictor: Path, tmp_path: Path) -> None:
    dlib = pytest.importorskip("dlib")
    with pytest.raises(BadInput, match=r"no predictor at .*absent\.dat; download"):
        DlibLandmarks(tmp_path / "absent.dat")
    (tmp_path / "broken.dat").write_bytes(b"no predictor")
    with pytest.raises(BadInput, match=r"broken\.dat is no shape predictor"):
        DlibLandmarks(tmp_path / "broken.dat")
    box = dlib.rectangle(5, 5, 60, 60)
    options = dlib.shape_predictor_training_options()
    options.cascade_depth, options.num_trees_per_cascade_level, options.be_verbose = 2, 4, False
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(4)]
    shapes = [[dlib.full_object_detection(box, [dlib.point(10 + n, 10 + 2 * n) for n in range(5)])] for _ in images]
    dlib.train_shape_predictor(images, shapes, options).save(str(tmp_path / "five.dat"))
    with pytest.raises(BadInput, match="predicts 5 points, not 68"):
        DlibLandmarks(tmp_path / "five.dat")


def test_a_body_on_a_photograph() -> None:
    pytest.importorskip("mediapipe", reason="no wheel for Python 3.13 and newer")
    from shards.operators.body_pose import BodyPose

    body = BodyPose()
    points = body.detect(photograph())
    assert points is not None and points.shape == (18, 3)
    nose, neck, right, left = points[0], points[1], points[2], points[5]
    assert ((points[:, 2] >= 0) & (points[:, 2] <= 1)).all()
    assert nose[2] > 0.9 and right[2] > 0.9 and left[2] > 0.9
    assert nose[1] < neck[1], "the nose is above the neck"
    assert right[0] < neck[0] < left[0], "the person's right is on the left of the picture"
    assert points[14, 0] < nose[0] < points[15, 0], "eyes, too"
    # The astronaut's face lies around (224, 112) of her 512×512 picture, here moved by (80, 160) in 672×672.
    assert (nose[0] * 672, nose[1] * 672) == pytest.approx((304, 272), abs=30)
    assert body.detect(np.full((200, 200, 3), 90, np.uint8)) is None
    label = labels.load(standard_schema("pose", 64, 64), Frame("v", 0, 0.0, "s", keypoints=_tuples(points)))
    assert (label[3:].min(axis=(1, 2)) == 0).sum() >= 6, "shoulders, eyes and ears are drawn"


def _tuples(points: Array) -> tuple[tuple[float, float, float], ...]:
    return tuple((float(x), float(y), float(c)) for x, y, c in points)


def write_openpose(folder: Path, number: int, *people: list[float], stem: str = "dance") -> None:
    folder.mkdir(exist_ok=True)
    told = {"version": 1.3, "people": [{"pose_keypoints_2d": person} for person in people]}
    (folder / f"{stem}_{number:012d}_keypoints.json").write_text(json.dumps(told))


def test_openpose_files_of_both_models(tmp_path: Path) -> None:
    names = [
        "Nose",
        "Neck",
        "RShoulder",
        "RElbow",
        "RWrist",
        "LShoulder",
        "LElbow",
        "LWrist",
        "MidHip",
        "RHip",
        "RKnee",
    ]
    names += ["RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar", "LBigToe", "LSmallToe", "LHeel"]
    names += ["RBigToe", "RSmallToe", "RHeel"]
    coco = [name for name in names[:19] if name != "MidHip"]
    place = {name: (10.0 * at + 10, 5.0 * at + 5, 0.5 + at / 100) for at, name in enumerate(names)}
    write_openpose(tmp_path, 3, [v for name in names for v in place[name]])
    write_openpose(tmp_path, 4, [v for name in coco for v in place[name]])
    of_25, of_18 = (openpose.keypoints_of(tmp_path, "dance", number, 400, 500) for number in (3, 4))
    assert of_25 is not None and of_18 is not None
    expected = np.array([(place[name][0] / 500, place[name][1] / 400, place[name][2]) for name in coco])
    np.testing.assert_allclose(of_25, expected)
    np.testing.assert_allclose(of_18, expected)


def test_openpose_takes_the_most_certain_person_and_names_bad_files(tmp_path: Path) -> None:
    weak, strong = [9.0, 9.0, 0.2] * 18, [1.0, 2.0, 0.9] * 18
    write_openpose(tmp_path, 0, weak, strong)
    found = openpose.keypoints_of(tmp_path, "dance", 0, 100, 100)
    assert found is not None
    np.testing.assert_allclose(found[0], (0.01, 0.02, 0.9))
    write_openpose(tmp_path, 1)
    assert openpose.keypoints_of(tmp_path, "dance", 1, 100, 100) is None
    with pytest.raises(BadInput, match=r"dance_000000000002_keypoints\.json is missing"):
        openpose.keypoints_of(tmp_path, "dance", 2, 100, 100)
    write_openpose(tmp_path, 3, [1.0] * 12)
    with pytest.raises(BadInput, match="a person of 12 numbers; OpenPose's COCO model gives 54"):
        openpose.keypoints_of(tmp_path, "dance", 3, 100, 100)
    (tmp_path / "dance_000000000004_keypoints.json").write_text("{}")
    with pytest.raises(BadInput, match=r"000000000004_keypoints\.json is no keypoint file"):
        openpose.keypoints_of(tmp_path, "dance", 4, 100, 100)


def a_walk() -> list[Array]:
    """Six frames of somebody who walks through the picture, and of whom some points are not found: (18, 3) each."""
    rng = np.random.default_rng(5)
    frames = []
    for step in range(6):
        x, y = 0.2 + 0.1 * step + rng.uniform(-0.1, 0.1, 18), rng.uniform(0.1, 0.9, 18)
        body = np.stack([x, y, rng.uniform(0.5, 1, 18)], axis=1)
        body[rng.integers(18)] = 0
        frames.append(body)
    return frames


@pytest.mark.parametrize(
    ("to_unit", "what"),
    [
        (lambda places: places * (640, 360), "--keypoint_scale 0"),
        (lambda places: places, "--keypoint_scale 3"),
        (lambda places: 2 * places - 1, "--keypoint_scale 4"),
    ],
)
def test_openpose_files_of_every_scale_say_the_same(
    tmp_path: Path, to_unit: Callable[[Array], Array], what: str
) -> None:
    for number, body in enumerate(a_walk()):
        places = np.where(body[:, 2:] > 0, to_unit(body[:, :2]), 0)
        write_openpose(tmp_path, number, np.hstack([places, body[:, 2:]]).ravel().tolist())
    for number, body in enumerate(a_walk()):
        found = openpose.keypoints_of(tmp_path, "dance", number, 360, 640)
        assert found is not None
        seen = body[:, 2] > 0
        np.testing.assert_allclose(found[seen], body[seen], atol=1e-9, err_msg=what)
        np.testing.assert_array_equal(found[:, 2], body[:, 2])


def test_openpose_files_in_pixels_of_another_size_are_refused(tmp_path: Path) -> None:
    body = a_walk()[2]
    write_openpose(tmp_path, 0, (body * (1280, 720, 1)).ravel().tolist())
    pattern = (
        r"000000000000_keypoints\.json: its keypoints lie between .*, but its frame has 640×360 pixels; run OpenPose"
    )
    with pytest.raises(BadInput, match=pattern):
        openpose.keypoints_of(tmp_path, "dance", 0, 360, 640)
    write_openpose(tmp_path, 1, body.ravel().tolist())
    with pytest.raises(BadInput, match=r"000000000001_keypoints\.json: .*, and other files of .* hold pixels"):
        openpose.keypoints_of(tmp_path, "dance", 1, 360, 640)


@given(st.integers(0, 24), st.integers(0, 255), st.integers(0, 255))
def test_mirrored_parts_are_mirrored_back(part: int, u: int, v: int) -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[1, 2] = v, u, part
    turned = densepose.mirrored(picture)
    assert turned[1, 3, 2] == densepose.MIRRORED_PARTS[part]
    np.testing.assert_array_equal(densepose.mirrored(turned), picture)
    assert densepose.channels(picture)[2, 1, 2] == round(part * 255 / 24)


def test_dance_with_openpose_and_densepose_files(tmp_path: Path) -> None:
    """Videos with both kinds of files go all the way to samples with labels of 23 channels."""
    film("dance", tmp_path / "drawn", videos=3, seconds=0.5, size=64, seed=1)
    videos, poses, parts = (tmp_path / name for name in ("videos", "poses", "parts"))
    for folder in (videos, parts):
        folder.mkdir()
    rng = np.random.default_rng(0)
    for video in sorted((tmp_path / "drawn").glob("*.mp4")):
        frames = json.loads(video.with_suffix(".json").read_text())["frames"]
        (videos / video.name).write_bytes(video.read_bytes())
        for entry in frames:
            points = np.array(entry["keypoints"]) * (64, 64, 1)
            write_openpose(poses, entry["number"], points.ravel().tolist(), stem=video.stem)
            iuv = np.zeros((64, 64, 3), np.uint8)
            iuv[20:50, 24:40] = (int(rng.integers(1, 25)), 100, 200)
            cv2.imwrite(str(parts / f"{video.stem}_{entry['number']:012d}_IUV.png"), iuv)
    command = ["pack", "--source", str(videos), "--out", str(tmp_path / "s"), "--labels", "pose", "--size", "64"]
    command += ["--openpose", str(poses), "--densepose", str(parts), "--every", "1", "--pairs", "12", "--workers", "1"]
    # The whole frame, so that labels are what lies in the files.
    command += ["--fit", "squeeze"]
    assert main(command) == 0
    manifest, folder = load_manifest(tmp_path / "s")
    assert manifest.schema.channels == 23 and manifest.schema.names[2] == "DensePose part"
    for _, members in iter_samples(folder, manifest):
        sample = decode(members, manifest.schema)
        label = sample.labels["target"]
        stem, number = Path(sample.pair.target.source).stem, sample.pair.target.number
        iuv = cv2.imread(str(parts / f"{stem}_{number:012d}_IUV.png"))
        np.testing.assert_array_equal(label[0], iuv[..., 2])
        np.testing.assert_array_equal(label[1], iuv[..., 1])
        np.testing.assert_array_equal(label[2], np.round(iuv[..., 0] * (255 / 24)))
        drawn = labels.load(standard_schema("pose", 64, 64), sample.pair.target)
        np.testing.assert_array_equal(label[3:], drawn)
    assert main(["verify", str(tmp_path / "s")]) == 0
    assert main(["inspect", str(tmp_path / "s")]) == 0


COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def segmentation_model(path: Path, size: tuple[int, int] | None = None, ids: bool = False) -> Path:
    """A 1×1 convolution whose logits are the channels themselves: class 0 is red, 1 green, 2 blue."""
    height, width = size or ("height", "width")
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [3, 3, 1, 1], np.eye(3, dtype=np.float32).ravel())
    nodes = [helper.make_node("Conv", ["picture", "weight"], ["logits"])]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, height, width])
    if ids:
        nodes.append(helper.make_node("ArgMax", ["logits"], ["ids"], axis=1, keepdims=0))
        output = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, height, width])
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, height, width])
    graph = helper.make_graph(nodes, "segmentation", [picture], [output], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def striped(height: int, width: int) -> tuple[Array, Array]:
    """Three stripes of plain colour, and the class of every pixel."""
    classes = np.arange(width)[None, :].repeat(height, 0) * 3 // width
    return np.asarray(COLOURS, np.uint8)[classes], classes


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("size", [None, (64, 64), (96, 192)])
def test_a_segmentation_model_gives_the_schemas_ids(tmp_path: Path, size: tuple[int, int] | None, ids: bool) -> None:
    model = segmentation_model(tmp_path / "parser.onnx", size, ids)
    described = {"mean": [0, 0, 0], "std": [1, 1, 1], "ids": {"0": 13, "1": 8}, "void": 255}
    model.with_suffix(".json").write_text(json.dumps({**described, "size": [50, 70]}))
    image, _ = striped(90, 150)
    schema = standard_schema("classes", 48, 96)
    found = Parser(model, schema).ids(image)
    _, expected = striped(48, 96)
    expected = np.array([13, 8, 255])[expected]
    away = np.ones(96, bool)
    for edge in (32, 64):
        away[edge - 4 : edge + 4] = False
    np.testing.assert_array_equal(found[:, away], expected[:, away])
    assert set(np.unique(found)) == {13, 8, 255}


def test_a_model_sees_pictures_as_its_description_says(tmp_path: Path) -> None:
    """ImageNet's means and deviations where it says nothing; red first."""
    model = segmentation_model(tmp_path / "seen.onnx", (2, 2))
    image = np.full((2, 2, 3), (255, 0, 102), np.uint8)
    told = {"mean": [0.5, 0.25, 0], "std": [0.5, 0.5, 0.1]}
    for description, expected in (
        (told, (1, -0.5, 4)),
        ({}, ((1 - 0.485) / 0.229, -0.456 / 0.224, (0.4 - 0.406) / 0.225)),
    ):
        model.with_suffix(".json").write_text(json.dumps(description))
        np.testing.assert_allclose(PictureModel(model).run(image)[0, :, 0, 0], expected, rtol=1e-5)


def test_what_no_segmentation_model_is(tmp_path: Path) -> None:
    schema = standard_schema("classes", 32, 32)
    image, _ = striped(32, 32)
    with pytest.raises(BadInput, match=r"no model at .*absent\.onnx"):
        Parser(tmp_path / "absent.onnx", schema)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(BadInput, match=r"broken\.onnx is not an ONNX model"):
        Parser(tmp_path / "broken.onnx", schema)
    model = segmentation_model(tmp_path / "parser.onnx", (32, 32))
    model.with_suffix(".json").write_text(json.dumps({"mean": [0, 0, 0], "std": [1, 1, 1], "ids": {"0": 1}}))
    with pytest.raises(BadInput, match=r"found its class [12], which parser\.json does not map"):
        Parser(model, schema).ids(image)
    model.with_suffix(".json").write_text(
        json.dumps({"mean": [0, 0, 0], "std": [1, 1, 1], "ids": {"0": 1, "1": 99}, "void": 0})
    )
    with pytest.raises(BadInput, match="label id 99"):
        Parser(model, schema).ids(image)
    model.with_suffix(".json").write_text('{"means": 1}')
    with pytest.raises(BadInput, match="unknown entry 'means'; known are mean"):
        Parser(model, schema)
    two = helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 2, 8, 8])
    out = helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, 2, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "two", [two], [out])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "two.onnx"
    )
    with pytest.raises(BadInput, match=r"two\.onnx takes a of tensor\(float\) \[1, 2, 8, 8\]; give a model with one"):
        Parser(tmp_path / "two.onnx", schema)


def test_parsing_labels_a_video_and_feeds_retrieval(tmp_path: Path) -> None:
    film("faces", tmp_path / "drawn", videos=1, seconds=0.5, size=64, seed=1)
    model = segmentation_model(tmp_path / "parser.onnx", (64, 64))
    model.with_suffix(".json").write_text(
        json.dumps({"mean": [0, 0, 0], "std": [1, 1, 1], "ids": {"0": 11, "1": 8, "2": 10}})
    )
    video = tmp_path / "drawn" / "video-0000.mp4"
    item = Item("video-0000.mp4", video, "video-0000.mp4")
    schema: LabelSchema = standard_schema("classes", 64, 64)
    outcomes: Counter[str] = Counter()
    photos = list(labelled_photos(item, Labelling("parsing", schema, parser=model), outcomes))
    assert outcomes["used"] == len(photos) == 4
    for photo in photos:
        assert photo.label_picture is not None
        expected = np.array([11, 8, 10])[photo.image.argmax(axis=2)]
        assert (photo.label_picture == expected).mean() > 0.99
    one = describe(photos[0].image, Features(model))
    assert one.shape == (3 * 64 * 64,) and np.linalg.norm(one) == pytest.approx(1, abs=1e-5)


def test_a_model_with_classes_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film("faces", tmp_path / "drawn", videos=3, seconds=0.5, size=64, seed=1)
    model = segmentation_model(tmp_path / "parser.onnx", (64, 64))
    palette = {"names": ["reddish", "greenish", "bluish"], "colours": [[200, 0, 0], [0, 200, 0], [0, 0, 200]]}
    model.with_suffix(".json").write_text(json.dumps({**palette, "mean": [0, 0, 0], "std": [1, 1, 1]}))
    command = ["pack", "--source", str(tmp_path / "drawn"), "--labels", "parsing", "--every", "1", "--size", "64"]
    command += ["--pairs", "6", "--workers", "1", "--out", str(tmp_path / "s")]
    assert main(command) == 2
    assert "name an ONNX file with --parser" in capsys.readouterr().err
    assert main([*command, "--parser", str(model)]) == 0
    manifest, folder = load_manifest(tmp_path / "s")
    assert manifest.schema.names == ("reddish", "greenish", "bluish") and manifest.schema.ids == (0, 1, 2)
    _, members = next(iter_samples(folder, manifest))
    sample = decode(members, manifest.schema)
    agree = (sample.labels["target"] == sample.photos["target"].argmax(axis=2)).mean()
    assert agree > 0.95, "but for what JPEG changes"
    shown = labels.picture(manifest.schema, sample.labels["target"])
    assert {tuple(colour) for colour in shown.reshape(-1, 3).tolist()} <= {(200, 0, 0), (0, 200, 0), (0, 0, 200)}


def test_blank_and_repeated_frames_are_left_out(tmp_path: Path) -> None:
    """A second of black, a second of a picture that stands still, then one that moves."""
    import subprocess

    import imageio_ffmpeg

    source = "color=black:size=96x96:rate=8:duration=1[a];testsrc=size=96x96:rate=1:duration=1,fps=8[b];"
    source += "testsrc2=size=96x96:rate=8:duration=1[c];[a][b][c]concat=n=3"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-filter_complex", source, str(tmp_path / "v.mkv")]
    subprocess.run(command, check=True)
    model = segmentation_model(tmp_path / "parser.onnx", (64, 64))
    model.with_suffix(".json").write_text(json.dumps({"ids": {"0": 11, "1": 8, "2": 10}}))
    outcomes: Counter[str] = Counter()
    item = Item("v.mkv", tmp_path / "v.mkv", "v.mkv")
    labelling = Labelling("parsing", standard_schema("classes", 64, 64), parser=model)
    photos = list(labelled_photos(item, labelling, outcomes))
    assert outcomes["blank"] == 8
    assert outcomes["duplicate"] == 7
    assert len(photos) == outcomes["used"] == 9
