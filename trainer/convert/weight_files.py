"""The authors' files, read without running anything that they bring; what is none is named for what it is."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from likeness.command import BadInput

HEAD = 4096
"""Bytes that tell a file's format."""
PICKLE = b"\x80"
TORCH = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""The number with which torch.save began pickles before it wrote zip archives."""
ZIP = b"PK"
MAGIC = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS, not the file itself; run `git lfs pull` there",
    ),
    (b"/annex/objects/", "a pointer of git-annex, not the file itself; run `git annex get` there"),
    (b"\x1f\x8b", "a gzip archive; unpack it and give the file of weights in it"),
    (b"BZh", "a bzip2 archive; unpack it and give the file of weights in it"),
    (b"\xfd7zXZ\x00", "an xz archive; unpack it and give the file of weights in it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it and give the file of weights in it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it and give the file of weights in it"),
    (b"Rar!", "a rar archive; unpack it and give the file of weights in it"),
    (b"\x93NUMPY", "a NumPy array, not a state dict; give the file that the authors' training wrote"),
    (b"\x89HDF", "an HDF5 file, which these authors' code does not write; give the file that torch.save wrote"),
)
"""How files begin that people give in place of weights, and what they are."""
TAR, TAR_AT = b"ustar", 257
PAGE = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|\?xml)", re.IGNORECASE)


def read_content(file: Path) -> Any:
    """What `torch.save` wrote, or the tensors of a safetensors file, whatever the file is called.

    Raises BadInput in one line that says what the file is where it is neither, and when reading it would run code.
    """
    head = _head(file)
    if problem := _other_than_weights(file, head):
        raise BadInput(f"{file} is {problem}")
    if _is_safetensors(file, head):
        try:
            return load_file(file)
        except SafetensorError as error:
            raise BadInput(f"{file} is not a whole .safetensors file ({_line(error)}); fetch it again") from error
    if head.startswith(ZIP):
        _check_zip(file)
    try:
        with file.open("rb") as opened:
            # Opened here, as torch goes by a path's ending.
            return torch.load(opened, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "truncated" in str(error) or not head.startswith((PICKLE, ZIP)):
            raise BadInput(f"{file} is not a whole file of torch.save; fetch it again") from error
        brought = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
        raise BadInput(
            f"{file} holds more than tensors, and is not read, as that could run any program"
            f"{f' (it asks for {brought[1]})' if brought else ''}. Where you trust it, load it with its own code and "
            "save torch.save(network.state_dict(), FILE); then give that file"
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError, KeyError, AttributeError) as error:
        raise BadInput(f"{file} is not a whole file of torch.save ({_line(error)}); fetch it again") from error


def _head(file: Path) -> bytes:
    """Raises BadInput for what is no file that can be read."""
    if file.is_dir():
        inside = sorted(entry.name for entry in file.iterdir() if entry.suffix in (".pth", ".pt", ".safetensors"))
        hint = f"one of {', '.join(inside[:4])}" if inside else "the file that the authors' training wrote"
        raise BadInput(f"{file} is a folder; give the file in it: {hint}")
    if not file.exists():
        raise BadInput(f"{file} does not exist; give the file that the authors' training wrote, as latest_net_G.pth")
    if not file.is_file():
        raise BadInput(f"{file} is no regular file; give the file that the authors' training wrote")
    try:
        with file.open("rb") as opened:
            return opened.read(HEAD)
    except OSError as error:
        raise BadInput(f"{file} cannot be read ({error.strerror})") from error


def _other_than_weights(file: Path, head: bytes) -> str | None:
    """What a file is that cannot hold weights, and what to do; None for one that may."""
    if not head:
        return "empty: its download or copy failed; fetch it again"
    if PAGE.match(head):
        return (
            "a web page: the download gave a page that asks or reports something instead of the file; open its "
            "address in a browser, and fetch the file from there"
        )
    for magic, name in MAGIC:
        if head.startswith(magic):
            return name
    if head[TAR_AT : TAR_AT + len(TAR)] == TAR:
        return "a tar archive; unpack it and give the file of weights in it"
    if head.startswith(PICKLE) and TORCH not in head[:32]:
        return (
            "a pickle of Python's own, and is not read, as that could run any program; where you trust it, load it and "
            "save torch.save(STATE_DICT, FILE), and give that file"
        )
    if not head.startswith((ZIP, PICKLE)) and _is_text(head):
        start = " ".join(head[:60].decode(errors="replace").split())
        return f"a text ({start!r}…), not a file of weights; fetch the file again, and look at what is fetched"
    return None


def _is_text(head: bytes) -> bool:
    try:
        text = head[: HEAD - 4].decode()
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)


def _is_safetensors(file: Path, head: bytes) -> bool:
    """By its content: the length of a header, 8 bytes, and the header, which is JSON. By its name where it is cut."""
    length = int.from_bytes(head[:8], "little")
    if len(head) > 8 and head[8:9] == b"{" and 0 < length < 100_000_000:
        return True
    return file.suffix == ".safetensors" and not head.startswith((ZIP, PICKLE))


def _check_zip(file: Path) -> None:
    """Raises BadInput for a zip archive that torch.save did not write."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise BadInput(f"{file} is not a whole file of torch.save ({_line(error)}); fetch it again") from error
    inner = {name.split("/", 1)[-1] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise BadInput(
            f"{file} is a TorchScript program, and is not run. Where you trust it, save "
            "torch.save(torch.jit.load(FILE).state_dict(), OTHER); then give that file"
        )
    if "data.pkl" not in inner:
        some = ", ".join(names[:3]) or "nothing"
        raise BadInput(
            f"{file} is a zip archive of {some}{'…' if len(names) > 3 else ''}, not of weights; unpack it and give the "
            "file that the authors' training wrote"
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
