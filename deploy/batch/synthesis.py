"""The loop of batch inference: decoding, the model and encoding overlap, in bounded memory."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager

import cv2
import numpy as np
from tqdm import tqdm

from deploy.batch.bad_inputs import BadInputs
from deploy.batch.outputs import Output, Sink
from deploy.batch.pairs import BadPair, Job, Pairs
from deploy.batch.summary import Summary, latency_percentiles
from deploy.chain import Arrays, Chain
from deploy.pipeline import ahead, grouped, side_by_side
from likeness import machine
from likeness.array import Array


def synthesize_pairs(
    chain: Chain,
    pairs: Pairs,
    sink: Sink,
    bad: BadInputs,
    batch: int = 1,
    output: Output = Output(),  # noqa: B008
    seed: int = 0,
) -> Summary:
    """Makes every picture that `sink` does not have. Broken inputs go to `bad`. seed: see `run.run`."""
    # As many threads as processors: where the model leaves them idle, decoding and encoding may have all of them.
    workers = max(2, machine.cores())
    # So many pictures are between two stages at most: enough that a slow one starves nobody, and no more memory.
    depth = 2 * batch * chain.session.parallel + workers
    work = _Work(chain, sink, bad, output, seed)
    runs: list[tuple[float, int]] = []
    devices = chain.session.parallel

    def painted(stacked: tuple[list[Job], Arrays]) -> tuple[list[Job], Array, float]:
        start = time.perf_counter()
        images = chain.run_unchecked(stacked[1])
        return stacked[0], images, time.perf_counter() - start

    begun = time.perf_counter()
    with (
        _single_threaded_opencv(),
        tqdm(total=len(pairs.ours), desc="pictures", unit="picture") as progress,
        ThreadPoolExecutor(workers, "decode") as decoders,
        ThreadPoolExecutor(workers, "encode") as encoders,
        ThreadPoolExecutor(1, "write") as writer,
        closing(pairs.jobs(work.wants)) as jobs,
        # Jobs are read, and their decoding is begun, in a thread of its own; another one stacks the batch after the
        # one that runs. Both hand on in the order of the pairs.
        ahead(((job, decoders.submit(work.decode, job)) for job in jobs), depth) as decoding,
        ahead(map(_stacked, grouped(work.decoded(decoding), batch)), devices) as batches,
        # A thread for each device runs the model and nothing else, so that it is busy as long as there are decoded
        # pictures.
        side_by_side(painted, batches, devices) as paintings,
    ):
        writing = _Writing(work, encoders, writer)
        for batch_jobs, images, taken in paintings:
            runs.append((taken, len(batch_jobs)))
            for number, job in enumerate(batch_jobs):
                writing.add(job, images[number : number + 1])
            # The bound on memory: with slow encoders or a slow disk, the model waits here.
            writing.wait(depth)
            progress.update(writing.written + work.skipped + len(bad.listed) - progress.n)
        writing.wait(0)
        progress.update(writing.written + work.skipped + len(bad.listed) - progress.n)
    seconds = time.perf_counter() - begun
    # Near 1 where decoding and encoding are hidden behind the model; less says that they hold it up.
    busy = round(sum(taken for taken, _ in runs) / seconds / devices, 4)
    return Summary(writing.written, work.skipped, len(bad.listed), seconds, busy, latency_percentiles(runs))


class _Work:
    """What is done to one picture, from the pair to the file. Each method may run in another thread."""

    def __init__(self, chain: Chain, sink: Sink, bad: BadInputs, output: Output, seed: int) -> None:
        self.chain, self.sink, self.bad, self.output, self.seed = chain, sink, bad, output, seed
        self.skipped = 0

    def wants(self, number: int, path: str) -> bool:
        """Whether a picture is still to be made; counts those that are not."""
        if self.sink.has(number, path):
            self.skipped += 1
            self.bad.mended(path)
            return False
        return True

    def decode(self, job: Job) -> Arrays:
        tensors = self.chain.tensors(job.load(), self.seed, job.name, job.style)
        # Here, so that the model's thread does nothing but run the model.
        self.chain.check({name: value[None] for name, value in tensors.items()})
        return tensors

    def decoded(self, decoding: Iterator[tuple[Job, Future[Arrays]]]) -> Iterator[tuple[Job, Arrays]]:
        """The decoded pairs in their order, without the broken ones, which are listed."""
        for job, tensors in decoding:
            try:
                yield job, tensors.result()
            except BadPair as error:
                self.bad.add(job.output, error)

    def encode(self, image: Array) -> bytes:
        return self.output.encode(self.chain.pictures(self.chain.checked(image))[0])

    def write(self, job: Job, content: bytes) -> None:
        self.sink.write(job.number, job.output, content, job.source)
        self.bad.mended(job.output)


class _Writing:
    """The pictures that are being encoded and written, in the order of the pairs."""

    def __init__(self, work: _Work, encoders: ThreadPoolExecutor, writer: ThreadPoolExecutor) -> None:
        self._work, self._encoders, self._writer = work, encoders, writer
        self._waiting: deque[Future[None]] = deque()
        self.written = 0

    def add(self, job: Job, image: Array) -> None:
        """Takes the picture of a job, with a batch axis of 1."""
        # Files may appear in any order; a shard's members must come one after another.
        if not self._work.sink.in_order:
            self._waiting.append(self._encoders.submit(lambda: self._work.write(job, self._work.encode(image))))
            return
        # Encoded by whichever thread is free; the one writer takes them in the order in which they were added.
        content = self._encoders.submit(self._work.encode, image)
        before = self._waiting[-1] if self._waiting else None
        self._waiting.append(self._writer.submit(self._write_after, before, job, content))

    def _write_after(self, before: Future[None] | None, job: Job, content: Future[bytes]) -> None:
        if before is not None:
            before.result()  # no picture after one that could not be written: a shard would lack it
        self._work.write(job, content.result())

    def wait(self, most: int) -> None:
        """Until at most so many pictures are not written. Raises what went wrong with one."""
        while len(self._waiting) > most:
            self._waiting.popleft().result()
            self.written += 1


@contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """Every picture has a thread already; threads within one would only take turns with those."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _stacked(items: list[tuple[Job, Arrays]]) -> tuple[list[Job], Arrays]:
    jobs = [job for job, _ in items]
    if len(items) == 1:
        # A view; np.stack would copy.
        return jobs, {name: value[None] for name, value in items[0][1].items()}
    return jobs, {name: np.stack([tensors[name] for _, tensors in items]) for name in items[0][1]}
