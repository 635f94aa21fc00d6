"""`python -m trainer.feature_centres`: the looks that each class's instances have, for pictures without a photo."""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans
from tqdm import tqdm

from likeness import atomic
from likeness.arguments import Help, count
from likeness.array import Array
from likeness.command import BadInput, run_command
from shards.labels.instance_features import FILE, FeatureCentres
from shards.reading.stream import Stream, open_shards
from shards.records import LabelSchema
from trainer import config as configs
from trainer import methods
from trainer.batches import reading_of, to_device
from trainer.checkpoints import files as checkpoints
from trainer.checkpoints.files import Checkpoint
from trainer.config import Config
from trainer.method import Batch, Method
from trainer.networks.instances import instance_classes

BATCH = 4
LEAST_AREA = 1 / 64
"""Of the picture; smaller instances say nothing of their class's looks (specification 2.4)."""
CLUSTERS = 10
SEED = 0

HELP = f"""\
Runs the averaged feature encoder of a run over its training shards and groups what it says of large instances (more
than 1/64 of the picture) by K-means, class by class. Writes {FILE} into the checkpoint's folder; each instance of a
label map is then painted in the look of one of its class's centres. Classes without large instances have none.
"""


@dataclass(frozen=True)
class InstanceFeatures:
    """What the encoder says of one instance."""

    class_id: int
    """The class of most of its pixels."""
    area: float
    """Its share of the picture, in [0, 1]."""
    features: Array
    """Float32 (C,) in (-1, 1), one number per channel of the features."""


def instance_features_of(
    method: Method, networks: Mapping[str, torch.nn.Module], batch: Batch, ids: Sequence[int]
) -> list[InstanceFeatures]:
    """The features of all instances of a batch. networks: the method's encoders. ids: the class id of each channel."""
    with torch.inference_mode():
        features, regions = method.encode(networks, batch)
        step = batch.label.shape[-1] // regions.shape[-1]
        label = batch.label[:, :, ::step, ::step]
        classes = instance_classes(label, regions) if method.regions == "instances" else regions
    instances = []
    for vectors, numbers, channels in zip(
        features.cpu().numpy(), regions.cpu().numpy(), classes.cpu().numpy(), strict=True
    ):
        _, firsts, sizes = np.unique(numbers, return_index=True, return_counts=True)
        for first, size in zip(firsts, sizes, strict=True):
            vector = vectors.reshape(len(vectors), -1)[:, first]
            instances.append(InstanceFeatures(ids[channels.flat[first]], float(size / numbers.size), vector))
    return instances


def centres_of(
    instances: Sequence[InstanceFeatures], clusters: int
) -> tuple[dict[int, list[list[float]]], dict[int, list[int]]]:
    """K-means per class over the features of large instances: centres, and how many instances each stands for.

    The centres that stand for most come first. As many centres as `clusters`, or as the class has different features.
    Seeded: the same features give the same.
    """
    by_class: defaultdict[int, list[Array]] = defaultdict(list)
    for instance in instances:
        if instance.area > LEAST_AREA:
            by_class[instance.class_id].append(instance.features)
    centres, counts = {}, {}
    for class_id, vectors in sorted(by_class.items()):
        stacked = np.stack(vectors).astype(np.float64)
        several = min(clusters, len(np.unique(stacked, axis=0)))
        clustering = KMeans(several, n_init=10, random_state=SEED).fit(stacked)
        sizes = np.bincount(clustering.labels_, minlength=several)
        order = np.argsort(-sizes, kind="stable")
        centres[class_id] = clustering.cluster_centers_[order].clip(-1, 1).tolist()
        counts[class_id] = sizes[order].tolist()
    return centres, counts


def feature_centres(path: Path, data: str | None, clusters: int) -> Path:
    """Writes the centres of a checkpoint, or of a run's latest one; returns the file.

    data: folder or URL of the shards; None for those that the checkpoint was trained on.
    Raises BadInput when there is no checkpoint, none with a feature encoder, or no classes to group by.
    """
    folder = checkpoints.find(path)
    if folder is None:
        raise BadInput(f"no checkpoint at {path}; give a run's folder or one of its checkpoint-… folders")
    checkpoint = Checkpoint(folder)
    config = configs.validate(checkpoint.state.config, str(folder / checkpoints.STATE))
    schema = LabelSchema.from_json(checkpoint.state.schema)
    with torch.device("meta"):
        method = methods.find(config.method)(config.options, schema)
    if not method.encoders:
        raise BadInput(
            f"{folder} has no feature encoder: it is a {config.method} without options.features; "
            f"train {' or '.join(_encoding())} with --options.features instances or classes"
        )
    if not schema.ids:
        raise BadInput(f"{folder} was trained on label maps of kind {schema.kind}, which have no classes to group by")
    instances = list(_all_instances(method, config, checkpoint, schema, data or config.data.train))
    centres, counts = centres_of(instances, clusters)
    file = folder / FILE
    atomic.write_text(file, FeatureCentres(checkpoint.state.digest, method.regions, centres, counts).dumps())
    for class_id, sizes in counts.items():
        name = schema.names[schema.ids.index(class_id)]
        tqdm.write(f"{name:<20} {len(sizes):>3} centres of {sum(sizes):,} instances")
    return file


def _encoding() -> list[str]:
    """The methods that encode features, where their options ask for it."""
    return [name for name in methods.available() if methods.find(name).encode is not Method.encode]


def _all_instances(
    method: Method, config: Config, checkpoint: Checkpoint, schema: LabelSchema, data: str
) -> Iterator[InstanceFeatures]:
    """The features of all instances of some shards. method: on the meta device; its averaged encoders are read here."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks = {}
    for name in method.encoders:
        encoder = method.networks[name].to_empty(device="cpu")
        encoder.load_state_dict(checkpoint.tensors(f"{name}.ema"))
        networks[name] = encoder.to(device).eval()
    with open_shards(data, schema, config.data.shard_cache) as (manifest, store):
        reading = replace(reading_of(method, BATCH), epochs=1, noise=0, max_bad=config.data.max_bad)
        stream = Stream(manifest, store, reading)
        for loaded in tqdm(stream, "encoding", -(-manifest.samples // BATCH), unit="batch"):
            batch = to_device(loaded, schema, device).first(len(loaded.keys) - loaded.padding)
            yield from instance_features_of(method, networks, batch, schema.ids)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer.feature_centres", description=HELP, formatter_class=Help)
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="RUN", help="a run's folder, or one of its checkpoints")
    add("--data", metavar="SHARDS", help="folder or URL of shards; without it those that the run was trained on")
    add("--clusters", type=count, default=CLUSTERS, metavar="K", help="most centres of a class")
    return parser


def _command(arguments: Sequence[str] | None) -> None:
    options = _parser().parse_args(arguments)
    print(feature_centres(options.checkpoint, options.data, options.clusters))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run_command(partial(_command, arguments))


if __name__ == "__main__":
    sys.exit(main())
