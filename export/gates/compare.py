"""Pictures of an exported graph beside those of the model in PyTorch, one by one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from deploy import pictures
from deploy.runtime import Session
from export.gates.samples import Samples
from likeness.array import Array
from shards.input_files import to_tensor
from trainer.checkpoints.synthesis import Synthesis
from trainer.metrics.structural_similarity import load_structural_similarity

PICTURE_RANGE = 2.0
MOST_PSNR_DB = 200.0
"""What stands for the infinite PSNR of equal pictures."""


@dataclass(frozen=True)
class Distance:
    """How far one picture is from its reference, both in [-1, 1]."""

    max_abs: float
    """The largest difference."""
    psnr_db: float
    """20·log10(2 / root mean square difference), at most 200."""
    ssim: float
    """Structural similarity (Wang et al. 2004, 11×11 Gaussian window); 1 for equal pictures."""


@dataclass(frozen=True)
class Worst:
    """The picture with the lowest PSNR."""

    number: int
    """Its sample's."""
    reference: Array
    """What PyTorch painted, uint8 (H, W, 3) RGB."""
    exported: Array
    """What the graph painted, uint8 (H, W, 3) RGB."""


def references(synthesis: Synthesis, samples: Samples) -> list[Array]:
    """The model's own pictures in float32 PyTorch, each (3, H, W) in [-1, 1]."""
    with torch.inference_mode():
        return [
            synthesis.module(*samples[number : number + 1].expanded(synthesis.schema))[0].numpy()
            for number in tqdm(range(len(samples)), desc="PyTorch", unit="picture", leave=False)
        ]


def compare(exported: Iterable[Array], wanted: list[Array]) -> tuple[list[Distance], Worst]:
    """Measures every picture against its reference.

    exported: float32 (3, H, W) in [-1, 1], or uint8 (H, W, 3), which are compared with the reference rounded to uint8.
    """
    distances: list[Distance] = []
    worst: Worst | None = None
    for number, (reference, picture) in enumerate(zip(wanted, exported, strict=True)):
        exact = reference
        if picture.dtype == np.uint8:
            exact, picture = to_tensor(pictures.to_picture(reference)), to_tensor(picture)
        distances.append(distance(exact, picture))
        if worst is None or distances[-1].psnr_db < distances[worst.number].psnr_db:
            worst = Worst(number, pictures.to_picture(reference), pictures.to_picture(picture))
    assert worst is not None, "there are at least three samples"
    return distances, worst


def pictures_of(session: Session, samples: Samples, batch: int = 1) -> Iterator[Array]:
    """Runs every sample alone, or in batches that divide them evenly, from what files hold to the picture.

    Raises BadInput when the graph does not run or gives values that are not finite.
    """
    for number in tqdm(range(0, len(samples), batch), desc=f"ONNX, {session.provider}", unit="run", leave=False):
        yield from session.run(**feeds(session, samples[number : number + batch]))


def feeds(session: Session, samples: Samples) -> dict[str, Array]:
    """A batch of samples as what the session's `run` takes, made by the code that serves."""
    each = [
        session.tensors({name: value[number] for name, value in samples.loaded.items()})
        for number in range(len(samples))
    ]
    return {name: np.stack([one[name] for one in each]) for name in session.inputs}


def distance(reference: Array, exported: Array) -> Distance:
    """Of two pictures (3, H, W) in [-1, 1]. Raises BadInput as `load_structural_similarity` does."""
    # In double precision: squares of differences near float32's own rounding are summed over a whole picture.
    difference = np.abs(exported.astype(np.float64) - reference)
    rms = float(np.sqrt(np.square(difference).mean()))
    psnr = min(20 * np.log10(PICTURE_RANGE / rms), MOST_PSNR_DB) if rms else MOST_PSNR_DB
    one, other = (torch.from_numpy(picture)[None].float() for picture in (exported, reference))
    return Distance(float(difference.max()), float(psnr), load_structural_similarity()(one, other, PICTURE_RANGE))
