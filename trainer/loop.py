"""The training loop: report, save, stop?, read, step."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from shards.atomic import new_file
from shards.command import DONE, PREEMPTED, BadInput
from shards.read import Loaded, Stream, first_samples, open_shards
from shards.records import Manifest
from shards.store import Store
from trainer import checkpoint as checkpoints
from trainer.batches import reading_of, to_device
from trainer.checkpoint import Checkpoint
from trainer.config import Config
from trainer.grid import sample_grid
from trainer.method import Synthesizer
from trainer.tracking import Tracker
from trainer.training import Training


class Means:
    """Running means of scalars that stay on the device until somebody reads them."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value.detach().float()
        self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means since the last call."""
        means = {name: total.item() / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGUSR1, which clusters send before they take a machine away."""
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda got, _: received.append(got))
        for number in (signal.SIGTERM, signal.SIGUSR1)
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def find_resume(run: Path, resume: str | None) -> Checkpoint | None:
    """The checkpoint to go on from. `latest` means the run's own, or a fresh start where there is none.

    Raises BadInput when the run's folder holds something and nobody asked to resume.
    """
    if resume is None:
        if run.exists() and any(run.iterdir()):
            raise BadInput(f"{run} exists already; continue it with --resume latest, or set --run to another folder")
        return None
    folder = checkpoints.find(run if resume == "latest" else Path(resume))
    if folder is None and resume != "latest":
        raise BadInput(f"no checkpoint at {resume}")
    return Checkpoint(folder) if folder else None


def train(config: Config, resume: str | None = None) -> int:
    """Trains until `config.images` images are seen. Returns the exit code: done, or preempted.

    Raises BadInput before anything is written when shards, weights, config and checkpoint do not fit.
    """
    with stop_requests() as stopped, ExitStack() as opened:
        checkpoint = find_resume(config.run, resume)
        cache = config.data.shard_cache
        manifest, store = opened.enter_context(open_shards(config.data.train, cache=cache))
        config.data.check_schema(manifest.schema, store.where)
        held_out = (manifest, store)
        if config.data.test:
            held_out = opened.enter_context(open_shards(config.data.test, manifest.schema, cache))
        if checkpoint and checkpoint.state.manifest != manifest.digest:
            raise BadInput(
                f"{store.where} are not the shards that {checkpoint.folder} was trained on; resume with those, "
                "or start a new run"
            )
        training = Training(config, manifest.schema, checkpoint)
        observer = Observer(training, manifest, *held_out) if training.accelerator.is_main_process else None
        training.run_id = training.share(observer.tracker.run_id if observer else None)
        if checkpoint:
            training.restore_random(checkpoint)
        finished = False
        try:
            finished = _iterate(training, manifest, store, observer, stopped)
        finally:
            if observer:
                observer.close(finished)
        return DONE if finished else PREEMPTED


def _iterate(
    training: Training, manifest: Manifest, store: Store, observer: "Observer | None", stopped: list[int]
) -> bool:
    """Steps until the images are seen (True) or a stop is asked for (False); saves in both cases."""
    config = training.config
    reading = replace(
        reading_of(type(training.method), config.batch),
        seed=config.seed,
        rank=training.accelerator.process_index,
        ranks=training.accelerator.num_processes,
        workers=config.data.workers,
        shuffle=config.data.shuffle,
        flip=config.data.flip,
        start=training.place,
        remainder=config.data.remainder,
        resampled=config.data.resampled,
        max_bad=config.data.max_bad,
    )
    batches = iter(Stream(manifest, store, reading))
    while training.images < config.images:
        if training.any_rank(bool(stopped)):
            training.save(manifest.digest)
            return False
        asked_at = time.perf_counter()
        loaded = next(batches)
        waited_s = time.perf_counter() - asked_at
        before = training.images
        losses, norms = training.step(to_device(loaded, training.schema, training.device))
        training.place = loaded.place
        if observer:
            observer.saw(before, losses | norms, waited_s)
        if crossed(before, training.images, config.checkpoint.every) and training.images < config.images:
            training.save(manifest.digest)
    training.save(manifest.digest)
    return True


def crossed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]."""
    return after // every > before // every


class Observer:
    """What a person watches: progress bar, journal, MLflow, sample grids. Main process only."""

    def __init__(self, training: Training, train: Manifest, held_out: Manifest, held_out_store: Store) -> None:
        config = training.config
        config.run.mkdir(parents=True, exist_ok=True)
        self.training = training
        tracking = config.tracking
        settings = config.model_dump(mode="json")
        self.tracker = Tracker(
            config.run, tracking.uri, tracking.experiment, settings, training.images, training.run_id
        )
        self.tracker.describe("label_schema.json", training.schema.to_json())
        self.tracker.describe("manifest.json", {"digest": train.digest, "samples": train.samples})
        self.synthesizer = Synthesizer(training.method, training.averages.networks)
        self.fixed: Loaded = first_samples(
            held_out, held_out_store, tracking.grid_rows, reading_of(type(training.method), 1)
        )
        self.means = Means()
        self.bar = tqdm(total=config.images, initial=training.images, unit="img", desc="training", smoothing=0.05)
        self.logged_at, self.logged_images, self.waited_s = time.perf_counter(), training.images, 0.0

    def saw(self, before: int, figures: dict[str, Tensor], waited_s: float) -> None:
        """Takes note of one iteration; logs when a log line or a grid is due."""
        training, tracking = self.training, self.training.config.tracking
        training.run_id = self.tracker.run_id  # for checkpoints: a server may give it at any time
        self.waited_s += waited_s
        for name, value in figures.items():
            self.means.add(name, value)
        self.bar.update(training.images - before)
        done = training.images >= training.config.images
        if crossed(before, training.images, tracking.log_every) or done:
            self._log()
        if crossed(before, training.images, tracking.grid_every) or done:
            self._grid()

    def _log(self) -> None:
        figures = self.means.take()
        bad = [name for name, value in figures.items() if not math.isfinite(value)]
        if bad:
            raise FloatingPointError(
                f"{', '.join(bad)} not finite after {self.training.images} images; go on from an earlier "
                "checkpoint with a lower optimizer.learning_rate"
            )
        elapsed_s = time.perf_counter() - self.logged_at
        figures["images_per_s"] = (self.training.images - self.logged_images) / elapsed_s
        figures["data_wait_share"] = self.waited_s / elapsed_s
        self.tracker.log(self.training.images, figures)
        totals = {name.removesuffix("/total"): f"{v:.3f}" for name, v in figures.items() if name.endswith("/total")}
        self.bar.set_postfix({**totals, "data wait": f"{figures['data_wait_share']:.0%}"})
        self.logged_at, self.logged_images, self.waited_s = time.perf_counter(), self.training.images, 0.0

    def _grid(self) -> None:
        training = self.training
        grid = sample_grid(self.synthesizer, training.method, self.fixed, training.schema, training.device)
        with new_file(training.config.run / "grids" / f"{training.images:010d}.png") as partial:
            Image.fromarray(grid).save(partial)
        self.tracker.picture(training.images, "samples", grid)

    def close(self, finished: bool) -> None:
        self.bar.close()
        self.tracker.close(finished)
