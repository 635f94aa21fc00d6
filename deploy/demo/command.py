"""`python -m deploy demo`: its options, and the page until it is interrupted."""

import argparse
from pathlib import Path

from deploy.model_arguments import add_model_arguments, open_session
from likeness.arguments import Help
from likeness.loopback import port

DESCRIPTION = """\
A page on which a label map is drawn (classes with a brush; landmarks and keypoints are dragged) or uploaded, an
exemplar is picked or uploaded, and the picture follows every move. Label maps and pictures can be saved: PNG and JSON,
nothing lossy. Ctrl-C ends it.

Photos that are uploaded are prepared as those that the model has learnt from: faces are cut out, others cut to the
model's aspect. A model that reads the exemplar's label map, too, takes it from the shards of --examples, from a file,
or makes it: of faces and bodies with dlib or MediaPipe (`pip install --no-deps -r requirements-faces.txt`), of classes
with --parser. A photo may be uploaded as a label map, too.

Of a model that reads instance maps, the page shows the pictures of --examples instead: pick an instance, give it
another class or look, and see what changes.
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("demo", help="draw in the browser", description=DESCRIPTION, formatter_class=Help)
    parser.set_defaults(command=demo)
    add_model_arguments(parser)
    add = parser.add_argument
    add("--examples", type=Path, metavar="DIR", help="a folder of shards: exemplars to pick, label maps to begin with")
    add("--parser", type=Path, metavar="FILE", help="a segmentation model (ONNX) that labels uploaded exemplars")
    add("--host", default="127.0.0.1", help="the address to listen on")
    add("--port", type=port, default=7860, metavar="N", help="the port to listen on, 0 for any that is free")


def demo(options: argparse.Namespace) -> None:
    """Runs the command. Raises BadInput for what a person can mend."""
    # Imported here, so that help need not wait for ONNX Runtime.
    from deploy.chain import Chain
    from deploy.demo.serving import serve

    serve(Chain.of(open_session(options)), options.examples, options.parser, options.host, options.port)
