"""What `--pairs` may be: a CSV file, a folder of files by input, or shards."""

from pathlib import Path

from deploy.batch.file_pairs import FilePairs, preparing_of, read_csv, read_folder
from deploy.batch.pairs import PairOptions, Pairs
from deploy.batch.shard_pairs import ShardPairs
from likeness.command import BadInput
from likeness.folders import Unused
from shards.inputs import inputs_of, needed_among
from shards.reading.cache import Cache
from shards.reading.store import Store
from shards.reading.urls import is_url
from shards.records import LabelSchema


def open_pairs(
    location: str | Path,
    schema: LabelSchema,
    inputs: tuple[str, ...],
    options: PairOptions = PairOptions(),  # noqa: B008
) -> Pairs:
    """A CSV file, a folder of files by input, or shards: their folder or manifest, as a path or a URL. Checked as far
    as possible without decoding.

    schema, inputs: the model's. Raises BadInput naming file, line and remedy.
    """
    styles, cache = options.styles, options.cache
    if styles > 1 and not any(each.numbered for each in inputs_of(inputs)):
        raise BadInput(f"--styles {styles} is for models that read style codes; this one reads {', '.join(inputs)}")
    if is_url(location):
        return ShardPairs(Store(str(location), Cache(cache) if cache else None), schema, inputs, options)
    path = Path(location)
    if cache:
        raise BadInput(f"--cache is for shards at a URL, but {path} is on this machine; leave it away")
    if path.suffix.lower() == ".csv" or (path.is_dir() and not (path / "manifest.json").exists()):
        if options.roll_labels:
            raise BadInput(f"--roll-labels needs shards, but {path} is none; give each label another exemplar instead")
        unused, needed = Unused(), preparing_of(schema, inputs, options).needed(needed_among(inputs))
        if path.suffix.lower() == ".csv":
            rows = read_csv(path, inputs, needed, options.output, options.max_bad)
        else:
            rows = read_folder(path, inputs, needed, options.output, unused)
        return FilePairs(rows, path, schema, inputs, options, unused.notes())
    if not path.exists():
        raise BadInput(
            f"no pairs at {path}; give a CSV file, a folder with the folders {', '.join(inputs)}, or a folder of "
            "shards or its manifest.json"
        )
    return ShardPairs(Store(path), schema, inputs, options)
