"""Reading samples back from shards, without torch.

Shards are WebDataset's tar files. They are read with the standard library here, because importing webdataset
imports torch wherever that is installed, and whoever serves a model must not wait for it.
"""

import json
import tarfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from tqdm import tqdm

from shards import labels as label_maps
from shards.command import BadInput
from shards.records import SIDES, LabelSchema, Manifest, Pair, Shard, sha256_of

Array = np.ndarray[Any, Any]
Members = dict[str, bytes]
"""The members of one sample by extension (`target.jpg`, `json`, …), and where they come from: KEY and SHARD."""

KEY, SHARD = "__key__", "__url__"
LABELLED_SIDES = ("target", "exemplar")
PICTURE_FORMATS = ("jpg", "png")
MEMBER_LIMIT = 64 << 20
"""Bytes; no member of ours comes near it. Keeps a hostile shard from filling the memory."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_GREY, _PNG_RGB = 0, 2
_AGAIN = "fetch the shard again or pack it anew"


@dataclass(frozen=True)
class Sample:
    """A decoded sample, as far as asked for.

    photos: per side, uint8 (H, W, 3) RGB. labels: per side (`target`, `exemplar`), the loaded label map.
    """

    pair: Pair
    photos: dict[str, Array]
    labels: dict[str, Array]


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
                f"{folder / shard.name} holds {count} samples, but the manifest says {shard.samples}; {_AGAIN}"
            )


def iter_shard(path: Path, extensions: Collection[str] | None = None) -> Iterator[Members]:
    """The members of every sample of one shard, undecoded; only those with the extensions given, if any are.

    Raises BadInput when the file is missing, is not a tar of samples, or ends early.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            yield from _samples(tar, path.name, extensions)
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing; {_AGAIN}") from error
    except (tarfile.TarError, EOFError) as error:
        raise BadInput(f"{path} is damaged: {error}; {_AGAIN}") from error


def _samples(tar: tarfile.TarFile, shard: str, extensions: Collection[str] | None) -> Iterator[Members]:
    members: Members = {}
    for entry in tar:
        key, dot, extension = entry.name.partition(".")
        if not entry.isfile() or not key or not dot:
            raise BadInput(f"{shard} holds {entry.name!r}, which is no file named KEY.EXTENSION; {_AGAIN}")
        if entry.size > MEMBER_LIMIT:
            raise BadInput(f"{shard} member {entry.name} has {entry.size} bytes, more than {MEMBER_LIMIT}; {_AGAIN}")
        if members and members[KEY] != key.encode():
            yield members
            members = {}
        if extension in members:
            raise BadInput(f"{shard} holds {entry.name} twice; {_AGAIN}")
        members[KEY], members[SHARD] = key.encode(), shard.encode()
        if extensions is None or extension in extensions:
            file = tar.extractfile(entry)
            content = file.read() if file else b""
            if len(content) != entry.size:
                raise BadInput(f"{shard} ends within {entry.name}; {_AGAIN}")
            members[extension] = content
    if members:
        yield members


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
            f"{folder / 'manifest.json'} lists the shard {shard.name!r}, which is no plain file name; {_AGAIN}"
        )
    if not path.is_file():
        raise BadInput(f"{path} is missing, but the manifest lists it; {_AGAIN}")
    if (size := path.stat().st_size) != shard.bytes:
        raise BadInput(f"{path} has {size} bytes, but the manifest says {shard.bytes}; {_AGAIN}")
    if (digest := sha256_of(path)) != shard.sha256:
        raise BadInput(
            f"{path} is damaged: its SHA-256 is {digest[:12]}…, but the manifest says {shard.sha256[:12]}…; {_AGAIN}"
        )


def decode(
    members: Members,
    schema: LabelSchema,
    photos: Sequence[str] = SIDES,
    labels: Sequence[str] = LABELLED_SIDES,
) -> Sample:
    """Decodes the pair and only the photos and label maps of the sides asked for.

    Raises BadInput naming shard, key and member when one is missing, is no picture of the schema's size, or has
    a label id outside the schema.
    """
    pair = decode_pair(members)
    return Sample(
        pair,
        {side: decode_photo(members, side, schema) for side in photos},
        {side: decode_label(members, side, schema, pair) for side in labels},
    )


def decode_pair(members: Members) -> Pair:
    """The `json` member. Raises BadInput when it is missing or no pair."""
    try:
        return Pair.from_json(json.loads(_content(members, "json")))
    except ValueError as error:
        raise BadInput(f"{place(members, 'json')}: {error}; {_AGAIN}") from error


def decode_photo(members: Members, side: str, schema: LabelSchema) -> Array:
    """The photo of a side, uint8 (H, W, 3) RGB. Raises BadInput when it is missing, broken or of another size."""
    if f"{side}.png" in members:
        return _decode_png(members, f"{side}.png", schema, _PNG_RGB)
    name = f"{side}.jpg"
    content = _content(members, name)

    def decoded() -> Array:
        height, width, _, _ = simplejpeg.decode_jpeg_header(content)
        _check_size(members, name, schema, height, width)
        return np.asarray(simplejpeg.decode_jpeg(content))

    return _picture(members, name, decoded)


def decode_ids(members: Members, side: str, schema: LabelSchema) -> Array | None:
    """For `classes` the label picture of a side, uint8 (H, W) ids as recorded; None for the other kinds.

    Raises BadInput when it is missing, broken or of another size. The ids are not checked.
    """
    if schema.kind != "classes":
        return None
    return _decode_png(members, f"{side}.label.png", schema, _PNG_GREY)


def decode_label(members: Members, side: str, schema: LabelSchema, pair: Pair) -> Array:
    """The loaded label map of a side: uint8 (C, H, W), or (H, W) ids for `classes`.

    Raises BadInput as `decode_ids` does, and when there is nothing to draw it from or an id is outside the schema.
    """
    ids = decode_ids(members, side, schema)
    try:
        return label_maps.load(schema, getattr(pair, side), ids)
    except BadInput as error:
        name = "json" if ids is None else f"{side}.label.png"
        raise BadInput(f"{place(members, name)}: {error}; {_AGAIN}") from error


def place(members: Members, name: str) -> str:
    """Shard, key and member in words, for messages."""
    return f"{members[SHARD].decode()} sample {members[KEY].decode()} member {name}"


def _content(members: Members, name: str) -> bytes:
    try:
        return members[name]
    except KeyError:
        raise BadInput(f"{place(members, name)} is missing; {_AGAIN}") from None


def _decode_png(members: Members, name: str, schema: LabelSchema, colour_type: int) -> Array:
    content = _content(members, name)

    def decoded() -> Array:
        # The header stands at fixed offsets: signature, IHDR, width, height, bit depth, colour type.
        if content[:8] != _PNG_SIGNATURE or len(content) < 26:
            raise ValueError("not a PNG file")
        if (content[24], content[25]) != (8, colour_type):
            wanted = "RGB" if colour_type == _PNG_RGB else "grey"
            raise ValueError(f"not an 8-bit {wanted} PNG (bit depth {content[24]}, colour type {content[25]})")
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
        _check_size(members, name, schema, height, width)
        array = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if array is None:
            raise ValueError("the PNG data cannot be decoded")
        return cv2.cvtColor(array, cv2.COLOR_BGR2RGB) if colour_type == _PNG_RGB else array

    return _picture(members, name, decoded)


def _picture(members: Members, name: str, decoded: Callable[[], Array]) -> Array:
    try:
        return decoded()
    except BadInput:
        raise
    except (ValueError, cv2.error) as error:
        raise BadInput(f"{place(members, name)} is no readable picture: {error}; {_AGAIN}") from error


def _check_size(members: Members, name: str, schema: LabelSchema, height: int, width: int) -> None:
    if (height, width) != (schema.height, schema.width):
        raise BadInput(
            f"{place(members, name)} is {width}×{height} pixels, but the manifest says {schema.width}×{schema.height}; "
            f"{_AGAIN}"
        )
