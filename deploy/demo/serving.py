"""Serving the demo page on this machine, until it is interrupted."""

import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from deploy.chain import Chain
from deploy.demo import inputs, manipulation_page, page, widgets
from likeness.command import BadInput
from likeness.loopback import foreign, free_port, is_loopback
from likeness.process.surroundings import reach_directly
from shards.inputs import needs_of

LARGEST_UPLOAD = "20mb"


def serve(chain: Chain, examples: Path | None, parser: Path | None, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serves the page until Ctrl-C or SIGTERM.

    examples: a folder of shards. parser: a segmentation model that labels exemplars, for the kind `classes`.
    port: 0 for any that is free.

    Raises BadInput when Gradio is not installed, the port is taken, the examples do not suit the model, its label maps
    cannot be drawn, or it reads instance maps and there are no examples.
    """
    inputs.check_drawable(chain.session.schema, chain.session.path)
    widgets.forget_settings()
    with TemporaryDirectory(prefix="likeness-demo-") as folder:
        # Read when Gradio is imported: what people upload is gone when the page is.
        os.environ["GRADIO_TEMP_DIR"] = folder
        blocks = _blocks(chain, examples, parser)
        stopped = Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        # Gradio asks itself whether it is there.
        reach_directly(host)
        _launch(blocks, chain, host, port)
        if not is_loopback(host):
            print(f"warning: everybody who reaches {host}:{blocks.server_port} can use the model", file=sys.stderr)
        named = f"[{host}]" if ":" in host else host
        print(f"draw at http://{named}:{blocks.server_port}/ (Ctrl-C ends)", flush=True)
        stopped.wait()
        blocks.close(verbose=False)


def _blocks(chain: Chain, examples: Path | None, parser: Path | None) -> Any:
    """The page for this model, as Gradio's blocks."""
    session, read = chain.session, chain.sample_inputs()
    if needs_of(read).instances:
        if parser is not None:
            raise BadInput(f"--parser labels exemplars, but {session.path} reads none; leave it away")
        return manipulation_page.page(session, examples)
    pairs = inputs.examples_of(examples, session.schema, read) if examples else []
    return page.page(chain, pairs, inputs.labelling_of(session.schema, parser))


def _launch(blocks: Any, chain: Chain, host: str, port: int) -> None:
    gr, schema = widgets.gradio(), chain.session.schema
    # Comes with Gradio.
    from starlette.middleware import Middleware

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
        css=f":root {{ --aspect: {schema.width} / {schema.height}; }}\n"
        + (page.ROOM / "page.css").read_text(encoding="utf-8"),
    )


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
