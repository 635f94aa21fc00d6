"""Eager PyTorch in a process of its own, to be measured in turns with something else.

There it has the memory that a program of its own would have. In a process that has done other things it may find
their freed memory, or not, and be half as fast or twice.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from likeness.command import BadInput
from shards.records import LabelSchema

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Source:
    """Which network: a checkpoint or run, a config with overrides, or the network of a method's options."""

    path: Path | None = None
    """Of the checkpoint or config; None for `method`, `options` and `schema`, with random weights."""
    overrides: tuple[str, ...] | None = None
    """Of the config's settings; None for a checkpoint."""
    method: str = ""
    """Whose network it is."""
    options: Mapping[str, Any] | None = None
    """The method's."""
    schema: LabelSchema | None = None
    """Of its label maps and pictures."""
    images: int | None = None
    """See `trainer.checkpoints.synthesis.architecture`."""
    inputs: tuple[str, ...] | None = None
    """See there; None for the method's own."""

    @property
    def where(self) -> str:
        return str(self.path) if self.path else "the same network, random weights"


@dataclass(frozen=True)
class Facts:
    """What the other process knows of its network."""

    method: str
    """Whose network it is."""
    schema: LabelSchema
    """Of its label maps and pictures."""
    flops: int
    """Of one picture, as `torch.utils.flop_counter` counts them."""


class Eager:
    """The process. facts: of its network."""

    def __init__(self, connection: Connection, where: str) -> None:
        self._connection, self.where = connection, where
        self.facts: Facts = self._answer()

    def seconds(self, batch: int) -> float:
        """The time of one pass of `batch` random pictures, the device's work included."""
        self._connection.send(batch)
        taken: float = self._answer()
        return taken

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError as error:
            raise BadInput(
                f"the process of eager PyTorch ({self.where}) died, perhaps for want of memory; measure a smaller "
                "--batch"
            ) from error
        if isinstance(answer, BadInput):
            raise answer
        return answer


@contextlib.contextmanager
def eager_pytorch(
    source: Source, threads: int, on_gpu: bool = False, compiled: bool = False, keep: bool = False, tf32: bool = False
) -> Iterator[Eager]:
    """Starts the process; it ends with the context.

    threads: for PyTorch. compiled: through torch.compile. keep: see `trainer.speed.host_memory`. tf32: whether a GPU
    computes in it instead of float32.
    Raises BadInput when the network cannot be built or loaded.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, source, threads, on_gpu, compiled, keep, tf32), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Eager(ours, source.where)
    finally:
        ours.close()
        process.join(10)
        process.kill()


def _serve(
    connection: Connection, source: Source, threads: int, on_gpu: bool, compiled: bool, keep: bool, tf32: bool
) -> None:
    """Answers batches with seconds until the other end closes."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from shards.inputs import inputs_of
    from trainer.speed import arithmetic
    from trainer.speed.host_memory import keep_freed_memory

    arithmetic.use("tf32" if tf32 else "fp32")
    if keep:
        keep_freed_memory()
    torch.set_num_threads(threads)
    device = torch.device("cuda" if on_gpu else "cpu")

    def synchronise() -> None:
        if on_gpu:
            torch.cuda.synchronize(device)

    with contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        try:
            if on_gpu and not torch.cuda.is_available():
                raise BadInput(
                    "--against needs a PyTorch that sees the GPU (`python -c 'import torch; "
                    "print(torch.cuda.is_available())'`); leave it off, or use --provider cpu"
                )
            synthesis = _load(source)
        except BadInput as error:
            connection.send(error)
            return
        schema = synthesis.schema
        module = synthesis.module.to(device)

        def inputs(batch: int) -> "tuple[Tensor, ...]":
            """Random values in the ranges of the inputs, of the shapes that the network in PyTorch takes."""
            rng = np.random.default_rng(0)
            examples = (
                each.example(
                    rng, (batch, *each.network_shape(schema, synthesis.style_length, synthesis.feature_channels))
                )
                for each in inputs_of(synthesis.inputs)
            )
            return tuple(torch.from_numpy(example).to(device) for example in examples)

        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            module(*inputs(1))
        connection.send(Facts(synthesis.method, schema, counter.get_total_flops()))
        if compiled:
            module = torch.compile(module)
        drawn: dict[int, tuple[Tensor, ...]] = {}
        while True:
            batch = connection.recv()
            # Only the last batch's: those of all would take memory from what is measured.
            drawn = {batch: drawn.get(batch) or inputs(batch)}
            connection.send(_timed(module, drawn[batch], synchronise))


def _timed(module: "nn.Module", inputs: "tuple[Tensor, ...]", synchronise: Callable[[], None]) -> float:
    """Seconds of one pass."""
    import torch

    synchronise()
    begun = time.perf_counter()
    with torch.inference_mode():
        module(*inputs)
    synchronise()
    return time.perf_counter() - begun


def _load(source: Source) -> Any:
    from trainer.checkpoints import synthesis

    if source.path is None:
        assert source.schema is not None and source.options is not None and source.inputs is not None
        return synthesis.architecture(source.method, source.options, source.schema, source.images, source.inputs)
    if source.overrides is None:
        return synthesis.load_for_synthesis(source.path, source.inputs)
    return synthesis.untrained(source.path, source.overrides, source.inputs)
