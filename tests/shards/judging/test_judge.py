"""The judging page in a real browser: keys, undo, reload, several raters, and a server that is killed."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from likeness.command import BadInput
from likeness.loopback import known_host
from shards.__main__ import main
from shards.judging.judge import Judging, chosen_pairs
from shards.judging.judgements import Judgement, read_judgements
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.worlds.film import film
from tests.browser import CHROMIUM, FLAGS, needs_browser

COUNT = 6


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    film("faces", folder / "videos", videos=5, seconds=1, size=128, seed=5)
    sampling = preset("default", same_style_rate=0.5)
    pack(Packing(folder / "videos", sampling, pairs=30, size=128, samples_per_shard=8), folder / "shards")
    return folder / "shards"


class Server:
    """`python -m shards judge` as a process of its own."""

    def __init__(self, shards: Path, out: Path) -> None:
        self.shards, self.out = shards, out
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "shards", "judge", "--pairs", str(self.shards), "--out", str(self.out)]
        command += ["--port", str(self.port), "--count", str(COUNT)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.get("summary")
                return
            except urllib.error.URLError:
                assert self.process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.load(response)

    def post(self, path: str, body: dict[str, Any], **headers: str) -> Any:
        headers = {"Content-Type": "application/json", **headers}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)


@pytest.fixture
def server(shards: Path, tmp_path: Path) -> Iterator[Server]:
    running = Server(shards, tmp_path / "judged.csv")
    yield running
    running.kill()


@pytest.fixture
def page(server: Server) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        opened = browser.new_page(viewport={"width": 1280, "height": 800})
        opened.requests = []
        opened.on("request", lambda request: opened.requests.append(request.url))
        opened.on("pageerror", lambda error: pytest.fail(str(error)))
        yield opened
        foreign = [url for url in opened.requests if not url.startswith((server.url, "data:"))]
        browser.close()
    assert not foreign, "nothing is fetched from elsewhere"


def begin(page: Any, server: Server, rater: str) -> None:
    page.goto(server.url)
    page.fill("#rater", rater)
    page.click("text=Begin")
    page.wait_for_selector("#judging:not([hidden])")
    page.wait_for_selector("main[aria-busy=false]")


def press(page: Any, key: str, done: int) -> None:
    """Presses a key and waits until `done` pairs are judged: then the answer is on the disk."""
    page.keyboard.press(key)
    shows(page, done)


def shows(page: Any, done: int) -> None:
    page.locator("#count").filter(has_text=re.compile(rf"^{done} of")).wait_for()
    page.wait_for_selector("main[aria-busy=false]")


@needs_browser
def test_judging_by_keys(page: Any, server: Server, tmp_path: Path) -> None:
    begin(page, server, "ann")
    said = []
    for done, (key, answer) in enumerate(
        [("c", "consistent"), ("ArrowLeft", "inconsistent"), ("Space", "unsure"), ("ArrowRight", "consistent")], 1
    ):
        press(page, key, done)
        said.append(answer)
        assert [row.judgement for row in read_judgements(server.out)] == said, "on disk before the next pair shows"
    shown = page.get_attribute("#one", "src")
    page.screenshot(path=str(tmp_path / "judging.png"))
    assert page.evaluate("document.getElementById('one').naturalWidth") == 128
    page.keyboard.press("z")
    assert page.evaluate("getComputedStyle(document.getElementById('one')).transform") == "matrix(3, 0, 0, 3, 0, 0)"
    page.mouse.move(400, 300)
    page.screenshot(path=str(tmp_path / "zoomed.png"))
    page.focus("#zoom")
    page.keyboard.press("Space")
    assert page.get_attribute("#zoom", "aria-pressed") == "false", "the space bar presses the button in focus"
    assert len(read_judgements(server.out)) == 4, "and is no answer then"
    press(page, "u", 3)
    assert len(read_judgements(server.out)) == 3, "the answer is taken back"
    assert page.get_attribute("#one", "src") != shown
    press(page, "i", 4)
    assert page.get_attribute("#one", "src") == shown
    page.reload()
    page.wait_for_selector("#judging:not([hidden])")
    page.wait_for_selector("main[aria-busy=false]")
    assert page.text_content("#count") == f"4 of {COUNT} judged", "a reload goes on where it was"
    assert page.get_attribute("#one", "src") == shown
    page.click("[data-say=consistent]")
    shows(page, 5)
    press(page, "s", COUNT)
    page.wait_for_selector("#end:not([hidden])")
    page.wait_for_selector("#summary tr")
    page.screenshot(path=str(tmp_path / "end.png"))
    rows = read_judgements(server.out)
    assert [row.judgement for row in rows] == [*said[:3], "inconsistent", "consistent", "unsure"]
    assert len({row.shown for row in rows}) == COUNT and all(row.seconds > 0 for row in rows)
    assert str(server.out) in page.text_content("#end")


@needs_browser
def test_two_raters_a_killed_server_and_their_agreement(page: Any, server: Server) -> None:
    truth = {entry.shown: entry.same_style for entry in chosen_pairs(server.shards, COUNT, 0)}
    places = [entry.shown for entry in chosen_pairs(server.shards, COUNT, 0)]
    firsts = set()
    for rater in ("ann", "ben"):
        begin(page, server, rater)
        for done in range(COUNT):
            place = int(page.get_attribute("#one", "src").split("/")[2])
            if not done:
                firsts.add(place)
            if done == 3:
                server.kill()
                page.keyboard.press("c")
                page.wait_for_selector("#problem:not([hidden])")
                assert "Not saved" in page.text_content("#problem")
                server.start()
            press(page, "c" if truth[places[place]] else "i", done + 1)
            assert page.is_hidden("#problem")
        page.wait_for_selector("#summary tr")
    assert len(firsts) == 2, "each rater has an order of their own"
    assert "1.00" in page.text_content("#summary"), "full agreement"
    rows = read_judgements(server.out)
    assert len(rows) == 2 * COUNT
    assert all((row.judgement == "consistent") == truth[row.shown] for row in rows)


def test_answers_without_a_browser(server: Server) -> None:
    state = server.get("state?rater=ann")
    assert (state["done"], state["total"]) == (0, COUNT)
    token = state["token"]
    answer = {"rater": "ann", "place": state["pair"], "judgement": "consistent", "seconds": 1.5, "token": token}
    after = server.post("answer", answer)
    assert after["pair"] == state["next"] and after["done"] == 1
    (row,) = read_judgements(server.out)
    assert isinstance(row, Judgement) and (row.rater, row.seconds) == ("ann", 1.5)

    def refused(call: Callable[[], Any]) -> int:
        with pytest.raises(urllib.error.HTTPError) as error:
            call()
        return error.value.code

    assert refused(lambda: server.post("answer", {**answer, "judgement": "maybe"})) == 422
    assert refused(lambda: server.post("answer", {**answer, "place": COUNT})) == 422
    assert refused(lambda: server.post("answer", {**answer, "rater": ""})) == 422
    assert refused(lambda: server.post("answer", answer, Origin="http://elsewhere.example")) == 403
    assert refused(lambda: server.post("answer", answer, Host="elsewhere.example")) == 400
    assert refused(lambda: server.post("answer", {**answer, "token": "of other pairs"})) == 409
    assert refused(lambda: server.post("undo", {"rater": "ann", "token": "of other pairs"})) == 409
    assert refused(lambda: server.get("photo/other/0/target")) == 409
    assert refused(lambda: server.get(f"photo/{token}/99/target")) == 404
    assert refused(lambda: server.get(f"photo/{token}/0/json")) == 404
    assert len(read_judgements(server.out)) == 1

    def told(body: bytes, **headers: str) -> tuple[int, str]:
        """Status and reason of a refusal of any bytes."""
        headers = {"Content-Type": "application/json", **headers}
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(urllib.request.Request(server.url + "answer", body, headers), timeout=10)
        return error.value.code, json.load(error.value)["detail"]

    def altered(name: str, value: object) -> bytes:
        return json.dumps({**answer, name: value}).encode()

    for seconds in (float("nan"), float("inf"), -1.0, 1e308):
        status, reason = told(altered("seconds", seconds))
        assert status == 422 and reason.startswith("seconds: ")
    for rater in ("=cmd()", "+1", "-1", "@x", "\ud800", "a\nb", "\x1b[2J", "x" * 41):
        status, reason = told(altered("rater", rater))
        assert status == 422 and reason.startswith("rater: ") and len(reason) < 300
    assert told(b"[" * 10_000)[0] == 400
    assert told(b"[1]")[0] == 422
    # Refused by its head: nobody sends, or waits for, what follows.
    assert told(altered("token", "x" * 2**15)) == (413, "the body has more than 16,384 bytes")
    with pytest.raises(urllib.error.HTTPError) as chunked:
        stream = urllib.request.Request(server.url + "answer", iter([b"{}"]), {"Content-Type": "application/json"})
        urllib.request.urlopen(stream, timeout=10)
    assert chunked.value.code == 411
    assert len(read_judgements(server.out)) == 1


def test_other_pairs_have_another_token(shards: Path, tmp_path: Path) -> None:
    tokens = {Judging(chosen_pairs(shards, 10, seed), tmp_path / "j.csv", seed).token for seed in range(3)}
    assert len(tokens) == 3


def test_undo_takes_back_the_last_answer_though_more_pairs_came(shards: Path, tmp_path: Path) -> None:
    few, many = (Judging(chosen_pairs(shards, count, 0), tmp_path / "j.csv", 0) for count in (6, 14))
    for _ in range(3):
        few.answer("ann", few.state("ann")["pair"], "consistent", 1.0)
    many.judgements = read_judgements(tmp_path / "j.csv")
    place = many.state("ann")["pair"]
    many.answer("ann", place, "inconsistent", 1.0)
    assert many.undo("ann")["pair"] == place
    assert [row.judgement for row in read_judgements(tmp_path / "j.csv")] == ["consistent"] * 3


def test_two_servers_do_not_write_one_file(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = ["judge", "--pairs", str(server.shards), "--out", str(server.out), "--count", "4", "--port", port]
    assert main(command) == 2
    assert f"another judging page writes {server.out}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command[:-1], "99999"])
    assert "'99999' is not a port, 1 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("header", "host", "known"),
    [
        ("127.0.0.1:8765", "127.0.0.1", True),
        ("localhost:8765", "127.0.0.1", True),
        ("evil.example", "127.0.0.1", False),
        ("evil.example:8765", "0.0.0.0", False),
        ("192.168.1.7:8765", "0.0.0.0", True),
        ("[::1]:8765", "::1", True),
        (f"{socket.gethostname()}:8765", "0.0.0.0", True),
        ("127.0.0.1@evil.example", "127.0.0.1", False),
        ("127.0.0.1:8765.evil.example", "127.0.0.1", False),
        ("127.0.0.1:8765@evil.example", "127.0.0.1", False),
        ("evil.example@127.0.0.1:8765", "127.0.0.1", False),
        ("127.0.0.1/evil.example", "127.0.0.1", False),
        ("127.0.0.1#evil.example", "127.0.0.1", False),
        ("[::1].evil.example", "127.0.0.1", False),
        ("LOCALHOST:8765", "127.0.0.1", True),
        ("", "127.0.0.1", False),
    ],
)
def test_which_names_the_server_goes_by(header: str, host: str, known: bool) -> None:
    assert known_host(header, host) == known


def test_the_page_listens_on_this_machine_only(server: Server) -> None:
    elsewhere = next(
        (address for *_, (address, *_) in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
         if not address.startswith("127.")),
        None,
    )  # fmt: skip
    if elsewhere is None:
        pytest.skip("this machine has the loopback address only")
    with socket.socket() as probe:
        probe.settimeout(2)
        assert probe.connect_ex((elsewhere, server.port)) != 0


def test_which_pairs_are_chosen(shards: Path, tmp_path: Path) -> None:
    chosen = chosen_pairs(shards, 10, 0)
    assert chosen == chosen_pairs(shards, 10, 0) != chosen_pairs(shards, 10, 1)
    assert len({entry.shown for entry in chosen}) == 10
    assert sum(entry.same_style for entry in chosen) == 5
    assert len(chosen_pairs(shards, 1000, 0)) <= 30
    with pytest.raises(BadInput, match="no manifest"):
        chosen_pairs(tmp_path, 10, 0)


def test_a_taken_port_and_a_strange_file_are_refused(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["judge", "--pairs", str(shards), "--out", str(tmp_path / "judged.csv"), "--count", "4"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main([*command, "--port", port]) == 2
        assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err
    (tmp_path / "judged.csv").write_text("mine\n")
    assert main(command) == 2
    assert "has the columns mine" in capsys.readouterr().err
    assert (tmp_path / "judged.csv").read_text() == "mine\n"
    assert os.listdir(tmp_path) == ["judged.csv"]
