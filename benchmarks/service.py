"""What the service adds to the model, what it answers under load, and what it does with ten times as much.

    python benchmarks/service.py                        the demo's generator, untrained
    python benchmarks/service.py --model model.onnx     one of your own, of a size that the worlds have

The service is `python -m deploy serve`, a process of its own on loopback; this process is its client, with one raw
connection for each request that may be under way. One client: the model alone, the same with decoding and encoding in
one process, and the service, in turns. Then throughput by the number of clients, --requests requests whose pictures are
all compared with what the model paints here, and arrivals at ten times the measured throughput, answered or not.
Prints one JSON object with the hardware and the versions that the figures belong to.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from deploy.runtime import Session
from likeness.arguments import count, positive
from likeness.array import Array
from likeness.machine import device, versions
from shards.inputs import INPUTS, inputs_of
from shards.labels.kinds import kind_of
from shards.media.pictures import encode_picture
from shards.worlds import WORLDS
from shards.worlds.world import MappedWorld

PACKAGES = ("fastapi", "uvicorn", "h11", "python-multipart", "prometheus-client")
DISTINCT = 32
"""Requests that differ; more would only fill the client's memory."""
CLIENTS = (1, 4, 16)
OVERLOAD = 10
MOST_UNDER_WAY = 400
"""Requests of the overload that the client keeps open at once; the service's own bound is above it."""
TARGET_MS = 2.0


def untrained(folder: Path) -> Path:
    """The demo's generator, exported without gates."""
    from export import graph
    from export.served import Recipe, metadata_of
    from trainer.checkpoints.synthesis import untrained as untrained_synthesis

    synthesis = untrained_synthesis(Path("trainer/configs/demo.yaml"))
    made = graph.to_onnx(synthesis, Recipe())
    graph.save(made.model, metadata_of(synthesis, made.recipe).to_props(), folder / "model.onnx")
    return folder / "model.onnx"


@dataclass(frozen=True)
class Case:
    """A request, and the answer that it should get."""

    files: dict[str, bytes]
    """The parts of the request, by name."""
    request: bytes
    """The HTTP request, as it is sent."""
    feeds: dict[str, Array]
    """The same as the model takes it, by input."""
    picture: Array
    """What the model paints of it."""


def cases(session: Session) -> list[Case]:
    """Drawn faces, figures or streets, each with the label of another."""
    made = []
    kind, size = kind_of(session.schema), session.schema.width
    world = next(world for world in WORLDS.values() if world.KIND is kind)
    rng = np.random.default_rng(0)
    states = world.sample_states(rng, DISTINCT, fps=1.0)
    for number, state in enumerate(states):
        files = {}
        for each in inputs_of(session.inputs):
            name, shown = each.name, states[number - 1] if each.follows_label else state
            if each.photo_side is not None:
                files[name] = encode_picture(world.render(state, world.sample_style(rng), size))
            elif isinstance(world, MappedWorld):
                files[name] = encode_picture(world.class_ids(shown, size))
            else:
                files[name] = json.dumps(world.annotate(shown, size)).encode()
        feeds = decoded(session, files)
        made.append(Case(files, request_of(files), feeds, session.pictures(session.run(**feeds))[0]))
    return made


def decoded(session: Session, files: dict[str, bytes]) -> dict[str, Array]:
    loaded = {
        name: INPUTS[name].decode(content, name, session.schema, session.metadata.style_length)
        for name, content in files.items()
    }
    return {name: value[None] for name, value in session.tensors(loaded).items()}


def in_process(session: Session, files: dict[str, bytes]) -> bytes:
    return encode_picture(session.pictures(session.run(**decoded(session, files)))[0])


def request_of(files: dict[str, bytes]) -> bytes:
    body = b"".join(
        f'--edge\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'.encode() + content + b"\r\n"
        for name, content in files.items()
    )
    body += b"--edge--\r\n"
    head = "POST /synthesize HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=edge\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextlib.contextmanager
def served(model: Path, threads: int) -> Iterator[tuple[int, psutil.Process]]:
    """The service's port and process."""
    command = [sys.executable, "-m", "deploy", "serve", "--model", str(model), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--threads", str(threads)], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        assert process.stdout
        match = re.search(r":(\d+)/", process.stdout.readline())
        assert match, "the service did not start"
        yield int(match[1]), psutil.Process(process.pid)
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()


class Client:
    """A connection that is kept."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and content."""
        # The service closes connections that nothing came on for a while.
        if self.streams is None or self.streams[0].at_eof():
            self.close()
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length
        return int(head[9:12]), await reader.readexactly(int(length[1]))

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


@dataclass
class Load:
    """What came back of many requests."""

    seconds: float = 0.0
    """From the first request to the last answer."""
    statuses: Counter[int] = field(default_factory=Counter)
    """How often each HTTP status came."""
    latencies: list[float] = field(default_factory=list)
    """Seconds of each request that was answered with a picture."""
    contents: dict[int, set[bytes]] = field(default_factory=dict)
    """By the case's number, each answer that is not byte for byte one already seen."""
    not_sent: int = 0
    """Requests that were left out because every connection was under way."""

    def note(self, number: int, status: int, content: bytes, seconds: float) -> None:
        self.statuses[status] += 1
        if status == 200:
            self.latencies.append(seconds)
            self.contents.setdefault(number, set()).add(content)

    def wrong(self, known: list[Case]) -> int:
        """Pictures that are not the model's. A batch may round another way than a picture alone: by one level."""
        return sum(
            int(np.abs(read_png(content).astype(int) - known[number].picture).max()) > 1
            for number, contents in self.contents.items()
            for content in contents
        )

    def figures(self, known: list[Case]) -> dict[str, Any]:
        return {
            "pictures_per_s": round(self.statuses[200] / self.seconds, 1),
            "latency_ms": {f"p{q}": round(1000 * float(np.percentile(self.latencies, q)), 1) for q in (50, 95, 99)},
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "wrong_pictures": self.wrong(known),
        }


def read_png(content: bytes) -> Array:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


async def closed_loop(port: int, known: list[Case], clients: int, requests: int) -> Load:
    """Each client asks again when it was answered."""
    load, numbers = Load(), itertools.count()

    async def work() -> None:
        client = Client(port)
        while (number := next(numbers)) < requests:
            begun = time.perf_counter()
            status, content = await client.ask(known[number % DISTINCT].request)
            load.note(number % DISTINCT, status, content, time.perf_counter() - begun)
        client.close()

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    load.seconds = time.perf_counter() - begun
    return load


async def open_loop(port: int, known: list[Case], rate: float, seconds: float) -> Load:
    """Requests at a rate, whatever comes back; those that find every connection under way are not sent."""
    load = Load()
    free = [Client(port) for _ in range(MOST_UNDER_WAY)]
    tasks: set[asyncio.Task[None]] = set()

    async def one(client: Client, number: int) -> None:
        begun = time.perf_counter()
        try:
            load.note(number, *await client.ask(known[number].request), time.perf_counter() - begun)
        except (OSError, asyncio.IncompleteReadError):
            client.close()
            load.statuses[0] += 1
        free.append(client)

    begun = time.perf_counter()
    for number in range(int(rate * seconds)):
        if (wait := begun + number / rate - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        if not free:
            load.not_sent += 1
            await asyncio.sleep(0)
            continue
        task = asyncio.create_task(one(free.pop(), number % DISTINCT))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    load.seconds = time.perf_counter() - begun
    for client in free:
        client.close()
    return load


async def with_memory(process: psutil.Process, loading: Any) -> tuple[Load, list[float]]:
    """A load, and the resident memory of the service in MB in every second of it."""
    samples: list[float] = []

    async def sample() -> None:
        while True:
            samples.append(round(process.memory_info().rss / 1e6, 1))
            await asyncio.sleep(1)

    sampling = asyncio.create_task(sample())
    try:
        return await loading, samples
    finally:
        sampling.cancel()


async def added(port: int, session: Session, known: list[Case], turns: int) -> dict[str, Any]:
    """One client: what the service takes beyond the model, in turns with it.

    files: reading a request's files and writing a picture's, without the model, which `one_process` does around it.
    """
    client = Client(port)
    seconds: dict[str, list[float]] = {"model": [], "files": [], "one_process": [], "service": []}
    for turn in range(-20, turns):
        case = known[turn % DISTINCT]
        rows: dict[str, Callable[[], Any]] = {
            "model": lambda case=case: session.run(**case.feeds),
            "files": lambda case=case: (decoded(session, case.files), encode_picture(case.picture)),
            "one_process": lambda case=case: in_process(session, case.files),
            "service": lambda case=case: client.ask(case.request),
        }
        for name in rows if turn % 2 else reversed(list(rows)):
            begun = time.perf_counter()
            result = rows[name]()
            if name == "service":
                await result
            taken = time.perf_counter() - begun
            if turn >= 0:
                seconds[name].append(taken)
    client.close()

    def over(name: str) -> float:
        pairs = zip(seconds["service"], seconds[name], strict=True)
        return round(1000 * statistics.median(service - other for service, other in pairs), 2)

    return {
        "p50_ms": {name: round(1000 * statistics.median(values), 2) for name, values in seconds.items()},
        "added_p50_ms_over_the_model": over("model"),
        "added_p50_ms_over_one_process": over("one_process"),
        "target_ms": TARGET_MS,
        "turns": turns,
    }


def bare_rate(session: Session, known: list[Case], batch: int) -> float:
    """Pictures per second of the model alone, median of runs."""
    feeds = {name: np.concatenate([case.feeds[name] for case in known[:batch]]) for name in session.inputs}
    seconds = []
    for _ in range(12):
        begun = time.perf_counter()
        session.run(**feeds)
        seconds.append(time.perf_counter() - begun)
    return round(batch / statistics.median(seconds[2:]), 1)


async def measured(port: int, process: psutil.Process, session: Session, options: argparse.Namespace) -> dict[str, Any]:
    known = cases(session)
    figures: dict[str, Any] = {"one_client": await added(port, session, known, options.turns)}
    figures["model_pictures_per_s_by_batch"] = {str(batch): bare_rate(session, known, batch) for batch in (1, 8)}
    figures["by_clients"] = {}
    for clients in CLIENTS:
        load = await closed_loop(port, known, clients, options.requests // 20)
        figures["by_clients"][str(clients)] = load.figures(known)
    load, memory = await with_memory(process, closed_loop(port, known, CLIENTS[-1], options.requests))
    figures["sustained"] = {"requests": options.requests, "clients": CLIENTS[-1], **load.figures(known)}
    figures["sustained"]["resident_mb"] = thinned(memory)
    capacity = load.statuses[200] / load.seconds
    load, memory = await with_memory(process, open_loop(port, known, OVERLOAD * capacity, options.overload_seconds))
    figures["overload"] = {
        "offered_per_s": round(OVERLOAD * capacity, 1),
        "sent_per_s": round(load.statuses.total() / load.seconds, 1),
        "not_sent_by_the_bounded_client": load.not_sent,
        **load.figures(known),
        "resident_mb": thinned(memory),
    }
    load = await closed_loop(port, known, 1, 50)
    figures["after_the_overload"] = load.figures(known)
    return figures


def thinned(memory: list[float]) -> list[float]:
    return memory[:: max(1, len(memory) // 20)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="an exported model, instead of the untrained demo")
    parser.add_argument("--threads", type=count, default=1, help="CPU threads in one run of the model, here and there")
    parser.add_argument("--turns", type=count, default=300, help="of the comparison with one client")
    parser.add_argument("--requests", type=count, default=10_000)
    parser.add_argument("--overload-seconds", type=positive, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or untrained(Path(folder))
        session = Session(model, threads=options.threads)
        with served(model, options.threads) as (port, process):
            figures = asyncio.run(measured(port, process, session, options))
    figures |= {
        "weights": str(options.model.name if options.model else "trainer/configs/demo.yaml, untrained"),
        "size": [session.schema.width, session.schema.height],
        "threads": options.threads,
        "hardware": device("cpu"),
        "versions": versions() | {name: version(name) for name in PACKAGES},
    }
    json.dump(figures, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
