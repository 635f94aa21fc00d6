"""The state of a study: what each rater sees next, and what was answered."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np

from likeness.command import BadInput
from likeness.rating_page import order_of, rater_generator
from shards.media.pictures import encode_picture
from shards.reading.samples import decode_photo
from shards.records import LabelSchema
from trainer.study.answers import Choice, Method, read_choices, write_choices
from trainer.study.trials import Trial

Side = Literal["left", "right"]
CACHED_RATERS = 256
"""Raters whose views are held in memory; those of others are computed again."""


@dataclass(frozen=True)
class View:
    """How one rater sees the study."""

    order: list[int]
    """The trials, by number, in the order in which they are shown."""
    left: list[Method]
    """Which method's picture stands on the left, by the trial's number."""
    pictures: dict[str, tuple[int, str]]
    """What each picture's token stands for: the trial's number, and `exemplar`, `left` or `right`."""


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
        """Held while `choices` is read or replaced: the server answers each request in a thread of its own."""
        # Views are pure functions of the rater's name, but not quickly computed: of a token for every picture.
        self.view = lru_cache(CACHED_RATERS)(self._view)

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
        """Names something to a rater's browser, without saying what it is: no method, and nobody else's token."""
        return hmac.new(self.secret, f"{rater}\0{key}\0{role}".encode(), "sha256").hexdigest()[:32]

    def state(self, rater: str, back: bool = False) -> dict[str, Any]:
        """What the page shows a rater next: a trial and the one after it, or that all are answered.

        back: the trial that was answered last shows again; its answer stands until it is answered anew.
        """
        with self.lock:
            mine = self._answers(rater)
        left = [place for place in self.view(rater).order if place not in mine]
        shown = [*list(mine)[-1:], *left] if back else left
        described = [self._described(rater, place, mine.get(place)) for place in shown[:2]]
        return {
            "done": len(mine),
            "total": len(self.trials),
            "shown": described[0] if described else None,
            "next": described[1] if len(described) > 1 else None,
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

    def _described(self, rater: str, place: int, before: Choice | None) -> dict[str, str]:
        """The tokens of a trial and its pictures: all that the page learns of them."""
        key = self.trials[place].key
        pictures = {role: self._token(rater, key, role) for role in ("exemplar", "left", "right")}
        return {"token": self._showing(rater, place, before), **pictures}

    def _showing(self, rater: str, place: int, before: Choice | None) -> str:
        """Names one showing of a trial to a rater: once it is answered, it names nothing any more."""
        return self._token(rater, self.trials[place].key, f"after {before and before.answered_at}")

    def answer(self, rater: str, token: str, side: Side, seconds: float) -> bool:
        """Records an answer; False, and none recorded, when that showing was answered before or is another study's."""
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
            new = Choice(trial.key, rater, preferred, left, round(seconds, 2), now, trial.shown)
            others = [choice for choice in self.choices if (choice.key, choice.rater) != (trial.key, rater)]
            write_choices(self.out, [*others, new])
            self.choices = [*others, new]
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
