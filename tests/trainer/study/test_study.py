"""The forced-choice study: in a real browser, with servers that are killed, and its figures by other ways."""

import csv
import itertools
import json
import math
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shards.reading.samples import KEY, iter_samples
from shards.records import load_manifest
from tests.browser import CHROMIUM, FLAGS, needs_browser
from trainer.study.__main__ import main
from trainer.study.answers import Choice, bootstrap_interval, read_choices, results_of, wilson_interval, write_choices
from trainer.study.state import Study
from trainer.study.trials import trials_of

PAIRS = 8
RED, BLUE = (200, 40, 40), (40, 40, 200)
"""RGB of the methods' pictures: so a test sees whose a picture is, as a rater would, and in no other way."""


def paint(folder: Path, keys: list[str], colour: tuple[int, int, int], suffix: str = ".png") -> Path:
    folder.mkdir()
    for number, key in enumerate(keys):
        picture = np.full((32, 32, 3), colour[::-1], np.uint8)
        picture[:4, :4] = number
        cv2.imwrite(str(folder / f"{key}{suffix}"), picture)
    return folder


@pytest.fixture(scope="module")
def keys(packed: Path) -> list[str]:
    manifest, folder = load_manifest(packed / "test")
    return [members[KEY].decode() for _, members in iter_samples(folder, manifest, ("json",))]


@pytest.fixture(scope="module")
def painted(keys: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of red pictures, and one of blue ones in another format."""
    folder = tmp_path_factory.mktemp("painted")
    return paint(folder / "redmaker", keys, RED), paint(folder / "bluemaker", keys, BLUE, ".jpg")


class Server:
    """`python -m trainer.study` as a process of its own."""

    def __init__(self, painted: tuple[Path, Path], shards: Path, out: Path, *options: str) -> None:
        self.out = out
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        self.command = [sys.executable, "-m", "trainer.study", "--a", str(painted[0]), "--b", str(painted[1])]
        self.command += ["--pairs", str(shards), "--out", str(out), "--port", str(port), *options]
        self.command += ["--names", "ours", "theirs"]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(self.url, timeout=10).close()
                return
            except urllib.error.URLError:
                assert self.process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)

    def stop(self, how: signal.Signals) -> tuple[str, str]:
        self.process.send_signal(how)
        return self.process.communicate(timeout=30)

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            content: bytes = response.read()
            return content

    def state(self, rater: str, back: bool = False) -> Any:
        return json.loads(self.get(f"state?rater={rater}&back={back}"))

    def answer(self, rater: str, token: str, side: str) -> Any:
        body = json.dumps({"rater": rater, "token": token, "side": side, "seconds": 1.0}).encode()
        request = urllib.request.Request(self.url + "answer", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)


@pytest.fixture(scope="module")
def lasting(painted: tuple[Path, Path], packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for tests with raters of their own."""
    with Server(painted, packed / "test", tmp_path_factory.mktemp("lasting") / "answers.csv") as running:
        yield running


@pytest.fixture
def server(painted: tuple[Path, Path], packed: Path, tmp_path: Path) -> Iterator[Server]:
    with Server(painted, packed / "test", tmp_path / "answers.csv") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        opened.close()


def visit(browser: Any, server: Server, rater: str, **options: Any) -> Any:
    """A window of its own, in which a rater has begun; what it asked for is kept, and was asked of the server only."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}, **options).new_page()
    page.heard = []
    page.on("response", lambda response: page.heard.append(response))
    page.on("request", lambda request: request.url.startswith((server.url, "data:")) or pytest.fail(request.url))
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(server.url)
    page.fill("#rater", rater)
    page.click("text=Begin")
    ready(page, 0)
    return page


def answers_of(server: Server, rater: str) -> list[Choice]:
    return [choice for choice in read_choices(server.out) if choice.rater == rater] if server.out.exists() else []


def ready(page: Any, done: int) -> None:
    """Waits until `done` pairs are answered and the next pictures have been there for long enough to be compared."""
    page.locator("#count").filter(has_text=re.compile(rf"^{done} of")).wait_for()
    page.wait_for_selector("main[aria-busy=false]")
    page.wait_for_timeout(350)


def red_side(page: Any) -> str:
    """Where the red picture is, by its pixels."""
    look = """(side) => {
      const canvas = new OffscreenCanvas(1, 1).getContext("2d"), image = document.getElementById(side);
      canvas.drawImage(image, 16, 16, 1, 1, 0, 0, 1, 1);
      const [red, , blue] = canvas.getImageData(0, 0, 1, 1).data;
      return red > blue;
    }"""
    sides = [side for side in ("left", "right") if page.evaluate(look, side)]
    assert len(sides) == 1, "one picture of each method"
    return sides[0]


@needs_browser
def test_who_prefers_a_everywhere_gives_it_every_answer(browser: Any, server: Server, tmp_path: Path) -> None:
    page = visit(browser, server, "ann")
    page.screenshot(path=str(tmp_path / "study.png"))
    assert page.locator("#trial [data-side]").count() == 2 and "unsure" not in page.content(), "a forced choice"
    for key in ("s", "u", "Space", "ArrowUp", "c", "i"):
        page.keyboard.press(key)
    ready(page, 0)
    assert not server.out.exists()
    sides = Counter()
    for done in range(PAIRS):
        side = red_side(page)
        sides[side] += 1
        if done % 2:
            page.click(f"#{side}")
        else:
            page.keyboard.press(f"Arrow{side.title()}")
        ready(page, done + 1)
        assert len(read_choices(server.out)) == done + 1, "on disk before the next pair shows"
    assert sides == {"left": PAIRS // 2, "right": PAIRS // 2}
    assert page.is_visible("text=Thank you") and page.is_hidden("#trial")
    choices = read_choices(server.out)
    assert {choice.preferred for choice in choices} == {"a"} and len({choice.key for choice in choices}) == PAIRS
    assert Counter(choice.left for choice in choices) == {"a": PAIRS // 2, "b": PAIRS // 2}
    out, error = server.stop(signal.SIGINT)
    assert "100.00% prefer ours over theirs: 8 answers of 1 raters on 8 pairs" in out
    assert "different formats; compression can be seen" in error


@needs_browser
def test_nothing_says_which_is_whose(
    browser: Any, lasting: Server, keys: list[str], painted: tuple[Path, Path]
) -> None:
    page = visit(browser, lasting, "cat")
    first = {side: page.get_attribute(f"#{side}", "src") for side in ("left", "right", "exemplar")}
    heard = "\n".join(
        f"{response.url} {response.all_headers()} "
        + (response.text() if "image" not in response.headers["content-type"] else "")
        for response in page.heard
        if response.url.startswith(lasting.url)
    )
    for word in (*keys, "redmaker", "bluemaker", ".jpg", str(painted[0].parent)):
        assert word not in heard, word
    kinds = {response.headers["content-type"] for response in page.heard if "/picture/" in response.url}
    assert kinds == {"image/png"}, "one format, whatever the files are"
    assert all(re.fullmatch(r"picture/[0-9a-f]{32}\?rater=cat", source) for source in first.values())
    alts = [image.get_attribute("alt") for image in page.locator("#trial img").all()]
    assert alts == ["the exemplar", "the left picture", "the right picture"]
    boxes = [page.locator(f"#{side}").bounding_box() for side in ("left", "right", "exemplar")]
    assert len({(round(box["width"]), round(box["height"])) for box in boxes}) == 1 and boxes[0]["width"] > 350
    other = {lasting.state(f"rater{number}")["shown"]["left"] for number in range(20)}
    assert len(other) == 20, "tokens of other raters are others"


@needs_browser
def test_two_raters_at_once_and_a_killed_server(
    browser: Any, painted: tuple[Path, Path], packed: Path, tmp_path: Path
) -> None:
    with Server(painted, packed / "test", tmp_path / "answers.csv", "--count", "4") as server:
        ann, ben = (visit(browser, server, rater) for rater in ("ann", "ben"))
        wanted = {"ann": [], "ben": []}
        for done in range(4):
            for rater, page in (("ann", ann), ("ben", ben)):
                side = red_side(page) if rater == "ann" else "left"
                wanted[rater].append("a" if red_side(page) == side else "b")
                if done == 1 and rater == "ben":
                    server.stop(signal.SIGKILL)
                    page.keyboard.press("ArrowLeft")
                    page.wait_for_selector("#problem:not([hidden])")
                    assert "Not saved: the server does not answer" in page.text_content("#problem")
                    server.start()
                    page.wait_for_timeout(350)
                page.keyboard.press(f"Arrow{side.title()}")
                ready(page, done + 1)
                assert page.is_hidden("#problem")
    for rater, said in wanted.items():
        assert [choice.preferred for choice in read_choices(server.out) if choice.rater == rater] == said
    results = results_of(read_choices(server.out))
    assert results.answers == 8 and results.prefer_a == 0.75
    assert (results.raters["ann"].chose_left, results.raters["ben"].chose_left) == (0.5, 1.0)


@needs_browser
def test_no_answer_before_the_pictures_are_there_nor_two_for_one_pair(browser: Any, lasting: Server) -> None:
    page = visit(browser, lasting, "dan")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    ready(page, 1)
    assert len(answers_of(lasting, "dan")) == 1, "the second press belongs to the pictures before"
    other = page.context.new_page()
    other.goto(f"{lasting.url}?rater=dan")
    ready(other, 1)
    page.keyboard.press("ArrowRight")
    ready(page, 2)
    other.keyboard.press("ArrowLeft")
    ready(other, 2)
    assert len(answers_of(lasting, "dan")) == 2 and other.is_hidden("#problem"), "it was answered in the other window"
    page.keyboard.press("b")
    ready(page, 2)
    assert page.is_disabled("#back") and len(answers_of(lasting, "dan")) == 2, "going back takes nothing away"
    page.keyboard.press("ArrowLeft")
    page.locator("#back:enabled").wait_for()
    ready(page, 2)
    second = answers_of(lasting, "dan")[1]
    assert second.preferred == second.left, "the new answer stands in place of the old one"

    held: list[Any] = []
    page.route("**/picture/*", lambda route: held.append(route))
    page.reload()
    page.locator("#count").filter(has_text="2 of").wait_for()
    page.wait_for_timeout(400)
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(200)
    assert len(answers_of(lasting, "dan")) == 2 and page.is_hidden("#problem"), "still loading"
    for route in held:
        route.abort()
    page.wait_for_selector("#problem:not([hidden])")
    assert "a picture cannot be shown" in page.text_content("#problem")
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(100)
    assert len(answers_of(lasting, "dan")) == 2
    page.unroute("**/picture/*")
    page.reload()
    ready(page, 2)
    page.keyboard.press("ArrowLeft")
    ready(page, 3)


@needs_browser
def test_a_phone_in_the_dark(browser: Any, lasting: Server, tmp_path: Path) -> None:
    page = visit(browser, lasting, "eve", has_touch=True, color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 760})
    page.screenshot(path=str(tmp_path / "phone.png"))
    left, right, exemplar = (page.locator(f"#{side}").bounding_box() for side in ("left", "right", "exemplar"))
    assert left["width"] == pytest.approx(right["width"], abs=1) == pytest.approx(exemplar["width"], abs=1)
    assert left["width"] > 160 and left["y"] == right["y"] > exemplar["y"] + exemplar["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing sticks out"
    assert page.locator("#back").bounding_box()["y"] < 740, "all is seen without scrolling"
    page.tap("#right")
    ready(page, 1)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_every_answer_that_was_confirmed_survives_kill_9(server: Server) -> None:
    raters = [f"rater{number}" for number in range(30)]
    confirmed: Counter[str] = Counter()

    def rate(rater: str) -> None:
        state = server.state(rater)
        while state["shown"] is not None:
            try:
                state = server.answer(rater, state["shown"]["token"], "left")
            except urllib.error.HTTPError as error:
                assert error.code == 409
                state = server.state(rater)
            confirmed[rater] = state["done"]

    def rate_while_it_lives(rater: str) -> None:
        try:
            rate(rater)
        except (OSError, HTTPException):
            # Refused, cut off, or answered in part: nothing was confirmed.
            assert server.process.poll() is not None or server.process.wait(5)

    for kill_after in (40, 120):
        with ThreadPoolExecutor(len(raters)) as pool:
            running = [pool.submit(rate_while_it_lives, rater) for rater in raters]
            while confirmed.total() < kill_after:
                time.sleep(0.005)
            server.stop(signal.SIGKILL)
        for each in running:
            each.result()
        kept = Counter(choice.rater for choice in read_choices(server.out))
        assert confirmed.total() < len(raters) * PAIRS, "it was killed in the middle"
        assert all(kept[rater] >= confirmed[rater] for rater in raters)
        server.start()
    with ThreadPoolExecutor(len(raters)) as pool:
        list(pool.map(rate, raters))
    choices = read_choices(server.out)
    assert len(choices) == len({(choice.rater, choice.key) for choice in choices}) == len(raters) * PAIRS
    results = results_of(choices)
    assert results.prefer_a == 0.5 and results.pairs_with_enough == PAIRS, "each on the left as often as on the right"


def test_answers_that_are_refused(lasting: Server) -> None:
    state = lasting.state("fay")
    for rater, token, side, code in (
        ("fay", state["shown"]["token"], "unsure", 422),
        ("fay", state["shown"]["left"], "left", 409),
        ("ben", state["shown"]["token"], "left", 409),
        ("", state["shown"]["token"], "left", 422),
    ):
        with pytest.raises(urllib.error.HTTPError) as error:
            lasting.answer(rater, token, side)
        assert error.value.code == code
    with pytest.raises(urllib.error.HTTPError, match="404"):
        lasting.get(f"picture/{state['shown']['left']}?rater=ben")
    assert not answers_of(lasting, "fay")
    assert lasting.answer("fay", state["shown"]["token"], "left")["done"] == 1


def test_orders_and_sides_are_each_raters_own(painted: tuple[Path, Path], packed: Path, tmp_path: Path) -> None:
    study = Study(*trials_of(*painted, packed / "test", None, 0), tmp_path / "none.csv", 0)
    views = [study.view(f"rater{number}") for number in range(40)]
    assert all(view.left.count("a") == PAIRS // 2 for view in views)
    assert len({tuple(view.order) for view in views}) == len(views)
    assert len({tuple(view.left) for view in views}) > 25, "of 70 ways"
    share = np.mean([[side == "a" for side in view.left] for view in views], axis=0)
    assert np.all(np.abs(share - 0.5) < 4 * 0.5 / math.sqrt(len(views))), "for every pair, not only on the whole"


def choices_of(rows: list[tuple[str, str, str]]) -> list[Choice]:
    """(pair, rater, preferred)."""
    return [Choice(key, rater, said, "a", 2.0, "2026-11-21T10:00:00+00:00", f"of {key}") for key, rater, said in rows]  # type: ignore[arg-type]


def test_results_of_a_known_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """6 raters and 9 pairs, with gaps, against plain loops over the rows of the file."""
    rng = random.Random(4)
    rows = [
        (f"pair{pair}", f"rater{rater}", "a" if rng.random() < 0.5 + 0.08 * rater else "b")
        for rater, pair in itertools.product(range(6), range(9))
        if rng.random() < 0.8
    ]
    path = tmp_path / "answers.csv"
    write_choices(path, choices_of(rows))
    assert main(["--results", str(path), "--names", "ours", "pix2pixHD", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    with path.open(newline="") as file:
        read = [(row["key"], row["rater"], row["preferred"] == "a") for row in csv.DictReader(file)]
    n, k = len(read), sum(a for *_, a in read)
    assert (told["a"], told["answers"], told["prefer_a"]) == ("ours", n, k / n)
    # Wilson's bounds are the shares from which k/n is 1.96 standard errors away.
    for bound in told["wilson"]:
        assert abs(k / n - bound) / math.sqrt(bound * (1 - bound) / n) == pytest.approx(1.959964, rel=1e-5)
    drawn = []
    names, keys = sorted({rater for _, rater, _ in read}), sorted({key for key, *_ in read})
    for _ in range(3000):
        times = Counter(rng.choices(names, k=len(names))), Counter(rng.choices(keys, k=len(keys)))
        weights = [times[0][rater] * times[1][key] for key, rater, _ in read]
        if sum(weights):
            drawn.append(sum(w for w, (*_, a) in zip(weights, read, strict=True) if a) / sum(weights))
    drawn.sort()
    assert told["bootstrap"][0] == pytest.approx(drawn[int(0.025 * len(drawn))], abs=0.02)
    assert told["bootstrap"][1] == pytest.approx(drawn[int(0.975 * len(drawn))], abs=0.02)
    for name in names:
        own = [a for _, rater, a in read if rater == name]
        assert told["raters"][name] == {
            "answers": len(own), "prefer_a": sum(own) / len(own), "chose_left": sum(own) / len(own), "seconds": 2.0
        }  # fmt: skip
    shares = []
    for key in keys:
        said = [a for other, _, a in read if other == key]
        if len(said) > 1:
            shares.append(np.mean([one == two for one, two in itertools.combinations(said, 2)]))
    assert told["agreement"]["observed"] == pytest.approx(np.mean(shares))
    assert (told["pairs"], told["pairs_with_enough"]) == (len(keys), 0)
    assert main(["--results", str(path), "--names", "ours", "pix2pixHD"]) == 0
    assert f"{100 * k / n:.2f}% prefer ours over pix2pixHD: {n} answers of 6 raters" in capsys.readouterr().out


def test_wilson_of_published_intervals() -> None:
    """Newcombe (1998), table I: 81/263, 15/148, 0/20, 1/29."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (successes, trials), interval in published.items():
        assert wilson_interval(successes, trials) == pytest.approx(interval, abs=6e-5)


def test_the_bootstrap_knows_that_a_raters_answers_hang_together() -> None:
    """Ten raters, each of one mind on 50 pairs: ten observations, not 500. A binomial of ten has these quantiles."""
    rows = [(f"pair{pair}", f"rater{rater}", "a" if rater < 7 else "b") for rater in range(10) for pair in range(50)]
    choices = choices_of(rows)
    assert bootstrap_interval(choices) == pytest.approx((0.4, 1.0), abs=0.01)
    low, high = wilson_interval(350, 500)
    assert high - low < 0.09
    pairs = choices_of([(rater, key, said) for key, rater, said in rows])
    assert bootstrap_interval(pairs) == pytest.approx((0.4, 1.0), abs=0.01), "as much for pairs"
    assert bootstrap_interval(choices[:50]) is None
    thirty = choices_of([("pair", f"rater{number}", "b") for number in range(30)])
    assert results_of(thirty).pairs_with_enough == 1 and results_of(thirty[1:]).pairs_with_enough == 0
    assert results_of([*thirty, *choices_of([("pair", "rater3", "a")])]).prefer_a == 1 / 30, "the last answer counts"


def test_bad_input_is_named(
    painted: tuple[Path, Path], packed: Path, keys: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, out = packed / "test", tmp_path / "answers.csv"

    def refused(a: Path, b: Path, *options: str) -> str:
        assert main(["--a", str(a), "--b", str(b), "--pairs", str(shards), "--out", str(out), *options]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    mine = paint(tmp_path / "mine", keys, RED)
    (mine / f"{keys[3]}.png").unlink()
    assert refused(mine, painted[1]).startswith(f"error: {mine / keys[3]}.png is missing")
    assert refused(painted[1], mine).startswith(f"error: {mine / keys[3]}.png is missing")
    cv2.imwrite(str(mine / f"{keys[3]}.png"), np.zeros((32, 48, 3), np.uint8))
    assert f"{mine / keys[3]}.png is 48×32 pixels, but the photos of the shards are 32×32" in refused(mine, painted[1])
    (mine / f"{keys[3]}.png").write_bytes((painted[0] / f"{keys[3]}.png").read_bytes()[:60])
    assert f"{mine / keys[3]}.png is no readable picture" in refused(mine, painted[1])
    (mine / f"{keys[3]}.webp").touch()
    assert f"{keys[3]}.webp and {keys[3]}.png are pictures of one pair" in refused(mine, painted[1])
    assert "are both" in refused(*[painted[0]] * 2)
    assert f"{tmp_path / 'no'} is no folder of pictures" in refused(tmp_path / "no", painted[1])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty2").mkdir()
    assert f"such as {min(keys)}.png" in refused(tmp_path / "empty", tmp_path / "empty2")
    out.write_text("mine\n")
    assert "has the columns mine; answers of a study have key, rater" in refused(*painted)
    other = Study(*trials_of(painted[1], painted[0], shards, None, 0), tmp_path / "other.csv", 0)
    assert other.answer("ann", other.state("ann")["shown"]["token"], "left", 1.0)
    (tmp_path / "other.csv").rename(out)
    assert f"{out} holds answers on other pictures of pair" in refused(*painted)
    whole = out.read_text()
    for before, after, words in (
        (",ann,", ",ann,c", "line 2: preferred is 'c"),
        (",1.0,", ",-1,", "line 2: seconds are -1"),
        (",ann,", ",", "line 2 has not 7 fields"),
    ):
        out.write_text(whole.replace(before, after))
        assert main(["--results", str(out)]) == 2
        assert words in capsys.readouterr().err
    out.write_text(whole + whole.splitlines()[1].replace("ann", "ben")[:-3] + "xyz\n")
    assert main(["--results", str(out)]) == 2
    assert "was shown with other pictures than in line 2" in capsys.readouterr().err
    for arguments in ([], ["--a", "x", "--results", "y"]):
        with pytest.raises(SystemExit):
            main(arguments)
    assert "--a would begin a study" in capsys.readouterr().err


def test_what_is_not_shown_is_said(
    painted: tuple[Path, Path], packed: Path, keys: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = paint(tmp_path / "a", [keys[0], "no-pair"], RED), paint(tmp_path / "b", keys[:1], BLUE)
    (a / ".hidden.png").touch()
    (a / "summary.json").touch()
    assert [trial.key for trial in trials_of(a, b, packed / "test", None, 0)[0]] == [keys[0]]
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert notes == [
        f"note: {a}: not used: 1 hidden (.hidden.png); 1 of no pair of {packed / 'test'} (no-pair); "
        "1 that are no pictures (summary.json)"
    ]


def test_which_pairs_are_drawn(painted: tuple[Path, Path], packed: Path, keys: list[str], tmp_path: Path) -> None:
    def drawn(number: int | None, seed: int) -> list[str]:
        return [trial.key for trial in trials_of(*painted, packed / "test", number, seed)[0]]

    assert sorted(drawn(None, 0)) == sorted(drawn(100, 1)) == sorted(keys)
    assert drawn(4, 0) == drawn(4, 0) == drawn(6, 0)[:4] and drawn(4, 0) != drawn(4, 1)
    few = paint(tmp_path / "ours", keys[:3], RED), paint(tmp_path / "theirs", keys[:3], BLUE)
    assert {trial.key for trial in trials_of(*few, packed / "test", None, 0)[0]} == set(keys[:3]), "those painted"
