"""Values of options, as they are typed: what no command could use ends in one line, whichever command it is."""

import argparse
import ast
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.model_arguments import devices, size
from likeness.arguments import count, pixels, positive, share, slice_of, whole
from likeness.loopback import port

ROOT = Path(__file__).parents[2]
NEVER = ("", "x", "nan", "-nan", "inf", "1e999", "-1", "1_0", "٣", "²", "9" * 5000, "9" * 400, "1\n2", "\udcff", "0x10")


@pytest.mark.parametrize("kind", [count, whole, pixels, positive, share, slice_of, port, devices, size])
@pytest.mark.parametrize("text", NEVER)
def test_what_is_no_value_is_refused_in_a_short_line(kind: Callable[[str], object], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        kind(text)
    message = str(refused.value)
    assert len(message) < 250 and "\n" not in message and message.encode()


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (count, "1", 1),
        (count, "2147483647", 2**31 - 1),
        (count, "2147483648", None),
        (count, "0", None),
        (whole, "0", 0),
        (whole, "9223372036854775807", 2**63 - 1),
        (whole, "9223372036854775808", None),
        (pixels, "256", 256),
        (pixels, "16385", None),
        (positive, "0.5", 0.5),
        (positive, "0", None),
        (positive, "1e10", None),
        (share, "0", 0.0),
        (share, "1", 1.0),
        (share, "1.01", None),
        (slice_of, "0/8", (0, 8)),
        (slice_of, "8/8", None),
        (port, "65535", 65535),
        (port, "65536", None),
        (port, "99999", None),
    ],
)
def test_bounds(kind: Callable[[str], object], text: str, value: object) -> None:
    if value is None:
        with pytest.raises(argparse.ArgumentTypeError):
            kind(text)
    else:
        assert kind(text) == value


def test_no_option_takes_whatever_python_calls_a_number() -> None:
    """`int` and `float` let NaN, infinity, negative and endless numbers pass."""
    assert math.isnan(float("nan")) and int("-1") == -1
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for room in ("likeness", "shards", "trainer", "export", "deploy", "benchmarks")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.keyword) and node.arg == "type" and ast.unparse(node.value) in ("int", "float")
    ]
    assert found == []
