"""Changes to good input that make it hostile: to any bytes, and to JSON value by value. All are functions of a seed."""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

HOSTILE_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    10**400,
    -(10**30),
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "1",
    "٣",
    "²",
    "9" * 5000,
    "/etc/passwd",
    "../" * 8 + "etc/passwd",
    "line\nerror: line",
    "\x1b[31m\x00",
    "\udcff",
    "=cmd()",
    "x" * 100_000,
    [],
    {},
    [[]],
    {"x": 1},
    [1, 2, 3],
)
"""What may stand where another value belongs."""
HOSTILE_BYTES = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xe9",
    b"\n",
    b"\r\n",
    b'"',
    b"nan",
    b"1e999",
    b"-1",
    b"9" * 5000,
    b"{" * 3000,
)
HOSTILE_BYTES += (
    b"[" * 3000,
    b"=cmd()",
    b"\x80" * 64,
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    "²٣".encode(),
    b",,,,,",
)
DEPTH = 100_000


def bytes_of(rng: random.Random, content: bytes) -> bytes:
    """The content with a few of its bytes flipped, cut, doubled, moved or replaced."""
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(made) + 1)
        match rng.randrange(7):
            case 0 if at < len(made):
                made[at] ^= 1 << rng.randrange(8)
            case 1:
                del made[at:]
            case 2:
                del made[at : at + rng.choice((1, 4, 64))]
            case 3:
                made[at:at] = rng.choice(HOSTILE_BYTES)
            case 4:
                made[at:at] = made[at : at + rng.choice((1, 16, 512))]
            case 5:
                length = rng.choice((1, 2, 4, 8))
                made[at : at + length] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
            case _:
                made[at : at + 16] = rng.randbytes(16)
    return bytes(made)


def json_of(rng: random.Random, content: bytes) -> bytes:
    """JSON in which a value, key or list is of another type, size or number, or that is no JSON at all."""
    match rng.randrange(8):
        case 0:
            return bytes_of(rng, content)
        case 1 if rng.randrange(6) == 0:
            return rng.choice((b"[", b'{"x":')) * DEPTH
    data = json.loads(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = _changed(rng, data)
    encode: Callable[[str], bytes] = rng.choice(
        (str.encode, str.encode, lambda text: text.encode("utf-16"), lambda text: text.encode("latin-1", "replace"))
        if rng.randrange(12) == 0
        else (str.encode,)
    )
    return encode(json.dumps(data))


def _changed(rng: random.Random, data: Any) -> Any:
    """The same with one place changed, at whatever depth."""
    if isinstance(data, dict | list) and data and rng.randrange(8):
        places = list(data) if isinstance(data, dict) else list(range(len(data)))
        place = rng.choice(places)
        match rng.randrange(10):
            case 0:
                del data[place]
            case 1 if isinstance(data, list):
                data.insert(place, deepcopy(data[place]))
            case 1:
                data[rng.choice(("unknown", "", "x\ny"))] = deepcopy(data[place])
            case 2 if isinstance(data, list):
                data.extend(deepcopy(data[:64]))
            case _:
                data[place] = _changed(rng, data[place])
        return data
    # A number of the same type reaches further in than another type does.
    if isinstance(data, int | float) and abs(data) < 1e300 and rng.randrange(2):
        return rng.choice((-data, data + 1, data * 2, data * 10**6, data + 0.5, str(data)))
    # A copy: a list that is put in here may be changed by the next round.
    return deepcopy(rng.choice(HOSTILE_VALUES))


def text_of(rng: random.Random, content: bytes) -> bytes:
    """Lines of text, as of CSV and YAML, with cells or lines changed, doubled or gone."""
    if rng.randrange(3) == 0:
        return bytes_of(rng, content)
    lines = [line.split(b",") for line in content.split(b"\n")]
    for _ in range(rng.choice((1, 1, 2))):
        line = rng.randrange(len(lines))
        cell = rng.randrange(len(lines[line]))
        match rng.randrange(6):
            case 0:
                lines.insert(line, list(lines[line]))
            case 1 if len(lines) > 1:
                del lines[line]
            case 2:
                lines[line].insert(cell, lines[line][cell])
            case 3:
                del lines[line][cell:]
                lines[line].append(b"")
            case _:
                lines[line][cell] = text_value(rng)
    return b"\n".join(b",".join(line) for line in lines)


def yaml_of(rng: random.Random, content: bytes) -> bytes:
    """YAML with values changed, or with what only YAML has: aliases, tags, merges, depth."""
    only_yaml = (
        b"a: &a [x, x, x, x, x, x, x, x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (c, c, b", ".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 107)),
        b"a: &a [*a]\n",
        b"!!python/object/apply:os.system [true]\n",
        b"? {a: b}\n: c\n",
        b"images: 2024-01-01\n",
        b"1: 2\n",
        b"images: 0x_\n",
        b"images: 1_0:59:59\n",
        b"--- a\n--- b\n",
        b"[" * 5000,
    )
    if rng.randrange(6) == 0:
        return rng.choice((content, b"")) + rng.choice(only_yaml)
    if rng.randrange(3) == 0:
        return text_of(rng, content)
    lines = content.split(b"\n")
    line = rng.randrange(len(lines))
    key, colon, _ = lines[line].partition(b":")
    lines[line] = key + colon + b" " + rng.choice((text_value(rng), json.dumps(rng.choice(HOSTILE_VALUES)).encode()))
    return b"\n".join(lines)


def text_value(rng: random.Random) -> bytes:
    """What may stand in a cell, an option or a header."""
    if rng.randrange(3) == 0:
        return rng.choice(HOSTILE_BYTES)
    value = rng.choice(HOSTILE_VALUES)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    # Not str(), which refuses numbers of more than 4,300 digits.
    return json.dumps(value).encode()
