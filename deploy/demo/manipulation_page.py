"""The demo page of models that read instance maps: an instance gets another class or look, and the rest should stay."""

import functools
import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.demo import widgets
from deploy.manipulation import edit as manipulate
from deploy.manipulation import scenes
from deploy.manipulation.edit import Edit, NewClass, NewLook, Scene
from deploy.runtime import Session
from likeness.array import Array
from likeness.command import BadInput
from shards import labels

EXAMPLES = 12
HINT = "Pick an instance, then another class or look for it."


@dataclass(frozen=True)
class Shown:
    """What the page shows: pictures uint8 (H, W, 3), None where there is nothing yet, and a line of HTML."""

    label: Array
    before: Array
    after: Array | None = None
    difference: Array | None = None
    status: str = HINT


class Scenes:
    """The pictures that can be manipulated. Raises BadInput when the model or the shards are not fit for it."""

    def __init__(self, session: Session, examples: Path | None) -> None:
        scenes.check(session)
        if examples is None:
            raise BadInput(
                f"{session.path} reads instance maps, which nobody can draw by hand; give shards with --examples"
            )
        self.session = session
        self.every = [scene for _, scene in scenes.first_scenes(session, examples, EXAMPLES, 0)]
        self._before = functools.lru_cache(EXAMPLES)(lambda number: manipulate.paint(session, self.every[number]))

    def instances(self, number: Any) -> list[tuple[str, int]]:
        """Words and number of each instance of a picture, the largest first."""
        scene, schema = widgets.picked(number, self.every), self.session.schema
        found = manipulate.instances_of(scene.ids, scene.instances)
        return [(manipulate.in_words(each, schema), each.number) for each in found]

    def class_of(self, number: Any, instance: Any) -> int:
        return manipulate.instance_of(widgets.picked(number, self.every), instance, self.session.schema).class_id

    def looks(self, number: Any, instance: Any) -> list[tuple[str, int]]:
        """The looks that an instance may get."""
        centres = self.session.metadata.feature_centres
        known = centres.centres.get(self.class_of(number, instance), []) if centres else []
        return [(f"look {look}", look) for look in range(len(known))]

    def begin(self, number: Any, instance: Any) -> Shown:
        """A picture as it is, with an instance outlined."""
        scene = widgets.picked(number, self.every)
        return Shown(self._label(scene, self._mask(scene, instance)), self._before(number))

    def manipulated(self, number: Any, edit: Edit) -> Shown:
        """A picture before and after. Raises BadInput as `manipulate.changed` does."""
        scene = widgets.picked(number, self.every)
        mask = self._mask(scene, edit.instance)
        after = manipulate.changed(scene, edit, self.session.metadata)
        before, painted = self._before(number), manipulate.paint(self.session, after)
        change = manipulate.outside(before, painted, mask, self.session.metadata.reach)
        return Shown(
            self._label(after, mask),
            before,
            painted,
            manipulate.difference(before, painted),
            html.escape(change.in_words()),
        )

    def _mask(self, scene: Scene, instance: Any) -> Array:
        known = manipulate.instance_of(scene, instance, self.session.schema)
        return np.asarray(scene.instances == known.number)

    def _label(self, scene: Scene, mask: Array) -> Array:
        return manipulate.outlined(labels.picture(self.session.schema, scene.ids), mask)


def page(session: Session, examples: Path | None) -> Any:
    """The page as Gradio's blocks. Raises BadInput as `Scenes` does."""
    known = Scenes(session, examples)
    gr, schema = widgets.gradio(), session.schema
    first = known.instances(0)
    shown = known.begin(0, first[0][1])
    with widgets.blocks(gr) as blocks:
        chosen = gr.State(0)
        gr.HTML(widgets.header(session), elem_id="likeness-header")
        problem = gr.HTML("", elem_id="likeness-problem")
        with gr.Row(elem_id="likeness-columns"):
            with gr.Column(min_width=280):
                gr.HTML("<h2>Manipulate</h2>")
                label = widgets.picture(gr, shown.label, "likeness-scene")
                instance = gr.Dropdown(first, value=first[0][1], label="Instance", elem_id="likeness-instance")
                new_class = gr.Dropdown(
                    list(zip(schema.names, schema.ids, strict=True)),
                    value=known.class_of(0, first[0][1]),
                    label="Class",
                    elem_id="likeness-class",
                )
                look = gr.Dropdown(
                    known.looks(0, first[0][1]),
                    value=None,
                    label="Look of its class",
                    elem_id="likeness-look",
                    visible="features" in session.inputs,
                )
                pictures = [labels.picture(schema, scene.ids) for scene in known.every]
                gallery = widgets.gallery(gr, "Pick one of these", pictures)
            with gr.Column(min_width=280):
                gr.HTML("<h2>Before</h2>")
                before = widgets.picture(gr, shown.before, "likeness-before")
                gr.HTML("<h2>Difference</h2>")
                difference = widgets.picture(gr, None, "likeness-difference")
            with gr.Column(min_width=280):
                gr.HTML("<h2>After</h2>")
                after = widgets.picture(gr, None, "likeness-picture", ("download", "fullscreen"))
                status = gr.HTML(HINT, elem_id="likeness-status", elem_classes="likeness-note")
        results = [label, before, after, difference, status, problem]
        choices = [chosen, instance, new_class, look]
        _wire(gr, known, gallery, choices, results)
    return blocks.queue(max_size=widgets.MOST_WAITING, api_open=False)


def _wire(gr: Any, known: Scenes, gallery: Any, choices: list[Any], results: list[Any]) -> None:
    """What happens when somebody picks a picture, an instance, a class or a look."""
    chosen, instance, new_class, look = choices

    def refused(error: BadInput, others: int) -> tuple[Any, ...]:
        return *[gr.skip()] * (others + len(results) - 1), widgets.told(error)

    def pick(number: Any) -> tuple[Any, ...]:
        try:
            found = known.instances(number)
            return number, gr.update(choices=found, value=found[0][1]), *_chosen(number, found[0][1])
        except BadInput as error:
            return refused(error, 4)

    def choose(number: Any, of: Any) -> tuple[Any, ...]:
        try:
            return _chosen(number, of)
        except BadInput as error:
            return refused(error, 2)

    def _chosen(number: Any, of: Any) -> tuple[Any, ...]:
        looks = gr.update(choices=known.looks(number, of), value=None)
        return known.class_of(number, of), looks, *_values(known.begin(number, of))

    def become_class(number: Any, of: Any, wanted: Any) -> tuple[Any, ...]:
        try:
            return None, *_values(known.manipulated(number, NewClass(of, wanted)))
        except BadInput as error:
            return refused(error, 1)

    def become_look(number: Any, of: Any, wanted: Any) -> tuple[Any, ...]:
        if wanted is None:
            return tuple([gr.skip()] * (1 + len(results)))
        try:
            return known.class_of(number, of), *_values(known.manipulated(number, NewLook(of, wanted)))
        except BadInput as error:
            return refused(error, 1)

    models = {**widgets.ONE_AT_A_TIME, "trigger_mode": "always_last"}
    gallery.pick(pick, gallery, [*choices, *results], **models)
    instance.input(choose, [chosen, instance], [new_class, look, *results], **models)
    new_class.input(become_class, [chosen, instance, new_class], [look, *results], **models)
    look.input(become_look, [chosen, instance, look], [new_class, *results], **models)


def _values(shown: Shown) -> tuple[Any, ...]:
    return shown.label, shown.before, shown.after, shown.difference, shown.status, ""
