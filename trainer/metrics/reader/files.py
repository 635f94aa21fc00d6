"""Readers on the disk: written, read, and kept in the user's cache folder once they are trained."""

import errno
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from likeness import atomic
from likeness.command import BadInput
from likeness.one_writer import in_turn
from likeness.process import surroundings
from trainer.metrics.reader.network import Network, Reader
from trainer.metrics.reader.recipe import VERSION, Recipe, default_recipe
from trainer.metrics.reader.training import train


def save(reader: Reader, path: Path) -> None:
    """Writes a reader as safetensors, whole or not at all, with its recipe and its errors as metadata."""
    metadata = {"reader": reader.recipe.dumps(), "held_out": json.dumps(reader.held_out, sort_keys=True)}
    tensors = {name: value.contiguous() for name, value in reader.network.state_dict().items()}
    with atomic.new_file(path) as partial:
        save_file(tensors, partial, metadata)


def load(path: Path, remedy: str) -> Reader:
    """Reads what `save` wrote. Raises BadInput naming the file, with `remedy`, when it is missing or something else."""
    if not path.is_file():
        raise BadInput(f"there is no file {path}; {remedy}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        fields = json.loads(metadata["reader"])
        if fields.pop("version") != VERSION:
            raise BadInput(f"{path} is a reader of another release; {remedy}")
        recipe = Recipe(**fields)
        network = Network(recipe.maps)
        network.load_state_dict(tensors)
        held_out = {str(name): float(value) for name, value in json.loads(metadata["held_out"]).items()}
    except (AttributeError, KeyError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path} is not a world reader, or is damaged ({reason}); {remedy}") from error
    return Reader(recipe, network.eval().requires_grad_(False), held_out)


def load_reader(world: str, height: int, width: int, path: Path | None = None) -> Reader:
    """The reader of a world for pictures of a size, in pixels.

    path: a file that `python -m trainer.metrics.reader` wrote; without it, the reader is trained once, which takes
    minutes, and kept in the user's cache folder (XDG_CACHE_HOME, else ~/.cache), where other processes wait for it.

    Raises BadInput naming the file when it is missing, damaged, or a reader of another world or size.
    """
    if path is not None:
        size = f"--world {world} --size {width}x{height}"
        remedy = f"write one with `python -m trainer.metrics.reader {size} --out FILE`"
        reader = load(path, remedy)
        recipe = reader.recipe
        if (recipe.world, recipe.width, recipe.height) != (world, width, height):
            raise BadInput(
                f"{path} reads {recipe.world} of {recipe.width}×{recipe.height} pixels, not {world} of "
                f"{width}×{height}; {remedy}"
            )
        return reader
    return cached(default_recipe(world, height, width))


def cached(recipe: Recipe) -> Reader:
    """The reader of a recipe from the user's cache folder; trained, and kept there, when nobody has done so yet.

    Raises BadInput naming the file when it is damaged, or when the folder cannot be written to.
    """
    file = surroundings.cached("readers", f"{recipe.world}-{recipe.width}x{recipe.height}-{recipe.digest}.safetensors")
    lock, remedy = file.with_suffix(".lock"), "delete it, and it is made anew"
    if file.is_file():
        return load(file, remedy)
    try:
        with in_turn(lock, f"another process trains this reader; waiting for it ({lock})"):
            if not file.is_file():
                reader = train(recipe)
                save(reader, file)
                return reader
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise
        raise BadInput(f"{error.filename} cannot be written to; point XDG_CACHE_HOME to a folder of yours") from error
    return load(file, remedy)
