"""`python -m trainer.tables`: trains every method and ablation under one budget, judges them, writes the tables."""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
import yaml
from tqdm import tqdm

from likeness import atomic, machine
from likeness.arguments import count
from likeness.command import BadInput, run_command
from likeness.process.interrupts import saying
from shards.labels.kinds import LANDMARKS, kind_of
from shards.records import load_manifest
from shards.worlds import WORLDS
from trainer import config as configs
from trainer import methods
from trainer.evaluate.judged_pairs import JudgedPairs, open_judged
from trainer.evaluate.paint import PICTURES, SWAPPED, write_picture
from trainer.metrics.truth import Truth
from trainer.perceptual import HED, INSTALL, hed_is_installed
from trainer.tables.markdown import Evaluated, Results, Row, Taken, markdown

CONFIGS = Path(__file__).parents[1] / "configs"
ROLL = 1
"""By how many pairs label maps are moved on for the pictures after a swap."""
EVERY_ROW = "faces"
"""The world on which all ablations are trained, and rows under several seeds: the papers ablate on faces."""


@dataclass(frozen=True)
class Footage:
    """What is drawn and packed of a world."""

    videos: int
    """How many are drawn."""
    seconds: float
    """Of each video."""
    fps: float
    """Frames per second."""
    film_size: int
    """Width of videos, in pixels."""
    size: int
    """Width of packed pictures, in pixels."""
    pairs: int
    """Packed for training."""
    test_pairs: int
    """Packed to judge by."""
    same_style_rate: float = 0.3
    """The packing's share of pairs that share a style."""


@dataclass(frozen=True)
class Budget:
    """One budget for all rows."""

    footage: dict[str, Footage]
    """By world."""
    seeds: int
    """How many on faces, of all rows but those of one seed; elsewhere there is one."""
    judged_with: tuple[str, ...]
    """Further words for `python -m trainer.evaluate`."""
    eyes: str
    """What judges the eyes of faces, as `perceptual.weights` names it."""
    trained_loss: bool = False
    """Whether runs are taught by HED's VGG-16 where it is installed, and by the config's loss network elsewhere."""


BUDGETS = {
    "small": Budget(
        {
            "faces": Footage(300, 6, 4, 128, 64, 4000, 120, 0.7),
            "dance": Footage(300, 6, 4, 128, 64, 4000, 120, 0.7),
            "streets": Footage(150, 6, 2, 256, 128, 4000, 80, 0.7),
        },
        seeds=2,
        judged_with=(),
        eyes="random:0",
        trained_loss=True,
    ),
    "full": Budget(
        {
            "faces": Footage(1000, 10, 8, 256, 256, 100_000, 2500),
            "dance": Footage(1000, 10, 8, 256, 256, 100_000, 2500),
            "streets": Footage(1000, 10, 4, 256, 256, 50_000, 2500),
        },
        seeds=1,
        judged_with=("--features", "inception"),
        eyes="download",
    ),
}

HELP = """\
Draws the worlds, trains every method of trainer/methods/ and every ablation on them under one budget, judges all of
them with `python -m trainer.evaluate`, beside controls (the truth itself, the real photo, the exemplar copied, noise),
and writes the papers' tables with our figures beside the published ones.

  small   64×64 (streets 128×64), tiny networks, two seeds on faces: an hour on two CPU cores, three where the trained
          loss network hed-vgg16 is installed (trainer/README.md), which runs are taught by then
  full    256×256 (streets 256×144), the papers' networks: days of a GPU; loss network and FID need their weights

Runs that are finished are not made again: the same command goes on where it was stopped. Configs stand in
trainer/configs/tables/ and trainer/configs/ablations/; a method without one there is left out, and named.
"""


@dataclass(frozen=True)
class Task:
    """One row of one world under one seed."""

    world: str
    """Which it is trained on."""
    row: str
    """What the tables call it."""
    seed: int
    """Of the training."""
    layers: tuple[Path, ...]
    """Its config files, each laid over those before it."""
    folder: Path
    """Of its run and its evaluation."""


_Layered = tuple[str, bool, tuple[Path, ...]]
"""A row's title, whether it has one seed, and its config files."""


def tasks_of(world: str, budget_name: str, folder: Path) -> list[Task]:
    """What is trained for a world: every method with a config for the budget, then what they call their ablations."""
    rows: list[_Layered] = []
    ablated: list[_Layered] = []
    for name in methods.available():
        config = _config_of(name, budget_name)
        if not config.is_file():
            continue
        method = methods.find(name)
        rows.append((methods.title(name), method.one_seed, (config,)))
        for ablation in method.ablations:
            if world == EVERY_ROW or ablation.everywhere:
                layers = (config, CONFIGS / "ablations" / f"{ablation.config}.yaml")
                ablated.append((ablation.title, ablation.one_seed, layers))
    seeds = BUDGETS[budget_name].seeds if world == EVERY_ROW else 1
    return [
        Task(world, row, seed, layers, folder / world / f"{_plain(row)}-seed{seed}")
        for row, one_seed, layers in _different(
            (*each[:2], (CONFIGS / "tables" / budget_name / "run.yaml", *each[2])) for each in rows + ablated
        )
        for seed in range(1 if one_seed else seeds)
    ]


def _different(rows: Iterable[_Layered]) -> Iterator[_Layered]:
    """The rows whose settings no row before them has: what a budget has not, its ablation cannot take out."""
    seen = []
    for row in rows:
        settings = configs.load(row[2]).model_dump()
        if settings not in seen:
            seen.append(settings)
            yield row


def _config_of(method: str, budget_name: str) -> Path:
    """The file of a method's settings for the tables of a budget, whether it is there or not."""
    return CONFIGS / "tables" / budget_name / f"{method}.yaml"


def print_left_out(budget_name: str) -> None:
    """Names the methods that have no config for a budget, and so no rows in its tables; nothing where all have one."""
    files = [_config_of(name, budget_name) for name in methods.available()]
    if missing := [str(file) for file in files if not file.is_file()]:
        print(f"left out: methods without a config for the {budget_name} tables ({', '.join(missing)} missing)")


def _plain(name: str) -> str:
    return name.replace("w/o", "without").replace(" ", "_")


def _run(command: Sequence[str], log: Path, device: str = "") -> None:
    """Runs a module of ours on one core (or one GPU). Raises BadInput with the log's end when it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if device:
        environment["CUDA_VISIBLE_DEVICES"] = device
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        result = subprocess.run([sys.executable, "-m", *command], env=environment, stdout=file, stderr=file)
    if result.returncode:
        end = log.read_text(encoding="utf-8").replace("\r", "\n").strip().splitlines()[-1:]
        raise BadInput(f"`python -m {' '.join(command[:2])} …` ended with {result.returncode} ({log}): {' '.join(end)}")


def draw(world: str, footage: Footage, folder: Path) -> None:
    """Videos and shards of a world, unless they are there."""
    videos, shards = folder / "videos", folder / "shards"
    if not videos.exists():
        size = ("--videos", str(footage.videos), "--seconds", str(footage.seconds), "--fps", str(footage.fps))
        film = ("shards", "worlds", world, "--out", str(videos), *size, "--size", str(footage.film_size), "--seed", "1")
        _run(film, folder / "logs" / "worlds.log")
    if not (shards / "test" / "manifest.json").is_file():
        pack = ("shards", "pack", "--source", str(videos), "--out", str(shards / "train"), "--seed", "1")
        pairs = ("--pairs", str(footage.pairs), "--test-pairs", str(footage.test_pairs), "--size", str(footage.size))
        rate = ("--same-style-rate", str(footage.same_style_rate))
        _run((*pack, *pairs, *rate, "--test-out", str(shards / "test")), folder / "logs" / "pack.log")


def loss_network_of(budget_name: str) -> str:
    """What runs are taught by, as `perceptual.weights` names it: HED's VGG-16 where it is wanted and installed."""
    if BUDGETS[budget_name].trained_loss and hed_is_installed():
        return HED
    shared = yaml.safe_load((CONFIGS / "tables" / budget_name / "run.yaml").read_text(encoding="utf-8"))
    return str(shared["perceptual"]["weights"])


def train(task: Task, budget: Budget, images: int | None, loss_network: str, device: str) -> float:
    """Trains and judges a task, unless it is done; returns the seconds that training took."""
    place, seconds = task.folder.parent, task.folder / "seconds.json"
    if not seconds.is_file():
        schema = load_manifest(place / "shards" / "train")[0].schema
        settings = {
            "run": task.folder / "train",
            "seed": task.seed,
            "data.train": place / "shards" / "train",
            "data.test": place / "shards" / "test",
            "data.label": schema.kind,
            "data.height": schema.height,
            "data.width": schema.width,
            "data.flip": str(kind_of(schema).mirrors).lower(),
            "tracking.uri": f"sqlite:///{place.parent.resolve()}/mlflow.db",
        }
        if images is not None:
            settings["images"] = images
        if loss_network == HED:
            settings |= {"perceptual.weights": HED, "perceptual.divisor": 1}
        words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
        started = time.perf_counter()
        config = ("--config", *map(str, task.layers), "--resume", "latest")
        _run(("trainer.run", *config, *words), task.folder / "train.log", device)
        atomic.write_text(seconds, json.dumps(time.perf_counter() - started))
    judge(task.folder, budget, ("--checkpoint", str(task.folder / "train")), device)
    return float(json.loads(seconds.read_text(encoding="utf-8")))


def judge(folder: Path, budget: Budget, subject: Sequence[str], device: str) -> None:
    """Judges a checkpoint or pictures, unless that is done: `evaluation` in the folder."""
    if (folder / "evaluation").exists():
        return
    place = folder.parent
    data = ("--data", str(place / "shards" / "test"), "--videos", str(place / "videos"))
    schema = load_manifest(place / "shards" / "test")[0].schema
    eyes = ("--eyes", budget.eyes) if kind_of(schema).points is LANDMARKS else ()
    more = (*budget.judged_with, *eyes, "--roll", str(ROLL))
    command = ("trainer.evaluate", *subject, *data, *more, "--out", str(folder / "evaluation"))
    _run(command, folder / "evaluate.log", device)


CONTROLS = ("truth", "real photo", "exemplar copied", "noise")
"""What no method painted. The truth must come first; a copy be right in style, wrong in semantics; noise come last."""


def paint_control(name: str, pairs: JudgedPairs, truth: Truth, folder: Path) -> None:
    """Writes a control's pictures, and those after a swap of label maps, unless they are there."""
    if folder.exists():
        return
    rng = np.random.default_rng(0)
    with atomic.new_folder(folder) as new:
        (new / PICTURES).mkdir()
        (new / SWAPPED).mkdir()
        for number in tqdm(range(pairs.total), name, unit="pair", leave=False):
            own, other = pairs.photos(number), pairs.photos((number + ROLL) % pairs.total)
            for place, label in ((PICTURES, own), (SWAPPED, other)):
                painted = {
                    "truth": truth.draw(label.pair.target, own.pair.exemplar),
                    "real photo": label.target,
                    "exemplar copied": own.exemplar,
                    "noise": rng.integers(0, 256, label.target.shape, np.uint8),
                }[name]
                write_picture(new / place, own.pair.key, painted)


def judge_control(name: str, folder: Path, budget: Budget, device: str) -> None:
    """Paints and judges a control of a world."""
    place = folder / _plain(name)
    with open_judged(str(folder / "shards" / "test")) as pairs:
        paint_control(
            name,
            pairs,
            Truth(folder / "videos", load_manifest(folder / "shards" / "test")[0].schema),
            place / "painted",
        )
    painted = place / "painted"
    judge(place, budget, ("--pictures", str(painted / PICTURES), "--swapped", str(painted / SWAPPED)), device)


def make(
    worlds: Sequence[str], budget: str, folder: Path, images: int | None, jobs: int | None, loss_network: str
) -> Results:
    """Everything that the tables show of some worlds. Raises BadInput as the commands do that it runs."""
    started, computed = time.perf_counter(), _processor_seconds()
    cards = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = visible.split(",") if visible else [str(number) for number in range(cards)]
    devices: SimpleQueue[str] = SimpleQueue()
    workers = jobs or cards or machine.cores()
    for number in range(workers):
        devices.put(named[number % cards] if cards else "")
    for world in tqdm(worlds, "drawing", unit="world"):
        draw(world, BUDGETS[budget].footage[world], folder / world)
    # The longest first, so that no core is idle at the end.
    tasks = [task for world in reversed(worlds) for task in tasks_of(world, budget, folder)]

    def work(job: Callable[[str], Any]) -> Any:
        device = devices.get()
        try:
            return job(device)
        finally:
            devices.put(device)

    controls = [(world, name) for name in CONTROLS for world in worlds]
    jobs_to_do: list[Callable[[str], Any]] = [
        # The first of each world trains the network that reads it; the others find it there.
        *(partial(judge_control, name, folder / world, BUDGETS[budget]) for world, name in controls),
        *(partial(train, task, BUDGETS[budget], images, loss_network) for task in tasks),
    ]
    with ThreadPoolExecutor(workers) as pool:
        outcomes = list(tqdm(pool.map(work, jobs_to_do), "runs", len(jobs_to_do), unit="run"))
    seconds = outcomes[len(controls) :]
    rows = [Row(world, name, None, None, _read(folder / world / _plain(name))) for world, name in controls]
    rows += [Row(t.world, t.row, t.seed, s, _read(t.folder)) for t, s in zip(tasks, seconds, strict=True)]
    taken = Taken(time.perf_counter() - started, _processor_seconds() - computed)
    clock = folder / "taken.json"
    if clock.is_file():
        before = Taken(**json.loads(clock.read_text(encoding="utf-8")))
        taken = Taken(before.seconds + taken.seconds, before.processor_seconds + taken.processor_seconds)
    atomic.write_text(clock, json.dumps(asdict(taken)))
    return Results(budget, images, tuple(worlds), rows, taken, workers, loss_network)


def _processor_seconds() -> float:
    """Of this process and of all that it started and has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _read(folder: Path) -> Evaluated:
    return Evaluated.read(folder / "evaluation")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.tables", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--world", nargs="+", choices=tuple(WORLDS), default=list(WORLDS), help="which worlds (default: all)")
    add("--budget", choices=tuple(BUDGETS), default="small", help="how much training, see above (default: small)")
    add(
        "--folder",
        type=Path,
        default=Path("runs/tables"),
        metavar="DIR",
        help="of videos, shards and runs (default: %(default)s)",
    )
    add("--out", type=Path, metavar="FILE", help="the tables (default: tables.md in the folder of the budget)")
    add("--images", type=count, metavar="N", help="images seen by each run, not the budget's: for a first try")
    add("--jobs", type=count, metavar="N", help="runs at a time (default: one per GPU, or per core)")
    return parser


def _command(arguments: Sequence[str] | None) -> None:
    options = _parser().parse_args(arguments)
    print_left_out(options.budget)
    loss_network = loss_network_of(options.budget)
    print(f"loss network: {loss_network}")
    if BUDGETS[options.budget].trained_loss and loss_network != HED:
        print(f"  it has seen no photographs; for one that has: {INSTALL}")
    # Runs under one loss network are not those under another.
    parts = [
        options.budget,
        *([str(options.images)] if options.images else []),
        *([HED] if loss_network == HED else []),
    ]
    folder = options.folder / "-".join(parts)
    with saying(lambda: f"the rows that are done are kept in {folder}; the same command makes the others"):
        results = make(options.world, options.budget, folder, options.images, options.jobs, loss_network)
    out = options.out or folder / "tables.md"
    atomic.write_text(out, markdown(results))
    print(out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run_command(partial(_command, arguments))


if __name__ == "__main__":
    sys.exit(main())
