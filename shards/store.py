"""Where shards lie: a local folder, or any URL that fsspec opens; remote shards pass through a cache on disk."""

import errno
import fcntl
import hashlib
import os
import random
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from shards.command import BadInput
from shards.records import Manifest, Shard, load_manifest, parse_manifest, sha256_of
from shards.samples import check_shard

BACKOFF_SECONDS = 0.5
"""The pause before the second attempt; it doubles with every further one, give or take half."""
TEMPORARY_LIMIT = 2 << 30
"""Bytes that a temporary cache may hold."""
MANIFEST_LIMIT = 64 << 20
"""Bytes; no manifest of ours comes near it. Keeps a hostile server from filling the memory."""

T = TypeVar("T")

_BLOCK = 8 << 20
_CHUNK = 1 << 20
_ROUNDS = 20
_RETRIED_STATUS = (408, 425, 429)
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "http": "aiohttp", "https": "aiohttp"}
_AGAIN = "upload the shard again or pack it anew"
_CACHED = re.compile(r"[0-9a-f]{64}-.+")
_PARTIAL = re.compile(r"\.[0-9a-f]{64}-.+\.part")
_URL = re.compile(r"[a-z][a-z0-9+.\-]*://[^\s'\"<>]+", re.IGNORECASE)


def is_url(location: str | Path) -> bool:
    """Whether a location is a URL (`s3://…`, `http://…`, …) rather than a path."""
    return "://" in str(location)


def redacted(url: str) -> str:
    """The URL without user, password, query and fragment: what messages and logs may show."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    host = authority.rpartition("@")[2]
    # An unescaped `/`, `?` or `#` in a password ends the authority early: where that may be so, show nothing.
    early = ":" in host and "@" in rest and "@" not in authority
    if early or not re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:\d*)?", host):
        return f"{scheme}://***"
    return f"{scheme}://{host}{slash}{path}"


@dataclass(frozen=True)
class Cache:
    """A folder for downloaded shards, shared by all processes of a machine.

    limit_bytes: what the shards in it may occupy together, in bytes; None for no limit. When it is exceeded, the
        least recently used go first. Shards that another process has just been given stay, and so does a single
        shard that is bigger than the limit.
    """

    folder: Path
    limit_bytes: int | None = None


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
        self._pin: _Pin | None = None
        if isinstance(self.location, str):
            _check_url(self.location)

    def __repr__(self) -> str:
        return f"Store({self.where!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pin": None}

    @property
    def where(self) -> str:
        """The folder of the shards, for messages: a path, or a URL without credentials."""
        if isinstance(self.location, str):
            return redacted(_inside(self.location, "")).rstrip("/")
        return str(_folder(self.location))

    def manifest(self) -> Manifest:
        """Reads the manifest.

        Raises BadInput when there is none, when it is not valid, when a source stands in both splits, or when it
        cannot be fetched.
        """
        if isinstance(self.location, Path):
            return load_manifest(self.location)[0]
        url = self.location if _path(self.location).endswith(".json") else _inside(self.location, "manifest.json")
        shown = redacted(url)

        def fetch() -> bytes:
            content = bytearray()
            for chunk in _chunks(url):
                content += chunk
                if len(content) > MANIFEST_LIMIT:
                    raise BadInput(f"{shown} is not a manifest: it has more than {MANIFEST_LIMIT} bytes; check the URL")
            return bytes(content)

        remedy = "check the URL, or write shards with `python -m shards pack` and upload their folder"
        missing = _Failure(f"no manifest at {shown}", remedy, final=True)
        return parse_manifest(self._tried(url, fetch, missing), shown)

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
                f"the manifest in {self.where} lists the shard {shown}, which is no plain file name; {_AGAIN}"
            )
        if not re.fullmatch(r"[0-9a-f]{64}", str(shard.sha256)) or not isinstance(shard.bytes, int) or shard.bytes < 0:
            raise BadInput(f"the manifest in {self.where} gives no size or SHA-256 of the shard {name!r}; pack it anew")

    def _open_local(self, folder: Path, shard: Shard, known: bool) -> Path:
        path = folder / shard.name
        found = _found(path)
        trusted = known or not self.verify or (found and (shard.name, found.st_ino) in self._verified)
        if not found or found.st_size != shard.bytes or not trusted:
            check_shard(folder, shard)
            self._verified.add((shard.name, path.stat().st_ino))
        return path

    def _open_cached(self, folder: Path, shard: Shard, known: bool) -> Path:
        self.release()
        file = folder / f"{shard.sha256}-{shard.name}"
        with _disk(folder, shard):
            folder.mkdir(parents=True, exist_ok=True)
        # Another process may fetch the file, and a third remove it again, before it is pinned here: hence the rounds.
        for _ in range(_ROUNDS):
            pin = self._pinned(folder, shard, file, known)
            if pin is not None:
                self._pin = pin
                with _disk(folder, shard):
                    self._evict(folder)
                return file
        raise BadInput(f"{file} keeps vanishing from the cache; give the cache a higher limit or a folder of its own")

    def _pinned(self, folder: Path, shard: Shard, file: Path, known: bool) -> "_Pin | None":
        """A hold on the shard's cached file, fetched if need be; None when another process was at it meanwhile."""
        damaged = None
        with _disk(folder, shard):
            pin = _Pin.take(file)
        if pin is not None:
            if self._sound(file, pin, shard, known):
                # Set by hand, because the kernel's own clock for files is too coarse to order quick readers.
                now = time.time_ns()
                with suppress(PermissionError):  # another user's file
                    os.utime(pin.descriptor, ns=(now, now))
                return pin
            damaged = pin.inode
            pin.release()
        with _disk(folder, shard):
            lock = _lock(_lock_of(file))
        try:
            found = _found(file)
            return self._download(folder, shard, file) if found is None or found.st_ino == damaged else None
        finally:
            os.close(lock)

    def _sound(self, file: Path, pin: "_Pin", shard: Shard, known: bool) -> bool:
        if pin.bytes != shard.bytes:
            return False
        if not known and self.verify and (file.name, pin.inode) not in self._verified:
            if sha256_of(file) != shard.sha256:
                return False
            self._verified.add((file.name, pin.inode))
        return True

    def _download(self, folder: Path, shard: Shard, file: Path) -> "_Pin | None":
        """Fetches a shard to `file`, which appears whole and pinned. The caller holds the shard's lock."""
        url = _inside(str(self.location), shard.name)
        partial = file.with_name(f".{file.name}.part")
        with _disk(folder, shard):
            file.unlink(missing_ok=True)
            self._evict(folder, coming=shard.bytes)
            free = shutil.disk_usage(folder).free
        if free < shard.bytes:
            raise BadInput(_no_room(folder, shard, f"{free} bytes free"))

        def fetch() -> None:
            digest, size = hashlib.sha256(), 0
            with _disk(folder, shard):
                partial.unlink(missing_ok=True)
                out = partial.open("xb")
            try:
                for chunk in _chunks(url):
                    size += len(chunk)
                    if size > shard.bytes:
                        raise _Spoilt(f"sends more than the {shard.bytes} bytes that the manifest says")
                    digest.update(chunk)
                    with _disk(folder, shard):
                        out.write(chunk)
                with _disk(folder, shard):
                    out.flush()
                    now = time.time_ns()
                    os.utime(out.fileno(), ns=(now, now))
            finally:
                with _disk(folder, shard):
                    out.close()
            if size != shard.bytes:
                raise _Spoilt(f"ends after {size} bytes, but the manifest says {shard.bytes}")
            if digest.hexdigest() != shard.sha256:
                raise _Spoilt(
                    f"arrives damaged: its SHA-256 is {digest.hexdigest()[:12]}…, "
                    f"but the manifest says {shard.sha256[:12]}…"
                )

        try:
            missing = _Failure(f"{redacted(url)} is missing, but the manifest lists it", _AGAIN, final=True)
            self._tried(url, fetch, missing)
            with _disk(folder, shard):
                # Pinned before it has its name: afterwards it might be gone already.
                pin = _Pin.take(partial)
                os.replace(partial, file)
            if pin is not None:
                self._verified.add((file.name, pin.inode))
            return pin
        finally:
            partial.unlink(missing_ok=True)

    def _tried(self, url: str, fetch: Callable[[], T], missing: "_Failure") -> T:
        """What `fetch` returns, tried again as long as there is hope. missing: what to say when there is no file."""
        tries = ""
        for attempt in range(self.attempts):
            if attempt:
                # Not the global generator: it is the training's, and a network must not advance it.
                time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1) * random.SystemRandom().uniform(0.5, 1.5))
                tries = f" (tried {attempt + 1} times)"
            try:
                return fetch()
            except BadInput:
                raise
            except Exception as error:
                failure = _explained(error, url, missing)
            if failure.final:
                break
        # Raised out here, because a library's exception behind ours would show the whole URL.
        raise BadInput(f"{failure.problem}{tries}; {failure.remedy}")

    def _evict(self, folder: Path, coming: int = 0) -> None:
        """Removes the least recently used shards until the rest and `coming` bytes lie within the limit."""
        limit = self.cache.limit_bytes if self.cache else None
        if limit is None:
            return
        lock = _lock(folder / ".evict.lock")
        try:
            files = []
            for entry in os.scandir(folder):
                if _PARTIAL.fullmatch(entry.name):
                    _remove_orphan(Path(entry.path))
                elif _CACHED.fullmatch(entry.name) and (found := _found(Path(entry.path))):
                    files.append((found.st_mtime_ns, Path(entry.path), found.st_size))
            total = sum(size for _, _, size in files) + coming
            for _, file, size in sorted(files):
                if total <= limit:
                    break
                if _remove_unused(file):
                    total -= size
        finally:
            os.close(lock)


class _Pin:
    """A shared lock on a cached file: no process removes it meanwhile, this one included."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.process = descriptor, os.getpid()
        found = os.fstat(descriptor)
        self.inode, self.bytes = found.st_ino, found.st_size

    @classmethod
    def take(cls, file: Path) -> "_Pin | None":
        """None when there is no such file, or no longer."""
        try:
            pin = cls(os.open(file, os.O_RDONLY))
        except FileNotFoundError:
            return None
        fcntl.flock(pin.descriptor, fcntl.LOCK_SH)
        found = _found(file)
        if found is not None and found.st_ino == pin.inode:
            return pin
        pin.release()
        return None

    def release(self) -> None:
        if self.descriptor < 0:
            return
        # A forked child shares the lock with its parent: closing leaves it be, unlocking would end it for both. For the
        # same reason the owner must unlock; closing is not enough while a child has it open.
        if self.process == os.getpid():
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)
        self.descriptor = -1

    def __del__(self) -> None:
        self.release()


class _Spoilt(Exception):
    """What arrived is not what the manifest says."""


@dataclass(frozen=True)
class _Failure:
    """Problem and remedy in words. final: trying again cannot help."""

    problem: str
    remedy: str
    final: bool = False


def _check_url(url: str) -> None:
    if "::" in url:
        raise BadInput(f"{redacted(url.partition('::')[0])}::… chains several URLs; give one plain URL of a folder")
    if re.search(r"\s", url) or not url.isprintable():
        shown = redacted(re.split(r"\s", url)[0])
        raise BadInput(f"the URL {shown}… holds white space or control characters; write them as %20 and so on")
    try:
        urlsplit(url)
    except ValueError:
        raise BadInput(f"{redacted(url)} is no URL; check its host name") from None


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _path(url: str) -> str:
    """The path of a URL. Only http has queries; elsewhere a `?` is part of a name."""
    return urlsplit(url).path if _is_http(url) else url


def _inside(url: str, name: str) -> str:
    """The URL of a file beside the manifest, with the query (an access token, say) of the location."""
    parts = urlsplit(url) if _is_http(url) else None
    path = _path(url)
    folder = path.rpartition("/")[0] if path.endswith(".json") else path.rstrip("/")
    if parts is None:
        # `memory://` without a folder has no slash to lose.
        folder = path if folder.endswith(":") else f"{folder}/"
        return f"{folder}{name}"
    return urlunsplit(parts._replace(path=f"{folder}/{quote(name)}", fragment=""))


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _found(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _lock_of(file: Path) -> Path:
    return file.with_name(f".{file.name}.lock")


def _lock(path: Path, wait: bool = True) -> int:
    """The descriptor of an exclusively locked file; closing it unlocks. Raises BlockingIOError unless `wait`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _remove_unused(file: Path) -> bool:
    """Removes a cached file unless a process holds it; returns whether it is gone."""
    try:
        descriptor = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = _found(file)
        if found is None or found.st_ino != os.fstat(descriptor).st_ino:
            return found is None
        file.unlink(missing_ok=True)
    except (BlockingIOError, PermissionError):
        return False
    finally:
        os.close(descriptor)
    return True


def _remove_orphan(partial: Path) -> None:
    """Removes half a download, when whoever began it is no more."""
    try:
        lock = _lock(partial.with_name(partial.name.removesuffix(".part") + ".lock"), wait=False)
    except (BlockingIOError, PermissionError):
        return
    try:
        partial.unlink(missing_ok=True)
    finally:
        os.close(lock)


@contextmanager
def _disk(folder: Path, shard: Shard) -> Iterator[None]:
    """Turns what this machine's disk refuses into BadInput, so that it is not taken for the network's fault."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BadInput(_no_room(folder, shard, "no space left")) from error
        raise BadInput(
            f"the cache folder {folder} cannot be used for the shard {shard.name}: {error.strerror}; "
            "choose a folder of a local disk that you may write to"
        ) from error


def _no_room(folder: Path, shard: Shard, state: str) -> str:
    return (
        f"the cache folder {folder} has {state}, but the shard {shard.name} needs {shard.bytes} bytes; "
        "free some space, lower the cache's limit or choose another folder"
    )


def _chunks(url: str) -> Iterator[bytes]:
    """The content of a URL, in pieces of at most 8 MiB. Raises BadInput when fsspec cannot open such URLs."""
    protocol = url.partition("://")[0]
    options: dict[str, Any] = {}
    try:
        # Here, because shards in a local folder must be readable without these packages.
        import fsspec

        if _is_http(url):
            import aiohttp

            # Its own limit of five minutes for the whole download would be too short for a big shard.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
            options = {"client_kwargs": {"timeout": timeout, "trust_env": True}}
        files, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        package = _PACKAGES.get(protocol.lower())
        remedy = f"run `pip install {package}` or `pip install 'likeness[remote]'`" if package else "install it"
        reason = scrubbed(str(error), url)
        message = f"{redacted(url)}: a package for {protocol}:// is not installed ({reason}); {remedy}"
        raise BadInput(message) from None
    except ValueError as error:
        if "Protocol not known" not in str(error):
            raise
        raise BadInput(
            f"{redacted(url)}: the protocol {protocol}:// is unknown; give a folder, or a URL of s3://, https:// "
            "or another protocol of fsspec"
        ) from None
    # Block size 0: one request that streams. Any size: no request beforehand, whose failures would all look like
    # status 404, and which logs the whole URL, tokens included.
    how = {"block_size": 0, "size": 1} if _is_http(url) else {"block_size": _BLOCK}
    with files.open(path, "rb", **how) as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _explained(error: Exception, url: str, missing: _Failure) -> _Failure:
    """What went wrong, in words that hold no credentials, and whether it is of use to try again."""
    shown, behind = redacted(url), list(_behind(error))
    status = getattr(error, "status", None)
    status = status if isinstance(status, int) else 0
    if isinstance(error, _Spoilt):
        return _Failure(f"{shown} {error}", _AGAIN)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return missing
    if isinstance(error, PermissionError) or status in (401, 403):
        number = f" (HTTP status {status})" if status else ""
        return _Failure(f"{shown}: access denied{number}", "check the credentials and their permissions", final=True)
    if any("Credentials" in type(one).__name__ for one in behind):
        return _Failure(f"{shown}: no credentials", "set them, for s3:// as AWS_ACCESS_KEY_ID and so on", final=True)
    if any(isinstance(one, socket.gaierror) for one in behind):
        return _Failure(f"{shown}: the host is unknown (name lookup failed)", "check the URL and the network")
    if any(isinstance(one, TimeoutError) for one in behind):
        return _Failure(f"{shown}: the server does not answer in time", "check the network, then run this again")
    if status:
        final = 400 <= status < 500 and status not in _RETRIED_STATUS
        return _Failure(f"{shown}: the server answers with HTTP status {status}", "check the URL and the server", final)
    reason = scrubbed(str(error), url)
    reason = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    # Libraries say ValueError to a URL or a name that they cannot use.
    final = isinstance(error, ValueError | TypeError | NotImplementedError)
    return _Failure(f"{shown} cannot be read ({reason})", "check the URL and the network", final)


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The error and those that led to it."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            left += [one.__cause__, one.__context__, getattr(one, "os_error", None)]


def scrubbed(text: str, url: str) -> str:
    """A library's words on one line of at most 200 characters, without the credentials of `url`."""
    text = _URL.sub(lambda found: redacted(found[0]), " ".join(text.split()))
    authority, _, rest = url.partition("://")[2].partition("/")
    user, _, password = authority.rpartition("@")[0].partition(":")
    query = rest.partition("?")[2]
    secrets = {user, password, query, *(value for _, value in parse_qsl(query))}
    secrets |= {unquote(secret) for secret in secrets} | {quote(secret, safe="") for secret in secrets}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > 2:
            text = text.replace(secret, "***")
    return text[:200]
