"""Features maps painted from centres: numpy alone, as the service does it."""

import numpy as np
import pytest

from likeness.command import BadInput
from shards.labels.instance_features import FeatureCentres, paint, parse_centres

CENTRES = {7: np.array([[0.1, 0.2, 0.3], [-0.5, 0.5, 0.0]], np.float32), 9: np.array([[1.0, -1.0, 0.5]], np.float32)}
INSTANCES = np.array([[1, 1, 65535], [1, 4, 65535], [4, 4, 65535]], np.int32)
IDS = np.array([[7, 7, 9], [7, 3, 9], [3, 3, 7]], np.uint8)


def test_each_instance_has_one_centre_of_its_class_and_zeros_without_centres() -> None:
    seen = set()
    for seed in range(30):
        painted = paint(INSTANCES, IDS, CENTRES, np.random.default_rng(seed))
        assert painted.dtype == np.float32 and painted.shape == (3, 3, 3)
        first = painted[:, 0, 0]
        assert any(np.array_equal(first, centre) for centre in CENTRES[7])
        np.testing.assert_array_equal(painted[:, INSTANCES == 1], np.repeat(first[:, None], 3, 1))
        np.testing.assert_array_equal(painted[:, INSTANCES == 65535], np.repeat(CENTRES[9].T, 3, 1))
        assert not painted[:, INSTANCES == 4].any(), "a class without centres falls back to zeros"
        seen.add(first.tobytes())
    assert len(seen) == 2, "centres are drawn, not always the same one"


def test_choices_by_number_and_their_errors() -> None:
    painted = paint(INSTANCES, IDS, CENTRES, {1: 1})
    np.testing.assert_array_equal(painted[:, 0, 0], CENTRES[7][1])
    np.testing.assert_array_equal(paint(INSTANCES, IDS, CENTRES, {})[:, 0, 0], CENTRES[7][0])
    with pytest.raises(BadInput, match="instance 65535 asks for centre 1 of class 9, which has 1"):
        paint(INSTANCES, IDS, CENTRES, {65535: 1})
    with pytest.raises(BadInput, match="must be one"):
        paint(INSTANCES[:2], IDS, CENTRES, {})


def test_the_same_seed_gives_the_same_map_whatever_other_classes_have() -> None:
    fewer = {7: CENTRES[7]}
    ours, theirs = (paint(INSTANCES, IDS, some, np.random.default_rng(5)) for some in (CENTRES, fewer))
    np.testing.assert_array_equal(ours[:, INSTANCES == 1], theirs[:, INSTANCES == 1])


def test_the_file_is_read_back_and_damage_is_named() -> None:
    record = FeatureCentres("abc", "instances", {7: [[0.5, 0.0, -1.0]]}, {7: [12]})
    assert parse_centres(record.dumps(), "here") == record
    assert record.arrays[7].shape == (1, 3)
    for text in ("", "[]", "{}", record.dumps().replace("0.5", '"x"')):
        with pytest.raises(BadInput, match="here holds no feature centres"):
            parse_centres(text, "here")
    with pytest.raises(BadInput, match="here: the centres of class 7"):
        parse_centres(record.dumps().replace("0.5", "2.5"), "here")
