"""Semantic manipulation: one instance of a picture gets another class or look, and the rest should stay.

Wang et al., CVPR 2018 (pix2pixHD), whose interactive editing this is.

Everything here is a function of arrays and a session. Instance maps are numbered as Cityscapes numbers them: a region
that is not counted, such as a road, has its class id, below 1000; a counted one has class · 1000 + n.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from deploy.metadata import Metadata
from deploy.runtime import Session
from likeness.array import Array
from likeness.command import BadInput
from shards import labels
from shards.inputs import FEATURES_MAP, INSTANCES, LABEL, MOST_INSTANCES
from shards.labels.instances import PER_CLASS
from shards.records import LabelSchema

LISTED = 30
"""Instances that a message names, the largest first."""
GAP = 8
SHOWN = 192
"""Rows of pixels that a small picture is shown with at least."""


@dataclass(frozen=True)
class Scene:
    """What a picture is painted from."""

    loaded: Mapping[str, Array]
    """The model's inputs, as `Session.tensors` takes them; its label map holds class ids (H, W), and features, if it
    reads any, are (3, H, W)."""

    @property
    def ids(self) -> Array:
        return self.loaded[LABEL.name]

    @property
    def instances(self) -> Array:
        """The instance map (H, W); of a model that reads none, each class is an instance."""
        return self.loaded.get(INSTANCES.name, self.ids)


@dataclass(frozen=True)
class Instance:
    """One object of a picture, or one region that is not counted."""

    number: int
    """Its value in the instance map."""
    class_id: int
    """The class of most of its pixels."""
    share: float
    """Of the picture's pixels, in [0, 1]."""


@dataclass(frozen=True)
class NewClass:
    """An instance becomes another class, in the first look of that class."""

    instance: int
    """Its number in the instance map."""
    class_id: int
    """What it becomes."""


@dataclass(frozen=True)
class NewLook:
    """An instance gets the look of one of its class's centres."""

    instance: int
    """Its number in the instance map."""
    centre: int
    """Which of the centres, from 0."""


Edit = NewClass | NewLook


@dataclass(frozen=True)
class Change:
    """Mean |difference| of two pictures in [0, 255], by where; None where there is no such pixel."""

    inside: float | None
    """In the instance."""
    around: float | None
    """Around it as far as the network reaches; None as well where the model does not say how far."""
    beyond: float | None
    """Everywhere else."""

    def in_words(self) -> str:
        named = {"in the instance": self.inside, "within reach": self.around, "beyond": self.beyond}
        parts = (f"{name} {'no pixels' if value is None else f'{value:.2f}'}" for name, value in named.items())
        return f"mean change of 0 to 255: {', '.join(parts)}"


def instances_of(ids: Array, instances: Array) -> list[Instance]:
    """Every instance of a picture, the largest first. ids, instances: (H, W)."""
    listed = []
    for number in np.unique(instances).tolist():
        inside = ids[instances == number]
        listed.append(Instance(number, int(np.bincount(inside).argmax()), inside.size / ids.size))
    return sorted(listed, key=lambda each: -each.share)


def in_words(instance: Instance, schema: LabelSchema) -> str:
    """Such as "26001 car 3.2 %"."""
    return f"{instance.number} {name_of(instance.class_id, schema)} {100 * instance.share:.2g} %"


def name_of(class_id: int, schema: LabelSchema) -> str:
    return schema.names[schema.ids.index(class_id)]


def instance_of(scene: Scene, number: int | None, schema: LabelSchema) -> Instance:
    """The instance of this number. Raises BadInput, listing those that the picture has, when there is none."""
    known = instances_of(scene.ids, scene.instances)
    for each in known:
        if each.number == number:
            return each
    listed = ", ".join(in_words(each, schema) for each in known[:LISTED])
    more = f", and {len(known) - LISTED} smaller ones" if len(known) > LISTED else ""
    problem = "choose an --instance" if number is None else f"the picture has no instance {number}"
    raise BadInput(f"{problem}; it has {listed}{more}")


def class_named(name: str, schema: LabelSchema) -> int:
    """The id of a class. Raises BadInput, listing the classes, for another name."""
    if name not in schema.names:
        raise BadInput(f"there is no class {name!r}; the model knows {', '.join(schema.names)}")
    return schema.ids[schema.names.index(name)]


def relabel(ids: Array, instances: Array, instance: int, new_class: int) -> tuple[Array, Array]:
    """The label map and the instance map (H, W) after an instance became `new_class`; nothing is changed in place.

    A region that was not counted is not counted as the new class either. A counted instance keeps its n, or gets the
    first that is free; it becomes a part of the new class's region where the picture shows that class and does not
    count it, and where numbers would go beyond 16 bits.
    """
    inside = instances == instance
    ids, instances = ids.copy(), instances.copy()
    number = _number(instances, instance, new_class)
    ids[inside] = new_class
    instances[inside] = number
    return ids, instances


def _number(instances: Array, instance: int, new_class: int) -> int:
    taken: set[int] = set(np.unique(instances).tolist()) - {instance}
    counted = any(number // PER_CLASS == new_class for number in taken if number >= PER_CLASS)
    if instance < PER_CLASS or (new_class in taken and not counted):
        return new_class
    for n in (instance % PER_CLASS, *range(PER_CLASS)):
        number: int = new_class * PER_CLASS + n
        if PER_CLASS <= number < MOST_INSTANCES and number not in taken:
            return number
    return new_class


def set_features(features: Array, instances: Array, instance: int, centre: Sequence[float] | Array) -> Array:
    """Features (3, H, W) with the look `centre`, 3 numbers in [-1, 1], all over an instance."""
    changed = features.copy()
    changed[:, instances == instance] = np.asarray(centre, features.dtype)[:, None]
    return changed


def changed(scene: Scene, edit: Edit, metadata: Metadata) -> Scene:
    """The scene after an edit. Raises BadInput for an instance that it does not have, or a look that there is not."""
    instance = instance_of(scene, edit.instance, metadata.schema)
    if isinstance(edit, NewLook):
        look = look_of(instance, edit.centre, metadata)
        features = set_features(scene.loaded[FEATURES_MAP.name], scene.instances, instance.number, look)
        return replace(scene, loaded={**scene.loaded, FEATURES_MAP.name: features})
    ids, instances = relabel(scene.ids, scene.instances, instance.number, edit.class_id)
    loaded = {**scene.loaded, LABEL.name: ids}
    if INSTANCES.name in loaded:
        loaded[INSTANCES.name] = instances
    if FEATURES_MAP.name in loaded:
        loaded[FEATURES_MAP.name] = _in_new_class(scene, edit, instances, metadata)
    return replace(scene, loaded=loaded)


def _in_new_class(scene: Scene, edit: NewClass, instances: Array, metadata: Metadata) -> Array:
    """The features after a new class: those of the region that the instance became a part of, else the first centre."""
    features, inside = scene.loaded[FEATURES_MAP.name], scene.instances == edit.instance
    by_class = metadata.feature_centres is not None and metadata.feature_centres.regions != INSTANCES.name
    joined = (scene.ids == edit.class_id if by_class else instances == instances[inside][0]) & ~inside
    if joined.any():
        look = features[:, joined][:, 0]
    else:
        known = metadata.feature_centres.arrays.get(edit.class_id) if metadata.feature_centres else None
        look = np.zeros(len(features)) if known is None else known[0]
    return set_features(features, scene.instances, edit.instance, look)


def look_of(instance: Instance, centre: int, metadata: Metadata) -> list[float]:
    """A centre of an instance's class. Raises BadInput when there is none of this number."""
    known = metadata.feature_centres.centres.get(instance.class_id, []) if metadata.feature_centres else []
    if not 0 <= centre < len(known):
        name = name_of(instance.class_id, metadata.schema)
        has = f"{len(known)} centres, from 0" if known else "no centres"
        raise BadInput(f"instance {instance.number} has no look {centre}: the class {name} has {has}")
    return known[centre]


def edit(session: Session, scene: Scene, edits: Sequence[Edit]) -> tuple[Array, Array, Scene]:
    """The pictures before and after all edits, uint8 (H, W, 3), and the scene after them.

    Raises BadInput as `changed` and `Session.run` do.
    """
    after = scene
    for each in edits:
        after = changed(after, each, session.metadata)
    return paint(session, scene), paint(session, after), after


def paint(session: Session, scene: Scene) -> Array:
    """The picture of a scene, uint8 (H, W, 3)."""
    image = session.run(**{name: tensor[None] for name, tensor in session.tensors(scene.loaded).items()})
    picture: Array = session.pictures(image)[0]
    return picture


def outside(before: Array, after: Array, mask: Array, reach: int | None) -> Change:
    """How much two pictures (H, W, 3) differ inside `mask`, bool (H, W), within `reach` pixels around it, and beyond.

    reach: the model's, see `deploy.metadata.Metadata`; None where it does not say, and all around is then beyond.
    """
    changes = np.abs(before.astype(np.float64) - after).mean(2)
    reached = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_C, 3) <= (reach or 0)

    def mean(where: Array) -> float | None:
        return float(changes[where].mean()) if where.any() else None

    return Change(mean(mask), mean(reached & ~mask), mean(~reached))


def panels(after: Scene, before: Array, painted: Array, mask: Array, schema: LabelSchema) -> Array:
    """For people, uint8 (f·H, f·4·W + gaps, 3): the new label map with the instance outlined, the picture before, the
    one after, and their difference as grey, the largest white. f: a whole factor that makes small pictures SHOWN high.
    """
    label = outlined(labels.picture(schema, after.ids), mask)
    factor = max(1, -(-SHOWN // len(before)))
    row: list[Array] = []
    for picture in (label, before, painted, difference(before, painted)):
        shown = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
        row += [shown, np.full((len(shown), GAP, 3), 255, np.uint8)]
    return np.concatenate(row[:-1], axis=1)


def outlined(picture: Array, mask: Array) -> Array:
    """A picture (H, W, 3) with the inner edge of `mask`, bool (H, W), in white."""
    edge = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    drawn = picture.copy()
    drawn[edge] = 255
    return drawn


def difference(before: Array, after: Array) -> Array:
    """Each pixel's largest |difference| as grey, uint8 (H, W, 3); the picture's largest is white."""
    largest = np.abs(before.astype(np.int16) - after).max(2)
    grey = (largest * 255.0 / max(1, largest.max())).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
