"""What gates judge, by which thresholds, and what they find."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deploy.metadata import Precision
from deploy.runtime import Provider
from export.gates import compare
from export.gates.samples import Samples
from export.graph import Exported
from trainer.checkpoints.synthesis import Synthesis

LIMITS = {"least_": "≥", "most_": "≤"}
"""How a gate names thresholds among its figures."""
ROUNDING_PROVIDERS: Mapping[Provider, Precision] = {"openvino-bf16": "bf16", "cuda-tf32": "fp16"}
"""Providers that round a float32 graph themselves, and the precision as which it is then judged: TF32 has the 10 bits
of mantissa that fp16 has."""


@dataclass(frozen=True)
class Threshold:
    """What pictures must reach beside PyTorch's in float32."""

    max_abs: float
    """The largest difference of any value in [-1, 1]."""
    worst_psnr_db: float
    """The least PSNR of the worst picture."""
    mean_psnr_db: float
    """The least PSNR on average."""
    mean_ssim: float
    """The least structural similarity on average."""
    batch_max_abs: float
    """The largest difference that a batch may make, of any value in [-1, 1]."""
    departure: float
    """From which difference, as a part of the largest value, a node is named when pictures fall short."""


THRESHOLDS: Mapping[Precision, Threshold] = {
    "fp32": Threshold(1e-3, 60, 60, 0.999, 1e-4, 1e-4),
    "fp16": Threshold(0.5, 45, 50, 0.99, 2e-2, 2e-2),
    "bf16": Threshold(1.0, 30, 34, 0.95, 0.2, 0.1),
    "int8": Threshold(1.0, 30, 34, 0.95, 0.2, 0.1),
}


@dataclass(frozen=True)
class GateResult:
    """What a gate found."""

    name: str
    """The gate's, such as "parity"."""
    passed: bool
    """Whether the graph may pass."""
    figures: dict[str, Any]
    """What was measured; one called `least_<figure>` or `most_<figure>` is the threshold of that figure."""
    remedy: str
    """What to do when it was not passed."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def figures_and_limits(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The figures without thresholds, and the thresholds as `≥ 60` by the name of the figure."""
        limits = {
            name.removeprefix(prefix): f"{sign} {value:g}"
            for name, value in self.figures.items()
            for prefix, sign in LIMITS.items()
            if name.startswith(prefix)
        }
        return {name: value for name, value in self.figures.items() if not name.startswith(tuple(LIMITS))}, limits

    def line(self) -> str:
        """For people: one line."""
        figures, limits = self.figures_and_limits()
        shown = (
            f"{name} {_short(value)}" + (f" ({limits[name]})" if name in limits else "")
            for name, value in figures.items()
        )
        return f"{'passed' if self.passed else 'FAILED'}  {self.name:<14}{', '.join(shown)}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Candidate:
    """A graph before its gates."""

    exported: Exported
    """The graph, and the program that it was made of."""
    file: Path
    """Holds the graph."""
    synthesis: Synthesis
    """The model in PyTorch."""
    samples: Samples
    """What both paint."""
    provider: Provider = "cpu"
    """Where the graph shall run."""


def threshold_of(candidate: Candidate) -> Threshold:
    """That of the graph's precision, or of the one that the provider itself rounds a float32 graph to."""
    precision = candidate.exported.recipe.precision
    return THRESHOLDS[ROUNDING_PROVIDERS.get(candidate.provider, precision) if precision == "fp32" else precision]


@dataclass(frozen=True)
class Verdict:
    """What all gates found, and the pictures that the last one looked at."""

    results: list[GateResult]
    """In order, up to the first that failed."""
    distances: list[compare.Distance] = field(default_factory=list)
    """Of every picture; none when a gate before parity failed."""
    worst: compare.Worst | None = None
    """The worst picture, if there are any."""

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)
