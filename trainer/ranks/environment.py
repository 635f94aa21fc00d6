"""What launcher and environment say to a run: obeyed, or refused with one line, and never left out in silence.

The run's config decides. accelerate would take settings of its own from variables that start with ACCELERATE_, which
its launcher sets from its command line and from its config file (also from the default one in the home folder). Those
that the run does not follow are refused, unless they say what the config says or what the launcher says unasked.
"""

import logging
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from likeness.command import BadInput
from trainer.ranks.launcher import LAUNCHED_AS

TRUE, FALSE = ("y", "yes", "t", "true", "on", "1"), ("n", "no", "f", "false", "off", "0")
"""The only words that accelerate takes for a flag."""
FLAGS = (
    "ACCELERATE_USE_CPU",
    "ACCELERATE_DEBUG_MODE",
    "ACCELERATE_CPU_AFFINITY",
    "ACCELERATE_ENABLE_RICH",
    "ACCELERATE_DYNAMO_USE_FULLGRAPH",
    "ACCELERATE_DYNAMO_USE_DYNAMIC",
    "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION",
)
FOLLOWED = (
    *FLAGS[:4],
    "ACCELERATE_LOG_LEVEL",
    "ACCELERATE_TORCH_DEVICE",
    "ACCELERATE_USE_DEEPSPEED",
    "ACCELERATE_DEEPSPEED_ZERO_STAGE",
    "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE",
    "ACCELERATE_BYPASS_DEVICE_MAP",
)
"""What is obeyed, here or by accelerate."""
WITHOUT_EFFECT = (
    # The launcher's notes to itself and to plugins that are refused below.
    "ACCELERATE_CONFIG_DS_FIELDS",
    "ACCELERATE_SAGEMAKER_DISTRIBUTED_TYPE",
    "ACCELERATE_ALLOW_CP_STANDALONE",
    "ACCELERATE_IN_TPU_POD",
    "ACCELERATE_DEBUG_RDV_FILE",
    # Of accelerate's loading of models that are larger than the memory.
    "ACCELERATE_INIT_INCLUDE_BUFFERS",
)
_DIVIDED = (
    "the networks themselves would be divided among ranks, but a GAN's players run each other's in their turns; launch "
    "with distributed_type MULTI_GPU, or with DeepSpeed's ZeRO 1 or 2 as in trainer/accelerate/zero2.yaml"
)
_COMPILED = "the run's own speed.compile decides, without further options; leave it out of the launcher's settings"
_NO_FP8 = "a run computes in fp32 or bf16, as its precision says; leave it out of the launcher's settings"
_STAGE_3 = "it belongs to ZeRO stage 3, which this trainer does not use; leave it out of the launcher's settings"
REFUSED = {
    "ACCELERATE_USE_FSDP": (FALSE, _DIVIDED),
    "ACCELERATE_USE_MEGATRON_LM": (FALSE, _DIVIDED),
    "ACCELERATE_USE_PARALLELISM_CONFIG": (FALSE, _DIVIDED),
    "ACCELERATE_USE_SAGEMAKER": (FALSE, "training there has not been tried; launch it with torchrun or accelerate"),
    "ACCELERATE_DYNAMO_MODE": (("default",), _COMPILED),
    "ACCELERATE_DYNAMO_USE_FULLGRAPH": (FALSE, _COMPILED),
    "ACCELERATE_DYNAMO_USE_DYNAMIC": (FALSE, _COMPILED),
    "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": (FALSE, _COMPILED),
    "ACCELERATE_DOWNCAST_BF16": (FALSE, "it is for TPUs; set the run's precision, and leave it out"),
    "ACCELERATE_GRADIENT_CLIPPING": (
        ("none", "auto", "0", "0.0"),
        "gradients are not clipped; leave gradient_clipping out of the launcher's settings",
    ),
    "ACCELERATE_DEEPSPEED_CONFIG_FILE": (
        ("none",),
        "DeepSpeed's own file is not read; say zero_stage and offload_optimizer_device in accelerate's, as "
        "trainer/accelerate/zero2.yaml does, and accumulate, precision and optimizer in the run's config",
    ),
    "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": (
        ("none",),
        "offload_param_device needs ZeRO stage 3, which this trainer does not use; set it to none",
    ),
    "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_NVME_PATH": (("none",), _STAGE_3),
    "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_NVME_PATH": (
        ("none",),
        "moments are kept in memory only; set offload_optimizer_device to cpu or none",
    ),
    "ACCELERATE_DEEPSPEED_ZERO3_INIT": (FALSE, _STAGE_3),
    "ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": (FALSE, _STAGE_3),
    "ACCELERATE_DEEPSPEED_MOE_LAYER_CLS_NAMES": (("none",), "these networks have no such layers; leave it out"),
    "ACCELERATE_FP8_BACKEND": (("no",), _NO_FP8),
}
"""What is not done: the values that ask for nothing, and what to do instead. Empty asks for nothing, too."""
DROPPED = {
    "--gradient_accumulation_steps": "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
    "--gradient_clipping": "ACCELERATE_GRADIENT_CLIPPING",
    "--zero_stage": "ACCELERATE_DEEPSPEED_ZERO_STAGE",
    "--deepspeed_config_file": "ACCELERATE_DEEPSPEED_CONFIG_FILE",
}
"""Options of `accelerate launch` that it does not pass on unless it is told to use DeepSpeed, and their variables."""
KNOWN = {
    *FLAGS,
    *FOLLOWED,
    *WITHOUT_EFFECT,
    *REFUSED,
    *DROPPED.values(),
    "ACCELERATE_MIXED_PRECISION",
    "ACCELERATE_DYNAMO_BACKEND",
}
"""Every variable that accelerate 1.15 reads, but for those that begin with ACCELERATE_FP8_."""
MEETING = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What each of several ranks has to know."""
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many ranks there are."""
LEFT_OVER = (
    f"if another launcher left it over, `unset {' '.join(MEETING)}`; otherwise start ranks with accelerate launch"
)


def check(precision: str = "fp32", accumulate: int = 1, compiled: bool = False) -> None:
    """Raises BadInput for the first of `problems`."""
    for problem in problems(precision, accumulate, compiled):
        raise BadInput(problem)


def problems(precision: str = "fp32", accumulate: int = 1, compiled: bool = False) -> Iterator[str]:
    """What launcher and environment ask for and do not get, a line each.

    precision, accumulate, compiled: what the run's config says. The ground comes first: without it there is no rank.
    """
    yield from _threads()
    unclear = [*_unclear()]
    yield from unclear
    if not unclear:
        yield from _ranks()
        yield from _devices()
    yield from _settings(precision, accumulate, compiled)
    yield from _deepspeed()


def notes(tracking_uri: str, experiment: str) -> Iterator[str]:
    """What the environment says, and the run's config or this trainer overrules without harm, a line each."""
    for name, key, ours in (
        ("MLFLOW_TRACKING_URI", "tracking.uri", tracking_uri),
        ("MLFLOW_EXPERIMENT_NAME", "tracking.experiment", experiment),
    ):
        if (theirs := os.environ.get(name)) and theirs != ours:
            yield f"{key} of the config, {ours}, wins over {name}, which names another one"
    for name, instead in (
        ("MLFLOW_EXPERIMENT_ID", "experiments are named: set MLFLOW_EXPERIMENT_NAME or tracking.experiment"),
        ("MLFLOW_RUN_ID", "a run gets an MLflow run of its own, and goes on in it when it is resumed"),
        ("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "figures of the machine are not logged"),
    ):
        if os.environ.get(name, "").lower() not in ("", *FALSE):
            yield f"{name} in the environment is not followed: {instead}"
    for name in sorted(os.environ):
        if name.startswith("ACCELERATE_") and name not in KNOWN and not name.startswith("ACCELERATE_FP8_"):
            yield f"{name} in the environment says nothing to accelerate or to this trainer; is it spelled right?"
    if "MASTER_ADDR" in os.environ and not any(name in os.environ for name in SIZES):
        yield (
            "MASTER_ADDR says where ranks meet, but there is only this one: with use_cpu or --cpu accelerate starts "
            "one process whatever num_processes says; trainer/accelerate/cpu.yaml starts two"
        )


def waiting() -> Iterator[str]:
    """A line where this rank will wait for others that no launcher of ours has started: perhaps nobody does."""
    if ranks() > 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
        yield (
            f"this is rank {os.environ.get('RANK')} of {ranks()}, as RANK and WORLD_SIZE in the environment say; it "
            f"waits for the others at {os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}. {LEFT_OVER}"
        )


def flag(name: str) -> bool:
    """A flag of accelerate's as accelerate reads it."""
    return os.environ.get(name, "").lower() in TRUE


def ranks() -> int:
    """How many ranks the environment speaks of, once `problems` has none."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def asked_for_zero() -> bool:
    """Whether `accelerate launch` was told to use DeepSpeed."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"


def zero_stage() -> int:
    """The ZeRO stage that the launcher asks for; accelerate's default where it names none."""
    return int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") or 2)


def zero_offload() -> str:
    """Where ZeRO keeps moments beside the device: none, or cpu."""
    return (os.environ.get("ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE") or "none").lower()


def _threads() -> Iterator[str]:
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads is not None and not (threads.strip().isdecimal() and int(threads) > 0):
        yield f"OMP_NUM_THREADS={threads!r} is no number of threads; unset it, or set it to one of at least 1"


def _unclear() -> Iterator[str]:
    """Values of which accelerate or torch would make a traceback."""
    for name in FLAGS:
        value = os.environ.get(name)
        if value is not None and value.lower() not in (*TRUE, *FALSE):
            yield f"{name}={value!r} is neither true nor false; set it to 1 or 0, or unset it"
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"):
        value = os.environ.get(name)
        if value is not None and not value.removeprefix("-").isdecimal():
            yield f"{name}={value!r} is no whole number; {LEFT_OVER}"
    level = os.environ.get("ACCELERATE_LOG_LEVEL")
    if level is not None and level.upper() not in logging.getLevelNamesMapping():
        yield f"ACCELERATE_LOG_LEVEL={level!r} is no level; set it to INFO or WARNING, for example, or unset it"


def _ranks() -> Iterator[str]:
    """Whether what says that this is one of several ranks is all there."""
    values = {name: os.environ[name] for name in MEETING[:3] if name in os.environ}
    said = " ".join(f"{name}={value}" for name, value in values.items())
    rank = int(values.get("RANK", 0))
    missing = [name for name in MEETING if not os.environ.get(name)]
    if missing and (ranks() > 1 or int(values.get("LOCAL_RANK", -1)) >= 0):
        yield f"{said} in the environment speaks of ranks, but there is no {' and no '.join(missing)}; {LEFT_OVER}"
    elif not 0 <= rank < ranks():
        yield f"{said} in the environment: there is no rank {rank} of {ranks()}; {LEFT_OVER}"


def _devices() -> Iterator[str]:
    """Whether there is a device for every rank. accelerate would have each train on its own, as if it were alone."""
    import torch

    name = os.environ.get("ACCELERATE_TORCH_DEVICE")
    if name is not None:
        kind, _, number = name.partition(":")
        if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
            yield f"ACCELERATE_TORCH_DEVICE={name!r} is no device to train on; set it to cpu or cuda:0, or unset it"
        elif kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
            yield f"ACCELERATE_TORCH_DEVICE={name}: this machine has {torch.cuda.device_count()} such; unset it"
        elif ranks() > 1:
            yield f"ACCELERATE_TORCH_DEVICE={name} would put all {ranks()} ranks on one device; unset it"
    here = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    if ranks() == 1 or flag("ACCELERATE_USE_CPU") or (asked_for_zero() and os.environ.get("DS_ACCELERATOR") == "cpu"):
        return
    gpus = torch.cuda.device_count()
    remedy = "set --num_processes to what there is, or ACCELERATE_USE_CPU=1 to train on the CPU"
    if gpus == 0:
        yield f"the launcher starts {ranks()} ranks, but there is no GPU here; {_whence()}{remedy}"
    elif here > gpus:
        yield f"the launcher starts {here} ranks on this machine, which has {gpus} GPUs; {_whence()}{remedy}"


def _whence() -> str:
    """Where the launcher has its settings from, if nobody named another file on its command line."""
    cache = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    file = Path(os.path.expanduser(cache)) / "accelerate" / "default_config.yaml"
    return f"without --config_file it reads {file}; " if file.is_file() else ""


def _settings(precision: str, accumulate: int, compiled: bool) -> Iterator[str]:
    """Settings of the launcher's that are the run's, and those that are nobody's."""
    said = {**_dropped(), **os.environ}

    def value_of(name: str) -> str:
        return said.get(name, "").lower()

    mixed = value_of("ACCELERATE_MIXED_PRECISION")
    if mixed not in ("", "no", precision):
        yield (
            f"ACCELERATE_MIXED_PRECISION={mixed}, which the launcher sets from mixed_precision, but the run's "
            f"precision is {precision}; set --mixed_precision no for the launcher, and --precision for the run"
        )
    parts = value_of("ACCELERATE_GRADIENT_ACCUMULATION_STEPS")
    if parts not in ("", "1", "auto", str(accumulate)):
        yield (
            f"gradient_accumulation_steps={parts} (ACCELERATE_GRADIENT_ACCUMULATION_STEPS, or the launcher's option), "
            f"but the run's accumulate is {accumulate}; unset it, and set the run's batch and accumulate"
        )
    backend = value_of("ACCELERATE_DYNAMO_BACKEND")
    if backend not in ("", "no") and not (compiled and backend == "inductor"):
        yield (
            f"ACCELERATE_DYNAMO_BACKEND={backend}, which the launcher sets from dynamo_backend: set it to no there, "
            "and --speed.compile true for the run"
        )
    of_fp8 = {name: ((), _NO_FP8) for name in os.environ if name.startswith("ACCELERATE_FP8_")}
    for name, (nothing, remedy) in {**of_fp8, **REFUSED}.items():
        if value_of(name) not in ("", *nothing):
            yield f"{name}={said[name]}: {remedy}"


def _dropped() -> dict[str, str]:
    """The variables that an accelerate's launch would have set from its command line with DeepSpeed.

    Read off what `trainer.launch` says, or off the parent process, where the system shows it: whoever gave such an
    option would never hear of it.
    """
    if LAUNCHED_AS in os.environ:
        return dropped_options(shlex.split(os.environ[LAUNCHED_AS]))
    try:
        words = Path(f"/proc/{os.getppid()}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return {}
    return dropped_options(words)


def dropped_options(words: list[str]) -> dict[str, str]:
    """The same, of a command line's words; nothing where it is not accelerate's."""
    if not any("accelerate" in word or word == "trainer.launch" for word in words[:4]):
        return {}
    options: dict[str, str] = {}
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in DROPPED:
            options[DROPPED[name]] = value if equals else after
    return options


def _deepspeed() -> Iterator[str]:
    """What is asked of DeepSpeed and cannot be had."""
    said = {**_dropped(), **os.environ}
    use = said.get("ACCELERATE_USE_DEEPSPEED", "")
    if use.lower() not in ("", "true", "false"):
        yield f"ACCELERATE_USE_DEEPSPEED={use!r}: accelerate reads true or false there; set it to one of them"
    stage = said.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "")
    offload = said.get("ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE", "").lower()
    if not asked_for_zero():
        if stage or offload not in ("", "none"):
            yield (
                f"zero_stage {stage or 2}, offload_optimizer_device {offload or 'none'}: these are DeepSpeed's, which "
                "the launcher is not told to use; give it --use_deepspeed, or take the variables "
                "ACCELERATE_DEEPSPEED_… out of the environment"
            )
        return
    if stage not in ("", "1", "2"):
        yield (
            f"ZeRO stage {stage} divides the networks themselves, but a GAN's players run each other's networks in "
            "their turns, and averages and pictures need them whole; take stage 1 or 2"
        )
    if offload not in ("", "none", "cpu"):
        yield f"offload_optimizer_device {offload} has not been tried; set it to cpu or none"
    if flag("ACCELERATE_USE_CPU"):
        yield "ACCELERATE_USE_CPU turns DeepSpeed off silently; unset it, and set DS_ACCELERATOR=cpu"


@contextmanager
def meeting() -> Iterator[None]:
    """Where ranks meet. Raises BadInput when the others do not come: torch's error is a page long and names nobody."""
    from torch.distributed import DistNetworkError, DistStoreError

    try:
        yield
    except (DistNetworkError, DistStoreError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise BadInput(
            f"rank {os.environ.get('RANK', '0')} of {ranks()} has not met the others at {where} "
            f"({str(error).splitlines()[0]}); {LEFT_OVER}"
        ) from error
