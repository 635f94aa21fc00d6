"""The pairs of shards, as batch inference reads them."""

import functools
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.batch.pairs import BadPair, Changes, Job, PairOptions, bounds, numbered
from likeness.command import BadInput
from shards.inputs import Loaded, inputs_of, needs_of
from shards.reading import samples
from shards.reading.store import Store
from shards.reading.urls import is_url
from shards.records import LabelSchema, Manifest, Shard


def _close(shards: list[Future[samples.OpenShard]]) -> None:
    for shard in shards:
        if not shard.exception():
            shard.result().close()


class ShardPairs:
    """The pairs of shards. Each picture is named after its pair's key.

    With `roll_labels`, the target label of pair i is taken from pair i + roll_labels, counted around the end, while the
    exemplar stays: pictures that then do not change show a model that ignores its label. An instance map goes with its
    label.

    Raises BadInput when shards are damaged, their label schema is not the model's, or they lack instance maps that it
    reads.
    """

    def __init__(self, store: Store, schema: LabelSchema, inputs: tuple[str, ...], options: PairOptions) -> None:
        self.store, self.schema, self.inputs = store, schema, inputs
        self.notes: tuple[str, ...] = ()
        self.part, self.output, self.styles = options.part, options.output, options.styles
        self.manifest: Manifest = store.manifest()
        if difference := schema.difference(self.manifest.schema):
            raise BadInput(f"{store.where}/manifest.json has another label schema than the model: {difference}")
        if not self.manifest.samples:
            raise BadInput(f"{store.where} holds no pairs; pack some with `python -m shards pack`")
        if needs_of(inputs).instances and not self.manifest.instances:
            raise BadInput(
                f"{store.where} has no instance maps, which the model reads; pack it again from a source that has them"
            )
        styles = self.styles
        self.total = self.manifest.samples * styles
        self.ours = bounds(self.total, self.part, self.output.unit)
        self._pairs = range(self.ours.start // styles, -(-self.ours.stop // styles))
        self.roll = options.roll_labels % self.manifest.samples
        if not is_url(store.location):
            # What is downloaded is compared as it comes.
            needed = {shard.name for numbers in (self._pairs, *self._targets()) for shard, _ in self._within(numbers)}
            shards = tuple(shard for shard in self.manifest.shards if shard.name in needed)
            samples.check_shards(Path(store.where), replace(self.manifest, shards=shards))

    def identity(self, changes: Changes) -> str:
        return f"{self.manifest.digest} rolled by {self.roll}"

    def mark(self, output: str) -> int:
        return 0

    def _targets(self) -> tuple[range, range]:
        """The pairs that the slice's label maps are taken from: those `roll` further on, counted around the end."""
        start, stop = (number + self.roll for number in (self._pairs.start, self._pairs.stop))
        every = self.manifest.samples
        return (
            range(min(start, every), min(stop, every)),
            range(max(start - every, 0), max(stop - every, 0)),
        )

    def jobs(self, wanted: Callable[[int, str], bool]) -> Generator[Job]:
        seen: set[str] = set()
        instances = (samples.INSTANCES,) if needs_of(self.inputs).instances else ()
        label_members = ("json", "target.label.png", *instances)
        members = ("json", "exemplar.jpg", "exemplar.png", "exemplar.label.png", *(() if self.roll else label_members))
        with (
            self.store.with_temporary_cache() as store,
            closing(self._read(store, self._pairs, members)) as pairs,
            closing(self._read_targets(store, label_members)) as targets,
        ):
            for number, pair in zip(self._pairs, pairs, strict=True):
                target = next(targets) if self.roll else pair
                key = pair[samples.KEY].decode()
                if key in seen:
                    raise BadInput(f"{samples.place(pair, 'json')}: another pair has this key; pack the shards again")
                seen.add(key)
                yield from self._jobs(number, pair, target, wanted)

    def _jobs(
        self, pair_number: int, pair: samples.Members, target: samples.Members, wanted: Callable[[int, str], bool]
    ) -> Iterator[Job]:
        """The pair's pictures that are of this slice."""
        key = pair[samples.KEY].decode()
        for style in range(1, self.styles + 1):
            number = pair_number * self.styles + style - 1
            name = numbered(f"{key}{self.output.suffix}", style, self.styles)
            output = self.output.path(name, samples.place(pair, "json"))
            if number in self.ours and wanted(number, output):
                source: dict[str, Any] = {"shard": pair[samples.SHARD].decode(), "key": key}
                if self.roll:
                    source["label"] = {"shard": target[samples.SHARD].decode(), "key": target[samples.KEY].decode()}
                yield Job(number, output, source, functools.partial(self._load, pair, target), key, style)

    def _within(self, numbers: range) -> Iterator[tuple[Shard, range]]:
        """The shards that hold pairs of these numbers, and the numbers within each."""
        first = 0
        for shard in self.manifest.shards:
            inside = range(max(numbers.start - first, 0), min(numbers.stop - first, shard.samples))
            if inside:
                yield shard, inside
            first += shard.samples

    def _read_targets(self, store: Store, extensions: tuple[str, ...]) -> Generator[samples.Members]:
        for numbers in self._targets():
            yield from self._read(store, numbers, extensions)

    def _read(self, store: Store, numbers: range, extensions: tuple[str, ...]) -> Generator[samples.Members]:
        # A store of its own: each holds one shard at a time.
        store = Store(store.location, store.cache, store.attempts)
        within = list(self._within(numbers))
        with ExitStack() as stack:
            stack.callback(store.release)
            fetcher = stack.enter_context(ThreadPoolExecutor(1, "fetch"))

            def fetch(number: int) -> samples.OpenShard:
                # Opened at once, because the store holds on to a cached file only until it opens the next.
                return samples.OpenShard(store.open(within[number][0], known=not is_url(store.location)))

            # The next shard comes while one is read, so that the model need not wait for the network.
            coming = [fetcher.submit(fetch, number) for number in range(len(within))[:1]]
            stack.callback(_close, coming)
            for number, (shard, inside) in enumerate(within):
                opened = coming.pop().result()
                if number + 1 < len(within):
                    coming.append(fetcher.submit(fetch, number + 1))
                with opened:
                    if len(opened) != shard.samples:
                        raise BadInput(
                            f"{opened.path} holds {len(opened)} samples, but the manifest says {shard.samples}; "
                            "pack the shards again"
                        )
                    for place in inside:
                        # A cached file has a longer name.
                        yield {**opened.members(place, extensions), samples.SHARD: shard.name.encode()}

    def _load(self, pair: samples.Members, target: samples.Members) -> Loaded:
        loaded: Loaded = {}
        for each in inputs_of(self.inputs):
            if each.optional:
                continue  # drawn later: samples do not hold it
            members = target if each.follows_label else pair
            try:
                loaded[each.name] = each.decode_members(members, self.schema)
            except BadInput as error:
                where = f"{members[samples.SHARD].decode()} {members[samples.KEY].decode()}"
                raise BadPair(where, str(error)) from error
        return loaded
