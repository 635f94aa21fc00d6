"""What is in a folder of shards, for people: a table and a contact sheet."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from likeness.array import Array
from likeness.atomic import write_bytes
from likeness.command import BadInput
from shards.labels import instances, picture
from shards.media.pictures import encode_picture
from shards.packing.audit import explained
from shards.reading.samples import Sample, decode, decode_pair, iter_samples
from shards.records import Frame, Manifest, load_manifest

COLUMNS = ("label map", "target", "label over photo", "exemplar label", "exemplar", "consistent", "inconsistent")
SMALLEST_CELL = 192
"""Pixels; smaller pictures are enlarged, so that captions fit and faces can be judged."""
CAPTION = 22
"""Characters of a source's name under its photo: more would be cut off."""
GAP, HEADER, CAPTION, MARGIN = 6, 30, 20, 34
INK, PALE, PAPER = (30, 30, 30), (120, 120, 120), (250, 250, 250)
SAME, OTHER = (20, 120, 60), (170, 60, 30)


@dataclass(frozen=True)
class Overview:
    """What is in a folder of shards."""

    manifest: Manifest
    """Its manifest."""
    same_style: int
    """How many samples are S pairs."""
    styles: int
    """How many styles there are in them."""

    def table(self) -> str:
        """The overview as aligned lines."""
        manifest, schema = self.manifest, self.manifest.schema
        total = sum(shard.bytes for shard in manifest.shards)
        sampling = {"preset": "", **manifest.sampling}
        rows = {
            "split": manifest.split,
            "samples": f"{manifest.samples:,}",
            "shards": f"{len(manifest.shards)} ({total / 1e6:,.1f} MB)",
            "size": f"{schema.width}×{schema.height} pixels",
            "labels": f"{schema.kind}, {schema.channels} channels" + (", instance maps" if manifest.instances else ""),
            "same style": f"{self.same_style / max(1, manifest.samples):.1%} of the pairs "
            f"(asked for {manifest.sampling.get('same_style_rate', 0):.1%})",
            "styles": f"{self.styles:,}",
            "sources": ", ".join(f"{len(names):,} {split}" for split, names in manifest.sources.items()),
            "pictures": schema.preparation.in_words(),
            "sampling": ", ".join(f"{name} {value}" for name, value in sampling.items() if value is not None),
            "audit": ", ".join(f"{name} {value}" for name, value in manifest.audit.items()),
            "seed": str(manifest.seed),
            "digest": manifest.digest[:16],
        }
        lines = [f"{name:<11} {value}" for name, value in rows.items()]
        lines += [f"  {line}" for line in explained(manifest.audit)]
        return "\n".join([*lines, *(f"{'note':<11} {note}" for note in manifest.notes)])


def overview(path: Path) -> Overview:
    """Reads the manifest and the `json` member of every sample. Raises BadInput when they cannot be read."""
    manifest, folder = load_manifest(path)
    same_style, styles = 0, set()
    samples = iter_samples(folder, manifest, ("json",))
    for _, members in tqdm(samples, total=manifest.samples, desc="reading", unit="sample"):
        pair = decode_pair(members)
        same_style += pair.same_style
        styles |= {frame.style for frame in pair.frames.values()}
    return Overview(manifest, same_style, len(styles))


def contact_sheet(path: Path, out: Path, rows: int = 8) -> None:
    """Writes a PNG that shows samples spread evenly over the shards, one per row.

    Columns: label map, target, the one over the other, the exemplar's label map, exemplar, consistent, inconsistent,
    and, where there is one, the target's instance map in colours that tell its numbers apart. A row is marked S when
    target and exemplar have one style, else N. Raises BadInput when `rows` is less than 1 or a sample is broken.
    """
    if rows < 1:
        raise BadInput(f"--rows {rows} shows nothing; ask for at least 1")
    manifest, folder = load_manifest(path)
    chosen = set(np.linspace(0, manifest.samples - 1, min(rows, manifest.samples)).round().astype(int).tolist())
    shown = []
    for position, (_, members) in enumerate(iter_samples(folder, manifest)):
        if position in chosen:
            shown.append(decode(members, manifest.schema, manifest.sides, instances=manifest.instances))
    sheet = np.concatenate([_header(manifest), *(_row(manifest, sample) for sample in shown)])
    write_bytes(out, encode_picture(sheet))


def _cell(manifest: Manifest) -> tuple[int, int]:
    """Width and height of a picture on the sheet: a whole multiple of its own, so that pixels stay square."""
    schema = manifest.schema
    factor = -(-SMALLEST_CELL // schema.width)
    return schema.width * factor, schema.height * factor


def _columns(manifest: Manifest) -> tuple[str, ...]:
    columns = COLUMNS[:-1] if manifest.one_style else COLUMNS
    return (*columns, "instances") if manifest.instances else columns


def _header(manifest: Manifest) -> Array:
    width, _ = _cell(manifest)
    columns = _columns(manifest)
    header = np.full((HEADER, MARGIN + len(columns) * (width + GAP), 3), PAPER, np.uint8)
    for number, name in enumerate(columns):
        _write(header, name, (MARGIN + number * (width + GAP), HEADER - 9), INK, 0.5)
    return header


def _row(manifest: Manifest, sample: Sample) -> Array:
    width, height = _cell(manifest)
    pair = sample.pair
    maps = {side: picture(manifest.schema, label) for side, label in sample.labels.items()}
    cells = [
        (maps["target"], f"pair {pair.key}"),
        (sample.photos["target"], _caption(pair.target)),
        (_laid_over(maps["target"], sample.photos["target"]), ""),
        (maps["exemplar"], ""),
        (sample.photos["exemplar"], _caption(pair.exemplar)),
        (sample.photos["consistent"], _caption(pair.consistent)),
    ]
    if pair.inconsistent is not None:
        cells.append((sample.photos["inconsistent"], _caption(pair.inconsistent)))
    if sample.instances is not None:
        cells.append((instances.picture(sample.instances), f"{len(np.unique(sample.instances))} numbers"))
    row = np.full((height + CAPTION + GAP, MARGIN + len(cells) * (width + GAP), 3), PAPER, np.uint8)
    mark, colour = ("S", SAME) if pair.same_style else ("N", OTHER)
    _write(row, mark, (8, height // 2), colour, 0.8)
    for number, (cell, caption) in enumerate(cells):
        left = MARGIN + number * (width + GAP)
        row[:height, left : left + width] = cv2.resize(cell, (width, height), interpolation=cv2.INTER_NEAREST)
        _write(row[:, left : left + width], caption, (0, height + 14), PALE, 0.4)
    return row


def _laid_over(label: Array, photo: Array) -> Array:
    """The label map half transparent over the photo; dark ground, where a drawn label has none, stays clear."""
    light = label.max(axis=2, keepdims=True).astype(np.float32) / 255
    opacity = np.where(light > 0.2, 0.55, 0.15)
    mixed: Array = (photo + (label.astype(np.float32) - photo) * opacity).round().astype(np.uint8)
    return mixed


def _caption(frame: Frame) -> str:
    source = frame.source if len(frame.source) <= CAPTION else "..." + frame.source[3 - CAPTION :]
    filled = "" if frame.outside is None else f", {frame.outside:.0%} filled"
    return f"{source} #{frame.number}{filled}"


def _write(canvas: Array, text: str, corner: tuple[int, int], colour: tuple[int, int, int], scale: float) -> None:
    """Draws text with its lower left corner at `corner`, in place."""
    # OpenCV draws on whole rows of memory only, hence the copy for a part of the sheet.
    drawn = cv2.putText(canvas.copy(), text, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
    canvas[:] = drawn
