"""The page of a study as a web application, and serving it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from likeness.command import BadInput
from likeness.loopback import free_port
from likeness.rating_page import NAME, only_page, page_app, require_packages, serve_app
from shards.records import LabelSchema
from trainer.study.answers import Choice
from trainer.study.state import Side, Study
from trainer.study.trials import Trial

if TYPE_CHECKING:
    from fastapi import FastAPI

PAGE = Path(__file__).with_name("page.html")


def app_of(study: Study, host: str) -> "FastAPI":
    """The web application. host: see `page_app`."""
    from fastapi import Body, HTTPException, Query, Response

    app = page_app("Study", PAGE, host)
    Rater = Annotated[str, Query(**NAME)]

    @app.get("/state")
    def state(rater: Rater, back: bool = False) -> dict[str, Any]:
        return study.state(rater, back)

    @app.get("/picture/{token}")
    def picture(token: str, rater: Rater) -> Response:
        try:
            content = study.picture(rater, token)
        except BadInput as error:
            # For whoever runs the study: raters must not read the names of files.
            print(f"error: {error}", file=sys.stderr, flush=True)
            raise HTTPException(500, "a picture cannot be read") from None
        if content is None:
            raise HTTPException(404, "no such picture")
        return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})

    @app.post("/answer")
    def answer(
        rater: Annotated[str, Body(**NAME)],
        token: Annotated[str, Body()],
        side: Annotated[Side, Body()],
        seconds: Annotated[float, Body(ge=0, le=1e6)],
    ) -> dict[str, Any]:
        if not study.answer(rater, token, side, seconds):
            raise HTTPException(409, "this pair was answered already")
        return study.state(rater)

    return app


def serve(
    trials: list[Trial], schema: LabelSchema, out: Path, seed: int, host: str = "127.0.0.1", port: int = 8766
) -> list[Choice]:
    """Serves the study's page until it is interrupted; returns all answers of `out`.

    Raises BadInput when the web packages are not installed, the port is taken, another server writes `out`, or it is
    no CSV of answers on these pictures.
    """
    require_packages()
    port = free_port(host, port)
    if {trial.a.path.suffix for trial in trials} != {trial.b.path.suffix for trial in trials}:
        print("warning: the two folders' pictures have different formats; compression can be seen", file=sys.stderr)
    with only_page(out, "study"):
        study = Study(trials, schema, out, seed)
        serve_app(app_of(study, host), host, port, f"compare {len(trials)} pairs", out)
    return study.choices
