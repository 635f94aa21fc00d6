"""Serving over HTTP until told to end: who may connect, for how long, and a graceful end.

Needs the extra `deploy`; `python -m deploy serve` says so where it is missing.
"""

import asyncio
import logging
import math
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from deploy.chain import Chain
from deploy.service.app import TOKEN, Limits, Service
from likeness.command import BadInput
from likeness.loopback import LOOPBACK, is_loopback, listen

CONNECTIONS = 900
"""Open at once, where the process may open so many files."""
BACKLOG = 1024
"""Connections that may wait to be accepted, and that are, all at once, before any of them is looked at."""
FILES = 4096
"""What a process may open, if its limit can be raised so far: connections, those that wait, and everything else."""
SPARE_FILES = 24
"""For threads, metrics and a model's libraries, beside what is open when the service begins."""
IDLE_SECONDS = 10.0
"""How long a connection may stay open without a whole request, whatever trickles in, or with an answer unread."""
CLOSING_SECONDS = 1
"""Of the end, for what hangs."""

_log = logging.getLogger(__name__)


class _Connection(H11Protocol):
    """HTTP/1.1 that does not let connections pile up: bounded in number, and closed when no whole request comes or an
    answer is not read."""

    most = CONNECTIONS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.idle_since = self.loop.time()
        self.watch = self.loop.call_later(IDLE_SECONDS, self._look)
        if len(self.connections) > self.most:
            transport.write(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\r\n")
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self.idle_since = self.loop.time()
        super().pause_writing()

    def _look(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete and not self.flow.write_paused
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
    if token is None and not is_loopback(host):
        raise BadInput(
            f"everybody who reaches {host} could use the service: set the environment variable {TOKEN} to a secret "
            f'that clients then send (such as {TOKEN}="$(openssl rand -hex 32)"), or listen on --host {LOOPBACK}'
        )
    return token


def _bounds() -> tuple[int, int]:
    """How many connections may be open, and how many may wait: all of them together have descriptors.

    Where none is left to accept a connection with, asyncio asks again and again, and writes of it each time.
    Raises BadInput when the process may open too few files to serve anybody.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    left = (FILES if soft == resource.RLIM_INFINITY else soft) - len(os.listdir("/proc/self/fd")) - SPARE_FILES
    if left < 2:
        raise BadInput(f"this process may open {soft} files, too few to serve anybody; raise the limit (ulimit -n)")
    connections = min(CONNECTIONS, left // 2)
    return connections, min(BACKLOG, left - connections)


def run(chain: Chain, host: str, port: int, limits: Limits) -> None:
    """Serves until SIGTERM or SIGINT, then answers what was accepted.

    Raises BadInput when the address cannot be had, when it needs a token, or when the model does not run.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    token = token_of(host)
    with closing(listen(host, port)) as listener:
        service = Service(chain, limits, token, host)
        _Connection.most, backlog = _bounds()
        url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/"

        def ready() -> None:
            print(f"{chain.session.path} at {url} (Ctrl-C or SIGTERM ends); a picture, for example:", flush=True)
            print(f"  {service.example(url)}", flush=True)

        config = uvicorn.Config(
            service.app,
            interface="asgi3",
            http=_Connection,
            backlog=backlog,
            ws="none",
            lifespan="off",
            log_config=None,
            # What clients do wrong, their answers and the metrics say; they could fill a disk with it.
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=CLOSING_SECONDS,
        )
        server = _Server(config, service, ready)
        server.run([listener])
        ended = service.close(CLOSING_SECONDS)
    if server.failed:
        raise server.failed
    print("ended", flush=True)
    if not ended:
        # The interpreter would tear the runtime down under a run that still computes.
        os._exit(0)
