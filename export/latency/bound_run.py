"""A session's runs with inputs and outputs bound to a device's memory, so that copies can be timed apart."""

from collections.abc import Mapping

from deploy.runtime import Session
from likeness import onnx_runtime
from likeness.array import Array
from likeness.command import BadInput
from likeness.onnx_runtime import REFUSED, Seconds, one_line


class BoundRun:
    """As `onnx_runtime.BoundRun`, for a session of ours."""

    def __init__(self, session: Session, device: str) -> None:
        self._path = session.path
        self._run = onnx_runtime.BoundRun(session.native, device)

    def __call__(self, feeds: Mapping[str, Array]) -> tuple[Array, Seconds]:
        """Raises BadInput when the provider refuses the run, for want of memory for instance."""
        try:
            return self._run(feeds)
        except REFUSED as error:
            count = len(next(iter(feeds.values())))
            raise BadInput(f"{self._path} cannot run a batch of {count}: {one_line(str(error))}") from error
