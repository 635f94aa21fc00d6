"""The command, as a person runs it: from a checkpoint of each method to a file that deploy runs."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlflow
import onnx
import pytest

from deploy.runtime import Session
from export import registry
from export.__main__ import main
from export.gates.result import THRESHOLDS
from likeness.command import BadInput
from shards.packing.pairs import preset
from shards.packing.plan import Packing
from shards.packing.write import pack
from shards.records import LabelSchema
from trainer import methods
from trainer.checkpoints.files import Checkpoint, find
from trainer.checkpoints.synthesis import load_for_synthesis
from trainer.config import Config
from trainer.loop import train

ROOT = Path(__file__).parents[2]
MakeConfig = Callable[..., Config]


@pytest.mark.parametrize("method", methods.available())
def test_every_method_trains_exports_and_runs(
    method: str, small_config: MakeConfig, packed: Path, tmp_path: Path
) -> None:
    config = small_config(method, images=4)
    train(config)
    out = tmp_path / "model.onnx"
    assert main(["--checkpoint", str(config.run), "--out", str(out)]) == 0
    session = Session(out)
    assert session.method == method
    built = methods.find(method)(config.options, config.data.label_schema)
    assert session.inputs == tuple(built.inputs)
    assert session.schema == config.data.label_schema
    folder = find(config.run)
    assert folder is not None
    state = Checkpoint(folder).state
    assert session.metadata.checkpoint_sha256 == state.digest
    assert session.metadata.images_seen == 4
    assert [gate["name"] for gate in session.metadata.gates if gate["name"] != "tensorrt_rtx"] == [
        "checker",
        "opset",
        "nodes",
        "tensorrt",
        "placement",
        "dynamic_batch",
        "parity",
    ]
    assert all(gate["passed"] for gate in session.metadata.gates)
    run_id = load_for_synthesis(folder).run_id
    assert run_id is not None
    client = mlflow.MlflowClient(tracking_uri=config.tracking.uri)
    version = client.get_model_version_by_alias(f"likeness-{method}", "candidate")
    assert version.run_id == run_id and version.tags["likeness.checkpoint_sha256"] == state.digest
    assert "export/parity/psnr_db" in client.get_run(run_id).data.metrics
    command = ["batch", "--model", str(out), "--pairs", str(packed / "test"), "--out", str(tmp_path / "pictures")]
    subprocess.run([sys.executable, "-m", "deploy", *command], check=True, cwd=ROOT)
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 8
    summary = json.loads((tmp_path / "pictures" / "summary.json").read_text())
    assert summary["pictures"] == 8


def test_metadata_describe_the_file(tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    small = ["--data.height=32", "--data.width=48", "--options.generator_base=4", "--options.generator_blocks=0"]
    config = str(ROOT / "trainer" / "configs" / "demo.yaml")
    assert main(["--config", config, "--untrained", "--out", str(out), "--opset", "19", *small]) == 0
    model = onnx.load(out)
    props = {entry.key: entry.value for entry in model.metadata_props}
    schema = LabelSchema.from_json(json.loads(props["likeness.label_schema"]))
    assert (schema.kind, schema.channels, schema.height, schema.width) == ("sketch", 15, 32, 48)
    assert json.loads(props["likeness.value_ranges"])["exemplar"] == [-1, 1]
    assert props["likeness.checkpoint_sha256"] == "untrained"
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "label": ["batch", 15, 32, 48],
        "exemplar_label": ["batch", 15, 32, 48],
        "exemplar": ["batch", 3, 32, 48],
        "image": ["batch", 3, 32, 48],
    }


def test_the_published_generator_has_the_nodes_it_should(tmp_path: Path) -> None:
    """Specification 1.3's operators and nothing else; 103 nodes at nine blocks, fewer channels for speed."""
    out = tmp_path / "face.onnx"
    config = str(ROOT / "trainer" / "configs" / "face.yaml")
    narrow = ["--data.height=64", "--data.width=64", "--options.generator_base=2"]
    assert main(["--config", config, "--untrained", "--out", str(out), *narrow]) == 0
    operators = [node.op_type for node in onnx.load(out).graph.node]
    counts = {name: operators.count(name) for name in set(operators)}
    assert counts.pop("Concat") == 1
    assert counts == {
        "Pad": 20,
        "Conv": 24,
        "InstanceNormalization": 27,
        "Relu": 18,
        "Add": 9,
        "ConvTranspose": 4,
        "Tanh": 1,
    }


def test_a_failed_gate_leaves_no_model(
    small_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config("pix2pixhd", images=2)
    train(config)
    impossible = replace(THRESHOLDS["fp32"], worst_psnr_db=500.0)
    monkeypatch.setitem(THRESHOLDS, "fp32", impossible)  # type: ignore[arg-type]
    out = tmp_path / "model.onnx"
    assert main(["--checkpoint", str(config.run), "--out", str(out)]) == 1
    assert "error: gate parity failed" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.onnx")) and not list(tmp_path.glob(".model*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "nowhere"], "no checkpoint at nowhere"),
        (["--config", "trainer/configs/face.yaml"], "--config needs --untrained"),
        (["--config", "trainer/configs/demo.yaml", "--untrained", "--opset", "17"], "choose one from 18 to 24"),
        (["--config", "trainer/configs/demo.yaml", "--untrained", "--data.widht", "64"], "did you mean 'width'"),
        (["--checkpoint", "runs", "--data.width", "64"], "does not go with --checkpoint"),
        (["--config", "trainer/configs/demo.yaml", "--untrained", "--opset", "0"], "choose one from 18 to 24"),
        (["--checkpoint", "runs", "--sampels", "x"], "unknown option --sampels"),
        (["--checkpoint", "runs", "--precision", "bf16"], "no bfloat16; add --provider openvino$"),
        (
            ["--checkpoint", "runs", "--precision", "bf16", "--provider", "cuda"],
            "--precision bf16 in opset 22 does not run with --provider cuda: ONNX Runtime has no CUDA kernels",
        ),
        (
            ["--checkpoint", "runs", "--opset", "22", "--provider", "cuda-tf32"],
            "--precision fp32 in opset 22 does not run with --provider cuda-tf32: .* after opset 21",
        ),
        (["--checkpoint", "runs", "--alias", "latest"], "the alias 'latest' cannot be used"),
    ],
)
def test_bad_arguments_are_named(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(BadInput, match=message):
        main([*arguments, "--out", str(tmp_path / "model.onnx")])


def test_samples_of_another_schema_are_refused(packed: Path, tmp_path: Path) -> None:
    config = str(ROOT / "trainer" / "configs" / "demo.yaml")
    arguments = ["--config", config, "--untrained", "--samples", str(packed / "test")]
    with pytest.raises(BadInput, match="another label schema than this model: height is 64 here and 32 there"):
        main([*arguments, "--out", str(tmp_path / "model.onnx")])


def test_an_existing_model_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    out.write_text("precious")
    with pytest.raises(BadInput, match="exists already; replace it with --force"):
        main(["--config", str(ROOT / "trainer" / "configs" / "demo.yaml"), "--untrained", "--out", str(out)])
    assert out.read_text() == "precious"


@pytest.mark.parametrize("out", ["face.v1", "folder.onnx"])
def test_a_model_has_a_name_of_its_own(out: str, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    config = str(ROOT / "trainer" / "configs" / "demo.yaml")
    with pytest.raises(BadInput, match=r"must be a file that ends in \.onnx"):
        main(["--config", config, "--untrained", "--force", "--out", str(tmp_path / out)])


def test_lossy_precisions_want_their_64_samples_before_the_export(
    small_config: MakeConfig, packed: Path, tmp_path: Path
) -> None:
    config = small_config("style_consistent", images=4)
    train(config)
    arguments = ["--checkpoint", str(config.run), "--out", str(tmp_path / "model.onnx"), "--precision"]
    for precision, least in (("fp16", 64), ("int8", 80)):
        with pytest.raises(BadInput, match=f"--precision {precision} is judged by {least} samples, but .* has 8"):
            main([*arguments, precision])


def test_too_few_samples_are_refused_before_the_export(small_config: MakeConfig, packed: Path, tmp_path: Path) -> None:
    pack_few = tmp_path / "few"
    pack(Packing(packed / "videos", preset("default"), pairs=2, size=32), pack_few)
    config = small_config("style_consistent", images=4)
    train(config)
    with pytest.raises(BadInput, match="few holds 2 samples, but the gates need at least 3"):
        main(["--checkpoint", str(config.run), "--out", str(tmp_path / "model.onnx"), "--samples", str(pack_few)])
    assert not (tmp_path / "model.onnx").exists()


def test_a_tracking_database_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    gone = tmp_path / "gone.db"
    problem = registry.log_model(tmp_path / "model.onnx", [], "0" * 32, f"sqlite:///{gone}")
    assert problem is not None and "gone.db" in problem
    assert not gone.exists()
