"""Where shards lie: a local folder, or any URL that fsspec opens; remote shards pass through a cache on disk."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from likeness.checksums import sha256_of
from likeness.command import BadInput
from shards.reading.cache import (
    Cache,
    Pin,
    evict,
    local_disk,
    lock_exclusively,
    lock_path,
    no_room,
    partial_path,
    stat_if_there,
)
from shards.reading.download import download_shard, with_retries
from shards.reading.samples import check_shard
from shards.reading.urls import UPLOAD_AGAIN, Failure, check_url, chunks, file_url, is_url, redacted, url_path
from shards.records import Manifest, Shard, load_manifest, parse_manifest

TEMPORARY_LIMIT = 2 << 30
"""Bytes that a temporary cache may hold."""
MANIFEST_LIMIT = 64 << 20
"""Bytes; no manifest of ours comes near it. Keeps a hostile server from filling the memory."""

_ROUNDS = 20
"""How often a file that vanishes from the cache is fetched before that is called an error."""


class Store:
    """The shards of one manifest, wherever they lie. Picklable; works in forked and in spawned loader workers.

    location: the folder or the manifest.json in it, as a path or as a URL. cache: needed by `open` for URLs, see
    `with_temporary_cache`. attempts: how often a download is tried. verify: whether files on this machine are
    compared with the manifest's SHA-256 before first use; downloads always are.
    One thread at a time may use it.

    Raises BadInput when the URL chains several (`::`) or holds white space.
    """

    def __init__(
        self, location: str | Path, cache: Cache | None = None, attempts: int = 4, verify: bool = True
    ) -> None:
        self.location = str(location) if is_url(location) else Path(location)
        self.cache, self.attempts, self.verify = cache, max(1, attempts), verify
        self._verified: set[tuple[str, int]] = set()
        self._pin: Pin | None = None
        if isinstance(self.location, str):
            check_url(self.location)

    def __repr__(self) -> str:
        return f"Store({self.where!r})"

    def __getstate__(self) -> dict[str, Any]:
        # A lock belongs to the process that took it; whoever unpickles this takes its own.
        return {**self.__dict__, "_pin": None}

    @property
    def where(self) -> str:
        """The folder of the shards, for messages: a path, or a URL without credentials."""
        if isinstance(self.location, str):
            return redacted(file_url(self.location, "")).rstrip("/")
        return str(_folder(self.location))

    def manifest(self) -> Manifest:
        """Reads the manifest.

        Raises BadInput when there is none, when it is not valid, when a source stands in both splits, or when it
        cannot be fetched.
        """
        if isinstance(self.location, Path):
            return load_manifest(self.location)[0]
        url = self.location if url_path(self.location).endswith(".json") else file_url(self.location, "manifest.json")
        shown = redacted(url)

        def fetch() -> bytes:
            content = bytearray()
            for chunk in chunks(url):
                content += chunk
                if len(content) > MANIFEST_LIMIT:
                    raise BadInput(f"{shown} is not a manifest: it has more than {MANIFEST_LIMIT} bytes; check the URL")
            return bytes(content)

        remedy = "check the URL, or write shards with `python -m shards pack` and upload their folder"
        missing = Failure(f"no manifest at {shown}", remedy, final=True)
        return parse_manifest(with_retries(url, fetch, missing, self.attempts), shown)

    def open(self, shard: Shard, known: bool = False) -> Path:
        """The local path of a shard's file, fetched if need be, of the size and the SHA-256 of the manifest.

        The SHA-256 of a file that lies on this machine is computed once per process (of a file downloaded by this
        process or inherited from its parent: not again); its size is compared every time. known: the caller has
        verified the file already. A cached file stays until this store opens another shard; whoever has opened it
        by then can go on reading.

        Raises BadInput when the shard is missing, is not what the manifest says, or cannot be fetched; RuntimeError
        when the location is a URL and there is no cache.
        """
        self._check_entry(shard)
        if isinstance(self.location, Path):
            return self._open_local(_folder(self.location), shard, known)
        if self.cache is None:
            raise RuntimeError("a store at a URL needs a cache: see with_temporary_cache")
        return self._open_cached(Path(self.cache.folder), shard, known)

    def release(self) -> None:
        """Lets go of the shard opened last: other processes may remove it from the cache."""
        if self._pin is not None:
            self._pin.release()
            self._pin = None

    @contextmanager
    def with_temporary_cache(self, limit_bytes: int = TEMPORARY_LIMIT) -> "Iterator[Store]":
        """This store, or, when it needs a cache and has none, a copy whose cache is removed at the end.

        limit_bytes: see Cache. The folder lies where temporary files do (`TMPDIR`). To be entered by the parent of
        the loader workers, once.
        """
        if isinstance(self.location, Path) or self.cache is not None:
            yield self
            return
        # Not TemporaryDirectory: its finalizer would run in forked workers, too.
        folder = Path(tempfile.mkdtemp(prefix="likeness-shards-"))
        store = Store(self.location, Cache(folder, limit_bytes), self.attempts, self.verify)
        try:
            yield store
        finally:
            store.release()
            shutil.rmtree(folder, ignore_errors=True)

    def _check_entry(self, shard: Shard) -> None:
        """The manifest may come from anywhere: its names become paths and URLs here."""
        name = shard.name if isinstance(shard.name, str) else ""
        # The limit leaves room for what a cache adds to a name.
        plain = re.fullmatch(r"[^/\\\x00-\x1f\ud800-\udfff]+", name) and len(name.encode()) <= 180
        if not plain or name in (".", "..") or "::" in name:
            shown = repr(shard.name)[:200]
            raise BadInput(
                f"the manifest in {self.where} lists the shard {shown}, which is no plain file name; {UPLOAD_AGAIN}"
            )
        if not re.fullmatch(r"[0-9a-f]{64}", str(shard.sha256)) or not isinstance(shard.bytes, int) or shard.bytes < 0:
            raise BadInput(f"the manifest in {self.where} gives no size or SHA-256 of the shard {name!r}; pack it anew")

    def _open_local(self, folder: Path, shard: Shard, known: bool) -> Path:
        """A shard in a local folder, checked against the manifest unless it has been already."""
        path = folder / shard.name
        status = stat_if_there(path)
        trusted = known or not self.verify or (status and (shard.name, status.st_ino) in self._verified)
        if not status or status.st_size != shard.bytes or not trusted:
            check_shard(folder, shard)
            # With the inode: another file that is put there later has to be verified, too.
            self._verified.add((shard.name, path.stat().st_ino))
        return path

    def _open_cached(self, folder: Path, shard: Shard, known: bool) -> Path:
        """A shard in the cache's folder, pinned until another one is opened."""
        self.release()
        file = folder / f"{shard.sha256}-{shard.name}"
        with local_disk(folder, shard):
            folder.mkdir(parents=True, exist_ok=True)
        # Another process may fetch the file, and a third remove it again, before it is pinned here: hence the rounds.
        for _ in range(_ROUNDS):
            pin = self._pinned(folder, shard, file, known)
            if pin is not None:
                self._pin = pin
                with local_disk(folder, shard):
                    self._evict(folder)
                return file
        raise BadInput(f"{file} keeps vanishing from the cache; give the cache a higher limit or a folder of its own")

    def _pinned(self, folder: Path, shard: Shard, file: Path, known: bool) -> "Pin | None":
        """A hold on the shard's cached file, fetched if need be; None when another process was at it meanwhile."""
        damaged = None
        with local_disk(folder, shard):
            pin = Pin.take(file)
        if pin is not None:
            if self._intact(file, pin, shard, known):
                # Set by hand, because the kernel's own clock for files is too coarse to order quick readers.
                now = time.time_ns()
                with suppress(PermissionError):  # another user's file
                    os.utime(pin.descriptor, ns=(now, now))
                return pin
            damaged = pin.inode
            pin.release()
        with local_disk(folder, shard):
            lock = lock_exclusively(lock_path(file))
        try:
            status = stat_if_there(file)
            # While the lock was waited for, another process may have fetched the file; then the caller pins that one.
            return self._download(folder, shard, file) if status is None or status.st_ino == damaged else None
        finally:
            os.close(lock)

    def _intact(self, file: Path, pin: "Pin", shard: Shard, known: bool) -> bool:
        """Whether a cached file is what the manifest says; its SHA-256 is computed once per process."""
        if pin.bytes != shard.bytes:
            return False
        if not known and self.verify and (file.name, pin.inode) not in self._verified:
            if sha256_of(file) != shard.sha256:
                return False
            self._verified.add((file.name, pin.inode))
        return True

    def _download(self, folder: Path, shard: Shard, file: Path) -> "Pin | None":
        """Fetches a shard to `file`, which appears whole and pinned. The caller holds the shard's lock."""
        url, partial = file_url(str(self.location), shard.name), partial_path(file)
        with local_disk(folder, shard):
            file.unlink(missing_ok=True)
            # Room is made first, so that the cache's limit holds during the download, too.
            self._evict(folder, coming=shard.bytes)
            free = shutil.disk_usage(folder).free
        if free < shard.bytes:
            raise BadInput(no_room(folder, shard, f"{free} bytes free"))
        missing = Failure(f"{redacted(url)} is missing, but the manifest lists it", UPLOAD_AGAIN, final=True)
        try:
            with_retries(url, lambda: download_shard(url, shard, partial), missing, self.attempts)
            with local_disk(folder, shard):
                # Pinned before it has its name: afterwards it might be gone already.
                pin = Pin.take(partial)
                os.replace(partial, file)
            if pin is not None:
                self._verified.add((file.name, pin.inode))
            return pin
        finally:
            partial.unlink(missing_ok=True)

    def _evict(self, folder: Path, coming: int = 0) -> None:
        """Makes room within the cache's limit, if it has one."""
        if self.cache is not None and self.cache.limit_bytes is not None:
            evict(folder, self.cache.limit_bytes, coming)


def _folder(path: Path) -> Path:
    """The folder of the shards, of itself or of its manifest."""
    return path if path.is_dir() else path.parent
