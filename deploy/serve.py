"""The service: FastAPI before one session, with dynamic batching, bounds on everything, and a graceful end.

Needs the extra `deploy`; `python -m deploy serve` says so where it is missing.
"""

import asyncio
import hmac
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import prometheus_client
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol

from deploy import multipart, pictures, trial
from deploy.batcher import Batcher, FullError, Tensors
from deploy.metadata import OUTPUT
from deploy.runtime import Session
from shards.command import BadInput
from shards.judge import LOOPBACK, known_host
from shards.picture_files import is_jpeg, is_png, stored_size
from shards.records import recorded_label

Array = np.ndarray[Any, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TOKEN = "LIKENESS_TOKEN"
"""The environment variable that holds the bearer token."""
ROUTES = ("/", "/synthesize", "/healthz", "/readyz", "/metrics")
METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH")
MOST_PIXELS = 2**24
"""A larger picture is too large for any model; up to here it merely has another size than this one's."""
SPARE_BYTES = 2**20
"""Of a body, beside pixels: colour profiles, a camera's notes, landmarks."""
UPLOADS = 16
"""So many of the largest bodies may lie in memory before they are decoded. Small ones may be many more."""
CONNECTIONS = 900
"""Open at once. Below the 1,024 files that a process may usually open."""
IDLE_SECONDS = 10.0
"""How long a connection may stay open without a whole request, whatever trickles in."""
CLOSING_SECONDS = 1
WORKERS = 2
DISCONNECTED = 499
"""What logs and metrics say of a client that went away; nobody receives it."""
DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""OpenTelemetry's buckets for the duration of a request, in seconds."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """max_batch: requests in one run of the model. max_queue: requests that may wait for it. timeout: seconds that a
    body may take to come, and seconds from then to the answer. drain: seconds that accepted requests have to be
    answered once the service is told to end."""

    max_batch: int = 8
    max_queue: int = 64
    timeout: float = 30.0
    drain: float = 25.0


class Refused(Exception):
    """A request that is not answered with a picture. reason: its label in the metrics."""

    def __init__(self, status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.headers = status, reason, message, headers

    def response(self) -> JSONResponse:
        return JSONResponse({"error": self.message}, self.status, self.headers)


def _busy(reason: str, message: str, retry_after: float = 1.0) -> Refused:
    return Refused(503, reason, message, {"Retry-After": str(min(60, math.ceil(retry_after)))})


class Metrics:
    """What `/metrics` shows, in Prometheus' base units."""

    def __init__(self, session: Session, depth: Callable[[], float]) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        self.requests = prometheus_client.Histogram(
            "http_server_request_duration_seconds",
            "From the head of a request to the end of its answer.",
            ("http_request_method", "http_route", "http_response_status_code"),
            buckets=DURATIONS,
            registry=self.registry,
        )
        self.batches = prometheus_client.Histogram(
            "inference_batch_size",
            "Requests in one run of the model.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.compute = prometheus_client.Histogram(
            "inference_compute_duration_seconds",
            "One run of the model.",
            buckets=DURATIONS,
            registry=self.registry,
        )
        self.rejected = prometheus_client.Counter(
            "inference_requests_rejected",
            "Requests that were not answered with a picture.",
            ("reason",),
            registry=self.registry,
        )
        prometheus_client.Gauge(
            "inference_queue_depth", "Requests that wait for the model.", registry=self.registry
        ).set_function(depth)
        facts = session.metadata
        prometheus_client.Info("inference_model", "What is served.", registry=self.registry).info(
            {
                "method": facts.method,
                "kind": facts.schema.kind,
                "width": str(session.schema.width),
                "height": str(session.schema.height),
                "precision": facts.precision,
                "provider": session.provider,
                "checkpoint_sha256": facts.checkpoint_sha256,
            }
        )

    def batch(self, size: int, seconds: float) -> None:
        self.batches.observe(size)
        self.compute.observe(seconds)

    def text(self) -> bytes:
        return prometheus_client.generate_latest(self.registry)


class Service:
    """A session behind HTTP. `app` is the ASGI application; `warm_up` makes it ready.

    token: what clients must show, None for no token. host: what it listens on.
    Raises BadInput for a model whose inputs cannot be sent as files.
    """

    def __init__(self, session: Session, limits: Limits, token: str | None = None, host: str = LOOPBACK[0]) -> None:
        self.session, self.limits, self.token, self.host = session, limits, token, host
        schema = session.schema
        if schema.kind != "classes" and recorded_label(schema):
            raise BadInput(f"{session.path} reads DensePose pictures, which requests do not carry; serve another model")
        self.ready = self.draining = False
        self.max_body = 8 * schema.height * schema.width * len(session.inputs) + SPARE_BYTES
        self.batcher = Batcher(lambda tensors: session.run(**tensors), limits.max_batch, limits.max_queue, self._ran)
        self.metrics = Metrics(session, lambda: self.batcher.depth)
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
        """Runs the model alone and on a full batch: what does not run, or not yet fast, does so before any request.

        Raises BadInput when the model does not run.
        """
        for batch in dict.fromkeys((1, self.limits.max_batch)):
            self.session.run(**trial.inputs(self.session, batch))
        self.ready = True

    def abandon(self) -> int:
        """Gives up bodies that are still coming, and accepted requests; returns how many of these."""
        for clock in self._reading:
            if not clock.expired():
                clock.reschedule(0)
        for task in self._painting:
            task.cancel()
        return len(self._painting)

    def close(self) -> bool:
        """Ends the threads. Returns whether the model's has ended, too."""
        ended = self.batcher.close(CLOSING_SECONDS)
        for pool in (self._decoders, self._encoders):
            pool.shutdown(cancel_futures=True)
        return ended

    async def app(self, scope: Message, receive: Receive, send: Send) -> None:
        """The ASGI application: measures, keeps foreign web pages out, and hands on."""
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
            self.metrics.requests.labels(
                scope["method"] if scope["method"] in METHODS else "_OTHER",
                scope["path"] if scope["path"] in ROUTES else "_OTHER",
                str(status),
            ).observe(time.perf_counter() - begun)

    def description(self) -> dict[str, Any]:
        """What a client must know to ask for a picture."""
        schema = self.session.schema
        return {
            "method": self.session.method,
            "width": schema.width,
            "height": schema.height,
            "inputs": {name: _in_words(name, schema.kind) for name in self.session.inputs},
            "schema": schema.to_json(),
            "max_body_bytes": self.max_body,
            "timeout_seconds": self.limits.timeout,
            "bearer_token": self.token is not None,
        }

    def example(self, url: str) -> str:
        """A command that asks this very model for a picture."""
        endings = {name: _endings(name, self.session.schema.kind)[0] for name in self.session.inputs}
        parts = " ".join(f"-F {name}=@{name}.{ending}" for name, ending in endings.items())
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

        @app.get("/")
        async def description(request: Request) -> JSONResponse:
            self._check_token(request)
            return JSONResponse(self.description())

        @app.get("/healthz")
        async def healthz() -> JSONResponse:
            return JSONResponse({"status": "ok"})

        @app.get("/readyz")
        async def readyz() -> JSONResponse:
            if refusal := self._closed():
                return refusal.response()
            return JSONResponse({"status": "ready"})

        @app.get("/metrics")
        async def metrics() -> Response:
            return Response(self.metrics.text(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

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
        if not known_host(host, self.host):
            return Refused(403, "foreign", "this server does not go by that name")
        if origin is not None and urlsplit(origin).netloc != host:
            return Refused(403, "foreign", "requests from web pages are not answered")
        return None

    def _closed(self) -> Refused | None:
        if self.draining:
            return _busy("draining", "the service is ending; ask another one")
        return None if self.ready else _busy("not_ready", "the model is being loaded; ask again")

    def _check_token(self, request: Request) -> None:
        if self.token is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
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
                refused = Refused(500, "model", "the model failed on this batch; the service's log says why")
                refused.__cause__ = error
                content.set_exception(refused)
            else:
                self._encoders.submit(encode, image.result())

        def encode(image: Array) -> None:
            try:
                content.set_result(pictures.encoded(self.session.pictures(image[None])[0]))
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
        inputs = self.session.inputs
        if sorted(names) != sorted(inputs):
            raise Refused(
                422,
                "bad_input",
                f"the parts are {', '.join(names) or 'none'}; send exactly {', '.join(inputs)}, each once",
            )
        return self.session.tensors({name: self._loaded(name, content) for name, content in parts})

    def _loaded(self, name: str, content: bytes) -> Array:
        schema = self.session.schema
        part = f"the part {name}"
        is_photo = name == "exemplar"
        if is_photo or schema.kind == "classes":
            self._check_picture(part, content, is_photo)
        try:
            return (pictures.decode_photo if is_photo else pictures.decode_label)(content, part, schema)
        except BadInput as error:
            raise Refused(422, "bad_input", str(error)) from error

    def _check_picture(self, part: str, content: bytes, is_photo: bool) -> None:
        if not (is_png(content) or (is_photo and is_jpeg(content))):
            raise Refused(415, "media_type", f"{part} is no PNG{' or JPEG' if is_photo else ''} file")
        width, height = stored_size(content) or (0, 0)
        if width * height > MOST_PIXELS:
            schema = self.session.schema
            message = f"{part} is {width}×{height} pixels, but the model takes {schema.width}×{schema.height}"
            raise Refused(413, "too_many_pixels", message)

    def _ran(self, size: int, seconds: float) -> None:
        self.metrics.batch(size, seconds)

    def _too_large(self) -> Refused:
        return Refused(413, "body_too_large", f"the body has more than {self.max_body:,} bytes")

    def _full(self, retry_after: float) -> Refused:
        return _busy("queue_full", f"{self.limits.max_queue} requests are waiting already; ask again", retry_after)


def _endings(name: str, kind: str) -> tuple[str, ...]:
    if name == "exemplar":
        return "png", "jpg"
    return ("png",) if kind == "classes" else ("json",)


def _in_words(name: str, kind: str) -> dict[str, str]:
    if name == "exemplar":
        return {"file": "PNG or JPEG", "holds": "a photo of this width and height, RGB"}
    return {
        "sketch": {"file": "JSON", "holds": "68 landmarks [x, y] in a 512×512 frame laid over the picture"},
        "pose": {"file": "JSON", "holds": "18 keypoints [x, y, confidence], x and y as fractions of the sides"},
        "classes": {"file": "PNG", "holds": "class ids of this width and height, grey or palette; see schema"},
    }[kind]


class _Connection(H11Protocol):
    """HTTP/1.1 that does not let connections pile up: bounded in number, and closed when no whole request comes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.idle_since = self.loop.time()
        self.watch = self.loop.call_later(IDLE_SECONDS, self._look)
        if len(self.connections) > CONNECTIONS:
            transport.write(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\r\n")
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def _look(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        left = IDLE_SECONDS if answering else self.idle_since + IDLE_SECONDS - self.loop.time()
        if left > 0:
            self.watch = self.loop.call_later(left, self._look)
        else:
            # Not close(), which would wait for a client that does not read.
            self.transport.abort()


class _Server(uvicorn.Server):
    """Told to end, it answers what it has accepted, refuses the rest in words, and only then stops listening."""

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.service, self.when_ready = service, ready
        self.deadline = math.inf
        self.failed: Exception | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again at the end, which would be the process's exit status.
        handlers = {each: signal.signal(each, self.handle_exit) for each in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for each, handler in handlers.items():
                signal.signal(each, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # A second signal is somebody who does not want to wait.
        wait = 0.0 if self.service.draining else self.service.limits.drain - CLOSING_SECONDS
        self.service.draining = True
        self.deadline = time.monotonic() + max(wait, 0.0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.warming = asyncio.create_task(self._warm_up())

    async def _warm_up(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(None, self.service.warm_up)
            self.when_ready()
        except Exception as error:
            self.failed, self.should_exit = error, True

    async def on_tick(self, counter: int) -> bool:
        if self.service.draining and (self.service.idle or time.monotonic() > self.deadline):
            if given_up := self.service.abandon():
                _log.warning("%d accepted requests were not answered in time; they got 503", given_up)
            self.should_exit = True
        return await super().on_tick(counter)


def token_of(host: str) -> str | None:
    """The bearer token of the environment, None where there is none.

    Raises BadInput when it could not be sent in a header, and for a host that others can reach when there is none.
    """
    token = os.environ.get(TOKEN)
    if token is not None and (not token or not token.isascii() or not token.isprintable() or " " in token):
        raise BadInput(f"{TOKEN} is empty or holds more than visible ASCII characters; set another one or unset it")
    if token is None and host not in LOOPBACK:
        raise BadInput(
            f"everybody who reaches {host} could use the service: set the environment variable {TOKEN} to a secret "
            f'that clients then send (such as {TOKEN}="$(openssl rand -hex 32)"), or listen on --host {LOOPBACK[0]}'
        )
    return token


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one. Raises BadInput when the address cannot be had."""
    # Only of sockets that say TCP does asyncio switch off the delay of small packets: 40 ms in every answer.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # Two could bind the same port, but only one can listen.
        listener.listen()
    except OSError as error:
        listener.close()
        raise BadInput(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port") from error
    return listener


def run(session: Session, host: str, port: int, limits: Limits) -> None:
    """Serves until SIGTERM or SIGINT, then answers what was accepted.

    Raises BadInput when the address cannot be had, when it needs a token, or when the model does not run.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    token = token_of(host)
    with closing(listen(host, port)) as listener:
        service = Service(session, limits, token, host)
        url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/"

        def ready() -> None:
            print(f"{session.path} at {url} (Ctrl-C or SIGTERM ends); a picture, for example:", flush=True)
            print(f"  {service.example(url)}", flush=True)

        config = uvicorn.Config(
            service.app,
            interface="asgi3",
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=CLOSING_SECONDS,
        )
        server = _Server(config, service, ready)
        server.run([listener])
        ended = service.close()
    if server.failed:
        raise server.failed
    print("ended", flush=True)
    if not ended:
        # The interpreter would tear the runtime down under a run that still computes.
        os._exit(0)
