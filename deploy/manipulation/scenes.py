"""Scenes to manipulate, from the pairs that batch inference reads."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from deploy.batch.open_pairs import open_pairs
from deploy.batch.pairs import Job, PairOptions, Pairs
from deploy.manipulation.edit import Scene
from deploy.runtime import Session
from likeness.command import BadInput
from shards.inputs import LABEL, inputs_of

NAMED = 10
"""Pairs that a message names."""


def check(session: Session) -> None:
    """Raises BadInput for a model whose label maps have no classes that could be changed."""
    if not session.schema.ids or LABEL not in inputs_of(session.inputs):
        raise BadInput(
            f"{session.path} ({session.method}) reads no label maps of classes, but {' and '.join(session.inputs)} of "
            f"kind {session.schema.kind}; manipulate a model that was trained on classes, such as one of streets"
        )


def scene_of(session: Session, location: str | Path, name: str | None, seed: int) -> Scene:
    """The scene of the pair with this name. location: what `batch` takes as `--pairs`. seed: of what is drawn.

    Raises BadInput, naming some pairs that there are, when there is no such one.
    """
    pairs = open_pairs(location, session.schema, session.inputs, _options(session))
    names: list[str] = []
    for job in _jobs(pairs):
        if job.name == name:
            return _scene(session, job, seed)
        if len(names) < NAMED:
            names.append(job.name)
    problem = "choose a --pair" if name is None else f"{location} has no pair {name}"
    raise BadInput(f"{problem}; it has {', '.join(names)}{', …' if pairs.total > NAMED else ''}")


def first_scenes(session: Session, location: str | Path, count: int, seed: int) -> list[tuple[str, Scene]]:
    """The first pairs with their names. Raises BadInput as `open_pairs` does."""
    pairs = open_pairs(location, session.schema, session.inputs, _options(session))
    return [(job.name, _scene(session, job, seed)) for job in itertools.islice(_jobs(pairs), count)]


def _options(session: Session) -> PairOptions:
    return PairOptions(style_length=session.metadata.style_length)


def _jobs(pairs: Pairs) -> Iterator[Job]:
    return pairs.jobs(lambda number, output: True)


def _scene(session: Session, job: Job, seed: int) -> Scene:
    return Scene(session.completed(job.load(), seed, job.name, job.style))
