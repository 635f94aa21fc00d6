"""Gates that run a graph and look at its pictures, beside those of the model in PyTorch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deploy.metadata import Precision
from deploy.runtime import Session
from export.gates import compare, rounding
from export.gates.departures import first_departure, largest_values
from export.gates.result import Candidate, GateResult, Threshold, threshold_of
from export.gates.samples import COUNT, LEAST, Samples
from likeness.array import Array
from likeness.command import BadInput
from shards.inputs import INPUTS, Io

BATCHES = (1, 3)
RANGE_SAMPLES = 8
MOST_FLOAT16 = float(np.finfo(np.float16).max) / 2
"""Twice as much still does not overflow: other pictures may have larger values than those that were seen."""
UINT8_LEVEL = 2 / 255
"""One level of uint8 in [-1, 1]: what rounding may make of the smallest difference."""
REMEDIES: Mapping[Precision, str] = {
    "fp32": "the graph computes something else than the model; export it again with the pinned versions, or write the "
    "part of the network at the node otherwise",
    "fp16": "activations leave float16's range or lose too much in it; export with --precision bf16 or fp32",
    "bf16": "bfloat16 loses too much of this model; export with --precision fp16 or fp32",
    "int8": "int8 loses too much of this model; export with --precision fp16 or fp32",
}


def check_batches(candidate: Candidate) -> GateResult:
    """The same file runs one picture and three at once, and three at once are three single ones."""
    remedy = "the batch axis is not dynamic, or samples of a batch mix: look for Reshape nodes with constant shapes"
    session = _session(candidate)
    if isinstance(session, str):
        return GateResult("dynamic_batch", False, {"error": session}, remedy)
    # Different samples, so that a graph that gives all of a batch the first one's picture is caught.
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
    # Not grown alike, so that a height that was written into the graph in place of a width shows.
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
        largest_of = largest_values(candidate.exported, candidate.file, candidate.samples[:RANGE_SAMPLES])
    except BadInput as error:
        return GateResult("range", False, {"error": str(error)}, remedy)
    # Not `value > MOST_FLOAT16`, which NaN would pass.
    beyond = [name for name, value in largest_of.items() if not value <= MOST_FLOAT16]
    largest = max(largest_of.values(), default=0.0)
    figures = {"samples": RANGE_SAMPLES, "largest": largest, "most_largest": MOST_FLOAT16, "beyond": beyond[:5] or 0}
    return GateResult("range", not beyond, figures, remedy)


def check_parity(candidate: Candidate) -> tuple[GateResult, list[compare.Distance], compare.Worst | None]:
    """Pictures of real samples against PyTorch's in float32: the worst one and the average must reach `THRESHOLDS`."""
    recipe, samples = candidate.exported.recipe, candidate.samples
    threshold, remedy = threshold_of(candidate), REMEDIES[recipe.precision]
    figures: dict[str, Any] = {"samples": len(samples)}
    least = LEAST if recipe.precision == "fp32" else COUNT
    if len(samples) < least:
        remedy = f"name shards of at least {least} samples with --samples"
        return GateResult("parity", False, {**figures, "least_samples": least}, remedy), [], None
    session = _session(candidate)
    if isinstance(session, str):
        return GateResult("parity", False, {**figures, "error": session}, remedy), [], None
    try:
        distances, worst = _compared(candidate, session, figures)
    except BadInput as error:
        figures |= {"error": str(error), **_node(candidate, samples[:1], threshold.departure)}
        return GateResult("parity", False, figures, remedy), [], None
    passed = judged(figures, distances, worst.number, threshold, recipe.io)
    if not passed:
        one = samples[worst.number : worst.number + 1]
        figures |= _node(candidate, one, threshold.departure)
    return GateResult("parity", passed, figures, remedy), distances, worst


def judged(
    figures: dict[str, Any], distances: Sequence[compare.Distance], worst: int, threshold: Threshold, io: Io
) -> bool:
    """Whether pictures reach a threshold. What was measured, and the threshold, go to `figures`."""
    figures |= summary(distances, worst)
    # However small the difference, rounding to uint8 can make a whole level of it.
    limit = max(threshold.max_abs, UINT8_LEVEL + 1e-6) if io == "uint8" else threshold.max_abs
    figures |= {
        "most_max_abs": limit,
        "least_psnr_db": threshold.worst_psnr_db,
        "least_mean_psnr_db": threshold.mean_psnr_db,
        "least_mean_ssim": threshold.mean_ssim,
    }
    return _reached(figures, threshold, limit)


def _compared(
    candidate: Candidate, session: Session, figures: dict[str, Any]
) -> tuple[list[compare.Distance], compare.Worst]:
    """How far every picture is from PyTorch's, and the worst one.

    Half-precision graphs are run twice: by the provider, which on a CPU computes in float32, and with every operation
    rounded as a GPU does. The worse of both counts; the provider's own figure goes to `figures`.
    """
    samples = candidate.samples
    wanted = compare.references(candidate.synthesis, samples)
    distances, worst = compare.compare(compare.pictures_of(session, samples), wanted)
    if candidate.exported.recipe.precision not in ("fp16", "bf16"):
        return distances, worst
    figures["unrounded_psnr_db"] = round(distances[worst.number].psnr_db, 2)
    rounded, worst_rounded = compare.compare(rounding.pictures(candidate.exported, session, samples), wanted)
    if rounded[worst_rounded.number].psnr_db < distances[worst.number].psnr_db:
        worst = worst_rounded
    return [min(pair, key=lambda each: each.psnr_db) for pair in zip(distances, rounded, strict=True)], worst


def _reached(figures: Mapping[str, Any], threshold: Threshold, limit: float) -> bool:
    """Whether the figures of `summary` reach a threshold. limit: of `max_abs`, for the graph's own output."""
    return bool(
        figures["max_abs"] <= limit
        and figures["psnr_db"] >= threshold.worst_psnr_db
        and figures["mean_psnr_db"] >= threshold.mean_psnr_db
        and figures["mean_ssim"] >= threshold.mean_ssim
    )


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
    """The session that would serve the candidate, or why there is none."""
    try:
        return Session(candidate.file, candidate.provider, size=size)
    except BadInput as error:
        return str(error)
