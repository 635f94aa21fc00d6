"""One small message per iteration: its figures and whether to stop, equal on all ranks and read without waiting."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

LAG = 1
"""Iterations by which reading is behind: the device has work while the host looks at the one before."""


@dataclass(frozen=True)
class Iteration:
    """What became of an iteration.

    images: seen by all ranks after it. figures: means over ranks. skipped: a loss or gradient was not finite, and the
    players from there on have not been stepped. stop: some rank has been asked to stop. keys: this rank's samples.
    """

    images: int
    figures: dict[str, float]
    skipped: bool
    stop: bool
    keys: tuple[str, ...]


@dataclass(frozen=True)
class _Sent:
    images: int
    names: tuple[str, ...]
    keys: tuple[str, ...]
    values: Tensor
    copied: "torch.cuda.Event | None"


class Pulse:
    """Sends every iteration's figures over the ranks, and gives them back one iteration later.

    On a GPU nothing here makes the host wait for the iteration that has just been queued.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._sent: deque[_Sent] = deque()

    def send(self, images: int, figures: dict[str, Tensor], skipped: Tensor, stop: bool, keys: tuple[str, ...]) -> None:
        """To be called by all ranks after each iteration."""
        device = skipped.device
        flags = [skipped.float(), torch.full((), float(stop), device=device)]
        values = torch.stack([*(value.detach().float() for value in figures.values()), *flags])
        if self._accelerator.num_processes > 1:
            values = self._accelerator.reduce(values, reduction="mean")
        copied = None
        if device.type == "cuda":
            host = torch.empty(values.shape, pin_memory=True)
            host.copy_(values, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
            values = host
        self._sent.append(_Sent(images, tuple(figures), keys, values, copied))

    def receive(self, lag: int = LAG) -> Iterator[Iteration]:
        """The iterations that are more than `lag` behind, oldest first; each comes once."""
        while len(self._sent) > lag:
            sent = self._sent.popleft()
            if sent.copied is not None:
                sent.copied.synchronize()
            *figures, skipped, stop = sent.values.tolist()
            named = dict(zip(sent.names, figures, strict=True))
            yield Iteration(sent.images, named, skipped > 0, stop > 0, sent.keys)
