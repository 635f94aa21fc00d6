"""What is registered is what was gated: downloaded by its alias it runs, and says what it is. With a real MLflow."""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deploy.metadata import Metadata
from deploy.model_arguments import open_session
from deploy.registry import fetch
from deploy.runtime import Session
from export import graph, registry
from export.gates.result import GateResult
from likeness.command import BadInput

DEAD = "http://127.0.0.1:9"
METHOD = "style_consistent"
PASSED = [
    GateResult("opset", True, {"wanted": 20, "found": 20}, ""),
    GateResult("parity", True, {"max_abs": 2e-6, "psnr_db": 101.25, "worst": "sample 3", "ratio": float("inf")}, ""),
]


@dataclass(frozen=True)
class Store:
    """A tracking store with a run of a killed training in it."""

    uri: str
    run_id: str

    @property
    def client(self) -> Any:
        return mlflow.MlflowClient(tracking_uri=self.uri)


def a_run(uri: str, experiment: str, artifacts: Path | None) -> Store:
    client = mlflow.MlflowClient(tracking_uri=uri)
    found = client.create_experiment(experiment, artifacts.as_uri() if artifacts else None)
    run_id = client.create_run(found).info.run_id
    client.log_metric(run_id, "generator/total", 0.5, step=77)
    client.log_metric(run_id, "generator/total", 0.25, step=88)
    client.set_terminated(run_id, "KILLED")
    return Store(uri, run_id)


@pytest.fixture(scope="module")
def database(tracked: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("store")
    shutil.copyfile(tracked, folder / "m.db")
    return a_run(f"sqlite:///{folder}/m.db", "in a file", folder / "artifacts")


@pytest.fixture(scope="module")
def process(database: Store) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A real `mlflow server` on the same database: making another one takes 10 s."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    folder = Path(database.uri.removeprefix("sqlite:///")).parent
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", port]
    command += ["--backend-store-uri", database.uri, "--artifacts-destination", str(folder / "served")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=5):
                break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    yield uri, started
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()


@pytest.fixture(scope="module")
def server(process: tuple[str, Any]) -> Store:
    return a_run(process[0], "on a server", None)


def written(small: Any, folder: Path, beside: bool) -> Path:
    """The model's file, with its weights in it or beside it."""
    schema = small.synthesis.schema
    metadata = Metadata(METHOD, schema, "ab" * 32, None, 77, "random:0", gates=tuple(gate.to_json() for gate in PASSED))
    file = folder / "face.onnx"
    graph.save(small.exported.model, metadata.to_props(), file)
    if beside:
        proto = onnx.load(file)
        onnx.save_model(proto, file, save_as_external_data=True, location="face.onnx.data")
        assert (folder / "face.onnx.data").stat().st_size > file.stat().st_size
    return file


def sample(small: Any, count: int = 1) -> dict[str, Any]:
    named = zip(small.synthesis.inputs, small.samples.expanded(small.synthesis.schema), strict=True)
    return {name: tensor[:count].numpy() for name, tensor in named}


def reports_of(model: Path) -> list[Path]:
    files = [model.with_suffix(".report.json"), model.with_suffix(".report.html")]
    for file in files:
        file.write_text(file.name)
    return files


def downloaded(store: Store, name: str, folder: Path) -> Path:
    mlflow.set_tracking_uri(store.uri)
    try:
        return Path(mlflow.artifacts.download_artifacts(name, dst_path=str(folder)))
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "beside"), [("database", True), ("server", False), ("server", True)])
def test_what_comes_back_by_the_alias_is_what_was_gated(
    kind: str, beside: bool, small: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store: Store = request.getfixturevalue(kind)
    model, name = written(small, tmp_path, beside), f"{kind} {beside}"
    reports, example = reports_of(model), sample(small)
    problem = registry.log_model(
        model, PASSED, store.run_id, store.uri, name=name, example=example, tags={"precision": "fp32"}, reports=reports
    )
    assert problem is None

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    there = downloaded(store, f"models:/{name}@candidate", elsewhere)
    session, original = Session(there / "model.onnx"), Session(model)
    assert session.metadata == original.metadata and session.metadata.gates[1]["figures"]["psnr_db"] == 101.25
    np.testing.assert_array_equal(session.run(**sample(small, 3)), original.run(**sample(small, 3)))
    if beside:
        assert (there / "model.onnx.data").stat().st_size == (tmp_path / "face.onnx.data").stat().st_size
    else:
        assert (there / "model.onnx").read_bytes() == model.read_bytes()
    assert {file.name for file in (there / "extra_files").iterdir()} == {"face.report.json", "face.report.html"}

    described = mlflow.models.Model.load(there)
    assert described.signature is not None and described.signature.outputs is not None
    specs = {each.name: each for each in (*described.signature.inputs, *described.signature.outputs)}
    assert {name: each.shape for name, each in specs.items()} == {
        "label": (-1, 15, 32, 32),
        "exemplar_label": (-1, 15, 32, 32),
        "exemplar": (-1, 3, 32, 32),
        "image": (-1, 3, 32, 32),
    }
    assert {each.type for each in specs.values()} == {np.dtype("float32")}
    kept = described.load_input_example(str(there))
    pictures = mlflow.pyfunc.load_model(str(there)).predict(kept)
    np.testing.assert_allclose(pictures["image"], original.run(**example), atol=1e-5)

    client = store.client
    version = client.get_model_version_by_alias(name, "candidate")
    assert version.run_id == store.run_id
    wanted = {
        "likeness.method": METHOD,
        "likeness.checkpoint_sha256": "ab" * 32,
        "likeness.opset": "20",
        "likeness.gate.parity": "passed",
        "precision": "fp32",
    }
    assert wanted.items() <= version.tags.items()
    logged = client.get_logged_model(described.model_id)
    assert wanted.items() <= logged.tags.items()
    figures = {metric.key: metric.value for metric in logged.metrics}
    assert figures == {
        "generator/total": 0.5,
        "export/opset/wanted": 20,
        "export/opset/found": 20,
        "export/parity/max_abs": 2e-6,
        "export/parity/psnr_db": 101.25,
    }
    run = client.get_run(store.run_id)
    # Beside its run, and not in MLflow's default experiment, whose files would lie in the folder one is in.
    assert logged.experiment_id == run.info.experiment_id != "0"
    assert run.info.status == "KILLED" and run.data.metrics["export/parity/psnr_db"] == 101.25
    assert len(client.get_metric_history(store.run_id, "generator/total")) == 2
    assert {item.path for item in client.list_artifacts(store.run_id, "export")} == {
        "export/face.report.json",
        "export/face.report.html",
    }


def test_the_alias_moves_to_the_next_version(database: Store, small: Any, tmp_path: Path) -> None:
    model = written(small, tmp_path, False)
    for alias in ("candidate", "candidate", "champion"):
        assert registry.log_model(model, PASSED, database.run_id, database.uri, alias=alias) is None
    said = registry.in_words("style_consistent", database.uri)
    location = "models:/likeness-style_consistent@candidate"
    assert f"registered as {location}; load it: MLFLOW_TRACKING_URI={database.uri} python -m deploy batch" in said
    assert f"--model {location} " in said
    registered = database.client.get_registered_model("likeness-style_consistent")
    assert {alias: int(version) for alias, version in registered.aliases.items()} == {"candidate": 2, "champion": 3}


def test_what_the_process_tracks_elsewhere_is_left_alone(
    small: Any, tmp_path: Path, database: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere.example.org")
    timeout = os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]
    problem = registry.log_model(written(small, tmp_path, False), PASSED, database.run_id, database.uri, name="calm")
    assert problem is None
    assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == "http://elsewhere.example.org"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == timeout
    assert mlflow.active_run() is None
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_a_tracker_that_is_away_costs_seconds(small: Any, tmp_path: Path) -> None:
    model = written(small, tmp_path, False)
    began = time.monotonic()
    problem = registry.log_model(model, PASSED, "0" * 32, DEAD.replace("//", "//me:secret@"))
    assert time.monotonic() - began < 15
    assert problem == f"{DEAD} does not answer (Connection refused)"
    Session(model)


def test_a_tracker_that_hangs_costs_seconds(
    process: tuple[str, Any], server: Store, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    model = written(small, tmp_path, False)
    os.killpg(process[1].pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        problem = registry.log_model(model, PASSED, server.run_id, server.uri)
        assert time.monotonic() - began < 10
    finally:
        os.killpg(process[1].pid, signal.SIGCONT)
    assert problem == f"no answer from {server.uri} within 2 s"


def test_a_run_that_is_not_there_is_named(database: Store, small: Any, tmp_path: Path) -> None:
    problem = registry.log_model(written(small, tmp_path, False), PASSED, "0" * 32, database.uri, name="orphan")
    assert problem is not None and "0" * 32 in problem
    assert not database.client.search_registered_models("name = 'orphan'")


def test_a_database_that_is_none_is_a_problem_not_a_crash(small: Any, tmp_path: Path) -> None:
    (tmp_path / "m.db").write_text("not a database, but long enough to look at" * 100)
    problem = registry.log_model(written(small, tmp_path, False), PASSED, "0" * 32, f"sqlite:///{tmp_path}/m.db")
    assert problem is not None and "not a database" in problem


def test_a_signature_has_the_types_of_the_file() -> None:
    shape = ["batch", "height", "width", 3]
    tensors = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in ("exemplar", "image")]
    node = helper.make_node("Identity", ["exemplar"], ["image"])
    found = registry.signature(helper.make_model(helper.make_graph([node], "g", tensors[:1], tensors[1:])))
    for schema in (found.inputs, found.outputs):
        assert schema is not None
        (spec,) = schema
        assert (spec.type, spec.shape) == (np.dtype("uint8"), (-1, -1, -1, 3))


@pytest.mark.parametrize(
    ("name", "alias"), [("a/b", "candidate"), (" ", "candidate"), (None, "latest"), (None, "v3"), (None, "my best")]
)
def test_names_that_mlflow_refuses_are_refused_before_the_export(name: str | None, alias: str, database: Store) -> None:
    with pytest.raises(BadInput, match=r"choose another one|cannot be used"):
        registry.check_names(name, alias)
    # MLflow's own opinion, of a model that has a version.
    client = database.client
    if not client.search_registered_models("name='probe'"):
        client.create_registered_model("probe")
        client.create_model_version("probe", "s3://bucket/probe")
    client.set_registered_model_alias("probe", "fine", "1")
    with pytest.raises(mlflow.exceptions.MlflowException):
        if name is not None:
            client.create_registered_model(name)
        else:
            client.set_registered_model_alias("probe", alias, "1")


def test_usual_names_are_taken() -> None:
    registry.check_names(None, registry.ALIAS)
    registry.check_names("likeness-face fp16", "blue-green_2")


def test_deploy_loads_a_model_by_its_alias(
    small: Any, server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = written(small, tmp_path, beside=True)
    assert registry.log_model(model, PASSED, server.run_id, server.uri, name="served", alias="champion") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    arguments = argparse.Namespace(
        model="models:/served@champion", provider="cpu", threads=None, size=None, engines=None, devices=None
    )
    session = open_session(arguments)
    feeds = sample(small)
    assert np.array_equal(session.run(**feeds), Session(model).run(**feeds))
    at = session.path.stat().st_mtime_ns
    assert fetch("models:/served/1") == fetch("models:/served@champion") == session.path
    assert session.path.stat().st_mtime_ns == at, "a version is downloaded once"

    assert registry.log_model(model, PASSED, server.run_id, server.uri, name="served", alias="champion") is None
    assert fetch("models:/served@champion").parent != session.path.parent, "the alias has moved on"


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("models:/served@nobody", "models:/served@nobody cannot be had from http://127.0.0.1"),
        ("models:/served/77", "models:/served/77 cannot be had from"),
        ("models:/nobody@champion", "models:/nobody@champion cannot be had from"),
        ("models:/served", "write models:/NAME@ALIAS"),
    ],
)
def test_what_the_registry_does_not_have_is_refused(
    location: str, message: str, server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    with pytest.raises(BadInput, match=message):
        fetch(location)


def test_a_model_that_was_deleted_and_made_anew_is_another(
    database: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database.uri)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for content in (b"the first", b"the second"):
        folder = tmp_path / content.decode()
        folder.mkdir()
        (folder / "model.onnx").write_bytes(content)
        database.client.create_registered_model("anew")
        assert database.client.create_model_version("anew", str(folder)).version == 1
        assert fetch("models:/anew/1").read_bytes() == content
        database.client.delete_registered_model("anew")


def test_artifacts_that_are_away_are_asked_for_again(
    database: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database.uri)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    database.client.create_registered_model("away")
    database.client.create_model_version("away", str(tmp_path / "mounted"))
    with pytest.raises(BadInput, match=r"models:/away/1 is no ONNX model: it has no file model\.onnx"):
        fetch("models:/away/1")
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "model.onnx").write_bytes(b"back")
    assert fetch("models:/away/1").read_bytes() == b"back"
    # Google's library is not installed: neither MLflow nor its libraries say so with an error of MLflow's.
    version = database.client.create_model_version("away", "gs://bucket/model").version
    with pytest.raises(BadInput, match=f"models:/away/{version} cannot be downloaded from .*google"):
        fetch(f"models:/away/{version}")
    assert len(list((tmp_path / "cache").rglob("model.onnx"))) == 1
    assert len(list((tmp_path / "cache" / "likeness" / "models").iterdir())) == 1


def test_tasks_that_fetch_one_version_at_a_time_all_get_it(
    database: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database.uri)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.onnx").write_bytes(bytes(range(256)) * 4096)
    database.client.create_registered_model("wanted")
    database.client.create_model_version("wanted", str(source))
    with ThreadPoolExecutor(6) as tasks:
        files = list(tasks.map(lambda _: fetch("models:/wanted/1"), range(6)))
    assert len(set(files)) == 1 and files[0].read_bytes() == (source / "model.onnx").read_bytes()
    assert list(files[0].parent.parent.iterdir()) == [files[0].parent]


def test_a_registry_must_be_named_and_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(BadInput, match="set MLFLOW_TRACKING_URI"):
        fetch("models:/served@champion")
    assert not list(tmp_path.iterdir()), "MLflow makes a database where none is named"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    with pytest.raises(BadInput, match=re.escape("cannot be had from http://127.0.0.1:9")) as refused:
        fetch("models:/served@champion")
    assert "secret" not in str(refused.value)
