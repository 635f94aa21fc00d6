"""Label operators against the numbers of specification 5.4, 5.5, 5.6 and 9.1."""

import time
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.optimize import OptimizeWarning, curve_fit

from likeness.command import BadInput
from shards.labels import classes, expand, load, picture, pose, sketch, standard_schema
from shards.labels.flip import flip_frame
from shards.records import Frame


def a_face() -> np.ndarray:
    """68 landmarks of a plain frontal face in the 512 frame."""

    def arc(x: float, y: float, half: float, bend: float, count: int) -> np.ndarray:
        along = np.linspace(-1, 1, count)
        return np.stack([x + half * along, y - bend * (1 - along**2)], axis=1)

    def eye(x: float, y: float) -> np.ndarray:
        return np.array(
            [(x + 28 * i, y + 10 * j) for i, j in ((-1, 0), (-0.4, -1), (0.4, -1), (1, 0), (0.4, 1), (-0.4, 1))]
        )

    angle = np.linspace(0, np.pi, 17)
    jaw = np.stack([256 - 150 * np.cos(angle), 240 + 180 * np.sin(angle)], axis=1)
    nose = np.array([(256, 230), (256, 255), (256, 275), (256, 295)])
    outer = np.concatenate([arc(256, 360, 55, 18, 7), arc(256, 360, 55, -25, 7)[-2:0:-1]])
    inner = np.concatenate([arc(256, 360, 40, 6, 5), arc(256, 360, 40, -10, 5)[-2:0:-1]])
    brows = arc(190, 200, 45, 15, 5), arc(322, 200, 45, 15, 5)
    parts = [jaw, *brows, nose, arc(256, 310, 28, -8, 5), eye(195, 235), eye(317, 235), outer, inner]
    return np.concatenate(parts).round().astype(int)


def test_a_symmetric_face_is_its_own_mirror_image() -> None:
    """Each of the 68 points has its counterpart on the other side, lips and brows too. The face's middle is at 256,
    the frame's at 255.5; both round to whole pixels."""
    face = a_face()
    frame = Frame("v", 0, 0.0, "s", landmarks=tuple((int(x), int(y)) for x, y in face))
    mirrored = np.array(flip_frame(frame).landmarks)
    assert np.abs(mirrored + np.array((1, 0)) - face).max() <= 1
    assert np.ptp(face, axis=0).min() > 100, "points on one another would prove nothing"


def test_a_symmetric_body_is_its_own_mirror_image() -> None:
    """OpenPose's order: nose and neck, right and left arm, right and left leg, then eyes and ears by turns."""
    arm, leg = [(0.2, 0.3), (0.3, 0.4), (0.35, 0.5)], [(0.1, 0.6), (0.12, 0.7), (0.14, 0.8)]
    eye, ear = (0.04, 0.1), (0.08, 0.12)
    half = [*arm, *((-x, y) for x, y in arm), *leg, *((-x, y) for x, y in leg), eye, (-eye[0], eye[1]), ear]
    points = [(0.0, 0.15), (0.0, 0.25), *half, (-ear[0], ear[1])]
    body = tuple((0.5 - x, y, 1.0) for x, y in points)
    mirrored = flip_frame(Frame("v", 0, 0.0, "s", keypoints=body)).keypoints
    np.testing.assert_allclose(np.array(mirrored), np.array(body), atol=1e-12)


def stroke(points: list[tuple[int, int]], size: int = 64) -> np.ndarray:
    canvas = np.zeros((1, size, size), np.uint8)
    _, x, y = sketch.curves(np.array([points]))
    sketch.brush(canvas, 0, x, y, reach=1, value=255)
    return canvas[0]


def by_pillow(plane: np.ndarray) -> np.ndarray:
    """Half the size, with the filter that the published system's loader uses."""
    height, width = plane.shape
    return np.asarray(
        Image.fromarray(plane.astype(np.uint8)).resize((width // 2, height // 2), Image.Resampling.BILINEAR)
    )


class TestSketch:
    def test_polylines_and_pieces(self) -> None:
        assert len(sketch.POLYLINES) == 14
        per_line = [len(sketch.pieces_of(line)) for line in sketch.POLYLINES]
        assert per_line == [16, 2, 2, 1, 2, 1, 2, 2, 2, 2, 3, 3, 2, 2]
        assert len(sketch.PIECES) == sum(per_line) == 42
        assert set(range(83)) - {index for line in sketch.POLYLINES for index in line} == {27, 29, 30}

    def test_the_published_parabola(self) -> None:
        _, x, y = sketch.curves(np.array([[(10, 10), (20, 20), (30, 10)]]))
        assert x.tolist() == [*range(10, 29), 30]
        assert (y[0], y.max(), y[-1]) == (9, 19, 10)
        drawn = stroke([(10, 10), (20, 20), (30, 10)])
        rows, columns = np.nonzero(drawn)
        assert (drawn == 255).sum() == 62 == (drawn > 0).sum()
        assert (columns.min(), columns.max(), rows.min(), rows.max()) == (9, 30, 8, 19)

    @pytest.mark.parametrize("points", [[(10, 10), (11, 14), (12, 10)], [(10, 10), (11, 20), (13, 10)]])
    def test_steep_pieces_are_not_drawn(self, points: list[tuple[int, int]]) -> None:
        assert not stroke(points).any()

    def test_the_steepness_limit_is_one(self) -> None:
        assert stroke([(10, 10), (20, 10 + 100), (30, 10)], 128).sum() == 0  # turns back on the longer axis
        assert len(sketch.curves(np.array([[(0, 0), (1, 1), (2, 0)]]))[0]) == 2  # a = -1
        assert len(sketch.curves(np.array([[(0, 0), (1, 1), (3, 0)]]))[0]) == 3  # a = -1/2
        assert len(sketch.curves(np.array([[(0, 0), (3, 3), (4, 0)]]))[0]) == 4  # a = -1
        assert len(sketch.curves(np.array([[(0, 0), (4, 4), (5, 0)]]))[0]) == 5  # a = -1
        assert len(sketch.curves(np.array([[(0, 0), (5, 6), (6, 1)]]))[0]) == 0  # a = -6.2

    @pytest.mark.parametrize("end", [(10, 30), (30, 10), (10, 11), (30, 30), (12, 40), (40, 12)])
    def test_two_points_are_joined_though_they_share_a_coordinate(self, end: tuple[int, int]) -> None:
        """As the published code fits a line to two points, along the axis on which they are further apart."""
        start, (right, down) = (10, 10), end
        longer = np.linspace(10, max(end), max(end) - 10)
        slope, height = np.polyfit((10, max(end)), (10, min(end)), 1)
        shorter = slope * longer + height
        expected = (longer, shorter) if right >= down else (shorter, longer)
        for points in ([start, end, end], [end, start, start]):
            _, *drawn = sketch.curves(np.array([points]))
            for ours, wanted in zip(drawn, expected, strict=True):
                np.testing.assert_array_equal(ours, np.floor(wanted + 1e-9).astype(int))

    @pytest.mark.parametrize("points", [[(10, 10), (10, 14), (40, 20)], [(10, 10), (40, 14), (40, 20)]])
    def test_three_points_without_a_parabola_are_not_drawn(self, points: list[tuple[int, int]]) -> None:
        assert not len(sketch.curves(np.array([points]))[0])
        assert not len(sketch.curves(np.array([points])[..., ::-1])[0])

    @given(st.lists(st.tuples(st.integers(0, 511), st.integers(0, 511)), min_size=3, max_size=3))
    def test_curves_agree_with_a_fitted_parabola(self, points: list[tuple[int, int]]) -> None:
        piece = np.array(points, float)
        if (np.abs(np.diff(piece, axis=0)).max(axis=0) * (1, -1)).sum() < 0:
            piece = piece[:, ::-1]
        x, y = piece.T
        if len(set(x.tolist())) < 3:
            return
        a, b, c = np.polyfit(x, y, 2)
        _, *drawn = sketch.curves(np.array([points]))
        along, across = drawn if np.array_equal(piece, points) else drawn[::-1]
        if abs(abs(a) - 1) < 1e-6:
            return
        if abs(a) > 1:
            assert not len(along)
            return
        expected = np.linspace(min(x[0], x[2]), max(x[0], x[2]), int(abs(x[2] - x[0])))
        np.testing.assert_array_equal(along, expected.astype(int))
        height = a * expected**2 + b * expected + c
        assert (np.abs(across + 0.5 * np.sign(height) - height) <= 0.5 + 1e-4).all()

    def test_forehead(self) -> None:
        face = a_face()
        points = sketch.with_forehead(face)
        assert points.shape == (83, 2)
        np.testing.assert_array_equal(points[:68], face)
        np.testing.assert_array_equal(points[68:, 0], face[15:0:-1, 0])
        base = (face[0, 1] + face[16, 1]) / 2
        np.testing.assert_array_equal(
            points[68:, 1], [int(base + ((base - y) * 2) // 3) for y in face[15:0:-1, 1].tolist()]
        )

    def test_full_size_is_the_specification(self) -> None:
        """Every pixel at 256, from single curves, a two-pass distance of our own, and Pillow's bilinear filter."""
        face = a_face()
        points = sketch.with_forehead(face)
        label = sketch.draw(face, 256, 256)
        assert label.shape == (15, 256, 256) and label.dtype == np.uint8
        together = np.zeros((512, 512), np.uint8)
        for line, polyline in enumerate(sketch.POLYLINES):
            drawn = np.zeros((1, 512, 512), np.uint8)
            for piece in sketch.pieces_of(polyline):
                corners = points[list((*piece, piece[-1])[:3])]
                _, x, y = sketch.curves(corners[None])
                sketch.brush(drawn, 0, x, y, reach=1, value=255)
            together |= drawn[0]
            distance = np.where(drawn[0] > 0, 0, 10_000)
            for axis in (0, 1):
                distance = distance if axis == 0 else distance.T
                for rows in (range(1, 512), range(510, -1, -1)):
                    for row in rows:
                        before = row - 1 if rows.step > 0 else row + 1
                        distance[row] = np.minimum(distance[row], distance[before] + 1)
                distance = distance if axis == 0 else distance.T
            np.testing.assert_array_equal(label[1 + line], by_pillow(np.clip(distance // 3, 0, 255)))
        np.testing.assert_array_equal(label[0], by_pillow(together))
        assert 0.005 < (together > 0).mean() < 0.03

    def test_distances_mean_the_same_at_every_size(self) -> None:
        face = a_face()
        large = sketch.draw(face, 256, 256)
        for size in (64, 128):
            small = sketch.draw(face, size, size)
            reduced = [cv2.resize(plane, (size, size), interpolation=cv2.INTER_AREA) for plane in large[1:]]
            assert np.abs(small[1:].astype(int) - np.stack(reduced)).mean() < 3
        wide = sketch.draw(face, 64, 128)
        assert wide.shape == (15, 64, 128)

    def test_a_line_that_is_not_drawn_is_far_everywhere(self) -> None:
        face = a_face()
        face[31] = face[28]
        label = sketch.draw(face, 64, 64)
        assert (label[4] == 255).all() and label[5].min() < 5

    def test_points_outside_are_moved_to_the_border(self) -> None:
        label = sketch.draw(a_face() - (300, 0), 64, 64)
        assert label[0, :, 0].max() > 0 and np.isfinite(expand(standard_schema("sketch", 64, 64), label)).all()

    def test_it_is_fast_enough_for_loader_workers(self) -> None:
        face = a_face()
        best = min(_seconds(lambda: sketch.draw(face, 64, 64)) for _ in range(20))
        assert best < 0.01  # a tenth of it on an idle machine

    def test_another_number_of_landmarks_is_refused(self) -> None:
        with pytest.raises(BadInput, match="68"):
            sketch.draw(np.zeros((67, 2), int), 64, 64)

    def test_picture_shows_every_line_in_its_colour(self) -> None:
        schema = standard_schema("sketch", 256, 256)
        shown = picture(schema, sketch.draw(a_face(), 256, 256))
        assert shown.shape == (256, 256, 3) and shown.dtype == np.uint8
        for colour in schema.colours[1:]:
            assert np.abs(shown.astype(int) - colour).sum(axis=2).min() < 25


def _seconds(call) -> float:  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def a_body() -> np.ndarray:
    places = [
        (0.5, 0.15), (0.5, 0.25), (0.4, 0.26), (0.33, 0.4), (0.3, 0.52), (0.6, 0.26), (0.67, 0.4), (0.72, 0.3),
        (0.44, 0.53), (0.43, 0.7), (0.42, 0.9), (0.56, 0.53), (0.6, 0.7), (0.58, 0.9), (0.47, 0.12), (0.53, 0.12),
        (0.44, 0.13), (0.56, 0.13),
    ]  # fmt: skip
    return np.array([(x, y, 1.0) for x, y in places])


def by_the_book(body: np.ndarray, side: int = 256) -> np.ndarray:
    """Specification 5.5 in its own order: uint8 (20, side, side)."""
    skeleton = np.zeros((side, side, 3), np.uint8)
    planes = []

    def paint(y: np.ndarray, x: np.ndarray, colour: tuple[int, int, int]) -> None:
        y, x = np.clip(y, 0, side - 1), np.clip(x, 0, side - 1)
        if (skeleton[y, x] == 0).all():
            skeleton[y, x] = colour
        else:
            skeleton[y, x] = ((skeleton[y, x].astype(float) + colour) / 2).astype(np.uint8)

    for (one, other), colour in zip(pose.LIMBS, pose.COLOURS, strict=True):
        ground = np.full((side, side), 255, np.uint8)
        ends = body[[one, other]]
        if (ends[:, 2] > 0.01).all() and (ends[:, 0] != 0).all():
            x, y = (ends[:, :2] * side).T
            turned = abs(x[1] - x[0]) < abs(y[1] - y[0])
            along, across = (y, x) if turned else (x, y)
            with warnings.catch_warnings(action="ignore", category=OptimizeWarning):
                (slope, height), _ = curve_fit(lambda at, a, b: a * at + b, along, across)
            at = np.linspace(along.min(), along.max(), int(along.max() - along.min()))
            fitted = (at.astype(int), (slope * at + height).astype(int))
            x, y = fitted[::-1] if turned else fitted
            if len(x):
                for down in range(-2, 2):
                    for right in range(-2, 2):
                        paint(y + down, x + right, colour)
                for down in range(-4, 4):
                    for right in range(-4, 4):
                        if down**2 + right**2 < 16:
                            paint(y[[0, -1]] + down, x[[0, -1]] + right, colour)
                for down in (-1, 0):
                    for right in (-1, 0):
                        ground[np.clip(y + down, 0, side - 1), np.clip(x + right, 0, side - 1)] = 0
        distance = cv2.distanceTransform(ground, cv2.DIST_L1, 3) / 2
        planes.append(np.clip(distance, 0, 255).astype(np.uint8))
    return np.concatenate([skeleton.transpose(2, 0, 1), planes])


class TestPose:
    def test_schema_and_limbs(self) -> None:
        schema = standard_schema("pose", 64, 64)
        assert schema.channels == 20 and len(pose.LIMBS) == len(set(pose.LIMBS)) == 17
        assert schema.colours[3] == (153, 0, 153) and schema.colours[-1] == (0, 51, 153)

    def test_a_single_limb(self) -> None:
        """One vertical thigh: its stroke, its discs, its distances, and nothing else."""
        body = np.zeros((18, 3))
        body[8], body[9] = (0.5, 0.25, 1), (0.5, 0.5, 1)
        label = pose.draw(body, 256, 256)
        limb = pose.LIMBS.index((8, 9))
        assert (np.delete(label[3:], limb, axis=0) == 255).all()
        expected = np.zeros((256, 256), bool)
        expected[64 - 2 : 128 + 2, 126:130] = True
        for end in (64, 128):
            for down in range(-4, 4):
                for right in range(-4, 4):
                    if down**2 + right**2 < 16:
                        expected[end + down, 128 + right] = True
        lit = label[:3].transpose(1, 2, 0)
        np.testing.assert_array_equal((lit > 0).any(axis=2), expected)
        # Columns 126 to 129 in turn, row by row: the first row's are all black before; later rows meet them.
        assert (lit[64 - 2 : 128 + 1, 126:130] >= np.array(pose.COLOURS[limb]) // 2).all()
        assert lit[100, 127].tolist() == list(pose.COLOURS[limb])
        # the 2×2 brush covers columns 127 and 128
        assert label[3 + limb, 100, [127, 128, 129, 130, 138, 20]].tolist() == [0, 0, 0, 1, 5, 53]

    def test_overlapping_colours_are_averaged(self) -> None:
        body = np.zeros((18, 3))
        body[[0, 1, 14]] = (0.25, 0.5, 1), (0.75, 0.5, 1), (0.5, 0.5, 1)
        label = pose.draw(body, 256, 256)
        first, second = (np.array(pose.COLOURS[pose.LIMBS.index(limb)]) for limb in ((0, 1), (14, 0)))
        assert label[:3, 128, 170].tolist() == first.tolist()
        # four offsets of the brush touch it, and each takes the mean of what is there and the second colour
        mixed = first
        for _ in range(4):
            mixed = (mixed + second) // 2
        assert label[:3, 128, 100].tolist() == mixed.tolist()

    @pytest.mark.parametrize("seed", range(4))
    def test_every_byte_at_256_is_the_published_system_s(self, seed: int) -> None:
        """Its steps one by one: curves fitted by scipy, every offset of every brush, distances over whole planes."""
        rng = np.random.default_rng(seed)
        body = a_body()
        body[:, :2] += rng.normal(0, (0.002, 0.05, 0.3, 0.05)[seed], (18, 2))
        body[rng.integers(18), 2] = 0.005
        np.testing.assert_array_equal(pose.draw(body, 256, 256), by_the_book(body))

    @pytest.mark.parametrize("keypoint", [(0.6, 0.3, 0.01), (0.0, 0.3, 1.0), (float("nan"), 0.3, 1.0)])
    def test_keypoints_that_do_not_count(self, keypoint: tuple[float, float, float]) -> None:
        body = a_body()
        body[5] = keypoint
        label = pose.draw(body, 64, 64)
        missing = [number for number, limb in enumerate(pose.LIMBS) if 5 in limb]
        assert [number for number in range(17) if (label[3 + number] == 255).all()] == missing == [3, 14]

    @pytest.mark.parametrize("size", [(64, 64), (144, 256), (512, 512)])
    def test_sizes_agree(self, size: tuple[int, int]) -> None:
        height, width = size
        label = pose.draw(a_body(), height, width)
        assert label.shape == (20, height, width) and label.dtype == np.uint8
        if height == width:
            reference = pose.draw(a_body(), 256, 256)[3:]
            resized = np.stack([cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in reference])
            assert np.abs(label[3:].astype(int) - resized).mean() < 2
        assert picture(standard_schema("pose", height, width), label).shape == (height, width, 3)

    def test_another_number_of_keypoints_is_refused(self) -> None:
        with pytest.raises(BadInput, match="18"):
            pose.draw(np.zeros((17, 3)), 64, 64)


class TestClasses:
    schema = standard_schema("classes", 32, 48)

    def test_schema(self) -> None:
        assert self.schema.channels == 20
        assert self.schema.ids == (*range(19), 255) and self.schema.void == 255
        assert dict(zip(self.schema.names, self.schema.colours, strict=True))["road"] == (128, 64, 128)

    @given(st.integers(0, 2**32 - 1))
    def test_one_hot_and_back(self, seed: int) -> None:
        ids = np.random.default_rng(seed).choice(np.array(self.schema.ids, np.uint8), (32, 48))
        hot = classes.one_hot(self.schema, classes.checked(self.schema, ids, "here"))
        assert hot.shape == (20, 32, 48) and hot.dtype == np.float32
        assert (hot.sum(axis=0) == 1).all()
        np.testing.assert_array_equal(np.array(self.schema.ids)[hot.argmax(axis=0)], ids)
        shown = picture(self.schema, ids)
        assert tuple(shown[3, 4]) == self.schema.colours[self.schema.ids.index(ids[3, 4])]

    def test_the_first_unknown_id_is_named(self) -> None:
        ids = np.zeros((32, 48), np.uint8)
        ids[5, 7], ids[9, 1] = 19, 77
        with pytest.raises(BadInput, match=r"a\.png: label id 19 at row 5, column 7 .*0-18, 255"):
            classes.checked(self.schema, ids, "a.png")

    @pytest.mark.parametrize("ids", [np.zeros((48, 32), np.uint8), np.zeros((32, 48, 3), np.uint8), np.zeros((32, 48))])
    def test_other_shapes_are_refused(self, ids: np.ndarray) -> None:
        with pytest.raises(BadInput, match=r"a\.png.*32 rows by 48 columns"):
            classes.checked(self.schema, ids, "a.png")


def test_load_and_expand() -> None:
    face = tuple((int(x), int(y)) for x, y in a_face())
    sketch_schema = standard_schema("sketch", 64, 64)
    loaded = load(sketch_schema, Frame("a.mp4", 0, 0.0, "a", landmarks=face))
    channels = expand(sketch_schema, loaded)
    assert channels.dtype == np.float32 and channels.min() == 0 and 0.3 < channels.max() <= 1
    with pytest.raises(BadInput, match=r"a\.mp4 frame 3 has no keypoints"):
        load(standard_schema("pose", 64, 64), Frame("a.mp4", 3, 0.0, "a", landmarks=face))
    with pytest.raises(BadInput, match="no label picture"):
        load(standard_schema("classes", 64, 64), Frame("a.mp4", 3, 0.0, "a"))
