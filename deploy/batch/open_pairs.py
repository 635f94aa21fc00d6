"""What `--pairs` may be: a CSV file, a folder of files by input, or shards."""

from pathlib import Path

from deploy.batch.file_pairs import FilePairs, read_csv, read_folder
from deploy.batch.outputs import Output
from deploy.batch.pairs import WHOLE, Pairs
from deploy.batch.shard_pairs import ShardPairs
from likeness.command import BadInput
from shards.inputs import STYLE_LENGTH, inputs_of
from shards.reading.cache import Cache
from shards.reading.store import Store
from shards.reading.urls import is_url
from shards.records import LabelSchema


def open_pairs(
    location: str | Path,
    schema: LabelSchema,
    inputs: tuple[str, ...],
    roll_labels: int = 0,
    part: tuple[int, int] = WHOLE,
    output: Output = Output(),  # noqa: B008
    cache: Path | None = None,
    max_bad: int = 0,
    styles: int = 1,
    style_length: int = STYLE_LENGTH,
) -> Pairs:
    """A CSV file, a folder of files by input, or shards: their folder or manifest, as a path or a URL. Checked as far
    as possible without decoding.

    schema, inputs: the model's. roll_labels: see `ShardPairs`. part: see `Pairs`. output: what the pictures are named
    for. cache: where shards from a URL are kept; without it, where temporary files are, as long as they are needed.
    max_bad: so many files that a CSV names may be missing; they count as broken later. styles: pictures of each pair,
    NAME-1 and so on, in styles that are drawn. style_length: how many numbers the model's style codes have.
    Raises BadInput naming file, line and remedy.
    """
    if styles > 1 and not any(each.numbered for each in inputs_of(inputs)):
        raise BadInput(f"--styles {styles} is for models that read style codes; this one reads {', '.join(inputs)}")
    if is_url(location):
        return ShardPairs(
            Store(str(location), Cache(cache) if cache else None), schema, inputs, roll_labels, part, output, styles
        )
    path = Path(location)
    if cache:
        raise BadInput(f"--cache is for shards at a URL, but {path} is on this machine; leave it away")
    if path.suffix.lower() == ".csv" or (path.is_dir() and not (path / "manifest.json").exists()):
        if roll_labels:
            raise BadInput(f"--roll-labels needs shards, but {path} is none; give each label another exemplar instead")
        read = read_csv if path.suffix.lower() == ".csv" else read_folder
        return FilePairs(read(path, inputs, output, max_bad), path, schema, inputs, part, output, styles, style_length)
    if not path.exists():
        raise BadInput(
            f"no pairs at {path}; give a CSV file, a folder with the folders {', '.join(inputs)}, or a folder of "
            "shards or its manifest.json"
        )
    return ShardPairs(Store(path), schema, inputs, roll_labels, part, output, styles)
