"""Where the members of a tar file lie, so that any sample can be read without the ones before it.

Only headers are read. A plain header is parsed here, which is some ten times faster than the standard library; as soon
as a file holds anything else (long names, sparse files, extended headers), the standard library reads all of it.
Nothing is ever written, and no member's name is used as a path.
"""

import os
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from likeness.command import BadInput

BLOCK = 512
MEMBER_LIMIT = 64 << 20
"""Bytes; no member of ours comes near it. Keeps a hostile shard from filling the memory."""
AGAIN = "fetch the shard again or pack it anew"

_ZERO = bytes(BLOCK)
_OCTAL = re.compile(rb"[0-7]+")
_REGULAR = (b"0", b"\0")


@dataclass(frozen=True)
class Entry:
    """A sample of a tar file."""

    key: str
    """The sample's key: the name before the first dot."""
    places: dict[str, tuple[int, int]]
    """Where the content lies, as (offset, bytes), by extension."""


def index_tar(path: Path) -> list[Entry]:
    """The samples of a tar file in its order: neighbouring members that share the name before the first dot.

    Raises BadInput naming file and member when the file is missing, is no tar, ends early, or holds what is no file
    named KEY.EXTENSION, a member twice, or a member above MEMBER_LIMIT.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing; {AGAIN}") from error
    try:
        members = _plain_members(descriptor, path)
    finally:
        os.close(descriptor)
    return _samples(members if members is not None else _any_members(path), path.name)


def _plain_members(descriptor: int, path: Path) -> list[tuple[str, int, int]] | None:
    """(name, offset, bytes) of every member, or None when the file needs the standard library."""
    length = os.fstat(descriptor).st_size
    members: list[tuple[str, int, int]] = []
    at = 0
    while True:
        header = os.pread(descriptor, BLOCK, at)
        if header == _ZERO:
            return members
        # 124 to 136 holds the size in octal digits, 156 the type, from 345 on a prefix of long names.
        digits = header[124:136].strip(b" \0")
        plain = len(header) == BLOCK and header[156:157] in _REGULAR and not header[345] and _OCTAL.fullmatch(digits)
        if not plain:
            return None
        size = int(digits, 8)
        if at + BLOCK + size > length:
            raise BadInput(f"{path} is damaged: it ends within {_name(header)}; {AGAIN}")
        members.append((_name(header), at + BLOCK, size))
        at += BLOCK + -(-size // BLOCK) * BLOCK


def _name(header: bytes) -> str:
    return header[:100].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _any_members(path: Path) -> list[tuple[str, int, int]]:
    try:
        with tarfile.open(path, "r:") as tar:
            length = path.stat().st_size
            members = []
            for entry in tar:
                if not entry.isfile() or entry.sparse is not None:
                    raise BadInput(f"{path.name} holds {entry.name!r}, which is no file named KEY.EXTENSION; {AGAIN}")
                if entry.offset_data + entry.size > length:
                    raise BadInput(f"{path} is damaged: it ends within {entry.name}; {AGAIN}")
                members.append((entry.name, entry.offset_data, entry.size))
            return members
    except (tarfile.TarError, EOFError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path} is damaged: {error}; {AGAIN}") from error


def _samples(members: list[tuple[str, int, int]], shard: str) -> list[Entry]:
    entries: list[Entry] = []
    key: str | None = None
    for name, offset, size in members:
        of, dot, extension = name.partition(".")
        if not of or not dot:
            raise BadInput(f"{shard} holds {name!r}, which is no file named KEY.EXTENSION; {AGAIN}")
        if size > MEMBER_LIMIT:
            raise BadInput(f"{shard} member {name} has {size} bytes, more than {MEMBER_LIMIT}; {AGAIN}")
        if of != key:
            key = of
            entries.append(Entry(of, {}))
        places = entries[-1].places
        if extension in places:
            raise BadInput(f"{shard} holds {name} twice; {AGAIN}")
        places[extension] = offset, size
    return entries
