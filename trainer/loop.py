"""The training loop: what happens between two iterations, and in which order.

All ranks run the same code. Whatever they decide (evaluate now, stop, the best so far) must come out alike on all of
them, or one rank enters a collective that the others never reach, and all wait for good. Therefore decisions hang on
what is equal by construction (images seen), on what has been averaged over ranks (see `DelayedMetrics`), or on what
rank 0 shares.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from accelerate.utils import gather_object

from likeness import atomic
from likeness.command import DONE, INTERRUPTED, PREEMPTED, BadInput
from likeness.one_writer import only_writer
from shards.inputs import needs_of
from shards.reading.store import Store
from shards.reading.stream import Stream, check_instances, open_shards
from shards.records import Manifest
from trainer.batches import Ready, ahead, first_batches, reading_of
from trainer.checkpoints import files as checkpoints
from trainer.checkpoints.files import Checkpoint, Snapshot
from trainer.checkpoints.saving import Saver
from trainer.config import Config
from trainer.health import Skipped
from trainer.held_out import HeldOut
from trainer.players.norm_statistics import SETTLING_BATCH
from trainer.ranks import launcher
from trainer.ranks.delayed_metrics import LAG, DelayedMetrics
from trainer.ranks.preemption import StopRequests
from trainer.ranks.rendezvous import open_store
from trainer.ranks.watchdog import Watchdog
from trainer.speed.host_memory import keep_freed_memory
from trainer.tracking.observer import Observer, crossed
from trainer.training import Training

POST_MORTEM = "post-mortem.json"
"""What a run leaves that ended because too many iterations were not finite."""
LOCK = ".lock"
"""Held by the process that trains in a run's folder."""
ALONE_S, TOGETHER_S = 3.0, 30.0
"""Seconds that a batch is still waited for after a request to stop.

By a single rank, which can save at once; and by one of several, which must step once more, so that all stop after the
same iteration.
"""


def find_resume(run: Path, resume: str | None) -> Checkpoint | None:
    """The checkpoint to go on from. `latest` means the run's own, or a fresh start where there is none.

    Raises BadInput when the run's folder holds something and nobody asked to resume, and for a converted checkpoint.
    """
    if resume is None:
        if run.exists() and any(not path.name.startswith(".") for path in run.iterdir()):
            raise BadInput(f"{run} exists already; continue it with --resume latest, or set --run to another folder")
        return None
    folder = checkpoints.find(run if resume == "latest" else Path(resume))
    if folder is None and resume != "latest":
        raise BadInput(f"no checkpoint at {resume}")
    checkpoint = Checkpoint(folder) if folder else None
    if checkpoint and checkpoint.state.converted:
        raise BadInput(
            f"{checkpoint.folder} was converted from {' and '.join(checkpoint.state.converted)} and has no optimizers "
            f"to go on with; begin a run with its networks instead: --start {checkpoint.folder}, without --resume"
        )
    return checkpoint


def train(config: Config, resume: str | None = None, requests: StopRequests | None = None) -> int:
    """Trains until `config.images` images are seen. Returns the exit code: done, preempted, or interrupted.

    requests: signals collected so far; without them this collects its own.
    Raises BadInput before anything is written when shards, weights, config and checkpoint do not fit; and later when
    too many iterations were not finite or the last checkpoint cannot be written.
    """
    with ExitStack() as opened:
        requests = requests or opened.enter_context(StopRequests())
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
        if needs_of(training.method.inputs).instances:
            check_instances(manifest, store)
            check_instances(*held_out)
        if training.device.type == "cpu":
            keep_freed_memory()
        if training.accelerator.is_main_process:
            opened.enter_context(training_in(config.run))
            if checkpoint:
                _leave_branch(config.run, checkpoint)
        finished = _watched(training, (manifest, store), held_out, requests, checkpoint)
        # After the watchdog: the rank that keeps the store must not end while others write their heartbeats into it.
        training.leave()
        if finished:
            return DONE
        if training.accelerator.is_main_process:
            _say_kept(config.run, requests)
        return INTERRUPTED if requests.interrupted else PREEMPTED


def _say_kept(run: Path, requests: StopRequests) -> None:
    """What there is of a run that was stopped, and how it goes on."""
    kept = checkpoints.find(run)
    what = f"{kept} is kept" if kept else f"{run} has no checkpoint yet"
    print(f"stopped; {what}. Go on with: {launcher.going_on(requests.launcher)}", file=sys.stderr)


def _watched(
    training: Training,
    train_shards: tuple[Manifest, Store],
    held_out: tuple[Manifest, Store],
    requests: StopRequests,
    checkpoint: Checkpoint | None,
) -> bool:
    """Trains under a watchdog. Returns whether all images were seen; False after a request to stop."""
    rank, ranks = training.accelerator.process_index, training.accelerator.num_processes
    timeout_s = training.config.faults.timeout_s
    with Watchdog(rank, ranks, timeout_s, open_store("signs of life"), lambda: requests.asked_s) as watchdog:
        run = Run(training, train_shards, held_out, requests, watchdog)
        try:
            if checkpoint:
                training.restore_random(checkpoint)
            return run.go()
        except (RuntimeError, ConnectionError) as error:
            # What a broken collective raises says which address is gone, not which rank.
            if ranks > 1 and (missing := watchdog.missing()):
                raise RuntimeError(f"{missing}. Go on from the last checkpoint with --resume latest.") from error
            raise
        finally:
            run.close()


def _leave_branch(run: Path, checkpoint: Checkpoint) -> None:
    """Makes the checkpoint the run's latest one; says where later ones, of the branch that is left, are now."""
    if left := checkpoints.leave_branch(run, checkpoint.folder, checkpoint.state.images):
        print(
            f"note: going on from {checkpoint.folder}; {len(left)} checkpoints of the branch that is left are in "
            f"{left[0].parent}: {', '.join(place.name for place in left)}",
            file=sys.stderr,
        )


def training_in(run: Path) -> AbstractContextManager[None]:
    """Holds the run's folder, so that no second process writes checkpoints there. Raises BadInput when one does."""
    return only_writer(
        run / LOCK, f"another process is training in {run}; wait for it, stop it, or set --run to another folder"
    )


class Run:
    """One process's share of a run: what happens between two steps, and in which order."""

    def __init__(
        self,
        training: Training,
        train_shards: tuple[Manifest, Store],
        held_out: tuple[Manifest, Store],
        requests: StopRequests,
        watchdog: Watchdog,
    ) -> None:
        config = training.config
        self.training = training
        self.manifest, self.store = train_shards
        self.requests, self.watchdog = requests, watchdog
        rank, ranks = training.accelerator.process_index, training.accelerator.num_processes
        # A broken held-out sample is logged and stood in for: it is no reason to end weeks of training.
        self.held_out = HeldOut(*held_out, config.evaluation.pairs, training.method.inputs, rank, ranks, max_bad=1.0)
        self.metrics = DelayedMetrics(training.accelerator)
        self.skipped = Skipped(config.faults.max_skipped)
        self.observer: Observer | None = None
        self.saver: Saver | None = None
        if training.accelerator.is_main_process:
            self.observer = Observer(training, self.manifest, self.held_out)
            self.saver = Saver(config.run, config.checkpoint.keep, config.checkpoint.timeout_s)
        self.finished = False
        self.begun_at = training.steps
        self.waiting_since = 0.0

    def go(self) -> bool:
        """Steps until the images are seen (True) or a stop is asked for (False); saves in both cases."""
        training, config = self.training, self.training.config
        batches = self._batches()
        stop = False
        measured: dict[str, float] | None = {}
        while training.images < config.images and not stop:
            before = training.images
            waited_s = self._step(batches)
            if waited_s is None:
                break
            stop = self._receive(LAG, waited_s)
            done = training.images >= config.images
            measured, best = {}, False
            if not stop and (done or crossed(before, training.images, config.evaluation.every)):
                # Nothing may be in flight: what an evaluation logs must come after the iterations before it.
                stop = self._receive(0)
                measured = None if stop else self._measure()
                stop = measured is None
                best = bool(measured) and self._is_best(measured or {})
            if not stop and (best or crossed(before, training.images, config.checkpoint.every)):
                self._save(measured or {}, best)
        self._receive(0)
        if training.steps > self.begun_at or training.images >= config.images:
            self._finish(measured or {})
        self.finished = training.images >= config.images
        return self.finished

    def _step(self, batches: Iterator[Ready]) -> float | None:
        """One iteration. Returns the seconds that it waited for its batch; None when it gave up waiting for one.

        Raises BadInput when this rank gave up and others wait for it.
        """
        training = self.training
        self.watchdog.at(training.steps, "reading")
        self.waiting_since = time.perf_counter()
        ready = next(batches, None)
        if ready is None:
            if training.accelerator.num_processes > 1:
                raise BadInput(
                    f"rank {training.accelerator.process_index} was asked to stop, and has waited {TOGETHER_S:.0f} s "
                    "in vain for its next batch, without which it cannot save; are the shards at "
                    f"{self.store.where} in reach? Go on from the last checkpoint with --resume latest"
                )
            return None
        waited_s = time.perf_counter() - self.waiting_since
        self.watchdog.at(training.steps, "training")
        metrics, skip = training.step(ready.batch)
        training.place = ready.place
        self.metrics.send(training.images, metrics, skip, self.requests.stop, ready.keys)
        return waited_s

    def _batches(self) -> Iterator[Ready]:
        training, config = self.training, self.training.config
        reading = replace(
            reading_of(training.method, config.batch),
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
        return ahead(Stream(self.manifest, self.store, reading, self._wait_on), training.schema, training.device)

    def _wait_on(self) -> bool:
        """Whether a batch is worth waiting for."""
        patience_s = ALONE_S if self.training.accelerator.num_processes == 1 else TOGETHER_S
        # Start-up, in which the request may have come, is not waiting for a batch.
        return min(self.requests.asked_s, time.perf_counter() - self.waiting_since) <= patience_s

    def _receive(self, lag: int, waited_s: float = 0.0) -> bool:
        """Records what iterations more than `lag` ago became; whether a stop has been asked for."""
        stop = False
        for iteration in self.metrics.receive(lag):
            stop = stop or iteration.stop
            too_many = self.skipped.too_many(iteration)
            if self.observer:
                self.observer.record_iteration(iteration, self.skipped.total, waited_s)
            if too_many:
                self._give_up()
        return stop

    def _give_up(self) -> None:
        """Writes what people need to find out why numbers went bad, and ends the run on all ranks."""
        config = self.training.config
        keys = gather_object([[iteration.keys for iteration in self.skipped.recent]])
        file = config.run / POST_MORTEM
        if self.observer:
            iterations = [
                {
                    "images": iteration.images,
                    "skipped": iteration.skipped,
                    "keys_by_rank": [list(rank[number]) for rank in keys],
                    "figures": {name: repr(value) for name, value in iteration.metrics.items()},
                }
                for number, iteration in enumerate(self.skipped.recent)
            ]
            atomic.write_text(file, json.dumps({"max_skipped": self.skipped.most, "iterations": iterations}, indent=1))
        raise BadInput(
            f"more than {self.skipped.most} of the last iterations had a loss or gradient that was not finite "
            f"(faults.max_skipped), at {self.training.images:,} images; {file} has their samples, losses and gradient "
            "norms. Go on from an earlier checkpoint with a lower optimizer.learning_rate, or with --precision fp32"
        )

    def _settle(self) -> None:
        """Before the averages are looked at or saved: gives their norms statistics of their own.

        From the first samples of the training stream in its first epoch, in their order; every rank reads all of them.
        """
        training, config = self.training, self.training.config
        if training.settled:
            return
        reading = replace(
            reading_of(training.method, SETTLING_BATCH),
            seed=config.seed,
            shuffle=config.data.shuffle,
            flip=config.data.flip,
            epochs=1,
            max_bad=config.data.max_bad,
        )
        stream = Stream(self.manifest, self.store, reading)
        training.settle(first_batches(stream, training.method.settling, training.schema, training.device))

    def _measure(self) -> dict[str, float] | None:
        """Measures held-out pairs and draws the sample grid; None when a stop was asked for meanwhile."""
        training = self.training
        self.watchdog.at(training.steps, "evaluating")
        self._settle()

        def go_on() -> bool:
            self.watchdog.at(training.steps, "evaluating")
            return not training.any_rank(self.requests.stop)

        accelerator = training.accelerator
        measured = self.held_out.measure(
            training.synthesizer().paint, training.method.perceptual, accelerator.reduce, training.device, go_on
        )
        if measured is not None and self.observer:
            self.observer.record_evaluation(measured)
        return measured

    def _is_best(self, measured: dict[str, float]) -> bool:
        """Whether the metric that `checkpoint.best` names is less than ever before; the same answer on all ranks."""
        best, run = self.training.config.checkpoint.best, self.training.config.run
        if best is None:
            return False
        if best not in measured:
            raise BadInput(
                f"checkpoint.best {best!r} is not among the held-out figures {', '.join(measured)}; set it to one of "
                "them, or to null"
            )
        is_best = self.saver is not None and measured[best] < checkpoints.best_value(run, best)
        return bool(self.training.share(is_best))

    def _save(self, metrics: dict[str, float], best: bool) -> None:
        snapshot = self._snapshot(metrics)
        if self.saver and snapshot:
            self.saver.save(snapshot, self.training.config.checkpoint.best if best else None)

    def _snapshot(self, metrics: dict[str, float]) -> Snapshot | None:
        self.watchdog.at(self.training.steps, "saving")
        self._settle()
        if self.observer:
            # The tracker may have got its run's id only now.
            self.training.run_id = self.observer.tracker.run_id
        return self.training.snapshot(self.manifest.digest, metrics)

    def _finish(self, metrics: dict[str, float]) -> None:
        """The last checkpoint: all ranks wait for it, and all of them fail when it cannot be written."""
        snapshot = self._snapshot(metrics)
        failed: str | None = None
        if self.saver and snapshot:
            try:
                self.saver.finish(snapshot)
            except BadInput as error:
                failed = str(error)
        failed = self.training.share(failed)
        if failed:
            raise BadInput(failed)

    def close(self) -> None:
        if self.observer:
            self.observer.close(self.finished)
