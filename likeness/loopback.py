"""Servers on this machine: by which names and from which pages they may be called, and on which ports."""

import argparse
import ipaddress
import re
import socket
from contextlib import closing

from likeness.command import BadInput
from likeness.names import quoted

LOOPBACK = "127.0.0.1"
"""An address of this machine that nobody else reaches."""

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([0-9a-z._-]+))(?::[0-9]{0,5})?", re.IGNORECASE)
"""A Host header (RFC 9110, section 7.2): nothing else may stand before, between or behind name and port."""


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine to whoever uses it: localhost, 127.0.0.1, ::1 and their like."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def foreign(header: str, origin: str | None, host: str) -> tuple[int, str] | None:
    """Status and reason to refuse a request with, when it comes from another page or by another name; None otherwise.

    header: its Host. origin: its Origin, which browsers send with whatever changes something. host: see `known_host`.
    """
    if not known_host(header, host):
        return 400, "this server does not go by that name"
    if origin is not None and origin.partition("://")[2] != header:
        return 403, "requests of pages from elsewhere are refused"
    return None


def known_host(header: str, host: str) -> bool:
    """Whether a request names this server: a page elsewhere must not reach it under a name of its own (DNS rebinding).

    header: the request's Host. host: what the server listens on. Where that is every address, any number is good, and
    of names this machine's.
    """
    if (match := _HOST.fullmatch(header)) is None:
        return False
    name = (match[1] or match[2]).lower()
    if name == host or is_loopback(name):
        return True
    if host not in ("0.0.0.0", "::"):
        return False
    # Who rebinds a name of theirs sends that name: an address in figures is the one that was really called.
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in (socket.gethostname().lower(), socket.getfqdn().lower())
    return True


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises BadInput when the port is taken or the address is not this machine's.
    """
    # Only of sockets that say TCP does asyncio switch off the delay of small packets: 40 ms in every answer.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A port that was used until a moment ago is free, too.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # Two could bind the same port, but only one can listen.
        listener.listen()
    except OSError as error:
        listener.close()
        raise BadInput(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port") from error
    return listener


def free_port(host: str, port: int) -> int:
    """The port, or any free one for 0. Raises BadInput as `listen` does."""
    with closing(listen(host, port)) as listener:
        return int(listener.getsockname()[1])


def port(text: str) -> int:
    """A port, for argparse: 1 to 65535, or 0 for any that is free."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a port, 1 to 65535, or 0 for any that is free")
    return int(text)
