"""`python -m trainer.study`: which of two methods' pictures are closer to the exemplar's style, as people see it."""

import argparse
import hashlib
import hmac
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from tqdm import tqdm

from likeness.arguments import count, whole
from likeness.array import Array
from likeness.command import BadInput, run_command
from likeness.loopback import free_port, port_number
from likeness.rating_page import NAME, only_page, order_of, page_app, rater_generator, require_packages, serve_app
from shards.media.pictures import decode_picture, encode_picture, read_bytes
from shards.reading.samples import PICTURE_FORMATS, Members, OpenShard, check_shard, decode_photo
from shards.records import LabelSchema, load_manifest
from trainer.study.answers import Choice, Method, read_choices, results_of, table, to_json, write_choices

if TYPE_CHECKING:
    from fastapi import FastAPI

Side = Literal["left", "right"]

PAGE = Path(__file__).with_name("page.html")
EXEMPLAR = tuple(f"exemplar.{name}" for name in PICTURE_FORMATS)
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
RATERS_KEPT = 256
"""Raters whose views are kept in memory; those of others are computed again."""


@dataclass(frozen=True)
class Painted:
    """One method's picture of a pair: the file, and the SHA-256 that it had when the study was begun."""

    path: Path
    sha256: str

    def read(self) -> Array:
        """uint8 (H, W, 3) RGB. Raises BadInput when the file is gone or another one by now."""
        content = read_bytes(self.path)
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise BadInput(f"{self.path} has changed since the study was begun; put it back, or begin another study")
        return decode_picture(content, str(self.path))


@dataclass(frozen=True)
class Trial:
    """One pair to show. sample: its members in the shard, as far as they hold the exemplar."""

    key: str
    sample: Members
    a: Painted
    b: Painted

    @property
    def shown(self) -> str:
        """A fingerprint of the three pictures, by which answers on other pictures are told."""
        exemplar = [self.sample[name] for name in EXEMPLAR if name in self.sample]
        sums = [hashlib.sha256(content).hexdigest() for content in exemplar]
        return hashlib.sha256(" ".join([*sums, self.a.sha256, self.b.sha256]).encode()).hexdigest()[:16]


def trials_of(a: Path, b: Path, pairs: Path, number: int | None, seed: int) -> tuple[list[Trial], LabelSchema]:
    """`number` pairs that the two folders have pictures of, drawn at random; all for None or where there are fewer.

    A pure function of the files. With one seed, fewer pairs are among those of more.

    Raises BadInput, naming the file, when a picture is missing in one folder only, cannot be read, has not the size of
    the shards' photos, or stands there twice; or when there is nothing to show.
    """
    if a.resolve() == b.resolve():
        raise BadInput(f"--a and --b are both {a}; give the folders of two methods")
    manifest, folder = load_manifest(pairs)
    pictures = _pictures(a), _pictures(b)
    places: dict[str, tuple[Path, int]] = {}
    for shard in tqdm(manifest.shards, desc="reading", unit="shard"):
        check_shard(folder, shard)
        with OpenShard(folder / shard.name) as opened:
            places |= {entry.key: (opened.path, at) for at, entry in enumerate(opened.entries)}
    painted = sorted(key for key in places if key in pictures[0] or key in pictures[1])
    if not painted:
        raise BadInput(f"neither {a} nor {b} holds a picture of a pair of {pairs}, such as {min(places)}.png")
    drawn = [painted[int(at)] for at in np.random.default_rng(seed).permutation(len(painted))[:number]]
    by_shard: defaultdict[Path, list[str]] = defaultdict(list)
    for key in drawn:
        by_shard[places[key][0]].append(key)
    trials: dict[str, Trial] = {}
    with tqdm(total=len(drawn), desc="checking", unit="pair") as progress:
        for path, keys in by_shard.items():
            with OpenShard(path) as opened:
                for key in keys:
                    sample = opened.members(places[key][1], EXEMPLAR)
                    decode_photo(sample, "exemplar", manifest.schema)
                    both = [
                        _painted(found, key, place, manifest.schema)
                        for found, place in zip(pictures, (a, b), strict=True)
                    ]
                    trials[key] = Trial(key, sample, *both)
                    progress.update()
    return [trials[key] for key in drawn], manifest.schema


def _pictures(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by name without suffix. Raises BadInput when it is none, or has a picture twice."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder of pictures; paint some with `python -m deploy batch --out {folder}`")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            if path.stem in found:
                raise BadInput(f"{path} and {found[path.stem].name} are pictures of one pair; keep one of them")
            found[path.stem] = path
    return found


def _painted(pictures: Mapping[str, Path], key: str, folder: Path, schema: LabelSchema) -> Painted:
    if key not in pictures:
        raise BadInput(
            f"{folder / key}.png is missing, and the other folder has a picture of that pair; paint the same pairs "
            "with both methods"
        )
    path = pictures[key]
    content = read_bytes(path)
    height, width = decode_picture(content, str(path)).shape[:2]
    if (height, width) != (schema.height, schema.width):
        raise BadInput(
            f"{path} is {width}×{height} pixels, but the photos of the shards are {schema.width}×{schema.height}; "
            "give pictures of that size"
        )
    return Painted(path, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class View:
    """How one rater sees the study: the order of the trials, and which method stands on the left, by trial.

    pictures: what each picture's token stands for: the trial, and `exemplar`, `left` or `right`.
    """

    order: list[int]
    left: list[Method]
    pictures: dict[str, tuple[int, str]]


class Study:
    """The state of the page: what there is to show, and what was answered. Every answer is on disk when it returns.

    Raises BadInput when `out` holds answers on other pictures.
    """

    def __init__(self, trials: list[Trial], schema: LabelSchema, out: Path, seed: int) -> None:
        self.trials, self.schema, self.out, self.seed = trials, schema, out, seed
        self.choices = read_choices(out) if out.exists() else []
        self.places = {trial.key: place for place, trial in enumerate(trials)}
        for choice in self.choices:
            place = self.places.get(choice.key)
            if place is not None and choice.shown != trials[place].shown:
                raise BadInput(
                    f"{out} holds answers on other pictures of pair {choice.key} than {trials[place].a.path} and "
                    f"{trials[place].b.path}; choose another --out"
                )
        # So that a page that is open goes on with a server that was started again, and with no other study's: browsers
        # keep pictures by their tokens.
        self.secret = hashlib.sha256(repr((seed, [trial.shown for trial in trials])).encode()).digest()
        self.lock = Lock()
        self.view = lru_cache(RATERS_KEPT)(self._view)

    def _view(self, rater: str) -> View:
        # As often on the left as on the right (one more by chance, if their number is odd).
        rng = rater_generator(rater, self.seed, "sides")
        sides = (np.arange(len(self.trials)) + rng.integers(2)) % 2
        left: list[Method] = ["a" if side else "b" for side in rng.permutation(sides)]
        pictures = {
            self._token(rater, trial.key, role): (place, role)
            for place, trial in enumerate(self.trials)
            for role in ("exemplar", "left", "right")
        }
        return View(order_of(rater, self.seed, len(self.trials)), left, pictures)

    def _token(self, rater: str, key: str, role: str) -> str:
        return hmac.new(self.secret, f"{rater}\0{key}\0{role}".encode(), "sha256").hexdigest()[:32]

    def state(self, rater: str, back: bool = False) -> dict[str, Any]:
        """What the page shows a rater next: a trial and the one after it, or that all are answered.

        back: the trial that was answered last shows again; its answer stands until it is answered anew.
        """
        with self.lock:
            mine = self._answers(rater)
        left = [place for place in self.view(rater).order if place not in mine]
        shown = [*list(mine)[-1:], *left] if back else left
        told = [self._told(rater, place, mine.get(place)) for place in shown[:2]]
        return {
            "done": len(mine),
            "total": len(self.trials),
            "shown": told[0] if told else None,
            "next": told[1] if len(told) > 1 else None,
            "back": bool(mine) and not back,
        }

    def _answers(self, rater: str) -> dict[int, Choice]:
        """What a rater answered in this study, by trial, the last answer last."""
        mine: dict[int, Choice] = {}
        for choice in self.choices:
            if choice.rater == rater and choice.key in self.places:
                mine.pop(self.places[choice.key], None)
                mine[self.places[choice.key]] = choice
        return mine

    def _told(self, rater: str, place: int, before: Choice | None) -> dict[str, str]:
        key = self.trials[place].key
        pictures = {role: self._token(rater, key, role) for role in ("exemplar", "left", "right")}
        return {"token": self._showing(rater, place, before), **pictures}

    def _showing(self, rater: str, place: int, before: Choice | None) -> str:
        """Names one showing of a trial to a rater: once it is answered, it names nothing any more."""
        return self._token(rater, self.trials[place].key, f"after {before and before.answered_at}")

    def answer(self, rater: str, token: str, side: Side, seconds: float) -> bool:
        """Notes an answer. False, and nothing noted, when that showing was answered before or is of another study."""
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        view = self.view(rater)
        with self.lock:
            mine = self._answers(rater)
            # The trial that comes next, or the last one after going back.
            open_places = [place for place in view.order if place not in mine][:1] + list(mine)[-1:]
            for place in open_places:
                if hmac.compare_digest(self._showing(rater, place, mine.get(place)), token):
                    break
            else:
                return False
            trial, left = self.trials[place], view.left[place]
            right: Method = "b" if left == "a" else "a"
            preferred = left if side == "left" else right
            given = Choice(trial.key, rater, preferred, left, round(seconds, 2), now, trial.shown)
            kept = [c for c in self.choices if (c.key, c.rater) != (trial.key, rater)]
            write_choices(self.out, [*kept, given])
            self.choices = [*kept, given]
        return True

    def picture(self, rater: str, token: str) -> bytes | None:
        """A picture as a PNG file that says nothing of where it comes from; None for an unknown token.

        Raises BadInput when the file is gone or another one by now.
        """
        if token not in self.view(rater).pictures:
            return None
        place, role = self.view(rater).pictures[token]
        trial = self.trials[place]
        if role == "exemplar":
            picture = decode_photo(trial.sample, "exemplar", self.schema)
        else:
            picture = (trial.a if (role == "left") == (self.view(rater).left[place] == "a") else trial.b).read()
        return encode_picture(picture)


def app_of(study: Study, host: str) -> "FastAPI":
    """The web application. host: see `page_app`."""
    from fastapi import Body, HTTPException, Query, Response

    app = page_app("Study", PAGE, host)
    Rater = Annotated[str, Query(**NAME)]

    @app.get("/state")
    def state(rater: Rater, back: bool = False) -> dict[str, Any]:
        return study.state(rater, back)

    @app.get("/picture/{token}")
    def picture(token: str, rater: Rater) -> Response:
        try:
            content = study.picture(rater, token)
        except BadInput as error:
            # For whoever runs the study: raters must not read the names of files.
            print(f"error: {error}", file=sys.stderr, flush=True)
            raise HTTPException(500, "a picture cannot be read") from None
        if content is None:
            raise HTTPException(404, "no such picture")
        return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})

    @app.post("/answer")
    def answer(
        rater: Annotated[str, Body(**NAME)],
        token: Annotated[str, Body()],
        side: Annotated[Side, Body()],
        seconds: Annotated[float, Body(ge=0, le=1e6)],
    ) -> dict[str, Any]:
        if not study.answer(rater, token, side, seconds):
            raise HTTPException(409, "this pair was answered already")
        return study.state(rater)

    return app


def serve(
    trials: list[Trial], schema: LabelSchema, out: Path, seed: int, host: str = "127.0.0.1", port: int = 8766
) -> list[Choice]:
    """Serves the study's page until it is interrupted; returns all answers of `out`.

    Raises BadInput when the web packages are not installed, the port is taken, another server writes `out`, or it is
    no CSV of answers on these pictures.
    """
    require_packages()
    free_port(host, port)
    if {trial.a.path.suffix for trial in trials} != {trial.b.path.suffix for trial in trials}:
        print("warning: the two folders' pictures have different formats; compression can be seen", file=sys.stderr)
    with only_page(out, "study"):
        study = Study(trials, schema, out, seed)
        serve_app(app_of(study, host), host, port, f"compare {len(trials)} pairs", out)
    return study.choices


HELP = """\
A human study (two-alternative forced choice): raters see an exemplar and two pictures that were painted after it, one
by each method, and say which is closer to the exemplar's style. Order and sides are random, another one for every
rater, each method as often on the left as on the right; time is unlimited, "undecided" is no answer. Nobody sees which
picture is whose. Raters open the page, under a name each, at the same time if you like; every answer is on disk before
the next pair shows, and a study that was stopped goes on with the same command.

A picture is named by its pair's key, as `python -m deploy batch --out DIR` writes it: DIR/00000012.png, .jpg or .webp.
Give both methods' pictures in one format: compression can be seen.

The results: the share of all answers that prefer A, with two 95% intervals.
  bootstrap  draws raters and pairs anew, with replacement, and takes all answers of a rater or on a pair along: it says
             what other raters and other pairs would give. This is the one to report: the answers of one rater hang
             together. With fewer than about ten raters it is too narrow, and it has no width where all answers agree.
  Wilson     what the interval would be if each answer were an independent toss. It is too narrow for most studies.
Then the answers of each rater (who always chooses one side did not look), and how far raters agree: the share of equal
answers, and Fleiss' kappa, which is 0 where they agree as often as by chance.
"""

EXAMPLES = """\
examples:
  python -m trainer.study --a pictures/ours --b pictures/pix2pixHD --pairs data/face/test --out answers.csv --count 50
  python -m trainer.study --results answers.csv --names ours pix2pixHD
"""


def _command(arguments: Sequence[str] | None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.study",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--a", type=Path, metavar="DIR", help="pictures of the method whose share is reported")
    add("--b", type=Path, metavar="DIR", help="pictures of the method that it is compared with")
    add("--pairs", type=Path, metavar="DIR", help="the shards that the pictures were painted from; exemplars lie there")
    add("--out", type=Path, metavar="CSV", help="one row per answer; an existing file is gone on with")
    add("--count", type=count, metavar="N", help="so many pairs, drawn at random; all by default")
    add("--seed", type=whole, default=0, metavar="K", help="which pairs, their order and sides (default: 0)")
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1); any other lets others in")
    add("--port", type=port_number, default=8766, help="port to listen on (default: 8766)")
    add("--results", type=Path, metavar="CSV", help="print the results of these answers, and do nothing else")
    add("--names", nargs=2, default=["A", "B"], metavar=("A", "B"), help="the methods' names, for the results only")
    add("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args(arguments)
    study = {f"--{name}": getattr(options, name) for name in ("a", "b", "pairs", "out")}
    if options.results is not None:
        if given := [name for name, value in study.items() if value is not None]:
            parser.error(f"--results prints what was answered; {', '.join(given)} would begin a study")
        choices = read_choices(options.results)
    else:
        if missing := [name for name, value in study.items() if value is None]:
            parser.error(f"a study needs {', '.join(missing)}; or print those of one with --results CSV")
        trials, schema = trials_of(options.a, options.b, options.pairs, options.count, options.seed)
        choices = serve(trials, schema, options.out, options.seed, options.host, options.port)
        if not choices:
            return
    results, names = results_of(choices), (options.names[0], options.names[1])
    print(json.dumps(to_json(results, names), indent=1) if options.json else table(results, names))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run_command(lambda: _command(arguments))


if __name__ == "__main__":
    sys.exit(main())
