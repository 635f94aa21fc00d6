"""Pictures to tensors and back."""

import numpy as np

from deploy import pictures
from shards.input_files import to_tensor


def test_every_value_survives_the_way_to_a_tensor_and_back() -> None:
    photo = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    tensor = to_tensor(photo)
    assert (tensor.min(), tensor.max()) == (-1, 1)
    np.testing.assert_array_equal(pictures.to_picture(tensor), photo)
