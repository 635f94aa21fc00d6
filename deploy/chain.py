"""Models in a row: the output of one step is an input of the next, in memory.

Some pictures take two models (SPADE, then stylisation), or a step that is no graph (closed-form smoothing). Whatever
paints runs a chain; a model by itself is a chain of one.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np

from deploy import trial
from deploy.metadata import OUTPUT
from deploy.runtime import Session
from likeness.array import Array
from likeness.checksums import sha256_of
from likeness.command import BadInput
from shards.inputs import INPUTS, Input, inputs_of

Arrays = dict[str, Array]
"""Arrays by name."""


class Step(Protocol):
    """One step of a chain. Its arrays have a batch axis in front."""

    @property
    def inputs(self) -> Sequence[str]:
        """The names of the arrays that it reads: of the sample, or of an earlier step."""

    @property
    def outputs(self) -> Sequence[str]:
        """The names of the arrays that it gives; `image` among those of a chain's last step."""

    @property
    def identity(self) -> str:
        """What the step computes, in one line: steps that paint other pictures have other ones."""

    def check(self, values: Mapping[str, Array]) -> None:
        """Raises BadInput when `run` cannot take these arrays, by name."""

    def run(self, values: Arrays) -> Arrays:
        """What it gives for arrays that `check` has let pass; it reads those of its inputs and no others."""


@dataclass(frozen=True)
class Model:
    """A session as a step. It gives `image` in the form that its metadata say."""

    session: Session
    """The loaded model."""
    reads: Mapping[str, str] = field(default_factory=dict)
    """The chain's name of each input whose own name is another: {"exemplar": "image"} paints in the likeness of what
    the step before has painted."""

    @property
    def inputs(self) -> Sequence[str]:
        return [self.reads.get(name, name) for name in self.session.inputs]

    @property
    def outputs(self) -> Sequence[str]:
        return [OUTPUT]

    @property
    def identity(self) -> str:
        return " ".join([sha256_of(self.session.path), *(f"{own}={name}" for own, name in self.reads.items())])

    @property
    def objects(self) -> Mapping[str, Input]:
        """What each of `inputs` is to the model."""
        return dict(zip(self.inputs, inputs_of(self.session.inputs), strict=True))

    def completed(
        self, loaded: Mapping[str, Array], provided: Collection[str], seed: int, name: str, number: int
    ) -> Arrays:
        """One sample in loaded form, by the chain's names, with what this model reads of it and was missing drawn.

        provided: what earlier steps give. seed, name, number: see `Session.completed`, which draws, and whose BadInput
        this raises.
        """
        own = self._own({each: value for each, value in loaded.items() if each not in provided})
        elsewhere = [name for name, each in zip(self.session.inputs, self.inputs, strict=True) if each in provided]
        full = self.session.completed(own, seed, name, number, elsewhere)
        return {**loaded, **{self.reads.get(each, each): value for each, value in full.items()}}

    def trial(self, batch: int) -> Arrays:
        """Inputs that it takes, by the chain's names, see `deploy.trial`."""
        return {self.reads.get(own, own): value for own, value in trial.inputs(self.session, batch).items()}

    def tensors(self, loaded: Mapping[str, Array]) -> Arrays:
        """Its inputs that are in `loaded`, by the chain's names, as `run` takes them but for the batch axis."""
        tensors = self.session.tensors(self._own(loaded))
        return {self.reads.get(own, own): tensor for own, tensor in tensors.items()}

    def check(self, values: Mapping[str, Array]) -> None:
        self.session.check(self._own(values))

    def run(self, values: Arrays) -> Arrays:
        return {OUTPUT: self.session.run_unchecked(self._own(values))}

    def _own(self, values: Mapping[str, Array]) -> Arrays:
        """By the session's own names; those that are missing are the session's to complain about."""
        return {own: values[name] for own, name in zip(self.session.inputs, self.inputs, strict=True) if name in values}


@dataclass(frozen=True)
class Function:
    """A function of arrays as a step: what NumPy does to pictures."""

    function: Callable[[Arrays], Arrays]
    """Takes the inputs and returns the outputs, both by name. An image is float32 (N, 3, H, W) RGB in [-1, 1], or uint8
    (N, H, W, 3) after a model of io "uint8". What is of the sample has the form in which the first model that reads it
    takes it, or, where none does, that of `Session.tensors`' own input."""
    inputs: Sequence[str]
    """The names of what it reads."""
    identity: str
    """What it is called in messages and in the record of a run."""
    outputs: Sequence[str] = (OUTPUT,)
    """The names of what it gives."""

    def check(self, values: Mapping[str, Array]) -> None:
        if missing := [name for name in self.inputs if name not in values]:
            raise BadInput(f"the step {self.identity} reads {', '.join(self.inputs)}; give it {missing[0]}, too")

    def run(self, values: Arrays) -> Arrays:
        results = self.function({name: values[name] for name in self.inputs})
        for name, value in results.items():
            if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
                raise BadInput(f"the step {self.identity} gave values in {name} that are not finite")
        return results


class Chain:
    """Steps that run one after the other on a batch of samples.

    A name stands for the sample's array until a step gives another one under the same name. The first step is a model:
    samples are read by its label schema and named by its metadata.
    """

    def __init__(self, first: Model, *others: Step) -> None:
        self.steps: tuple[Step, ...] = (first, *others)
        self.session = first.session
        """That of the first step."""
        inputs: dict[str, None] = {}
        objects: dict[str, Input] = {}
        for step, provided in self._with_provided():
            inputs |= {name: None for name in step.inputs if name not in provided}
            if isinstance(step, Model):
                # The first model that reads it settles what it is.
                objects = {name: each for name, each in step.objects.items() if name not in provided} | objects
        self.inputs = tuple(inputs)
        """The names of what is read before a step gives it, in order: of the sample, or drawn."""
        self.objects: Mapping[str, Input] = objects
        """What each of `inputs` is that a model reads."""
        self.optional = tuple(name for name in self.inputs if name in objects and objects[name].optional)
        """Those of `inputs` that are drawn where nobody gives them."""
        self.needed = tuple(name for name in self.inputs if name not in self.optional)
        """Those of `inputs` that a sample must have."""
        if OUTPUT not in self.steps[-1].outputs:
            raise ValueError(f"the last step of a chain gives {', '.join(self.steps[-1].outputs)}, but no {OUTPUT}")

    def _with_provided(self) -> Iterator[tuple[Step, frozenset[str]]]:
        """Each step with the names of what the steps before it give."""
        provided: frozenset[str] = frozenset()
        for step in self.steps:
            yield step, provided
            provided |= {*step.outputs}

    @classmethod
    def of(cls, session: Session) -> "Chain":
        """The chain of one model."""
        return cls(Model(session))

    def tensors(self, loaded: Mapping[str, Array], seed: int, name: str, number: int = 1) -> Arrays:
        """One sample as `run` takes it, but for the batch axis. What may be left out, and was, is drawn.

        loaded: as `Session.tensors` takes it. seed, name, number: see `Session.completed`, whose BadInput this raises.
        """
        tensors: Arrays = {}
        for step, provided in self._with_provided():
            if isinstance(step, Model):
                loaded = step.completed(loaded, provided, seed, name, number)
                # The first model that reads an array settles its form: only names that are new are converted.
                known = provided | tensors.keys()
                tensors |= step.tensors({each: value for each, value in loaded.items() if each not in known})
        rest = {each: loaded[each] for each in self.inputs if each not in tensors and each in loaded}
        return {**tensors, **rest}

    def sample_inputs(self) -> tuple[str, ...]:
        """Those of `inputs` that files, shards and requests may hold: the ones that `INPUTS` knows. Others are drawn.

        Raises BadInput when one of the others cannot be drawn.
        """
        if unknown := [name for name in self.needed if name not in INPUTS]:
            raise BadInput(
                f"the steps after {self.session.path} read {unknown[0]}, which no file or request holds; they hold "
                f"{', '.join(INPUTS)}"
            )
        return tuple(name for name in self.inputs if name in INPUTS)

    @property
    def style_length(self) -> int:
        """How many numbers the style codes have that its models read."""
        for step in self.steps:
            if isinstance(step, Model) and any(each.numbered for each in step.objects.values()):
                return step.session.metadata.style_length
        return self.session.metadata.style_length

    def trial(self, batch: int) -> Arrays:
        """What `run` takes of a batch, to see that it runs, see `deploy.trial`. Raises BadInput as `sample_inputs`."""
        self.sample_inputs()
        feeds: Arrays = {}
        for step, provided in self._with_provided():
            if isinstance(step, Model):
                known = provided | feeds.keys()
                feeds |= {name: value for name, value in step.trial(batch).items() if name not in known}
        rest = {name: trial.as_loaded(self.session, name, batch) for name in self.inputs if name not in feeds}
        return {**feeds, **rest}

    def check(self, values: Mapping[str, Array]) -> None:
        """Raises BadInput when the first step cannot take a batch of samples. The others are asked in their turn."""
        self.steps[0].check(values)

    def run_unchecked(self, values: Arrays) -> Array:
        """The part of `run` that the model's own thread must do: `check` comes before it and `checked` after it."""
        values = {**values, **self.steps[0].run(values)}
        for before, step in pairwise(self.steps):
            if isinstance(before, Model):
                # Here, or the next step would be blamed for what a broken model gave.
                before.session.checked(values[OUTPUT])
            step.check(values)
            values |= step.run(values)
        return values[OUTPUT]

    def checked(self, image: Array) -> Array:
        """The image. Raises BadInput when it has values that are not finite."""
        last = self.steps[-1]
        # A function has checked what it gave already.
        return last.session.checked(image) if isinstance(last, Model) else image

    def run(self, values: Arrays) -> Array:
        """The image of a batch: float32 (N, 3, H, W) RGB in [-1, 1], or uint8 (N, H, W, 3), as the last step gives it.

        Raises BadInput when the inputs of a step do not fit it, or the image has values that are not finite.
        """
        self.check(values)
        return self.checked(self.run_unchecked(values))

    def pictures(self, image: Array) -> Array:
        """What `run` gave, as uint8 (N, H, W, 3) RGB."""
        return self.session.pictures(image)
