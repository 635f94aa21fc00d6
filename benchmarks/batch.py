"""`deploy batch` against the bare model: pictures per second, end to end and of the model's runs alone.

    python benchmarks/batch.py --model face.onnx --pictures 12 --rounds 5
    python benchmarks/batch.py --model demo.onnx --pictures 500 --provider cuda --batch 8

The bare model runs in a loop over inputs that lie in memory, decoded and stacked; `deploy batch` reads pairs from
shards (drawn and packed for this run, or those of --shards), and writes pictures. Both have the same session, the same
batch and the same pairs. They take turns: each run of `deploy batch` stands between two of the bare model and is
compared with their mean; the ratio is the median over rounds. Prints one JSON object.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy import batch
from deploy.model_arguments import add_model_arguments, open_session
from deploy.outputs import Output
from deploy.pairs import open_pairs
from deploy.runtime import Session
from shards.arguments import count
from shards.pairs import preset
from shards.records import sha256_of
from shards.worlds.film import film
from shards.write import Packing, pack

Array = np.ndarray[Any, Any]

OUTPUTS = {"png": Output("png"), "jpg": Output("jpg"), "jpg in tar shards": Output("jpg", per_shard=100)}
REST = 0.2
"""Seconds between turns: idle worker threads spin for a while after a run."""


def packed(folder: Path, session: Session, pairs: int) -> Path:
    """Shards of faces of the model's size."""
    side = session.schema.height
    film("faces", folder / "videos", videos=4, seconds=2, size=side, seed=0)
    packing = Packing(folder / "videos", preset("default"), pairs=1, size=side, test_pairs=pairs, test_fraction=0.75)
    pack(packing, folder / "train", folder / "test")
    return folder / "test"


def prepared(session: Session, shards: Path, pictures: int, size: int) -> list[dict[str, Array]]:
    """Stacked inputs of the first pairs, at most 64 of them."""
    jobs = open_pairs(shards, session.schema, session.inputs).jobs(lambda *_: True)
    loaded = [session.tensors(job.load()) for job in itertools.islice(jobs, min(pictures, 64) // size * size or size)]
    return [
        {name: np.stack([tensors[name] for tensors in loaded[at : at + size]]) for name in loaded[0]}
        for at in range(0, len(loaded), size)
    ]


def bare(session: Session, feeds: Sequence[dict[str, Array]], pictures: int, size: int) -> float:
    """Pictures per second of the model alone."""
    begun = time.perf_counter()
    for each in itertools.islice(itertools.cycle(feeds), -(-pictures // size)):
        session.run_unchecked(each)
    return -(-pictures // size) * size / (time.perf_counter() - begun)


def end_to_end(session: Session, shards: Path, size: int, output: Output) -> tuple[float, float]:
    """Pictures per second of `deploy batch`, and the share of its time in which the model ran."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = open_pairs(shards, session.schema, session.inputs, output=output)
        found = batch.run(session, pairs, Path(folder) / "out", size, output)
    return found["pictures"] / found["seconds"], found["busy"]


def measured(session: Session, shards: Path, options: argparse.Namespace) -> dict[str, Any]:
    feeds = prepared(session, shards, options.pictures, options.batch)
    rates: dict[str, list[float]] = {name: [] for name in OUTPUTS}
    ratios: dict[str, list[float]] = {name: [] for name in OUTPUTS}
    busy: dict[str, list[float]] = {name: [] for name in OUTPUTS}
    alone: list[float] = []
    bare(session, feeds, options.batch, options.batch)
    for _ in range(options.rounds):
        for name, output in OUTPUTS.items():
            # The machine may have become slower or faster by the time the run ends: before and after count alike.
            turns = []
            for turn in range(3):
                time.sleep(REST)
                if turn == 1:
                    rate, share = end_to_end(session, shards, options.batch, output)
                else:
                    turns.append(bare(session, feeds, options.pictures, options.batch))
            alone += turns
            rates[name].append(rate)
            busy[name].append(share)
            ratios[name].append(rate / statistics.mean(turns))
    return {
        "bare_pictures_per_s": round(statistics.median(alone), 3),
        "outputs": {
            name: {
                "pictures_per_s": round(statistics.median(rates[name]), 3),
                "of_bare": round(statistics.median(ratios[name]), 3),
                "of_bare_lowest_and_highest": [round(min(ratios[name]), 3), round(max(ratios[name]), 3)],
                "busy": round(statistics.median(busy[name]), 3),
            }
            for name in OUTPUTS
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    parser.add_argument("--shards", type=Path, help="a folder of shards, instead of faces drawn for this run")
    parser.add_argument("--pictures", type=count, default=200, help="of a turn; with --shards, as many as these hold")
    parser.add_argument("--batch", type=count, default=1, help="pictures in one run of the model")
    parser.add_argument("--rounds", type=count, default=5)
    options = parser.parse_args()
    session = open_session(options)
    load = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory() as folder:
        shards = options.shards or packed(Path(folder), session, options.pictures)
        options.pictures = open_pairs(shards, session.schema, session.inputs).total
        figures = measured(session, shards, options)
    facts = session.metadata.to_json()
    result = {
        "model": {"sha256": sha256_of(session.path), "bytes": session.path.stat().st_size, "options": facts["options"]},
        "method": session.method,
        "size": [session.schema.width, session.schema.height],
        "label": session.schema.kind,
        "provider": session.provider,
        "batch": options.batch,
        "threads": options.threads,
        "pictures": options.pictures,
        "rounds": options.rounds,
        **figures,
        "load_average_before": load,
        "hardware": batch.device(session.provider),
        "versions": batch.versions(),
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
