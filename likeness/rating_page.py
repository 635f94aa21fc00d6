"""What pages on which people rate pictures share: who may call, orders of their own for raters, and one writer."""

import hashlib
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from likeness.command import BadInput
from likeness.loopback import foreign, is_loopback
from likeness.names import in_one_line
from likeness.one_writer import only_writer

if TYPE_CHECKING:
    from fastapi import FastAPI

LONGEST_NAME = 40
NAME: dict[str, Any] = {
    "min_length": 1,
    "max_length": LONGEST_NAME,
    "pattern": r"^[^\s\p{Cc}=+@-]([^\p{Cc}]*[^\s\p{Cc}])?$",
}
"""What a rater's name must be, as FastAPI's parameters take it: no control characters, and no formula's beginning."""
LARGEST_BODY = 2**14
"""Bytes of an answer, which has a few hundred."""
_READING = ["GET", "HEAD"]
_SHARED = {"rating_page.css": "text/css", "rating_page.js": "text/javascript"}


def page_app(title: str, page: Path, host: str) -> "FastAPI":
    """A web application that gives a page with the style and script that these pages share, and no more.

    page: the HTML file. host: what it will listen on; only requests that name it, or a loopback host, are answered.
    Nothing is loaded from elsewhere.
    """
    from fastapi import FastAPI, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import FileResponse, JSONResponse

    app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def same_site(request: Request, call: Any) -> Any:
        if refused := foreign(request.headers.get("host", ""), request.headers.get("origin"), host):
            code, detail = refused
            return JSONResponse({"detail": detail}, code)
        if refused := _size_refused(request.headers):
            code, detail = refused
            return JSONResponse({"detail": detail}, code, {"Connection": "close"})
        response = await call(request)
        response.headers["Content-Security-Policy"] = "default-src 'self' 'unsafe-inline'; img-src 'self' data:"
        # Else a browser may show an older release's script beside this one's page.
        response.headers.setdefault("Cache-Control", "no-cache")
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # Without the value itself, which FastAPI would repeat: JSON need not be able to hold it.
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"detail": in_one_line(f"{where or 'the body'}: {first['msg']}", 300)}, 422)

    @app.api_route("/", methods=_READING)
    def whole() -> FileResponse:
        return FileResponse(page, media_type="text/html")

    for name, kind in _SHARED.items():

        @app.api_route(f"/{name}", methods=_READING)
        def shared(name: str = name, kind: str = kind) -> FileResponse:
            return FileResponse(Path(__file__).with_name(name), media_type=kind)

    return app


def _size_refused(headers: Mapping[str, str]) -> tuple[int, str] | None:
    """Status and reason to refuse a body with before it is read; None for one that is small."""
    if "transfer-encoding" in headers:
        return 411, "send the body's Content-Length"
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > len(str(LARGEST_BODY)) or int(length) > LARGEST_BODY:
        return 413, f"the body has more than {LARGEST_BODY:,} bytes"
    return None


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

    if not is_loopback(host):
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


def only_page(out: Path, page: str) -> AbstractContextManager[None]:
    """Raises BadInput while another server writes the same file: each would undo the other's answers.

    page: what that server shows, as the message names it.
    """
    refusal = f"another {page} page writes {out}; let raters use that one, or choose another --out"
    return only_writer(out.with_name(f".{out.name}.lock"), refusal, keep=False)
