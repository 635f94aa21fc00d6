"""Batch inference: pairs in, pictures out. Decoding, the model and encoding overlap; memory is bounded."""

import json
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from deploy.batch.bad_inputs import BadInputs, changes
from deploy.batch.outputs import Files, Output, Sink, Tars
from deploy.batch.pairs import WHOLE, BadPair, Job, Pairs
from deploy.pipeline import ahead, grouped
from deploy.runtime import Session
from likeness import atomic
from likeness.array import Array
from likeness.command import BadInput
from likeness.machine import ON_CPU, device, versions
from likeness.one_writer import only_writer
from shards.inputs import optional_among
from shards.records import LabelSchema, sha256_of

Tensors = dict[str, Array]
T = TypeVar("T")

TARGET_MS = (8.0, 10.0)
TARGET_SIDE = 256
PERCENTILES = (50, 95, 99)
RECORD = "batch.json"


@dataclass(frozen=True)
class Summary:
    """What a run did. `summary.json` holds it, beside facts about model and machine.

    pictures: made by this run. skipped: found finished, of the run's slice. bad: left out, because their inputs are
    broken. seconds: from the first decoding to the last file written, without loading the model. busy: the share of
    these seconds in which the model ran. latency_ms: p50, p95 and p99 over pictures of the time of one model run
    divided by its batch, the first run left out where there are several; None when no picture was made.
    """

    pictures: int
    skipped: int
    bad: int
    seconds: float
    busy: float
    latency_ms: dict[str, float] | None

    @property
    def pictures_per_s(self) -> float:
        """End to end: decoding, model and encoding."""
        return self.pictures / self.seconds if self.pictures else 0.0


def run(
    session: Session,
    pairs: Pairs,
    out: Path,
    batch: int = 1,
    output: Output = Output(),  # noqa: B008
    max_bad: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Makes the pictures of `pairs` that are not yet in `out`, and returns what `summary.json` holds.

    An existing `out` is continued when an earlier run of the same model, pairs and output began it. Slices of one run
    may write to one `out` at the same time, from several machines; their summaries are `summary-0-of-4.json` and so on.
    output: as `pairs` was opened with. max_bad: so many pairs with broken inputs are skipped and listed in `bad.csv`
    (`bad-0-of-4.csv`); the next run tries them again. seed: of style codes and features that no pair gives.
    Raises BadInput when `out` is anything else, another process is writing the same slice, or too many are broken.
    """
    digest = sha256_of(session.path)
    chance = {"seed": seed, "styles": pairs.styles} if optional_among(session.inputs) else {}
    with _opened(out, {"model_sha256": digest, **chance}, session.schema, pairs, output):
        bad = BadInputs(out, f"bad{_ending(pairs.part)}", max_bad, pairs.mark)
        sink = (
            Tars(out, output, pairs.ours, {"model_sha256": digest, "method": session.method})
            if output.per_shard
            else Files(out, output)
        )
        try:
            with sink:
                summary = synthesize_pairs(session, pairs, sink, bad, batch, output, seed)
        finally:
            bad.save()
        if isinstance(sink, Tars):
            sink.write_index(pairs.part)
        described = {**describe(session, pairs, batch, summary), **chance}
        file = out / f"summary{_ending(pairs.part)}.json"
        if summary.pictures or summary.bad or not file.exists():
            atomic.write_text(file, json.dumps(described, indent=1) + "\n")
    return described


def _ending(part: tuple[int, int]) -> str:
    """Of the names of files that every slice has for itself."""
    return "" if part == WHOLE else f"-{part[0]}-of-{part[1]}"


def synthesize_pairs(
    session: Session,
    pairs: Pairs,
    sink: Sink,
    bad: BadInputs,
    batch: int = 1,
    output: Output = Output(),  # noqa: B008
    seed: int = 0,
) -> Summary:
    """Makes every picture that `sink` does not have. Broken inputs go to `bad`. seed: see `run`."""
    # As many threads as processors: where the model leaves them idle, decoding and encoding may have all of them.
    workers = max(2, len(os.sched_getaffinity(0)))
    depth = 2 * batch + workers
    skipped = 0

    def wanted(number: int, path: str) -> bool:
        nonlocal skipped
        if sink.has(number, path):
            skipped += 1
            bad.mended(path)
            return False
        return True

    def decoded(job: Job) -> Tensors:
        tensors = session.tensors(session.completed(job.load(), seed, job.name, job.style))
        session.check({name: value[None] for name, value in tensors.items()})
        return tensors

    def encoded(image: Array) -> bytes:
        return output.encode(session.pictures(session.checked(image))[0])

    def written(job: Job, content: bytes) -> None:
        sink.write(job.number, job.output, content, job.source)
        bad.mended(job.output)

    def written_in_turn(job: Job, content: Future[bytes], before: Future[None] | None) -> None:
        if before is not None:
            before.result()  # no picture after one that could not be written
        written(job, content.result())

    def loaded(begun: Iterator[tuple[Job, Future[Tensors]]]) -> Iterator[tuple[Job, Tensors]]:
        for job, tensors in begun:
            try:
                yield job, tensors.result()
            except BadPair as error:
                bad.add(job.output, error)

    latencies: list[tuple[float, int]] = []
    begun = time.perf_counter()
    with (
        _single_threaded_opencv(),
        tqdm(total=len(pairs.ours), desc="pictures", unit="picture") as progress,
        ThreadPoolExecutor(workers, "decode") as decoders,
        ThreadPoolExecutor(workers, "encode") as encoders,
        ThreadPoolExecutor(1, "write") as writer,
        closing(pairs.jobs(wanted)) as jobs,
        ahead(((job, decoders.submit(decoded, job)) for job in jobs), depth) as decoding,
        ahead(map(_stacked, grouped(loaded(decoding), batch)), 1) as batches,
    ):
        writing: deque[Future[None]] = deque()
        made = 0

        def store(job: Job, image: Array) -> Future[None]:
            if not sink.in_order:
                return encoders.submit(lambda: written(job, encoded(image)))
            return writer.submit(
                written_in_turn, job, encoders.submit(encoded, image), writing[-1] if writing else None
            )

        for batch_jobs, feeds in batches:
            start = time.perf_counter()
            images = session.run_unchecked(feeds)
            latencies.append((time.perf_counter() - start, len(batch_jobs)))
            for number, job in enumerate(batch_jobs):
                writing.append(store(job, images[number : number + 1]))
            while len(writing) > depth:
                writing.popleft().result()
                made += 1
            progress.update(made + skipped + len(bad.found) - progress.n)
        for future in writing:
            future.result()
            made += 1
        progress.update(made + skipped + len(bad.found) - progress.n)
    seconds = time.perf_counter() - begun
    busy = sum(taken for taken, _ in latencies) / seconds
    return Summary(made, skipped, len(bad.found), seconds, round(busy, 4), _percentiles(latencies))


@contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """Every picture has a thread already; threads within one would only take turns with those."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _stacked(items: list[tuple[Job, Tensors]]) -> tuple[list[Job], Tensors]:
    jobs = [job for job, _ in items]
    if len(items) == 1:
        return jobs, {name: value[None] for name, value in items[0][1].items()}
    return jobs, {name: np.stack([tensors[name] for _, tensors in items]) for name in items[0][1]}


def _percentiles(latencies: list[tuple[float, int]]) -> dict[str, float] | None:
    counted = latencies[1:] or latencies
    if not counted:
        return None
    each = [1000 * seconds / count for seconds, count in counted]
    per_picture = np.repeat(each, [count for _, count in counted])
    return {f"p{percent}": round(float(np.percentile(per_picture, percent)), 3) for percent in PERCENTILES}


@contextmanager
def _opened(out: Path, facts: dict[str, Any], schema: LabelSchema, pairs: Pairs, output: Output) -> Iterator[None]:
    """Creates `out`, or makes sure that it is an unfinished run of the same; one process at a time in each slice.

    facts: of the model, and of what is drawn.
    """
    record: dict[str, Any] = {
        **facts,
        "size": [schema.width, schema.height],
        "pairs": pairs.identity(changes(out)),
        "count": pairs.total,
        "output": output.to_json(),
    }
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
        named = {
            **{"model_sha256": "model", "size": "--size", "seed": "--seed", "styles": "--styles"},
            "output": "--format, --quality or --per-shard",
        }
        other_pairs = "set of pairs, or their files have changed"
        changed = next((words for key, words in named.items() if earlier.get(key) != record.get(key)), other_pairs)
        raise BadInput(f"{out} was begun with another {changed} (see its {RECORD}); choose another --out")
    part = f"slice {_ending(pairs.part)[1:]} of " if slices > 1 else ""
    lock = file if slices == 1 else out / f".slice{_ending(pairs.part)}.lock"
    with only_writer(lock, f"another process is writing {part}{out}; wait for it or choose another --out"):
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


def table(described: dict[str, Any]) -> str:
    """The summary for people."""
    latency = described["latency_ms"]
    measured = ", ".join(f"{name} {value:.1f}" for name, value in latency.items()) if latency else "nothing measured"
    rows = {
        "pictures": f"{described['pictures']:,} made, {described['skipped']:,} found finished"
        + (
            f", {described['bad']:,} left out: see bad{_ending(described['slice'] or WHOLE)}.csv"
            if described["bad"]
            else ""
        ),
        "pictures/s": f"{described['pictures_per_s']:.2f} (decoding, model and encoding; the model ran "
        f"{100 * described['busy']:.0f}% of the time)",
        "ms per picture": f"{measured} (model only)",
        "provider": f"{described['provider']}, {described['device']}, batch {described['batch']}",
        "model": f"{described['method']}, {described['images_seen']:,} images seen in training",
        "target": described["comparison"],
    }
    return "\n".join(f"{name:<16}{value}" for name, value in rows.items())
