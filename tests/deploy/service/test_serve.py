"""The service as its clients meet it: a process of its own, real sockets, and every way to be a bad client."""

import asyncio
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from deploy.chain import Chain
from deploy.runtime import Session
from deploy.service.app import Limits, Refused, Service
from deploy.service.metrics import Exposition
from deploy.service.multipart import parts_of
from likeness.array import Array
from shards.input_files import decode_label, decode_photo
from shards.reading.samples import decode, iter_samples
from shards.records import load_manifest

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
Parts = list[tuple[str, bytes]]
RUN_SECONDS = 0.4


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def error(self) -> str:
        return str(json.loads(self.content)["error"])

    @property
    def picture(self) -> Array:
        assert self.status == 200, self.content
        return np.asarray(Image.open(io.BytesIO(self.content)))


class Server:
    """`python -m deploy serve` as a process of its own, on a free port."""

    def __init__(self, model: Path, *options: str, before: str = "", **environment: str) -> None:
        command = [sys.executable, "-c", f"{before}\nimport sys\nfrom deploy.__main__ import main\nsys.exit(main())"]
        command += ["serve", "--model", str(model), "--threads", "1", "--port", "0", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**ENVIRONMENT, **environment}
        )
        assert self.process.stdout and self.process.stderr
        self.said = self.process.stdout.readline()
        assert "http" in self.said, self.process.stderr.read()
        self.example = self.process.stdout.readline().strip()
        match = re.search(r":(\d+)/", self.said)
        assert match
        self.port = int(match[1])

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def post(self, parts: Parts, **headers: str) -> Answer:
        body, kind = form(parts)
        return self.ask("POST", "/synthesize", body, {"Content-Type": kind, **headers})

    def begin(self, parts: Parts) -> socket.socket:
        """Sends a whole request and does not wait."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        body, kind = form(parts)
        connection.sendall(head({"Content-Type": kind, "Content-Length": str(len(body))}) + body)
        return connection

    def metric(self, name: str) -> float:
        """The sum over labels."""
        lines = self.get("/metrics").content.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if re.match(rf"{re.escape(name)}(\s|{{)", line))

    def wait_for(self, name: str, value: float) -> None:
        deadline = time.monotonic() + 20
        while self.metric(name) != value:
            assert time.monotonic() < deadline, f"{name} is {self.metric(name)}, not {value}"
            time.sleep(0.02)

    def end(self, sig: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and stderr."""
        self.process.send_signal(sig)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def head(headers: dict[str, str], method: str = "POST", path: str = "/synthesize") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


def form(parts: Parts) -> tuple[bytes, str]:
    chunks = [
        f'--edge\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'.encode() + content + b"\r\n"
        for name, content in parts
    ]
    return b"".join(chunks) + b"--edge--\r\n", "multipart/form-data; boundary=edge"


def received(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    connection.settimeout(20)
    chunks = []
    while chunk := connection.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


def status_of(connection: socket.socket) -> int:
    connection.settimeout(20)
    return int(connection.recv(65536).split()[1])


def file_of(picture: Array, kind: str = "PNG", **options: Any) -> bytes:
    written = io.BytesIO()
    Image.fromarray(picture).save(written, kind, **options)
    return written.getvalue()


def landmarks(seed: int) -> bytes:
    return json.dumps({"landmarks": np.random.default_rng(seed).integers(0, 512, (68, 2)).tolist()}).encode()


def photo(seed: int, height: int = 32, width: int = 32) -> Array:
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8)


def request(seed: int) -> Parts:
    exemplar = file_of(photo(seed)) if seed % 2 else file_of(photo(seed), "JPEG", quality=95)
    return [("label", landmarks(seed)), ("exemplar_label", landmarks(1000 + seed)), ("exemplar", exemplar)]


def without(parts: Parts, name: str, *instead: tuple[str, bytes]) -> Parts:
    return [part for part in parts if part[0] != name] + list(instead)


def bomb(side: int) -> bytes:
    """A PNG of side × side pixels, small as a file."""
    squeezer = zlib.compressobj(1)
    row = bytes(1 + side)
    data = b"".join(squeezer.compress(row) for _ in range(side)) + squeezer.flush()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.fixture(scope="module")
def wanted(model: Path) -> Callable[[int], Array]:
    """The picture that a request's seed should give."""
    session = Session(model, threads=1)

    def paint(seed: int) -> Array:
        decode = {"exemplar": decode_photo}
        loaded = {
            name: decode.get(name, decode_label)(content, name, session.schema) for name, content in request(seed)
        }
        feeds = {name: value[None] for name, value in session.tensors(loaded).items()}
        return session.pictures(session.run(**feeds))[0]

    return paint


def same(found: Array, expected: Array) -> bool:
    """A batch may round another way than a picture alone."""
    return found.shape == expected.shape and int(np.abs(found.astype(int) - expected).max()) <= 1


@pytest.fixture(scope="module")
def awkward(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, but a run takes `RUN_SECONDS` or so, and a black exemplar makes it give values that are none."""
    made = onnx.load(model)
    graph = made.graph
    last = next(node for node in graph.node if "image" in node.output)
    last.output[:] = ["painted"]
    # A matrix that keeps what it is multiplied with, as long as that is the same everywhere.
    side = 512
    matrix = numpy_helper.from_array(np.full((side, side), 1 / side, np.float32), "matrix")
    zeros = numpy_helper.from_array(np.zeros((side, side), np.float32), "zeros")
    begun = time.perf_counter()
    for _ in range(10):
        np.full((side, side), 1.0, np.float32) @ np.full((side, side), 1.0, np.float32)
    turns = max(1, int(RUN_SECONDS / ((time.perf_counter() - begun) / 10)))
    kinds = {"i": TensorProto.INT64, "go": TensorProto.BOOL, "x": TensorProto.FLOAT}
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("MatMul", ["matrix", "x"], ["y"])],
        "turn",
        [helper.make_tensor_value_info(name, kind, None if name == "x" else []) for name, kind in kinds.items()],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("y", 1, None)],
    )
    graph.initializer.extend(
        [
            matrix,
            zeros,
            numpy_helper.from_array(np.array(turns), "turns"),
            numpy_helper.from_array(np.array(True), "always"),
            numpy_helper.from_array(np.array(1, np.float32), "one"),
            numpy_helper.from_array(np.array(0, np.float32), "nought"),
            numpy_helper.from_array(np.array([1, 2, 3]), "axes"),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("ReduceMax", ["exemplar", "axes"], ["brightest"]),
            helper.make_node("Add", ["brightest", "one"], ["light"]),
            helper.make_node("Mul", ["light", "nought"], ["dark"]),
            helper.make_node("Div", ["dark", "light"], ["nothing"]),
            helper.make_node("ReduceMax", ["nothing"], ["single"], keepdims=0),
            helper.make_node("Add", ["zeros", "single"], ["begun"]),
            helper.make_node("Loop", ["turns", "always", "begun"], ["turned"], body=body),
            helper.make_node("ReduceMax", ["turned"], ["most"], keepdims=0),
            helper.make_node("Add", ["painted", "most"], ["image"]),
        ]
    )
    out = tmp_path_factory.mktemp("awkward") / "model.onnx"
    onnx.save_model(made, out)
    return out


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    with Server(model, "--timeout", "2") as running:
        yield running


def test_what_it_paints_is_what_the_model_paints(server: Server, wanted: Callable[[int], Array]) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda seed: server.post(request(seed)), range(24)))
    for seed, answer in enumerate(answers):
        assert answer.headers["content-type"] == "image/png"
        assert same(answer.picture, wanted(seed))
    assert len({answer.content for answer in answers}) == 24


def test_small_packets_are_not_held_back(server: Server) -> None:
    """A kernel that waits to fill a packet, for a client that waits to confirm the last one, takes 40 ms."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    taken = []
    for _ in range(21):
        begun = time.perf_counter()
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
        taken.append(time.perf_counter() - begun)
    connection.close()
    assert min(taken) < 0.03, "it would be 40 ms every time"


def test_the_printed_example_works(server: Server, tmp_path: Path) -> None:
    for name, content in request(1):
        (tmp_path / f"{name}.{'png' if name == 'exemplar' else 'json'}").write_bytes(content)
    subprocess.run(server.example, shell=True, cwd=tmp_path, check=True, capture_output=True, timeout=20)
    assert (tmp_path / "image.png").read_bytes() == server.post(request(1)).content


def test_it_describes_its_model(server: Server) -> None:
    described = json.loads(server.get("/").content)
    assert (described["width"], described["height"]) == (32, 32)
    assert list(described["inputs"]) == ["label", "exemplar_label", "exemplar"]
    assert described["schema"]["kind"] == "sketch"
    assert server.get("/healthz").status == server.get("/readyz").status == 200
    for path in ("/healthz", "/readyz"):
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("HEAD", path)
        assert connection.getresponse().status == 200, "what load balancers may ask"
        connection.close()


def test_label_maps_that_are_pictures(pictured: tuple[Path, Path]) -> None:
    model, shards = pictured
    session = Session(model, threads=1)
    manifest, folder = load_manifest(shards)
    _, members = next(iter_samples(folder, manifest))
    sample = decode(members, manifest.schema)
    loaded = {
        "label": sample.labels["target"],
        "exemplar_label": sample.labels["exemplar"],
        "exemplar": sample.photos["exemplar"],
    }
    feeds = {name: value[None] for name, value in session.tensors(loaded).items()}
    expected = session.pictures(session.run(**feeds))[0]
    parts = [
        ("label", members["target.label.png"]),
        ("exemplar_label", members["exemplar.label.png"]),
        ("exemplar", members["exemplar.jpg"]),
    ]
    with Server(model) as server:
        inputs = json.loads(server.get("/").content)["inputs"]
        assert inputs["label"]["file"] == inputs["exemplar_label"]["file"] == "PNG or JPEG"
        assert same(server.post(parts).picture, expected)
        wrong = server.post(without(parts, "label", ("label", landmarks(0))))
        assert wrong.status == 415 and wrong.error == "the part label is no PNG or JPEG file"
        # Of another size: the middle is taken, as pack does.
        wide = server.post(
            without(parts, "exemplar", ("exemplar", file_of(np.pad(photo(0), ((0, 0), (8, 8), (0, 0))))))
        )
        assert (
            wide.status == 422 and "is 48×32 pixels, and its label map the part exemplar_label of 32×32" in wide.error
        )
        whole, cut = (
            server.post(without(parts, "label", ("label", file_of(picture)))).picture
            for picture in (np.pad(photo(0), ((0, 0), (8, 8), (0, 0))), photo(0))
        )
        assert same(whole, cut)
        assert server.end()[0] == 0


def test_metrics_are_in_base_units_and_bounded_in_number(server: Server) -> None:
    before = server.metric("inference_batch_size_count")
    assert server.post(request(3)).status == 200
    for path in ("/nothing", "/secret?x=1", "/nothing/else"):
        assert server.get(path).status == 404
    assert server.ask("BREW", "/synthesize").status == 405
    text = server.get("/metrics").content.decode()
    assert server.metric("inference_batch_size_count") == before + 1
    assert server.metric("inference_compute_duration_seconds_count") == before + 1
    assert server.metric("inference_queue_depth") == 0
    assert 'http_route="/synthesize"' in text and 'http_response_status_code="200"' in text
    assert 'le="0.075"' in text and 'width="32"' in text
    assert "nothing" not in text and "secret" not in text and "BREW" not in text
    # Each combination costs whoever reads them.
    for path in ("/", "/healthz", "/readyz", "/metrics", "/nothing"):
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            assert server.ask(method, path).status in (404, 405)
    text = server.get("/metrics").content.decode()
    counts = [line for line in text.splitlines() if line.startswith("http_server_request_duration_seconds_count")]
    assert not [line for line in counts if re.search(r'method="(PUT|DELETE|PATCH|OPTIONS|TRACE)"', line)]
    assert len([line for line in counts if 'code="404"' in line]) == 1


def test_any_number_of_clients_share_the_text_of_the_metrics_and_none_gets_an_old_one() -> None:
    made: list[int] = []
    asked = 0

    def make() -> bytes:
        # What was asked until now; the time that a text takes to make, others can ask in.
        made.append(asked)
        time.sleep(0.01)
        return str(made[-1]).encode()

    exposition = Exposition(make)

    async def client() -> None:
        nonlocal asked
        for _ in range(5):
            asked += 1
            mine = asked
            assert int(await exposition.text()) >= mine

    async def all_clients() -> None:
        await asyncio.gather(*(client() for _ in range(100)))

    asyncio.run(all_clients())
    exposition.close()
    assert asked == 500 and len(made) < 20


def test_a_metrics_text_that_fails_fails_alone() -> None:
    answers: list[Exception | bytes] = [RuntimeError("no /proc"), b"well"]

    def make() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def asked() -> bytes:
        with pytest.raises(RuntimeError, match="no /proc"):
            await exposition.text()
        return await exposition.text()

    exposition = Exposition(make)
    assert asyncio.run(asked()) == b"well"
    exposition.close()


GOOD = request(1)
PNG = file_of(photo(1))
REFUSALS: dict[str, tuple[Parts, int, str]] = {
    "a photo of another size": (without(GOOD, "exemplar", ("exemplar", file_of(photo(1, 48, 64)))), 422, "64×48"),
    "a truncated PNG": (without(GOOD, "exemplar", ("exemplar", PNG[:-20])), 422, "the part exemplar .* ends early"),
    "a truncated header": (without(GOOD, "exemplar", ("exemplar", PNG[:12])), 422, "the part exemplar"),
    "no picture": (without(GOOD, "exemplar", ("exemplar", b"GIF89a")), 415, "exemplar is no PNG or JPEG"),
    "an empty part": (without(GOOD, "exemplar", ("exemplar", b"")), 415, "exemplar is no PNG or JPEG"),
    "a picture for a label": (
        without(GOOD, "label", ("label", PNG)),
        422,
        "the part label cannot be used: no face; choose another photo",
    ),
    "keypoints for landmarks": (
        without(GOOD, "label", ("label", json.dumps({"keypoints": [[0.5, 0.5, 1]] * 18}).encode())),
        422,
        "68 lists of 2 numbers",
    ),
    "landmarks far outside": (
        without(GOOD, "label", ("label", json.dumps([[1e9, 2]] * 68).encode())),
        422,
        r"landmarks\[0\]",
    ),
    "numbers too large": (without(GOOD, "label", ("label", b"[[1" + b"0" * 400 + b", 1]]")), 422, "part label"),
    "a missing part": (
        without(GOOD, "label"),
        422,
        "exactly label, exemplar, and if wanted exemplar_label",
    ),
    "an unknown part": (
        [*GOOD, ("seed", b"1")],
        422,
        "exactly label, exemplar, and if wanted exemplar_label",
    ),
    "a part twice": ([*GOOD, GOOD[0]], 422, "each once"),
    "too many parts": ([*GOOD, *[("x", b"")] * 100], 400, "more than 8 parts"),
    "too many bytes": (without(GOOD, "exemplar", ("exemplar", bytes(30_000_000))), 413, "bytes"),
}


@pytest.mark.parametrize("name", list(REFUSALS))
def test_bad_input_is_refused_and_never_computed(name: str, server: Server) -> None:
    parts, status, message = REFUSALS[name]
    before = server.metric("inference_batch_size_count"), server.metric("inference_requests_rejected_total")
    answer = server.post(parts)
    assert answer.status == status
    assert re.search(message, answer.error)
    after = server.metric("inference_batch_size_count"), server.metric("inference_requests_rejected_total")
    assert after == (before[0], before[1] + 1)


def test_data_beyond_a_picture_s_size_are_not_inflated_and_starve_nobody(server: Server) -> None:
    """A megabyte inflates to a gigabyte here, behind the header of a picture that the model would take."""
    squeezer = zlib.compressobj(9)
    data = b"".join(squeezer.compress(bytes(2**20)) for _ in range(1000)) + squeezer.flush()
    header = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    starving = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    )
    parts = without(GOOD, "exemplar", ("exemplar", starving))
    with ThreadPoolExecutor(6) as pool:
        refused = [pool.submit(server.post, parts) for _ in range(12)]
        assert {server.post(GOOD).status for _ in range(6)} == {200}
        assert {each.result().status for each in refused} == {422}
    assert "more image data than its 32×32 pixels" in refused[0].result().error


def test_what_a_refusal_quotes_is_short_and_one_line(server: Server) -> None:
    for name in ("x" * 4000, "a\x1b[2Jb\x0c", "caf\u00e9 \u2028"):
        for given in ([(name, b"x")], [*GOOD, (name, b"x")], [("label", name.encode() * 100)], [("seed", b"\xff" * 9)]):
            answer = server.post(given)
            assert answer.status in (400, 422) and len(answer.error) < 1000 and answer.error.isprintable()


def test_a_picture_of_a_hundred_megapixels_costs_nothing(server: Server) -> None:
    parts = without(GOOD, "exemplar", ("exemplar", bomb(10_000)))
    assert server.post(GOOD).status == 200
    before = server.metric("process_resident_memory_bytes")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.post(parts), range(16)))
    assert {answer.status for answer in answers} == {413}
    assert "10000×10000" in answers[0].error
    assert server.metric("process_resident_memory_bytes") - before < 30e6


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"", 400),
        ("multipart/form-data; boundary=edge", b"nonsense", 400),
        ("multipart/form-data; boundary=edge", b"", 400),
        ("multipart/form-data; boundary=edge", form(GOOD)[0][:-20], 400),
        ("multipart/form-data; boundary=edge", b"--edge\r\n\r\nx\r\n--edge--\r\n", 400),
        ("multipart/form-data; boundary=edge", form(GOOD)[0][:-10] + b"--edge\r\nA: b\r\n\r\nx\r\n--edge--\r\n", 400),
        ("multipart/form-data; boundary=other", form(GOOD)[0], 400),
        (f"multipart/form-data; boundary={'e' * 5000}", b"", 400),
    ],
)
def test_a_body_that_is_no_form_is_refused(kind: str, body: bytes, status: int, server: Server) -> None:
    answer = server.ask("POST", "/synthesize", body, {"Content-Type": kind})
    assert (answer.status, bool(answer.error)) == (status, True)


@pytest.mark.parametrize("preamble", [b"This is a message in several parts.\r\n", b"--edgeless\r\n\r\n", b"\r\n", b""])
@pytest.mark.parametrize("blanks", [b"", b" \t"])
def test_what_stands_around_the_parts_of_a_form_is_passed_over(preamble: bytes, blanks: bytes) -> None:
    """RFC 2046, section 5.1.1: preamble, blanks behind boundaries, epilogue."""
    body = preamble + form(GOOD)[0].replace(b"--edge\r\n", b"--edge" + blanks + b"\r\n") + b"An epilogue.\r\n"
    assert parts_of(body, b"edge") == GOOD


def test_what_can_be_read_has_a_head(server: Server) -> None:
    """RFC 9110, section 9.1."""
    for path in ("/", "/metrics", "/healthz", "/readyz"):
        answer = server.ask("HEAD", path)
        assert (answer.status, answer.content) == (200, b"") and int(answer.headers["content-length"]) > 0
    assert server.ask("HEAD", "/synthesize").headers["allow"] == "POST"


def test_targets_may_be_whole_urls_and_their_host_counts(server: Server) -> None:
    """RFC 9112, section 3.2.2."""
    body, kind = form(GOOD)
    url = f"http://localhost:{server.port}"
    assert server.ask("POST", f"{url}/synthesize", body, {"Content-Type": kind}).status == 200
    assert server.get(f"HTTP://127.0.0.1:{server.port}/healthz").status == 200
    assert server.get(url).content == server.get("/").content
    assert server.get("http://attacker.example/", Host="localhost").status == 400
    assert server.get(f"{url}/nowhere").status == 404


def test_a_large_body_is_refused_by_its_head_and_while_it_streams(server: Server) -> None:
    kind = form([])[1]
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head({"Content-Type": kind, "Content-Length": str(10**12)}))
        assert status_of(connection) == 413
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head({"Content-Type": kind, "Transfer-Encoding": "chunked"}))
        sent = 0
        connection.settimeout(0.001)
        while sent < 50e6:
            try:
                if connection.recv(12) == b"HTTP/1.1 413":
                    break
            except TimeoutError:
                connection.settimeout(20)
                connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
                connection.settimeout(0.001)
                sent += 65536
        assert sent < json.loads(server.get("/").content)["max_body_bytes"] + 10e6


def test_a_body_that_trickles_is_given_up(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head({"Content-Type": form([])[1], "Content-Length": "1000"}) + b"--edge")
        assert status_of(connection) == 408
        assert received(connection) is not None


def test_pages_of_other_sites_are_not_answered(server: Server) -> None:
    for host in ("attacker.example", f"127.0.0.1:{server.port}.attacker.example"):
        assert server.get("/", Host=host).status == 400
    for origin in ("http://attacker.example", "null", "http://[::"):
        assert server.post(GOOD, Origin=origin).status == 403
    assert server.post(GOOD, Origin=f"http://localhost:{server.port}", Host=f"localhost:{server.port}").status == 200
    assert server.get("/", Host=f"localhost:{server.port}").status == 200


def test_connections_without_a_request_are_closed(model: Path) -> None:
    with Server(
        model, before="from deploy.service import serve; serve.IDLE_SECONDS, serve.CONNECTIONS = 1, 20"
    ) as server:
        silent = socket.create_connection(("127.0.0.1", server.port))
        trickling = socket.create_connection(("127.0.0.1", server.port))
        trickling.sendall(b"GET /hea")
        answered = socket.create_connection(("127.0.0.1", server.port))
        answered.sendall(head({}, "GET", "/healthz"))
        assert status_of(answered) == 200
        answered.sendall(b"GET /hea")
        begun = time.monotonic()
        for connection in (silent, trickling, answered):
            with suppress(ConnectionResetError):
                received(connection)
        assert time.monotonic() - begun < 5
        unread = socket.socket()
        # Small buffers, so that not all answers lie in the kernel.
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        unread.connect(("127.0.0.1", server.port))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            unread.settimeout(5)
            while True:
                unread.sendall(head({}, "GET", "/metrics"))
        crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
        assert received(crowd[-1]).startswith(b"HTTP/1.1 503")
        time.sleep(1.5)
        assert server.post(GOOD).status == 200


def test_a_token_guards_all_but_the_probes(model: Path) -> None:
    with Server(model, LIKENESS_TOKEN="open-sesame") as server:
        for header in ({}, {"Authorization": "Bearer open"}, {"Authorization": "Basic open-sesame"}):
            for answer in (server.post(GOOD, **header), server.get("/", **header)):
                assert answer.status == 401
                assert answer.headers["www-authenticate"] == "Bearer"
        assert server.post(GOOD, Authorization="Bearer open-sesame").status == 200
        assert {server.get(path).status for path in ("/healthz", "/readyz", "/metrics")} == {200}
        assert "open-sesame" not in server.said + server.example
        assert "$LIKENESS_TOKEN" in server.example


@pytest.mark.parametrize(
    ("environment", "options", "message"),
    [
        ({}, ["--host", "0.0.0.0"], "set the environment variable LIKENESS_TOKEN"),
        ({"LIKENESS_TOKEN": ""}, [], "LIKENESS_TOKEN is empty"),
        ({}, ["--host", "192.0.2.1"], "LIKENESS_TOKEN"),
        ({"LIKENESS_TOKEN": "x"}, ["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
    ],
)
def test_it_does_not_start_unsafe(environment: dict[str, str], options: list[str], message: str, model: Path) -> None:
    command = [sys.executable, "-m", "deploy", "serve", "--model", str(model), "--port", "0", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**ENVIRONMENT, **environment}, timeout=30, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def slow(awkward: Path) -> Iterator[Server]:
    with Server(awkward, "--max-batch", "2", "--max-queue", "4", "--timeout", "20") as running:
        yield running


def test_overload_is_shed_and_the_rest_answered_rightly(slow: Server, wanted: Callable[[int], Array]) -> None:
    before = slow.metric("process_resident_memory_bytes")
    requests = [request(seed) for seed in range(60)]
    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(slow.post, requests))
    count = Counter(answer.status for answer in answers)
    assert set(count) == {200, 503}
    assert 4 <= count[200] <= 12
    for seed, answer in enumerate(answers):
        if answer.status == 200:
            assert same(answer.picture, wanted(seed))
        else:
            assert int(answer.headers["retry-after"]) >= 1
            assert "waiting already" in answer.error
    text = slow.get("/metrics").content.decode()
    assert 'inference_batch_size_bucket{le="2.0"}' in text and slow.metric("inference_queue_depth") == 0
    assert slow.metric("process_resident_memory_bytes") - before < 50e6


def test_waiting_requests_share_a_batch_and_a_lone_one_does_not_wait(slow: Server) -> None:
    runs, pictures = (slow.metric(f"inference_batch_size_{each}") for each in ("count", "sum"))
    with ThreadPoolExecutor(4) as pool:
        assert {answer.status for answer in pool.map(lambda seed: slow.post(request(seed)), range(4))} == {200}
    assert slow.metric("inference_batch_size_sum") == pictures + 4
    assert slow.metric("inference_batch_size_count") <= runs + 3
    waited = []
    for _ in range(3):
        seconds = slow.metric("inference_compute_duration_seconds_sum")
        begun = time.monotonic()
        assert slow.post(GOOD).status == 200
        taken = time.monotonic() - begun
        waited.append(taken - (slow.metric("inference_compute_duration_seconds_sum") - seconds))
    assert min(waited) < 0.2


def test_who_left_is_not_computed(slow: Server) -> None:
    total = slow.metric("inference_batch_size_sum")
    with slow.begin(GOOD):
        time.sleep(RUN_SECONDS / 4)
        left = [slow.begin(request(seed)) for seed in range(3)]
        slow.wait_for("inference_queue_depth", 3)
        for connection in left:
            connection.close()
        slow.wait_for("inference_queue_depth", 0)
        slow.wait_for("inference_batch_size_sum", total + 1)
    assert slow.post(GOOD).status == 200
    assert slow.metric("inference_batch_size_sum") == total + 2


def test_a_batch_that_fails_fails_alone(slow: Server, wanted: Callable[[int], Array]) -> None:
    black = without(GOOD, "exemplar", ("exemplar", file_of(np.zeros((32, 32, 3), np.uint8))))
    answer = slow.post(black)
    assert answer.status == 500
    assert "Traceback" not in answer.error
    assert same(slow.post(request(7)).picture, wanted(7))


def test_what_takes_too_long_is_given_up_and_not_computed(awkward: Path) -> None:
    with Server(awkward, "--max-batch", "1", "--timeout", "1") as server:
        with ThreadPoolExecutor(10) as pool:
            begun = time.monotonic()
            answers = list(pool.map(lambda seed: server.post(request(seed)), range(10)))
            # Sooner than all ten could have been computed, one after the other.
            assert time.monotonic() - begun < 0.75 * 10 * RUN_SECONDS
        count = Counter(answer.status for answer in answers)
        assert set(count) == {200, 504} and count[504] >= 5
        time.sleep(RUN_SECONDS * 2)
        assert server.metric("inference_batch_size_sum") <= count[200] + 1
        # It serves on; on a machine that stalls a single run may take longer than the time-out.
        assert any(server.post(GOOD).status == 200 for _ in range(5))


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_answers_what_it_accepted(sig: int, awkward: Path, wanted: Callable[[int], Array]) -> None:
    with Server(awkward, "--max-batch", "2") as server:
        kept = HTTPConnection("127.0.0.1", server.port, timeout=20)
        kept.request("GET", "/readyz")
        assert kept.getresponse().read() and server.get("/readyz").status == 200
        with ThreadPoolExecutor(5) as pool:
            answers = [pool.submit(server.post, request(seed)) for seed in range(5)]
            server.wait_for("inference_batch_size_count", 1)
            server.process.send_signal(sig)
            deadline = time.monotonic() + 20
            while True:
                kept.request("GET", "/readyz")
                response = kept.getresponse()
                response.read()
                if response.status == 503:
                    break
                assert time.monotonic() < deadline, "it takes no note of the signal"
            late = server.post(GOOD)
            assert (late.status, int(late.headers["retry-after"]) > 0) == (503, True)
            for seed, answer in enumerate(answers):
                assert same(answer.result().picture, wanted(seed))
        code, errors = server.ended()
        assert (code, errors) == (0, "")
        with pytest.raises(ConnectionRefusedError):
            server.get("/healthz")


def test_what_is_not_answered_within_the_drain_gets_503(awkward: Path) -> None:
    with Server(awkward, "--max-batch", "1", "--drain", "1") as server:
        trickling = socket.create_connection(("127.0.0.1", server.port))
        trickling.sendall(head({"Content-Type": form([])[1], "Content-Length": "1000"}) + b"--edge")
        connections = [server.begin(request(seed)) for seed in range(8)]
        server.wait_for("inference_batch_size_count", 1)
        begun = time.monotonic()
        code, errors = server.end()
        assert time.monotonic() - begun < 4
        statuses = Counter(status_of(connection) for connection in connections)
        assert set(statuses) == {200, 503} and statuses[503] >= 4
        assert status_of(trickling) == 503
        assert code == 0 and "were not answered in time" in errors and "Traceback" not in errors


def test_a_failed_batch_is_named_in_the_log(awkward: Path) -> None:
    with Server(awkward) as server:
        assert server.post([*GOOD[:2], ("exemplar", file_of(np.zeros((32, 32, 3), np.uint8)))]).status == 500
        assert server.ask("POST", "/synthesize", b"nonsense", {"Content-Type": form([])[1]}).status == 400
        assert server.get("/healthz", **{"Content-Length": "nonsense"}).status == 400
        code, errors = server.end()
        assert code == 0
        assert len(errors.splitlines()) == 1 and "values that are not finite" in errors


def test_a_model_that_does_not_run_is_an_error_before_any_request(awkward: Path, tmp_path: Path) -> None:
    made = onnx.load(awkward)
    next(each for each in made.graph.initializer if each.name == "one").CopyFrom(
        numpy_helper.from_array(np.array(0, np.float32), "one")
    )
    onnx.save_model(made, tmp_path / "broken.onnx")
    command = [sys.executable, "-m", "deploy", "serve", "--model", str(tmp_path / "broken.onnx"), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=30, check=False)
    assert done.returncode == 2 and "not finite" in done.stderr and "http" not in done.stdout


def test_it_is_ready_once_the_model_has_run(awkward: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "deploy", "serve", "--model", str(awkward), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        seen = []
        while 200 not in seen:
            assert process.poll() is None
            try:
                connection = HTTPConnection("127.0.0.1", port, timeout=10)
                for method, path in (("GET", "/readyz"), ("POST", "/synthesize"), ("GET", "/healthz")):
                    connection.request(method, path)
                    response = connection.getresponse()
                    assert response.read()
                    if path == "/readyz":
                        seen.append(response.status)
                    elif path == "/healthz":
                        assert response.status == 200
                    elif seen[-1] == 503:
                        assert response.status in (503, 415)
                connection.close()
            except ConnectionRefusedError:
                time.sleep(0.02)
        process.terminate()
    assert seen[0] == 503 and process.returncode == 0


@pytest.mark.parametrize(("provider", "sizes"), [("cpu", {1, 5}), ("cuda", {1, 2, 3, 4, 5})])
def test_every_size_is_warm_where_kernels_are_searched_for(
    provider: Any, sizes: set[int], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, ran = Chain.of(Session(model, threads=1)), []
    run = chain.run
    monkeypatch.setattr(chain, "run", lambda values: ran.append(len(values["label"])) or run(values))
    chain.session.provider = provider
    service = Service(chain, Limits(max_batch=5))
    assert not service.ready
    service.warm_up()
    assert service.ready and set(ran) == sizes and len(ran) == len(sizes)
    assert service.close(10)


def test_values_that_a_model_does_not_take_are_the_clients_fault(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are found before the request waits, not by the thread that runs the model."""
    service = Service(Chain.of(Session(model, threads=1)), Limits())
    tensors = service.chain.tensors

    def above_one(*arguments: Any) -> dict[str, Array]:
        return {name: value + 2 for name, value in tensors(*arguments).items()}

    monkeypatch.setattr(service.chain, "tensors", above_one)
    body, _ = form(GOOD)
    with pytest.raises(Refused, match="has values from") as refused:
        service._decoded(bytearray(body), b"edge")
    assert refused.value.status == 422
    assert service.close(10)


@pytest.mark.parametrize("which", ["soft", "hard"])
def test_few_descriptors_are_no_reason_to_fill_a_log(which: str, model: Path) -> None:
    """100 connections where 64 files may be open: some are served or refused in words, the rest wait."""
    limits = "(64, hard)" if which == "soft" else "(64, 64)"
    before = f"import resource as r; hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, {limits})"
    with Server(model, before=before) as server:
        held = [socket.socket() for _ in range(100)]
        for connection in held:
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", server.port))
        time.sleep(1.5)
        for connection in held:
            connection.close()
        # It closes what comes while it has not yet seen that the others have left.
        for _ in range(100):
            try:
                status = server.post(GOOD).status
                break
            except ConnectionResetError:
                time.sleep(0.1)
        assert status == 200
        code, errors = server.end()
        assert (code, errors) == (0, "")


def test_a_taken_port_is_named(server: Server, model: Path) -> None:
    command = [sys.executable, "-m", "deploy", "serve", "--model", str(model), "--port", str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=30, check=False)
    assert done.returncode == 2
    assert f"port {server.port}" in done.stderr and "--port" in done.stderr


def test_many_threads_of_one_client_see_only_their_own_pictures(server: Server, wanted: Callable[[int], Array]) -> None:
    expected = {seed: wanted(seed) for seed in range(16)}
    wrong: list[int] = []

    def client(offset: int) -> None:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        for turn in range(40):
            seed = (offset + turn) % 16
            body, kind = form(request(seed))
            connection.request("POST", "/synthesize", body, {"Content-Type": kind})
            response = connection.getresponse()
            if not same(Answer(response.status, {}, response.read()).picture, expected[seed]):
                wrong.append(seed)
        connection.close()

    threads = [threading.Thread(target=client, args=(offset,)) for offset in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
