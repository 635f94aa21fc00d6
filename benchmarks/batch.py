"""`deploy batch` against the bare model: pictures per second, end to end and of the model's runs alone.

    python benchmarks/batch.py --model face.onnx --pictures 12 --rounds 5
    python benchmarks/batch.py --model demo.onnx --pictures 500 --provider cuda --batch 8

The bare model runs in a loop over inputs that lie in memory, decoded and stacked; `deploy batch` reads pairs from
shards (drawn and packed for this run, or those of --shards), and writes pictures. Both have the same model, batch and
pairs; the threads of the bare model spin while they wait, as is ONNX Runtime's default. They take turns: each run of
`deploy batch` stands between two of the bare model and is compared with their mean: `of_bare`, the median over rounds.
`cpu_bare_over_cpu` compares CPU time instead, whatever else the machine does. Prints one JSON object.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.batch.bad_inputs import BadInputs
from deploy.batch.open_pairs import open_pairs
from deploy.batch.outputs import Files, Output, Tars
from deploy.batch.pairs import PairOptions
from deploy.batch.synthesis import synthesize_pairs
from deploy.chain import Chain
from deploy.model_arguments import add_model_arguments, open_session
from deploy.runtime import Session
from likeness.arguments import count
from likeness.array import Array
from likeness.checksums import sha256_of
from likeness.machine import device, versions
from likeness.onnx_runtime import spinning
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.worlds.film import film

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


@dataclass(frozen=True)
class Turn:
    """What painting some pictures took."""

    pictures_per_s: float
    """Pictures per second, by the clock."""
    cpu_ms: float
    """Milliseconds of all threads of this process, per picture."""


def turn_of(paint: Callable[[], int]) -> Turn:
    """The figures of a function that says how many pictures it made."""
    begun, cpu = time.perf_counter(), time.process_time()
    made = paint()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return Turn(made / seconds, 1000 * cpu / made)


def bare(session: Session, feeds: Sequence[dict[str, Array]], pictures: int, size: int) -> int:
    """Runs nothing but the model."""
    runs = -(-pictures // size)
    for each in itertools.islice(itertools.cycle(feeds), runs):
        session.run_unchecked(each)
    return runs * size


def end_to_end(session: Session, shards: Path, size: int, output: Output) -> Turn:
    """All of `deploy batch` from the first decoding to the last file written: what it does once, such as the checksums
    of model and shards, would weigh more here than in a run of some length."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        pairs = open_pairs(shards, session.schema, session.inputs, PairOptions(output=output))
        bad = BadInputs(out, "bad", 0, pairs.mark)
        sink = Tars(out, output, pairs.ours, {}) if output.per_shard else Files(out, output)

        def paint() -> int:
            with sink:
                return synthesize_pairs(Chain.of(session), pairs, sink, bad, size, output).pictures

        return turn_of(paint)


def measured(session: Session, bare_session: Session, shards: Path, options: argparse.Namespace) -> dict[str, Any]:
    feeds = prepared(session, shards, options.pictures, options.batch)

    def alone() -> Turn:
        time.sleep(REST)
        return turn_of(lambda: bare(bare_session, feeds, options.pictures, options.batch))

    turns: dict[str, list[tuple[Turn, Turn, Turn]]] = {name: [] for name in OUTPUTS}
    alone()
    for _ in range(options.rounds):
        for name, output in OUTPUTS.items():
            # The machine may have become slower or faster by the time the run ends: before and after count alike.
            before = alone()
            time.sleep(REST)
            run = end_to_end(session, shards, options.batch, output)
            turns[name].append((before, run, alone()))
    models = [turn for found in turns.values() for before, _, after in found for turn in (before, after)]
    return {
        "bare": _medians(models),
        "outputs": {
            name: {
                **_medians([run for _, run, _ in found]),
                "of_bare": _spread(
                    [2 * run.pictures_per_s / (one.pictures_per_s + two.pictures_per_s) for one, run, two in found]
                ),
                "cpu_bare_over_cpu": _spread([(one.cpu_ms + two.cpu_ms) / 2 / run.cpu_ms for one, run, two in found]),
            }
            for name, found in turns.items()
        },
    }


def _medians(turns: Sequence[Turn]) -> dict[str, float]:
    return {
        "pictures_per_s": round(statistics.median(turn.pictures_per_s for turn in turns), 3),
        "cpu_ms_per_picture": round(statistics.median(turn.cpu_ms for turn in turns), 3),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    return {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    parser.add_argument("--shards", type=Path, help="a folder of shards, instead of faces drawn for this run")
    parser.add_argument("--pictures", type=count, default=200, help="of a turn; with --shards, as many as these hold")
    parser.add_argument("--batch", type=count, default=1, help="pictures in one run of the model")
    parser.add_argument("--rounds", type=count, default=5)
    options = parser.parse_args()
    with spinning():
        alone = open_session(options)
    session = open_session(options)
    load = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory() as folder:
        shards = options.shards or packed(Path(folder), session, options.pictures)
        options.pictures = open_pairs(shards, session.schema, session.inputs).total
        figures = measured(session, alone, shards, options)
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
        "load_average": {"before": load, "after": round(os.getloadavg()[0], 2)},
        "hardware": device(session.provider),
        "versions": versions(),
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
