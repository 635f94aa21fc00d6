"""Drawing face sketches: label maps per CPU second, against the same label maps drawn plane by plane.

    python benchmarks/sketches.py

Plane by plane means that each of the 14 distance maps is made over the whole plane and then halved, as the published
system does; `shards.labels.sketch.draw` makes the same bytes out of small boxes and tables. Both are measured in turns
in one process, whose CPU seconds count; the ratio is the median over the turns. Prints one JSON object.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import cv2
import numpy as np

from likeness.arguments import count
from likeness.array import Array
from likeness.machine import device
from shards.labels import sketch
from shards.labels.distance_maps import distances, halved, halved_distances
from shards.worlds import faces

SIZES = (64, 128, 256, 512)


def plane_by_plane(planes: Array, boxes: object, divisor: float) -> Array:
    """What `halved_distances` gives, the long way."""
    return np.stack([halved(distances(plane, divisor)) for plane in planes])


def drawn_in(face: Array, size: int, way: Callable[..., Array]) -> tuple[float, Array]:
    """CPU seconds, and the label map."""
    usual, sketch.halved_distances = sketch.halved_distances, way
    started = time.process_time()
    label = sketch.draw(face, size, size)
    taken = time.process_time() - started
    sketch.halved_distances = usual
    return taken, label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=count, default=60, help="turns of each")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    states = faces.sample_states(np.random.default_rng(1), options.turns, 4.0)
    landmarks = [np.array(faces.annotate(state, 256)["landmarks"]) for state in states]
    table = {}
    for size in SIZES:
        rates = []
        for face in landmarks:
            (ours, label), (theirs, same) = (drawn_in(face, size, way) for way in (halved_distances, plane_by_plane))
            assert np.array_equal(label, same), "both ways give the same bytes"
            rates.append((ours, theirs))
        ours, theirs = (statistics.median(column) for column in zip(*rates, strict=True))
        table[str(size)] = {
            "per_cpu_second": round(1 / ours),
            "plane_by_plane": round(1 / theirs),
            "times_as_fast": round(statistics.median(row[1] / row[0] for row in rates), 2),
        }
    figures = {
        "sketches": table,
        "turns": options.turns,
        "hardware": device("cpu"),
        "versions": {
            **{name: version(name) for name in ("opencv-python-headless", "numpy")},
            "python": platform.python_version(),
        },
    }
    json.dump(figures, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
