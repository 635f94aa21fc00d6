"""How a photo of any size becomes a picture of the model's size: chosen when shards are packed, obeyed ever after."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from likeness.command import BadInput

Crop = Literal["paper", "aligned", "whole"]
Fit = Literal["crop", "pad", "squeeze"]

CROPS: dict[Crop, str] = {
    "paper": "the face's bounding box, twice as wide and high, squeezed to the picture, as published",
    "aligned": "turned, moved and scaled until eyes and mouth are where they are in every picture",
    "whole": "the photo as it is",
}
"""The ways to cut a face out, each in words."""
FITS: dict[Fit, str] = {
    "crop": "the largest part that has the picture's proportions",
    "pad": "all of it, its border repeated where it is too narrow",
    "squeeze": "all of it, its proportions changed",
}
"""The ways to bring a photo to the picture's proportions, each in words."""
MARGINS = 0.5, 4.0
"""The smallest and largest margin: half of a face is no face any more, and a quarter of a picture hardly one."""


@dataclass(frozen=True)
class Preparation:
    """How a photo becomes a picture of a schema's size. It is part of the schema, and travels with it.

    Raises BadInput for a way that there is not, or a margin outside MARGINS.
    """

    crop: Crop = "paper"
    """How faces are cut out, one of CROPS; for label maps of kind `sketch`."""
    margin: float = 1.0
    """Side of the picture in units of the aligned crop's (Karras et al. 2018, appendix C); for `aligned`."""
    fit: Fit = "crop"
    """How other photos, and faces that are `whole`, are brought to the picture's proportions, one of FITS."""

    def __post_init__(self) -> None:
        for name, value, ways in (("crop", self.crop, get_args(Crop)), ("fit", self.fit, get_args(Fit))):
            if value not in ways:
                raise BadInput(f"there is no {name} {value!r}; choose one of {', '.join(ways)}")
        low, high = MARGINS
        number = isinstance(self.margin, (int, float)) and not isinstance(self.margin, bool)
        if not number or not math.isfinite(self.margin) or not low <= self.margin <= high:
            raise BadInput(f"a margin of {self.margin!r} is not between {low:g} and {high:g}; 1 is usual")

    def in_words(self) -> str:
        """For people."""
        margin = f", margin {self.margin:g}" if self.crop == "aligned" else ""
        return f"faces {self.crop}{margin}, other photos {self.fit}"

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> "Preparation":
        """Raises BadInput when it is not what `to_json` gives."""
        try:
            return cls(**data)
        except TypeError as error:
            raise BadInput(f"not a preparation of photos: {error}") from error


PREPARATION = Preparation()
"""Of schemas that do not say how."""
