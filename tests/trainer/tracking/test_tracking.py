"""The journal is the truth: a tracker that fails costs a warning, never a figure and never any time.

Against a real MLflow server that is killed, stopped and started again.
"""

import http.server
import itertools
import json
import math
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import mlflow
import numpy as np
import pytest
from PIL import Image

from trainer.checkpoints.files import find
from trainer.checkpoints.synthesis import load_for_synthesis
from trainer.config import Config
from trainer.loop import train
from trainer.tracking import aggregation
from trainer.tracking import tracker as tracking
from trainer.tracking.__main__ import replay
from trainer.tracking.aggregation import lines_per_point
from trainer.tracking.journal import read_journal
from trainer.tracking.sender import flatten
from trainer.tracking.state import store_name, tracked_run
from trainer.tracking.tracker import Tracker

ROOT = Path(__file__).parents[3]
DEAD = "http://127.0.0.1:9"
HELD_UP_S = 3.0
"""What a call may take on a machine that stalls: waiting for a server that hangs takes ten seconds."""


class Server:
    """A real `mlflow server` on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self.process is None:
            command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
            command += ["--port", str(self.port), "--backend-store-uri", f"sqlite:///{self.folder}/m.db"]
            command += ["--artifacts-destination", str(self.folder / "artifacts")]
            environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            with (self.folder / "log").open("ab") as log:
                self.process = subprocess.Popen(
                    command, stdout=log, stderr=log, env=environment, start_new_session=True
                )
        wait_for(self.answers)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    @property
    def client(self) -> Any:
        return mlflow.MlflowClient(tracking_uri=self.uri)


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def one_server(tracked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    shutil.copyfile(tracked, made.folder / "m.db")
    yield made
    made.kill()


@pytest.fixture
def server(one_server: Server) -> Server:
    one_server.start()
    return one_server


@pytest.fixture
def database(tracked: Path, tmp_path: Path) -> str:
    """The URI of an MLflow database without runs."""
    return f"sqlite:///{shutil.copyfile(tracked, tmp_path / 'm.db')}"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "face"
    folder.mkdir()
    return folder


def begin(run: Path, uri: str, images: int = 0, run_id: str | None = None, **settings: Any) -> Tracker:
    return Tracker(run, uri, "test", settings, images, run_id)


def log(tracker: Tracker, first: int, last: int) -> float:
    """Two figures per line, every 10 images. Returns how long the longest call took, in seconds."""
    longest = 0.0
    for images in range(first, last + 1, 10):
        began = time.perf_counter()
        tracker.log(images, {"generator/total": 1 / images, "images_per_s": images / 7})
        longest = max(longest, time.perf_counter() - began)
    return longest


def history(client: Any, run_id: str, name: str) -> list[tuple[int, float, int]]:
    points = client.get_metric_history(run_id, name)
    return sorted((point.step, point.value, point.timestamp) for point in points)


def journal(run: Path, name: str) -> list[tuple[int, float, int]]:
    return [(line["images"], line[name], line["time"]) for line in read_journal(run) if name in line]  # type: ignore[misc]


def assert_all_there(client: Any, run: Path, run_id: str | None) -> None:
    """Every figure of the journal is in MLflow, once, at its images, with its time; and nothing else is."""
    assert run_id is not None
    names = {name for line in read_journal(run) for name in line} - {"images", "time"}
    assert client.get_run(run_id).data.metrics.keys() == names
    for name in names:
        assert history(client, run_id, name) == journal(run, name)


def test_down_at_the_start_then_up(one_server: Server, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one_server.kill()
    began = time.perf_counter()
    tracker = begin(run, one_server.uri, options={"rate": 0.1})
    tracker.describe("manifest.json", {"digest": "abc"})
    log(tracker, 10, 2000)
    tracker.picture(2000, "samples", np.full((8, 8, 3), 77, np.uint8))
    assert time.perf_counter() - began < HELD_UP_S
    assert tracker.run_id is None
    wait_for(lambda: "fails" in capsys.readouterr().err)
    one_server.start()
    wait_for(lambda: tracker.run_id)
    log(tracker, 2010, 2100)
    tracker.close(finished=True)
    client = one_server.client
    assert_all_there(client, run, tracker.run_id)
    found = client.get_run(tracker.run_id)
    assert (found.info.run_name, found.info.status) == ("face", "FINISHED")
    assert found.data.params == {"options.rate": "0.1"}
    artifacts = {item.path for item in client.list_artifacts(tracker.run_id)}
    assert artifacts == {"manifest.json", "settings.json", "images"}
    picture = next(item.path for item in client.list_artifacts(tracker.run_id, "images") if item.path.endswith(".png"))
    assert "samples+step+2000+" in picture
    assert np.asarray(Image.open(client.download_artifacts(tracker.run_id, picture)))[0, 0].tolist() == [77, 77, 77]
    output = capsys.readouterr().err
    assert output.count("MLflow answers again") == 1 and "replay" not in output


def test_killed_in_the_middle_and_started_again(server: Server, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = begin(run, server.uri)
    longest = log(tracker, 10, 500)
    wait_for(lambda: tracker.run_id and history(server.client, tracker.run_id, "images_per_s"))
    server.kill()
    for images in range(510, 1000, 50):
        longest = max(longest, log(tracker, images, images + 40))
        time.sleep(0.2)
    assert longest < HELD_UP_S
    server.start()
    log(tracker, 1010, 1100)
    tracker.close(finished=True)
    assert_all_there(server.client, run, tracker.run_id)
    assert len(read_journal(run)) == 110
    output = capsys.readouterr().err
    assert output.count("warning: MLflow at") == 1 and "replay" not in output


def test_a_server_that_hangs_holds_nobody_up(server: Server, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = begin(run, server.uri)
    log(tracker, 10, 100)
    wait_for(lambda: tracker.run_id and len(history(server.client, tracker.run_id, "images_per_s")) == 10)
    server.signal(signal.SIGSTOP)
    try:
        assert log(tracker, 110, 500) < HELD_UP_S
        began = time.perf_counter()
        tracker.close(finished=False, timeout_s=1.5)
        assert time.perf_counter() - began < 1.5 + HELD_UP_S
    finally:
        server.signal(signal.SIGCONT)
    assert f"of {run}, MLflow does not have 40 lines and 0 pictures" in capsys.readouterr().err
    assert replay(run).startswith("40 lines and 0 pictures sent")
    assert_all_there(server.client, run, tracker.run_id)
    assert server.client.get_run(tracker.run_id).info.status == "KILLED"


def test_refused_values_do_not_hold_up_the_others(
    server: Server, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = begin(run, server.uri)
    for images in range(1, 31):
        odd = {"a*b": 1.0, "x" * 300: 2.0} if images > 3 else {}
        odd |= {"infinite": math.inf, "nan": math.nan} if images == 5 else {"infinite": 0.5, "nan": 0.25}
        tracker.log(images, {"loss": 1 / images, **odd})
    tracker.note(5, "generator/total is not finite")
    tracker.close(finished=True)
    client, run_id = server.client, tracker.run_id
    assert run_id is not None
    assert history(client, run_id, "loss") == journal(run, "loss")
    assert [step for step, _, _ in history(client, run_id, "infinite")] == [*range(1, 5), *range(6, 31)]
    values = {step: value for step, value, _ in history(client, run_id, "nan")}
    assert math.isnan(values.pop(5)) and set(values.values()) == {0.25} and len(values) == 29
    assert client.get_run(run_id).data.metrics.keys() == {"loss", "infinite", "nan"}
    assert client.get_run(run_id).data.tags["note.0000000005"] == "generator/total is not finite"
    assert [line["infinite"] for line in read_journal(run)][4] == math.inf
    output = capsys.readouterr().err
    assert (output.count("'a*b'"), output.count("'infinite'"), output.count("replay")) == (1, 1, 0)


def test_a_deleted_run_is_waited_for_and_a_lost_one_is_made_anew(server: Server, run: Path) -> None:
    tracker = begin(run, server.uri)
    log(tracker, 10, 100)
    tracker.close(finished=True)
    client, first = server.client, tracker.run_id
    client.delete_run(first)
    resumed = begin(run, server.uri, 100)
    log(resumed, 110, 200)
    resumed.close(finished=True)
    client.restore_run(first)
    replay(run)
    assert_all_there(client, run, first)
    elsewhere = f"sqlite:///{run.parent}/other.db"
    again = begin(run, elsewhere, 200, run_id=first)
    again.close(finished=True)
    assert again.run_id not in (None, first)
    assert_all_there(mlflow.MlflowClient(tracking_uri=elsewhere), run, again.run_id)
    assert tracked_run(run, server.uri) == first


def test_resuming_continues_the_run(server: Server, run: Path) -> None:
    first = begin(run, server.uri)
    log(first, 10, 300)
    first.close(finished=False)
    assert server.client.get_run(first.run_id).info.status == "KILLED"
    resumed = begin(run, server.uri, 200)
    assert resumed.run_id == first.run_id
    wait_for(lambda: server.client.get_run(first.run_id).info.status == "RUNNING")
    for images in range(210, 401, 10):
        resumed.log(images, {"generator/total": 2.0})
    resumed.close(finished=True)
    assert resumed.run_id == first.run_id is not None
    assert len(read_journal(run)) == 40
    there = history(server.client, first.run_id, "generator/total")
    assert set(journal(run, "generator/total")) <= set(there)
    assert len(there) == 30 + 20, "what was trained twice stands there twice, at the same steps"
    assert server.client.get_run(first.run_id).info.status == "FINISHED"


def test_what_was_sent_of_dropped_lines_is_not_counted(run: Path, database: str) -> None:
    """Figures may come after what was measured at a later image: the line at 8 goes, the one at 6 behind it stays."""
    first = begin(run, database)
    for images in (2, 4, 8, 6, 10):
        first.log(images, {"loss": images / 2})
    first.close(finished=False)
    again = begin(run, DEAD, 6)
    again.log(8, {"loss": 100.0})
    again.close(finished=False)
    assert [line["images"] for line in read_journal(run)] == [2, 4, 6, 8]
    assert replay(run, database).startswith("1 line and 0 pictures")
    points = history(mlflow.MlflowClient(tracking_uri=database), str(first.run_id), "loss")
    assert [(step, value) for step, value, _ in points] == [(2, 1), (4, 2), (6, 3), (8, 4), (8, 100), (10, 5)]


def test_a_torn_line_and_lines_beyond_the_checkpoint_are_dropped_on_resume(run: Path, database: str) -> None:
    first = begin(run, DEAD)
    for images in (2, 4, 6):
        first.log(images, {"loss": 1.0})
    first.close(finished=False)
    with (run / "journal.jsonl").open("a") as file:
        file.write('{"loss": 2.')
    assert [line["images"] for line in read_journal(run)] == [2, 4, 6]
    again = begin(run, database, 4)
    again.log(6, {"loss": 2.0})
    again.close(finished=True)
    assert [(line["images"], line["loss"]) for line in read_journal(run)] == [(2, 1.0), (4, 1.0), (6, 2.0)]
    assert_all_there(mlflow.MlflowClient(tracking_uri=database), run, again.run_id)


def test_replay_fills_a_gap_and_twice_changes_nothing(server: Server, run: Path) -> None:
    tracker = begin(run, DEAD)
    log(tracker, 10, 250)
    tracker.picture(250, "samples", np.zeros((8, 8, 3), np.uint8))
    tracker.close(finished=True)
    state = json.loads((run / "tracking.json").read_text())
    (run / "tracking.json").write_text(json.dumps({**state, "uri": server.uri}))
    command = [sys.executable, "-m", "trainer.tracking", "replay", str(run)]
    other = {**os.environ, "MLFLOW_TRACKING_URI": "http://other:5000"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=other)
    assert done.returncode == 0, done.stderr
    assert f"MLFLOW_TRACKING_URI is not followed: the run's own store is {server.uri}; " in done.stderr
    run_id = tracked_run(run, server.uri)
    assert done.stdout == f"25 lines and 1 picture sent to run {run_id} at {server.uri}\n"
    client = server.client

    def everything() -> object:
        names = client.get_run(run_id).data.metrics
        artifacts = [item.path for item in client.list_artifacts(run_id, "images")]
        return [history(client, str(run_id), name) for name in names], artifacts, client.get_run(run_id).info.status

    before = everything()
    assert replay(run).startswith("0 lines and 0 pictures sent")
    # Even somebody who forgot how far it got changes no figure.
    state = json.loads((run / "tracking.json").read_text())
    state["stores"][server.uri]["lines"] = 0
    (run / "tracking.json").write_text(json.dumps(state))
    assert replay(run).startswith("25 lines")
    assert everything() == before
    assert_all_there(client, run, run_id)


def test_replay_says_in_one_line_what_is_wrong(run: Path) -> None:
    def replayed(*more: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "trainer.tracking", "replay", str(run), *more]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        return done.returncode, next((line for line in done.stderr.splitlines() if line.startswith("error: ")), "")

    assert replayed()[0] == 2
    tracker = begin(run, DEAD)
    tracker.log(1, {"loss": 1.0})
    code, output = replayed()
    assert code == 2 and "being written by a training" in output
    tracker.close(finished=True)
    code, output = replayed("--uri", "http://me:secret@127.0.0.1:9")
    assert code == 2 and "MLflow at http://127.0.0.1:9 fails (Connection refused); start it" in output


def test_the_answer_to_a_run_s_creation_that_was_lost_makes_no_second_run(server: Server, run: Path) -> None:
    tracker = begin(run, server.uri)
    tracker.log(1, {"loss": 1.0})
    tracker.close(finished=True)
    state = json.loads((run / "tracking.json").read_text())
    state["stores"][server.uri] |= {"run_id": None, "lines": 0}
    (run / "tracking.json").write_text(json.dumps(state))
    replay(run)
    assert tracked_run(run, server.uri) == tracker.run_id


def test_a_store_that_vanishes_costs_a_warning_and_no_figure(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = begin(run, f"sqlite:///{tmp_path}/store/m.db", a=1)
    tracker.log(2, {"loss": 0.5})
    wait_for(lambda: tracker.run_id)
    shutil.rmtree(tmp_path / "store")
    tracker.log(4, {"loss": 0.25})
    tracker.log(6, {"loss": 0.125})
    tracker.close(finished=True)
    assert [(line["images"], line["loss"]) for line in read_journal(run)] == [(2, 0.5), (4, 0.25), (6, 0.125)]
    assert capsys.readouterr().err.count("warning: MLflow at") == 1


class Nonsense(http.server.BaseHTTPRequestHandler):
    """A portal that greets everybody with a page of its own, or a proxy in trouble."""

    answers: ClassVar = itertools.cycle(
        [(200, b"<html>Welcome!</html>"), (200, b'{"a": 1}'), (502, b"oops"), (404, b"")]
    )

    def do_GET(self) -> None:
        code, content = next(self.answers)
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_server_that_talks_nonsense_is_an_outage(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "PACE_S", 0.01)
    monkeypatch.setattr(tracking, "LONGEST_PAUSE_S", 0.02)
    asked: list[bool] = []
    monkeypatch.setattr(Nonsense, "answers", (asked.append(True) or answer for answer in Nonsense.answers))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nonsense) as portal:
        threading.Thread(target=portal.serve_forever, daemon=True).start()
        tracker = begin(run, f"http://127.0.0.1:{portal.server_port}")
        log(tracker, 10, 100)
        wait_for(lambda: len(asked) > 12)
        assert any(thread.name == "tracking" for thread in threading.enumerate())
        tracker.close(finished=True)
        portal.shutdown()
    assert len(read_journal(run)) == 10


def test_a_full_disk_costs_a_warning_and_no_figure(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The kernel's limit on a file's size makes writing fail, in the middle of a line, as a full disk does."""
    tracker = begin(run, DEAD)
    log(tracker, 10, 50)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((run / "journal.jsonl").stat().st_size + 20, before[1]))
    try:
        log(tracker, 60, 100)
        assert len(read_journal(run)) == 5
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    log(tracker, 110, 120)
    tracker.close(finished=True)
    assert [line["images"] for line in read_journal(run)] == list(range(10, 130, 10))
    output = capsys.readouterr().err
    assert output.count("cannot be written") == 1 and "is written again, 6 lines at once" in output


def test_training_goes_through_without_a_server(
    small_config: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config("pix2pixhd", tracking__uri="http://127.0.0.1:9")
    assert train(config) == 0
    lines = read_journal(config.run)
    assert {line["images"] for line in lines} == {2, 4, 6, 8}
    output = capsys.readouterr().err
    assert f"python -m trainer.tracking replay {config.run}" in output
    uri = f"sqlite:///{tmp_path}/later.db"
    assert replay(config.run, uri).startswith(f"{len(lines)} lines and 1 picture sent")
    client = mlflow.MlflowClient(tracking_uri=uri)
    run_id = tracked_run(config.run, uri)
    assert_all_there(client, config.run, run_id)
    found = client.get_run(run_id)
    assert (found.info.status, found.data.params["method"]) == ("FINISHED", "pix2pixhd")
    assert {"label_schema.json", "manifest.json", "images"} <= {item.path for item in client.list_artifacts(run_id)}


def test_a_run_s_id_reaches_the_model_though_its_checkpoint_is_older(small_config: Callable[..., Config]) -> None:
    config = small_config("pix2pixhd", images=2)
    train(config)
    folder = find(config.run)
    assert folder is not None
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "run_id": None}))
    run_id = load_for_synthesis(folder).run_id
    assert run_id is not None and run_id == tracked_run(config.run, config.tracking.uri)


def test_tracking_draws_no_random_numbers(run: Path, database: str) -> None:
    def states() -> object:
        return random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[union-attr, index]

    before = states()
    for uri in (DEAD, database):
        tracker = begin(run, uri, 10)
        tracker.log(10, {"loss": 1.0})
        tracker.picture(10, "samples", np.zeros((8, 8, 3), np.uint8))
        tracker.close(finished=True)
    assert states() == before


def test_a_loader_worker_forked_while_mlflow_is_imported_does_not_hang(run: Path) -> None:
    program = (
        "import os, pathlib, sys, time, trainer.tracking.tracker as t\n"
        f"tracker = t.Tracker(pathlib.Path(sys.argv[1]), {DEAD!r}, 'test', {{}}, 0, None)\n"
        "while 'mlflow' not in sys.modules: time.sleep(0.001)\n"
        "time.sleep(0.1)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    import mlflow\n"
        "    os._exit(7)\n"
        "deadline = time.monotonic() + 10\n"
        "while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline: time.sleep(0.05)\n"
        "if not ended[0]: os.kill(child, 9)\n"
        "os._exit(os.waitstatus_to_exitcode(ended[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(run)], cwd=ROOT, stderr=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 7


def test_closing_waits_no_longer_than_it_takes(server: Server, run: Path) -> None:
    tracker = begin(run, server.uri)
    log(tracker, 10, 100)
    wait_for(lambda: tracker.run_id and len(history(server.client, tracker.run_id, "images_per_s")) == 10)
    began = time.perf_counter()
    tracker.close(finished=True)
    assert time.perf_counter() - began < 10


def test_a_training_that_was_killed_is_replayed_as_killed(run: Path, database: str) -> None:
    program = (
        "import itertools, pathlib, sys, trainer.tracking.tracker as t\n"
        f"tracker = t.Tracker(pathlib.Path(sys.argv[1]), {DEAD!r}, 'test', {{}}, 0, None)\n"
        "for images in itertools.count(1): tracker.log(images, {'loss': 1 / images})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(run)], cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(read_journal(run)) > 50)
    process.kill()
    process.wait()
    replay(run, database)
    client = mlflow.MlflowClient(tracking_uri=database)
    # Every line is there, but for means over several where there are more than 1,000.
    run_id = tracked_run(run, database)
    assert journal(run, "loss")[:50] == history(client, str(run_id), "loss")[:50]
    assert client.get_run(run_id).info.status == "KILLED"


def test_a_store_that_lost_its_runs_gets_everything_again(run: Path, database: str) -> None:
    tracker = begin(run, database)
    log(tracker, 10, 100)
    tracker.close(finished=True)
    state = json.loads((run / "tracking.json").read_text())
    state["stores"][store_name(database)] |= {"run_id": "0" * 32, "token": "1" * 32}
    (run / "tracking.json").write_text(json.dumps(state))
    replay(run)
    run_id = tracked_run(run, database)
    assert run_id != tracker.run_id
    assert_all_there(mlflow.MlflowClient(tracking_uri=database), run, run_id)
    assert {item.path for item in mlflow.MlflowClient(tracking_uri=database).list_artifacts(run_id)} == {
        "settings.json"
    }


def test_a_million_lines_are_six_thousand_points_and_every_line_counts() -> None:
    ends = [index + 1 for index in range(10**6) if (index + 1) % lines_per_point(index) == 0]
    assert ends[:1000] == list(range(1, 1001))
    assert 5000 < len(ends) < 7000
    assert max(after - before for before, after in itertools.pairwise(ends)) == 1024


def test_long_runs_are_sent_as_means(run: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregation, "SINGLE_LINES", 4)
    tracker = begin(run, database)
    for images in range(1, 16):
        tracker.log(images, {"loss": float(images)})
        if images == 11:
            wait_for(lambda: tracker.run_id)
    tracker.close(finished=True)
    points = [
        (step, value)
        for step, value, _ in history(mlflow.MlflowClient(tracking_uri=database), str(tracker.run_id), "loss")
    ]
    assert points == [(1, 1), (2, 2), (3, 3), (4, 4), (6, 5.5), (8, 7.5), (12, 10.5), (15, 14)]


def test_settings_become_dotted_names() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": "f"}) == {"a.b.c": 1, "a.d": [2], "e": "f"}
