"""No engine is kept that paints something else than PyTorch. ONNX Runtime's CPU stands for the GPU that runs it."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.metadata import Metadata
from deploy.runtime import Session
from export.gates.engines import check_engine
from export.gates.result import Candidate, GateResult
from export.graph import Exported
from export.tensorrt import engine
from likeness import engine_cache, onnx_runtime
from likeness.command import BadInput
from likeness.engine_cache import Facts
from trainer.checkpoints import synthesis as checkpoints

CandidateOf = Callable[[Exported], Candidate]


def test_an_engine_is_judged_by_the_thresholds_of_its_models_precision(small: Any, candidate_of: CandidateOf) -> None:
    file = candidate_of(small.exported).file
    result = check_engine(Session(file), small.synthesis, small.samples[:8], 3)
    assert result.passed and result.figures["samples"] == 6, "batches of three, none of them cut"
    assert (result.figures["least_psnr_db"], result.figures["most_max_abs"]) == (60, 1e-3)

    # As TF32 would have it: 10 bits of mantissa left in every weight.
    rounded = onnx.load(file)
    for tensor in rounded.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            bits = numpy_helper.to_array(tensor).view(np.uint32) + np.uint32(0x1000)
            tensor.CopyFrom(numpy_helper.from_array((bits & np.uint32(0xFFFFE000)).view(np.float32), tensor.name))
    onnx.save(rounded, file)
    result = check_engine(Session(file), small.synthesis, small.samples[:8], 1)
    assert not result.passed, "TF32 is not float32"
    few = check_engine(Session(file), small.synthesis, small.samples[:8], 16)
    assert not few.passed and few.remedy == "name shards of at least 16 samples with --samples"


def given(model: Path, **more: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"model": model, "checkpoint": None, "samples": None, "batch": (1, 8, 32), **more})


def test_a_trained_model_is_compared_with_its_own_checkpoint(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def model_of(digest: str) -> onnx.ModelProto:
        made = onnx.ModelProto()
        made.CopyFrom(small.exported.model)
        schema = small.synthesis.schema
        helper.set_model_props(made, Metadata("style_consistent", schema, digest, None, 9, "none").to_props())
        return made

    file, run = Path("face.onnx"), Path("runs/face")
    with pytest.raises(BadInput, match="name the checkpoint that the model was exported from with --checkpoint"):
        engine._gate_of(given(file), model_of("5f2a"), "tensorrt")
    monkeypatch.setattr(checkpoints, "load_for_synthesis", lambda path, inputs: small.synthesis)
    with pytest.raises(BadInput, match=r"face.onnx was exported from another checkpoint \(5f2a…\) than runs/face"):
        engine._gate_of(given(file, checkpoint=run), model_of("5f2a"), "tensorrt")
    assert engine._gate_of(given(file), model_of("untrained"), "tensorrt") is None
    with pytest.raises(BadInput, match=r"--checkpoint: face\.onnx is not compared .* its weights are random"):
        engine._gate_of(given(file, checkpoint=run), model_of("untrained"), "tensorrt")
    with pytest.raises(BadInput, match="since TensorRT-RTX's engines do not run here"):
        engine._gate_of(given(file, checkpoint=run), model_of("5f2a"), "tensorrt-rtx")


def test_an_engine_that_fails_its_gate_is_not_kept(
    small: Any, candidate_of: CandidateOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(model: Path, out: Path, *_: Any) -> None:
        """As TensorRT leaves it: a model of one node, which names the engine beside it."""
        node = helper.make_node("EPContext", ["label"], ["image"], domain="com.microsoft")
        graph = helper.make_graph([node], "engine", [], [])
        onnx.save(helper.make_model(graph), out)

    monkeypatch.setattr(onnx_runtime, "build_engine", write)
    file, model = candidate_of(small.exported).file, small.exported.model
    facts = Facts("a", {}, "tensorrt", "10.16", "H200", "9.0", "570", (2, 4, 8))
    folder = tmp_path / "engines" / facts.key
    seen: list[tuple[str, int]] = []

    def judge(passed: bool) -> engine.Gate:
        def gate(built: Path, batch: int) -> GateResult:
            seen.append((built.name, batch))
            return GateResult("parity", passed, {"psnr_db": 41.5}, "")

        return gate

    with pytest.raises(engine._GateError, match="FAILED  parity"):
        engine._build(file, model, facts, folder, judge(False))
    assert not folder.parent.exists()
    engine._build(file, model, facts, folder, judge(True))
    assert seen == 2 * [("engine.onnx", 2)]
    gate = engine_cache.read(folder).gate
    assert gate is not None and gate["passed"] and gate["figures"] == {"psnr_db": 41.5}


def test_without_a_gpu_there_is_no_engine_to_judge(
    candidate_of: CandidateOf, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    file = candidate_of(small.exported).file
    with pytest.raises(BadInput, match="no NVIDIA GPU with a driver was found"):
        engine.main(["--model", str(file), "--cache", str(tmp_path / "engines"), "--runtime", "tensorrt"])
    assert not (tmp_path / "engines").exists()
