"""The demo page of models that read instance maps: an instance gets another class or look, and the rest should stay."""

import functools
import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.demo import widgets
from deploy.manipulation import edit, scenes
from deploy.manipulation.edit import Edit, NewClass, NewLook, Scene
from deploy.runtime import Session
from likeness.array import Array
from likeness.command import BadInput
from shards import labels
from shards.inputs import FEATURES_MAP

EXAMPLES = 12
HINT = "Pick an instance, then another class or look for it."


@dataclass(frozen=True)
class Shown:
    """What the page shows. Pictures are uint8 (H, W, 3) RGB, None where there is nothing yet."""

    label: Array
    """The label map, with the instance outlined."""
    before: Array
    """The picture as it was."""
    after: Array | None = None
    """The picture after the edit."""
    difference: Array | None = None
    """Of the two."""
    status: str = HINT
    """A line of HTML."""

    def values(self) -> tuple[Any, ...]:
        """Of the components that show it, in the order of `page`; the last says that nothing was wrong."""
        return self.label, self.before, self.after, self.difference, self.status, ""


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
        self._before = functools.lru_cache(EXAMPLES)(lambda number: edit.paint(session, self.every[number]))

    def instances(self, number: Any) -> list[tuple[str, int]]:
        """Words and number of each instance of a picture, the largest first."""
        scene, schema = widgets.picked(number, self.every), self.session.schema
        instances = edit.instances_of(scene.ids, scene.instances)
        return [(edit.in_words(each, schema), each.number) for each in instances]

    def class_of(self, number: Any, instance: Any) -> int:
        return edit.instance_of(widgets.picked(number, self.every), instance, self.session.schema).class_id

    def centres(self, number: Any, instance: Any) -> list[tuple[str, int]]:
        """Words and number of each centre of an instance's class: the looks that it may get."""
        known = self.session.metadata.feature_centres
        centres = known.centres.get(self.class_of(number, instance), []) if known else []
        return [(f"look {centre}", centre) for centre in range(len(centres))]

    def begin(self, number: Any, instance: Any) -> Shown:
        """A picture as it is, with an instance outlined."""
        scene = widgets.picked(number, self.every)
        return Shown(self._label(scene, self._mask(scene, instance)), self._before(number))

    def manipulated(self, number: Any, wanted: Edit) -> Shown:
        """A picture before and after. Raises BadInput as `edit.changed` does."""
        scene = widgets.picked(number, self.every)
        mask = self._mask(scene, wanted.instance)
        after = edit.changed(scene, wanted, self.session.metadata)
        before, painted = self._before(number), edit.paint(self.session, after)
        change = edit.outside(before, painted, mask, self.session.metadata.reach)
        return Shown(
            self._label(after, mask),
            before,
            painted,
            edit.difference(before, painted),
            html.escape(change.in_words()),
        )

    def _mask(self, scene: Scene, instance: Any) -> Array:
        known = edit.instance_of(scene, instance, self.session.schema)
        return np.asarray(scene.instances == known.number)

    def _label(self, scene: Scene, mask: Array) -> Array:
        return edit.outlined(labels.picture(self.session.schema, scene.ids), mask)


def page(session: Session, examples: Path | None) -> Any:
    """The page as Gradio's blocks. Raises BadInput as `Scenes` does."""
    known = Scenes(session, examples)
    gr = widgets.gradio()
    _, instance = known.instances(0)[0]
    shown = known.begin(0, instance)
    with widgets.blocks(gr) as blocks:
        chosen = gr.State(0)
        gr.HTML(widgets.header(session), elem_id="likeness-header")
        problem = gr.HTML("", elem_id="likeness-problem")
        with gr.Row(elem_id="likeness-columns"):
            with gr.Column(min_width=280):
                gr.HTML("<h2>Manipulate</h2>")
                label = widgets.picture(gr, shown.label, "likeness-scene")
                choices = _choices(gr, known, instance)
                pictures = [labels.picture(session.schema, scene.ids) for scene in known.every]
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
        _wire(_Answers(gr, known), gallery, [chosen, *choices], results)
    return blocks.queue(max_size=widgets.MOST_WAITING, api_open=False)


def _choices(gr: Any, known: Scenes, instance: int) -> list[Any]:
    """The lists to choose from: instances of the first picture, classes, and looks of an instance's class."""
    session = known.session
    return [
        gr.Dropdown(known.instances(0), value=instance, label="Instance", elem_id="likeness-instance"),
        gr.Dropdown(
            list(zip(session.schema.names, session.schema.ids, strict=True)),
            value=known.class_of(0, instance),
            label="Class",
            elem_id="likeness-class",
        ),
        gr.Dropdown(
            known.centres(0, instance),
            value=None,
            label="Look of its class",
            elem_id="likeness-look",
            visible=FEATURES_MAP.name in session.inputs,
        ),
    ]


def _wire(answers: "_Answers", gallery: Any, choices: list[Any], results: list[Any]) -> None:
    """What happens when somebody picks a picture, an instance, a class or a look."""
    chosen, instance, new_class, look = choices
    models = {**widgets.ONE_AT_A_TIME, "trigger_mode": "always_last"}
    gallery.pick(answers.pick, gallery, [*choices, *results], **models)
    instance.input(answers.choose, [chosen, instance], [new_class, look, *results], **models)
    new_class.input(answers.become_class, [chosen, instance, new_class], [look, *results], **models)
    look.input(answers.become_look, [chosen, instance, look], [new_class, *results], **models)


class _Answers:
    """What the page shows when somebody picks: values of its components, in the order of `_wire`."""

    def __init__(self, gr: Any, known: Scenes) -> None:
        self._gr, self._known = gr, known

    def pick(self, number: Any) -> tuple[Any, ...]:
        """Another picture, with its largest instance."""
        try:
            instances = self._known.instances(number)
            first = instances[0][1]
            return number, self._gr.update(choices=instances, value=first), *self._chosen(number, first)
        except BadInput as error:
            return self._refused(error, 4)

    def choose(self, number: Any, instance: Any) -> tuple[Any, ...]:
        """Another instance."""
        try:
            return self._chosen(number, instance)
        except BadInput as error:
            return self._refused(error, 2)

    def become_class(self, number: Any, instance: Any, wanted: Any) -> tuple[Any, ...]:
        """Another class of the instance; no look of the old one is chosen any more."""
        try:
            return None, *self._known.manipulated(number, NewClass(instance, wanted)).values()
        except BadInput as error:
            return self._refused(error, 1)

    def become_look(self, number: Any, instance: Any, wanted: Any) -> tuple[Any, ...]:
        """Another look of the instance, which has its own class again."""
        if wanted is None:
            return self._skipped(7)
        try:
            shown = self._known.manipulated(number, NewLook(instance, wanted))
            return self._known.class_of(number, instance), *shown.values()
        except BadInput as error:
            return self._refused(error, 1)

    def _chosen(self, number: Any, instance: Any) -> tuple[Any, ...]:
        choices = self._gr.update(choices=self._known.centres(number, instance), value=None)
        return self._known.class_of(number, instance), choices, *self._known.begin(number, instance).values()

    def _refused(self, error: BadInput, others: int) -> tuple[Any, ...]:
        """Leaves everything as it is but for the message. others: components before the results."""
        return *self._skipped(others + 5), widgets.message(error)

    def _skipped(self, count: int) -> tuple[Any, ...]:
        return tuple([self._gr.skip()] * count)
