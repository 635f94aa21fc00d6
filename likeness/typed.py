"""What comes from outside, parsed once into dataclasses of the right types: one line says the first wrong value."""

import reprlib
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

Kind = TypeVar("Kind")
Natural = Annotated[int, Field(ge=0, lt=2**53)]
"""A count, or a place in a row: what every program reads exactly."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A number that is neither infinite nor NaN."""
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""A SHA-256 in hex."""
_LONGEST = 200
"""Bits of a number that is shown."""


def from_json(kind: type[Kind], content: str | bytes) -> Kind:
    """A dataclass, or what else pydantic knows, from JSON in which every value has its type: no text for a number.

    Raises ValueError with one line that names the first wrong member and its value. Depth and digits are bounded.
    """
    adapter: TypeAdapter[Kind] = _adapter(kind)
    return _parsed(lambda: adapter.validate_json(content, strict=True))


def from_plain(kind: type[Kind], data: Any, exact: bool = False) -> Kind:
    """The same of what a JSON or YAML parser gave, lists for tuples.

    exact: refuse members that the dataclass has not. Raises ValueError as `from_json` does.
    """
    adapter: TypeAdapter[Kind] = _adapter(kind)
    return _parsed(lambda: adapter.validate_python(data, extra="forbid" if exact else None))


_adapters: dict[Any, TypeAdapter[Any]] = {}
"""Making one takes longer than using it."""


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def _parsed(parse: Callable[[], Kind]) -> Kind:
    try:
        return parse()
    except ValidationError as error:
        raise ValueError(_in_words(error)) from error


def _in_words(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    # What a dataclass says of itself needs no more words.
    if isinstance(own := first.get("ctx", {}).get("error"), ValueError):
        return str(own)
    member = ".".join(str(part) for part in first["loc"])
    message = first["msg"][:1].lower() + first["msg"][1:]
    if first["type"] in ("missing", "json_invalid"):
        return f"{member}: {message}" if member else message
    return f"{member or 'it'} is {shown(first['input'])}; {message}"


def shown(value: Any) -> str:
    """A value of any size in a few words."""
    if isinstance(value, int) and value.bit_length() > _LONGEST:
        return f"a number of {value.bit_length()} bits"
    return reprlib.repr(value)
