"""One run of a session with its inputs and outputs bound to a device's memory, so that copies can be timed apart."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy.metadata import OUTPUT
from deploy.runtime import Session
from shards.command import BadInput
from shards.onnx_runtime import REFUSED, one_line

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Seconds:
    """Where a run's time went: copying inputs to the device, the model itself, copying the picture back."""

    copy_in: float
    run: float
    copy_out: float


class BoundRun:
    """Runs of a session on one device, for inputs of one batch.

    device: ONNX Runtime's name of the memory that the provider computes in, `cuda` or `cpu`.
    """

    def __init__(self, session: Session, device: str) -> None:
        self._path = session.path
        self._session = session.native
        self._binding = self._session.io_binding()
        # Without a shape ONNX Runtime allocates on the device in the first run, and writes to the same place after it.
        self._binding.bind_output(OUTPUT, device, 0)

    def __call__(self, feeds: Mapping[str, Array]) -> tuple[Array, Seconds]:
        """The picture, on the host, and the seconds. Every part has ended on the device when its time is taken.

        Raises BadInput when the provider refuses the run, for want of memory for instance.
        """
        binding = self._binding
        try:
            begun = time.perf_counter()
            for name, value in feeds.items():
                # Copies at once to the device of the node that reads it.
                binding.bind_cpu_input(name, value)
            binding.synchronize_inputs()
            copied = time.perf_counter()
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            ran = time.perf_counter()
            image: Array = binding.copy_outputs_to_cpu()[0]
            ended = time.perf_counter()
        except REFUSED as error:
            count = len(next(iter(feeds.values())))
            raise BadInput(f"{self._path} cannot run a batch of {count}: {one_line(str(error))}") from error
        return image, Seconds(copied - begun, ran - copied, ended - ran)
