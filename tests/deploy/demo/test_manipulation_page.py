"""The page of models with instance maps, and styles by seed, in a real browser."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.__main__ import main
from deploy.demo.drawing import drawing_pad
from deploy.manipulation import edit as manipulate
from deploy.manipulation import scenes
from deploy.manipulation.edit import NewClass, NewLook
from deploy.runtime import Session
from tests.browser import needs_browser
from tests.deploy.demo.test_demo import made, opened, picture, shows  # noqa: F401
from tests.deploy.drawn import style

SKY, CAR = 10, 13


def choose(page: Any, what: str, words: str) -> None:
    page.locator(f"#likeness-{what} input").click()
    page.get_by_role("option", name=words, exact=True).click()


@needs_browser
def test_an_instance_gets_another_class_and_another_look(
    opened: Any,  # noqa: F811
    instanced: Path,
    streets: Path,
    tmp_path: Path,
) -> None:
    session = Session(instanced)
    every = [scene for _, scene in scenes.first_scenes(session, streets, 12, 0)]
    page, _ = opened("--model", instanced, "--examples", streets, ready="#likeness-scene img")
    schema, facts = session.schema, session.metadata

    page.locator(".likeness-gallery button").nth(1).click()
    scene = every[1]
    known = manipulate.instances_of(scene.ids, scene.instances)
    largest = known[0]
    page.wait_for_function(
        "(words) => document.querySelector('#likeness-instance input').value === words",
        arg=manipulate.in_words(largest, schema),
    )
    assert picture(page) is None, "nothing was changed yet"
    other = next(each for each in known[1:] if each.class_id not in (largest.class_id, SKY))
    choose(page, "instance", manipulate.in_words(other, schema))
    choose(page, "class", "sky")
    _, wanted, _ = manipulate.edit(session, scene, [NewClass(other.number, SKY)])
    shows(page, wanted)
    page.wait_for_selector("#likeness-status:has-text('in the instance')")
    page.screenshot(path=str(tmp_path / "class.png"))

    choose(page, "look", "look 3")
    _, wanted, _ = manipulate.edit(session, scene, [NewLook(other.number, 3)])
    shows(page, wanted)
    page.screenshot(path=str(tmp_path / "look.png"))
    shows(page, manipulate.paint(session, scene), "#likeness-before img")
    assert not page.locator("[role=alert]").count()
    assert facts.feature_centres is not None


@needs_browser
def test_another_seed_is_another_style(opened: Any, styled: Path) -> None:  # noqa: F811
    session = Session(styled)
    page, _ = opened("--model", styled)
    blank = np.full((64, 128), 255, np.uint8)

    def styled_by(seed: int) -> np.ndarray[Any, Any]:
        return made(session, label=blank, style=style(seed, ""))

    shows(page, styled_by(0))
    page.fill("#likeness-seed input", "7")
    page.keyboard.press("Enter")
    shows(page, styled_by(7))
    assert not np.array_equal(styled_by(0), styled_by(7))
    page.click("text=Another style")
    page.wait_for_function("() => document.querySelector('#likeness-seed input').value !== '7'")
    seed = int(page.input_value("#likeness-seed input"))
    shows(page, styled_by(seed))
    assert drawing_pad(session.schema).blank()["ids"]


def test_instances_need_examples_that_have_them(
    instanced: Path, styled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--model", str(instanced)]) == 2
    assert "give shards with --examples" in capsys.readouterr().err
    assert main(["demo", "--model", str(instanced), "--parser", str(styled)]) == 2
    assert "--parser labels exemplars" in capsys.readouterr().err
