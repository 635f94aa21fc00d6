"""The base of every section of a config: typed, frozen, and closed to unknown keys."""

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """A section of a config. Unknown keys are errors; values are checked, never guessed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
