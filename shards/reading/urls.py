"""URLs of shards: what may be shown of them, how they are read, and what went wrong, in words."""

import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, unquote_to_bytes, urlsplit, urlunsplit

from likeness.command import BadInput

_BLOCK = 8 << 20
"""Bytes of one request where a protocol reads in blocks."""
_CHUNK = 1 << 20
"""Bytes that are handed on at a time."""
_RETRIED_STATUS = (408, 425, 429)
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "http": "aiohttp", "https": "aiohttp"}
UPLOAD_AGAIN = "upload the shard again or pack it anew"
"""The remedy where a remote file is not what the manifest says."""

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


class DamagedDownload(Exception):
    """What arrived is not what the manifest says."""


@dataclass(frozen=True)
class Failure:
    """Why something could not be fetched, in words."""

    problem: str
    """What went wrong, without credentials."""
    remedy: str
    """What to do."""
    final: bool = False
    """Whether trying again cannot help."""


def check_url(url: str) -> None:
    """Raises BadInput when a URL chains several, holds white space, or cannot be parsed."""
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


def _is_file(url: str) -> bool:
    return url.lower().startswith("file://")


def file_path(url: str) -> Path:
    """The file that a `file://` URL names: its escapes, such as %20, are resolved (RFC 8089).

    A file whose name has those very characters is found, too, where there is none without. Raises BadInput for the URL
    of another machine.
    """
    host, slash, path = url.partition("://")[2].partition("/")
    if host.lower() not in ("", "localhost"):
        raise BadInput(f"{redacted(url)} names the machine {host}; file:// reads this one only: give file:///{path}")
    plain, literal = Path(os.fsdecode(unquote_to_bytes(slash + path))), Path(slash + path)
    return literal if literal.exists() and not plain.exists() else plain


def url_path(url: str) -> str:
    """The path of a URL. Only http has queries; elsewhere a `?` is part of a name."""
    return urlsplit(url).path if _is_http(url) else url


def file_url(url: str, name: str) -> str:
    """The URL of a file beside the manifest, with the query (an access token, say) of the location."""
    parts = urlsplit(url) if _is_http(url) else None
    path = url_path(url)
    folder = path.rpartition("/")[0] if path.endswith(".json") else path.rstrip("/")
    if parts is None:
        # `memory://` without a folder has no slash to lose.
        folder = path if folder.endswith(":") else f"{folder}/"
        return f"{folder}{quote(name) if _is_file(url) else name}"
    return urlunsplit(parts._replace(path=f"{folder}/{quote(name)}", fragment=""))


def chunks(url: str) -> Iterator[bytes]:
    """The content of a URL, in pieces of at most 8 MiB. Raises BadInput when fsspec cannot open such URLs."""
    if _is_file(url):
        with file_path(url).open("rb") as local:
            while chunk := local.read(_CHUNK):
                yield chunk
        return
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


def explained(error: Exception, url: str, missing: Failure) -> Failure:
    """What went wrong, in words that hold no credentials, and whether it is of use to try again."""
    shown, causes = redacted(url), list(_causes(error))
    status = getattr(error, "status", None)
    status = status if isinstance(status, int) else 0
    if isinstance(error, DamagedDownload):
        return Failure(f"{shown} {error}", UPLOAD_AGAIN)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return missing
    if isinstance(error, PermissionError) or status in (401, 403):
        number = f" (HTTP status {status})" if status else ""
        return Failure(f"{shown}: access denied{number}", "check the credentials and their permissions", final=True)
    if any("Credentials" in type(one).__name__ for one in causes):
        return Failure(f"{shown}: no credentials", "set them, for s3:// as AWS_ACCESS_KEY_ID and so on", final=True)
    if any(isinstance(one, socket.gaierror) for one in causes):
        return Failure(f"{shown}: the host is unknown (name lookup failed)", "check the URL and the network")
    if any(isinstance(one, TimeoutError) for one in causes):
        return Failure(f"{shown}: the server does not answer in time", "check the network, then run this again")
    if status:
        final = 400 <= status < 500 and status not in _RETRIED_STATUS
        return Failure(f"{shown}: the server answers with HTTP status {status}", "check the URL and the server", final)
    reason = scrubbed(str(error), url)
    reason = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    # Libraries say ValueError to a URL or a name that they cannot use.
    final = isinstance(error, ValueError | TypeError | NotImplementedError)
    return Failure(f"{shown} cannot be read ({reason})", "check the URL and the network", final)


def _causes(error: BaseException) -> Iterator[BaseException]:
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
