"""What a run of batch inference did, for `summary.json` and for people."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deploy.batch.pairs import WHOLE, Pairs, slice_ending
from deploy.runtime import Session
from likeness.machine import ON_CPU, device, versions

TARGET_MS = (8.0, 10.0)
TARGET_SIDE = 256
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Summary:
    """What a run did. `summary.json` holds it, beside facts about model and machine."""

    pictures: int
    """Made by this run."""
    skipped: int
    """Found finished, of the run's slice."""
    bad: int
    """Left out, because their inputs are broken."""
    seconds: float
    """From the first decoding to the last file written, without loading the model."""
    busy: float
    """The share of these seconds in which the model ran; of several devices, their mean."""
    latency_ms: dict[str, float] | None
    """p50, p95 and p99 of `latency_percentiles`; None when no picture was made."""

    @property
    def pictures_per_s(self) -> float:
        """End to end: decoding, model and encoding."""
        return self.pictures / self.seconds if self.pictures else 0.0


def latency_percentiles(runs: Sequence[tuple[float, int]]) -> dict[str, float] | None:
    """Milliseconds of the model per picture: over pictures, the time of one run divided by its batch.

    runs: seconds and pictures of each run of the model. The first is left out where there are several: a provider
    allocates, and chooses its kernels, in the first. None when there is no run.
    """
    counted = runs[1:] or runs
    if not counted:
        return None
    each = [1000 * seconds / count for seconds, count in counted]
    per_picture = np.repeat(each, [count for _, count in counted])
    return {f"p{percent}": round(float(np.percentile(per_picture, percent)), 3) for percent in PERCENTILES}


def describe(session: Session, pairs: Pairs, batch: int, summary: Summary) -> dict[str, Any]:
    """What `summary.json` holds: figures, how they compare to the target, model and machine."""
    schema = session.schema
    facts = session.metadata.to_json()
    del facts["schema"]
    return {
        **asdict(summary),
        "pictures_per_s": round(summary.pictures_per_s, 3),
        "total": pairs.total,
        "slice": None if pairs.part == WHOLE else list(pairs.part),
        "provider": session.provider,
        "device": device(session.provider),
        "devices": session.parallel,
        "batch": batch,
        "size": [schema.width, schema.height],
        "target_ms": list(TARGET_MS),
        "comparison": compare(session, summary.latency_ms),
        "roll_labels": pairs.roll,
        "versions": versions(),
        **facts,
    }


def compare(session: Session, latency_ms: dict[str, float] | None) -> str:
    """Our latency beside the paper's, in words that do not compare what cannot be compared."""
    schema = session.schema
    paper = f"the paper reports {TARGET_MS[0]:g}-{TARGET_MS[1]:g} ms per 256×256 picture on a GTX 1080 Ti"
    if latency_ms is None:
        return f"{paper}; nothing was measured here, all pictures were finished"
    here = f"{latency_ms['p50']:.1f} ms (p50) per {schema.width}×{schema.height} picture on {device(session.provider)}"
    if session.provider in ON_CPU or (schema.width, schema.height) != (TARGET_SIDE, TARGET_SIDE):
        return f"{here}; {paper}: another machine or size, so the two do not compare"
    verdict = "within the target" if latency_ms["p50"] <= TARGET_MS[1] else "slower than the target"
    return f"{here}, {verdict}; {paper}"


def table(described: dict[str, Any]) -> str:
    """The summary for people. described: by `describe`."""
    latency = described["latency_ms"]
    measured = ", ".join(f"{name} {value:.1f}" for name, value in latency.items()) if latency else "nothing measured"
    several = f" × {described['devices']}" if described["devices"] > 1 else ""
    left_out = ""
    if described["bad"]:
        left_out = f", {described['bad']:,} left out: see bad{slice_ending(described['slice'] or WHOLE)}.csv"
    rows = {
        "pictures": f"{described['pictures']:,} made, {described['skipped']:,} found finished{left_out}",
        "pictures/s": f"{described['pictures_per_s']:.2f} (decoding, model and encoding; the model ran "
        f"{100 * described['busy']:.0f}% of the time)",
        "ms per picture": f"{measured} (model only)",
        "provider": f"{described['provider']}, {described['device']}{several}, batch {described['batch']}",
        "model": f"{described['method']}, {described['images_seen']:,} images seen in training",
        "target": described["comparison"],
    }
    return "\n".join(f"{name:<16}{value}" for name, value in rows.items())
