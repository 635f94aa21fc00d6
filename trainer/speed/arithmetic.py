"""What float32 means on a GPU: float32, or TF32, in which tensor cores round the factors of products to 10 bits.

Left alone, PyTorch computes convolutions in TF32 and matrix products in float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["fp32", "tf32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
"""The type in which each keeps the values that convolutions read and write."""


def use(precision: Precision) -> None:
    """Sets, for this process, in what GPUs compute products of float32: TF32 where it is asked for, and nowhere else.

    What bfloat16 leaves in float32 is float32. On other devices nothing changes.
    """
    # The newer `fp32_precision` would do, too, but what reads these, accelerate among them, fails beside it.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"


@contextmanager
def used(precision: Precision) -> Iterator[None]:
    """As `use`, until the context is left."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    use(precision)
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
