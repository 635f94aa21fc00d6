"""What the authors' code was told: their config or option file, and what has to be assumed without one.

Some of their options change a network or a loss and leave no trace in the shapes of weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from likeness.command import BadInput

RULE = "---"
"""How lines of opt.txt begin that are no options."""
FIRST = 40
"""Characters of a value that messages show."""


@dataclass
class OfficialOptions:
    """The options of one run of the authors' code, and what was asked of them."""

    file: Path | None
    """Where they stand, None where they were not given."""
    values: Mapping[str, Any]
    """By name, those of a section as `gen.activ`."""
    assumed: list[str] = field(default_factory=list)
    """What was taken for granted, as no file says it."""
    notes: list[str] = field(default_factory=list)
    """What a file says, and conversion leaves out."""

    def must_be(self, name: str, wanted: Any, effect: str) -> None:
        """Raises BadInput when an option has another value than the one our networks are of; assumes it otherwise."""
        if name not in self.values:
            self.assumed.append(f"{name} {wanted}")
        elif self.values[name] != wanted:
            raise BadInput(
                f"{self.file}: {name} is {str(self.values[name])[:FIRST]!r}, but this release has {effect} with "
                f"{name} {wanted} only, and the weights would be read as another network's; they cannot be converted"
            )

    def agrees(self, name: str, seen: Any, weights: Path) -> None:
        """Raises BadInput when an option contradicts the shapes of weights: it is another run's file."""
        if self.values.get(name, seen) != seen:
            raise BadInput(
                f"{self.file}: {name} is {str(self.values[name])[:FIRST]!r}, but {weights} has {seen}; give the file "
                "of the run that wrote the weights"
            )

    def number(self, name: str) -> float | None:
        """None where nothing is said. Raises BadInput for what is no number of at least 0."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise BadInput(f"{self.file}: {name} is {str(value)[:FIRST]!r}, not a number of at least 0")
        return float(value)

    def weights(self, ours: Mapping[str, str], defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Options of our method for theirs. ours: their name to ours. defaults: ours, assumed where nothing is said."""
        said = {}
        for theirs, mine in ours.items():
            value = self.number(theirs)
            if value is None:
                self.assumed.append(f"{theirs} {defaults[mine]:g}")
            else:
                said[mine] = value
        return said


def read_options(file: Path | None) -> OfficialOptions:
    """A config in YAML, or the opt.txt that pix2pixHD's code writes beside its checkpoints: lines `name: value`.

    Raises BadInput when there is no such file, or when it holds no options.
    """
    if file is None:
        return OfficialOptions(None, {})
    if not file.is_file():
        raise BadInput(f"--config {file} is no file; give the config.yaml or opt.txt of the authors' training")
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith(RULE)]
        content = yaml.safe_load("\n".join(line.split("[default:")[0] for line in lines))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"--config {file} holds no options ({' '.join(str(error).split())[:120]})") from error
    values = dict(_flat(content)) if isinstance(content, Mapping) else {}
    if not values:
        raise BadInput(f"--config {file} holds no options; give the config.yaml or opt.txt of the authors' training")
    return OfficialOptions(file, values)


def _flat(content: Mapping[Any, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in content.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return found
