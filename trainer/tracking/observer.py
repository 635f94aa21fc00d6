"""What people see of a training: progress bar, journal and MLflow, sample grids, warnings about signs of illness."""

import math
import sys
import time

from tqdm import tqdm

from likeness import atomic
from shards.media.pictures import encode_picture
from shards.reading.stream import Loaded, first_samples
from shards.records import Manifest
from trainer.grid import sample_grid
from trainer.health import Detectors
from trainer.held_out import HeldOut
from trainer.ranks.delayed_metrics import Iteration
from trainer.tracking.tracker import Tracker
from trainer.training import Training


def crossed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after].

    Images are counted in steps of the global batch, which need not divide `every`.
    """
    return after // every > before // every


class Observer:
    """Records iterations and evaluations where people look at them. Main process only."""

    def __init__(self, training: Training, train: Manifest, held_out: HeldOut) -> None:
        """train: the manifest of the training shards. held_out: gives the pairs of the sample grids."""
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
        rows = config.evaluation.grid_rows
        self.grid_samples: Loaded = first_samples(held_out.manifest, held_out.store, rows, held_out.reading)
        self.detectors = Detectors(training.method.signs)
        self.bar = tqdm(total=config.images, initial=training.images, unit="img", desc="training", smoothing=0.05)
        # Since the last line of the journal: sums of metrics over `count` iterations, and seconds waited for data.
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.waited_s = 0.0
        self.seen = self.logged_images = training.images
        self.logged_at = time.perf_counter()

    def record_iteration(self, iteration: Iteration, skipped: int, waited_s: float) -> None:
        """Adds an iteration to the means; logs those since the last line when a line is due.

        skipped: iterations that were not finite, in all. waited_s: seconds that the latest iteration waited for data.
        """
        config = self.training.config
        self.waited_s += waited_s
        if not iteration.skipped:
            # Not every player has a turn in every iteration.
            for name, value in iteration.metrics.items():
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.counts[name] = self.counts.get(name, 0) + 1
        self.bar.update(iteration.images - self.seen)
        before, self.seen = self.seen, iteration.images
        if crossed(before, self.seen, config.tracking.log_every) or self.seen >= config.images:
            self._log(skipped)

    def _log(self, skipped: int) -> None:
        elapsed_s = time.perf_counter() - self.logged_at
        metrics = {name: total / self.counts[name] for name, total in self.sums.items()}
        metrics["images_per_s"] = (self.seen - self.logged_images) / elapsed_s
        metrics["data_wait_share"] = self.waited_s / elapsed_s
        metrics["skipped_iterations"] = float(skipped)
        self.tracker.log(self.seen, metrics)
        totals = {name.removesuffix("/total"): f"{v:.3f}" for name, v in metrics.items() if name.endswith("/total")}
        self.bar.set_postfix({**totals, "data wait": f"{metrics['data_wait_share']:.0%}"})
        self._detect(metrics)
        self.sums, self.counts = {}, {}
        self.logged_at, self.logged_images, self.waited_s = time.perf_counter(), self.seen, 0.0

    def _detect(self, metrics: dict[str, float]) -> None:
        """Warns about signs of illness, in the journal and on the screen."""
        for sign in self.detectors.look(metrics):
            self.tracker.note(self.seen, sign)
            tqdm.write(f"warning: at {self.seen:,} images: {sign}", file=sys.stderr)

    def record_evaluation(self, metrics: dict[str, float]) -> None:
        """Logs what was measured on held-out pairs, and draws the sample grid."""
        training = self.training
        self.tracker.log(training.images, {name: value for name, value in metrics.items() if math.isfinite(value)})
        self._detect(metrics)
        grid = sample_grid(training.synthesizer(), self.grid_samples, training.schema, training.device)
        try:
            file = training.config.run / "grids" / f"{training.images:010d}.png"
            atomic.write_bytes(file, encode_picture(grid))
        except OSError as error:
            tqdm.write(f"warning: no sample grid at {training.images:,} images: {error}", file=sys.stderr)
            return
        self.tracker.picture(training.images, "samples", grid)

    def close(self, finished: bool) -> None:
        """finished: all images have been seen; otherwise the run can be resumed."""
        self.bar.close()
        self.tracker.close(finished)
