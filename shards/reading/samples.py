"""Reading samples back from shards, without torch.

Shards are WebDataset's tar files. They are read with the standard library here, because importing webdataset
imports torch wherever that is installed, and whoever serves a model must not wait for it.
"""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import simplejpeg
from tqdm import tqdm

from likeness.array import Array
from likeness.checksums import sha256_of
from likeness.command import BadInput
from shards import labels as label_maps
from shards.labels.flip import flip_frame
from shards.labels.kinds import Png, kind_of
from shards.media import png_data
from shards.media.pictures import png_header
from shards.reading.tar_index import AGAIN, index_tar
from shards.records import LABELLED_SIDES, SIDES, Frame, LabelSchema, Manifest, Pair, Shard

Members = dict[str, bytes]
"""The members of one sample by extension (`target.jpg`, `json`, …), and where they come from: KEY and SHARD."""

KEY, SHARD = "__key__", "__url__"
PICTURE_FORMATS = ("jpg", "png")
INSTANCES = "target.instances.png"
"""The member that holds the target's instance map, where the manifest says that there are any."""

_COLOUR_TYPES: dict[Png, int] = {"grey": 0, "RGB": 2}
"""What the header of a PNG calls its colours."""


@dataclass(frozen=True)
class Sample:
    """A decoded sample, as far as asked for."""

    pair: Pair
    """What the `json` member says."""
    photos: dict[str, Array]
    """Per side, uint8 (H, W, 3) RGB."""
    labels: dict[str, Array]
    """Per side (`target`, `exemplar`), the loaded label map."""
    instances: Array | None = None
    """uint16 (H, W), the target's instance map."""


def iter_samples(
    folder: Path, manifest: Manifest, extensions: Collection[str] | None = None
) -> Iterator[tuple[str, Members]]:
    """(shard name, members) of every sample in the order of the shards. See `iter_shard`.

    Raises BadInput, too, when a shard holds another number of samples than the manifest says.
    """
    for shard in manifest.shards:
        count = 0
        for members in iter_shard(folder / shard.name, extensions):
            yield shard.name, members
            count += 1
        if count != shard.samples:
            raise BadInput(
                f"{folder / shard.name} holds {count} samples, but the manifest says {shard.samples}; {AGAIN}"
            )


def iter_shard(path: Path, extensions: Collection[str] | None = None) -> Iterator[Members]:
    """The members of every sample of one shard, undecoded; only those with the extensions given, if any are.

    Raises BadInput when the file is missing, is not a tar of samples, or ends early.
    """
    with OpenShard(path) as shard:
        for number in range(len(shard)):
            yield shard.members(number, extensions)


class OpenShard:
    """A shard whose samples can be read in any order; its headers are read once, at the start.

    Raises BadInput as `index_tar` does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries = index_tar(path)
        self._descriptor = os.open(path, os.O_RDONLY)

    def __len__(self) -> int:
        return len(self.entries)

    def __enter__(self) -> "OpenShard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def members(self, number: int, extensions: Collection[str] | None = None) -> Members:
        """The members of a sample, undecoded; only those with the extensions given, if any are.

        Raises BadInput when the file has become shorter since it was opened.
        """
        entry = self.entries[number]
        members: Members = {KEY: entry.key.encode(), SHARD: self.path.name.encode()}
        for extension, (offset, size) in entry.places.items():
            if extensions is None or extension in extensions:
                content = os.pread(self._descriptor, size, offset)
                if len(content) != size:
                    raise BadInput(f"{self.path.name} ends within {entry.key}.{extension}; {AGAIN}")
                members[extension] = content
        return members

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def check_shards(folder: Path, manifest: Manifest) -> None:
    """Compares size and SHA-256 of every shard with the manifest. Raises BadInput naming the first that differs."""
    quick = sum(shard.bytes for shard in manifest.shards) < 256 << 20
    for shard in tqdm(manifest.shards, desc="checksums", unit="shard", disable=quick):
        check_shard(folder, shard)


def check_shard(folder: Path, shard: Shard) -> None:
    """Raises BadInput unless the shard's file has the size and the SHA-256 of the manifest."""
    path = folder / shard.name
    if path.name != shard.name:
        raise BadInput(
            f"{folder / 'manifest.json'} lists the shard {shard.name!r}, which is no plain file name; {AGAIN}"
        )
    if not path.is_file():
        raise BadInput(f"{path} is missing, but the manifest lists it; {AGAIN}")
    if (size := path.stat().st_size) != shard.bytes:
        raise BadInput(f"{path} has {size} bytes, but the manifest says {shard.bytes}; {AGAIN}")
    if (digest := sha256_of(path)) != shard.sha256:
        raise BadInput(
            f"{path} is damaged: its SHA-256 is {digest[:12]}…, but the manifest says {shard.sha256[:12]}…; {AGAIN}"
        )


def decode(
    members: Members,
    schema: LabelSchema,
    photos: Sequence[str] = SIDES,
    labels: Sequence[str] = LABELLED_SIDES,
    instances: bool = False,
) -> Sample:
    """Decodes the pair and only the photos and label maps of the sides asked for, and the instance map if it is.

    Raises BadInput naming shard, key and member when one is missing, is no picture of the schema's size, or has
    a label id outside the schema.
    """
    pair = decode_pair(members)
    return Sample(
        pair,
        {side: decode_photo(members, side, schema) for side in photos},
        {side: decode_label(members, side, schema, pair) for side in labels},
        decode_instances(members, schema) if instances else None,
    )


def decode_pair(members: Members) -> Pair:
    """The `json` member. Raises BadInput when it is missing or no pair."""
    try:
        return Pair.from_json(_content(members, "json"))
    except ValueError as error:
        raise BadInput(f"{place(members, 'json')}: {error}; {AGAIN}") from error


def decode_record(members: Members) -> dict[str, Any]:
    """The `json` member as it is, checked no further than a batch needs: it has `s`, and the sides are objects.

    Raises BadInput when it is missing or no pair.
    """
    try:
        record = orjson.loads(_content(members, "json"))
    except orjson.JSONDecodeError as error:
        raise BadInput(f"{place(members, 'json')} is not JSON: {error}; {AGAIN}") from error
    if not isinstance(record, dict) or record.get("s") not in (0, 1):
        raise BadInput(f"{place(members, 'json')} is not a pair record: it has no s of 0 or 1; {AGAIN}")
    return record


def decode_record_label(
    members: Members, side: str, schema: LabelSchema, record: dict[str, Any], flip: bool = False
) -> Array:
    """As `decode_label`, from the record as it is; mirrored, if wanted, before anything is drawn."""
    label_picture = decode_label_picture(members, side, schema)
    try:
        frame = Frame.from_json(record.get(side))
    except ValueError as error:
        raise BadInput(f"{place(members, 'json')} is not a pair record: {side}: {error}; {AGAIN}") from error
    if flip:
        frame = flip_frame(frame)
        if label_picture is not None:
            label_picture = kind_of(schema).mirrored(label_picture)
    return _loaded(members, side, schema, frame, label_picture)


def decode_photo(members: Members, side: str, schema: LabelSchema, out: Array | None = None) -> Array:
    """The photo of a side, uint8 (H, W, 3) RGB; decoded into `out` when a contiguous array is given.

    Raises BadInput when it is missing, broken or of another size.
    """
    if f"{side}.png" in members:
        photo = _decode_png(members, f"{side}.png", schema, "RGB")
        if out is None:
            return photo
        out[:] = photo
        return out
    name = f"{side}.jpg"
    content = _content(members, name)

    def decoded() -> Array:
        height, width, _, _ = simplejpeg.decode_jpeg_header(content)
        _check_size(members, name, schema, height, width)
        return np.asarray(simplejpeg.decode_jpeg(content, buffer=out))

    return _picture(members, name, decoded)


def decode_label_picture(members: Members, side: str, schema: LabelSchema) -> Array | None:
    """The label picture of a side as recorded; None where labels are drawn from the record alone.

    uint8 (H, W) for `classes` (ids, which are not checked) and `edges`; uint8 (H, W, 3) for `picture` and for `pose`
    with 23 channels (DensePose's V, U and part).
    Raises BadInput when it is missing, broken or of another size.
    """
    colours = kind_of(schema).png(schema)
    return None if colours is None else _decode_png(members, f"{side}.label.png", schema, colours)


def decode_instances(members: Members, schema: LabelSchema) -> Array:
    """The target's instance map, uint16 (H, W): the same number is the same thing, within this picture.

    Raises BadInput when it is missing, broken or of another size.
    """
    return _decode_png(members, INSTANCES, schema, "grey", 16)


def decode_label(members: Members, side: str, schema: LabelSchema, pair: Pair) -> Array:
    """The loaded label map of a side: uint8 (C, H, W), or (H, W) ids for `classes`.

    Raises BadInput as `decode_label_picture` does, and when there is nothing to draw it from or an id is outside the
    schema.
    """
    return _loaded(members, side, schema, getattr(pair, side), decode_label_picture(members, side, schema))


def _loaded(members: Members, side: str, schema: LabelSchema, frame: Frame, label_picture: Array | None) -> Array:
    try:
        return label_maps.load(schema, frame, label_picture)
    except BadInput as error:
        name = "json" if label_picture is None else f"{side}.label.png"
        raise BadInput(f"{place(members, name)}: {error}; {AGAIN}") from error


def place(members: Members, name: str) -> str:
    """Shard, key and member in words, for messages."""
    return f"{members[SHARD].decode()} sample {members[KEY].decode()} member {name}"


def _content(members: Members, name: str) -> bytes:
    try:
        return members[name]
    except KeyError:
        raise BadInput(f"{place(members, name)} is missing; {AGAIN}") from None


def _decode_png(members: Members, name: str, schema: LabelSchema, colours: Png, depth: int = 8) -> Array:
    content = _content(members, name)

    def decoded() -> Array:
        header = png_header(content)
        if header is None:
            raise ValueError("not a PNG file")
        # Asked of the header, because OpenCV turns a palette into colours and says nothing of it.
        if (header.depth, header.colour_type) != (depth, _COLOUR_TYPES[colours]):
            wanted = f"{'an 8' if depth == 8 else f'a {depth}'}-bit {colours} PNG"
            raise ValueError(f"not {wanted} (bit depth {header.depth}, colour type {header.colour_type})")
        _check_size(members, name, schema, header.height, header.width)
        png_data.check_image_data(png_data.chunks_of(content))
        array = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if array is None:
            raise ValueError("the PNG data cannot be decoded")
        return cv2.cvtColor(array, cv2.COLOR_BGR2RGB) if array.ndim == 3 else array

    return _picture(members, name, decoded)


def _picture(members: Members, name: str, decoded: Callable[[], Array]) -> Array:
    try:
        return decoded()
    except BadInput:
        raise
    except (ValueError, cv2.error) as error:
        raise BadInput(f"{place(members, name)} is no readable picture: {error}; {AGAIN}") from error


def _check_size(members: Members, name: str, schema: LabelSchema, height: int, width: int) -> None:
    if (height, width) != (schema.height, schema.width):
        raise BadInput(
            f"{place(members, name)} is {width}×{height} pixels, but the manifest says {schema.width}×{schema.height}; "
            f"{AGAIN}"
        )
