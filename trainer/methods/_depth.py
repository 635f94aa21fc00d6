"""How often networks may halve a picture: what all methods ask before they begin."""

from likeness.command import BadInput
from shards.records import SIZE_MULTIPLE, LabelSchema


def check_depth(
    schema: LabelSchema, halvings: int, causes: str, remedy: str = "make it less deep", multiple: int = SIZE_MULTIPLE
) -> None:
    """Raises BadInput where pictures of the schema's size cannot be halved so often and come out at the same size.

    Each halving wants an even side. Of the smallest features both sides must have two values: padding by reflection
    mirrors about the outermost one, and an instance norm of a single value is 0. causes: the options that halve, with
    their values. multiple: what the sides have to be multiples of besides.
    """
    multiple, least = max(multiple, 2**halvings), 2 ** (halvings + 1)
    if schema.height % multiple or schema.width % multiple or min(schema.height, schema.width) < least:
        raise BadInput(
            f"{causes} needs pictures whose sides are multiples of {multiple}, of at least {max(multiple, least)}, not "
            f"{schema.width}×{schema.height}; pack the shards at another size, or {remedy}"
        )
