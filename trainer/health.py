"""Signs that a GAN is ill, in the metrics that it logs anyway (specification 9.3 and the issues it collects).

What is true of every GAN stands here; what is true of one method, its `signs` say.
"""

from collections import deque
from collections.abc import Callable, Mapping

from trainer.ranks.delayed_metrics import Iteration

WINDOW = 1000
"""Iterations over which skipped ones are counted."""
REMEMBERED = 50
"""Iterations that a post-mortem shows."""
SATURATED = 1e-3
"""A discriminator whose terms are all below this is always right; its opponent learns nothing from it."""
COPY = 0.8
"""held_out/exemplar_copy above which the generator copies: 0.5 is as near to the exemplar as to the target."""
BLOBS = 0.02
"""held_out/saturated above which pictures have blobs: the share of 8×8 cells that are stuck and should not be."""
PATIENCE, EVALUATIONS = 10, 2
"""Log lines or evaluations in a row before a sign counts: each is there for a while in healthy runs, too."""
Signs = Callable[[Mapping[str, float]], dict[str, str]]
"""From metrics, by name, to signs: what each is, and what it means."""


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
    """Reads log lines and evaluations; says each sign once when it has lasted, and once more when it is over.

    method: the signs of the method that is trained, see `trainer.method.Method.signs`.
    """

    def __init__(self, method: Signs) -> None:
        self._method = method
        self._lasted: dict[str, int] = {}

    def look(self, metrics: Mapping[str, float]) -> list[str]:
        """The messages that are due after this line. metrics: means of an interval, by name."""
        present = signs(metrics) | self._method(metrics)
        messages = []
        for sign in {**self._lasted, **present}:
            if sign in present:
                self._lasted[sign] = self._lasted.get(sign, 0) + 1
                if self._lasted[sign] == self._patience(sign):
                    messages.append(f"{sign}: {present[sign]}")
            elif self._about(sign, metrics) and self._lasted.pop(sign) >= self._patience(sign):
                messages.append(f"{sign}: over")
        return messages

    @staticmethod
    def _patience(sign: str) -> int:
        return EVALUATIONS if sign.startswith("held_out/") else PATIENCE

    @staticmethod
    def _about(sign: str, metrics: Mapping[str, float]) -> bool:
        """Whether these metrics say anything about the sign: evaluations come seldomer than log lines."""
        return any(name.startswith(sign.split(" ")[0]) for name in metrics)


def signs(metrics: Mapping[str, float]) -> dict[str, str]:
    """Signs of illness that any GAN may show in one line of metrics: what it is, and what it means."""
    present: dict[str, str] = {}
    for player in sorted(name.split("/")[0] for name in metrics if name.endswith("/fake")):
        if all(abs(value) < SATURATED for value in terms_of(player, metrics).values()):
            present[f"{player} is saturated"] = (
                "all its losses are below 0.001: it is always right, and its opponent learns nothing; lower its "
                "learning rate or go back to an earlier checkpoint"
            )
    if metrics.get("held_out/exemplar_copy", 0.0) > COPY:
        present["held_out/exemplar_copy is high"] = (
            "pictures are much nearer to the exemplar than to what they should be: the generator copies"
        )
    if metrics.get("held_out/saturated", 0.0) > BLOBS:
        present["held_out/saturated is high"] = (
            "blocks of pictures are stuck at black, white or full colour where the true pictures are not; such blobs "
            "do not heal: go back to an earlier checkpoint"
        )
    return present


def terms_of(player: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """A player's losses by name, without their total."""
    return {
        name.split("/")[1]: value
        for name, value in metrics.items()
        if name.startswith(f"{player}/") and not name.endswith("/total")
    }
