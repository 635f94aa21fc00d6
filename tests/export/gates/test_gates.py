"""Every gate passes a good graph and stops the one bad graph that it is there for."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper

from deploy.pictures import to_picture
from deploy.runtime import Session
from export import graph
from export.gates import behaviour, compare, rounding, structure
from export.gates import checks as gates
from export.gates.result import THRESHOLDS, Candidate
from export.graph import Exported
from export.served import Recipe, Served
from export.tensorrt import rtx as tensorrt_rtx
from likeness import onnx_runtime
from likeness.command import BadInput

CandidateOf = Callable[[Exported], Candidate]


def changed(exported: Exported, change: Callable[[ModelProto], None]) -> Exported:
    """The same with another graph."""
    copy = ModelProto()
    copy.CopyFrom(exported.model)
    change(copy)
    return replace(exported, model=copy)


def test_a_good_graph_passes_all(small: Any, candidate_of: CandidateOf) -> None:
    verdict = gates.run_gates(candidate_of(small.exported), 20)
    assert [(result.name, result.passed) for result in verdict.results] == [
        ("checker", True),
        ("opset", True),
        ("nodes", True),
        ("tensorrt", True),
        *([("tensorrt_rtx", True)] if tensorrt_rtx.installed() else []),
        ("placement", True),
        ("dynamic_batch", True),
        ("parity", True),
    ]
    parity = verdict.results[-1].figures
    assert parity["samples"] == len(verdict.distances) == 64
    assert 60 <= parity["psnr_db"] <= 200


def test_pixels_are_compared_with_the_rounded_reference() -> None:
    rng = np.random.default_rng(0)
    exact = rng.uniform(-1, 1, (3, 32, 32)).astype(np.float32)
    pixels = to_picture(exact)
    off = pixels.copy()
    off[:8] ^= 1
    (same, other), worst = compare.compare([pixels, off], [exact, exact])
    assert (same.max_abs, same.psnr_db, same.ssim) == (0, 200, pytest.approx(1))
    assert other.max_abs == pytest.approx(2 / 255, rel=1e-5)
    assert other.psnr_db == pytest.approx(20 * np.log10(2 / (2 / 255 / 2)), abs=1e-3), "a level in a quarter of them"
    assert worst.number == 1 and (worst.exported == off).all() and (worst.reference == pixels).all()


def test_parity_figures_are_the_ones_of_the_definition(small: Any, candidate_of: CandidateOf) -> None:
    """Recomputed from ONNX Runtime and scikit-image alone, without our session."""
    import onnxruntime
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    def round_coarsely(model: ModelProto) -> None:
        for tensor in model.graph.initializer:
            if len(tensor.dims) == 4:
                weight = numpy_helper.to_array(tensor)
                tensor.CopyFrom(numpy_helper.from_array(weight.astype(np.float16).astype(np.float32), tensor.name))

    candidate = candidate_of(changed(small.exported, round_coarsely))
    inputs = small.samples.expanded(small.synthesis.schema)
    session = onnxruntime.InferenceSession(str(candidate.file), providers=["CPUExecutionProvider"])
    found = session.run(None, {n: t.numpy() for n, t in zip(small.synthesis.inputs, inputs, strict=True)})[0]
    with torch.inference_mode():
        wanted = small.synthesis.module(*inputs).numpy()
    _, distances, worst = behaviour.check_parity(candidate)
    psnr = [peak_signal_noise_ratio(a, b, data_range=2.0) for a, b in zip(wanted, found, strict=True)]
    ssim = [
        structural_similarity(a, b, data_range=2.0, channel_axis=0, gaussian_weights=True, use_sample_covariance=False)
        for a, b in zip(wanted, found, strict=True)
    ]
    np.testing.assert_allclose([each.max_abs for each in distances], np.abs(found - wanted).max((1, 2, 3)), atol=5e-6)
    np.testing.assert_allclose([each.psnr_db for each in distances], psnr, atol=0.05)
    # The two libraries treat the picture's edge differently.
    np.testing.assert_allclose([each.ssim for each in distances], ssim, atol=1e-4)
    assert worst is not None and worst.number == int(np.argmin(psnr))


def test_parity_stops_a_perturbed_weight_and_names_its_node(small: Any, candidate_of: CandidateOf) -> None:
    target = [node for node in small.exported.model.graph.node if node.op_type == "Conv"][5]

    def perturb(model: ModelProto) -> None:
        (tensor,) = (each for each in model.graph.initializer if each.name == target.input[1])
        weight = numpy_helper.to_array(tensor).copy()
        weight.flat[0] += 0.5
        tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))

    result, _, _ = behaviour.check_parity(candidate_of(changed(small.exported, perturb)))
    assert not result.passed
    assert result.figures["psnr_db"] < 60
    assert result.figures["node"] == f"{target.name} (Conv)"


def test_the_batch_gate_stops_a_fixed_batch(small: Any, candidate_of: CandidateOf) -> None:
    def fix(model: ModelProto) -> None:
        for tensor in (*model.graph.input, *model.graph.output):
            tensor.type.tensor_type.shape.dim[0].dim_value = 1

    result = behaviour.check_batches(candidate_of(changed(small.exported, fix)))
    assert not result.passed
    assert "batch of 3" in result.figures["error"]


def test_the_batch_gate_stops_samples_that_mix(small: Any, candidate_of: CandidateOf) -> None:
    def mix(model: ModelProto) -> None:
        axes = numpy_helper.from_array(np.array([0], dtype=np.int64), "batch_axis")
        model.graph.initializer.append(axes)
        last = model.graph.node[-1]
        last.output[0] = "unmixed"
        model.graph.node.append(onnx.helper.make_node("ReduceMean", ["unmixed", "batch_axis"], ["mean"], keepdims=1))
        model.graph.node.append(onnx.helper.make_node("Mul", ["unmixed", "mean"], ["image"]))

    assert not behaviour.check_batches(candidate_of(changed(small.exported, mix))).passed


def test_the_opset_gate_stops_an_opset_changed_behind_ones_back(small: Any) -> None:
    """PyTorch's exporter, asked for 17, writes 18 and says so in a log line."""
    inputs = small.samples[:2].expanded(small.synthesis.schema)
    program = torch.onnx.export(small.synthesis.module, inputs, dynamo=True, opset_version=17, verbose=False)
    assert program is not None
    result = structure.check_opset(program.model_proto, 17)
    assert not result.passed
    assert result.figures == {"wanted": 17, "found": 18}
    assert structure.check_opset(small.exported.model, 20).passed


@pytest.mark.parametrize("defect", ["unknown operator", "wrong output shape", "dangling input"])
def test_the_checker_stops_a_broken_graph(small: Any, defect: str, tmp_path: Path) -> None:
    def damage(model: ModelProto) -> None:
        if defect == "unknown operator":
            model.graph.node[3].op_type = "Imaginary"
        elif defect == "wrong output shape":
            model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
        else:
            model.graph.node[2].input[0] = "nowhere"

    broken = changed(small.exported, damage).model
    (tmp_path / "model.onnx").write_bytes(broken.SerializeToString())
    assert not structure.check_graph(broken, tmp_path / "model.onnx").passed


def test_the_node_budget_stops_what_no_operation_stands_behind(small: Any) -> None:
    def detour(model: ModelProto) -> None:
        first = next(node for node in model.graph.node if node.op_type == "Relu")
        there = onnx.helper.make_node("Cast", [first.input[0]], ["half"], name="to_half", to=onnx.TensorProto.FLOAT16)
        back = onnx.helper.make_node("Cast", ["half"], ["again"], name="and_back", to=onnx.TensorProto.FLOAT)
        model.graph.node.extend([there, back])
        first.input[0] = "again"

    result = structure.check_nodes(changed(small.exported, detour))
    assert not result.passed
    assert result.figures["debris"] == ["to_half (Cast)", "and_back (Cast)"]
    assert structure.check_nodes(small.exported).passed


def test_the_node_budget_stops_a_norm_in_pieces(small: Any) -> None:
    def decompose(model: ModelProto) -> None:
        next(node for node in model.graph.node if node.op_type == "InstanceNormalization").op_type = "MeanVariance"

    assert not structure.check_nodes(changed(small.exported, decompose)).passed


def test_the_placement_gate_names_nodes_on_the_cpu(small: Any, candidate_of: CandidateOf) -> None:
    """Where ONNX Runtime really put them, judged as if they had been meant for the GPU."""
    placed = onnx_runtime.placement(candidate_of(small.exported).file, "cpu")
    assert set(placed) == {node.name for node in small.exported.model.graph.node}
    assert structure.judge_placement(placed, "cpu", "").passed
    result = structure.judge_placement(placed, "cuda", "")
    assert not result.passed
    assert result.figures["elsewhere"][0] == f"{next(iter(placed))} on CPUExecutionProvider"


def test_the_placement_gate_says_what_a_fall_costs(
    small: Any, candidate_of: CandidateOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ONNX Runtime tells it of a GPU that lacks an operator: all nodes there but one."""
    file = candidate_of(small.exported).file
    placed = dict.fromkeys(onnx_runtime.placement(file, "cpu"), "CUDAExecutionProvider")
    monkeypatch.setattr(
        onnx_runtime, "placement", lambda model, provider: {**placed, "node_pad": "CPUExecutionProvider"}
    )
    result = structure.check_placement(file, "cuda")
    assert not result.passed
    assert result.figures["elsewhere"] == ["node_pad on CPUExecutionProvider"]
    assert "operators that cuda has: each fall to the CPU costs two copies" in result.remedy


@pytest.mark.parametrize("provider", ["cuda", "openvino"])
def test_an_absent_provider_is_found_before_the_export(provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gates.check_provider("cpu")
    if provider == "openvino":
        gates.check_provider(provider)
        monkeypatch.setitem(sys.modules, "openvino", None)
    elif list(Path("/proc/driver/nvidia/gpus").glob("*")):
        pytest.skip("this machine has an NVIDIA GPU")
    with pytest.raises(BadInput, match=f"provider '{provider}' .*use --provider cpu"):
        gates.check_provider(provider)


def test_a_provider_that_rounds_is_judged_as_one(small: Any, candidate_of: CandidateOf) -> None:
    try:
        gates.check_provider("openvino-bf16")
    except BadInput:
        pytest.skip("this CPU has no bfloat16")
    verdict = gates.run_gates(replace(candidate_of(small.exported), provider="openvino-bf16"), 20)
    assert verdict.passed, verdict.results[-1]
    figures = verdict.results[-1].figures
    assert (figures["least_psnr_db"], figures["least_mean_psnr_db"]) == (30, 34)
    assert figures["psnr_db"] < 60, "it rounds"


def test_the_batch_gate_names_the_defect_it_exists_for(small: Any, candidate_of: CandidateOf) -> None:
    """A Reshape to the batch that was traced, which runs at that batch only."""

    def freeze(model: ModelProto) -> None:
        shape = numpy_helper.from_array(np.array([2, 3, 32, 32]), "traced")
        model.graph.initializer.append(shape)
        model.graph.node[-1].output[0] = "unshaped"
        model.graph.node.append(onnx.helper.make_node("Reshape", ["unshaped", "traced"], ["image"], name="frozen"))

    result = behaviour.check_batches(candidate_of(changed(small.exported, freeze)))
    assert not result.passed
    assert "cannot run a batch of" in result.figures["error"] and "Reshape" in result.remedy


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_is_judged_as_a_gpu_computes_it(small: Any, candidate_of: CandidateOf, precision: Any) -> None:
    """Against PyTorch's own half-precision layers: as far from float32, and much nearer to each other."""
    candidate = candidate_of(graph.to_onnx(small.synthesis, Recipe(opset=22, precision=precision)))
    samples = small.samples[:8]
    session = Session(candidate_of(small.exported).file)
    rounded = list(rounding.pictures(candidate.exported, session, samples))
    inputs = [torch.from_numpy(value) for value in compare.feeds(session, samples).values()]
    with torch.inference_mode():
        real = Served(small.synthesis, candidate.exported.recipe)(*inputs).numpy()
        exact = small.synthesis.module(*inputs).numpy()

    def psnr(first: Any, second: Any) -> float:
        return float(np.mean([compare.distance(a, b).psnr_db for a, b in zip(first, second, strict=True)]))

    assert psnr(exact, rounded) == pytest.approx(psnr(exact, real), abs=1.5)
    assert psnr(exact, rounded) < {"fp16": 65, "bf16": 45}[precision]
    # Of what the provider paints, here in float32, and what a GPU would, each picture is judged by the worse.
    judged, _ = behaviour._compared(replace(candidate, samples=samples), session, {})
    for found, wanted, picture in zip(judged, exact, rounded, strict=True):
        assert found.psnr_db <= compare.distance(wanted, picture).psnr_db + 0.1


def test_half_precision_that_overflows_is_stopped_and_its_node_named(small: Any, candidate_of: CandidateOf) -> None:
    exported = graph.to_onnx(small.synthesis, Recipe(precision="fp16"))
    assert behaviour.check_range(candidate_of(exported)).passed
    target = [node for node in exported.model.graph.node if node.op_type == "Conv"][3]

    def scale(model: ModelProto) -> None:
        """As a network whose activations are large: no problem in float32, beyond 65,504 here."""
        (tensor,) = (each for each in model.graph.initializer if each.name == target.input[1])
        weight = numpy_helper.to_array(tensor).astype(np.float32)
        weight *= 60_000 / np.abs(weight).max()
        tensor.CopyFrom(numpy_helper.from_array(weight.astype(np.float16), tensor.name))

    result = behaviour.check_range(candidate_of(changed(exported, scale)))
    assert not result.passed
    assert result.figures["beyond"][0] == f"{target.name} (Conv)"
    assert "--precision bf16 or fp32" in result.remedy


def test_the_file_says_nothing_of_the_machine_that_wrote_it(small: Any, candidate_of: CandidateOf) -> None:
    content = candidate_of(small.exported).file.read_bytes()
    assert str(Path(__file__).parents[3]).encode() not in content
    assert b"site-packages" not in content and b"stack_trace" not in content


def test_the_checker_infers_every_shape_itself(small: Any, candidate_of: CandidateOf) -> None:
    assert not small.exported.model.graph.value_info
    assert structure.check_graph(small.exported.model, candidate_of(small.exported).file).passed


@pytest.mark.parametrize(
    ("condition", "value"),
    [("max_abs", 2e-3), ("worst_psnr_db", 59.9), ("mean_psnr_db", 59.9), ("mean_ssim", 0.998)],
)
def test_each_condition_of_parity_stops_alone(
    small: Any, candidate_of: CandidateOf, monkeypatch: pytest.MonkeyPatch, condition: str, value: float
) -> None:
    """Figures that reach float32's thresholds but for one: 1e-3, 60 dB for the worst and on average, SSIM 0.999."""
    good = compare.Distance(max_abs=9e-4, psnr_db=60.1, ssim=0.9991)
    figures = {
        "max_abs": [replace(good, max_abs=value), good, good],
        # The average is 60.1 dB all the same.
        "worst_psnr_db": [replace(good, psnr_db=value), replace(good, psnr_db=60.3), good],
        # The worst one reaches a lower threshold of its own, so that the average alone is what falls short.
        "mean_psnr_db": [replace(good, psnr_db=value)] * 3,
        "mean_ssim": [replace(good, ssim=value)] * 3,
    }

    def passes(distances: list[compare.Distance]) -> bool:
        worst = min(range(3), key=lambda number: distances[number].psnr_db)
        picture = np.zeros((1, 1, 3), np.uint8)
        found = distances, compare.Worst(worst, picture, picture)
        monkeypatch.setattr(behaviour.compare, "compare", lambda exported, wanted: found)
        candidate = candidate_of(small.exported)
        if condition == "mean_psnr_db":
            monkeypatch.setattr(
                behaviour, "threshold_of", lambda candidate: replace(THRESHOLDS["fp32"], worst_psnr_db=50)
            )
        return behaviour.check_parity(replace(candidate, samples=small.samples[:3]))[0].passed

    assert passes([good] * 3)
    assert not passes(figures[condition])


def test_the_range_gate_ends_at_half_of_float16s_range(small: Any, candidate_of: CandidateOf) -> None:
    """65,504 is the largest; half of it is left to pictures that nobody has seen."""
    candidate = candidate_of(replace(small.exported, recipe=Recipe(precision="fp16")))
    for largest, passes in ((32_751.0, True), (32_753.0, False), (float("nan"), False)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                behaviour, "largest_values", lambda *_, value=largest: {"one (Conv)": 1.0, "two (Conv)": value}
            )
            assert behaviour.check_range(candidate).passed == passes


@pytest.mark.parametrize(("precision", "least"), [("fp32", 3), ("fp16", 64)])
def test_parity_on_too_few_samples_is_no_parity(
    small: Any, candidate_of: CandidateOf, precision: Any, least: int
) -> None:
    candidate = candidate_of(replace(small.exported, recipe=Recipe(precision=precision)))
    result, _, _ = behaviour.check_parity(replace(candidate, samples=small.samples[: least - 1]))
    assert not result.passed
    assert (result.figures["samples"], result.figures["least_samples"]) == (least - 1, least)
