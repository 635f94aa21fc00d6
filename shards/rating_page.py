"""What pages on which people rate pictures share: who may call, orders of their own for raters, and one writer."""

import argparse
import fcntl
import hashlib
import ipaddress
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from shards.arguments import count
from shards.command import BadInput

if TYPE_CHECKING:
    from fastapi import FastAPI

LOOPBACK = ("127.0.0.1", "localhost")
LONGEST_NAME = 40
NAME: dict[str, Any] = {"min_length": 1, "max_length": LONGEST_NAME, "pattern": r"^\S(.*\S)?$"}
"""What a rater's name must be, as FastAPI's parameters take it."""
_SHARED = {"rating_page.css": "text/css", "rating_page.js": "text/javascript"}


def page_app(title: str, page: Path, host: str) -> "FastAPI":
    """A web application that gives a page with the style and script that these pages share, and no more.

    Only requests that name a loopback host are answered, unless it listens elsewhere. Nothing is loaded from elsewhere.
    """
    from fastapi import FastAPI, Request
    from fastapi.responses import FileResponse, JSONResponse

    app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def same_site(request: Request, call: Any) -> Any:
        if refused := foreign(request.headers.get("host", ""), request.headers.get("origin"), host):
            code, detail = refused
            return JSONResponse({"detail": detail}, code)
        response = await call(request)
        response.headers["Content-Security-Policy"] = "default-src 'self' 'unsafe-inline'; img-src 'self' data:"
        # Else a browser may show an older release's script beside this one's page.
        response.headers.setdefault("Cache-Control", "no-cache")
        return response

    @app.get("/")
    def whole() -> FileResponse:
        return FileResponse(page, media_type="text/html")

    for name, kind in _SHARED.items():

        @app.get(f"/{name}")
        def shared(name: str = name, kind: str = kind) -> FileResponse:
            return FileResponse(Path(__file__).with_name(name), media_type=kind)

    return app


def require_packages() -> None:
    """Raises BadInput when the web packages are not installed."""
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise BadInput(f"the page needs a package that is not here ({error}); pip install 'likeness[pages]'") from error


def serve_app(app: "FastAPI", host: str, port: int, what: str, out: Path) -> None:
    """Says where the page is, and serves it until it is interrupted. what: what there is to do, for people."""
    import uvicorn

    if host not in LOOPBACK:
        print(f"warning: everybody who reaches {host}:{port} can see the pictures and answer", file=sys.stderr)
    named = f"[{host}]" if ":" in host else host
    print(f"{what} at http://{named}:{port}/ (Ctrl-C ends); answers go to {out}", flush=True)
    uvicorn.run(app, host=host, port=port, log_level="warning")


def order_of(rater: str, seed: int, count: int) -> list[int]:
    """The order in which a rater sees `count` things: another one for each rater and seed."""
    return [int(place) for place in rater_generator(rater, seed).permutation(count)]


def rater_generator(rater: str, seed: int, purpose: str = "") -> np.random.Generator:
    """Random numbers that depend on the rater, the seed and what they are for, and on nothing else."""
    digest = hashlib.sha256(f"{seed} {rater}{purpose and chr(0)}{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


@contextmanager
def only_writer(out: Path, page: str) -> Iterator[None]:
    """Raises BadInput while another server writes the same file: each would undo the other's answers.

    page: what that server shows, as the message names it.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.with_name(f".{out.name}.lock")
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(
                f"another {page} page writes {out}; let raters use that one, or choose another --out"
            ) from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def foreign(header: str, origin: str | None, host: str) -> tuple[int, str] | None:
    """Status and reason to refuse a request with, when it comes from another page or by another name; None otherwise.

    header: its Host. origin: its Origin, which browsers send with whatever changes something. host: see `known_host`.
    """
    if not known_host(header, host):
        return 400, "this server does not go by that name"
    if origin is not None and origin.partition("://")[2] != header:
        return 403, "requests of pages from elsewhere are refused"
    return None


def known_host(header: str, host: str) -> bool:
    """Whether a request names this server: a page elsewhere must not reach it under a name of its own (DNS rebinding).

    header: the request's Host. host: what the server listens on. Where that is every address, any number is good, and
    of names this machine's.
    """
    try:
        name = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return False
    if name in (*LOOPBACK, host):
        return True
    if host not in ("0.0.0.0", "::"):
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in (socket.gethostname().lower(), socket.getfqdn().lower())
    return True


def free_port(host: str, port: int) -> int:
    """The port, or any free one for 0. Raises BadInput when it is taken or the address is not this machine's."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadInput(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port") from error
        return int(probe.getsockname()[1])


def port_number(text: str) -> int:
    """A port, for argparse: 1 to 65535."""
    value = count(text)
    if value > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 1 to 65535")
    return value
