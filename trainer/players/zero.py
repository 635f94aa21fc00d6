"""DeepSpeed's ZeRO, one engine per player. The one file that imports deepspeed.

Stages 1 and 2 divide Adam's moments (and gradients) among ranks, optionally in host memory. Networks stay whole on
every rank, so that averages, evaluation and checkpoints need not know of it: checkpoints are those of plain data
parallelism, and a run can change from one to the other.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from likeness.command import BadInput
from trainer.config import Config, Optimizer
from trainer.ranks.environment import asked_for_zero, zero_offload, zero_stage

Result = TypeVar("Result")
MOMENTS = ("exp_avg", "exp_avg_sq")
KNOWN_VERSION = "0.19.8"
"""Of DeepSpeed: the one whose private parts `state` and `restore` rely on."""
PRIVATE = {
    "engine": ("set_gradient_accumulation_boundary", "get_global_grad_norm", "optimizer"),
    "optimizer": (
        "optimizer",
        "single_partition_of_fp32_groups",
        "refresh_fp32_params",
        "_lazy_init_hp_params_optimizer_state",
    ),
}
"""Attributes of DeepSpeed's that it promises nobody."""
LARGEST_BUCKET = 500_000_000
"""Elements that DeepSpeed gathers gradients in by default, however few there are: 2 GB of memory."""


def check(config: Config) -> None:
    """Raises BadInput for what does not combine with DeepSpeed, before anything is built."""
    try:
        import deepspeed  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise BadInput(f"the launcher asks for DeepSpeed, but {error}; pip install '.[deepspeed]'") from error
    if config.speed.compile:
        raise BadInput("speed.compile with DeepSpeed has not been tried; set it false")


def on_cpu() -> bool:
    """Whether DeepSpeed is asked for, and told to use the CPU."""
    return asked_for_zero() and os.environ.get("DS_ACCELERATOR") == "cpu"


def check_private(engine: Any, version: str) -> None:
    """Raises BadInput naming what a version of DeepSpeed does not have, before a run relies on it."""
    for name, owner in (("engine", engine), ("optimizer", getattr(engine, "optimizer", None))):
        if missing := [attribute for attribute in PRIVATE[name] if not hasattr(owner, attribute)]:
            raise BadInput(
                f"DeepSpeed {version}: its {name} has no {' and no '.join(missing)}, which checkpoints are made with; "
                f"pip install deepspeed=={KNOWN_VERSION}"
            )


class Partitioned:
    """A player under ZeRO: every rank holds the moments of its part of the parameters only.

    Built around deepspeed.initialize, not accelerate's prepare, which has one DeepSpeed engine per process.
    """

    def __init__(
        self,
        scope: nn.Module,
        names: list[str],
        settings: Optimizer,
        accelerator: Accelerator,
        batch: int,
        parts: int,
    ) -> None:
        import deepspeed

        self._names = names
        self._precision = accelerator.mixed_precision
        self._device = accelerator.device
        elements = sum(parameter.numel() for parameter in scope.parameters())
        zero: dict[str, Any] = {
            "stage": zero_stage(),
            "overlap_comm": False,
            "reduce_bucket_size": min(elements, LARGEST_BUCKET),
        }
        if zero_offload() == "cpu":
            zero["offload_optimizer"] = {"device": "cpu"}
        self._engine, *_ = deepspeed.initialize(
            model=scope,
            optimizer=torch.optim.Adam(
                scope.parameters(),
                lr=settings.learning_rate,
                betas=settings.betas,
                weight_decay=settings.weight_decay,
            ),
            config={
                "train_micro_batch_size_per_gpu": batch // parts,
                "gradient_accumulation_steps": parts,
                "zero_optimization": zero,
                # Left out, it is 1: gradients of this size would be cut to a fiftieth without a word.
                "gradient_clipping": 0.0,
                # torch's Adam, as without DeepSpeed: the same numbers, and no compiler needed.
                "zero_allow_untested_optimizer": True,
                "zero_force_ds_cpu_optimizer": False,
                "steps_per_print": 10**12,
            },
            dist_init_required=False,
        )
        check_private(self._engine, deepspeed.__version__)
        self._parameters = list(scope.parameters())

    def run(self, thunk: Callable[[], Result], last: bool) -> Result:
        self._engine.set_gradient_accumulation_boundary(last)

        def in_precision() -> Result:
            # Inside the engine, which turns autocast off for what it runs.
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bf16"):
                return thunk()

        result: Result = self._engine(in_precision)
        return result

    def backward(self, loss: Tensor, last: bool) -> None:
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss, scale_wrt_gas=False)

    def step(self, rate: float) -> Tensor:
        # DeepSpeed makes the host wait for the device twice in a step: it asks whether a gradient has overflowed, and
        # whether the norm is a number. What is done here waits for nothing; the norm stays on the device.
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        return torch.as_tensor(norm, dtype=torch.float32, device=self._device)

    def state(self) -> dict[str, Tensor]:
        from deepspeed.utils import safe_get_full_optimizer_state

        states = [self._engine.optimizer.optimizer.state[part] for part in self._own_parts()]
        if not states or not all(states):
            return {}  # Not stepped yet, on any rank.
        step = states[0]["step"].detach().cpu()
        tensors: dict[str, Tensor] = {}
        for name, parameter in zip(self._names, self._parameters, strict=True):
            tensors[f"{name}/step"] = step.clone()
            for key in MOMENTS:
                tensors[f"{name}/{key}"] = safe_get_full_optimizer_state(parameter, key)
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state

        zero = self._engine.optimizer
        # The parts that are stepped are copies of what the networks were when the engine was made.
        zero.refresh_fp32_params()
        if not tensors:
            return
        step = tensors[f"{self._names[0]}/step"]
        for part in self._own_parts():
            zero.optimizer.state[part] = {"step": step.clone()} | {key: torch.zeros_like(part) for key in MOMENTS}
        # The engine links parameters to their moments at the first step; here they are needed before.
        zero._lazy_init_hp_params_optimizer_state()
        for name, parameter in zip(self._names, self._parameters, strict=True):
            for key in MOMENTS:
                safe_set_full_optimizer_state(parameter, tensors[f"{name}/{key}"], key)

    def _own_parts(self) -> list[Tensor]:
        parts: list[Tensor] = self._engine.optimizer.single_partition_of_fp32_groups
        return parts
