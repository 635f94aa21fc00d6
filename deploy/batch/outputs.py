"""Where the pictures of batch inference go: loose files, or tar shards that WebDataset reads."""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Literal, Protocol, get_args

from likeness import atomic
from likeness.array import Array
from likeness.checksums import sha256_of
from likeness.command import BadInput
from shards.media.pictures import encode_picture
from shards.reading.samples import KEY, OpenShard
from shards.reading.tar_index import index_tar

Format = Literal["png", "jpg", "webp"]

FORMATS: tuple[Format, ...] = get_args(Format)
QUALITY = 95
INDEX = "index.json"
LONGEST = 245
"""Bytes of a file's name: what file systems take, less what `atomic.new_file` adds until the file is whole."""


@dataclass(frozen=True)
class Output:
    """What is written. Raises BadInput when png is given a quality."""

    format: Format = "png"
    """png loses nothing; jpg keeps the full resolution of colours (4:4:4); webp is its lossy kind."""
    quality: int | None = None
    """1 to 100, for jpg and webp; None means 95."""
    per_shard: int | None = None
    """Pictures of a tar shard; None for loose files."""

    def __post_init__(self) -> None:
        if self.format == "png" and self.quality is not None:
            raise BadInput("--quality is for jpg and webp; png loses nothing: leave it away or choose another --format")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise BadInput(f"--quality {self.quality} is not between 1 and 100")

    @property
    def suffix(self) -> str:
        return f".{self.format}"

    @property
    def unit(self) -> int:
        """Slices of a run share no unit of so many neighbouring pictures."""
        return self.per_shard or 1

    def encode(self, picture: Array) -> bytes:
        """The file's content of a picture uint8 (H, W, 3) RGB."""
        return encode_picture(picture, self.format, QUALITY if self.quality is None else self.quality)

    def path(self, name: str, where: str) -> str:
        """A picture's path below the output folder: normal, visible, and with the format's suffix.

        where: what gives this name, for messages. Raises BadInput for a name that cannot be one.
        """
        path = PurePosixPath(name)
        if path.is_absolute() or path.suffix != self.suffix or any(part.startswith(".") for part in path.parts):
            raise BadInput(
                f"{where}: {name!r} cannot be an output; give a path below the output folder that ends in "
                f"{self.suffix}, or choose another --format"
            )
        if "\0" in name or any(len(part.encode()) > LONGEST for part in path.parts):
            raise BadInput(f"{where}: {name!r} cannot be an output; give names of at most {LONGEST} bytes without NUL")
        if self.per_shard and "." in path.as_posix().removesuffix(self.suffix):
            raise BadInput(
                f"{where}: {name!r} cannot be an output in a tar shard, where keys end at the first dot; rename it"
            )
        return path.as_posix()

    def to_json(self) -> dict[str, Any]:
        quality = None if self.format == "png" else self.quality or QUALITY
        return {"format": self.format, "quality": quality, "per_shard": self.per_shard}


class Sink(Protocol):
    """Takes finished pictures. A context: what is open at its end is finished, or dropped when an error ends it."""

    in_order: bool
    """Whether `write` must be called in the order of the pairs, by one thread at a time."""

    def has(self, number: int, output: str) -> bool:
        """Whether pair `number` is finished. Asked once about each pair, in order, before any of it is written."""

    def write(self, number: int, output: str, content: bytes, source: dict[str, Any]) -> None:
        """Stores an encoded picture. source: where its inputs come from."""

    def __enter__(self) -> "Sink": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Files:
    """A file for each picture. Each appears whole, in any order."""

    in_order = False

    def __init__(self, out: Path, output: Output) -> None:
        self._out = out
        self._finished: set[str] = set()
        # What killed processes were writing, by picture. It may as well be what another slice is writing just now: only
        # who makes that picture may remove it.
        self._leftovers: dict[str, list[Path]] = {}
        partial = _partial(output.suffix)
        for file in out.rglob(f"*{output.suffix}"):
            if match := partial.fullmatch(file.name):
                path = file.with_name(f"{match[1]}{output.suffix}").relative_to(out).as_posix()
                self._leftovers.setdefault(path, []).append(file)
            else:
                self._finished.add(file.relative_to(out).as_posix())

    def __enter__(self) -> "Files":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def has(self, number: int, output: str) -> bool:
        for leftover in self._leftovers.get(output, ()):
            leftover.unlink()
        return output in self._finished

    def write(self, number: int, output: str, content: bytes, source: dict[str, Any]) -> None:
        atomic.write_bytes(self._out / output, content)


class Tars:
    """Tar shards with KEY.image.FORMAT and KEY.json for each picture; shard n holds the pairs from n·per_shard on.

    Each appears when it is whole. One that lacks pictures, because their inputs were broken, is written again when one
    of these could be made after all; what it holds is copied. The same pictures give the same bytes, however often the
    run was interrupted and however it was sliced.

    ours: the numbers of the slice's pairs. facts: what every KEY.json tells beside the number and the source.
    """

    in_order = True

    def __init__(self, out: Path, output: Output, ours: range, facts: dict[str, Any]) -> None:
        assert output.per_shard
        self._out, self._output, self._per_shard, self._facts = out, output, output.per_shard, facts
        self._numbers = range(ours.start // self._per_shard, -(-ours.stop // self._per_shard) if ours else 0)
        self._digests: dict[str, str] = {}
        self._keys: tuple[int, set[str]] = (-1, set())
        self._open: _OpenTar | None = None
        partial = _partial(".tar")
        names = {_shard(number) for number in self._numbers}
        for file in out.glob(".*.tar"):
            if (match := partial.fullmatch(file.name)) and f"{match[1]}.tar" in names:
                file.unlink()

    def __enter__(self) -> "Tars":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None and error is not None:
            self._open.drop(error)
            self._open = None
        self._finish()

    def has(self, number: int, output: str) -> bool:
        shard = number // self._per_shard
        if shard != self._keys[0]:
            path = self._out / _shard(shard)
            self._keys = shard, {entry.key for entry in index_tar(path)} if path.exists() else set()
        return self._key(output) in self._keys[1]

    def write(self, number: int, output: str, content: bytes, source: dict[str, Any]) -> None:
        shard = number // self._per_shard
        if self._open is None or self._open.path.name != _shard(shard):
            self._finish()
            self._open = _OpenTar(self._out / _shard(shard))
        record = {"number": number, "output": output, "inputs": source, **self._facts}
        described = (json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n").encode()
        self._open.add(number, self._key(output), {f"image.{self._output.format}": content, "json": described})

    def write_index(self, part: tuple[int, int]) -> None:
        """Writes `index.json`: each shard's pictures, bytes and SHA-256. part: the run's slice (i, n); the index of
        one slice is `index-i-of-n.json`, and whichever slice is finished last writes the joint one."""
        shards = []
        for number in self._numbers:
            path = self._out / _shard(number)
            if path.exists():
                digest = self._digests.get(path.name) or sha256_of(path)
                count = len(index_tar(path))
                shards.append({"name": path.name, "pictures": count, "bytes": path.stat().st_size, "sha256": digest})
        slices = part[1]
        if slices == 1:
            self._save(INDEX, shards)
            return
        self._save(f"index-{part[0]}-of-{slices}.json", shards)
        files = [self._out / f"index-{number}-of-{slices}.json" for number in range(slices)]
        if all(file.exists() for file in files):
            self._save(
                INDEX, [shard for file in files for shard in json.loads(file.read_text(encoding="utf-8"))["shards"]]
            )

    def _save(self, name: str, shards: list[dict[str, Any]]) -> None:
        pictures = sum(shard["pictures"] for shard in shards)
        index = {**self._output.to_json(), "pictures": pictures, "shards": shards}
        atomic.write_text(self._out / name, json.dumps(index, indent=1) + "\n")

    def _key(self, output: str) -> str:
        return output.removesuffix(self._output.suffix)

    def _finish(self) -> None:
        if self._open is not None:
            self._digests[self._open.path.name] = self._open.finish()
            self._open = None


class _OpenTar:
    """A shard that is being written, beside the earlier version of it that is lacking pictures, if there is one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        self._file = _Hashing(self._stack.enter_context(self._stack.enter_context(atomic.new_file(path)).open("wb")))
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)  # type: ignore[call-overload]  # noqa: SIM115
        self._earlier = self._kept()
        self._next = next(self._earlier, None)

    def add(self, number: int, key: str, members: dict[str, bytes]) -> None:
        self._keep(lambda earlier: earlier < number)
        self._add(key, members)

    def finish(self) -> str:
        """The SHA-256 of the finished shard."""
        self._keep(lambda _: True)
        self._tar.close()
        self._stack.close()
        return self._file.digest.hexdigest()

    def drop(self, error: BaseException) -> None:
        # `atomic.new_file` removes what was begun when it ends with an error.
        self._stack.__exit__(type(error), error, error.__traceback__)

    def _kept(self) -> Iterator[tuple[int, str, dict[str, bytes]]]:
        if self.path.exists():
            with OpenShard(self.path) as shard:
                for number in range(len(shard)):
                    members = shard.members(number)
                    content = {name: members[name] for name in shard.entries[number].places}
                    yield json.loads(content["json"])["number"], members[KEY].decode(), content

    def _keep(self, wanted: Callable[[int], bool]) -> None:
        while self._next is not None and wanted(self._next[0]):
            self._add(*self._next[1:])
            self._next = next(self._earlier, None)

    def _add(self, key: str, members: dict[str, bytes]) -> None:
        for extension, content in members.items():
            # Owner, time and mode are always the same, so that the bytes depend on the pictures alone.
            entry = tarfile.TarInfo(f"{key}.{extension}")
            entry.size = len(content)
            self._tar.addfile(entry, io.BytesIO(content))


class _Hashing:
    """What `tarfile` needs of a file to write to it, with the SHA-256 of what was written."""

    def __init__(self, file: Any) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return int(self._file.write(content))

    def tell(self) -> int:
        return int(self._file.tell())


def _shard(number: int) -> str:
    return f"pictures-{number:06d}.tar"


def _partial(suffix: str) -> re.Pattern[str]:
    """What `atomic.new_file` calls a file until it is whole."""
    return re.compile(rf"\.(.+)-[^-]+{re.escape(suffix)}")
