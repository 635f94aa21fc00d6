"""Opening exported models with OpenVINO, an optional runtime for CPUs. The one file that imports it."""

import os
from pathlib import Path
from typing import Any

from likeness import machine
from likeness.array import Array
from likeness.command import BadInput
from likeness.disk import require_readable
from likeness.names import for_libraries
from likeness.onnx_runtime import one_line

PRECISIONS = {"openvino": "f32", "openvino-bf16": "bf16"}
"""What each provider computes in. OpenVINO by itself would take bfloat16 wherever the CPU has it, and not say so."""


class Model:
    """A model that OpenVINO has compiled for this CPU: `run` and the facts that a session asks for.

    provider: `openvino` computes in float32, `openvino-bf16` rounds to bfloat16 between operators.
    threads: CPU threads within one run, None for one per core.

    Raises BadInput when OpenVINO is not installed, or the file is broken or of a kind that it does not run.
    """

    def __init__(self, path: Path, provider: str, threads: int | None) -> None:
        try:
            import openvino
        except ImportError as error:
            raise BadInput(
                f"provider {provider!r} needs OpenVINO: pip install 'likeness[openvino]', or use --provider cpu"
            ) from error
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[provider],
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads or machine.cores() < len(os.sched_getaffinity(0)):
            settings["INFERENCE_NUM_THREADS"] = threads or machine.cores()
        require_readable(path)
        try:
            model = openvino.Core().read_model(for_libraries(path))
            self.native = openvino.Core().compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise BadInput(f"OpenVINO cannot load {path}: {one_line(str(error))}; export it again") from error
        self.precision: str = self.native.get_property("INFERENCE_PRECISION_HINT").to_string()
        if self.precision != PRECISIONS[provider]:
            raise BadInput(
                f"this CPU does not compute in {PRECISIONS[provider]} (OpenVINO took {self.precision}); "
                "use --provider openvino"
            )
        known = model.get_rt_info()
        props = model.get_rt_info(["framework"]).astype(dict) if "framework" in known else {}
        self.metadata = {name: value.astype(str) for name, value in props.items()}
        # By the file's own names: where a processor has no bfloat16, compiling gives inputs those of a conversion, too.
        ports = zip(model.inputs, self.native.inputs, strict=True)
        self.inputs = {read.any_name: _described(port) for read, port in ports}
        self.outputs = {port.any_name: _described(port) for port in self.native.outputs}

    def run(self, feeds: dict[str, Array]) -> Array:
        """Raises RuntimeError when the model does not take the shapes."""
        image: Array = self.native([feeds[name] for name in self.inputs], share_inputs=True)[0].copy()
        return image


def _described(port: Any) -> tuple[str, list[int | None]]:
    sides = [side.get_length() if side.is_static else None for side in port.partial_shape]
    kinds = {"f32": "float32", "u8": "uint8", "i32": "int32"}
    return kinds.get(port.element_type.get_type_name(), str(port.element_type)), sides
