"""Draws a world as real H.264 videos, with a sidecar beside each."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from likeness import atomic, machine
from likeness.array import Array
from likeness.command import BadInput
from shards.media.pictures import encode_picture
from shards.media.video_writer import encode
from shards.records import SIZE_MULTIPLE, check_size
from shards.worlds import WORLDS
from shards.worlds.sidecar import VERSION, sidecar_path
from shards.worlds.world import MappedWorld


def film(world: str, out: Path, videos: int, seconds: float, size: int, seed: int, fps: float = 8.0) -> None:
    """Draws `videos` videos of a world into a new folder `out`: `video-0000.mp4`, `video-0000.json`, and so on.

    size: picture width in pixels; the height follows from the world. seconds, fps: length and frames per second.
    Video k depends on (seed, k) only. Equal arguments give equal bytes.
    Raises BadInput for an unknown world, a bad size or length, and when `out` exists.
    """
    if world not in WORLDS:
        raise BadInput(f"there is no world {world!r}; choose from {', '.join(WORLDS)}")
    check_size(size, size)
    height = WORLDS[world].height_of(size)
    if height % SIZE_MULTIPLE:
        raise BadInput(
            f"{world} of --size {size} would be {height} pixels high, not a multiple of {SIZE_MULTIPLE}; "
            f"try {max(1, round(size / 256)) * 256}"
        )
    if videos < 1:
        raise BadInput(f"--videos {videos} draws nothing; give at least 1")
    if fps <= 0 or round(seconds * fps) < 2:
        raise BadInput(f"{seconds} s at {fps} frames per second is less than two frames; give more --seconds")
    with atomic.new_folder(out) as folder:
        shoot = partial(film_one, world, folder, round(seconds * fps), size, seed, fps)
        workers = min(videos, machine.cores())
        bar = partial(tqdm, total=videos, desc=f"drawing {world}", unit="video")
        # Threads, as OpenCV draws without the interpreter's lock and the encoder is a process of its own.
        with ThreadPoolExecutor(workers) as pool:
            for _ in bar(pool.map(shoot, range(videos))):
                pass


def film_one(world: str, folder: Path, frames: int, size: int, seed: int, fps: float, index: int) -> None:
    """Draws video number `index` and its sidecar into `folder`."""
    source = WORLDS[world]
    rng = np.random.default_rng((seed, index))
    style = source.sample_style(rng)
    states = source.sample_states(rng, frames, fps)
    video = folder / f"video-{index:04d}.mp4"
    encode(video, (source.render(state, style, size) for state in states), fps, size, source.height_of(size))
    entries = []
    for number, state in enumerate(states):
        entry: dict[str, Any] = {"number": number, "seconds": number / fps, "state": asdict(state)}
        if isinstance(source, MappedWorld):
            entry["label"] = f"{video.stem}.labels/{number:06d}.png"
            _write(folder / entry["label"], source.class_ids(state, size))
            entry["instances"] = f"{video.stem}.instances/{number:06d}.png"
            _write(folder / entry["instances"], source.instance_ids(state, size))
        entries.append(entry | source.annotate(state, size))
    sidecar = {
        "world": world,
        "version": VERSION,
        "size": size,
        "fps": fps,
        "style_key": source.style_key(style, video.stem),
        "style": asdict(style),
        "frames": entries,
    }
    sidecar_path(video).write_text(json.dumps(sidecar) + "\n", encoding="utf-8")


def _write(file: Path, ids: Array) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(encode_picture(ids))
