"""The demo page in a real browser: a brush stroke, dragged landmarks, uploads that do not fit, and its end."""

import base64
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deploy.__main__ import main
from deploy.demo import inputs as demo_inputs
from deploy.demo.drawing import drawing_pad
from deploy.runtime import Session
from export.__main__ import main as export
from likeness.command import BadInput
from shards import labels
from shards.input_files import read_label
from shards.labels import standard_schema
from shards.media.pictures import encode_picture
from shards.operators.edges import canny
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.reading import samples
from shards.records import load_manifest
from shards.worlds.film import film
from tests.browser import CHROMIUM, FLAGS, needs_browser
from tests.shards.test_input_files import read_photo

ROOT = Path(__file__).parents[3]
CAR, ROAD, VOID = 13, 0, 255
CHIN, MOUTH = 8, range(48, 68)
SHOWN = "#likeness-picture img"


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of class maps, 48×32."""
    out = tmp_path_factory.mktemp("street") / "street.onnx"
    small = ["--data.height=32", "--data.width=48", "--options.generator_base=4"]
    small += ["--options.generator_downsamplings=2", "--options.generator_blocks=1"]
    config = str(ROOT / "trainer" / "configs" / "street.yaml")
    assert export(["--config", config, "--untrained", "--out", str(out), *small]) == 0
    return out


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 32×32 faces."""
    folder = tmp_path_factory.mktemp("faces")
    film("faces", folder / "videos", videos=3, seconds=0.5, size=64, seed=5)
    pack(Packing(folder / "videos", preset("default"), pairs=9, size=32, samples_per_shard=4), folder / "shards")
    return folder / "shards"


PAINTING_S = 0.25
SLOW = f"""
import sys, time
from deploy.demo import page as demo
from deploy.__main__ import main
fast = demo.paint
demo.paint = lambda *given: time.sleep({PAINTING_S}) or fast(*given)
sys.exit(main(sys.argv[1:]))
"""


class Server:
    """`python -m deploy demo` as a process of its own. slow: as with a model that takes a quarter of a second."""

    def __init__(self, *arguments: Path | str, slow: bool = False) -> None:
        command = [sys.executable, *(("-c", SLOW) if slow else ("-m", "deploy"))]
        command += ["demo", "--port", "0", "--threads", "1", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/", said)
        assert address, (said, self.process.communicate())
        self.url = address[0]

    def end(self, how: signal.Signals) -> tuple[int, str]:
        """Exit code and what stands on stderr."""
        self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture
def opened() -> Iterator[Callable[..., tuple[Any, Server]]]:
    """Starts a server and opens its page; both end with the test, and the server must end well."""
    from playwright.sync_api import sync_playwright

    servers: list[Server] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))

        def start(*arguments: Path | str, slow: bool = False, ready: str = ".likeness-stage") -> tuple[Any, Server]:
            servers.append(Server(*arguments, slow=slow))
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: pytest.fail(str(error)))
            page.goto(servers[-1].url)
            page.wait_for_selector(ready)
            return page, servers[-1]

        try:
            yield start
            # With the page open: its connections must not hold the server.
            ends = [server.end(signal.SIGTERM) for server in servers]
        finally:
            for server in servers:
                server.process.kill()
            browser.close()
    assert [code for code, _ in ends] == [0] * len(servers)
    assert not [errors for _, errors in ends if "Traceback" in errors]
    known = tuple(server.url for server in servers)
    assert not [url for url in asked if not url.startswith((*known, "data:", "blob:"))], "nothing comes from elsewhere"


def picture(page: Any, selector: str = SHOWN) -> np.ndarray[Any, Any] | None:
    """The picture on the page, as the file that the browser got holds it."""
    text = page.evaluate(
        """async (shown) => {
        const image = document.querySelector(shown);
        if (!image) return null;
        const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
        return btoa(String.fromCharCode(...bytes));
    }""",
        selector,
    )
    if text is None:
        return None
    content = base64.b64decode(text)
    assert content.startswith(b"\x89PNG"), "not lossless"
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def shows(page: Any, expected: np.ndarray[Any, Any], selector: str = SHOWN) -> None:
    """Waits until the page shows exactly this picture."""
    for _ in range(400):
        found = picture(page, selector)
        if found is not None and np.array_equal(found, expected):
            return
        page.wait_for_timeout(50)
    pytest.fail("the page shows another picture than the session makes")


def saved(page: Any, folder: Path, click: str = "button:has-text('Download')") -> Path:
    with page.expect_download() as download:
        page.click(click)
    path: Path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def made(session: Session, **loaded: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    tensors = {name: tensor[None] for name, tensor in session.tensors(loaded).items()}
    return session.pictures(session.run(**tensors))[0]


def upload(page: Any, button: str, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.click(f"text={button}")
    chooser.value.set_files(str(file))


def write_ids(path: Path, ids: np.ndarray[Any, Any]) -> Path:
    assert cv2.imwrite(str(path), ids.astype(np.uint8))
    return path


def slowly(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Moves as a hand does: for longer than one picture takes, so that the model is busy when the last move comes."""
    for part in np.linspace(0, 1, 16)[1:]:
        page.mouse.move(*(a + part * (b - a) for a, b in zip(start, end, strict=True)))
        page.wait_for_timeout(25)


@needs_browser
def test_a_brush_stroke(opened: Any, street: Path, tmp_path: Path) -> None:
    page, _ = opened("--model", street)
    session, schema = Session(street), standard_schema("classes", 32, 48)
    rng = np.random.default_rng(1)
    page.wait_for_selector("text=upload a photo")
    photo = tmp_path / "photo.png"
    photo.write_bytes(encode_picture(rng.integers(0, 256, (90, 120, 3), np.uint8)))
    upload(page, "Upload a photo", photo)
    page.wait_for_selector("text=photo.png, 120×90: shown as 48×32")
    page.wait_for_selector("[role=alert]:has-text('reads the exemplar')")
    exemplar = demo_inputs.uploaded(photo, demo_inputs.labelling_of(schema, None), False).photo

    # What does not fit is said in a sentence, and the page goes on.
    upload(page, "Upload its label map", write_ids(tmp_path / "large.png", np.zeros((64, 64))))
    page.wait_for_selector("[role=alert]:has-text('large.png'):has-text('64×64 pixels, but the model takes 48×32')")
    its_ids = rng.integers(0, 19, (32, 48))
    upload(page, "Upload its label map", write_ids(tmp_path / "its.png", its_ids))
    fixed = {"exemplar_label": its_ids.astype(np.uint8), "exemplar": exemplar}
    before = made(session, label=np.full((32, 48), VOID, np.uint8), **fixed)
    shows(page, before)
    assert not page.locator("[role=alert]").count()
    unknown = its_ids.copy()
    unknown[3, 4] = 77
    upload(page, "Upload PNG", write_ids(tmp_path / "unknown.png", unknown))
    page.wait_for_selector("[role=alert]:has-text('unknown.png: label id 77 at row 3, column 4')")
    assert str(tmp_path) not in page.inner_text("[role=alert]")

    page.screenshot(path=str(tmp_path / "before.png"))
    page.click("text=car")
    box = page.locator("canvas").bounding_box()
    x, y = box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"]
    page.mouse.move(x, y)
    page.mouse.down()
    slowly(page, (x, y), (x + 0.2 * box["width"], y))
    for _ in range(400):
        if (during := picture(page)) is not None and not np.array_equal(during, before):
            break
        page.wait_for_timeout(50)
    else:
        pytest.fail("the picture does not follow while the button is down")
    slowly(page, (x + 0.2 * box["width"], y), (x + 0.5 * box["width"], y))
    page.mouse.up()
    ids = read_label(saved(page, tmp_path), schema)
    assert set(np.unique(ids)) == {CAR, VOID}, "a brush blends nothing"
    assert (ids[16, 12:36] == CAR).all() and (ids[:8] == VOID).all()
    shows(page, made(session, label=ids, **fixed))
    page.screenshot(path=str(tmp_path / "after.png"))
    downloaded = saved(page, tmp_path, "#likeness-picture [aria-label=Download]")
    assert np.array_equal(cv2.imread(str(downloaded))[..., ::-1], made(session, label=ids, **fixed))

    page.click("text=Undo")
    shows(page, before)
    page.click("text=road")
    page.click("text=Fill")
    page.mouse.click(x, y)
    assert (read_label(saved(page, tmp_path), schema) == ROAD).all()
    upload(page, "Upload PNG", write_ids(tmp_path / "mine.png", its_ids))
    shows(page, made(session, label=its_ids.astype(np.uint8), **fixed))
    assert np.array_equal(read_label(saved(page, tmp_path), schema), its_ids)


@needs_browser
def test_a_label_map_that_is_a_picture(opened: Any, pictured: tuple[Path, Path], tmp_path: Path) -> None:
    model, shards = pictured
    page, _ = opened("--model", model, "--examples", shards)
    session = Session(model)
    manifest, folder = load_manifest(shards)
    schema = manifest.schema
    found = demo_inputs.examples_of(shards, schema, session.inputs)
    exemplar = found[0].exemplar
    assert exemplar is not None and exemplar.label is not None
    fixed = {"exemplar_label": exemplar.label, "exemplar": exemplar.photo}
    first = demo_inputs.loaded(found[0].drawing["picture"], schema)
    shows(page, made(session, label=first, **fixed))
    shows(page, labels.picture(schema, first), ".likeness-upload img")
    # A file of one's own, shown, painted and saved as it is; one of another size is refused.
    _, members = list(samples.iter_samples(folder, manifest))[-1]
    mine = tmp_path / "mine.png"
    mine.write_bytes(members["target.label.png"])
    upload(page, "Upload PNG or JPEG", mine)
    label = read_label(mine, schema)
    shows(page, made(session, label=label, **fixed))
    assert np.array_equal(read_label(saved(page, tmp_path), schema), label)
    upload(page, "Upload PNG or JPEG", write_ids(tmp_path / "large.png", np.zeros((64, 64))))
    page.wait_for_selector("[role=alert]:has-text('large.png'):has-text('64×64 pixels, but the model takes 32×32')")
    # The label map of a photo that is uploaded: its edges, or what its owner gives.
    photo = tmp_path / "photo.png"
    photo.write_bytes(encode_picture(np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)))
    upload(page, "Upload a photo", photo)
    if schema.channels == 1:
        fixed = {"exemplar_label": canny(read_photo(photo, schema))[None], "exemplar": read_photo(photo, schema)}
    else:
        page.wait_for_selector("[role=alert]:has-text('which nothing makes of a photo')")
        upload(page, "Upload its label map", mine)
        fixed = {"exemplar_label": label, "exemplar": read_photo(photo, schema)}
    shows(page, made(session, label=label, **fixed))
    page.screenshot(path=str(tmp_path / "page.png"))


def dot(page: Any, number: int) -> tuple[float, float]:
    box = page.locator(".likeness-dot").nth(number).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Any, number: int, right: float, down: float) -> None:
    x, y = dot(page, number)
    page.mouse.move(x, y)
    page.mouse.down()
    slowly(page, (x, y), (x + right, y + down))
    page.mouse.up()


@needs_browser
def test_landmarks_are_dragged(opened: Any, model: Path, faces: Path, tmp_path: Path) -> None:
    session = Session(model)
    page, _ = opened("--model", model, "--examples", faces, slow=True)
    manifest, folder = load_manifest(faces)
    every = [samples.decode(members, manifest.schema) for _, members in samples.iter_samples(folder, manifest)]
    first = every[0]
    other = next(each for each in every if each.pair.exemplar.style != first.pair.exemplar.style)
    fixed = {"exemplar_label": first.labels["exemplar"], "exemplar": first.photos["exemplar"]}
    shows(page, made(session, label=first.labels["target"], **fixed))

    begun = np.array(first.pair.target.landmarks)
    runs: list[str] = []
    page.on("request", lambda request: runs.append(request.url) if "/queue/join" in request.url else None)
    started = time.monotonic()
    drag(page, CHIN, 0, 40)
    moved = np.array(json.loads(saved(page, tmp_path).read_text())["landmarks"])
    assert (moved != begun).any(axis=1).nonzero()[0].tolist() == [CHIN]
    assert moved[CHIN, 1] > begun[CHIN, 1] and moved[CHIN, 0] == begun[CHIN, 0]
    label = read_label(saved(page, tmp_path), session.schema)
    assert not np.array_equal(label, first.labels["target"])
    shows(page, made(session, label=label, **fixed))
    free = 3 + (time.monotonic() - started) / PAINTING_S
    assert 1 < len(runs) < free, "a picture of the newest state whenever the model is free, not one for every move"

    page.keyboard.down("Shift")
    drag(page, MOUTH[9], 12, -8)
    page.keyboard.up("Shift")
    again = np.array(json.loads(saved(page, tmp_path).read_text())["landmarks"])
    assert (again != moved).any(axis=1).nonzero()[0].tolist() == list(MOUTH), "Shift moves the whole mouth"
    assert len(np.unique(again[MOUTH] - moved[MOUTH], axis=0)) == 1
    label = read_label(saved(page, tmp_path), session.schema)

    page.locator(".likeness-gallery").nth(1).locator("button").nth(1).click()
    fixed = {"exemplar_label": other.labels["exemplar"], "exemplar": other.photos["exemplar"]}
    shows(page, made(session, label=label, **fixed))
    page.locator(".likeness-gallery").nth(0).locator("button").nth(1).click()
    shows(page, made(session, label=other.labels["target"], **fixed))

    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(again.tolist()[:60]))
    upload(page, "Upload JSON", broken)
    page.wait_for_selector("[role=alert]:has-text('broken.json holds landmarks of shape (60, 2)')")
    good = tmp_path / "good.json"
    good.write_text(json.dumps({"landmarks": again.tolist()}))
    upload(page, "Upload JSON", good)
    shows(page, made(session, label=label, **fixed))


@needs_browser
def test_only_known_names_and_a_clean_end(
    model: Path, faces: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = Server("--model", model, "--examples", faces)
    with urllib.request.urlopen(server.url, timeout=10) as response:
        assert response.status == 200
    for headers, code in (({"Host": "elsewhere.example"}, "400"), ({"Origin": "http://elsewhere.example"}, "403")):
        request = urllib.request.Request(f"{server.url}gradio_api/upload", data=b"", headers=headers)
        with pytest.raises(urllib.error.HTTPError, match=code):
            urllib.request.urlopen(request, timeout=10)
    assert list(tmp_path.glob("**/*.png")), "pictures that the page shows"
    code, errors = server.end(signal.SIGINT)
    assert (code, "Traceback" in errors) == (0, False)
    assert not list(tmp_path.glob("**/*.png")), "uploads and pictures go with the server"


def test_the_environment_neither_widens_what_a_page_serves_nor_sends_it_to_a_proxy(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("gradio")
    secret = tmp_path / "secret.txt"
    secret.write_text("not for the page")
    with monkeypatch.context() as set_by_others:
        for name in ("no_proxy", "NO_PROXY"):
            set_by_others.delenv(name, raising=False)
        # Nobody listens there.
        set_by_others.setenv("http_proxy", "http://127.0.0.1:9")
        set_by_others.setenv("GRADIO_ALLOWED_PATHS", "/")
        set_by_others.setenv("GRADIO_ROOT_PATH", "/elsewhere")
        server = Server("--model", model)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{server.url}gradio_api/file={secret}", timeout=10)
    code, errors = server.end(signal.SIGTERM)
    assert code == 0 and "Traceback" not in errors
    assert "GRADIO_ALLOWED_PATHS, GRADIO_ROOT_PATH in the environment have no say" in errors


def test_what_cannot_start(model: Path, street: Path, faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: Path | str) -> str:
        assert main(["demo", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "another label schema" in refused("--model", street, "--examples", faces)
    assert "--parser makes class maps" in refused("--model", model, "--parser", street)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "choose another --port" in refused("--model", model, "--port", str(taken.getsockname()[1]))
    without = "import sys; sys.modules['gradio'] = None; from deploy.__main__ import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", without, "demo", "--model", str(model)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and "pip install 'likeness[demo]'" in done.stderr
    with pytest.raises(BadInput, match="DensePose"):
        demo_inputs.check_drawable(standard_schema("pose", 64, 64, with_densepose=True), model)


@pytest.mark.parametrize("kind", ["sketch", "pose", "classes"])
def test_what_the_page_begins_with_can_be_drawn(kind: Any) -> None:
    schema = standard_schema(kind, 32, 48)
    begun = drawing_pad(schema).blank()
    if kind == "classes":
        assert base64.b64decode(begun["ids"]) == bytes([VOID]) * 32 * 48
        return
    name = "landmarks" if kind == "sketch" else "keypoints"
    label = demo_inputs.loaded(json.dumps({name: begun["points"]}), schema)
    drawn = (labels.sketch if kind == "sketch" else labels.pose).draw(np.array(begun["points"]), 32, 48)
    assert np.array_equal(label, drawn)
    assert (drawn[3:] < 255).any(axis=(1, 2)).all(), "no line is missing"
    with pytest.raises(BadInput, match=f"the label map is no JSON file of {name}"):
        demo_inputs.loaded("{}", schema)


def test_small_files_of_huge_pictures_are_refused_undecoded(tmp_path: Path) -> None:
    content = bytearray(encode_picture(np.zeros((8, 8, 3), np.uint8)))
    content[16:24] = struct.pack(">II", 30000, 30000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "photo.png").write_bytes(content)
    with pytest.raises(BadInput, match=r"photo\.png is 30000×30000 pixels, more than 100,000,000"):
        labelling = demo_inputs.labelling_of(standard_schema("sketch", 32, 32), None)
        demo_inputs.uploaded(tmp_path / "photo.png", labelling, True)


def test_photos_are_cut_around_their_middle(tmp_path: Path) -> None:
    schema = standard_schema("classes", 32, 64)
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[16:48] = np.random.default_rng(2).integers(0, 256, (32, 64, 3))
    (tmp_path / "tall.png").write_bytes(encode_picture(photo))
    (tmp_path / "fits.png").write_bytes(encode_picture(photo[16:48]))
    labelling = demo_inputs.labelling_of(schema, None)
    tall, fits = (demo_inputs.uploaded(tmp_path / name, labelling, False) for name in ("tall.png", "fits.png"))
    assert np.array_equal(tall.photo, photo[16:48]) and np.array_equal(fits.photo, photo[16:48])
    assert tall.note == "tall.png, 64×64: shown as 64×32" and fits.note == "fits.png, 64×32"
