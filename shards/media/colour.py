"""Videos of high dynamic range or wide gamut, brought to BT.709, which all pictures here are in.

ffmpeg obeys a file's matrix and range by itself, and passes by its transfer and primaries: HLG and PQ come out washed
out, and wide gamuts pale.
"""

import re
import subprocess
from pathlib import Path

from shards.media.ffmpeg_program import ffmpeg_in_use

HDR = ("smpte2084", "arib-std-b67")
"""Transfers of PQ and HLG (BT.2100)."""
WIDE = ("bt2020", "smpte431", "smpte432")
"""Primaries of BT.2020 and of P3."""
REFERENCE_WHITE = 203
"""What is white in BT.709, in cd/m²: HDR's reference white (BT.2408). What is brighter is white, too."""
ZSCALE = "zscale"
"""The filter that converts, by zimg."""


def to_bt709(path: Path) -> str:
    """ffmpeg's filters that bring a file's frames to BT.709, as 8 bits of RGB; empty where they are in it already.

    Files that say nothing are taken for BT.709.
    """
    command = [ffmpeg_in_use().path, "-hide_banner", "-protocol_whitelist", "file", "-i", f"file:{path}"]
    header = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).stderr.decode(errors="replace")
    # From the beginning of a line: a title may say anything.
    streams = re.findall(r"^ +Stream #0:.*?: (Video: .*)$", header, re.MULTILINE)
    pictures = [each for each in streams if "(attached pic)" not in each]
    # One name stands for three that are equal, which none of interest here are.
    tags = re.search(r"[(, ]([\w-]+)/([\w-]+)/([\w-]+)[,)]", pictures[0]) if pictures else None
    if tags is None:
        return ""
    matrix, primaries, transfer = tags.groups()
    if transfer not in HDR and primaries not in WIDE:
        return ""
    bt2020 = transfer in HDR or primaries == "bt2020"
    missing = ""
    if matrix == "unknown":
        missing += f"matrixin={'bt2020nc' if bt2020 else 'bt709'}:"
    if primaries == "unknown":
        missing += "primariesin=bt2020:"
    if transfer == "unknown":
        missing += "transferin=bt709:"
    # Without subsampled colours, whose planes zimg wants of even sizes; HLG with its system gamma as BT.2100 has it,
    # on luminance, which zimg otherwise takes channel by channel.
    return (
        f"format=yuv444p12|gbrp12,{ZSCALE}={missing}matrix=gbr:primaries=bt709:transfer=bt709:range=full:"
        f"npl={REFERENCE_WHITE}:agamma=false,format=gbrp"
    )
