"""The service as an ASGI application: FastAPI before a chain of models, with batching and bounds on everything.

Needs the extra `deploy`.
"""

import asyncio
import hmac
import logging
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import prometheus_client
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from deploy.chain import Chain
from deploy.metadata import OUTPUT
from deploy.service import multipart
from deploy.service.batcher import Batcher, FullError, Tensors
from deploy.service.metrics import Exposition, Metrics
from likeness.array import Array
from likeness.command import BadInput
from likeness.loopback import LOOPBACK, foreign
from likeness.machine import ON_CPU
from likeness.names import in_one_line, quoted
from shards.inputs import INPUTS, Input, inputs_of
from shards.labels.kinds import kind_of
from shards.media.pictures import encode_picture, is_jpeg, is_png, stored_size
from shards.operators.labelling import Labelling
from shards.operators.sample_files import Preparing, load_files

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

READING = ["GET", "HEAD"]
"""What every resource that can be read understands (RFC 9110, section 9.1)."""
ROUTES = {"/": READING, "/synthesize": ["POST"], "/healthz": READING, "/readyz": READING, "/metrics": READING}
"""The methods of each."""
OTHER = "_OTHER"
MOST_PIXELS = 2**24
"""Of a picture: to decode more takes too long."""
PHOTO_BYTES = 2**23
"""Of a photo as cameras write them, in a body."""
SPARE_BYTES = 2**20
"""Of a body, beside pixels: colour profiles, a camera's notes, landmarks."""
UPLOADS = 16
"""So many of the largest bodies may lie in memory before they are decoded. Small ones may be many more."""
WORKERS = 2
DISCONNECTED = 499
"""What logs and metrics say of a client that went away; nobody receives it."""
TOKEN = "LIKENESS_TOKEN"
"""The environment variable that holds the bearer token."""
SEED = "seed"
"""The part that decides over what is drawn."""
MOST_SEED = 2**63

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What bounds the service's work."""

    max_batch: int = 8
    """Requests in one run of the model."""
    max_queue: int = 64
    """Requests that may wait for it."""
    timeout: float = 30.0
    """Seconds that a body may take to come, and seconds from then to the answer."""
    drain: float = 25.0
    """Seconds that accepted requests have to be answered once the service is told to end."""


class Refused(Exception):
    """A request that is not answered with a picture. reason: its label in the metrics."""

    def __init__(self, status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.headers = status, reason, headers
        # It may quote what the client sent.
        self.message = in_one_line(message)

    def response(self) -> JSONResponse:
        return JSONResponse({"error": self.message}, self.status, self.headers)


def _busy(reason: str, message: str, retry_after: float = 1.0) -> Refused:
    return Refused(503, reason, message, {"Retry-After": str(min(60, math.ceil(retry_after)))})


class Service:
    """A chain of models behind HTTP. `app` is the ASGI application; `warm_up` makes it ready.

    token: what clients must show, None for no token. host: what it listens on.
    Raises BadInput for a model whose inputs cannot be sent as files.
    """

    def __init__(self, chain: Chain, limits: Limits, token: str | None = None, host: str = LOOPBACK) -> None:
        self.chain, self.session, self.limits, self.token, self.host = chain, chain.session, limits, token, host
        schema = self.session.schema
        if not kind_of(schema).one_file(schema):
            raise BadInput(
                f"{self.session.path} reads label maps that are in two files, and a request carries one; give both to "
                "`python -m deploy batch`, as DENSEPOSE.png|KEYPOINTS.json in a CSV"
            )
        self.inputs = chain.sample_inputs()
        self.preparing = Preparing(Labelling("auto", schema), self.inputs, chain.style_length)
        self.needed = self.preparing.needed(chain.needed)
        self.ready = self.draining = False
        photos = sum(each.photo_side is not None or self._takes_photos(each) for each in inputs_of(self.inputs))
        self.max_body = 8 * schema.height * schema.width * len(self.inputs) + photos * PHOTO_BYTES + SPARE_BYTES
        self.batcher = Batcher(
            chain.run_unchecked, limits.max_batch, limits.max_queue, self._ran, chain.session.parallel
        )
        self.metrics = Metrics(self.session, lambda: self.batcher.depth)
        self.exposition = Exposition(self.metrics.text)
        self._uploaded = 0
        self._reading: set[asyncio.Timeout] = set()
        self._painting: set[asyncio.Task[bytes]] = set()
        self._decoders = ThreadPoolExecutor(WORKERS, "decode")
        self._encoders = ThreadPoolExecutor(WORKERS, "encode")
        self._routes = self._application()

    @property
    def idle(self) -> bool:
        """Whether every accepted request was answered."""
        return not self._painting

    def warm_up(self) -> None:
        """Runs the chain on samples: what does not run, or not yet fast, does so beforehand.

        On a GPU on batches of every size, since the kernels of a size are searched for when it first comes; padding to
        a few sizes would compute more in every run instead. A processor's kernels are not: there a size that was not
        run before takes no longer, and only one picture and a full batch are run.
        Raises BadInput when the model does not run.
        """
        largest = self.limits.max_batch
        sizes = (largest, 1) if self.session.provider in ON_CPU else range(largest, 0, -1)
        # The largest first, so that memory is asked for once; in turn, they reach every device.
        for batch in dict.fromkeys(sizes):
            for _ in range(self.session.parallel):
                self.chain.run(self.chain.trial(batch))
        self.ready = True

    def abandon(self) -> int:
        """Gives up bodies that are still coming, and accepted requests; returns how many of these."""
        for clock in self._reading:
            if not clock.expired():
                clock.reschedule(0)
        for task in self._painting:
            task.cancel()
        return len(self._painting)

    def close(self, seconds: float) -> bool:
        """Ends the threads. Returns whether the model's has ended within `seconds`, too."""
        ended = self.batcher.close(seconds)
        for pool in (self._decoders, self._encoders):
            pool.shutdown(cancel_futures=True)
        self.exposition.close()
        return ended

    async def app(self, scope: Message, receive: Receive, send: Send) -> None:
        """The ASGI application: measures, keeps foreign web pages out, and hands on."""
        scope = _in_origin_form(scope)
        status = DISCONNECTED

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        begun = time.perf_counter()
        try:
            if refused := self._foreign(scope):
                self.metrics.rejected.labels(refused.reason).inc()
                await refused.response()(scope, receive, sent)
            else:
                await self._routes(scope, receive, sent)
        finally:
            self.metrics.requests.labels(*_measured_as(scope), str(status)).observe(time.perf_counter() - begun)

    def description(self) -> dict[str, Any]:
        """What a client must know to ask for a picture."""
        schema = self.session.schema
        described = {each.name: self._described(each) for each in inputs_of(self.inputs)}
        return {
            "method": self.session.method,
            "width": schema.width,
            "height": schema.height,
            "inputs": described | self._drawn_in_words(),
            "schema": schema.to_json(),
            "max_body_bytes": self.max_body,
            "timeout_seconds": self.limits.timeout,
            "bearer_token": self.token is not None,
        }

    def _takes_photos(self, each: Input) -> bool:
        """Whether a photo may stand for a label map, which is then found in it."""
        return each.label_side is not None and self.preparing.finds_labels

    def _described(self, each: Input) -> dict[str, str]:
        words = each.file_in_words(self.session.schema, self.chain.style_length)
        if self._takes_photos(each):
            optional = "" if each.name in self.needed else "(optional, found in the exemplar) "
            photo = "" if "jpg" in each.endings(self.session.schema) else ", or a PNG or JPEG of a photo"
            words = {"file": words["file"] + photo, "holds": f"{optional}{words['holds']}; or a photo to find it in"}
        return words

    def _drawn_in_words(self) -> dict[str, dict[str, str]]:
        drawn = self.chain.optional
        words = (
            f"(optional) a whole number from which {' and '.join(drawn)} are drawn where they are missing; 0 without"
        )
        return {SEED: {"file": "text", "holds": words}} if drawn else {}

    def example(self, url: str) -> str:
        """A command that asks this very model for a picture."""
        endings = {each.name: each.endings(self.session.schema)[0] for each in inputs_of(self.chain.needed)}
        parts = " ".join(f"-F {name}=@{name}.{ending}" for name, ending in endings.items())
        parts += f" -F {SEED}=1" if self.chain.optional else ""
        token = f' -H "Authorization: Bearer ${TOKEN}"' if self.token else ""
        return f"curl --fail-with-body{token} {parts} -o {OUTPUT}.png {url}synthesize"

    def _application(self) -> FastAPI:
        app = FastAPI(title="Likeness", docs_url=None, redoc_url=None, openapi_url=None)

        @app.exception_handler(Refused)
        async def refused(_: Request, error: Refused) -> Response:
            self.metrics.rejected.labels(error.reason).inc()
            return error.response()

        @app.exception_handler(HTTPException)
        async def other(_: Request, error: HTTPException) -> Response:
            return JSONResponse({"error": error.detail}, error.status_code, error.headers)

        @app.api_route("/", methods=READING)
        async def description(request: Request) -> JSONResponse:
            self._check_token(request)
            return JSONResponse(self.description())

        @app.api_route("/healthz", methods=READING)
        async def healthz() -> JSONResponse:
            return JSONResponse({"status": "ok"})

        @app.api_route("/readyz", methods=READING)
        async def readyz() -> JSONResponse:
            if refusal := self._closed():
                return refusal.response()
            return JSONResponse({"status": "ready"})

        @app.api_route("/metrics", methods=READING)
        async def metrics() -> Response:
            return Response(await self.exposition.text(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

        async def synthesize(request: Request) -> Response:
            return Response(await self._answer(request), media_type="image/png")

        # Without FastAPI's search for arguments, of which there are none: they would be read before their bounds.
        app.add_route("/synthesize", synthesize, ["POST"])
        return app

    def _foreign(self, scope: Message) -> Refused | None:
        """Without a token, only who names this machine is answered, and no web page from elsewhere (DNS rebinding)."""
        if self.token is not None:
            return None
        headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"host", b"origin")}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        refusal = foreign(host, origin, self.host)
        return Refused(refusal[0], "foreign", refusal[1]) if refusal else None

    def _closed(self) -> Refused | None:
        if self.draining:
            return _busy("draining", "the service is ending; ask another one")
        return None if self.ready else _busy("not_ready", "the model is being loaded; ask again")

    def _check_token(self, request: Request) -> None:
        if self.token is None:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self.token.encode()):
            raise Refused(
                401, "unauthorized", "send the header Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
            )

    async def _answer(self, request: Request) -> bytes:
        """A PNG. Raises Refused before the body is read wherever its head tells enough."""
        self._check_token(request)
        if closed := self._closed():
            raise closed
        try:
            boundary = multipart.boundary_of(request.headers.get("content-type", ""))
        except multipart.BrokenError as error:
            raise Refused(400, "bad_multipart", f"{error}; send multipart/form-data") from error
        if boundary is None:
            raise Refused(415, "media_type", "send multipart/form-data, one part for each of the model's inputs")
        if int(request.headers.get("content-length", 0)) > self.max_body:
            raise self._too_large()
        if self.batcher.depth >= self.limits.max_queue:
            raise self._full(self.batcher.retry_after)
        body = bytearray()
        try:
            await self._read(request, body)
            if closed := self._closed():
                raise closed
            return await self._waited(request, asyncio.create_task(self._painted(body, boundary)))
        finally:
            self._uploaded -= len(body)

    async def _waited(self, request: Request, task: "asyncio.Task[bytes]") -> bytes:
        """What the task gives, unless the client leaves, time runs out, or the service ends before."""
        self._painting.add(task)
        gone = asyncio.ensure_future(request.receive())
        try:
            await asyncio.wait({task, gone}, timeout=self.limits.timeout, return_when=asyncio.FIRST_COMPLETED)
            if task.cancelled():
                raise _busy("draining", "the service ended before the picture was made; ask another one")
            if task.done():
                return task.result()
            if gone.done():
                raise Refused(DISCONNECTED, "disconnected", "the client went away")
            raise Refused(504, "timeout", f"no picture within {self.limits.timeout:g} s")
        finally:
            self._painting.discard(task)
            task.cancel()
            gone.cancel()

    async def _read(self, request: Request, body: bytearray) -> None:
        """Fills `body` as it comes, in bounded time and memory."""
        try:
            async with asyncio.timeout(self.limits.timeout) as clock:
                self._reading.add(clock)
                async for chunk in request.stream():
                    if len(body) + len(chunk) > self.max_body:
                        raise self._too_large()
                    if self._uploaded + len(chunk) > UPLOADS * self.max_body:
                        raise _busy("memory", "too much is being uploaded at once; ask again")
                    body += chunk
                    self._uploaded += len(chunk)
        except TimeoutError as error:
            if closed := self._closed():
                raise closed from error
            message = f"the body did not come within {self.limits.timeout:g} s"
            raise Refused(408, "upload_timeout", message, {"Connection": "close"}) from error
        except ClientDisconnect as error:
            raise Refused(DISCONNECTED, "disconnected", "the client went away") from error
        finally:
            self._reading.discard(clock)

    async def _painted(self, body: bytearray, boundary: bytes) -> bytes:
        try:
            with self.batcher.reserved() as submit:
                return await asyncio.wrap_future(self._begun(body, boundary, submit))
        except FullError as error:
            raise self._full(error.retry_after) from error

    def _begun(self, body: bytearray, boundary: bytes, submit: Callable[[Tensors], "Future[Array]"]) -> "Future[bytes]":
        """Decodes, submits and encodes, each in its thread.

        Each hands on to the next, past the event loop: at one client, waking it in between cost more than HTTP does.
        """
        content: Future[bytes] = Future()
        # From here on it cannot be cancelled; the request is given up in the queue.
        content.set_running_or_notify_cancel()

        def decode() -> None:
            try:
                submit(self._decoded(body, boundary)).add_done_callback(run)
            except Exception as error:
                content.set_exception(error)

        def run(image: "Future[Array]") -> None:
            if image.cancelled():
                content.set_exception(_busy("draining", "the request was given up"))
            elif error := image.exception():
                content.set_exception(_failed(error))
            else:
                self._encoders.submit(encode, image.result())

        def encode(image: Array) -> None:
            try:
                checked = self.chain.checked(image[None])
            except BadInput as error:
                _log.error("a picture failed: %s", error)
                content.set_exception(_failed(error))
                return
            try:
                content.set_result(encode_picture(self.chain.pictures(checked)[0]))
            except Exception as error:
                content.set_exception(error)

        self._decoders.submit(decode)
        return content

    def _decoded(self, body: bytearray, boundary: bytes) -> dict[str, Array]:
        """The body as what the model takes. Raises Refused with the status that fits."""
        try:
            parts = multipart.parts_of(bytes(body), boundary)
        except multipart.BrokenError as error:
            raise Refused(400, "bad_multipart", f"the body is no multipart/form-data: {error}") from error
        names = [name for name, _ in parts]
        needed = self.needed
        optional = [name for name in self.inputs if name not in needed] + ([SEED] if self.chain.optional else [])
        if len(names) != len({*names}) or not {*needed} <= {*names} <= {*needed, *optional}:
            wanted = ", ".join(needed)
            further = f", and if wanted {', '.join(optional)}" if optional else ""
            raise Refused(
                422,
                "bad_input",
                f"the parts are {', '.join(map(quoted, names)) or 'none'}; send exactly {wanted}{further}, each once",
            )
        seed = _seed_of(dict(parts).get(SEED, b"0"))
        for name, content in parts:
            if name != SEED:
                self._check_picture(INPUTS[name], content)
        try:
            files = {name: [(content, f"the part {name}")] for name, content in parts if name != SEED}
            loaded = load_files(files, self.preparing)
            tensors = self.chain.tensors(loaded, seed, "")
            # Here, one by one, and not in the thread that runs the model on all of them.
            self.chain.check({name: value[None] for name, value in tensors.items()})
            return tensors
        except BadInput as error:
            raise Refused(422, "bad_input", str(error)) from error

    def _check_picture(self, each: Input, content: bytes) -> None:
        """Raises Refused, before anything is decoded, where a part is no picture, or one of too many pixels."""
        endings, part = each.endings(self.session.schema), f"the part {each.name}"
        picture = is_png(content) or is_jpeg(content)
        if "png" in endings and not (is_png(content) or (picture and ("jpg" in endings or self._takes_photos(each)))):
            raise Refused(415, "media_type", f"{part} is no PNG{' or JPEG' if 'jpg' in endings else ''} file")
        width, height = stored_size(content) or (0, 0)
        if width * height > MOST_PIXELS:
            raise Refused(413, "too_many_pixels", f"{part} is {width}×{height} pixels, more than {MOST_PIXELS:,}")

    def _ran(self, size: int, seconds: float) -> None:
        self.metrics.batch(size, seconds)

    def _too_large(self) -> Refused:
        return Refused(413, "body_too_large", f"the body has more than {self.max_body:,} bytes")

    def _full(self, retry_after: float) -> Refused:
        return _busy("queue_full", f"{self.limits.max_queue} requests are waiting already; ask again", retry_after)


def _measured_as(scope: Message) -> tuple[str, str]:
    """Method and route of a request in the metrics, of which clients can so make few: each costs whoever reads them."""
    method, route = scope["method"], scope["path"]
    if route not in ROUTES:
        return OTHER, OTHER
    return method if method in ROUTES[route] else OTHER, route


def _failed(error: BaseException) -> Refused:
    refused = Refused(500, "model", "the model failed on this request; the service's log says why")
    refused.__cause__ = error
    return refused


def _seed_of(content: bytes) -> int:
    text = content.strip()
    if not text.isdigit() or len(text) > len(str(MOST_SEED)) or int(text) > MOST_SEED:
        raise Refused(422, "bad_input", f"the part {SEED} is no whole number from 0 to {MOST_SEED}")
    return int(text)


def _in_origin_form(scope: Message) -> Message:
    """A request whose target is a whole URL, as proxies send it, as one whose target is a path.

    Its Host is that of the URL, whatever the header says (RFC 9112, section 3.2.2).
    """
    target: bytes = scope["raw_path"]
    scheme, _, rest = target.partition(b"://")
    if scheme.lower() not in (b"http", b"https"):
        return scope
    authority, _, path = rest.partition(b"/")
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {
        **scope,
        "raw_path": b"/" + path,
        "path": unquote("/" + path.decode("ascii")),
        "headers": [(b"host", authority), *headers],
    }
