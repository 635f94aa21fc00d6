"""`python -m trainer.evaluate`: judges a checkpoint, or any folder of pictures, on held-out pairs."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import GradientAccumulationPlugin, broadcast_object_list

from likeness import atomic
from likeness.arguments import count
from likeness.command import BadInput, run_command
from likeness.folders import Unused
from likeness.process.interrupts import saying
from trainer.checkpoints.synthesis import Synthesis, load_for_synthesis
from trainer.evaluate import paint
from trainer.evaluate.evaluation import Evaluation, Folders, evaluate
from trainer.evaluate.judged_pairs import JudgedPairs, JudgedShards, open_judged
from trainer.evaluate.metrics_asked_for import add_arguments, sources_of
from trainer.evaluate.painted_folder import painted_in
from trainer.ranks import environment
from trainer.speed import arithmetic

PATIENCE = timedelta(hours=2)
"""For how long ranks wait for each other. While rank 0 trains a reader, on a slow core for half an hour, the others
stand in a barrier, where torch would end them after the ten minutes that it gives NCCL."""

HELP = """\
Judges pictures on held-out pairs: those that a checkpoint paints (--checkpoint), or those of any folder (--pictures),
such as `python -m deploy batch` or another system wrote it, one per pair, named by the pair's key. Both are judged as
8-bit files, by the same code.

What is measured grows with what it is given:

  always            SSIM, PSNR, mean difference and copying of the exemplar, where the target has the exemplar's style:
                    only there is it the answer (lists of your own say so; packed held-out pairs have two styles)
  --videos DIR      the videos of a world: distance to the true picture, whether style and label map are followed,
                    factor by factor; landmarks, pose or classes as a small network trained on the world reads them
  --features F      how unlike the sets of painted and of real pictures are: `inception` gives FID and KID, `world` the
                    same formulas on the world's own small network, which are never called FID
  --lpips PATH      LPIPS to the true picture, or to the target where it has the exemplar's style
  --detector D      LEPE: landmarks found in the painted picture against those in the photo (a CSV's are faces)
  --parser ONNX     SPS: the classes that a segmentation model sees in the painted picture, against the label map
  --eyes VGG        VGG distance of the eyes' patches to the exemplar's

Writes a folder: evaluation.json (every figure with its 95 % interval from a bootstrap over source videos),
pictures.parquet (every picture's measurements), report.html (worst and best cases), and for a checkpoint the
pictures.
"""
EPILOG = """\
examples:
  python -m trainer.evaluate --checkpoint runs/demo/train --videos runs/demo/videos --out runs/demo/evaluation
  python -m trainer.evaluate --pictures painted --data data/face/test --features inception --out judged
  python -m trainer.launch --num_processes 8 -m trainer.evaluate --checkpoint runs/face --data data/test --out judged
exit codes: 0 done, 2 bad input
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.evaluate",
        description=HELP,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--checkpoint", type=Path, metavar="DIR", help="a run's folder (its latest), or a checkpoint")
    subject.add_argument("--pictures", type=Path, metavar="DIR", help="painted pictures, KEY.png, .jpg or .webp")
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder for what comes out")
    add(
        "--data",
        metavar="DIR|URL|CSV",
        help="held-out shards (default: the run's own), or a CSV of picture, target, exemplar (photo files) and, if "
        "there, label (PNG of class ids), same_style (0 or 1), group (what belongs together, as a video's frames do)",
    )
    add("--pairs", type=count, default=2500, metavar="N", help="how many pairs, from the front (default: 2500)")
    add("--swapped", type=Path, metavar="DIR", help="as --pictures, painted with `deploy batch --roll-labels N`")
    add("--roll", type=count, default=1, metavar="N", help="that N (default: 1)")
    add_arguments(parser)
    add("--json", action="store_true", help="print evaluation.json instead of a table")
    return parser


def _command(arguments: Sequence[str] | None) -> None:
    options = _parser().parse_args(arguments)
    environment.check()
    atomic.refuse_existing(options.out)
    with saying(lambda: f"nothing was written to {options.out}; an evaluation begins again"):
        evaluation = _evaluation(options)
    if evaluation is not None:
        result = evaluation.to_json()
        print(json.dumps(result, indent=1) if options.json else f"{table_of(result)}\n{options.out / 'report.html'}")


def _evaluation(options: argparse.Namespace) -> Evaluation | None:
    """Writes `options.out`. Returns what stands there; None on ranks other than 0."""
    synthesis, location = _subject(options)
    with open_judged(location) as pairs:
        subject = _painter(synthesis, pairs, location) or _folders(options, pairs)
        sources = sources_of(options, pairs)
        accelerator = _accelerator()
        arithmetic.use("fp32")
        if isinstance(subject, Synthesis):
            subject.module.to(accelerator.device)
        if isinstance(subject, Folders):
            notes = _unused(subject, pairs, options.pairs)
            if accelerator.is_main_process:
                print("".join(f"note: {note}\n" for note in notes), end="", file=sys.stderr)
        with _new_folder(options.out, accelerator) as folder:
            return evaluate(accelerator, pairs, options.pairs, subject, sources, folder, options.roll)


def _accelerator() -> Accelerator:
    """One process of those that the launcher has started; computes in float32, whatever the environment says."""
    with environment.meeting():
        return Accelerator(
            mixed_precision="no",
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            dynamo_backend="no",
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        )


def _subject(options: argparse.Namespace) -> tuple[Synthesis | None, str]:
    """What paints, or None for pictures that are painted, and where the pairs are. Raises BadInput for neither."""
    if options.checkpoint is None:
        if options.data is None:
            raise BadInput(f"--pictures {options.pictures} needs --data: the pairs that they were painted from")
        return None, options.data
    if options.swapped:
        raise BadInput("--swapped goes with --pictures; a checkpoint paints its own")
    synthesis = load_for_synthesis(options.checkpoint)
    location = options.data or synthesis.test_shards
    if location is None:
        raise BadInput(f"{options.checkpoint} was trained without held-out shards; name some with --data")
    return synthesis, location


def _folders(options: argparse.Namespace, pairs: JudgedPairs) -> Folders:
    """Raises BadInput when `deploy batch` says that it rolled the swapped labels by another number."""
    summary = options.swapped and options.swapped / "summary.json"
    if summary and summary.is_file():
        rolled = json.loads(summary.read_text(encoding="utf-8")).get("roll_labels")
        if isinstance(rolled, int) and (rolled - options.roll) % pairs.total:
            raise BadInput(f"{summary} says --roll-labels {rolled}; give --roll {rolled}, not {options.roll}")
    return Folders(options.pictures, options.swapped, options.roll)


def _unused(folders: Folders, pairs: JudgedPairs, asked: int | None) -> list[str]:
    """Lines about what lies beside the pictures that are judged. asked: how many pairs, None for all.

    Raises BadInput when a folder has two pictures of a pair.
    """
    whole = asked is None or asked >= pairs.total
    keys = {pairs.pair(number).key for number in range(pairs.total)} if whole else set()
    lines = []
    for folder in filter(None, (folders.pictures, folders.swapped)):
        unused = Unused()
        for key in painted_in(folder, unused):
            if whole and key not in keys:
                unused.add("of no pair", key)
        lines += [f"{folder}: {line}" for line in unused.notes()]
    return lines


def _painter(synthesis: Synthesis | None, pairs: JudgedPairs, location: str) -> Synthesis | None:
    """The same. Raises BadInput when it cannot paint these pairs."""
    if synthesis is None:
        return None
    if not isinstance(pairs, JudgedShards):
        raise BadInput(f"{location} has no label maps to paint from; a checkpoint needs shards, or use --pictures")
    paint.check(synthesis, pairs)
    return synthesis


@contextmanager
def _new_folder(out: Path, accelerator: Accelerator) -> Iterator[Path]:
    """A folder that all ranks write into, and that appears as `out` when rank 0 is done with it."""
    if not accelerator.is_main_process:
        yield Path(broadcast_object_list([None])[0])
        return
    with atomic.new_folder(out) as partial:
        broadcast_object_list([str(partial)])
        yield partial


def table_of(result: Mapping[str, Any]) -> str:
    """The figures for people, a line each."""
    rows = [("figure", "value", "95 % interval", "better", "pairs")]
    for name, figure in result["figures"].items():
        if figure["value"] is None:
            continue
        unit = f" {figure['unit']}" if figure["unit"] else ""
        interval = "" if figure["low"] is None else f"{_short(figure['low'])} – {_short(figure['high'])}"
        rows.append((name, _short(figure["value"]) + unit, interval, figure["better"] or "", str(figure["pictures"])))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run_command(lambda: _command(arguments))


if __name__ == "__main__":
    sys.exit(main())
