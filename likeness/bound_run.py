"""Runs of an ONNX Runtime session whose inputs and output are bound to a device's memory."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from likeness.array import Array


@dataclass(frozen=True)
class Seconds:
    """Where a run's time went."""

    copy_in: float
    """Copying inputs to the device."""
    run: float
    """The model itself."""
    copy_out: float
    """Copying the outputs back."""


class BoundRun:
    """Runs of a session with inputs and output bound to a device's memory: each is copied once, and no more.

    session: of `onnx_runtime.start`. device: ONNX Runtime's name of the memory that the provider computes in, `cuda` or
    `cpu`; number: which of several. One thread at a time may use it.
    """

    def __init__(self, session: Any, device: str, number: int = 0) -> None:
        self._session, self._device, self._number = session, device, number
        self._output = session.get_outputs()[0].name
        self._shapes: dict[str, tuple[int, ...]] | None = None

    def __call__(self, feeds: Mapping[str, Array]) -> tuple[Array, Seconds]:
        """The first output, on the host, and the seconds. Every part has ended on the device when its time is taken.

        Raises one of `onnx_runtime.REFUSED` when the provider refuses the run.
        """
        shapes = {name: value.shape for name, value in feeds.items()}
        if shapes != self._shapes:
            self._binding = self._session.io_binding()
            # Without a shape ONNX Runtime allocates on the device in the first run, and writes to the same place in
            # those after it, which must therefore be of the same shapes.
            self._binding.bind_output(self._output, self._device, self._number)
        self._shapes = None
        begun = time.perf_counter()
        for name, value in feeds.items():
            # Copies at once to the device of the node that reads it.
            self._binding.bind_cpu_input(name, value)
        self._binding.synchronize_inputs()
        copied = time.perf_counter()
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        ran = time.perf_counter()
        image: Array = self._binding.copy_outputs_to_cpu()[0]
        ended = time.perf_counter()
        self._shapes = shapes
        return image, Seconds(copied - begun, ran - copied, ended - ran)
