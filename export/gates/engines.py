"""The gate of a TensorRT engine: it paints what the model in PyTorch paints, as near as its precision has to be."""

from deploy.runtime import Session
from export.gates import compare
from export.gates.behaviour import REMEDIES, judged
from export.gates.result import THRESHOLDS, GateResult
from export.gates.samples import COUNT, LEAST, Samples
from likeness.command import BadInput
from trainer.checkpoints.synthesis import Synthesis


def check_engine(session: Session, synthesis: Synthesis, samples: Samples, batch: int) -> GateResult:
    """Pictures of real samples, against PyTorch's in float32: the parity gate's thresholds for the model's precision.

    session: runs the engine, which rounds what it computes by itself. batch: the smallest that it takes.
    """
    precision = session.metadata.precision
    samples = samples[: len(samples) - len(samples) % batch]
    least = LEAST if precision == "fp32" else COUNT
    if len(samples) < least:
        remedy = f"name shards of at least {-(-least // batch) * batch} samples with --samples"
        return GateResult("parity", False, {"samples": len(samples), "least_samples": least}, remedy)
    remedy = f"the engine computes something else than {session.path}: {REMEDIES[precision]}"
    try:
        wanted = compare.references(synthesis, samples)
        distances, worst = compare.compare(compare.pictures_of(session, samples, batch), wanted)
    except BadInput as error:
        return GateResult("parity", False, {"samples": len(samples), "error": str(error)}, remedy)
    figures = {"samples": len(samples)}
    passed = judged(figures, distances, worst.number, THRESHOLDS[precision], session.metadata.io)
    return GateResult("parity", passed, figures, remedy)
