"""An iteration's metrics and requests to stop: one small message over all ranks, read one iteration late."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

LAG = 1
"""Iterations by which reading is behind.

A GPU works through a queue that the host fills. Asking it for a number makes the host wait until everything queued
before is done, and then the GPU waits for the host: at each iteration both would stand still for a while. One iteration
late, the numbers are there already, and the device has the next iteration to work on.
"""


@dataclass(frozen=True)
class Iteration:
    """What became of an iteration; the same on all ranks, but for `keys`."""

    images: int
    """Images seen by all ranks after it."""
    metrics: dict[str, float]
    """Losses and gradient norms by name; means over ranks."""
    skipped: bool
    """A loss or gradient was not finite on some rank, and the players from there on have not been stepped."""
    stop: bool
    """Some rank has been asked to stop."""
    keys: tuple[str, ...]
    """The samples that this rank trained on."""


@dataclass(frozen=True)
class _Sent:
    """An iteration whose numbers may still be on their way."""

    images: int
    """See `Iteration`."""
    names: tuple[str, ...]
    """The metrics' names, in the order of `values`."""
    keys: tuple[str, ...]
    """See `Iteration`."""
    values: Tensor
    """The metrics, then the flags `skipped` and `stop`: float32 (names + 2,) in host memory."""
    copied: "torch.cuda.Event | None"
    """Passed by the GPU once `values` are there; None where they were made on the CPU."""


class DelayedMetrics:
    """Averages every iteration's metrics over the ranks, and gives them back one iteration later.

    On a GPU nothing here makes the host wait for the iteration that has just been queued.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._sent: deque[_Sent] = deque()

    def send(self, images: int, metrics: dict[str, Tensor], skipped: Tensor, stop: bool, keys: tuple[str, ...]) -> None:
        """To be called by all ranks after each iteration, with metrics of the same names in the same order.

        metrics: () tensors of this rank. skipped: a () flag. See `Iteration` for the rest.
        """
        device = skipped.device
        # Flags travel as numbers among the metrics, so that an iteration costs one collective: a mean above 0 is a flag
        # that is up on some rank. Ranks that each read their own signal would stop at different iterations, and the
        # last of them wait in a collective that the others never enter.
        flags = [skipped.float(), torch.full((), float(stop), device=device)]
        values = torch.stack([*(value.detach().float() for value in metrics.values()), *flags])
        if self._accelerator.num_processes > 1:
            values = self._accelerator.reduce(values, reduction="mean")
        copied = None
        if device.type == "cuda":
            # Only into page-locked memory does a copy run beside the host; the event says when it is done.
            host = torch.empty(values.shape, pin_memory=True)
            host.copy_(values, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
            values = host
        self._sent.append(_Sent(images, tuple(metrics), keys, values, copied))

    def receive(self, lag: int = LAG) -> Iterator[Iteration]:
        """The iterations that are more than `lag` behind, oldest first; each comes once."""
        while len(self._sent) > lag:
            sent = self._sent.popleft()
            if sent.copied is not None:
                sent.copied.synchronize()
            *metrics, skipped, stop = sent.values.tolist()
            named = dict(zip(sent.names, metrics, strict=True))
            yield Iteration(sent.images, named, skipped > 0, stop > 0, sent.keys)
