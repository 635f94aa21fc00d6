"""What an exported graph takes and gives: pixels and ids as files hold them, any size, any precision."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from deploy.runtime import Session
from export import graph, quantise, served
from export.__main__ import main
from export.gates import behaviour, compare
from export.gates import checks as gates
from export.gates.result import THRESHOLDS, Candidate, GateResult
from export.gates.samples import Samples, drawn, real_samples
from export.graph import Exported, to_onnx
from export.served import Recipe
from likeness.command import BadInput
from shards.labels import standard_schema
from trainer.checkpoints.synthesis import Synthesis, untrained

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "trainer" / "configs"
NARROW = ["--options.generator_base=2", "--options.generator_blocks=2", "--data.height=64", "--data.width=64"]
STREET = ["--options.generator_base=2", "--options.generator_blocks=1", "--data.height=64", "--data.width=128"]
CandidateOf = Callable[[Exported], Candidate]


def export_of(preset: str, out: Path, *more: str) -> Session:
    assert main(["--config", str(CONFIGS / f"{preset}.yaml"), "--untrained", "--out", str(out), *more]) == 0
    return Session(out)


def test_pixels_in_and_pixels_out(small: Any, candidate_of: CandidateOf) -> None:
    """What files hold goes in as it is, and the picture that comes out is the float model's, rounded."""
    exact = Session(candidate_of(small.exported).file)
    pixels = Session(candidate_of(to_onnx(small.synthesis, Recipe(io="uint8"))).file)
    loaded = dict(small.samples[:2].loaded)
    assert {name: value.dtype.name for name, value in loaded.items()} == dict.fromkeys(loaded, "uint8")
    picture = pixels.run(**loaded)
    assert (picture.dtype, picture.shape) == (np.uint8, (2, 32, 32, 3))
    floats = exact.run(
        label=loaded["label"].astype(np.float32) / 255,
        exemplar_label=loaded["exemplar_label"].astype(np.float32) / 255,
        exemplar=np.ascontiguousarray((loaded["exemplar"].astype(np.float32) / 127.5 - 1).transpose(0, 3, 1, 2)),
    )
    wanted = np.clip(np.rint((floats.transpose(0, 2, 3, 1) + 1) * 127.5), 0, 255)
    assert np.abs(picture.astype(int) - wanted).max() <= 1
    assert (picture == wanted).mean() > 0.999
    np.testing.assert_array_equal(pixels.pictures(picture), picture)
    with pytest.raises(BadInput, match=r"exemplar has shape \(2, 3, 32, 32\); .* takes \(N, 32, 32, 3\)"):
        pixels.run(**{**loaded, "exemplar": loaded["exemplar"].transpose(0, 3, 1, 2)})
    with pytest.raises(BadInput, match=r"label is float32; give uint8 in \[0, 255\]"):
        pixels.run(**{**loaded, "label": loaded["label"].astype(np.float32)})


@pytest.mark.parametrize("io", ["float", "uint8"])
def test_class_ids_become_channels_in_the_graph(io: str, tmp_path: Path) -> None:
    session = export_of("street", tmp_path / "street.onnx", "--io", io, *STREET)
    synthesis = untrained(CONFIGS / "street.yaml", STREET)
    samples = drawn(synthesis, 3)
    ids = samples.loaded["label"]
    assert ids.shape == (3, 64, 128) and len(np.unique(ids)) > 3
    hot = torch.from_numpy((ids[:, None] == np.array(synthesis.schema.ids)[None, :, None, None]).astype(np.float32))
    exemplar_hot, exemplar = samples.expanded(synthesis.schema)[1:]
    with torch.inference_mode():
        wanted = synthesis.module(hot, exemplar_hot, exemplar).numpy()
    found = session.run(**compare.feeds(session, samples))
    levels = np.abs(session.pictures(found).transpose(0, 3, 1, 2) / 127.5 - 1 - wanted).max() * 127.5
    assert levels <= 1.01
    with pytest.raises(BadInput, match=r"label holds the id 77; .* takes the ids 0-18, 255"):
        session.run(**{**compare.feeds(session, samples), "label": np.full_like(ids, 77)})


def test_dead_biases_are_gone_and_the_picture_is_the_same() -> None:
    synthesis = untrained(CONFIGS / "face.yaml", NARROW)
    nodes = to_onnx(synthesis).model.graph.node
    readers = {node.input[0]: node.op_type for node in nodes}
    convolutions = [node for node in nodes if node.op_type in ("Conv", "ConvTranspose")]
    biased = [readers[node.output[0]] for node in convolutions if len(node.input) == 3]
    assert (len(convolutions), biased) == (14, ["Tanh"])
    # PyTorch's own layers, with other biases: instance norm subtracts them all.
    inputs = real_samples(synthesis, None, 3).expanded(synthesis.schema)
    with torch.inference_mode():
        before = synthesis.module(*inputs)
        for name, part in synthesis.module.named_modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and "last" not in name and part.bias is not None:
                part.bias.zero_()
        torch.testing.assert_close(synthesis.module(*inputs), before, atol=1e-5, rtol=0)


def test_a_bias_that_something_else_reads_is_kept() -> None:
    """A skip connection around the norm carries it to the picture."""
    nodes = [
        onnx.helper.make_node("Conv", ["x", "weight", "bias"], ["y"]),
        onnx.helper.make_node("InstanceNormalization", ["y", "scale", "shift"], ["normed"]),
        onnx.helper.make_node("Add", ["y", "normed"], ["image"]),
    ]
    weights = [
        numpy_helper.from_array(np.ones((1,) if name != "weight" else (1, 1, 1, 1), np.float32), name)
        for name in ("weight", "bias", "scale", "shift")
    ]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, 4, 4]) for name in ("x", "image")]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "skip", ends[:1], ends[1:], weights))
    assert graph.remove_dead_biases(model) == 0
    del model.graph.node[2]
    assert graph.remove_dead_biases(model) == 1
    assert [tensor.name for tensor in model.graph.initializer] == ["weight", "scale", "shift"]


def test_any_size_that_is_a_multiple_of_16(tmp_path: Path) -> None:
    out = tmp_path / "face.onnx"
    export_of("face", out, "--dynamic-size", *NARROW)
    synthesis = untrained(CONFIGS / "face.yaml", NARROW)
    session = Session(out, size=(48, 112))
    assert (session.schema.height, session.schema.width) == (48, 112)
    samples = drawn(replace(synthesis, schema=session.schema), 3)
    with torch.inference_mode():
        wanted = synthesis.module(*samples.expanded(session.schema)).numpy()
    np.testing.assert_allclose(session.run(**compare.feeds(session, samples)), wanted, atol=1e-4)
    feeds = compare.feeds(session, samples)
    with pytest.raises(BadInput, match=r"takes \(N, 3, a multiple of 16, a multiple of 16\)"):
        session.run(**{**feeds, "exemplar": feeds["exemplar"][..., :40]})
    with pytest.raises(BadInput, match=r"exemplar has shape \(3, 3, 48, 16\)"):
        session.run(**{**feeds, "exemplar": np.ascontiguousarray(feeds["exemplar"][..., :16])})
    with pytest.raises(BadInput, match=r"sizes \[\(48, 96\), \(48, 112\)\] \(height, width\)"):
        session.run(**{**feeds, "exemplar": np.ascontiguousarray(feeds["exemplar"][..., :96])})
    with pytest.raises(BadInput, match="picture width 50 is not a multiple of 16"):
        Session(out, size=(48, 50))


def test_the_gate_of_sizes_stops_a_graph_that_is_right_at_one_size_only(tmp_path: Path) -> None:
    synthesis = untrained(CONFIGS / "face.yaml", NARROW)
    recipe = Recipe(dynamic_size=True)
    exported = to_onnx(synthesis, recipe)
    samples = drawn(synthesis, 3)
    file = tmp_path / "model.onnx"

    def judged() -> GateResult:
        graph.save(exported.model, served.metadata_of(synthesis, recipe).to_props(), file)
        return behaviour.check_sizes(Candidate(exported, file, synthesis, samples))

    assert judged().passed
    # Adds how much wider than 64 pixels the picture is: nothing at the size that was traced.
    nodes, helper = exported.model.graph.node, onnx.helper
    nodes[-1].output[0] = "right"
    nodes.append(helper.make_node("Shape", ["right"], ["width"], start=3, end=4))
    nodes.append(helper.make_node("Cast", ["width"], ["wide"], to=onnx.TensorProto.FLOAT))
    exported.model.graph.initializer.append(numpy_helper.from_array(np.float32([64]), "traced"))
    nodes.append(helper.make_node("Sub", ["wide", "traced"], ["excess"]))
    nodes.append(helper.make_node("Add", ["right", "excess"], ["image"]))
    result = judged()
    assert not result.passed
    assert result.figures["psnr_db"] < 0 and result.figures["least_psnr_db"] == 60
    feeds = compare.feeds(Session(file), samples)
    with torch.inference_mode():
        wanted = synthesis.module(*samples.expanded(synthesis.schema)).numpy()
    np.testing.assert_allclose(Session(file).run(**feeds), wanted, atol=1e-4)


def test_one_size_stays_one_size(small: Any, candidate_of: CandidateOf) -> None:
    with pytest.raises(BadInput, match=r"makes pictures of 32×32, not of 64×48; export it with --dynamic-size"):
        Session(candidate_of(small.exported).file, size=(48, 64))


def test_a_network_made_for_one_size_is_not_exported_for_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo's cuts the exemplar into 8×8 cells, whose size it computes."""
    out = tmp_path / "demo.onnx"
    assert main(["--config", str(CONFIGS / "demo.yaml"), "--untrained", "--dynamic-size", "--out", str(out)]) == 1
    assert "computes with the picture's size; export it without --dynamic-size" in capsys.readouterr().err
    assert not out.exists()
    assert "no model was written" in (tmp_path / "demo.report.html").read_text().lower()


def test_large_weights_lie_beside_the_graph(
    small: Any, candidate_of: CandidateOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inside = Session(candidate_of(small.exported).file)
    monkeypatch.setattr(graph, "EXTERNAL_BYTES", 1000)
    exported = to_onnx(small.synthesis)
    digest = hashlib.sha256()
    for tensor in exported.model.graph.initializer:
        digest.update(tensor.raw_data)
    candidate = candidate_of(exported)
    assert candidate.file.stat().st_size < 60_000
    (weights,) = candidate.file.parent.glob("*.data")
    assert weights.name == f"model.{digest.hexdigest()[:8]}.data"
    assert weights.stat().st_mode == candidate.file.stat().st_mode
    verdict = gates.run_gates(candidate, 20)
    assert verdict.passed, verdict.results[-1]
    feeds = compare.feeds(inside, small.samples[:2])
    np.testing.assert_array_equal(Session(candidate.file).run(**feeds), inside.run(**feeds))
    moved = graph.move(exported.model, candidate.file, tmp_path / "out.onnx")
    assert moved == [tmp_path / "out.onnx", tmp_path / weights.name]
    np.testing.assert_array_equal(Session(tmp_path / "out.onnx").run(**feeds), inside.run(**feeds))
    (tmp_path / weights.name).unlink()
    with pytest.raises(
        BadInput, match=r"has its weights in a file beside it.* missing or cut: copy both, or export it again"
    ):
        Session(tmp_path / "out.onnx")


def test_a_replaced_model_takes_its_own_weights_along_and_nobodys_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "EXTERNAL_BYTES", 1000)
    out = tmp_path / "face.onnx"
    bystander = tmp_path / "face.training.data"
    bystander.touch()
    tiny = ["--data.height=32", "--data.width=32", "--options.generator_blocks=0"]
    export_of("demo", out, *tiny, "--options.generator_base=4")
    (first,) = set(tmp_path.glob("*.data")) - {bystander}
    export_of("demo", out, *tiny, "--options.generator_base=2", "--force")
    (second,) = set(tmp_path.glob("*.data")) - {bystander}
    assert first != second
    # A gate that fails costs neither the model that stands there nor its report.
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    monkeypatch.setitem(THRESHOLDS, "fp32", replace(THRESHOLDS["fp32"], worst_psnr_db=500.0))  # type: ignore[arg-type]
    config = str(CONFIGS / "demo.yaml")
    assert (
        main(["--config", config, "--untrained", "--out", str(out), *tiny, "--options.generator_base=4", "--force"])
        == 1
    )
    added = {file.name for file in set(tmp_path.iterdir()) - set(before)}
    assert added == {"face.failed.report.html", "face.failed.report.json"}
    assert all(file.read_bytes() == content for file, content in before.items())


@pytest.mark.parametrize(("precision", "provider"), [("fp16", "cpu"), ("bf16", "openvino"), ("int8", "openvino")])
def test_every_precision_is_one_command(precision: str, provider: Any, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    arguments = ["--config", str(CONFIGS / "face.yaml"), "--untrained", "--out", str(out), "--io", "uint8", *NARROW]
    assert main([*arguments, "--precision", precision, "--provider", provider]) == 0
    session = Session(out, provider)
    assert (session.metadata.precision, session.metadata.io) == (precision, "uint8")
    assert [gate["name"] for gate in session.metadata.gates][-1] == "parity"


@pytest.mark.parametrize("opset", [18, 24])
def test_every_opset_is_the_one_asked_for(small: Any, candidate_of: CandidateOf, opset: int) -> None:
    exported = to_onnx(small.synthesis, Recipe(opset=opset))
    verdict = gates.run_gates(candidate_of(exported), opset)
    assert verdict.passed, verdict.results[-1]


def test_bfloat16_needs_an_opset_that_has_it() -> None:
    with pytest.raises(BadInput, match="opset 20 has no convolution in bfloat16; choose 22 or later"):
        Recipe(opset=20, precision="bf16")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_keeps_float32_in_norms(small: Any, precision: Any, candidate_of: CandidateOf) -> None:
    exported = to_onnx(small.synthesis, Recipe(opset=22, precision=precision))
    inferred = onnx.shape_inference.infer_shapes(exported.model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    half = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}[precision]
    for node in inferred.node:
        if node.op_type == "Conv":
            assert types[node.output[0]] == half
        elif node.op_type == "InstanceNormalization":
            assert types[node.output[0]] == onnx.TensorProto.FLOAT
    candidate = candidate_of(exported)
    if precision == "bf16":
        candidate = replace(candidate, provider="openvino")
    verdict = gates.run_gates(candidate, 22)
    assert verdict.passed, verdict.results[-1]
    assert verdict.results[-1].figures["psnr_db"] < 80, "it computes in half precision"


def test_int8_is_in_the_residual_blocks_and_as_tensorrt_wants_it(tmp_path: Path, candidate_of: CandidateOf) -> None:
    synthesis = untrained(CONFIGS / "face.yaml", NARROW)
    exported = to_onnx(synthesis)
    residual = quantise.residual_convolutions(exported.model)
    trunk = {node.name for node in exported.model.graph.node if node.op_type == "Conv" and ".trunk." in node.input[1]}
    assert set(residual) == trunk and len(residual) == 4
    samples = drawn(synthesis, 80)
    graph.save(exported.model, served.metadata_of(synthesis, exported.recipe).to_props(), tmp_path / "model.onnx")
    made = quantise.to_int8(exported, tmp_path / "model.onnx", samples[64:])
    weights = {tensor.name: tensor for tensor in made.model.graph.initializer}
    scales, zeros = [], []
    for node in made.model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scales.append(numpy_helper.to_array(weights[node.input[1]]))
            zeros.append(numpy_helper.to_array(weights[node.input[2]]))
    assert all(not zero.any() for zero in zeros), "symmetric"
    assert sum(tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4 for tensor in weights.values()) == 4
    assert not [tensor for tensor in weights.values() if tensor.data_type == onnx.TensorProto.INT32], "no int32 bias"
    assert max(scale.size for scale in scales) == 32, "a scale per output channel"
    recipe = Recipe(precision="int8")
    graph.save(made.model, served.metadata_of(synthesis, recipe).to_props(), tmp_path / "model.onnx")
    verdict = gates.run_gates(
        Candidate(replace(made, recipe=recipe), tmp_path / "model.onnx", synthesis, samples[:64]), 20
    )
    assert verdict.passed, verdict.results[-1]
    assert verdict.results[-1].figures["psnr_db"] < 60, "it computes in int8"


def test_int8_wants_samples_that_the_gates_do_not_see(small: Any, candidate_of: CandidateOf) -> None:
    with pytest.raises(BadInput, match="has 5 samples left to calibrate int8 on, but needs 16"):
        quantise.to_int8(small.exported, candidate_of(small.exported).file, small.samples[:5])


class Unlike(nn.Module):
    """What later methods are made of: a style code that scales and shifts norms, attention, and resizing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.code = nn.Linear(8, 32)
        self.down = nn.Conv2d(channels, 16, 4, stride=4)
        self.query, self.key, self.value = (nn.Conv2d(16, 16, 1) for _ in range(3))
        self.norm = nn.InstanceNorm2d(16)
        self.out = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, label: Tensor, exemplar: Tensor) -> Tensor:
        scale, shift = self.code(F.relu(self.encoder(exemplar)).mean((2, 3))).chunk(2, dim=1)
        features = self.down(label)
        query, key, value = (each(features).flatten(2) for each in (self.query, self.key, self.value))
        attended = (value @ torch.softmax(query.transpose(1, 2) @ key, dim=2).transpose(1, 2)).view_as(features)
        features = self.norm(features + attended) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
        large = F.interpolate(features, scale_factor=2, mode="nearest")
        large = F.interpolate(large, scale_factor=2, mode="bilinear", align_corners=False)
        return torch.tanh(self.out(F.leaky_relu(large, 0.2)))


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(io="uint8", precision="fp16")], ids=["fp32", "uint8 fp16"])
def test_style_codes_attention_and_resizing_pass_the_same_gates(recipe: Recipe, tmp_path: Path) -> None:
    torch.manual_seed(0)
    schema = standard_schema("sketch", 32, 48)
    synthesis = Synthesis(
        Unlike(schema.channels).eval().requires_grad_(False),
        ("label", "exemplar"),
        schema,
        "unlike",
        {"options": {}},
        0,
        "untrained",
        None,
        None,
        None,
        "none",
    )
    samples: Samples = drawn(synthesis, 64)
    exported = to_onnx(synthesis, recipe)
    graph.save(exported.model, served.metadata_of(synthesis, recipe).to_props(), tmp_path / "model.onnx")
    verdict = gates.run_gates(Candidate(exported, tmp_path / "model.onnx", synthesis, samples), 20)
    assert verdict.passed, verdict.results[-1]
