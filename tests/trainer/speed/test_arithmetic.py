"""What float32 means on a GPU is said by the run, not by PyTorch's defaults."""

from collections.abc import Callable, Iterator

import pytest
import torch

from trainer.config import Config
from trainer.estimate import peak_flops
from trainer.speed import arithmetic
from trainer.training import Training


def rounds() -> tuple[bool, bool]:
    """Whether products and convolutions of float32 would be computed in TF32."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = rounds()
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(("precision", "rounded"), [("fp32", False), ("tf32", True)])
def test_a_run_computes_in_its_own_arithmetic(
    precision: str, rounded: bool, small_config: Callable[..., Config]
) -> None:
    """PyTorch's own defaults are neither: products in float32 and convolutions in TF32."""
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True
    config = small_config("pix2pixhd", precision=precision)
    Training(config, config.data.label_schema, None)
    assert rounds() == (rounded, rounded)


def test_a_peak_is_measured_in_the_arithmetic_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    arithmetic.use("fp32")
    seen = set()

    class Factor(torch.Tensor):
        def __matmul__(self, other: object) -> torch.Tensor:
            seen.add((self.dtype, *rounds()))
            return self

    monkeypatch.setattr(torch, "randn", lambda *_, **__: torch.zeros(2, 2).as_subclass(Factor))
    assert peak_flops(torch.device("cpu"), "tf32") > 0
    assert seen == {(torch.float32, True, True)}
    assert rounds() == (False, False)
