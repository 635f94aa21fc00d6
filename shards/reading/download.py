"""Downloads: tried again as long as there is hope, and checked against the manifest while they arrive."""

import hashlib
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from likeness.command import BadInput
from shards.reading.cache import local_disk
from shards.reading.urls import DamagedDownload, Failure, chunks, explained
from shards.records import Shard

BACKOFF_SECONDS = 0.5
"""The pause before the second attempt; it doubles with every further one, give or take half."""

T = TypeVar("T")


def with_retries(url: str, fetch: Callable[[], T], missing: Failure, attempts: int) -> T:
    """What `fetch` returns, tried again as long as there is hope. missing: what to say when there is no file.

    Raises BadInput in words that hold no credentials.
    """
    tries = ""
    for attempt in range(attempts):
        if attempt:
            # Not the global generator: it is the training's, and a network must not advance it.
            time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1) * random.SystemRandom().uniform(0.5, 1.5))
            tries = f" (tried {attempt + 1} times)"
        try:
            return fetch()
        except BadInput:
            raise
        except Exception as error:
            failure = explained(error, url, missing)
        if failure.final:
            break
    # Raised out here, because a library's exception behind ours would show the whole URL.
    raise BadInput(f"{failure.problem}{tries}; {failure.remedy}")


def download_shard(url: str, shard: Shard, target: Path) -> None:
    """Writes a shard's content to a new file; an old one is removed first.

    Raises DamagedDownload when it has not the size and the SHA-256 of the manifest, BadInput for what the disk refuses,
    and whatever the URL's library raises.
    """
    digest, size = hashlib.sha256(), 0
    with local_disk(target.parent, shard):
        target.unlink(missing_ok=True)
        out = target.open("xb")
    try:
        for chunk in chunks(url):
            size += len(chunk)
            if size > shard.bytes:
                raise DamagedDownload(f"sends more than the {shard.bytes} bytes that the manifest says")
            digest.update(chunk)
            with local_disk(target.parent, shard):
                out.write(chunk)
        with local_disk(target.parent, shard):
            out.flush()
            now = time.time_ns()
            os.utime(out.fileno(), ns=(now, now))
    finally:
        with local_disk(target.parent, shard):
            out.close()
    if size != shard.bytes:
        raise DamagedDownload(f"ends after {size} bytes, but the manifest says {shard.bytes}")
    if digest.hexdigest() != shard.sha256:
        raise DamagedDownload(
            f"arrives damaged: its SHA-256 is {digest.hexdigest()[:12]}…, but the manifest says {shard.sha256[:12]}…"
        )
