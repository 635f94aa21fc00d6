"""The demo page: a label map is drawn, an exemplar is picked, and the picture shows meanwhile (Gradio)."""

import html
import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploy.chain import Chain
from deploy.demo import inputs, widgets
from deploy.demo.drawing import drawing_pad
from deploy.demo.inputs import Example, Exemplar
from deploy.runtime import Session
from likeness.array import Array
from likeness.command import BadInput
from shards.inputs import EXEMPLAR, EXEMPLAR_LABEL, LABEL, STYLE, STYLE_LENGTH, Input
from shards.labels.kinds import kind_of
from shards.operators.labelling import Labelling
from shards.operators.sample_files import Preparing
from shards.records import LabelSchema
from shards.sources.dataset import STILLS

ROOM = Path(__file__).parent
MOST_SEED = 10**6
"""Of those that a click draws."""
LATEST = {"trigger_mode": "always_last"}
"""Of what happens while the model runs, only the last is answered: nobody waits for pictures of moves long past."""


@dataclass(frozen=True)
class Painted:
    """A picture, and what it took."""

    picture: Array
    """uint8 (H, W, 3) RGB."""
    milliseconds: float
    """Of the chain alone."""


def paint(chain: Chain, drawn: str, exemplar: Exemplar | None, seed: int) -> Painted:
    """The picture of a drawn label map. drawn: see `inputs.loaded`. exemplar: None for models that read none.
    seed: of the style or the looks that the model reads.

    Raises BadInput when the label map does not fit the model, or the exemplar lacks the label map that the model reads.
    """
    loaded = {LABEL.name: inputs.loaded(drawn, chain.session.schema)}
    if exemplar is not None:
        loaded[EXEMPLAR.name] = exemplar.photo
        if EXEMPLAR_LABEL.name in chain.inputs:
            if exemplar.label is None:
                raise BadInput(exemplar.missing)
            loaded[EXEMPLAR_LABEL.name] = exemplar.label
    tensors = {name: tensor[None] for name, tensor in chain.tensors(loaded, seed, "").items()}
    begun = time.perf_counter()
    image = chain.run(tensors)
    took = time.perf_counter() - begun
    return Painted(chain.pictures(image)[0], took * 1000)


def page(chain: Chain, examples: list[Example], labelling: Labelling) -> Any:
    """The page as Gradio's blocks. labelling: of photos that people upload."""
    gr = widgets.gradio()
    first = examples[0].exemplar if examples else None
    drawn = [chain.objects[name] for name in chain.optional]
    with widgets.blocks(gr) as blocks:
        chosen = gr.State(first)
        gr.HTML(widgets.header(chain.session), elem_id="likeness-header")
        problem = gr.HTML("", elem_id="likeness-problem")
        with gr.Row(elem_id="likeness-columns"):
            label = _LabelColumn(gr, labelling, examples)
            exemplar = _ExemplarColumn(gr, chain, examples) if EXEMPLAR.name in chain.inputs else None
            picture = _PictureColumn(gr, drawn)
        answers = _Answers(gr, chain, examples, labelling)
        results = [picture.picture, picture.status, problem]
        models = widgets.ONE_AT_A_TIME
        label.drawing.draw(answers.draw, [label.drawing, chosen, picture.seed], results, **LATEST, **models)
        if drawn:
            picture.another.click(lambda: secrets.randbelow(MOST_SEED), None, picture.seed, **widgets.PRIVATE)
            picture.seed.change(answers.draw, [label.drawing, chosen, picture.seed], results, **LATEST, **models)
        label.wire(answers, problem)
        if exemplar is not None:
            exemplar.wire(answers, label.drawing, chosen, results)
    return blocks.queue(max_size=widgets.MOST_WAITING, api_open=False)


class _LabelColumn:
    """Where the label map is drawn, read from a file and saved."""

    def __init__(self, gr: Any, labelling: Labelling, examples: list[Example]) -> None:
        schema = labelling.schema
        kind, pad = kind_of(schema), drawing_pad(schema)
        found = Preparing(labelling, (LABEL.name,), STYLE_LENGTH).finds_labels
        suffixes = [*_suffixes(schema), *STILLS] if found else _suffixes(schema)
        with gr.Column(min_width=280):
            gr.HTML("<h2>Label map</h2>")
            self.drawing = gr.HTML(
                {"drawing": examples[0].drawing if examples else pad.blank()},
                html_template=(ROOM / f"{pad.template}.html").read_text(encoding="utf-8"),
                js_on_load=(ROOM / f"{pad.template}.js").read_text(encoding="utf-8")
                + (ROOM / "sending.js").read_text(encoding="utf-8"),
                apply_default_css=False,
                elem_id="likeness-label",
                spec=pad.spec(),
            )
            with gr.Row():
                self.upload = gr.UploadButton(
                    f"Upload {kind.file}{', or a photo' if found else ''}", file_types=suffixes, size="sm"
                )
                self.save = gr.Button(f"Download {kind.endings[0].upper()}", size="sm")
            pictures = [each.label_picture for each in examples]
            self.gallery = widgets.gallery(gr, "Begin with one of these", pictures) if examples else None

    def wire(self, answers: "_Answers", problem: Any) -> None:
        self.upload.upload(answers.read_label, self.upload, [self.drawing, problem], **widgets.PRIVATE)
        # The page saves what it has drawn by itself: nothing is sent.
        self.save.click(None, js="() => document.querySelector('.likeness-save').click()")
        if self.gallery is not None:
            self.gallery.pick(answers.begin, self.gallery, [self.drawing, problem], **widgets.PRIVATE)


class _ExemplarColumn:
    """Where an exemplar is picked or uploaded, with its label map where the model reads one."""

    def __init__(self, gr: Any, chain: Chain, examples: list[Example]) -> None:
        first = examples[0].exemplar if examples else None
        photos = [each.exemplar.photo for each in examples if each.exemplar]
        suffixes = _suffixes(chain.session.schema)
        with gr.Column(min_width=280):
            gr.HTML("<h2>Exemplar</h2>")
            self.shown = widgets.picture(gr, first.photo if first else None, "likeness-exemplar")
            self.note = gr.HTML(_note(first), elem_classes="likeness-note")
            with gr.Row():
                self.upload = gr.UploadButton("Upload a photo", file_types=["image"], size="sm")
                self.label_upload = (
                    gr.UploadButton("Upload its label map", file_types=suffixes, size="sm")
                    if EXEMPLAR_LABEL.name in chain.inputs
                    else None
                )
            self.gallery = widgets.gallery(gr, "Pick one of these", photos) if examples else None

    def wire(self, answers: "_Answers", drawing: Any, chosen: Any, results: list[Any]) -> None:
        shown, models = [chosen, self.shown, self.note, *results], widgets.ONE_AT_A_TIME
        self.upload.upload(answers.read_photo, [self.upload, drawing], shown, **models)
        if self.label_upload is not None:
            self.label_upload.upload(answers.read_its_label, [self.label_upload, chosen, drawing], shown, **models)
        if self.gallery is not None:
            self.gallery.pick(answers.pick, [self.gallery, drawing], shown, **LATEST, **models)


class _PictureColumn:
    """Where the picture shows. drawn: the inputs that a seed draws."""

    def __init__(self, gr: Any, drawn: list[Input]) -> None:
        with gr.Column(min_width=280):
            gr.HTML("<h2>Picture</h2>")
            self.picture = widgets.picture(gr, None, "likeness-picture", ("download", "fullscreen"))
            self.status = gr.HTML("", elem_id="likeness-status", elem_classes="likeness-note")
            with gr.Row(visible=bool(drawn)):
                self.seed = gr.Number(0, precision=0, minimum=0, label="Seed", elem_id="likeness-seed")
                self.another = gr.Button(f"Another {'style' if STYLE in drawn else 'look'}", size="sm")


class _Answers:
    """What the page shows when somebody draws, picks or uploads: values of its components, in the order of `wire`."""

    def __init__(self, gr: Any, chain: Chain, examples: list[Example], labelling: Labelling) -> None:
        self._gr, self._chain, self._examples, self._schema = gr, chain, examples, chain.session.schema
        self._labelling, self._labelled = labelling, EXEMPLAR_LABEL.name in chain.inputs

    def draw(self, value: Any, exemplar: Exemplar | None, number: Any) -> tuple[Any, Any, str]:
        """The picture of what is drawn. value: of the drawing. number: the seed."""
        label = value.get("drawn") if isinstance(value, dict) else None
        if not isinstance(label, str):
            return self._gr.skip(), self._gr.skip(), self._gr.skip()
        if exemplar is None and EXEMPLAR.name in self._chain.inputs:
            return None, "The picture shows when there is an exemplar: upload a photo.", ""
        try:
            painted = paint(self._chain, label, exemplar, int(number or 0))
        except BadInput as error:
            return None, "", widgets.message(error)
        return painted.picture, _status(self._chain.session, painted), ""

    def read_label(self, file: str) -> tuple[Any, str]:
        """A label map from somebody's file."""
        try:
            return {"drawing": inputs.drawing_of(Path(file), self._labelling)}, ""
        except BadInput as error:
            return self._gr.skip(), widgets.message(error)

    def begin(self, number: Any) -> tuple[Any, str]:
        """The label map of an example."""
        try:
            return {"drawing": widgets.picked(number, self._examples).drawing}, ""
        except BadInput as error:
            return self._gr.skip(), widgets.message(error)

    def pick(self, number: Any, value: Any) -> tuple[Any, ...]:
        """The exemplar of an example."""
        try:
            exemplar = widgets.picked(number, self._examples).exemplar
        except BadInput as error:
            return self._refused(error)
        assert exemplar is not None
        return self._shown(exemplar, value)

    def read_photo(self, file: str, value: Any) -> tuple[Any, ...]:
        """An exemplar from somebody's photo."""
        try:
            return self._shown(inputs.uploaded(Path(file), self._labelling, self._labelled), value)
        except BadInput as error:
            return self._refused(error)

    def read_its_label(self, file: str, exemplar: Exemplar | None, value: Any) -> tuple[Any, ...]:
        """The exemplar with the label map of somebody's file."""
        try:
            if exemplar is None:
                raise BadInput("there is no exemplar yet: upload its photo first")
            label = inputs.label_of(Path(file), self._schema)
            return self._shown(replace(exemplar, label=label, missing=""), value)
        except BadInput as error:
            return self._refused(error)

    def _shown(self, exemplar: Exemplar, value: Any) -> tuple[Any, ...]:
        return exemplar, exemplar.photo, _note(exemplar), *self.draw(value, exemplar, 0)

    def _refused(self, error: BadInput) -> tuple[Any, ...]:
        return *[self._gr.skip()] * 5, widgets.message(error)


def _suffixes(schema: LabelSchema) -> list[str]:
    """Of label files, as upload buttons take them."""
    return [f".{ending}" for ending in kind_of(schema).endings]


def _status(session: Session, painted: Painted) -> str:
    height, width = painted.picture.shape[:2]
    return f"<b>{painted.milliseconds:.1f} ms</b> in the model ({session.provider}) · {width}×{height} PNG"


def _note(exemplar: Exemplar | None) -> str:
    return html.escape(exemplar.note) if exemplar else "no exemplar yet"
