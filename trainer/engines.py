"""How one player's networks are run, differentiated and stepped, on however many ranks."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from trainer import checkpoint as checkpoints
from trainer.config import Optimizer

Result = TypeVar("Result")


class Scope(nn.Module):
    """The networks that one optimizer steps, as one module.

    Its forward calls what it is given, so that one distributed wrapper per player synchronises whatever a
    method does with these networks, also where it calls past their `forward`.
    """

    def __init__(self, networks: dict[str, nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)

    def forward(self, thunk: Callable[[], Any]) -> Any:
        return thunk()


class Engine:
    """One player under DDP (or alone): Adam on parameters that every rank holds whole."""

    def __init__(self, networks: dict[str, nn.Module], settings: Optimizer, accelerator: Accelerator) -> None:
        scope = Scope(networks)
        self.names = [f"{name}.{key}" for name, network in networks.items() for key, _ in network.named_parameters()]
        self._accelerator = accelerator
        with warnings.catch_warnings():
            # torch announces another name for this, which accelerate does not have yet.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            self._scope = accelerator.prepare_model(scope)
        self._parameters = list(scope.parameters())
        self._optimizer = torch.optim.Adam(
            self._parameters, lr=settings.learning_rate, betas=settings.betas, fused=True
        )

    def run(self, thunk: Callable[[], Result], last: bool) -> Result:
        """Calls `thunk`, in which the player's networks are used; gradients meet after the last part of a batch."""
        with self._unsynchronised(last):
            result: Result = self._scope(thunk)
        return result

    def backward(self, loss: Tensor, last: bool) -> None:
        """Adds the gradients of `loss`. Where it is not finite, neither is any gradient, on any rank."""
        with self._unsynchronised(last):
            self._accelerator.backward(loss, gradient=torch.ones_like(loss) + 0 * loss.detach())

    def _unsynchronised(self, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self._accelerator.no_sync(self._scope)

    def norm(self) -> Tensor:
        """The gradients' L2 norm, equal on all ranks."""
        return torch.nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])

    def step(self, rate: float, skip: Tensor) -> None:
        """One step of Adam at the rate, then no gradients. skip: () on the device; 1 leaves everything as it is."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        # What torch's GradScaler sets: the fused kernel looks at it on the device, and nobody has to wait for it.
        self._optimizer.found_inf = skip  # type: ignore[attr-defined]
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Adam's moments and step counts by parameter name, as checkpoints keep them."""
        return checkpoints.optimizer_tensors(self._optimizer, self.names)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `state` gave."""
        checkpoints.restore_optimizer(self._optimizer, self.names, tensors)


def set_trainable(networks: dict[str, nn.Module], names: Sequence[str]) -> None:
    """Only the named networks gather gradients."""
    for name, network in networks.items():
        network.requires_grad_(name in names)
