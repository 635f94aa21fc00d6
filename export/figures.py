"""Figures as people read them."""

import math
from typing import Any


def number(value: Any) -> str:
    """For people: four digits of a fraction, thousands apart in a whole number."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value == 0:
        return "0"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:.2e}" if abs(value) < 1e-3 else f"{value:,.{min(digits, 4)}f}"


def size(count: Any) -> str:
    """Bytes, for people."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if isinstance(count, int | float) and count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count} B"


def words(name: str) -> str:
    """A name of the JSON, as one reads it: `psnr_db` is PSNR, dB."""
    known = {"psnr_db": "PSNR, dB", "ssim": "SSIM", "max_abs": "largest difference", "io": "input and output"}
    return known.get(name, name.replace("_", " "))
