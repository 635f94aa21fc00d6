"""The parts of a `multipart/form-data` body that lies in memory."""

import re

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

MOST_PARTS = 8


class BrokenError(ValueError):
    """The body is no multipart/form-data. The message says why."""


def boundary_of(content_type: str) -> bytes | None:
    """What separates the parts, or None when the header names another type. Raises BrokenError when it is missing."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return None
    if not (boundary := options.get(b"boundary")):
        raise BrokenError("the Content-Type names no boundary")
    return boundary


def parts_of(body: bytes, boundary: bytes) -> list[tuple[str, bytes]]:
    """(name, content) of every part, in order. Raises BrokenError when the body is damaged, cut off or too many.

    A preamble and an epilogue, which a body may have (RFC 2046, section 5.1.1), are passed over.
    """
    # The parser calls back while it reads, with places in the body. A header or a part's content may come in several
    # calls, so each is gathered until the parser says that it has ended.
    parts: list[tuple[str, bytearray]] = []
    field, value, disposition, content = bytearray(), bytearray(), bytearray(), bytearray()
    ended = False

    def part_begins() -> None:
        # Asked before a part is kept: a small body can hold very many empty ones.
        if len(parts) == MOST_PARTS:
            raise BrokenError(f"there are more than {MOST_PARTS} parts")
        disposition.clear()

    def header_ends() -> None:
        if field.lower() == b"content-disposition":
            disposition[:] = value
        field.clear()
        value.clear()

    def headers_finished() -> None:
        nonlocal content
        _, options = parse_options_header(bytes(disposition))
        if b"name" not in options:
            raise BrokenError("a part has no name in its Content-Disposition")
        content = bytearray()
        # A new one for each part, not the old one emptied, which the list still holds.
        parts.append((options[b"name"].decode("utf-8", "replace"), content))

    def end() -> None:
        nonlocal ended
        ended = True

    try:
        MultipartParser(
            boundary,
            {
                "on_part_begin": part_begins,
                "on_header_field": lambda data, start, stop: field.extend(data[start:stop]),
                "on_header_value": lambda data, start, stop: value.extend(data[start:stop]),
                "on_header_end": header_ends,
                "on_headers_finished": headers_finished,
                "on_part_data": lambda data, start, stop: content.extend(data[start:stop]),
                "on_end": end,
            },
        ).write(_from_first_boundary(body, boundary))
    except FormParserError as error:
        raise BrokenError(str(error)) from error
    # A body without its last boundary is no error to a parser that is not asked to finish.
    if not ended:
        raise BrokenError("it ends early")
    return [(name, bytes(content)) for name, content in parts]


def _from_first_boundary(body: bytes, boundary: bytes) -> bytes:
    """The body without preamble and blanks behind the first boundary, neither of which the parser knows."""
    line = b"--" + boundary
    if body.startswith(line + b"\r\n"):
        return body
    first = re.search(rb"(?:\A|\r\n)" + re.escape(line) + rb"[ \t]*(?=\r\n|--)", body)
    if first is None:
        raise BrokenError("the boundary that the Content-Type names is not in it")
    return line + body[first.end() :]
