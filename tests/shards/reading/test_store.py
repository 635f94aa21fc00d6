"""Shards at a URL are the manifest's bytes or one line that says why not; the cache stays within its limit."""

import base64
import hashlib
import http.server
import logging
import multiprocessing
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likeness.checksums import sha256_of
from likeness.command import BadInput
from shards.reading import download
from shards.reading import store as storing
from shards.reading.cache import Cache
from shards.reading.samples import iter_shard
from shards.reading.store import Store
from shards.reading.urls import is_url, redacted, scrubbed
from shards.records import Manifest, Shard, load_manifest, parse_manifest

Fault = Callable[[bytes], tuple[int, bytes, int]]
"""What the server does to a body: status, bytes sent, bytes announced."""


def status(code: int) -> Fault:
    return lambda body: (code, b"", 0)


def truncated(body: bytes) -> tuple[int, bytes, int]:
    return 200, body[: len(body) // 2], len(body)


def short(body: bytes) -> tuple[int, bytes, int]:
    return 200, body[:-1], len(body) - 1


def longer(body: bytes) -> tuple[int, bytes, int]:
    return 200, body + b"x", len(body) + 1


def flipped(body: bytes) -> tuple[int, bytes, int]:
    return 200, body[:-600] + bytes([body[-600] ^ 1]) + body[-599:], len(body)


class Server:
    """A web server for the files of a folder. faults: what befalls the next requests, in turn."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.faults, self.requests = folder, list[Fault](), list[str]()
        self.authorizations: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(f"{self.command} {self.path}")
                outer.authorizations.append(self.headers["Authorization"])
                file = outer.folder / unquote(urlsplit(self.path).path).lstrip("/")
                fault: Fault = lambda body: (200, body, len(body))  # noqa: E731
                if outer.faults:
                    fault = outer.faults.pop(0)
                elif not file.is_file():
                    fault = status(404)
                code, body, announced = fault(file.read_bytes() if file.is_file() else b"")
                self.send_response(code)
                self.send_header("Content-Length", str(announced))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.http.server_port}"
        self.url = f"http://{self.address}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def gets(self, name: str) -> int:
        return sum(urlsplit(request.partition(" ")[2]).path.endswith(f"/{name}") for request in self.requests)

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server(packed: Path) -> Iterator[Server]:
    server = Server(packed)
    yield server
    server.close()


@pytest.fixture(scope="module")
def manifest(packed: Path) -> Manifest:
    return load_manifest(packed / "train")[0]


@pytest.fixture(scope="module")
def buckets() -> Iterator[str]:
    """The address of an S3 server on this machine."""
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(buckets: str, packed: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a folder with the training shards."""
    s3fs = pytest.importorskip("s3fs")
    for name, value in {
        "AWS_ENDPOINT_URL": buckets,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "not-to-be-shown",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    if not files.exists("shelf"):
        files.mkdir("shelf")
        for file in (packed / "train").iterdir():
            files.put_file(str(file), f"shelf/some/train/{file.name}")
    return "s3://shelf/some/train"


def keys(path: Path) -> list[bytes]:
    return [members["__key__"] for members in iter_shard(path)]


def cached(folder: Path) -> set[str]:
    """The names of the shards in a cache, as the manifest says them; nothing else may lie there but locks."""
    names = {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}
    assert all(re.match(r"[0-9a-f]{64}-", name) for name in names), names
    return {name[65:] for name in names}


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(BadInput) as caught:
        act()
    message = str(caught.value)
    assert "\n" not in message and "; " in message, "one line: problem; remedy"
    return message


# Places


def test_a_local_folder_needs_no_package_of_the_network(packed: Path) -> None:
    script = (
        "import sys; sys.modules['fsspec'] = sys.modules['aiohttp'] = None\n"
        "from shards.reading.store import Store\n"
        "store = Store(sys.argv[1]); print(*(store.open(shard) for shard in store.manifest().shards))\n"
        "assert 'torch' not in sys.modules and 'webdataset' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script, packed / "train"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == sorted(map(str, (packed / "train").glob("*.tar")))


@pytest.mark.parametrize("place", ["folder", "manifest"])
@pytest.mark.parametrize("kind", ["local", "http", "s3", "file", "memory"])
def test_every_place_gives_the_same_manifest_and_the_same_shards(
    kind: str, place: str, packed: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    expected, folder = load_manifest(packed / "train")
    location = str(folder)
    if kind == "http":
        location = request.getfixturevalue("server").url + "/train"
    elif kind == "s3":
        location = request.getfixturevalue("s3")
    elif kind == "file":
        location = f"file://{folder}"
    elif kind == "memory":
        location = "memory://some/train"
        for file in folder.iterdir():
            fsspec.filesystem("memory").pipe_file(f"/some/train/{file.name}", file.read_bytes())
    store = Store(location + ("/manifest.json" if place == "manifest" else "/"), Cache(tmp_path / "cache"))
    assert store.manifest() == expected
    assert store.where == (str(folder) if kind == "local" else location)
    for shard in expected.shards:
        path = store.open(shard)
        assert path.read_bytes() == (folder / shard.name).read_bytes()
        assert (path == folder / shard.name) == (kind == "local")
        assert keys(path) == keys(folder / shard.name)
    assert (tmp_path / "cache").exists() == (kind != "local")


def test_bad_manifests_say_what_they_say_of_a_file(server: Server, packed: Path, tmp_path: Path) -> None:
    server.folder = tmp_path
    text = (packed / "train" / "manifest.json").read_text()
    for content in (
        "{",
        text.replace('"version": 2', '"version": 9'),
        text.replace('"seed"', '"sead"'),
        "[" * 100_000,
        "<html>",
    ):
        (tmp_path / "manifest.json").write_text(content)
        there = refusal(Store(server.url).manifest)
        here = refusal(Store(tmp_path).manifest)
        assert there == here.replace(str(tmp_path), server.url)
        with pytest.raises(BadInput, match=r"^there"):
            parse_manifest(content, "there")
    (tmp_path / "manifest.json").write_bytes(b"\xff" * 10_000)
    assert len(refusal(Store(server.url).manifest)) < 300
    assert "no manifest at" in refusal(Store(f"{server.url}/nowhere").manifest)
    assert "no manifest at" in refusal(Store(tmp_path / "nowhere").manifest)


def test_a_manifest_without_end_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "MANIFEST_LIMIT", 100)
    assert "more than 100 bytes" in refusal(Store(f"{server.url}/train").manifest)


# Local files


def copied(packed: Path, to: Path) -> tuple[Path, Shard]:
    folder = Path(shutil.copytree(packed / "train", to / "train"))
    return folder, load_manifest(folder)[0].shards[0]


def damage(path: Path) -> None:
    """Changes one bit, no size, no inode."""
    with path.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))


def test_a_damaged_local_shard_is_refused_on_first_read(packed: Path, tmp_path: Path) -> None:
    folder, shard = copied(packed, tmp_path)
    damage(folder / shard.name)
    assert shard.name in refusal(lambda: Store(folder).open(shard))
    assert "damaged" in refusal(lambda: Store(folder).open(shard))
    # Both say that somebody else takes the blame.
    assert Store(folder).open(shard, known=True) == folder / shard.name
    assert Store(folder, verify=False).open(shard) == folder / shard.name
    os.truncate(folder / shard.name, 512)
    for store in (Store(folder), Store(folder, verify=False)):
        assert "512 bytes" in refusal(lambda store=store: store.open(shard, known=True))
    (folder / shard.name).unlink()
    assert "missing" in refusal(lambda: Store(folder).open(shard, known=True))


def test_a_file_is_hashed_once_per_process(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, shard = copied(packed, tmp_path)
    hashed = list[Path]()
    monkeypatch.setattr("shards.reading.samples.sha256_of", lambda path: hashed.append(path) or sha256_of(path))
    monkeypatch.setattr(storing, "sha256_of", lambda path: hashed.append(path) or sha256_of(path))
    for location, cache in ((str(folder), None), (f"file://{folder}", Cache(tmp_path / "cache"))):
        Store(location, cache).open(shard)
        hashed.clear()
        store = Store(location, cache)
        for _ in range(3):
            path = store.open(shard)
        assert hashed == [path]
        assert pickle.loads(pickle.dumps(store)).open(shard) == path and hashed == [path], "workers trust their parent"


@pytest.mark.parametrize("name", ["a b", "ä%20b", "100%", "a?b#c", os.fsdecode(b"caf\xe9")])
def test_urls_of_files_resolve_their_escapes(name: str, packed: Path, tmp_path: Path) -> None:
    """As `Path.as_uri` writes them (RFC 8089), and of this machine by its other name."""
    folder, shard = copied(packed, tmp_path)
    folder = folder.rename(tmp_path / name)
    url = folder.as_uri()
    for number, location in enumerate((url, f"{url}/manifest.json", url.replace("file://", "FILE://localhost"))):
        store = Store(location, Cache(tmp_path / f"cache-{number}"))
        assert store.manifest() == load_manifest(folder)[0]
        assert store.open(shard).read_bytes() == (folder / shard.name).read_bytes()
    elsewhere = Store(url.replace("file://", "file://nas"), Cache(tmp_path / "cache"))
    assert "names the machine nas; file:// reads this one only" in refusal(elsewhere.manifest)


# The network


@pytest.mark.parametrize("fault", [status(503), status(500), status(429), truncated, short, longer, flipped])
def test_what_fails_at_first_is_fetched_again(
    fault: Fault, server: Server, manifest: Manifest, packed: Path, tmp_path: Path
) -> None:
    shard = manifest.shards[0]
    server.faults = [fault] * 3
    path = Store(f"{server.url}/train", Cache(tmp_path)).open(shard)
    assert path.read_bytes() == (packed / "train" / shard.name).read_bytes()
    assert server.gets(shard.name) == 4 == len(server.requests)
    assert cached(tmp_path) == {shard.name}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (status(503), "status 503"),
        (truncated, "cannot be read"),
        (short, "ends after"),
        (longer, "sends more than"),
        (flipped, "arrives damaged: its SHA-256"),
    ],
)
def test_what_keeps_failing_is_given_up(
    fault: Fault, reason: str, server: Server, manifest: Manifest, tmp_path: Path
) -> None:
    shard = manifest.shards[0]
    server.faults = [fault] * 99
    message = refusal(lambda: Store(f"{server.url}/train", Cache(tmp_path), attempts=3).open(shard))
    assert reason in message and f"{server.url}/train/{shard.name}" in message and "tried 3 times" in message
    assert len(server.requests) == 3
    assert cached(tmp_path) == set(), "nothing half-written stays"


@pytest.mark.parametrize(
    ("code", "reason"), [(404, "missing"), (403, "access denied"), (401, "access denied"), (400, "status 400")]
)
def test_what_cannot_get_better_is_not_tried_again(
    code: int, reason: str, server: Server, manifest: Manifest, tmp_path: Path
) -> None:
    server.faults = [status(code)] * 9
    assert reason in refusal(lambda: Store(f"{server.url}/train", Cache(tmp_path)).open(manifest.shards[0]))
    assert len(server.requests) == 1


def test_pauses_double_and_leave_the_global_generator_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    pauses = list[float]()
    monkeypatch.setattr(download, "BACKOFF_SECONDS", 0.5)
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=pauses.append))
    server.faults = [status(503)] * 9
    before = random.getstate()
    refusal(Store(f"{server.url}/train", attempts=5).manifest)
    assert random.getstate() == before
    assert len(pauses) == 4
    assert all(0.25 * 2**number <= pause <= 0.75 * 2**number for number, pause in enumerate(pauses))


def test_hosts_and_protocols_that_are_none() -> None:
    assert "host is unknown" in refusal(Store("http://no-such-host.invalid/a", attempts=1).manifest)
    assert "nope://" in refusal(Store("nope://a/b").manifest)
    assert "cannot be read" in refusal(Store("http://127.0.0.1:1/a", attempts=2).manifest)
    for url in ("simplecache::http://127.0.0.1/a", "zip://a.tar::http://u:secret@127.0.0.1/a", "http://a/b::c"):
        message = refusal(lambda url=url: Store(url))
        assert "chains" in message and "secret" not in message
    assert "white space" in refusal(lambda: Store("http://127.0.0.1/a\nb"))
    refusal(Store("http:///a").manifest)
    assert is_url("s3://a") and not is_url("pipe:cat a") and not is_url(Path("a/b"))


@pytest.mark.parametrize(
    ("url", "module", "advice"),
    [
        ("s3://bucket/a", "s3fs", "pip install s3fs"),
        ("s3://bucket/a", "fsspec", "likeness[remote]"),
        ("https://127.0.0.1/a", "aiohttp", "pip install aiohttp"),
    ],
)
def test_a_package_that_is_not_installed(url: str, module: str, advice: str) -> None:
    script = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from shards.reading.store import Store\n"
        "from likeness.command import run_command\n"
        f"sys.exit(run_command(Store({url!r}).manifest))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert advice in done.stderr and "'likeness[remote]'" in done.stderr


def test_s3_says_what_is_wrong(s3: str, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no manifest at s3://shelf/nowhere" in refusal(Store("s3://shelf/nowhere").manifest)
    assert "no manifest at s3://no-such-bucket" in refusal(Store("s3://no-such-bucket/a").manifest)
    lost = replace(manifest.shards[0], name="lost.tar")
    assert "missing" in refusal(lambda: Store(s3, Cache(tmp_path)).open(lost))
    other = replace(manifest.shards[0], sha256="0" * 64)
    assert "arrives damaged" in refusal(lambda: Store(s3, Cache(tmp_path), attempts=2).open(other))
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert "no credentials" in refusal(Store(s3).manifest)


# Secrets

SECRETS = ("hunter2", "AKIDTOKEN", "abc123signature", "p%40ss", "p@ss")


def with_secrets(server: Server) -> str:
    return f"http://user:hunter2@{server.address}/train?token=AKIDTOKEN&X-Amz-Signature=abc123signature"


def test_credentials_reach_the_server_with_every_request(server: Server, manifest: Manifest, tmp_path: Path) -> None:
    store = Store(with_secrets(server), Cache(tmp_path))
    assert store.manifest() == manifest
    store.open(manifest.shards[0])
    assert len(server.requests) == 2
    assert all(request.endswith("?token=AKIDTOKEN&X-Amz-Signature=abc123signature") for request in server.requests)
    assert set(server.authorizations) == {"Basic " + base64.b64encode(b"user:hunter2").decode()}


@pytest.mark.parametrize("fault", [status(403), status(404), status(503), status(301), truncated, flipped])
def test_credentials_are_in_no_message_and_no_log(
    fault: Fault, server: Server, manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = Store(with_secrets(server), Cache(tmp_path), attempts=2)
    server.faults = [fault] * 99
    with pytest.raises(BadInput) as caught:
        store.open(manifest.shards[0])
    assert server.address in str(caught.value), "what may be shown is shown"
    told = [str(caught.value), repr(store), store.where, caplog.text, *map(str, tmp_path.iterdir())]
    error: BaseException | None = caught.value
    while error:
        told += [repr(error), str(error)]
        error = error.__cause__ or error.__context__
    assert len(told) == 5 + len(list(tmp_path.iterdir())) + 1, "nothing of the library's hides behind our line"
    assert not [secret for secret in SECRETS for text in told if secret in text]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:hunter2@host:80/a/b?token=AKIDTOKEN#abc123signature", "http://host:80/a/b"),
        ("https://user:p%40ss@host/a", "https://host/a"),
        ("https://user:p@ss@host/a", "https://host/a"),
        ("https://user:p/hunter2@host/a", "https://***"),
        ("https://user:12/hunter2@host/a", "https://***"),
        ("https://user:hunter2?x@host/a", "https://***"),
        ("https://user:hunter2#x@host/a", "https://***"),
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        ("http://[fe80:1]:80/a?hunter2", "http://[fe80:1]:80/a"),
        ("memory://a", "memory://a"),
    ],
)
def test_redacted(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_words_of_libraries_are_scrubbed() -> None:
    url = "https://user:p%40ss@host/a?sig=abc123signature&x=AKIDTOKEN"
    text = f"bad thing at {url}\n and p@ss, https://host/b?other=AKIDTOKEN sig=abc123signature"
    shown = scrubbed(text, url)
    assert shown == "bad thing at https://host/a and ***, https://host/b sig=***"


# The cache


def test_a_second_use_asks_nobody(server: Server, manifest: Manifest, tmp_path: Path) -> None:
    for _ in range(2):
        store = Store(f"{server.url}/train", Cache(tmp_path))
        for shard in manifest.shards * 2:
            store.open(shard)
    assert len(server.requests) == len(manifest.shards)


@pytest.mark.parametrize("harm", [damage, lambda path: os.truncate(path, 7), lambda path: os.unlink(path)])
def test_a_damaged_cached_file_is_fetched_again(
    harm: Callable[[Path], None], server: Server, manifest: Manifest, packed: Path, tmp_path: Path
) -> None:
    shard = manifest.shards[0]
    harm(Store(f"{server.url}/train", Cache(tmp_path)).open(shard))
    # Without verification a size that differs is still noticed.
    again = Store(f"{server.url}/train", Cache(tmp_path), verify=harm is damage).open(shard)
    assert again.read_bytes() == (packed / "train" / shard.name).read_bytes()
    assert server.gets(shard.name) == 2


def test_the_least_recently_used_goes_first(server: Server, manifest: Manifest, tmp_path: Path) -> None:
    first, second, third = manifest.shards
    limit = max(first.bytes + third.bytes, first.bytes + second.bytes)
    (tmp_path / "somebody's.txt").write_text("no shard of ours")
    store = Store(f"{server.url}/train", Cache(tmp_path / "cache", limit))
    for shard in (first, second, first, third):
        store.open(shard)
    assert cached(tmp_path / "cache") == {first.name, third.name}, "first was used after second"
    tiny = Store(f"{server.url}/train", Cache(tmp_path / "cache", 10))
    store.release()
    assert tiny.open(second).is_file()
    assert cached(tmp_path / "cache") == {second.name}, "bigger than the limit: kept alone"


def test_files_that_are_not_the_cache_s_stay(server: Server, manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    orphan = tmp_path / f".{'a' * 64}-x.tar.part"
    orphan.write_text("half a download of a process that was killed")
    Store(f"{server.url}/train", Cache(tmp_path, 1)).open(manifest.shards[0])
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not orphan.exists()


@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=6),
    limit=st.integers(0, 120),
    uses=st.lists(st.integers(0, 5), min_size=1, max_size=20),
)
def test_the_cache_holds_what_a_model_of_it_says(sizes: list[int], limit: int, uses: list[int]) -> None:
    contents = [bytes([number]) * size for number, size in enumerate(sizes)]
    shards = [Shard(f"{n}.tar", 1, len(c), hashlib.sha256(c).hexdigest()) for n, c in enumerate(contents)]
    for shard, content in zip(shards, contents, strict=True):
        fsspec.filesystem("memory").pipe_file(f"/model/{shard.name}", content)
    with tempfile.TemporaryDirectory() as name:
        store, model = Store("memory://model", Cache(Path(name), limit)), list[Shard]()
        for use in uses:
            shard = shards[use % len(shards)]
            assert store.open(shard).read_bytes() == contents[use % len(shards)]
            model = [*(one for one in model if one != shard), shard]
            while len(model) > 1 and sum(one.bytes for one in model) > limit:
                model.pop(0)
            assert cached(Path(name)) == {one.name for one in model}
            total = sum(one.bytes for one in model)
            assert total <= limit or cached(Path(name)) == {shard.name}


def test_a_shard_that_another_process_was_given_stays(server: Server, manifest: Manifest, tmp_path: Path) -> None:
    first, second, third = manifest.shards
    cache = Cache(tmp_path, 10)
    reader = Store(f"{server.url}/train", cache)
    path = reader.open(first)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.apply(Store(f"{server.url}/train", cache).open, (second,))
        assert path.is_file() and first.name in cached(tmp_path), "given, perhaps not opened yet"
        child = multiprocessing.get_context("fork").Process(target=reader.open, args=(third,))
        child.start()
        child.join(60)
        assert child.exitcode == 0 and path.is_file(), "a child that moves on lets go for itself, not for its parent"
        reader.release()
        pool.apply(Store(f"{server.url}/train", cache).open, (third,))
        assert not path.exists(), "let go by its reader, though the pool's process was forked while it was held"


OPENER = """
import base64, pickle, sys
store, shards = pickle.loads(base64.b64decode(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for shard in shards:
    print(store.open(shard), flush=True)
"""


def test_processes_that_want_a_shard_at_once_fetch_it_once(server: Server, manifest: Manifest, tmp_path: Path) -> None:
    job = (Store(f"{server.url}/train", Cache(tmp_path)), manifest.shards)
    command = [sys.executable, "-c", OPENER, base64.b64encode(pickle.dumps(job)).decode()]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(3)
    ]
    for process in started:
        assert process.stdout and process.stdout.readline() == "ready\n"
    outputs = [process.communicate("\n", timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(set(outputs)) == 1 and outputs[0].count("\n") == len(manifest.shards)
    assert [server.gets(shard.name) for shard in manifest.shards] == [1] * len(manifest.shards)


def open_many(store: Store, shards: tuple[Shard, ...], seed: int) -> None:
    import random

    for shard in random.Random(seed).choices(shards, k=60):
        assert len(keys(store.open(shard))) == shard.samples


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_forked_workers_with_a_cache_too_small(
    kind: str, manifest: Manifest, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every open removes what others want; whoever was given a shard can read it all the same."""
    location = request.getfixturevalue("s3") if kind == "s3" else request.getfixturevalue("server").url + "/train"
    store = Store(location, Cache(tmp_path, 10))
    assert store.manifest() == manifest, "the parent has used its connections before it forks"
    store.open(manifest.shards[0])
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=open_many, args=(store, manifest.shards, seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(90)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    store.open(manifest.shards[1])
    assert cached(tmp_path) == {manifest.shards[1].name}


def test_a_temporary_cache_goes_with_its_context(
    server: Server, manifest: Manifest, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bare = Store(f"{server.url}/train")
    with pytest.raises(RuntimeError, match="with_temporary_cache"):
        bare.open(manifest.shards[0])
    with bare.with_temporary_cache() as store:
        path = store.open(manifest.shards[0])
        worker = multiprocessing.get_context("fork").Process(target=store.open, args=(manifest.shards[1],))
        worker.start()
        worker.join(60)
        assert worker.exitcode == 0 and path.is_file(), "a worker's end leaves the folder alone"
        assert path.is_relative_to(tmp_path)
        assert store.cache is not None and store.cache.limit_bytes == 2 << 30
    assert list(tmp_path.iterdir()) == []
    for ready in (Store(packed / "train"), Store(server.url, Cache(tmp_path))):
        with ready.with_temporary_cache() as same:
            assert same is ready


def test_a_disk_without_room(
    server: Server, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = manifest.shards[0]
    store = Store(f"{server.url}/train", Cache(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=shard.bytes - 1))
        message = refusal(lambda: store.open(shard))
    assert str(tmp_path) in message and f"{shard.bytes} bytes" in message
    assert server.requests == []

    opened = Path.open

    def full(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        return opened(Path("/dev/full"), "wb") if mode == "xb" else opened(path, mode, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        message = refusal(lambda: store.open(shard))
    assert str(tmp_path) in message and f"{shard.bytes} bytes" in message
    assert len(server.requests) == 1, "another attempt would not help"
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in refusal(lambda: Store(f"{server.url}/train", Cache(tmp_path / "file")).open(shard))


# Hostile manifests


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/b", "..", ".", "", "a::b", "a\\b", "a\0b", "a\nb", "\ud800", "x" * 300, None]
)
def test_names_that_lead_elsewhere(name: Any, server: Server, packed: Path, manifest: Manifest, tmp_path: Path) -> None:
    shard = replace(manifest.shards[0], name=name)
    for store in (Store(packed / "train"), Store(f"{server.url}/train", Cache(tmp_path / "cache"))):
        assert "no plain file name" in refusal(lambda store=store: store.open(shard))
    assert server.requests == [] and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("changes", [{"sha256": "../../../x"}, {"sha256": None}, {"bytes": -1}, {"bytes": "9"}])
def test_checksums_that_are_none(changes: Any, server: Server, manifest: Manifest, tmp_path: Path) -> None:
    shard = replace(manifest.shards[0], **changes)
    refusal(lambda: Store(f"{server.url}/train", Cache(tmp_path / "cache")).open(shard))
    assert server.requests == [] and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["a?b=c.tar", "a#b.tar", "a%2e%2e%2fb.tar", "ä b.tar", "a&b.tar"])
def test_odd_but_plain_names_stay_names(name: str, server: Server, tmp_path: Path) -> None:
    server.folder = tmp_path / "there"
    server.folder.mkdir()
    (server.folder / name).write_bytes(b"content")
    shard = Shard(name, 1, 7, hashlib.sha256(b"content").hexdigest())
    assert Store(f"{server.url}/?t=1", Cache(tmp_path / "cache")).open(shard).read_bytes() == b"content"
    assert server.requests[0].endswith("?t=1")
