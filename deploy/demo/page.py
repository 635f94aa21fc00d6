"""The demo page: a label map is drawn, an exemplar is picked, and the picture shows meanwhile (Gradio)."""

import functools
import html
import os
import secrets
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from deploy.demo import inputs, widgets
from deploy.demo import manipulation_page as demo_manipulate
from deploy.demo.drawing import drawing_pad
from deploy.demo.inputs import Example, Exemplar, Operator
from deploy.runtime import Session
from likeness.array import Array
from likeness.command import BadInput
from likeness.loopback import LOOPBACK, foreign, free_port
from shards.inputs import optional_among
from shards.labels.kinds import kind_of

ROOM = Path(__file__).parent
LARGEST_UPLOAD = "20mb"
MOST_SEED = 10**6
"""Of those that a click draws."""


@dataclass(frozen=True)
class Painted:
    """picture: uint8 (H, W, 3) RGB. milliseconds: of the model alone."""

    picture: Array
    milliseconds: float


def paint(session: Session, drawn: str, exemplar: Exemplar | None, seed: int) -> Painted:
    """The picture of a drawn label map. drawn: see `demo_inputs.loaded`. exemplar: None for models that read none.
    seed: of the style or the looks that the model reads.

    Raises BadInput when the label map does not fit the model, or the exemplar lacks the label map that the model reads.
    """
    loaded = {"label": inputs.loaded(drawn, session.schema)}
    if exemplar is not None:
        loaded["exemplar"] = exemplar.photo
        if "exemplar_label" in session.inputs:
            if exemplar.label is None:
                raise BadInput(exemplar.missing)
            loaded["exemplar_label"] = exemplar.label
    full = session.completed(loaded, seed, "")
    tensors = {name: tensor[None] for name, tensor in session.tensors(full).items()}
    begun = time.perf_counter()
    image = session.run(**tensors)
    took = time.perf_counter() - begun
    return Painted(session.pictures(image)[0], took * 1000)


def page(session: Session, examples: list[Example], operator: Operator) -> Any:
    """The page as Gradio's blocks. operator: labels exemplars that people upload."""
    gr = widgets.gradio()
    schema = session.schema
    reads_exemplar, reads_label = ("exemplar" in session.inputs, "exemplar_label" in session.inputs)
    first = examples[0].exemplar if examples else None
    pad, kind = drawing_pad(schema), kind_of(schema)
    private, models = widgets.PRIVATE, widgets.ONE_AT_A_TIME
    drawn = optional_among(session.inputs)
    label_files = [f".{ending}" for ending in kind.endings]

    with widgets.blocks(gr) as blocks:
        chosen = gr.State(first)
        gr.HTML(widgets.header(session), elem_id="likeness-header")
        problem = gr.HTML("", elem_id="likeness-problem")
        with gr.Row(elem_id="likeness-columns"):
            with gr.Column(min_width=280):
                gr.HTML("<h2>Label map</h2>")
                drawing = gr.HTML(
                    {"drawing": examples[0].drawing if examples else pad.blank()},
                    html_template=(ROOM / f"{pad.template}.html").read_text(),
                    js_on_load=(ROOM / f"{pad.template}.js").read_text() + (ROOM / "sending.js").read_text(),
                    apply_default_css=False,
                    elem_id="likeness-label",
                    spec=pad.spec(),
                )
                with gr.Row():
                    label_upload = gr.UploadButton(f"Upload {kind.file}", file_types=label_files, size="sm")
                    save = gr.Button(f"Download {kind.endings[0].upper()}", size="sm")
                if examples:
                    starts = widgets.gallery(gr, "Begin with one of these", [each.label_picture for each in examples])
            if reads_exemplar:
                with gr.Column(min_width=280):
                    gr.HTML("<h2>Exemplar</h2>")
                    shown = widgets.picture(gr, first.photo if first else None, "likeness-exemplar")
                    note = gr.HTML(_note(first), elem_classes="likeness-note")
                    with gr.Row():
                        photo_upload = gr.UploadButton("Upload a photo", file_types=["image"], size="sm")
                        if reads_label:
                            its_label_upload = gr.UploadButton(
                                "Upload its label map", file_types=label_files, size="sm"
                            )
                    if examples:
                        photos = [each.exemplar.photo for each in examples if each.exemplar]
                        exemplars = widgets.gallery(gr, "Pick one of these", photos)
            with gr.Column(min_width=280):
                gr.HTML("<h2>Picture</h2>")
                picture = widgets.picture(gr, None, "likeness-picture", ("download", "fullscreen"))
                status = gr.HTML("", elem_id="likeness-status", elem_classes="likeness-note")
                with gr.Row(visible=bool(drawn)):
                    seed = gr.Number(0, precision=0, minimum=0, label="Seed", elem_id="likeness-seed")
                    another = gr.Button(f"Another {'style' if 'style' in drawn else 'look'}", size="sm")

        def draw(value: Any, exemplar: Exemplar | None, number: Any) -> tuple[Any, Any, str]:
            map_drawn = value.get("drawn") if isinstance(value, dict) else None
            if not isinstance(map_drawn, str):
                return gr.skip(), gr.skip(), gr.skip()
            if reads_exemplar and exemplar is None:
                return None, "The picture shows when there is an exemplar: upload a photo.", ""
            try:
                painted = paint(session, map_drawn, exemplar, int(number or 0))
            except BadInput as error:
                return None, "", widgets.told(error)
            return painted.picture, _status(session, painted), ""

        def show(exemplar: Exemplar, value: Any) -> tuple[Any, ...]:
            return exemplar, exemplar.photo, _note(exemplar), *draw(value, exemplar, 0)

        def refused(error: BadInput) -> tuple[Any, ...]:
            return *[gr.skip()] * 5, widgets.told(error)

        def read_label(file: str) -> tuple[Any, str]:
            try:
                return {"drawing": inputs.drawing_of(Path(file), schema)}, ""
            except BadInput as error:
                return gr.skip(), widgets.told(error)

        def begin(number: Any) -> tuple[Any, str]:
            try:
                return {"drawing": widgets.picked(number, examples).drawing}, ""
            except BadInput as error:
                return gr.skip(), widgets.told(error)

        def pick(number: Any, value: Any) -> tuple[Any, ...]:
            try:
                exemplar = widgets.picked(number, examples).exemplar
            except BadInput as error:
                return refused(error)
            assert exemplar is not None
            return show(exemplar, value)

        def read_photo(file: str, value: Any) -> tuple[Any, ...]:
            try:
                return show(inputs.uploaded(Path(file), schema, operator if reads_label else None), value)
            except BadInput as error:
                return refused(error)

        def read_its_label(file: str, exemplar: Exemplar | None, value: Any) -> tuple[Any, ...]:
            try:
                if exemplar is None:
                    raise BadInput("there is no exemplar yet: upload its photo first")
                return show(replace(exemplar, label=inputs.label_of(Path(file), schema), missing=""), value)
            except BadInput as error:
                return refused(error)

        made = [picture, status, problem]
        drawing.draw(draw, [drawing, chosen, seed], made, trigger_mode="always_last", **models)
        if drawn:
            another.click(lambda: secrets.randbelow(MOST_SEED), None, seed, **private)
            seed.change(draw, [drawing, chosen, seed], made, trigger_mode="always_last", **models)
        label_upload.upload(read_label, label_upload, [drawing, problem], **private)
        save.click(None, js="() => document.querySelector('.likeness-save').click()")
        if examples:
            starts.pick(begin, starts, [drawing, problem], **private)
        if reads_exemplar:
            about = [chosen, shown, note, *made]
            photo_upload.upload(read_photo, [photo_upload, drawing], about, **models)
            if reads_label:
                its_label_upload.upload(read_its_label, [its_label_upload, chosen, drawing], about, **models)
            if examples:
                exemplars.pick(pick, [exemplars, drawing], about, trigger_mode="always_last", **models)
    return blocks.queue(max_size=widgets.MOST_WAITING, api_open=False)


def _status(session: Session, painted: Painted) -> str:
    height, width = painted.picture.shape[:2]
    return f"<b>{painted.milliseconds:.1f} ms</b> in the model ({session.provider}) · {width}×{height} PNG"


def _note(exemplar: Exemplar | None) -> str:
    return html.escape(exemplar.note) if exemplar else "no exemplar yet"


def serve(
    session: Session, examples: Path | None, parser: Path | None, host: str = "127.0.0.1", port: int = 7860
) -> None:
    """Serves the page until Ctrl-C or SIGTERM.

    examples: a folder of shards. parser: a segmentation model that labels exemplars, for the kind `classes`.
    port: 0 for any that is free.

    Raises BadInput when Gradio is not installed, the port is taken, the examples do not suit the model, its label maps
    cannot be drawn, or it reads instance maps and there are no examples.
    """
    schema = session.schema
    inputs.check_drawable(schema, session.path)
    if "instances" in session.inputs:
        if parser is not None:
            raise BadInput(f"--parser labels exemplars, but {session.path} reads none; leave it away")
        made = functools.partial(demo_manipulate.page, session, examples)
    else:
        found = inputs.examples_of(examples, schema, session.inputs) if examples else []
        made = functools.partial(page, session, found, inputs.operator_of(schema, parser))
    with TemporaryDirectory(prefix="likeness-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        gr = widgets.gradio()
        # Comes with Gradio.
        from starlette.middleware import Middleware

        blocks = made()
        stopped = Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        system = ["system-ui", "sans-serif"]
        blocks.launch(
            server_name=host,
            server_port=free_port(host, port),
            prevent_thread_lock=True,
            share=False,
            inbrowser=False,
            quiet=True,
            footer_links=[],
            max_file_size=LARGEST_UPLOAD,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            app_kwargs={"middleware": [Middleware(_OnlyThisPage, host=host)]},
            theme=gr.themes.Base(primary_hue="blue", font=system, font_mono=["ui-monospace", "monospace"]),
            css=f":root {{ --aspect: {schema.width} / {schema.height}; }}\n" + (ROOM / "page.css").read_text(),
        )
        if host not in LOOPBACK:
            print(f"warning: everybody who reaches {host}:{blocks.server_port} can use the model", file=sys.stderr)
        named = f"[{host}]" if ":" in host else host
        print(f"draw at http://{named}:{blocks.server_port}/ (Ctrl-C ends)", flush=True)
        stopped.wait()
        blocks.close(verbose=False)


class _OnlyThisPage:
    """A page elsewhere must not use this server, nor reach it under a name of its own (DNS rebinding)."""

    def __init__(self, app: Any, host: str) -> None:
        self._app, self._host = app, host

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.datastructures import Headers
        from starlette.responses import PlainTextResponse

        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if refused := foreign(headers.get("host", ""), headers.get("origin"), self._host):
                code, reason = refused
                await PlainTextResponse(reason, code)(scope, receive, send)
                return
        await self._app(scope, receive, send)
