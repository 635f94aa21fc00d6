"""What a graph must pass before anybody may use it. Each gate runs the very session that serves."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from deploy import openvino_model
from deploy.metadata import Precision
from deploy.runtime import Provider, Session
from export.gates import compare, rounding
from export.gates.departures import first_departure, largest_values
from export.gates.samples import COUNT, LEAST, Samples
from export.graph import Exported, opset_of
from export.tensorrt import rtx as tensorrt_rtx
from export.tensorrt.engine import BATCHES as BATCHES_OF_ENGINES
from export.tensorrt.engine import profile_of
from export.tensorrt.rules import problems
from likeness import onnx_runtime
from likeness.array import Array
from likeness.command import BadInput
from shards.inputs import INPUTS
from trainer.checkpoints.synthesis import Synthesis

BATCHES = (1, 3)
PLUMBING = (
    *("Cast", "Concat", "Constant", "Expand", "Gather", "Identity"),
    *("Reshape", "Shape", "Slice", "Squeeze", "Transpose", "Unsqueeze"),
)
"""Operators that exporters leave behind around a network's own."""


@dataclass(frozen=True)
class Threshold:
    """What pictures must reach beside PyTorch's in float32.

    max_abs: the largest difference of any value in [-1, 1]. worst_psnr_db, mean_psnr_db: of the worst picture, and on
    average. mean_ssim: on average. batch_max_abs: the largest difference that a batch may make. departure: from
    which difference, as a part of the largest value, a node is named when they do not.
    """

    max_abs: float
    worst_psnr_db: float
    mean_psnr_db: float
    mean_ssim: float
    batch_max_abs: float
    departure: float


THRESHOLDS: Mapping[Precision, Threshold] = {
    "fp32": Threshold(1e-3, 60, 60, 0.999, 1e-4, 1e-4),
    "fp16": Threshold(0.5, 45, 50, 0.99, 2e-2, 2e-2),
    "bf16": Threshold(1.0, 30, 34, 0.95, 0.2, 0.1),
    "int8": Threshold(1.0, 30, 34, 0.95, 0.2, 0.1),
}
RANGE_SAMPLES = 8
MOST_FLOAT16 = float(np.finfo(np.float16).max) / 2
ROUNDING_PROVIDER = "openvino-bf16"
UINT8_LEVEL = 2 / 255
"""One level of uint8 in [-1, 1]: what rounding may make of the smallest difference."""


LIMITS = {"least_": "≥", "most_": "≤"}
"""How a gate names thresholds among its figures."""


@dataclass(frozen=True)
class GateResult:
    """What a gate found: its name, whether it was passed, its figures, and what to do if it was not.

    A figure called `least_<figure>` or `most_<figure>` is the threshold of that figure.
    """

    name: str
    passed: bool
    figures: dict[str, Any]
    remedy: str

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
    """A graph before its gates: what was exported, the file that holds it, and where it shall run."""

    exported: Exported
    file: Path
    synthesis: Synthesis
    samples: Samples
    provider: Provider = "cpu"


@dataclass(frozen=True)
class Verdict:
    """All results up to the first that failed, and the pictures that the last gate looked at."""

    results: list[GateResult]
    distances: list[compare.Distance] = field(default_factory=list)
    worst: compare.Worst | None = None

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)


def threshold_of(candidate: Candidate) -> Threshold:
    """That of the graph's precision, or of bf16 where the provider itself rounds a float32 graph."""
    precision = candidate.exported.recipe.precision
    return THRESHOLDS["bf16" if candidate.provider == ROUNDING_PROVIDER and precision == "fp32" else precision]


def check_provider(provider: Provider) -> None:
    """Raises BadInput when a provider cannot run anything here, before minutes are spent on a model."""
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "nothing", value[:1], value[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nothing.onnx"
        onnx.save_model(model, file)
        if provider == "openvino" or provider == "openvino-bf16":
            openvino_model.Model(file, provider, None)
        else:
            onnx_runtime.start(file, provider)


def run_gates(candidate: Candidate, opset: int, told: Callable[[GateResult], None] = lambda result: None) -> Verdict:
    """All gates in order, up to the first that fails. told: is given each result as it comes."""
    exported, file = candidate.exported, candidate.file
    results: list[GateResult] = []
    in_order: tuple[Callable[[], GateResult], ...] = (
        lambda: check_graph(exported.model, file),
        lambda: check_opset(exported.model, opset),
        lambda: check_nodes(exported),
        lambda: check_tensorrt(exported.model),
        *((lambda: check_tensorrt_rtx(exported.model, file),) if tensorrt_rtx.installed() else ()),
        lambda: check_placement(file, candidate.provider),
        lambda: check_batches(candidate),
        *((lambda: check_sizes(candidate),) if exported.recipe.dynamic_size else ()),
        *((lambda: check_range(candidate),) if exported.recipe.precision == "fp16" else ()),
    )
    for gate in in_order:
        results.append(gate())
        told(results[-1])
        if not results[-1].passed:
            return Verdict(results)
    result, distances, worst = check_parity(candidate)
    told(result)
    return Verdict([*results, result], distances, worst)


def check_graph(model: ModelProto, file: Path) -> GateResult:
    """ONNX's checker with full, strict shape inference; every tensor between nodes must get a shape."""
    remedy = "the exporter wrote an invalid graph: export with the pinned versions of torch, onnx and onnxscript"
    try:
        onnx.checker.check_model(str(file), full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return GateResult("checker", False, {"error": " ".join(str(error).split())[:300]}, remedy)
    shaped = {value.name for value in (*inferred.graph.value_info, *inferred.graph.output) if _has_shape(value)}
    unshaped = [name for node in inferred.graph.node for name in node.output if name and name not in shaped]
    figures = {"nodes": len(model.graph.node), "tensors_without_shape": unshaped[:5] or 0}
    return GateResult("checker", not unshaped, figures, remedy)


def _has_shape(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.HasField("shape"))


def check_opset(model: ModelProto, wanted: int) -> GateResult:
    """The exporter answers some opsets with another one, and says so in a log line at most."""
    found = opset_of(model)
    return GateResult(
        "opset", found == wanted, {"wanted": wanted, "found": found}, f"ask for opset {found}, or use another exporter"
    )


def check_nodes(exported: Exported) -> GateResult:
    """The budget: no plumbing that no operation of the network stands behind, and norms in one piece.

    The program's operations name their outputs in the graph; a Shape, Slice, Reshape or Cast with another name was
    added on the way.
    """
    operations = [node for node in exported.program.graph.nodes if node.op == "call_function"]
    own = {node.name for node in operations} | {value.name for value in exported.model.graph.output}
    nodes = exported.model.graph.node
    added = [
        f"{node.name} ({node.op_type})" for node in nodes if node.op_type in PLUMBING and not own & set(node.output)
    ]
    norms = sum("instance_norm" in str(node.target) for node in operations)
    whole = sum(node.op_type == "InstanceNormalization" for node in nodes)
    counted = [node for node in nodes if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    figures = {"nodes": len(counted), "operations": len(operations), "debris": added[:5] or 0, "whole_norms": whole}
    remedy = "write the named part of the network without shape arithmetic, or export with the pinned versions"
    if exported.recipe.dynamic_size:
        remedy = "the named part of the network computes with the picture's size; export it without --dynamic-size"
    return GateResult("nodes", not added and whole == norms, figures, remedy)


def check_tensorrt(model: ModelProto) -> GateResult:
    """Every node against the table of what TensorRT's ONNX parser takes."""
    refused = problems(model)
    remedy = "write the node's part of the network with operators that TensorRT has (export/tensorrt/rules.py)"
    return GateResult("tensorrt", not refused, {"refused": refused[:5] or 0}, remedy)


def check_tensorrt_rtx(model: ModelProto, file: Path) -> GateResult:
    """The optional second opinion: TensorRT-RTX parses the file and builds an engine of it, without a GPU."""
    remedy = "write the node's part of the network with operators that TensorRT has (export/tensorrt/rules.py)"
    refused = tensorrt_rtx.refusals(file)
    figures: dict[str, Any] = {"version": tensorrt_rtx.version(), "refused": refused[:5] or 0}
    if refused:
        return GateResult("tensorrt_rtx", False, figures, remedy)
    try:
        engine = tensorrt_rtx.build(file, profile_of(model, file, BATCHES_OF_ENGINES))
    except BadInput as error:
        return GateResult("tensorrt_rtx", False, {**figures, "error": str(error)}, remedy)
    return GateResult("tensorrt_rtx", True, {**figures, "engine_mb": round(len(engine) / 1e6, 1)}, remedy)


def check_placement(file: Path, provider: Provider) -> GateResult:
    """No node falls from the provider that was asked for to another one.

    OpenVINO refuses what it cannot run, and has no other device to fall to.
    """
    remedy = (
        f"write the node's part of the network with operators that {provider} has: each fall to the CPU costs two "
        "copies over the bus"
    )
    if provider == "openvino" or provider == "openvino-bf16":
        return GateResult("placement", True, {"provider": provider}, remedy)
    return judge_placement(onnx_runtime.placement(file, provider), provider, remedy)


def judge_placement(placed: Mapping[str, str], provider: Provider, remedy: str) -> GateResult:
    """Whether all nodes, by name, are on the provider."""
    wanted = onnx_runtime.PROVIDERS[provider]
    elsewhere = [f"{name} on {where}" for name, where in placed.items() if where != wanted]
    figures = {"provider": provider, "nodes": len(placed), "elsewhere": elsewhere[:5] or 0}
    return GateResult("placement", not elsewhere, figures, remedy)


def check_batches(candidate: Candidate) -> GateResult:
    """The same file runs one picture and three at once, and three at once are three single ones."""
    remedy = "the batch axis is not dynamic, or samples of a batch mix: look for Reshape nodes with constant shapes"
    session = _session(candidate)
    if isinstance(session, str):
        return GateResult("dynamic_batch", False, {"error": session}, remedy)
    samples = candidate.samples[: BATCHES[1]]
    several = compare.feeds(session, samples)
    singles = [compare.feeds(session, samples[number : number + 1]) for number in range(BATCHES[1])]
    try:
        together = session.run(**several)
        alone = np.concatenate([session.run(**feeds) for feeds in singles])
    except BadInput as error:
        figures = {"error": str(error), **_node(candidate, samples[:1], np.inf)}
        return GateResult("dynamic_batch", False, figures, remedy)
    if together.shape != alone.shape:
        return GateResult("dynamic_batch", False, {"shape": list(together.shape)}, remedy)
    difference = _largest_difference(together, alone)
    limit = _limit(threshold_of(candidate).batch_max_abs, together)
    measured = {"batches": list(BATCHES), "max_abs": difference, "most_max_abs": limit}
    return GateResult("dynamic_batch", difference <= limit, measured, remedy)


def _largest_difference(first: Array, second: Array) -> float:
    """In the scale of [-1, 1]."""
    scale = 127.5 if first.dtype == np.uint8 else 1.0
    return float(np.abs(first.astype(np.float64) - second).max() / scale)


def _limit(limit: float, image: Array) -> float:
    return max(limit, UINT8_LEVEL + 1e-6) if image.dtype == np.uint8 else limit


def check_sizes(candidate: Candidate) -> GateResult:
    """The same file paints a picture one multiple higher and two wider than it was traced at, as PyTorch does."""
    remedy = "a part of the network is made for one size: export it without --dynamic-size"
    schema, multiple = candidate.synthesis.schema, candidate.synthesis.size_multiple
    height, width = schema.height + multiple, schema.width + 2 * multiple
    figures: dict[str, Any] = {"size": [width, height]}
    session = _session(candidate, (height, width))
    if isinstance(session, str):
        return GateResult("dynamic_size", False, {**figures, "error": session}, remedy)
    grown = _grown(candidate.samples[:1], session)
    (wanted,) = compare.references(candidate.synthesis, grown)
    try:
        (distance,), _ = compare.compare(compare.pictures_of(session, grown), [wanted])
    except BadInput as error:
        return GateResult("dynamic_size", False, {**figures, "error": str(error)}, remedy)
    threshold = threshold_of(candidate)
    figures |= {
        "max_abs": distance.max_abs,
        "psnr_db": round(distance.psnr_db, 2),
        "least_psnr_db": threshold.worst_psnr_db,
    }
    return GateResult("dynamic_size", distance.psnr_db >= threshold.worst_psnr_db, figures, remedy)


def _grown(samples: Samples, session: Session) -> Samples:
    """The samples with their own beginnings repeated at the lower and right edges, up to the session's size."""

    def grow(name: str, value: Array) -> Array:
        if not INPUTS[name].has_size:
            return value
        first = INPUTS[name].height_axis(value)
        tall = np.take(value, range(session.schema.height), axis=first, mode="wrap")
        return np.take(tall, range(session.schema.width), axis=first + 1, mode="wrap")

    return Samples({name: grow(name, value) for name, value in samples.loaded.items()}, samples.where)


def check_range(candidate: Candidate) -> GateResult:
    """No node of a float16 graph gives a value beyond half of float16's range, on 8 samples."""
    remedy = "activations leave float16's range, or come near; export with --precision bf16 or fp32"
    try:
        found = largest_values(candidate.exported, candidate.file, candidate.samples[:RANGE_SAMPLES])
    except BadInput as error:
        return GateResult("range", False, {"error": str(error)}, remedy)
    beyond = [name for name, value in found.items() if not value <= MOST_FLOAT16]
    largest = max(found.values(), default=0.0)
    figures = {"samples": RANGE_SAMPLES, "largest": largest, "most_largest": MOST_FLOAT16, "beyond": beyond[:5] or 0}
    return GateResult("range", not beyond, figures, remedy)


def check_parity(candidate: Candidate) -> tuple[GateResult, list[compare.Distance], compare.Worst | None]:
    """Pictures of real samples against PyTorch's in float32: the worst one and the average must reach `THRESHOLDS`."""
    recipe, samples = candidate.exported.recipe, candidate.samples
    threshold = threshold_of(candidate)
    figures: dict[str, Any] = {"samples": len(samples)}
    least = LEAST if recipe.precision == "fp32" else COUNT
    if len(samples) < least:
        remedy = f"name shards of at least {least} samples with --samples"
        return GateResult("parity", False, {**figures, "least_samples": least}, remedy), [], None
    session = _session(candidate)
    if isinstance(session, str):
        return GateResult("parity", False, {**figures, "error": session}, _REMEDIES[recipe.precision]), [], None
    try:
        wanted = compare.references(candidate.synthesis, samples)
        distances, worst = compare.compare(compare.pictures_of(session, samples), wanted)
        if recipe.precision in ("fp16", "bf16"):
            figures["unrounded_psnr_db"] = round(distances[worst.number].psnr_db, 2)
            rounded, worst_rounded = compare.compare(rounding.pictures(candidate.exported, session, samples), wanted)
            if rounded[worst_rounded.number].psnr_db < distances[worst.number].psnr_db:
                worst = worst_rounded
            distances = [min(pair, key=lambda each: each.psnr_db) for pair in zip(distances, rounded, strict=True)]
    except BadInput as error:
        figures |= {"error": str(error), **_node(candidate, samples[:1], threshold.departure)}
        return GateResult("parity", False, figures, _REMEDIES[recipe.precision]), [], None
    figures |= summary(distances, worst.number)
    limit = max(threshold.max_abs, UINT8_LEVEL + 1e-6) if recipe.io == "uint8" else threshold.max_abs
    passed = (
        figures["max_abs"] <= limit
        and figures["psnr_db"] >= threshold.worst_psnr_db
        and figures["mean_psnr_db"] >= threshold.mean_psnr_db
        and figures["mean_ssim"] >= threshold.mean_ssim
    )
    if not passed:
        one = samples[worst.number : worst.number + 1]
        figures |= _node(candidate, one, threshold.departure)
    figures |= {
        "most_max_abs": limit,
        "least_psnr_db": threshold.worst_psnr_db,
        "least_mean_psnr_db": threshold.mean_psnr_db,
        "least_mean_ssim": threshold.mean_ssim,
    }
    return GateResult("parity", passed, figures, _REMEDIES[recipe.precision]), distances, worst


_REMEDIES: Mapping[Precision, str] = {
    "fp32": "the graph computes something else than the model; export it again with the pinned versions, or write the "
    "part of the network at the node otherwise",
    "fp16": "activations leave float16's range or lose too much in it; export with --precision bf16 or fp32",
    "bf16": "bfloat16 loses too much of this model; export with --precision fp16 or fp32",
    "int8": "int8 loses too much of this model; export with --precision fp16 or fp32",
}


def summary(distances: Sequence[compare.Distance], worst: int) -> dict[str, Any]:
    """The figures of a comparison: psnr_db is the worst picture's."""
    return {
        "max_abs": max(each.max_abs for each in distances),
        "psnr_db": round(distances[worst].psnr_db, 2),
        "mean_psnr_db": round(float(np.mean([each.psnr_db for each in distances])), 2),
        "worst_ssim": round(min(each.ssim for each in distances), 5),
        "mean_ssim": round(float(np.mean([each.ssim for each in distances])), 5),
        "worst_sample": worst,
    }


def _node(candidate: Candidate, samples: Samples, tolerance: float) -> dict[str, str]:
    """The node where the graph departs from the program on the CPU, as a figure; none when it does not there."""
    node = first_departure(candidate.exported, candidate.file, samples, tolerance)
    return {"node": node} if node else {}


def _session(candidate: Candidate, size: tuple[int, int] | None = None) -> Session | str:
    try:
        return Session(candidate.file, candidate.provider, size=size)
    except BadInput as error:
        return str(error)
