"""How one player's networks are run, differentiated and stepped, on however many ranks."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from trainer.config import Optimizer
from trainer.players.zero import Partitioned
from trainer.ranks.environment import asked_for_zero

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


class Engine(Protocol):
    """One player's networks, gradients and optimizer."""

    def run(self, thunk: Callable[[], Result], last: bool) -> Result:
        """Calls `thunk`, in which the player's networks are used; gradients meet after the last part of a batch."""

    def backward(self, loss: Tensor, last: bool) -> None:
        """Adds the gradients of `loss` to those of the parts before."""

    def step(self, rate: float) -> Tensor:
        """One step of Adam at the rate, then no gradients. Returns their L2 norm, equal on all ranks.

        Where it is not finite, parameters and moments stay as they are.
        """

    def state(self) -> dict[str, Tensor]:
        """Adam's moments and step counts by parameter name, as checkpoints keep them; to be called by all ranks."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `state` gave, once the networks have their weights."""


class Replicated:
    """A player under DDP, or alone: every rank holds all parameters and moments."""

    def __init__(self, networks: dict[str, nn.Module], settings: Optimizer, accelerator: Accelerator) -> None:
        scope = Scope(networks)
        self._names = names_of(networks)
        self._accelerator = accelerator
        with warnings.catch_warnings():
            # torch announces another name for this, which accelerate does not have yet.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            self._scope = accelerator.prepare_model(scope)
        self._parameters = list(scope.parameters())
        self._optimizer = torch.optim.Adam(
            self._parameters,
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def run(self, thunk: Callable[[], Result], last: bool) -> Result:
        with self._unsynchronised(last):
            result: Result = self._scope(thunk)
        return result

    def backward(self, loss: Tensor, last: bool) -> None:
        with self._unsynchronised(last):
            self._accelerator.backward(loss)

    def _unsynchronised(self, last: bool) -> AbstractContextManager[Any]:
        # Around the forward pass too: there DDP decides whether the backward pass will average gradients.
        return nullcontext() if last else self._accelerator.no_sync(self._scope)

    def step(self, rate: float) -> Tensor:
        norm = torch.nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        # What torch's GradScaler sets: the fused kernel looks at it on the device, and nobody has to wait for it.
        self._optimizer.found_inf = 1 - torch.isfinite(norm).float()  # type: ignore[attr-defined]
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, Tensor]:
        return optimizer_tensors(self._optimizer, self._names)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        restore_optimizer(self._optimizer, self._names, tensors)


def make_engine(
    networks: dict[str, nn.Module], settings: Optimizer, accelerator: Accelerator, batch: int, parts: int
) -> Engine:
    """The engine that the launcher asks for: DeepSpeed's ZeRO, or plain data parallelism.

    batch: samples of a rank per step, computed in `parts`.
    """
    if asked_for_zero():
        return Partitioned(Scope(networks), names_of(networks), settings, accelerator, batch, parts)
    return Replicated(networks, settings, accelerator)


def names_of(networks: dict[str, nn.Module]) -> list[str]:
    """The names of all parameters, as checkpoints have them."""
    return [f"{name}.{key}" for name, network in networks.items() for key, _ in network.named_parameters()]


def set_trainable(networks: dict[str, nn.Module], names: Sequence[str]) -> None:
    """Only the named networks gather gradients."""
    for name, network in networks.items():
        network.requires_grad_(name in names)


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """A moment in its parameter's memory format: the fused kernel steps through both as they lie in memory.

    Checkpoints are contiguous. Step counts, which have another shape, stay as they are.
    """
    if value.shape != parameter.shape or value.ndim == 0:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def optimizer_tensors(optimizer: torch.optim.Optimizer, network_names: Sequence[str]) -> dict[str, Tensor]:
    """Adam's state, by the names of the parameters: `generator.body.first.1.weight/exp_avg` and so on."""
    state = optimizer.state_dict()["state"]
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for index, name in enumerate(network_names)
        for key, value in state.get(index, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, names: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `optimizer_tensors` gave; parameters that had no state get none."""
    parameters = dict(zip(names, (each for group in optimizer.param_groups for each in group["params"]), strict=True))
    numbers = {name: number for number, name in enumerate(names)}
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, entry = key.rpartition("/")
        state.setdefault(numbers[name], {})[entry] = _laid_out_as(parameters[name], value)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
