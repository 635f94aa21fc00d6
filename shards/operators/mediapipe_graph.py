"""MediaPipe's detectors, run as graphs.

MediaPipe's own classes for them need a protobuf older than the one that ONNX and MLflow need.
"""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from likeness.array import Array
from likeness.command import BadInput

_FIRST_SIDE = 128


class Graph:
    """A graph of MediaPipe's package that takes RGB pictures, one after another, each for itself.

    file: its path below `mediapipe/modules`. stream: the output that is wanted. settings: its side packets.

    Raises BadInput when MediaPipe is not installed.
    """

    def __init__(self, file: str, stream: str, settings: Mapping[str, bool | int]) -> None:
        with _quiet():
            try:
                import mediapipe
                from mediapipe.python import packet_creator, packet_getter
                from mediapipe.python._framework_bindings import calculator_graph, image_frame, resource_util
            except ImportError as error:
                raise BadInput(
                    f"landmarks and poses on photographs need MediaPipe, which is not here ({error}); run `make "
                    "install`, or `pip install --no-deps -r requirements-faces.txt` with Python 3.11 or 3.12"
                ) from error
            package = Path(mediapipe.__file__).parent
            resource_util.set_resource_dir(str(package.parent))
            self._create = packet_creator
            self.getter = packet_getter
            """What turns the packets that `run` gives into messages."""
            self._format = image_frame.ImageFormat.SRGB
            self._graph = calculator_graph.CalculatorGraph(binary_graph_path=str(package / "modules" / file))
            self._found: list[Any] = []
            self._graph.observe_output_stream(stream, lambda _, packet: self._found.append(packet))
            packets = {
                name: packet_creator.create_bool(value) if isinstance(value, bool) else packet_creator.create_int(value)
                for name, value in settings.items()
            }
            self._graph.start_run(packets)
            self._clock, self._seasoned = 0, False
            self._one_at_a_time = Lock()
            self.run(np.zeros((_FIRST_SIDE, _FIRST_SIDE, 3), np.uint8))

    def run(self, image: Array) -> Any | None:
        """The packet that the graph gives for a picture, or None. Raises ValueError unless it is uint8 (H, W, 3)."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"detectors look at uint8 (H, W, 3), not at {image.dtype} {image.shape}")
        with self._one_at_a_time:
            return self._ran(image)

    def _ran(self, image: Array) -> Any | None:
        self._found.clear()
        self._clock += 1
        packet = self._create.create_image_frame(image_format=self._format, data=np.ascontiguousarray(image))
        # The graph's later stages greet the first face or body with a warning.
        with nullcontext() if self._seasoned else _quiet():
            self._graph.add_packet_to_input_stream(stream="image", packet=packet.at(self._clock))
            self._graph.wait_until_idle()
        if not self._found or self._found[0].is_empty():
            return None
        self._seasoned = True
        return self._found[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds back what native code writes to stderr while MediaPipe starts; shows it when starting fails."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), 2)
        try:
            yield
        except BadInput:
            raise
        except BaseException:
            noise.seek(0)
            os.write(stderr, noise.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
