"""A video in another one's likeness: labels of every frame, one exemplar, and the sound as it was."""

import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from threading import Event

import numpy as np
from tqdm import tqdm

from deploy.chain import Chain
from deploy.pipeline import ahead, grouped, side_by_side
from deploy.runtime import Session
from likeness import atomic
from likeness.array import Array
from likeness.command import BadInput
from shards import labels
from shards.inputs import EXEMPLAR, EXEMPLAR_LABEL, LABEL, Loaded, inputs_of
from shards.media.pictures import read_bytes
from shards.media.video import timing
from shards.media.video_writer import CONTAINERS, encode
from shards.operators.labelling import Labelling, Photo
from shards.operators.photos import every_frame, labelled_photos, prepared_for
from shards.operators.sample_files import Preparing, load_files
from shards.sources.dataset import Item

CRF = 18
"""Of x264: hardly to be told from the pictures themselves."""

DEFAULT_FPS = Fraction(25)
"""Of what does not say its own; what is no video at all is refused when it is decoded."""


@dataclass(frozen=True)
class Film:
    """A new video, in numbers."""

    frames: int
    """Of the new video."""
    pictures: int
    """Painted by the model; frames that show the same one count once."""
    held: int
    """Frames of the old video in which the label operator found nothing; the label before stayed."""
    fps: float
    """Frames per second of both."""
    latency_ms: float
    """p50 of one run of the model divided by its batch."""
    seconds: float
    """From the first decoding to the file."""


def synthesize_video(
    chain: Chain,
    video: Path,
    exemplar: Path | None,
    out: Path,
    labelling: Labelling,
    *,
    exemplar_label: Path | None = None,
    batch: int = 1,
    seed: int = 0,
) -> Film:
    """Writes `out`: every frame of `video` as a label map, painted in the likeness of `exemplar`, or in a drawn style.

    exemplar: a photo, cropped and labelled as frames are unless `exemplar_label` says what its label is drawn from
    (then it has the model's size); or a video, of which the first usable frame counts; None for a model that reads
    none. labelling: see `deploy.labelling`. seed: of the style code that all frames have, for a model that reads one.
    Labels come from the sidecar of a world's video, or from the operator for the model's kind of label: detected face
    landmarks, detected or given poses, a segmentation model. The frame rate is constant; where the old one varies,
    frames are shown for as long as they were, but for the last one, which is shown once.
    Raises BadInput when something is missing or broken, when no frame can be labelled, or when the model reads what no
    label operator finds.
    """
    _check(chain, video, exemplar, out)
    fixed = _exemplar(chain, exemplar, exemplar_label, labelling) if exemplar else {}
    begun = time.perf_counter()
    outcomes: Counter[str] = Counter()
    ticks = _Ticks(video, prepared_for(video, labelling), outcomes)
    latencies: list[tuple[float, int]] = []
    count = 0

    def counted() -> Generator[Array]:
        nonlocal count
        with tqdm(total=ticks.expected, desc="frames", unit="frame") as progress:
            for picture in _painted(chain, ticks, fixed, seed, batch, latencies):
                count += 1
                progress.update()
                yield picture

    schema = chain.session.schema
    # Closed by us, so that the progress bar ends before a message follows.
    with atomic.new_file(out) as partial, closing(counted()) as frames:
        try:
            notes = encode(partial, frames, ticks.fps, schema.width, schema.height, CRF, video, ticks.sound_offset)
        except OSError as error:
            if error.errno is not None:
                raise
            message = str(error).replace(str(partial), str(out))
            raise BadInput(f"{message} (the sound of {video}? `ffmpeg -i FILE -c copy -an NEW` drops it)") from error
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    counted_from = latencies[1:] or latencies
    return Film(
        frames=count,
        pictures=sum(number for _, number in latencies),
        held=outcomes.total() - outcomes["used"],
        fps=float(ticks.fps),
        latency_ms=float(np.median([milliseconds for milliseconds, _ in counted_from])),
        seconds=time.perf_counter() - begun,
    )


def _check(chain: Chain, video: Path, exemplar: Path | None, out: Path) -> None:
    inputs, model = inputs_of(chain.sample_inputs()), chain.session.path
    if exemplar is None and EXEMPLAR.side in {side for each in inputs for side in (each.photo_side, each.label_side)}:
        raise BadInput("--video needs --exemplar, the photo in whose likeness it is painted")
    if absent := [each.absent_in_videos for each in inputs if each.absent_in_videos is not None]:
        raise BadInput(
            f"{model} reads {absent[0]}, which no label operator finds in a video; give pictures with --pairs"
        )
    if out.suffix.lower() not in CONTAINERS:
        raise BadInput(f"--out {out} is no video; give a name that ends in one of {', '.join(CONTAINERS)}")
    if out.is_dir() or out.resolve() in (each.resolve() for each in (video, exemplar) if each):
        raise BadInput(f"--out {out} is {'a folder' if out.is_dir() else 'what is read'}; choose another name")
    atomic.refuse_existing(out)
    if LABEL not in inputs:
        raise BadInput(f"{model} reads no label map, so that a video has nothing to tell it")


def _painted(
    chain: Chain, ticks: "_Ticks", fixed: Loaded, seed: int, batch: int, latencies: list[tuple[float, int]]
) -> Iterator[Array]:
    """The frames of the new video, all with the same drawn inputs.

    latencies: gathers milliseconds per picture and pictures of every run.
    """

    def painted(group: list[tuple[Array, int]]) -> tuple[list[tuple[Array, int]], Array, float]:
        feeds = [chain.tensors({LABEL.name: label, **fixed}, seed, "") for label, _ in group]
        start = time.perf_counter()
        images = chain.run({name: np.stack([feed[name] for feed in feeds]) for name in feeds[0]})
        return group, images, time.perf_counter() - start

    devices = chain.session.parallel
    with (
        closing(iter(ticks)) as maps,
        ahead(maps, devices) as labelled,
        side_by_side(painted, grouped(labelled, batch), devices) as paintings,
    ):
        try:
            for group, images, seconds in paintings:
                latencies.append((seconds * 1000 / len(group), len(group)))
                for picture, (_, times) in zip(chain.pictures(images), group, strict=True):
                    for _ in range(times):
                        yield picture
        finally:
            ticks.stopped.set()


def _exemplar(chain: Chain, exemplar: Path, exemplar_label: Path | None, labelling: Labelling) -> Loaded:
    """What the model reads of the exemplar, in loaded form."""
    schema = chain.session.schema
    names = tuple(name for name in chain.inputs if name in (EXEMPLAR.name, EXEMPLAR_LABEL.name))
    if not exemplar.is_file():
        raise BadInput(f"no exemplar at {exemplar}")
    if Item(exemplar.name, exemplar, "").still:
        files = {EXEMPLAR.name: [(read_bytes(exemplar), str(exemplar))]}
        if exemplar_label is not None:
            files[EXEMPLAR_LABEL.name] = [(read_bytes(exemplar_label), str(exemplar_label))]
        return load_files(files, Preparing(labelling, names, chain.style_length))
    if exemplar_label is not None:
        raise BadInput(f"--exemplar-label {exemplar_label} is of a photo, but --exemplar {exemplar} is a video")
    once = replace(prepared_for(exemplar, labelling), smooth=False)
    photo = next(labelled_photos(Item(exemplar.name, exemplar, ""), once))
    loaded = {EXEMPLAR.name: photo.image, EXEMPLAR_LABEL.name: labels.load(schema, photo.frame, photo.label_picture)}
    return {name: value for name, value in loaded.items() if name in names}


class _Ticks:
    """The label maps of a video, each with the number of frames that it is shown for at a constant rate.

    fps: that rate. expected: how many frames there may be, for a progress bar. sound_offset: see
    `shards.media.video.Timing`. stopped: when it is set, they end: the next label may be an hour of frames away.
    """

    def __init__(self, video: Path, labelling: Labelling, outcomes: Counter[str]) -> None:
        self.video, self.labelling, self.outcomes = video, labelling, outcomes
        self.stopped = Event()
        if not video.is_file():
            raise BadInput(f"{video}: there is no such file")
        times = timing(video)
        self.fps = times.fps or DEFAULT_FPS
        self.sound_offset = times.sound_offset
        self.expected = round(self.fps * times.seconds) or None

    def __iter__(self) -> Generator[tuple[Array, int]]:
        shown: Photo | None = None
        sent = 0
        seconds = 0.0
        for seconds, photo in every_frame(self.video, self.labelling, self.outcomes):
            if self.stopped.is_set():
                return
            if photo is None:
                continue
            # The label found first also stands for what is before it.
            due = round(seconds * self.fps) - sent
            if shown is not None and due > 0:
                yield self._loaded(shown), due
                sent += due
            shown = photo
        if shown is None:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in self.outcomes.most_common() if count)
            raise BadInput(f"{self.video}: no frame of it can be labelled ({reasons or 'it has none'})")
        yield self._loaded(shown), max(1, round(seconds * self.fps) + 1 - sent)

    def _loaded(self, photo: Photo) -> Array:
        return labels.load(self.labelling.schema, photo.frame, photo.label_picture)


def table(film: Film, session: Session) -> str:
    """What was made, for people."""
    rows = {
        "frames": f"{film.frames:,} at {film.fps:g} per second, {film.pictures:,} pictures by the model",
        "held": f"{film.held:,} frames where no label was found, which show the label before",
        "frames/s": f"{film.frames / film.seconds:.2f} (decoding, labels, model and encoding)",
        "ms per frame": f"p50 {film.latency_ms:.1f} (model only)",
        "model": f"{session.method}, {session.metadata.images_seen:,} images seen in training",
    }
    return "\n".join(f"{name:<16}{value}" for name, value in rows.items())
