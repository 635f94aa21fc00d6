"""Files that people give for a model's inputs: photos, label maps, instance maps, features and style codes."""

import json
from pathlib import Path

import numpy as np

from likeness.array import Array
from likeness.command import BadInput
from shards.labels.kinds import kind_of
from shards.media import pictures
from shards.media.pictures import decode_picture, is_png, read_bytes, stored_size
from shards.records import LabelSchema

STYLE_RANGE = 100.0
"""Far outside a normal draw; a style code beyond is a mistake."""


def decode_photo(content: bytes, name: str, schema: LabelSchema) -> Array:
    """A PNG or JPEG file's content as uint8 (H, W, 3) RGB; a camera's rotation mark is obeyed, transparency dropped.

    name: what messages call it. Raises BadInput when it is broken, or not of the schema's size. A file of another
    size is refused by its header: what its pixels would take in memory does not matter.
    """
    size = schema.width, schema.height
    stored = stored_size(content)
    # A rotation mark may turn a photo by a quarter.
    if stored is not None and stored not in (size, size[::-1]):
        raise _other_size(name, stored, schema)
    picture = decode_picture(content, name)
    height, width = picture.shape[:2]
    if (width, height) != size:
        raise _other_size(name, (width, height), schema)
    return picture


def check_stored_size(content: bytes, name: str, schema: LabelSchema) -> None:
    """Raises BadInput when a picture's header states another size than the schema's."""
    stored = stored_size(content)
    if stored is not None and stored != (schema.width, schema.height):
        raise _other_size(name, stored, schema)


def _other_size(name: str, size: tuple[int, int], schema: LabelSchema) -> BadInput:
    width, height = size
    return BadInput(
        f"{name} is {width}×{height} pixels, but the model takes {schema.width}×{schema.height}; crop or resize it"
    )


def read_label(path: Path, schema: LabelSchema) -> Array:
    """A label file as a loaded label map: uint8 (C, H, W), or (H, W) ids for `classes`.

    `sketch`: JSON, 68 [x, y] in a 512×512 frame laid over the picture, either bare or as {"landmarks": …}.
    `pose`: JSON, 18 [x, y, confidence], x and y as fractions of the picture's sides, bare or as {"keypoints": …}.
    `classes`: a grey PNG whose values are class ids, or a palette PNG whose indices are.
    `picture`: a PNG or JPEG in colours. `edges`: a PNG or JPEG, white edges on black. Of both, a camera's rotation mark
    is obeyed.
    Raises BadInput naming the file, the first value that is wrong, and what is expected.
    """
    return decode_label(read_bytes(path), str(path), schema)


def decode_label(content: bytes, name: str, schema: LabelSchema) -> Array:
    """What `read_label` gives, of a file's content. name: what messages call it. Raises BadInput as it does."""
    kind = kind_of(schema)
    if schema.ids:
        # A picture of ids is read as it is stored.
        check_stored_size(content, name, schema)
    elif kind.points is None and stored_size(content) not in (None, (schema.width, schema.height)):
        # Turned by a rotation mark as photos may be, or of another size.
        decode_photo(content, name, schema)
    return kind.decode(schema, content, name)


def decode_instances(content: bytes, name: str, schema: LabelSchema) -> Array:
    """A grey PNG of 8 or 16 bits, a number for each object, as uint16 (H, W).

    name: what messages call the file. Raises BadInput when it is anything else, or not of the schema's size.
    """
    check_stored_size(content, name, schema)
    return pictures.decode_instances(content, name)


def decode_features(content: bytes, name: str, schema: LabelSchema) -> Array:
    """An RGB PNG of 8 bits whose 0 to 255 stand for -1 to 1, as float32 (3, H, W): how pix2pixHD stores features.

    name: what messages call the file. Raises BadInput when it is anything else, or not of the schema's size.
    """
    if not is_png(content):
        raise BadInput(f"{name} is no PNG file; give features as an RGB PNG, which loses nothing")
    return to_tensor(decode_photo(content, name, schema))


def decode_style(content: bytes | str, name: str, length: int) -> Array:
    """A style code in JSON, `length` numbers, bare or as {"style": …}, as float32 (length,).

    name: what messages call it. Raises BadInput when it is anything else.
    """
    try:
        data = json.loads(content)
        code = np.asarray(data["style"] if isinstance(data, dict) else data, np.float64)
    except (KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        reason = str(error) if isinstance(error, UnicodeDecodeError) else repr(error)
        raise BadInput(f"{name} is no style code in JSON ({reason}); give {length} numbers") from error
    if code.shape != (length,) or not (np.abs(code) <= STYLE_RANGE).all():
        raise BadInput(
            f"{name} holds {json.dumps(data)[:100]}; a style code has {length} numbers, none beyond ±{STYLE_RANGE:g}"
        )
    return code.astype(np.float32)


def to_tensor(photo: Array) -> Array:
    """uint8 (H, W, 3) to float32 (3, H, W) in [-1, 1]: (v/255 - 0.5)/0.5."""
    # In the memory order that runtimes read; they would make a copy otherwise.
    channels: Array = np.ascontiguousarray(photo.transpose(2, 0, 1), np.float32)
    return channels / np.float32(127.5) - np.float32(1)
