"""Run by torchrun in test_kill.py: reads shards as training does, in step with the other ranks, and notes every key.

Arguments: the shards, a folder for notes, batches to read. Rank r appends one line per batch to `keys-r.jsonl`. Every
fourth batch rank 0 saves the place in the stream; a run that begins goes on from the place that it finds.
"""

import json
import os
import sys
from itertools import islice
from pathlib import Path

import torch
from torch import distributed

from likeness.atomic import write_text
from shards.reading.order import Place
from shards.reading.stream import Reading, Stream, open_shards

SAVED_EVERY = 4


def main(shards: str, notes: Path, batches: int) -> None:
    distributed.init_process_group("gloo")
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    saved = notes / "place.json"
    state = json.loads(saved.read_text()) if saved.is_file() else {"epoch": 0, "position": 0, "batches": 0}
    with open_shards(shards) as (manifest, store), (notes / f"keys-{rank}.jsonl").open("a") as log:
        place = Place(state["epoch"], state["position"])
        reading = Reading(("target",), ("target",), 2, 3, rank, ranks, workers=2, shuffle=9, flip=True, start=place)
        stream = islice(Stream(manifest, store, reading), batches - state["batches"])
        for number, loaded in enumerate(stream, state["batches"]):
            digest = int(loaded.photos["target"].long().sum() + loaded.labels["target"].long().sum())
            log.write(json.dumps({"batch": number, "keys": loaded.keys, "sum": digest}) + "\n")
            log.flush()
            distributed.all_reduce(torch.ones(1))
            if rank == 0 and (number + 1) % SAVED_EVERY == 0:
                place = loaded.place
                told = {"epoch": place.epoch, "position": place.position, "batches": number + 1}
                write_text(saved, json.dumps(told))
    distributed.destroy_process_group()
    # The loader's workers are gone with the stream; what is left of them must not hold up the launcher.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
