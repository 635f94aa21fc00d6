"""The judging page: people say of pairs of photos whether their styles are consistent, by one key each."""

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from tqdm import tqdm

from likeness.command import BadInput
from likeness.loopback import free_port
from likeness.rating_page import NAME, only_page, order_of, page_app, require_packages, serve_app
from shards.judging.judgements import Answer, Judgement, agreement, read_judgements, write_judgements
from shards.reading.samples import PICTURE_FORMATS, OpenShard, check_shard, decode_pair
from shards.records import Shown, load_manifest

if TYPE_CHECKING:
    from fastapi import FastAPI

PAGE = Path(__file__).with_name("judge.html")


@dataclass(frozen=True)
class Shot:
    """A pair to judge."""

    shard: Path
    """The shard that holds its sample."""
    number: int
    """The sample's number in it."""
    one: tuple[str, int]
    """The frame shown on the left, as (source, number)."""
    other: tuple[str, int]
    """The frame shown on the right."""
    same_style: bool
    """Whether its sample is of one style."""

    @property
    def shown(self) -> Shown:
        return frozenset((self.one, self.other))


def chosen_pairs(folder: Path, count: int, seed: int) -> list[Shot]:
    """Target and exemplar of `count` samples: each two photos once, and as many of one style as of two, if there are.

    A pure function of the shards, `count` and `seed`. Raises BadInput when there are no shards, or no pair to show.
    """
    manifest, place = load_manifest(folder)
    found: dict[Shown, Shot] = {}
    for shard in tqdm(manifest.shards, desc="reading", unit="shard"):
        check_shard(place, shard)
        with OpenShard(place / shard.name) as opened:
            for number in range(len(opened)):
                pair = decode_pair(opened.members(number, ("json",)))
                one, other = ((frame.source, frame.number) for frame in (pair.target, pair.exemplar))
                entry = Shot(place / shard.name, number, one, other, pair.same_style)
                if len(entry.shown) == 2:
                    found.setdefault(entry.shown, entry)
    rng = np.random.default_rng((seed, len(found)))
    every = list(found.values())
    shuffled = [every[int(at)] for at in rng.permutation(len(every))]
    kinds = [[entry for entry in shuffled if entry.same_style is same] for same in (True, False)]
    least = min(count // 2, *(len(kind) for kind in kinds))
    wanted = [*kinds[0][:least], *kinds[1][:least]]
    wanted += [entry for kind in kinds for entry in kind[least:]][: count - len(wanted)]
    if not wanted:
        raise BadInput(f"{folder} holds no pair of two photos to judge")
    return [wanted[int(at)] for at in rng.permutation(len(wanted))]


class Judging:
    """The state of the page: what there is to judge, and what was answered. Every change is on disk when it returns."""

    def __init__(self, pairs: list[Shot], out: Path, seed: int) -> None:
        self.pairs, self.out, self.seed = pairs, out, seed
        self.places = {entry.shown: place for place, entry in enumerate(pairs)}
        # Names what is shown: a page or a cached photo of a server that showed other pairs is told from this one's.
        self.token = hashlib.sha256(
            repr([(str(p.shard), p.number, p.one, p.other) for p in pairs]).encode()
        ).hexdigest()[:16]
        self.judgements = read_judgements(out) if out.exists() else []
        self.lock = Lock()
        self._shards: dict[Path, OpenShard] = {}

    def state(self, rater: str) -> dict[str, Any]:
        """What the page shows a rater next: a pair and the one after it, or that all are judged."""
        with self.lock:
            answered = {j.shown for j in self.judgements if j.rater == rater}
        order = order_of(rater, self.seed, len(self.pairs))
        left = [place for place in order if self.pairs[place].shown not in answered]
        done = len(self.pairs) - len(left)
        return {
            "token": self.token,
            "done": done,
            "total": len(self.pairs),
            "pair": left[0] if left else None,
            "next": left[1] if len(left) > 1 else None,
            "undo": done > 0,
        }

    def answer(self, rater: str, place: int, judgement: Answer, seconds: float) -> None:
        """Notes an answer, in place of an earlier one of the same rater."""
        entry = self.pairs[place]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        record = Judgement(*entry.one, *entry.other, judgement, rater, round(seconds, 2), now)
        with self.lock:
            others = [j for j in self.judgements if (j.shown, j.rater) != (record.shown, rater)]
            self._write([*others, record])

    def undo(self, rater: str) -> dict[str, Any]:
        """Takes back the answer that a rater gave last; returns the state in which that pair shows again."""
        with self.lock:
            mine = [j for j in self.judgements if j.rater == rater and j.shown in self.places]
            if mine:
                self._write([j for j in self.judgements if j is not mine[-1]])
        state = self.state(rater)
        again = self.places[mine[-1].shown] if mine else state["pair"]
        return state if again == state["pair"] else {**state, "pair": again, "next": state["pair"]}

    def _write(self, judgements: list[Judgement]) -> None:
        write_judgements(self.out, judgements)
        self.judgements = judgements

    def photo(self, place: int, side: str) -> tuple[bytes, str]:
        """A photo as it lies in its shard, and its kind."""
        entry = self.pairs[place]
        with self.lock:
            if entry.shard not in self._shards:
                self._shards[entry.shard] = OpenShard(entry.shard)
            members = self._shards[entry.shard].members(entry.number)
        extension = next(kind for kind in PICTURE_FORMATS if f"{side}.{kind}" in members)
        return members[f"{side}.{extension}"], "image/jpeg" if extension == "jpg" else "image/png"

    def summary(self) -> dict[str, Any]:
        """Counts of answers, agreement of the raters, and where the file lies."""
        with self.lock:
            judgements = list(self.judgements)
        return {
            "answers": Counter(j.judgement for j in judgements),
            "raters": Counter(j.rater for j in judgements),
            "agreement": asdict(agreement(judgements)),
            "out": str(self.out),
        }


def app_of(judging: Judging, host: str) -> "FastAPI":
    """The web application. host: see `page_app`."""
    from fastapi import Body, HTTPException, Query, Response

    app = page_app("Judging", PAGE, host)
    Rater = Annotated[str, Query(**NAME)]
    Named = Annotated[str, Body(**NAME)]

    @app.get("/state")
    def state(rater: Rater) -> dict[str, Any]:
        return judging.state(rater)

    def check(token: str) -> None:
        if token != judging.token:
            raise HTTPException(409, "the server shows other pairs by now; reload the page")

    @app.get("/photo/{token}/{place}/{side}")
    def photo(token: str, place: int, side: str) -> Response:
        check(token)
        if not (0 <= place < len(judging.pairs) and side in ("target", "exemplar")):
            raise HTTPException(404, "no such photo")
        content, kind = judging.photo(place, side)
        return Response(content, media_type=kind, headers={"Cache-Control": "private, max-age=3600"})

    @app.post("/answer")
    def answer(
        rater: Named,
        place: Annotated[int, Body(ge=0, lt=len(judging.pairs))],
        judgement: Annotated[Answer, Body()],
        seconds: Annotated[float, Body(ge=0, le=1e6)],
        token: Annotated[str, Body()],
    ) -> dict[str, Any]:
        check(token)
        judging.answer(rater, place, judgement, seconds)
        return judging.state(rater)

    @app.post("/undo")
    def undo(rater: Named, token: Annotated[str, Body()]) -> dict[str, Any]:
        check(token)
        return judging.undo(rater)

    @app.get("/summary")
    def summary() -> dict[str, Any]:
        return judging.summary()

    return app


def serve(pairs: Path, out: Path, host: str = "127.0.0.1", port: int = 8765, count: int = 200, seed: int = 0) -> None:
    """Serves the judging page until it is interrupted.

    pairs: a folder of shards. out: the CSV of judgements; an existing one is gone on with.

    Raises BadInput when the web packages are not installed, the port is taken, or the shards or the CSV are no good.
    """
    require_packages()
    judging = Judging(chosen_pairs(pairs, count, seed), out, seed)
    port = free_port(host, port)
    with only_page(out, "judging"):
        # What another server wrote until it let go of the file.
        judging.judgements = read_judgements(out) if out.exists() else []
        serve_app(app_of(judging, host), host, port, f"judge {len(judging.pairs)} pairs", out)
    print(f"{len(judging.judgements)} answers in {out}")
