"""`python -m deploy triton`: its options, and the model repository that they ask for."""

import argparse
from pathlib import Path

from deploy.model_arguments import open_session
from likeness.arguments import Help, count

DESCRIPTION = """\
Writes a folder that `tritonserver --model-repository` serves: the model, its weights where they lie beside it, and a
config.pbtxt with its inputs, its output and dynamic batching. What the tensors hold is in a comment there.
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "triton", help="write a model repository for Triton", description=DESCRIPTION, formatter_class=Help
    )
    # The model is opened here to learn what it takes, and to see that the copy runs.
    parser.set_defaults(command=triton, provider="cpu", threads=None, size=None, engines=None, devices=())
    add = parser.add_argument
    add("--model", required=True, metavar="FILE", help="a model that `python -m export` wrote")
    add("--out", type=Path, required=True, metavar="DIR", help="the model repository, new or with other models")
    add("--name", default="likeness", help="of the model in the repository")
    add("--on", choices=("cpu", "cuda", "tensorrt", "openvino"), default="cuda", help="what Triton runs it with")
    add("--max-batch", type=count, default=8, metavar="N", help="requests in one run of the model")


def triton(options: argparse.Namespace) -> None:
    """Runs the command. Raises BadInput for what a person can mend."""
    # Imported here, so that help need not wait for ONNX Runtime.
    from deploy.triton.repository import write

    print(write(open_session(options), options.out, options.name, options.on, options.max_batch))
