"""Signs that a GAN is ill, in the figures that it logs anyway (specification 9.3 and the issues it collects)."""

from collections import deque
from collections.abc import Mapping

from trainer.ranks.pulse import Iteration

WINDOW = 1000
"""Iterations over which skipped ones are counted."""
REMEMBERED = 50
"""Iterations that a post-mortem shows."""
UNINFORMED = {"consistent": 2 / 9, "fake": 1 / 18, "inconsistent": 1 / 18}
"""D_SC's three terms when it gives every pair the same score: (1/3 - 1)²/2, (1/3)²/2, (1/3)²/2."""
CLOSE = 0.05
"""Relative distance at which a term counts as being at its fixed point."""
SATURATED = 1e-3
"""A discriminator whose terms are all below this is always right; its opponent learns nothing from it."""
COPY = 0.8
"""held_out/exemplar_copy above which the generator copies: 0.5 is as near to the exemplar as to the target."""
BLOBS = 0.02
"""held_out/saturated above which pictures have blobs: the share of 8×8 cells that are stuck and should not be."""
PATIENCE, EVALUATIONS = 10, 2
"""Log lines or evaluations in a row before a sign counts: each is there for a while in healthy runs, too."""


class Skipped:
    """Counts iterations whose numbers were not finite, and remembers the last ones for a post-mortem."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.recent: deque[Iteration] = deque(maxlen=REMEMBERED)
        self.total = 0
        self._flags: deque[bool] = deque(maxlen=WINDOW)

    def too_many(self, iteration: Iteration) -> bool:
        """Takes note of an iteration; whether more than `most` of the last 1,000 have been skipped."""
        self.recent.append(iteration)
        self._flags.append(iteration.skipped)
        self.total += iteration.skipped
        return sum(self._flags) > self.most


class Detectors:
    """Reads log lines and evaluations; says each sign once when it has lasted, and once more when it is over."""

    def __init__(self) -> None:
        self._lasted: dict[str, int] = {}

    def look(self, figures: Mapping[str, float]) -> list[str]:
        """What is to be said after this line. figures: means of an interval, by name."""
        found = signs(figures)
        said = []
        for sign in {**self._lasted, **found}:
            if sign in found:
                self._lasted[sign] = self._lasted.get(sign, 0) + 1
                if self._lasted[sign] == self._patience(sign):
                    said.append(f"{sign}: {found[sign]}")
            elif self._about(sign, figures) and self._lasted.pop(sign) >= self._patience(sign):
                said.append(f"{sign}: over")
        return said

    @staticmethod
    def _patience(sign: str) -> int:
        return EVALUATIONS if sign.startswith("held_out/") else PATIENCE

    @staticmethod
    def _about(sign: str, figures: Mapping[str, float]) -> bool:
        """Whether these figures say anything about the sign: evaluations come seldomer than log lines."""
        return any(name.startswith(sign.split(" ")[0]) for name in figures)


def signs(figures: Mapping[str, float]) -> dict[str, str]:
    """Signs of illness in one line of figures: what it is, and what it means."""
    found: dict[str, str] = {}
    players = {name.split("/")[0] for name in figures if name.endswith("/fake")}
    for player in sorted(players):
        terms = {
            name.split("/")[1]: value
            for name, value in figures.items()
            if name.startswith(f"{player}/") and not name.endswith("/total")
        }
        if terms.keys() == UNINFORMED.keys() and all(
            abs(terms[name] - wanted) <= CLOSE * wanted for name, wanted in UNINFORMED.items()
        ):
            found[f"{player} is uninformed"] = (
                "it gives every pair the score 1/3, its fixed point when it sees no difference; are consistent and "
                "inconsistent pictures different in style (`python -m shards inspect`)?"
            )
        if all(value < SATURATED for value in terms.values()):
            found[f"{player} is saturated"] = (
                "all its losses are below 0.001: it is always right, and its opponent learns nothing; lower its "
                "learning rate or go back to an earlier checkpoint"
            )
    if figures.get("held_out/exemplar_copy", 0.0) > COPY:
        found["held_out/exemplar_copy is high"] = (
            "pictures are much nearer to the exemplar than to what they should be: the generator copies"
        )
    if figures.get("held_out/saturated", 0.0) > BLOBS:
        found["held_out/saturated is high"] = (
            "blocks of pictures are stuck at black, white or full colour where the true pictures are not; such blobs "
            "do not heal: go back to an earlier checkpoint"
        )
    return found
