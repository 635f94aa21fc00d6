"""What the pages of the demo share: thumbnails to click on, the header, messages."""

import base64
import html
import os
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

from deploy.demo.inputs import thumbnail_png
from deploy.runtime import Session
from likeness.array import Array
from likeness.command import BadInput

Item = TypeVar("Item")

UNTRAINED = "untrained"
CLEANED_EVERY, KEPT = 60, 600
"""Seconds: how often uploads and pictures that were shown are looked for, and how old they may become."""
MOST_WAITING = 32
"""Events that wait for their turn; more are refused."""
PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}
ONE_AT_A_TIME = {**PRIVATE, "concurrency_limit": 1, "concurrency_id": "model"}
"""For what runs the model."""
_GALLERY = """
const every = [...element.querySelectorAll("button")];
every.forEach((button, number) => button.addEventListener("click", () => {
  every.forEach((each) => each.setAttribute("aria-pressed", each === button));
  props.value = number;
  trigger("pick");
}));
"""


def forget_settings() -> None:
    """Removes what others have set for Gradio's pages, and says so: it could let any file of the machine be served.

    To be called before Gradio is imported.
    """
    # On a hosting platform of Hugging Face's, SPACE_ID lets Gradio listen and ask elsewhere.
    if names := sorted(name for name in os.environ if name.startswith(("GRADIO_", "SPACE_"))):
        print(f"note: {', '.join(names)} in the environment have no say over this page", file=sys.stderr)
    for name in names:
        del os.environ[name]


def gradio() -> Any:
    """Raises BadInput when Gradio is not installed."""
    # Nothing is told to anybody, and nothing is fetched: read when Gradio is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import gradio
    except ImportError as error:
        raise BadInput(
            f"the demo page needs a package that is not here ({error}); pip install 'likeness[demo]'"
        ) from error
    return gradio


def blocks(gr: Any) -> Any:
    """An empty page."""
    return gr.Blocks(title="Likeness", analytics_enabled=False, fill_width=True, delete_cache=(CLEANED_EVERY, KEPT))


def gallery(gr: Any, label: str, pictures: list[Array]) -> Any:
    """Thumbnails to click on: then its value is the number of one, and `pick` happens."""
    urls = [f"data:image/png;base64,{base64.b64encode(thumbnail_png(each)).decode()}" for each in pictures]
    buttons = [
        f'<button title="{number}" aria-pressed="{"false" if number else "true"}"><img src="{url}" alt=""></button>'
        for number, url in enumerate(urls)
    ]
    return gr.HTML(
        0,
        html_template=f'<p>{label}</p><div class="likeness-gallery">{"".join(buttons)}</div>',
        js_on_load=_GALLERY,
        apply_default_css=False,
    )


def picked(number: Any, items: Sequence[Item]) -> Item:
    """What was clicked on. Raises BadInput for what is no number of one: a browser may send anything."""
    if type(number) is not int or not 0 <= number < len(items):
        raise BadInput(f"there is no example {number!r}; reload the page")
    return items[number]


def picture(gr: Any, value: Array | None, elem_id: str, buttons: Sequence[str] = ("fullscreen",)) -> Any:
    """A picture to look at, uint8 (H, W, 3) RGB, which the browser gets as PNG."""
    return gr.Image(
        value,
        format="png",
        interactive=False,
        show_label=False,
        container=False,
        buttons=list(buttons),
        elem_id=elem_id,
        elem_classes="likeness-picture",
    )


def header(session: Session) -> str:
    """Which model this is."""
    schema, facts = session.schema, session.metadata
    parts = [
        session.path.name,
        session.method,
        f"{schema.kind} {schema.width}×{schema.height}",
        f"{facts.images_seen:,} images seen in training",
    ]
    if facts.checkpoint_sha256 == UNTRAINED:
        parts[-1] = "untrained: its pictures mean nothing"
    return f"<h1>Likeness</h1><span>{html.escape(' · '.join(parts))}</span>"


def message(error: BadInput | str) -> str:
    """HTML for the page's `#likeness-problem`."""
    text = html.escape(str(error))
    return f'<div role="alert">{text}</div>' if text else ""
