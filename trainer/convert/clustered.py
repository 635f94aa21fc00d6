"""`features_clustered_*.npy`: the looks of instances that pix2pixHD's code clustered, read without running anything.

numpy stores such a dict as a pickle. It is read into stand-ins of our own, which hold what numpy's classes would be
told; nothing else that a pickle can name is given to it, not even numpy.
"""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.lib import format as npy

from likeness.array import Array
from likeness.command import BadInput
from shards.labels.instance_features import FeatureCentres
from shards.records import LabelSchema

LARGEST = 16_000_000
"""Bytes: thousands of times what hundreds of classes take."""
NUMBERS = {"f4": np.float32, "f8": np.float64}
ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")
"""Where numpy's function that makes an array was before version 2, and is since."""


def read_clustered(file: Path, schema: LabelSchema, regions: str, channels: int) -> FeatureCentres:
    """The centres, yet without the digest of a checkpoint; how many instances each stands for is not in such a file.

    channels: of the features. Their labels count the channels of the label map, as the authors' one-hot labels do.
    Raises BadInput for any other file, and for centres of other classes or another number of channels.
    """
    found = _read(file)
    centres = {}
    for number, rows in found.items():
        if not isinstance(number, int) or not 0 <= number < len(schema.ids):
            raise BadInput(f"{file} has centres of label {number!r}, but there are {len(schema.ids)} classes")
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != channels:
            raise BadInput(
                f"{file}: the centres of label {number} are of shape {rows.shape}, but features have {channels} "
                "channels (feat_num); give the file that belongs to the encoder"
            )
        if not (np.abs(rows) <= 1).all():
            raise BadInput(f"{file}: the centres of label {number} are not all in [-1, 1], as features are")
        centres[schema.ids[number]] = [[float(value) for value in row] for row in rows]
    return FeatureCentres("", regions, centres, {number: [0] * len(rows) for number, rows in centres.items()})


def _read(file: Path) -> dict[Any, Array]:
    refusal = f"{file} is no features_clustered_*.npy of the authors' encode_features.py"
    if not file.is_file():
        raise BadInput(f"{file} is no file; give the features_clustered_*.npy of the authors' encode_features.py")
    if file.stat().st_size > LARGEST:
        raise BadInput(f"{refusal}: it has {file.stat().st_size:,} bytes")
    with file.open("rb") as opened:
        try:
            version = npy.read_magic(opened)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = header(opened)
        except ValueError as error:
            raise BadInput(f"{refusal} ({error})") from error
        content = opened.read()
    if shape != () or dtype != np.dtype(object):
        raise BadInput(f"{refusal}: it holds an array of {dtype}, of shape {shape}, not a dict")
    try:
        outer = _Unpickler(io.BytesIO(content)).load()
        (found,) = outer.state[4]
        return {number: rows.array() for number, rows in found.items()}
    except (pickle.UnpicklingError, EOFError) as error:
        raise BadInput(f"{refusal} ({error})") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise BadInput(f"{refusal}: it is no dict of arrays of numbers ({type(error).__name__})") from error


class _StandIn:
    """What an array or its type is told by a pickle."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> Array:
        """Raises KeyError, TypeError or ValueError unless it is an array of floating-point numbers."""
        _, shape, kind, fortran, content = self.state
        if kind.state[1] != "<":
            raise ValueError("numbers in another byte order")
        # Python 2 wrote text where Python 3 has bytes.
        held = content.encode("latin1") if isinstance(content, str) else content
        numbers = np.frombuffer(held, NUMBERS[kind.arguments[0]])
        return numbers.reshape(shape, order="F" if fortran else "C")


@dataclass(frozen=True)
class _Array:
    """The class of arrays, which pickles name beside the function that makes one."""


def _encode(text: str, _: str) -> bytes:
    """How protocol 2 holds bytes: as text of their values."""
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        if (module in ARRAYS and name == "_reconstruct") or (module, name) == ("numpy", "dtype"):
            return _StandIn
        if (module, name) == ("numpy", "ndarray"):
            return _Array
        if (module, name) == ("_codecs", "encode"):
            return _encode
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not run")

    def persistent_load(self, _: Any) -> NoReturn:
        raise pickle.UnpicklingError("it asks for something outside the file")
