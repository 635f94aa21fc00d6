"""Names of files as text that travels: UTF-8 in composed form, whatever the disk, the locale or a table has."""

import functools
import os
import re
import unicodedata
from pathlib import Path, PurePath


def readable(text: str) -> str:
    """Text in which bytes that are no UTF-8 stand as %E9.

    Python keeps such bytes of a file's name as lone surrogates, which no file in UTF-8 can hold.
    """
    return re.sub(r"[\udc80-\udcff]", lambda found: f"%{ord(found[0]) - 0xDC00:02X}", text)


LONGEST = 2000
"""Characters of a message; a path has 4,096 bytes at most, and hardly ever more than 200."""
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def in_one_line(text: str, longest: int = LONGEST) -> str:
    """Text of whatever origin as a part of one line for people: what ends lines or moves a terminal's cursor stands as
    Python writes it (\\n, \\x1b), bytes that are no UTF-8 as `readable` has them, and the middle of what is longer than
    `longest` characters is left out.
    """
    if len(text) > longest:
        text = f"{text[: longest // 2 - 1]}…{text[-(longest // 2) :]}"
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), readable(text))


def quoted(text: str) -> str:
    """A value from outside as messages repeat it: in quotes, escaped, and of 80 characters at most."""
    return repr(in_one_line(text, 80))


def spelled(name: str) -> str:
    """A name as it is compared: é is one letter, whether it came as one (NFC) or as e and an accent (NFD)."""
    return unicodedata.normalize("NFC", name)


def name_of(path: PurePath, folder: PurePath) -> str:
    """What a file is called in manifests, shards and tables: its path in `folder`, readable and composed.

    It does not depend on the locale, which says how Python decodes names.
    """
    raw = os.fsencode(path.relative_to(folder).as_posix())
    return readable(spelled(raw.decode("utf-8", "surrogateescape")))


def for_libraries(path: PurePath) -> str:
    """A path for libraries that open files themselves and take its text for UTF-8, whatever the locale says.

    Such as ONNX Runtime: in a locale of Latin-1, Python has another text for the same bytes.
    """
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def file_called(folder: Path, name: str) -> Path:
    """The file of a folder, at any depth, that a name in a table means; `folder / name` where there is none.

    It may be spelled otherwise on the disk (NFC or NFD), or stand under its readable name.
    """
    path = folder / name
    if path.exists():
        return path
    at = folder
    for part in PurePath(name).parts:
        if not (at / part).exists():
            wanted = spelled(part)
            part = _as_on_disk(at, at.stat().st_mtime_ns).get(wanted, part) if at.is_dir() else part
        at = at / part
    return at if at.exists() else path


@functools.lru_cache(maxsize=8)
def _as_on_disk(folder: Path, changed: int) -> dict[str, str]:
    """What lies in a folder, as it is spelled there, by name; listed again once the folder has changed."""
    return {name_of(PurePath(entry), PurePath()): entry for entry in os.listdir(folder)}
