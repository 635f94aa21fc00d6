"""Where ranks meet: the launcher's store, and how to meet there again after a restart."""

import os
from datetime import timedelta

import torch
from accelerate import Accelerator
from torch import distributed
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from trainer.ranks.environment import flag

CONNECT_S = 30
"""Seconds within which the store must answer."""


def attempt() -> int:
    """How often the launcher has started the ranks again; 0 without one."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def open_store(purpose: str) -> Store | None:
    """A connection of our own to the store where the ranks met, with keys of its own; None for a single rank.

    Of our own, because a connection takes one request at a time: torch's may be waiting for a collective.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    store = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        wait_for_workers=False,
        timeout=timedelta(seconds=CONNECT_S),
    )
    return PrefixStore(f"{purpose}-{attempt()}", store)


def join_again(timeout: timedelta) -> None:
    """After a restart, makes the process group on keys of this attempt; otherwise leaves that to accelerate.

    A launcher with a fixed master port (its static rendezvous) keeps its store over restarts, and ranks that meet
    there read the addresses of ranks that are dead (seen with torch 2.13: "Gloo connectFullMesh failed").
    """
    store_survives = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if not store_survives or attempt() == 0 or distributed.is_initialized():
        return
    on_cpu = flag("ACCELERATE_USE_CPU")
    store = open_store("ranks")
    if store is not None:
        distributed.init_process_group(
            "gloo" if on_cpu or not torch.cuda.is_available() else "cuda:nccl,cpu:gloo",
            store=store,
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            timeout=timeout,
        )


def leave(accelerator: Accelerator) -> None:
    """Says good-bye to the other ranks; without it a process may end while its network threads still run."""
    if accelerator.num_processes > 1:
        accelerator.wait_for_everyone()
        distributed.destroy_process_group()
