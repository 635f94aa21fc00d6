"""Half-precision pictures as a GPU computes them, on any CPU: every operation's result is rounded.

ONNX Runtime's CPU and OpenVINO compute float16 and bfloat16 graphs in float32 and drop the conversions in between;
their pictures show what rounding the weights costs, and not what rounding the activations does.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree
from tqdm import tqdm

from deploy.runtime import Session
from export.gates import compare
from export.gates.departures import arguments_of
from export.gates.samples import Samples
from export.graph import Exported
from likeness.array import Array
from likeness.command import BadInput

HALVES = (torch.float16, torch.bfloat16)


def pictures(exported: Exported, session: Session, samples: Samples) -> Iterator[Array]:
    """What the exported program paints of each sample: float32 (3, H, W), or uint8 (H, W, 3).

    An operation multiplies and sums in float32 and rounds its result to the type that the program gives it.
    Raises BadInput, naming the operation, when a value is then not finite.
    """
    program = exported.program
    for number in tqdm(range(len(samples)), desc="rounded", unit="picture", leave=False):
        inputs = [torch.from_numpy(value) for value in compare.feeds(session, samples[number : number + 1]).values()]
        arguments = [value.float() if value.dtype in HALVES else value for value in arguments_of(program, inputs)]
        rounded = _Rounded(program.graph_module)
        with torch.inference_mode():
            (image,) = rounded.run(*arguments)
        if rounded.overflown:
            raise BadInput(f"{rounded.overflown} gives values that are not finite, on sample {number}")
        yield image[0].numpy()


class _Rounded(fx.Interpreter):
    """Runs a half-precision program on float32 tensors that hold rounded values."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.overflown = ""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Conversions to half precision give float32 too; `run_node` rounds what they give.
        if kwargs.get("dtype") in HALVES:
            kwargs = {**kwargs, "dtype": torch.float32}
        return super().call_function(target, args, kwargs)

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        # `val` is the stand-in that tracing made for a result; it has the type that the program gives it.
        if n.op != "call_function" or "val" not in n.meta:
            return value
        value = pytree.tree_map(_rounded, value, n.meta["val"])
        if not self.overflown and isinstance(value, Tensor) and not value.isfinite().all():
            self.overflown = n.name
        return value


def _rounded(value: Any, declared: Any) -> Any:
    """A tensor with the precision that the program declares for it, in float32."""
    if isinstance(declared, Tensor) and declared.dtype in HALVES:
        return value.to(declared.dtype).float()
    return value
