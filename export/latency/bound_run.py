"""A session's runs with inputs and outputs bound to a device's memory, so that copies can be timed apart."""

from collections.abc import Mapping

from deploy.runtime import Session
from likeness import bound_run
from likeness.array import Array
from likeness.bound_run import Seconds
from likeness.command import BadInput
from likeness.onnx_runtime import REFUSED, one_line


class BoundRun:
    """As `likeness.bound_run.BoundRun`, for a session of ours."""

    def __init__(self, session: Session, device: str) -> None:
        self._path = session.path
        self._run = bound_run.BoundRun(session.native, device)

    def __call__(self, feeds: Mapping[str, Array]) -> tuple[Array, Seconds]:
        """Raises BadInput when the provider refuses the run, for want of memory for instance."""
        try:
            return self._run(feeds)
        except REFUSED as error:
            count = len(next(iter(feeds.values())))
            raise BadInput(f"{self._path} cannot run a batch of {count}: {one_line(str(error))}") from error
