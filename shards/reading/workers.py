"""Loader workers: processes that make batches ahead, and hand them over through memory that they share.

The memory is mapped before the workers fork. Unlike that of torch's loader it is no file below `/dev/shm`, which
containers keep small, and handing over takes no socket below `TMPDIR` and no file descriptor for each array, so that
none of these can run out in the middle of a run.
"""

import atexit
import ctypes
import errno
import mmap
import multiprocessing
import os
import pickle
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

from likeness.array import Array
from likeness.command import BadInput

AHEAD = 4
"""Things that each worker has ready."""
ASKED_EVERY_S = 0.5
"""How often somebody who waits asks whether to go on."""
ENDING_S = 1.0
"""Seconds that workers have to end by themselves before they are killed; nothing that they do needs an end."""
ALIGNMENT = 64
"""Bytes: where an array may begin in shared memory."""
PR_SET_PDEATHSIG = 1
"""Of <sys/prctl.h>: which signal a process gets when the thread that forked it ends."""
IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""What clusters and terminals send to a whole job. The parent saves meanwhile, and ends its workers itself."""

Make = Callable[[int, int], Iterator[Any]]
"""Makes what worker `turn` of `count` has to make, in order."""


def size_of(thing: Any) -> int:
    """Bytes of shared memory that a thing takes: those of its arrays, aligned."""
    _, buffers = _taken_apart(thing)
    return sum(_aligned(buffer.raw().nbytes) for buffer in buffers)


def made_by_workers(
    make: Make,
    count: int,
    slot_bytes: int,
    memory: Callable[[tuple[int, ...]], Array],
    go_on: Callable[[], bool] | None = None,
) -> Iterator[Any]:
    """What `count` workers make, one from each in turn, until the first has no more.

    slot_bytes: how large a thing may be, see `size_of`. memory: gives a uint8 array of a shape, into which a thing's
    arrays are copied. go_on: asked twice a second while the next thing is waited for; False ends the iteration.
    Signals to the whole job leave workers alone; they end with this generator, and with their parent.

    Raises BadInput when a worker has been killed, memory or file descriptors do not suffice, or when `make` does;
    RuntimeError with the worker's traceback for everything else.
    """
    if count == 0:
        yield from make(0, 1)
        return
    workers = _Workers(make, count, slot_bytes)
    try:
        for worker in cycle(workers.workers):
            message = worker.receive(go_on)
            if message is None:
                return
            yield worker.take(message, memory)
    finally:
        workers.close()


@dataclass(frozen=True)
class _Filled:
    """Says that a thing lies in a slot."""

    slot: int
    """Which one."""
    pickled: bytes
    """The thing without its arrays."""
    sizes: tuple[int, ...]
    """Bytes of the arrays, in order; each begins aligned."""


@dataclass(frozen=True)
class _Failed:
    """Says why a worker has ended."""

    bad_input: str
    """What a person can mend; empty for a defect of ours."""
    traceback: str
    """Where it happened."""


def _taken_apart(thing: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """A thing as bytes, and the memory of its arrays, which Python's protocol 5 leaves out of them."""
    buffers: list[pickle.PickleBuffer] = []
    return pickle.dumps(thing, protocol=5, buffer_callback=buffers.append), buffers


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


class _Worker:
    """The parent's end of one worker."""

    def __init__(self, number: int, slot_bytes: int) -> None:
        self.number = number
        self.slots = np.frombuffer(mmap.mmap(-1, max(1, AHEAD * slot_bytes)), np.uint8)[: AHEAD * slot_bytes]
        self.slots = self.slots.reshape(AHEAD, slot_bytes)
        self.ours, self.theirs = multiprocessing.Pipe()
        self.process: BaseProcess | None = None

    def receive(self, go_on: Callable[[], bool] | None) -> _Filled | None:
        """Waits for the worker's next message; None when there is no more, or nobody wants to wait for it."""
        assert self.process is not None
        while not (ready := wait([self.ours, self.process.sentinel], ASKED_EVERY_S if go_on else None)):
            if go_on and not go_on():
                return None
        # What a worker has handed over before its end counts.
        if self.ours not in ready and not self.ours.poll():
            raise BadInput(self._end(self.process))
        try:
            message = self.ours.recv()
        except (EOFError, ConnectionResetError):
            raise BadInput(self._end(self.process)) from None
        if isinstance(message, _Failed):
            if message.bad_input:
                raise BadInput(message.bad_input)
            raise RuntimeError(f"loader worker {self.number} failed:\n{message.traceback}")
        assert message is None or isinstance(message, _Filled)
        return message

    def _end(self, process: BaseProcess) -> str:
        process.join()
        code = process.exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        memory = (
            ", as the kernel does when memory runs out; set data.workers or batch lower, or give the job more memory"
            if code == -signal.SIGKILL
            else ""
        )
        return f"loader worker {self.number} (process {process.pid}) {how}{memory}"

    def take(self, message: _Filled, memory: Callable[[tuple[int, ...]], Array]) -> Any:
        """Copies a thing out of its slot, and gives the slot back."""
        total = sum(_aligned(size) for size in message.sizes)
        copied = memory((total,))
        copied[:] = self.slots[message.slot, :total]
        with suppress(BrokenPipeError, ConnectionResetError):  # its end is said when the next thing is waited for
            self.ours.send(message.slot)
        buffers, start = [], 0
        for size in message.sizes:
            buffers.append(copied[start : start + size])
            start += _aligned(size)
        # Ours: written by the process that this one has forked.
        return pickle.loads(message.pickled, buffers=buffers)


class _Workers:
    """Workers that run; they end with `close`, at the end of this process at the latest."""

    def __init__(self, make: Make, count: int, slot_bytes: int) -> None:
        self.workers: list[_Worker] = []
        atexit.register(self.close)
        # Forked, so that they have the shared memory, and what the parent has read so far.
        context = multiprocessing.get_context("fork")
        try:
            for number in range(count):
                self.workers.append(_Worker(number, slot_bytes))
            parents_ends = [worker.ours for worker in self.workers]
            for worker in self.workers:
                arguments = (make, worker, count, parents_ends, os.getpid())
                # No daemon: Python's own exit sends daemons SIGTERM, and waits for them.
                worker.process = context.Process(target=_work, args=arguments, name=f"loader worker {worker.number}")
                worker.process.start()
                worker.theirs.close()
        except OSError as error:
            self.close()
            raise BadInput(
                f"{count} loader workers cannot be started: {_remedy(error) or error.strerror}; {AHEAD} batches of "
                f"{slot_bytes / 1e6:,.1f} MB are kept for each (data.workers)"
            ) from error

    def close(self) -> None:
        """Ends the workers; one that does not end by itself within ENDING_S is killed."""
        atexit.unregister(self.close)
        for worker in self.workers:
            worker.ours.close()
            worker.theirs.close()
        deadline = time.monotonic() + ENDING_S
        for worker in self.workers:
            if worker.process is not None and worker.process.pid is not None:
                worker.process.join(max(0.0, deadline - time.monotonic()))
                worker.process.kill()
                worker.process.join()


def _remedy(error: BaseException) -> str:
    """What a person can do about a lack of memory or file descriptors; empty for any other error."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return (
            f"this process may have {limit} files open, which is too few; raise `ulimit -n`, or set data.workers lower"
        )
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN)):
        return "memory or processes do not suffice; set data.workers or batch lower, or give the job more"
    return ""


def _work(make: Make, worker: _Worker, count: int, parents_ends: Sequence[Connection], parent: int) -> None:
    """What a worker does, in its own process."""
    # Whatever ends the parent, and whatever this one is in the middle of then.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    signal.set_wakeup_fd(-1)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    # A worker sees its parent's end by the end of the pipe, which it must not hold open itself.
    for end in parents_ends:
        end.close()
    ours, free = worker.theirs, [*range(AHEAD)]
    try:
        try:
            for thing in make(worker.number, count):
                pickled, buffers = _taken_apart(thing)
                while not free or ours.poll():
                    free.append(ours.recv())
                slot, start = free.pop(), 0
                sizes = tuple(buffer.raw().nbytes for buffer in buffers)
                for buffer, size in zip(buffers, sizes, strict=True):
                    worker.slots[slot, start : start + size] = np.frombuffer(buffer.raw(), np.uint8)
                    start += _aligned(size)
                ours.send(_Filled(slot, pickled, sizes))
            ours.send(None)
        except (BrokenPipeError, ConnectionResetError, EOFError):
            raise
        except BadInput as error:
            ours.send(_Failed(str(error), traceback.format_exc()))
        except Exception as error:
            ours.send(_Failed(_remedy(error), traceback.format_exc()))
    except (BrokenPipeError, ConnectionResetError, EOFError):
        # The parent wants no more.
        return
