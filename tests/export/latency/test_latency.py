"""What a graph costs is counted right, the command judges by its target, and its two outputs hold what they say.

Nothing here asserts a time: the machine may be busy.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from deploy.metadata import Metadata
from deploy.runtime import Session
from export.graph import save, to_onnx
from export.latency.bound_run import BoundRun
from export.latency.command import main
from export.latency.costs import Costs, NodeCosts, Traffic
from export.latency.graph import Graph
from export.latency.here import parsed_state, this_cpu, this_gpu
from export.latency.machines import CARDS, bound, budget, card_named
from export.latency.timing import Request, example_feeds, measure
from export.served import Recipe, metadata_of
from likeness.command import BadInput, run_command
from shards.records import LabelSchema
from trainer.batches import label_channels
from trainer.checkpoints.synthesis import Synthesis, untrained

ROOT = Path(__file__).parents[3]
DEMO = str(ROOT / "trainer" / "configs" / "demo.yaml")
SMALL = [
    "--data.height=32",
    "--data.width=32",
    "--options.generator_base=4",
    "--options.generator_downsamplings=2",
    "--options.generator_blocks=1",
]
QUICK = ["--runs", "4", "--warmup", "1", "--batch", "1,2", "--threads", "1"]
GENEROUS = ["--target-ms", "1e9"]
H200_STATE = "NVIDIA H200, 570.86.15, 1980, 1980, 3201, 3201, 700.00, 41, Enabled, Disabled\n"


def facts_of(synthesis: Synthesis) -> Metadata:
    return metadata_of(synthesis, Recipe())


@pytest.fixture(scope="session")
def model_file(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("latency") / "model.onnx"
    model = onnx.ModelProto()
    model.CopyFrom(small.exported.model)
    save(model, facts_of(small.synthesis).to_props(), file)
    return file


def one_node(node: onnx.NodeProto, x: tuple[int, ...], kind: int = TensorProto.FLOAT, **weights: Any) -> Costs:
    """The costs of a graph with one node, `x` and `weights` → `y`."""
    graph = helper.make_graph(
        [node],
        "test",
        [helper.make_tensor_value_info("x", kind, ["batch", *x[1:]])],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    return Graph(model, "test.onnx").costs({"x": x})


def zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def test_products_counted_by_hand() -> None:
    # 2 pictures, 6 channels out of 4 in 2 groups, 3×3, from 8×8 with stride 2 to 4×4
    conv = helper.make_node("Conv", ["x", "w", "b"], ["y"], group=2, strides=[2, 2], pads=[1, 1, 1, 1])
    costs = one_node(conv, (2, 4, 8, 8), w=zeros(6, 2, 3, 3), b=zeros(6))
    assert costs.flops == 2 * (2 * 6 * 4 * 4) * (2 * 3 * 3)
    assert costs.weights == Traffic(floats=6 * 2 * 9 + 6)
    assert costs.traffic == costs.least == Traffic(floats=6 * 2 * 9 + 6 + 2 * 4 * 64 + 2 * 6 * 16)
    # every one of 2·4·5·5 values is spread over 3 channels of 4×4
    transposed = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])
    assert one_node(transposed, (2, 4, 5, 5), w=zeros(4, 3, 4, 4)).flops == 2 * (2 * 4 * 5 * 5) * (3 * 4 * 4)
    gemm = helper.make_node("Gemm", ["x", "w", "c"], ["y"], transA=1, transB=1)
    assert one_node(gemm, (7, 5), w=zeros(3, 7), c=zeros(3)).flops == 2 * 5 * 7 * 3
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert one_node(product, (2, 1, 5, 7), w=zeros(4, 7, 3)).flops == 2 * (2 * 4) * 5 * 7 * 3


def test_other_nodes_only_move_bytes() -> None:
    relu = one_node(helper.make_node("Relu", ["x"], ["y"]), (2, 3, 4, 4))
    assert (relu.flops, relu.traffic) == (0, Traffic(floats=2 * 2 * 3 * 16))
    assert relu.traffic.size(4) == 2 * relu.traffic.size(2)
    ids = one_node(helper.make_node("Identity", ["x"], ["y"]), (2, 3, 4, 4), TensorProto.UINT8)
    assert (ids.traffic, ids.least) == (Traffic(), Traffic(other_bytes=2 * 2 * 3 * 16))
    reshaped = one_node(helper.make_node("Reshape", ["x", "s"], ["y"]), (2, 3, 4, 4), s=np.array([0, 48], np.int64))
    assert reshaped.traffic == Traffic()
    einsum = one_node(helper.make_node("Einsum", ["x", "w"], ["y"], equation="ab,bc->ac"), (2, 3), w=zeros(3, 4))
    assert einsum.not_counted == ("Einsum",)


def test_int8_arithmetic_is_told_from_floats() -> None:
    scale, zero = np.float32(0.1), np.int8(0)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["dw"]),
        helper.make_node("Conv", ["d", "dw"], ["z"]),
        helper.make_node("Conv", ["z", "last"], ["y"]),
    ]
    constants = {"scale": scale, "zero": zero, "w": np.zeros((4, 3, 1, 1), np.int8), "last": zeros(2, 4, 1, 1)}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    costs = Graph(model, "test.onnx").costs({"x": (1, 3, 8, 8)})
    assert costs.flops_by_kind == {"INT8": 2 * 4 * 3 * 64, "FLOAT": 2 * 2 * 4 * 64}
    assert costs.weights == Traffic(floats=1 + 8, other_bytes=1 + 12)


def expanded(synthesis: Synthesis, value: Any) -> torch.Tensor:
    tensor = torch.from_numpy(value)
    return label_channels(tensor, synthesis.schema) if tensor.dtype == torch.uint8 else tensor


@pytest.mark.parametrize("preset", ["demo", "face", "street"])
def test_generators_count_as_torch_counts_them(preset: str) -> None:
    small = ["--options.generator_base=4", "--options.generator_blocks=1", "--data.height=64", "--data.width=64"]
    synthesis = untrained(ROOT / "trainer" / "configs" / f"{preset}.yaml", small)
    graph = Graph(to_onnx(synthesis).model, preset)
    facts = facts_of(synthesis)
    for batch in (1, 3):
        feeds = example_feeds(graph, facts, batch)
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            synthesis.module(*(expanded(synthesis, feeds[name]) for name in synthesis.inputs))
        costs = graph.costs({name: value.shape for name, value in feeds.items()})
        assert costs.flops == counter.get_total_flops()
        assert costs.not_counted == ()
    parameters = sum(parameter.numel() for parameter in synthesis.module.parameters())
    assert costs.weights.floats == pytest.approx(parameters, rel=0.02)


def of_one_layer(flops: int, floats: int) -> Costs:
    moved = Traffic(floats=floats)
    layers = (NodeCosts("conv", "Conv", flops, "FLOAT", moved), NodeCosts("relu", "Relu", 0, "FLOAT", moved))
    return Costs(layers, least=moved, weights=moved, width=4, not_counted=())


def test_the_paper_s_generator_cannot_take_less_on_the_paper_s_card() -> None:
    face = of_one_layer(121_097_945_088, 184_900_611)
    bounds = {(each.machine, each.precision): each for each in budget(face)}
    old = bounds["GTX 1080 Ti", "fp32"]
    assert (round(old.floor_ms, 1), old.limit) == (10.7, "arithmetic")
    # the second layer moves 4 bytes per value at 484 GB/s
    assert old.unfused_ms == pytest.approx(old.floor_ms + 184_900_611 * 4 / 484e9 * 1000)
    assert ("GTX 1080 Ti", "fp16") not in bounds
    assert bounds["RTX 4090", "fp16"].limit == "memory"
    assert bounds["RTX 4090", "fp16"].floor_ms == pytest.approx(184_900_611 * 2 / 1008e9 * 1000)


def test_bounds_grow_with_what_they_are_bounds_of() -> None:
    less, more = of_one_layer(10**9, 10**6), of_one_layer(10**12, 10**9)
    for low, high in zip(budget(less), budget(more), strict=True):
        assert 0 < low.floor_ms <= low.unfused_ms
        assert low.floor_ms < high.floor_ms
    here = this_cpu("cpu", "FLOAT", 1)
    assert bound(less, here.machine, here.precision).floor_ms > 0


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("NVIDIA GeForce GTX 1080 Ti", "GTX 1080 Ti"),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("Tesla T4", "T4"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100 80GB PCIe", None),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", None),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA H200 NVL", None),
    ],
)
def test_cards_are_known_by_their_drivers_names(name: str, card: str | None) -> None:
    found = card_named(name)
    assert (found.name if found else None) == card


def test_a_card_is_judged_by_the_precision_that_it_computes_in() -> None:
    state = parsed_state(H200_STATE)
    assert state is not None
    assert (state["name"], state["driver"], state["sm_mhz"], state["mig"]) == (
        "NVIDIA H200",
        "570.86.15",
        1980.0,
        "Disabled",
    )
    fp32, fp16 = this_gpu(state, "cuda", "FLOAT"), this_gpu(state, "cuda", "FLOAT16")
    assert fp32 is not None and (fp32.precision, fp32.peak) == ("fp32", pytest.approx(66.9e12))
    tf32 = this_gpu(state, "cuda-tf32", "FLOAT")
    assert tf32 is not None and (tf32.precision, tf32.peak) == ("tf32", 494.7e12)
    assert fp16 is not None and (fp16.precision, fp16.peak) == ("fp16", 989.4e12)
    old = this_gpu({"name": "NVIDIA GeForce GTX 1080 Ti"}, "cuda-tf32", "FLOAT")
    assert old is not None and old.precision == "fp32"
    assert this_gpu({"name": "NVIDIA GeForce GTX 1080 Ti"}, "cuda", "FLOAT16") is None
    assert this_gpu({"name": "NVIDIA B200"}, "cuda", "FLOAT") is None
    unknown = parsed_state("NVIDIA H200, 570.86.15, [N/A], 1980, 3201, 3201, [Not Supported], 41, Enabled, Disabled")
    assert unknown is not None and not {"sm_mhz", "power_limit_w"} & set(unknown)
    assert parsed_state("No devices were found\n") is None


def test_inputs_are_what_the_graph_declares() -> None:
    schema = LabelSchema("classes", 3, 32, 48, ("a", "b", "void"), ((0, 0, 0),) * 3, (7, 11, 255), 255)
    declared = {
        "label": (TensorProto.UINT8, ["batch", 32, 48]),
        "exemplar_label": (TensorProto.UINT8, ["batch", "height", "width"]),
        "exemplar": (TensorProto.UINT8, ["batch", "height", "width", 3]),
    }
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in declared.items()]
    nodes = [helper.make_node("Identity", ["label"], ["image"])]
    output = helper.make_tensor_value_info("image", TensorProto.UINT8, None)
    graph = Graph(helper.make_model(helper.make_graph(nodes, "test", inputs, [output])), "test.onnx")
    feeds = example_feeds(graph, Metadata("m", schema, "untrained", None, 0, "p"), 2)
    assert {name: (value.dtype.name, value.shape) for name, value in feeds.items()} == {
        "label": ("uint8", (2, 32, 48)),
        "exemplar_label": ("uint8", (2, 32, 48)),
        "exemplar": ("uint8", (2, 32, 48, 3)),
    }
    assert set(np.unique(feeds["label"])) == {7, 11, 255}
    assert len(np.unique(feeds["exemplar"])) > 200
    assert set(np.unique(feeds["exemplar_label"])) == {7, 11, 255}


def test_a_bound_run_makes_the_same_picture(model_file: Path) -> None:
    """On the CPU, whose memory ONNX Runtime binds like a GPU's."""
    session = Session(model_file, threads=1)
    graph = Graph.read(model_file)
    first, second = (example_feeds(graph, session.metadata, 2), example_feeds(graph, session.metadata, 2))
    second["exemplar"] = second["exemplar"][:, :, ::-1].copy()
    run = BoundRun(session, "cpu")
    for feeds in (first, second, first):
        image, seconds = run(feeds)
        np.testing.assert_array_equal(image, session.run(**feeds))
        assert seconds.run > 0 and seconds.copy_in >= 0 and seconds.copy_out >= 0
    with pytest.raises(BadInput, match=r"model\.onnx cannot run a batch of 2"):
        run({"label": first["label"][:, :3], "exemplar": first["exemplar"], "exemplar_label": first["exemplar_label"]})


def test_runs_to_warm_up_are_not_counted(model_file: Path) -> None:
    session, told = Session(model_file), []
    feeds = example_feeds(Graph.read(model_file), session.metadata, 2)
    request = Request(batches=(2,), runs=3, warmup=2, threads=1, target_ms=10)
    timings = measure(session, feeds, request, None, lambda: told.append(1))
    assert (len(timings.runs), timings.eager, len(told)) == (3, [], 5)


def test_json_holds_everything_and_nothing_else_is_printed(
    model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    against = ["--against", DEMO, *SMALL]
    assert main(["--model", str(model_file), "--json", *QUICK, *GENEROUS, *against]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert "within the target" in printed.err
    assert {"model", "provider", "hardware", "gpu", "threads", "costs", "peak", "budget", "versions"} <= set(found)
    assert (found["provider"], found["threads"], found["runs"], found["gpu"]) == ("cpu", 1, 4, None)
    assert [row["batch"] for row in found["batches"]] == [1, 2]
    for row in found["batches"]:
        for figures in (row["run_ms"], row["picture_ms"], row["eager_ms"]):
            assert 0 < figures["p50"] <= figures["p95"] <= figures["p99"]
        assert row["picture_ms"]["p95"] == pytest.approx(row["run_ms"]["p95"] / row["batch"], abs=1e-3)
        assert set(row["copy_in_ms"].values()) == set(row["copy_out_ms"].values()) == {0}
        assert row["gflop_per_picture"] == found["costs"]["gflop"]
        assert row["speedup_over_eager"] > 0 and row["pictures_per_s"] > 0
    assert found["speedup_over_eager"] == found["batches"][0]["speedup_over_eager"]
    assert found["target"]["met"] is True
    assert found["target"]["p95_ms"] == found["batches"][0]["run_ms"]["p95"]
    assert {each["machine"] for each in found["budget"]["cards"]} == {card.name for card in CARDS}
    assert "not measurements" in found["budget"]["what"]
    (here,) = found["budget"]["here"]
    assert here["measured_p50_ms"] == found["batches"][0]["run_ms"]["p50"]
    assert {"python", "torch"} <= set(found["versions"])


def test_the_exit_code_tells_whether_the_target_was_met(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(model_file), *QUICK, "--target-ms", "0.000001"]) == 3
    missed = capsys.readouterr().out
    last = missed.splitlines()[-1]
    assert last.startswith("p95 of a run at batch 1 is ")
    assert "missed the target of 1e-06 ms by" in last
    assert main(["--model", str(model_file), *QUICK, "--threads", "2", *GENEROUS]) == 0
    met = capsys.readouterr().out
    assert met.splitlines()[-1].endswith("within the target of 1e+09 ms")
    for word in ("p95/picture", "GFLOP/s", "of peak", "GTX 1080 Ti", "lower bounds, not measurements", "hardly more"):
        assert word in met
    assert "copy in" not in met


def test_a_cpu_is_compared_with_eager_pytorch_unasked(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file says which network it is; weights do not matter to its times."""
    main(["--model", str(model_file), "--json", *QUICK, *GENEROUS])
    found = json.loads(capsys.readouterr().out)
    assert found["against"] == "the same network, random weights"
    assert found["speedup_over_eager"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bacth", "1"], "unknown option --bacth"),
        (["--against", "nowhere"], "no checkpoint at nowhere"),
        (["--against", "nowhere.yaml"], r"no config at nowhere\.yaml"),
        (["--against", DEMO], r"another label schema than .*model\.onnx: height is 32 here and 64 there"),
        (["--against", DEMO, *SMALL[:-1]], r"needs 0\.\d+ GFLOP per picture, but .*model\.onnx 0\.\d+"),
        (["--against", DEMO, "--data.widht=32"], "did you mean 'width'"),
        (["--provider", "cuda"], "provider 'cuda'"),
    ],
)
def test_what_cannot_be_measured_is_named(arguments: list[str], message: str, model_file: Path) -> None:
    with pytest.raises(BadInput, match=message):
        main(["--model", str(model_file), *QUICK, *arguments])


def test_another_method_is_named(model_file: Path, tmp_path: Path) -> None:
    config = tmp_path / "other.yaml"
    config.write_text(
        "method: pix2pixhd\nrun: run\nimages: 1\ndata: {label: sketch, train: data, height: 32, width: 32}\n"
    )
    with pytest.raises(BadInput, match=r"is pix2pixhd, but .* is style_consistent"):
        main(["--model", str(model_file), *QUICK, "--against", str(config)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "2,4"], "lacks batch 1, which the target is judged by; give 1,2,4"),
        (["--batch", "1,0"], "'0' is not a whole number from 1 to"),
        (["--batch", "1,two"], "'two' is not a whole number"),
        (["--provider", "tpu"], "invalid choice: 'tpu'"),
        (["--runs", "0"], "'0' is not a whole number from 1 to"),
        (["--target-ms", "0"], "'0' is not a number above 0"),
        (["--target-ms", "nan"], "'nan' is not a number above 0"),
    ],
)
def test_bad_figures_are_refused_before_anything_is_loaded(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--model", "nowhere.onnx", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_files_that_are_no_models_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.onnx"
    assert run_command(lambda: main(["--model", str(file)])) == 2
    file.write_text("no protobuf")
    assert run_command(lambda: main(["--model", str(file)])) == 2
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert "no model at" in errors[0] and "is not an ONNX model" in errors[1]


def test_a_fixed_batch_is_named(small: Any, tmp_path: Path) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(small.exported.model)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    file = tmp_path / "model.onnx"
    save(model, facts_of(small.synthesis).to_props(), file)
    assert main(["--model", str(file), "--batch", "1", "--runs", "1", "--warmup", "0", *GENEROUS]) == 0
    with pytest.raises(BadInput, match="takes batches of 1 only, not 2"):
        main(["--model", str(file), "--batch", "1,2"])
