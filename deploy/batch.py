"""Batch inference: pairs in, PNG files out. Decoding, the model and encoding overlap; memory is bounded."""

import fcntl
import json
import os
import platform
import queue
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from deploy import pictures
from deploy.pairs import WHOLE, Job, Loaded, Pairs, bounds
from deploy.runtime import Session
from shards import atomic
from shards.command import BadInput
from shards.records import sha256_of

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]

TARGET_MS = (8.0, 10.0)
TARGET_SIDE = 256
ON_CPU = ("cpu", "openvino", "openvino-bf16")
PERCENTILES = (50, 95, 99)
RECORD = "batch.json"
SUMMARY = "summary.json"
_PARTIAL = re.compile(r"\.(.+)-[^-]+\.png")
"""What `atomic.new_file` calls a picture until it is whole."""
_WORKERS = 2
_PACKAGES = ("onnxruntime-gpu", "onnxruntime", "openvino", "numpy", "opencv-python-headless", "simplejpeg")


@dataclass(frozen=True)
class Summary:
    """What a run did. `summary.json` holds it, beside facts about model and machine.

    pictures: made by this run. skipped: found finished, of the run's slice. seconds: from the first decoding to the
    last file written, without loading the model. latency_ms: p50, p95 and p99 over pictures of the time of one model
    run divided by its batch, the first run left out where there are several; None when no picture was made.
    """

    pictures: int
    skipped: int
    seconds: float
    latency_ms: dict[str, float] | None

    @property
    def pictures_per_s(self) -> float:
        """End to end: decoding, model and encoding."""
        return self.pictures / self.seconds if self.pictures else 0.0


def run(session: Session, pairs: Pairs, out: Path, batch: int = 1) -> dict[str, Any]:
    """Makes the pictures of `pairs` that are not yet in `out`, and returns what `summary.json` holds.

    An existing `out` is continued when an earlier run of the same model and pairs began it. Slices of one run may
    write to one `out` at the same time, from several machines; their summaries are `summary-0-of-4.json` and so on.
    Raises BadInput when it is anything else, or another process is writing the same slice.
    """
    with _opened(out, session, pairs):
        summary = synthesize_pairs(session, pairs, out, batch)
        described = describe(session, pairs, batch, summary)
        file = out / (SUMMARY if pairs.part == WHOLE else f"summary-{_name(pairs)}.json")
        if summary.pictures or not file.exists():
            atomic.write_text(file, json.dumps(described, indent=1) + "\n")
    return described


def _name(pairs: Pairs) -> str:
    number, count = pairs.part
    return f"{number}-of-{count}"


def synthesize_pairs(session: Session, pairs: Pairs, out: Path, batch: int = 1) -> Summary:
    """Makes every picture whose file is not yet below `out`. Files appear whole, in any order."""
    finished, leftovers = _found(out)
    ours = len(bounds(pairs.total, pairs.part))
    skipped: deque[str] = deque()

    def wanted(output: str) -> bool:
        for leftover in leftovers.get(output, ()):
            leftover.unlink()
        if output in finished:
            skipped.append(output)
        return output not in finished

    latencies: list[tuple[float, int]] = []
    begun = time.perf_counter()
    with (
        tqdm(total=ours, desc="pictures", unit="picture") as progress,
        ThreadPoolExecutor(_WORKERS, "decode") as decoders,
        ThreadPoolExecutor(_WORKERS, "encode") as encoders,
        _ahead(pairs.jobs(wanted), decoders, session.tensors, depth=2 * batch + _WORKERS) as decoded,
    ):
        writing: deque[Future[None]] = deque()
        written = 0
        for outputs, tensors in _batches(decoded, batch):
            start = time.perf_counter()
            images = session.run(**tensors)
            latencies.append(((time.perf_counter() - start) / len(outputs), len(outputs)))
            for number, output in enumerate(outputs):
                writing.append(encoders.submit(_write, out / output, session, images[number : number + 1]))
            while len(writing) > 2 * batch + _WORKERS:
                writing.popleft().result()
                written += 1
            progress.update(written + len(skipped) - progress.n)
        for future in writing:
            future.result()
        progress.update(ours - progress.n)
    made = sum(count for _, count in latencies)
    return Summary(made, ours - made, time.perf_counter() - begun, _percentiles(latencies))


def _found(out: Path) -> tuple[set[str], dict[str, list[Path]]]:
    """The pictures that are finished, and what killed processes were writing, by picture.

    A leftover may as well be what another slice is writing just now: only who makes that picture may remove it.
    """
    finished: set[str] = set()
    leftovers: dict[str, list[Path]] = {}
    for file in out.rglob("*.png"):
        if match := _PARTIAL.fullmatch(file.name):
            output = file.with_name(f"{match[1]}.png").relative_to(out).as_posix()
            leftovers.setdefault(output, []).append(file)
        else:
            finished.add(file.relative_to(out).as_posix())
    return finished, leftovers


def _write(path: Path, session: Session, image: Array) -> None:
    pictures.write_png(path, session.pictures(image)[0])


def _batches(decoded: Iterator[tuple[str, Tensors]], batch: int) -> Iterator[tuple[list[str], Tensors]]:
    """Stacks up to `batch` inputs along a new first axis."""
    waiting: list[tuple[str, Tensors]] = []
    for item in decoded:
        waiting.append(item)
        if len(waiting) == batch:
            yield _stacked(waiting)
            waiting = []
    if waiting:
        yield _stacked(waiting)


def _stacked(items: list[tuple[str, Tensors]]) -> tuple[list[str], Tensors]:
    outputs = [output for output, _ in items]
    return outputs, {name: np.stack([tensors[name] for _, tensors in items]) for name in items[0][1]}


@contextmanager
def _ahead(
    jobs: Iterator[Job], decoders: ThreadPoolExecutor, tensors: Callable[[Loaded], Tensors], depth: int
) -> Iterator[Iterator[tuple[str, Tensors]]]:
    """Reads jobs in a thread of its own and decodes them, in order, at most `depth` ahead of who consumes them.

    tensors: makes the model's inputs of what a job loads.
    """
    waiting: queue.Queue[tuple[str, Future[Tensors]] | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def read() -> None:
        try:
            for job in jobs:
                waiting.put((job.output, decoders.submit(_load, job, tensors)))
                if stopped.is_set():
                    return
            waiting.put(None)
        except BaseException as error:
            waiting.put(error)

    def consume() -> Iterator[tuple[str, Tensors]]:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            output, future = item
            yield output, future.result()

    reader = threading.Thread(target=read, name="read", daemon=True)
    reader.start()
    try:
        yield consume()
    finally:
        stopped.set()
        while reader.is_alive():
            # The reader may be waiting for room.
            while not waiting.empty():
                waiting.get_nowait()
            reader.join(0.05)


def _load(job: Job, tensors: Callable[[Loaded], Tensors]) -> Tensors:
    return tensors(job.load())


def _percentiles(latencies: list[tuple[float, int]]) -> dict[str, float] | None:
    counted = latencies[1:] or latencies
    if not counted:
        return None
    per_picture = np.repeat([seconds * 1000 for seconds, _ in counted], [count for _, count in counted])
    return {f"p{percent}": round(float(np.percentile(per_picture, percent)), 3) for percent in PERCENTILES}


@contextmanager
def _opened(out: Path, session: Session, pairs: Pairs) -> Iterator[None]:
    """Creates `out`, or makes sure that it is an unfinished run of the same; one process at a time in each slice."""
    record: dict[str, Any] = {"model_sha256": sha256_of(session.path), "pairs": pairs.identity, "count": pairs.total}
    slices = pairs.part[1]
    if slices > 1:
        record["slices"] = slices
    file = out / RECORD
    if not out.exists():
        try:
            with atomic.new_folder(out) as partial:
                (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        except (BadInput, OSError):
            if not file.is_file():  # where it is, another slice was first
                raise
    if not file.is_file():
        raise BadInput(f"{out} exists already and holds no {RECORD} of an earlier run; choose another --out")
    try:
        earlier = json.loads(file.read_text())
    except ValueError as error:
        raise BadInput(f"{file} is damaged ({error}); choose another --out") from error
    if earlier != record:
        if _unsliced(earlier) == _unsliced(record):
            begun = f"in {earlier['slices']} slices" if "slices" in earlier else "without slices"
            raise BadInput(f"{out} was begun {begun} (see its {RECORD}); go on like that or choose another --out")
        changed = "model" if earlier.get("model_sha256") != record["model_sha256"] else "pairs"
        raise BadInput(f"{out} was begun with another {changed} (see its {RECORD}); choose another --out")
    # On NFS only files that are open for writing can be locked.
    with (file if slices == 1 else out / f".slice-{_name(pairs)}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            part = f"slice {_name(pairs)} of " if slices > 1 else ""
            raise BadInput(f"another process is writing {part}{out}; wait for it or choose another --out") from error
        yield


def _unsliced(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "slices"}


def describe(session: Session, pairs: Pairs, batch: int, summary: Summary) -> dict[str, Any]:
    """What `summary.json` holds: figures, how they compare to the target, model and machine."""
    schema = session.schema
    roll: int = getattr(pairs, "roll", 0)
    facts = session.metadata.to_json()
    del facts["schema"]
    return {
        **asdict(summary),
        "pictures_per_s": round(summary.pictures_per_s, 3),
        "total": pairs.total,
        "slice": None if pairs.part == WHOLE else list(pairs.part),
        "provider": session.provider,
        "device": device(session.provider),
        "batch": batch,
        "size": [schema.width, schema.height],
        "target_ms": list(TARGET_MS),
        "comparison": compare(session, summary.latency_ms),
        "roll_labels": roll,
        "versions": versions(),
        **facts,
    }


def compare(session: Session, latency_ms: dict[str, float] | None) -> str:
    """Our latency beside the paper's, in words that do not compare what cannot be compared."""
    schema = session.schema
    paper = f"the paper reports {TARGET_MS[0]:g}-{TARGET_MS[1]:g} ms per 256×256 picture on a GTX 1080 Ti"
    if latency_ms is None:
        return f"{paper}; nothing was measured here, all pictures were finished"
    here = f"{latency_ms['p50']:.1f} ms (p50) per {schema.width}×{schema.height} picture on {device(session.provider)}"
    if session.provider in ON_CPU or (schema.width, schema.height) != (TARGET_SIDE, TARGET_SIDE):
        return f"{here}; {paper}: another machine or size, so the two do not compare"
    verdict = "within the target" if latency_ms["p50"] <= TARGET_MS[1] else "slower than the target"
    return f"{here}, {verdict}; {paper}"


def device(provider: str) -> str:
    """The processor or graphics card that the model runs on, in words."""
    if provider in ON_CPU:
        named = (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name"))
        name = next(named, platform.processor() or platform.machine())
        return f"the CPU ({name or 'unknown'}, {len(os.sched_getaffinity(0))} cores)"
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = [line.partition(":")[2].strip() for card in cards[:1] for line in _lines(card) if line.startswith("Model")]
    return f"the GPU ({models[0] if models else 'unknown'})"


def _lines(path: str | Path) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.is_file() else []


def versions() -> dict[str, str]:
    """Python's, and those of the packages that pictures depend on."""
    found = {"python": sys.version.split()[0]}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def table(described: dict[str, Any]) -> str:
    """The summary for people."""
    latency = described["latency_ms"]
    measured = ", ".join(f"{name} {value:.1f}" for name, value in latency.items()) if latency else "nothing measured"
    rows = {
        "pictures": f"{described['pictures']:,} made, {described['skipped']:,} found finished",
        "pictures/s": f"{described['pictures_per_s']:.2f} (decoding, model and encoding)",
        "ms per picture": f"{measured} (model only)",
        "provider": f"{described['provider']}, {described['device']}, batch {described['batch']}",
        "model": f"{described['method']}, {described['images_seen']:,} images seen in training",
        "target": described["comparison"],
    }
    return "\n".join(f"{name:<16}{value}" for name, value in rows.items())
