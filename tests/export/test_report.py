"""The report says what the gates found: to machines, and to people in a browser without a network."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from export import report
from export.gates.result import GateResult
from export.strips import strips_of
from tests.browser import CHROMIUM, FLAGS, needs_browser

CHECKER = GateResult("checker", True, {"nodes": 103, "tensors_without_shape": 0}, "export it again")
PARITY = GateResult(
    "parity", True, {"psnr_db": 41.25, "least_psnr_db": 38.0, "max_abs": 0.0625, "samples": 64}, "use fp32"
)
REFUSED = GateResult(
    "tensorrt", False, {"refused": ["node_9 <b>(Resize)</b>: mode cubic", "node_11 (Foo): ?"]}, "do so"
)
FACTS = {
    "method": "style_consistent",
    "checkpoint_sha256": "3f9a" * 16,
    "parameters": 182_512_387,
    "nodes": {"InstanceNormalization": 27, "Conv": 24, "Pad": 20},
    "file_bytes": {"face.onnx": 730_183_086},
    "versions": {"torch": "2.13.0"},
    "commands": ["python -m deploy batch --model face.onnx"],
}


def figures(count: int = 64) -> list[dict[str, float]]:
    """Sample 17 is the worst in everything."""
    found = [{"psnr_db": 44 + index / 16, "ssim": 0.99, "max_abs": 0.01} for index in range(count)]
    found[17] = {"psnr_db": 41.25, "ssim": 0.97, "max_abs": 0.0625}
    return found


def shown(change: Callable[[Any], Any] = lambda picture: picture) -> report.Shown:
    reference = np.random.default_rng(0).integers(20, 200, (24, 32, 3), dtype=np.uint8)
    return report.Shown("worst picture (sample 17, PSNR 41.25 dB)", reference, change(reference.copy()))


def picture(url: str) -> Any:
    """The pixels, RGB, of a data URL."""
    content = np.frombuffer(base64.b64decode(url.removeprefix("data:image/png;base64,")), np.uint8)
    return cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def invalid(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


Opened = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opened]:
    """Opens the report that its arguments make; without a network, and without scripts."""
    contexts, requests = [], []

    def open_report(*arguments: Any, scheme: str = "light", width: int = 1200) -> Any:
        _, file = report.write(tmp_path / "face.onnx", *arguments)
        context = browser.new_context(
            offline=True, java_script_enabled=False, color_scheme=scheme, viewport={"width": width, "height": 900}
        )
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert not [url for url in requests if not url.startswith((tmp_path.as_uri(), "data:"))]


def test_machines_read_what_was_given(tmp_path: Path) -> None:
    written = report.write(tmp_path / "face.onnx", [CHECKER, PARITY], FACTS, [shown()], figures())
    assert written == (tmp_path / "face.report.json", tmp_path / "face.report.html")
    content = json.loads(written[0].read_text(), parse_constant=invalid)
    assert content == {
        "model": "face.onnx",
        "passed": True,
        "gates": [CHECKER.to_json(), PARITY.to_json()],
        "facts": FACTS,
        "per_picture": figures(),
    }
    assert {file.name for file in tmp_path.iterdir()} == {"face.report.json", "face.report.html"}


def test_figures_that_are_no_numbers_are_kept_and_come_first(tmp_path: Path) -> None:
    broken = figures(24)
    broken[5] = {"psnr_db": float("nan"), "ssim": float("-inf"), "max_abs": np.float32(2.0)}  # type: ignore[dict-item]
    gate = GateResult("parity", False, {"psnr_db": float("nan"), "max_abs": float("inf")}, "use fp32")
    as_json, page = report.write(tmp_path / "face.onnx", [gate], {}, [], broken)
    content = json.loads(as_json.read_text(), parse_constant=invalid)
    assert content["per_picture"][5] == {"psnr_db": "nan", "ssim": "-inf", "max_abs": 2.0}
    assert content["gates"][0]["figures"] == {"psnr_db": "nan", "max_abs": "inf"}
    text = page.read_text()
    assert text.index("sample 5: not a number") < text.index("sample 17: 41.25 dB")


def test_plots_begin_with_the_worst_picture() -> None:
    """Whether more or less of a figure is better."""
    strips = strips_of(figures(), [PARITY])
    assert [strip.dots[0][2].partition(":")[0] for strip in strips] == ["sample 17"] * 3
    assert [strip.worst for strip in strips] == ["41.25 dB", "0.9700", "0.0625"]
    assert strips[0].dots[-1][2].startswith("sample 63: ")


@needs_browser
def test_a_person_sees_the_verdict_and_the_worst_picture(opened: Opened) -> None:
    def dim(reference: Any) -> Any:
        reference[:12] -= 5
        return reference

    given = shown(dim)
    page = opened([CHECKER, PARITY], FACTS, [given, shown()], figures())
    assert page.inner_text("h1") == "face.onnx passed"
    assert "All 2 gates, on 64 samples. The worst: PSNR 41.25 dB, SSIM 0.9700" in page.inner_text(".verdict")
    assert page.locator("tbody >> text=PSNR, dB 41.25 (≥ 38)").is_visible()
    assert page.locator("h2 >> text=Worst picture (sample 17").is_visible()
    images = [element.get_attribute("src") for element in page.query_selector_all("img")[:3]]
    assert page.query_selector_all("figcaption")[2].inner_text() == "difference ×32"
    for url, wanted in zip(images, (given.reference, given.exported), strict=False):
        np.testing.assert_array_equal(picture(url), wanted)
    difference = picture(images[2])
    assert (difference[:12] == 5 * 32).all() and not difference[12:].any()
    assert page.locator("text=50 % of the pixels differ, by 5 of 255 at most").is_visible()
    assert page.locator("text=Not one pixel differs").is_visible()
    assert page.query_selector_all("img")[0].bounding_box()["width"] > 300
    for text in ("InstanceNormalization", "182,512,387", "730.2 MB", FACTS["checkpoint_sha256"], "python -m deploy"):
        assert page.locator(f"text={text}").first.is_visible(), text


@needs_browser
def test_every_picture_is_a_dot_from_the_worst_to_the_best(opened: Opened) -> None:
    page = opened([CHECKER, PARITY], FACTS, [], figures())
    for strip, upwards in zip(page.query_selector_all("svg"), (True, True, False), strict=True):
        dots = strip.query_selector_all("circle")
        assert len(dots) == 64
        assert dots[0].query_selector("title").text_content().startswith("sample 17: ")
        heights = [-dot.bounding_box()["y"] for dot in dots]
        assert heights == sorted(heights, reverse=not upwards) and heights[0] != heights[-1]
        assert [dot.bounding_box()["x"] for dot in dots] == sorted(dot.bounding_box()["x"] for dot in dots)
    limit = page.query_selector("svg line.limit").bounding_box()["y"]
    lowest = max(dot.bounding_box()["y"] for dot in page.query_selector("svg").query_selector_all("circle"))
    assert limit > lowest, "the threshold lies below every picture"


@needs_browser
def test_a_failed_gate_says_what_to_do(opened: Opened, tmp_path: Path) -> None:
    page = opened([CHECKER, REFUSED], {}, [], [])
    assert not (tmp_path / "face.onnx").exists()
    assert page.inner_text("h1") == "face.onnx failed: no model was written"
    assert "Gate tensorrt stopped it. What to do: do so." in page.inner_text(".verdict")
    assert page.locator("li >> text=node_9 <b>(Resize)</b>: mode cubic").is_visible()
    assert [mark.inner_text() for mark in page.query_selector_all(".mark")] == ["passed", "failed"]
    assert opened([], {}, [], []).inner_text("h1").startswith("face.onnx failed")


def luminance(colour: str) -> float:
    """WCAG's relative luminance of `rgb(r, g, b)`."""
    parts = [int(part) / 255 for part in colour[4:-1].split(",")]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


COLOURS = """element => {
    const behind = node => {
        const colour = getComputedStyle(node).backgroundColor;
        return colour === "rgba(0, 0, 0, 0)" && node.parentElement ? behind(node.parentElement) : colour;
    };
    return [getComputedStyle(element).color, behind(element)];
}"""


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_it_is_readable(scheme: str, width: int, opened: Opened) -> None:
    """Contrast of at least 4.5 (WCAG 2.1, AA) by day and by night, and nothing beyond the edge of the screen."""
    page = opened([CHECKER, PARITY, REFUSED], FACTS, [shown()] * 3, figures(), scheme=scheme, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    night = luminance(page.eval_on_selector("body", COLOURS)[1]) < 0.1
    assert night == (scheme == "dark")
    for selector in ("h1 b", ".verdict p", "tbody th", ".mark", ".failed .mark", ".remedy", ".soft", "dt", "dd", "pre"):
        bright, dark = sorted((luminance(each) for each in page.eval_on_selector(selector, COLOURS)), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, selector
