"""The servers of the project in this process, and raw requests to them."""

import asyncio
import json
import re
import socket
import struct
import threading
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from onnx import TensorProto, helper

from deploy.chain import Chain
from deploy.metadata import Metadata
from deploy.runtime import Session
from deploy.service.app import Limits, Service
from deploy.service.serve import _Connection
from likeness.command import BadInput
from shards.judging.judge import Judging, Shot, app_of
from shards.labels.kinds import KINDS
from shards.media.pictures import encode_picture

SECONDS = 5.0
"""After which a server that has not answered hangs."""
SIDE = 32


class _Threaded(uvicorn.Server):
    """Signals belong to the main thread."""

    def install_signal_handlers(self) -> None:
        pass

    def capture_signals(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()


def _serve(app: Any, **settings: Any) -> int:
    """The port of a server that lives as long as the process."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    config = uvicorn.Config(app, interface="asgi3", ws="none", lifespan="off", log_config=None, **settings)
    server = _Threaded(config)
    threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True).start()
    port = int(listener.getsockname()[1])
    return port


def copying_model(side: int, metadata: Metadata) -> bytes:
    """An ONNX file that paints its exemplar, float (N, 3, side, side)."""
    shape = ("N", 3, side, side)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["exemplar"], ["image"])],
        "paint",
        [helper.make_tensor_value_info("exemplar", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, metadata.to_props())
    return model.SerializeToString()


@cache
def _service(folder: Path) -> int:
    schema = KINDS["sketch"].standard(SIDE, SIDE)
    path = folder / "served.onnx"
    path.write_bytes(copying_model(SIDE, Metadata("style_consistent", schema, "0" * 64, None, 64, "random:0")))
    service = Service(Chain.of(Session(path, threads=1)), Limits(timeout=2))
    service.warm_up()
    return _serve(service.app, http=_Connection, log_level="error", access_log=False)


@cache
def _page(folder: Path) -> int:
    pairs = [Shot(folder / "none.tar", number, ("a.mp4", number), ("b.mp4", number), True) for number in range(4)]
    return _serve(app_of(Judging(pairs, folder / "judged.csv", 0), "127.0.0.1"), log_level="critical")


def _request(line: str, body: bytes = b"", kind: str = "application/json") -> bytes:
    head = f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    if body:
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def png(rows: int, side: int = SIDE) -> bytes:
    """A PNG that says side × side and holds so many rows."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(bytes(1 + 3 * side) * rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def form(content: bytes, name: str = "exemplar") -> bytes:
    """A multipart body with one part."""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + content + b"\r\n--x--\r\n"


def service_requests() -> list[bytes]:
    photo = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    kind = "multipart/form-data; boundary=x"
    posts = [
        _request("POST /synthesize", form(content), kind)
        for content in (png(SIDE), encode_picture(photo), encode_picture(photo, "jpg"))
    ]
    return [*posts, *(_request(f"GET {path}") for path in ("/", "/healthz", "/readyz", "/metrics"))]


def page_requests() -> list[bytes]:
    body = {"rater": "Anna", "place": 1, "judgement": "consistent", "seconds": 1.5, "token": "x"}
    return [
        _request("POST /answer", json.dumps(body).encode()),
        _request("POST /undo", json.dumps({"rater": "Anna", "token": "x"}).encode()),
        _request("GET /state?rater=Anna"),
        _request("GET /photo/x/1/target"),
        _request("GET /summary"),
    ]


def answer_of(port: int, request: bytes) -> bytes:
    """Everything that a server sends until it closes."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        chunks = []
        try:
            connection.sendall(request)
            if not _is_whole(request):
                # It would wait for the rest.
                connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                chunks.append(chunk)
        except (ConnectionResetError, BrokenPipeError):
            pass
        return b"".join(chunks)


def _is_whole(request: bytes) -> bool:
    """Whether a server need not wait for more, nor for the next request."""
    head, end, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d{1,9})(\r\n|\Z)", head, re.IGNORECASE)
    closes = re.search(rb"\r\nconnection: close(\r\n|\Z)", head, re.IGNORECASE) is not None
    return bool(end) and closes and len(body) == (int(length[1]) if length else 0)


def _check(answer: bytes) -> None:
    if not answer:
        raise BadInput("the connection was closed without an answer")
    status = int(answer.split()[1])
    assert status < 500 or status in (501, 503, 504, 505), answer[:300]
    if status >= 400:
        assert len(answer) < 4000, len(answer)
        raise BadInput(f"status {status}")


def ask_service(request: bytes, folder: Path) -> None:
    answer = answer_of(_service(folder.parent), request)
    _check(answer)


def ask_page(request: bytes, folder: Path) -> None:
    _check(answer_of(_page(folder.parent), request))
