"""`python -m export engine`: a TensorRT engine built ahead of time, in a cache that serves the machines it fits."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto

from deploy.metadata import Metadata
from export.tensorrt import rtx as tensorrt_rtx
from export.weights import tensors_of, weights_of
from likeness import atomic, engine_cache, onnx_runtime
from likeness.arguments import count
from likeness.command import BadInput
from likeness.engine_cache import Facts, Profile, Record, Runtime
from likeness.gpu import visible_gpu
from likeness.names import quoted

if TYPE_CHECKING:
    from export.gates.result import GateResult

GATE_FAILED = 1
BATCHES = (1, 8, 32)
"""Smallest, usual and largest batch."""
RUNTIMES: tuple[Runtime, ...] = ("tensorrt", "tensorrt-rtx")
ENGINE_FILE = {"tensorrt": "engine.onnx", "tensorrt-rtx": "engine.plan"}

DESCRIPTION = f"""\
Builds a model's TensorRT engine ahead of time. Who serves the model (`--provider tensorrt`) takes the engine from the
cache and never builds: without a matching one it stops with the command to run.

An engine gets into the cache only if it passes its gate: it paints 64 real samples as PyTorch does in float32, with the
thresholds of `python -m export` for the model's precision. fp32 is float32: TF32 is off. For that it needs the
checkpoint that the model was exported from. Models with random weights, and engines for TensorRT-RTX, which this
machine does not run, are not compared; the record says so.

  tensorrt      through ONNX Runtime, on a machine with the GPU that will serve; the engine runs on that GPU and
                driver only. The default where there is a GPU. Needs tensorrt-cu13==10.16.*.
  tensorrt-rtx  without a GPU, in seconds; one engine for GPUs of compute capability
                {engine_cache.RTX_RUNS_ON}. The default elsewhere. Needs the extra `likeness[tensorrt]`.
                For programs that use TensorRT-RTX themselves; `--provider tensorrt` runs the other kind only.

The cache has one folder per engine, named by what it was made of and for: the model's contents, the runtime's version,
GPU, compute capability, driver and shapes. Its record.json says all of these. An engine that is there already is found,
not built again; to build it anew, remove its folder.
"""

EXAMPLES = """\
examples:
  python -m export engine --model face.onnx --cache engines --checkpoint runs/face
  python -m export engine --model face.onnx --cache engines --batch 1,1,4 --runtime tensorrt-rtx

Exit codes: 0 done (the last line is the engine's file), 1 the gate failed (there is no engine), 2 bad input (one line
on stderr says what to do).
"""


class _GateError(Exception):
    """An engine whose gate failed."""

    def __init__(self, result: "GateResult") -> None:
        super().__init__(result.line())
        self.result = result


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds an engine, or finds it. Returns 0, or 1 when its gate failed; raises BadInput when it can do neither."""
    try:
        return _run(arguments)
    except _GateError as error:
        print(error)
        print(f"error: gate {error.result.name} failed; {error.result.remedy}. No engine was kept.", file=sys.stderr)
        return GATE_FAILED


def _run(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    runtime: Runtime = options.runtime or ("tensorrt-rtx" if visible_gpu() is None else "tensorrt")
    version = tensorrt_rtx.version() if runtime == "tensorrt-rtx" else onnx_runtime.tensorrt_version()
    if not options.model.is_file():
        raise BadInput(f"no model at {options.model}; write one with `python -m export`")
    digest = engine_cache.model_sha256(options.model)
    # Looked up by the file's digest, before a graph that may hold all weights is read.
    entry = engine_cache.built(options.cache, options.model, digest, runtime, version, options.batch)
    if entry is not None:
        folder, record = entry
        print(f"found, built before: {_summary(record)}")
    else:
        place = engine_cache.place_of(runtime)
        model = _load(options.model)
        gate = _gate_of(options, model, runtime)
        facts = Facts(
            model_sha256=digest,
            external_data={file.name: engine_cache.model_sha256(file) for file in weights_of(model, options.model)},
            runtime=runtime,
            version=version,
            gpu=place.name,
            compute_capability=place.compute_capability,
            driver=place.driver,
            batches=options.batch,
        )
        folder = options.cache / facts.key
        print(f"… building for {runtime} {version}, {_place(facts)}", file=sys.stderr)
        record = _build(options.model, model, facts, folder, gate)
        print(f"built in {record.build_seconds:.1f} s: {_summary(record)}")
        print("not compared with PyTorch" if gate is None else "compared with PyTorch: passed")
    print(folder / record.engine)
    return 0


def profile_of(model: ModelProto, where: Path, batches: Sequence[int]) -> Profile:
    """The smallest, usual and largest shape of each input: its own sizes, and `batches` where its batch is dynamic.

    Two other dynamic axes are height and width, in this order; they get the size of the metadata's label schema.

    Raises BadInput, naming `where`, for any other dynamic axis.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    profile = {}
    for entry in model.graph.input:
        if entry.name in constants:
            continue
        sizes = [axis.dim_value if axis.HasField("dim_value") else None for axis in entry.type.tensor_type.shape.dim]
        free = [number for number, size in enumerate(sizes) if size is None and number > 0]
        if free:
            if len(free) != 2:
                raise BadInput(
                    f"{where}: input {entry.name} has {len(free)} dynamic axes beside the batch; an engine is built "
                    "for none, or for height and width: export the model with `python -m export`"
                )
            schema = Metadata.from_props({prop.key: prop.value for prop in model.metadata_props}, str(where)).schema
            sizes[free[0]], sizes[free[1]] = schema.height, schema.width
        smallest, usual, largest = (tuple(batch if size is None else size for size in sizes) for batch in batches)
        profile[entry.name] = (smallest, usual, largest)
    return profile


def precisions_of(model: ModelProto) -> list[str]:
    """Those of `fp16`, `bf16` and `int8` that the model computes in, as TensorRT has to be told."""
    types = {tensor.data_type for tensor in tensors_of(model)}
    operators = {node.op_type for node in model.graph.node}
    used_by = {
        "fp16": TensorProto.FLOAT16 in types,
        "bf16": TensorProto.BFLOAT16 in types,
        "int8": "QuantizeLinear" in operators or "DequantizeLinear" in operators,
    }
    return [name for name, used in used_by.items() if used]


def _load(file: Path) -> ModelProto:
    """The graph, without weights that lie in files beside it."""
    try:
        model = onnx.load(file, load_external_data=False)
    except DecodeError as error:
        raise BadInput(f"{file} is not an ONNX model ({error}); export it again") from error
    if not model.HasField("graph"):
        raise BadInput(f"{file} is not an ONNX model (it has no graph); export it again")
    return model


Gate = Callable[[Path, int], "GateResult"]
"""Judges an engine's file, in batches of a size that it takes."""


def _gate_of(options: argparse.Namespace, model: ModelProto, runtime: Runtime) -> Gate | None:
    """What judges the engine; None where nothing can be compared. Loaded beforehand: a build takes minutes.

    Raises BadInput when the checkpoint is missing, or another one than the model's.
    """
    known = Metadata.from_props({prop.key: prop.value for prop in model.metadata_props}, str(options.model))
    if runtime == "tensorrt-rtx" or known.checkpoint_sha256 == "untrained":
        if options.checkpoint:
            reason = "TensorRT-RTX's engines do not run here" if runtime == "tensorrt-rtx" else "its weights are random"
            raise BadInput(f"--checkpoint: {options.model} is not compared with it, since {reason}; leave it off")
        return None
    if options.checkpoint is None:
        raise BadInput(
            f"an engine of {options.model} is kept only if it paints what PyTorch does: name the checkpoint that the "
            "model was exported from with --checkpoint"
        )
    # Imported here, so that help and engines that are found need not wait for torch.
    from deploy.runtime import Session
    from export.gates import samples
    from export.gates.engines import check_engine
    from trainer.checkpoints.synthesis import load_for_synthesis

    inputs = tuple(value.name for value in model.graph.input)
    synthesis = load_for_synthesis(options.checkpoint, inputs)
    if synthesis.sha256 != known.checkpoint_sha256:
        raise BadInput(
            f"{options.model} was exported from another checkpoint ({known.checkpoint_sha256[:12]}…) than "
            f"{options.checkpoint} ({synthesis.sha256[:12]}…); name that one with --checkpoint"
        )
    # More than are judged, where the engine's smallest batch does not divide them.
    real = samples.real_samples(synthesis, options.samples, -(-samples.COUNT // options.batch[0]) * options.batch[0])

    def judge(engine: Path, batch: int) -> "GateResult":
        return check_engine(Session(options.model, "tensorrt", engines=engine), synthesis, real, batch)

    return judge


def _build(file: Path, model: ModelProto, facts: Facts, folder: Path, gate: Gate | None) -> Record:
    profile = profile_of(model, file, facts.batches)
    try:
        with atomic.new_folder(folder) as partial:
            started = time.perf_counter()
            engine = partial / ENGINE_FILE[facts.runtime]
            if facts.runtime == "tensorrt-rtx":
                engine.write_bytes(tensorrt_rtx.build(file, profile))
            else:
                onnx_runtime.build_engine(file.resolve(), engine.resolve(), profile, precisions_of(model))
                _complete(engine, model, file)
            seconds = round(time.perf_counter() - started, 3)
            result = gate(engine, next(iter(profile.values()))[0][0]) if gate else None
            if result is not None and not result.passed:
                raise _GateError(result)
            record = Record(
                facts=facts,
                profile=profile,
                model=file.name,
                engine=engine.name,
                files={path.name: path.stat().st_size for path in sorted(partial.iterdir())},
                build_seconds=seconds,
                gate=result.to_json() if result else None,
            )
            engine_cache.write(partial, record)
    except (BadInput, OSError):
        if not folder.exists():
            raise
        # Somebody else built the same engine meanwhile.
        return engine_cache.read(folder)
    return record


def _complete(engine: Path, model: ModelProto, file: Path) -> None:
    """Gives the provider's file the model's metadata, by which sessions know it, once it is seen to be complete."""
    written = onnx.load(engine, load_external_data=False) if engine.is_file() else ModelProto()
    operators = [node.op_type for node in written.graph.node]
    if operators != ["EPContext"]:
        raise BadInput(
            f"TensorRT did not take the whole of {file}: its engine would be {len(operators)} nodes "
            f"({', '.join(operators[:5])}); `python -m export` names what it refuses"
        )
    onnx.helper.set_model_props(written, {prop.key: prop.value for prop in model.metadata_props})
    atomic.write_bytes(engine, written.SerializeToString())


def _summary(record: Record) -> str:
    facts = record.facts
    batches = ",".join(map(str, facts.batches))
    return f"{facts.runtime} {facts.version}, {_place(facts)}, batch {batches}, {record.bytes / 1e6:.1f} MB"


def _place(facts: Facts) -> str:
    if facts.gpu == engine_cache.ANY:
        return f"any GPU of compute capability {facts.compute_capability}"
    return f"{facts.gpu} ({facts.compute_capability}), driver {facts.driver}"


def _batches(text: str) -> tuple[int, ...]:
    wrong = argparse.ArgumentTypeError(f"{quoted(text)} is no smallest, usual and largest batch such as 1,8,32")
    try:
        numbers = [count(part) for part in text.split(",")]
    except argparse.ArgumentTypeError as error:
        raise wrong from error
    if len(numbers) != 3 or sorted(numbers) != numbers:
        raise wrong
    return tuple(numbers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export engine",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="MODEL.onnx", help="a model that `python -m export` wrote")
    add("--cache", type=Path, required=True, metavar="DIR", help="folder of engines, made when it is not there")
    add(
        "--batch",
        type=_batches,
        default=BATCHES,
        metavar="MIN,OPT,MAX",
        help="batches that the engine takes, tuned for OPT (default: " + ",".join(map(str, BATCHES)) + ")",
    )
    add(
        "--checkpoint",
        type=Path,
        help="what the model was exported from, a run's folder or one checkpoint: the engine must paint what it paints",
    )
    add("--samples", metavar="SHARDS", help="shards to compare on (default: the checkpoint's data.test)")
    add("--runtime", choices=RUNTIMES, help="default: tensorrt where there is a GPU, tensorrt-rtx elsewhere")
    return parser
