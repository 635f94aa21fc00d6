"""`python -m deploy`: batch, manipulate, serve, demo and triton."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from deploy.model_arguments import add_model_arguments, open_session
from likeness.arguments import Help, count, slice_of, whole
from likeness.command import BadInput, run_command
from shards.operators.arguments import OPERATOR_OPTIONS, add_operator_arguments

DESCRIPTION = """\
From an exported model to pictures, with ONNX Runtime. Needs nothing but the model's file, and the
file of its weights where they lie beside it.

  batch       paint the pictures of many pairs
  manipulate  give one instance of a picture another class or look
  demo        draw a label map, or manipulate instances, in the browser and see the picture meanwhile
  serve       paint pictures for whoever asks over HTTP
  triton      write a model repository for NVIDIA's Triton Inference Server
"""

EXAMPLES = """\
examples:
  python -m deploy batch --model model.onnx --pairs data/test --out pictures
  python -m deploy batch --model model.onnx --pairs pairs.csv --out pictures --provider cuda --batch 8
  python -m deploy batch --model model.onnx --pairs s3://bucket/test --out painted --format jpg --per-shard 1000
  python -m deploy batch --model models:/likeness-dance@champion --video dance.mp4 --exemplar person.png --out out.mp4
  python -m deploy manipulate --model model.onnx --pairs data/test --pair 00000003 --instance 13002 --class bus \\
      --out before-after.png
  python -m deploy demo --model model.onnx --examples data/test
  python -m deploy serve --model model.onnx
  python -m deploy triton --model model.onnx --out repository

Exit codes: 0 done, 2 bad input or no room on the disk (one line on stderr says what to do).
"""

BATCH = """\
Paints a picture for every pair and ends with pictures/s and milliseconds per picture. Reading, the model and writing
overlap. Run the same command again after an interruption: finished pictures are skipped.

--pairs is one of
  a folder of shards (or its manifest.json) with the model's label schema, as a path or as a URL that fsspec opens
    (pip install 'likeness[remote]'); pictures are named after the pairs' keys
  a folder with the folders label/, exemplar_label/ and so on, those that the model reads: files of the same path but
    for the suffix are a pair and give it its name; a file that is alone in its folder belongs to all pairs
  a CSV file with a header and the columns that the model reads, paths relative to the CSV:
    label, exemplar_label  what the label maps are drawn from:
                             sketch   JSON, 68 landmarks [x, y] in a 512×512 frame laid over the picture
                             pose     JSON, 18 keypoints [x, y, confidence], x and y as fractions of the sides
                             classes  grey or palette PNG of class ids
    exemplar               PNG or JPEG photo of the model's size
    instances              grey PNG of 8 or 16 bits: the number of the object that each pixel belongs to
    features               (optional) RGB PNG, 0 to 255 for -1 to 1: the look of each instance
    style                  (optional) JSON, a style code of 8 numbers, in a file or in the cell itself
    output                 (optional) name of the picture below --out; otherwise the row's number

What may be left out is drawn, as a function of --seed and the pair's name: features from the centres that the model
holds for each class, style codes from a normal distribution. Shards hold neither. --styles K paints each pair in K
styles, NAME-1 to NAME-K.

--out holds, beside the pictures or the tar shards of --per-shard (KEY.image.png and KEY.json for each, which WebDataset
reads; index.json has their counts and SHA-256), a summary.json and, where inputs were broken, their list bad.csv. With
--slice I/N, as in a job array, N processes on any machines share the pictures and write to one --out; these files are
then summary-I-of-N.json and so on.

--video paints every frame of a video in the likeness of one --exemplar and keeps the sound; --out is then a video.
Models that read a style code paint it in the one that --seed draws. Those that read instance maps or features cannot:
no label operator finds them.
Labels come from the sidecar of a world's video, or are detected: face landmarks for sketch (the face is cut out), body
poses for pose, what the segmentation model --parser finds for classes. Where nothing is found in a frame, the label
before stays. An exemplar is labelled in the same way unless --exemplar-label says what its label is drawn from; of a
video, the first usable frame is the exemplar.
"""

MANIPULATE = """\
Gives one instance of a picture another class, or another look of its class, paints the picture before and after, and
says how much changed inside the instance, around it as far as the network reaches, and beyond. --out shows the new
label map with the instance outlined, both pictures, and their difference, side by side.

--pairs and --pair name the picture as `batch` does. Leave out --instance to see which instances it has: by number,
class and share of the picture. Of models that read no instance maps, each class is one instance. Numbers are those of
Cityscapes: below 1000 the class of a region that is not counted, else class · 1000 + n.
"""

DEMO = """\
A page on which a label map is drawn (classes with a brush; landmarks and keypoints are dragged) or uploaded, an
exemplar is picked or uploaded, and the picture follows every move. Label maps and pictures can be saved: PNG and JSON,
nothing lossy. Ctrl-C ends it.

Photos that are uploaded as exemplars are cut to the model's aspect around their middle and resized. A model that reads
the exemplar's label map, too, takes it from the shards of --examples, from a file, or makes it: of faces and bodies
with MediaPipe (`pip install --no-deps -r requirements-faces.txt`), of classes with --parser.

Of a model that reads instance maps, the page shows the pictures of --examples instead: pick an instance, give it
another class or look, and see what changes.
"""


SERVE = """\
Answers POST /synthesize: multipart/form-data with one file for each of the model's inputs, as in the CSV of `batch`
(label, exemplar_label: JSON, or PNG of class ids; exemplar: PNG or JPEG), and a PNG back. Features and style codes may
be left out; the part `seed`, a whole number, then decides what is drawn. GET / says in JSON what this model takes; GET
/healthz, /readyz and /metrics (Prometheus) are for who watches over the service.

Requests that wait run together, up to --max-batch; one that comes alone runs at once. Refusals are JSON, {"error": …}:
400 and 415 no multipart or no picture, 413 too large, 422 not what the model takes (the message says what), 503 with
Retry-After when the queue is full or the service ends, 408 and 504 out of time, 500 the model failed.

SIGTERM and Ctrl-C end it: what was accepted is answered within --drain seconds, the rest gets 503.

It listens on this machine only. To let others in, set the environment variable LIKENESS_TOKEN, which clients then
send as `Authorization: Bearer …` (all but /healthz, /readyz and /metrics ask for it), and put a proxy that speaks TLS
in front.
"""

TRITON = """\
Writes a folder that `tritonserver --model-repository` serves: the model, its weights where they lie beside it, and a
config.pbtxt with its inputs, its output and dynamic batching. What the tensors hold is in a comment there.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    return run_command(lambda: command(options))


def _batch(options: argparse.Namespace) -> None:
    if options.video:
        _video(options)
        return
    _check_unset(options, ("exemplar", "exemplar_label", *OPERATOR_OPTIONS), "goes with --video, not with --pairs")
    # Imported here, so that help need not wait for ONNX Runtime.
    from deploy.batch import run as batch
    from deploy.batch.open_pairs import open_pairs
    from deploy.batch.outputs import Output
    from likeness.onnx_runtime import no_spinning

    output = Output(options.format, options.quality, options.per_shard)
    with no_spinning():
        session = open_session(options)
    pairs = open_pairs(
        options.pairs,
        session.schema,
        session.inputs,
        options.roll_labels,
        options.slice,
        output,
        options.cache,
        options.max_bad,
        options.styles,
        session.metadata.style_length,
    )
    summary = batch.run(session, pairs, options.out, options.batch, output, options.max_bad, options.seed)
    if options.json:
        print(json.dumps(summary))
    else:
        print(batch.table(summary))
        print(options.out)


def _check_unset(options: argparse.Namespace, names: Sequence[str], reason: str) -> None:
    """Raises BadInput where an option of `batch` is not its default."""
    defaults = _parser().parse_args(["batch", "--model", "", "--pairs", "", "--out", ""])
    for name in names:
        if getattr(options, name) != getattr(defaults, name):
            raise BadInput(f"--{name.replace('_', '-')} {reason}")


def _video(options: argparse.Namespace) -> None:
    from deploy import video

    pairs_only = ("format", "quality", "per_shard", "max_bad", "cache", "slice", "roll_labels", "styles")
    _check_unset(options, pairs_only, "goes with --pairs, not with --video")
    session = open_session(options)
    labelling = video.auto_labelling(session.schema, options)
    film = video.synthesize_video(
        session,
        options.video,
        options.exemplar,
        options.out,
        labelling,
        options.exemplar_label,
        options.batch,
        options.seed,
    )
    if options.json:
        print(json.dumps(asdict(film)))
    else:
        print(video.table(film, session))
        print(options.out)


def _manipulate(options: argparse.Namespace) -> None:
    from deploy import pictures
    from deploy.manipulation import edit as manipulate
    from deploy.manipulation import scenes
    from likeness import atomic

    if options.out.suffix.lower() != ".png":
        raise BadInput(f"--out {options.out} is no PNG; give a name that ends in .png")
    session = open_session(options)
    scenes.check(session)
    schema = session.schema
    scene = scenes.scene_of(session, options.pairs, options.pair, options.seed)
    instance = manipulate.instance_of(scene, options.instance, schema)
    if options.centre is not None and "features" not in session.inputs:
        raise BadInput(f"{session.path} reads no features, so that its instances have no looks; give a --class")
    if options.class_name is not None:
        wanted: manipulate.Edit = manipulate.NewClass(
            instance.number, manipulate.class_named(options.class_name, schema)
        )
    elif options.centre is not None:
        wanted = manipulate.NewLook(instance.number, options.centre)
    else:
        raise BadInput(f"say what becomes of instance {instance.number}: give a --class or a --centre")
    before, after, changed = manipulate.edit(session, scene, [wanted])
    mask = scene.instances == instance.number
    panels = manipulate.panels(changed, before, after, mask, schema)
    atomic.write_bytes(options.out, pictures.encoded(panels))
    print(manipulate.outside(before, after, mask, session.metadata.reach).in_words())
    print(options.out)


def _demo(options: argparse.Namespace) -> None:
    from deploy.demo import page as demo

    demo.serve(open_session(options), options.examples, options.parser, options.host, options.port)


def _serve(options: argparse.Namespace) -> None:
    try:
        from deploy.service import serve
        from deploy.service.app import Limits
    except ImportError as error:
        raise BadInput(
            f"the service needs a package that is not here ({error}); pip install 'likeness[deploy]'"
        ) from error

    limits = Limits(options.max_batch, options.max_queue, options.timeout, options.drain)
    serve.token_of(options.host)
    serve.listen(options.host, options.port).close()
    serve.run(open_session(options), options.host, options.port, limits)


def _triton(options: argparse.Namespace) -> None:
    from deploy import triton

    session = open_session(options)
    print(triton.write(session, options.out, options.name, options.on, options.max_batch))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_batch(commands)
    _add_manipulate(commands)
    _add_demo(commands)
    _add_serve(commands)
    _add_triton(commands)
    return parser


def _add_batch(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sub = commands.add_parser("batch", help="paint the pictures of many pairs", description=BATCH, formatter_class=Help)
    sub.set_defaults(command=_batch)
    add_model_arguments(sub)
    add = sub.add_argument
    source = sub.add_mutually_exclusive_group(required=True)
    source.add_argument("--pairs", metavar="CSV|DIR|URL", help="a CSV file, a folder of files, or shards")
    source.add_argument("--video", type=Path, metavar="FILE", help="a video, see above")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the pictures: new, or of the same run before; with --video, an .mp4, .mov or .mkv file",
    )
    add("--exemplar", type=Path, metavar="FILE", help="with --video: a photo, or a video")
    add("--exemplar-label", type=Path, metavar="FILE", help="with --video: what the exemplar's label is drawn from")
    add("--batch", type=count, default=1, metavar="N", help="pictures in one run of the model")
    add("--format", choices=("png", "jpg", "webp"), default="png", help="of the pictures; only png loses nothing")
    add("--quality", type=count, metavar="Q", help="of jpg and webp, 1 to 100; without it, 95")
    add("--per-shard", type=count, metavar="N", help="write tar shards of N pictures each instead of loose files")
    add(
        "--max-bad",
        type=whole,
        default=0,
        metavar="N",
        help="skip and list up to N pairs whose inputs are broken, in each slice",
    )
    add(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep shards from a URL here; without it, they are removed after use",
    )
    add("--seed", type=whole, default=0, metavar="N", help="of style codes and features that are drawn")
    add(
        "--styles", type=count, default=1, metavar="K", help="pictures of each pair, in different styles that are drawn"
    )
    add("--json", action="store_true", help="print the summary as JSON instead of a table")
    add("--slice", type=slice_of, default="0/1", metavar="I/N", help="make slice I (from 0) of N only, for job arrays")
    add(
        "--roll-labels",
        type=whole,
        default=0,
        metavar="N",
        help="take each pair's target label from the pair N further on (shards only), to see that the label matters",
    )
    add_operator_arguments(sub.add_argument_group("labels of a video").add_argument)


def _add_manipulate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sub = commands.add_parser(
        "manipulate", help="give an instance another class or look", description=MANIPULATE, formatter_class=Help
    )
    sub.set_defaults(command=_manipulate)
    add_model_arguments(sub)
    add = sub.add_argument
    add("--pairs", required=True, metavar="CSV|DIR|URL", help="what the picture is in, as for `batch`")
    add("--pair", metavar="NAME", help="the picture's name in `batch`: a key of shards")
    add("--instance", type=whole, metavar="N", help="its number in the instance map")
    becomes = sub.add_mutually_exclusive_group()
    becomes.add_argument("--class", dest="class_name", metavar="NAME", help="what it becomes")
    becomes.add_argument("--centre", type=whole, metavar="K", help="the centre of its class whose look it gets, from 0")
    add("--seed", type=whole, default=0, metavar="N", help="of the looks of all instances before")
    add("--out", type=Path, required=True, metavar="FILE.png", help="the picture to write")


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sub = commands.add_parser("demo", help="draw in the browser", description=DEMO, formatter_class=Help)
    sub.set_defaults(command=_demo)
    add_model_arguments(sub)
    add = sub.add_argument
    add("--examples", type=Path, metavar="DIR", help="a folder of shards: exemplars to pick, label maps to begin with")
    add("--parser", type=Path, metavar="FILE", help="a segmentation model (ONNX) that labels uploaded exemplars")
    add("--host", default="127.0.0.1", help="the address to listen on")
    add("--port", type=whole, default=7860, metavar="N", help="the port to listen on, 0 for any that is free")


def _add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sub = commands.add_parser(
        "serve", help="paint pictures for whoever asks over HTTP", description=SERVE, formatter_class=Help
    )
    sub.set_defaults(command=_serve)
    add_model_arguments(sub)
    add = sub.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; any but this machine's own needs a token")
    add("--port", type=whole, default=8000, metavar="N", help="0 takes any that is free")
    add("--max-batch", type=count, default=8, metavar="N", help="requests in one run of the model")
    add("--max-queue", type=count, default=64, metavar="N", help="requests that may wait for it; more get 503")
    add("--timeout", type=count, default=30, metavar="SECONDS", help="for a body to come, and again for its answer")
    add("--drain", type=count, default=25, metavar="SECONDS", help="for accepted requests to be answered at the end")


def _add_triton(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sub = commands.add_parser(
        "triton", help="write a model repository for Triton", description=TRITON, formatter_class=Help
    )
    # The model is opened here to learn what it takes, and to see that the copy runs.
    sub.set_defaults(command=_triton, provider="cpu", threads=None, size=None, engines=None)
    add = sub.add_argument
    add("--model", required=True, metavar="FILE", help="a model that `python -m export` wrote")
    add("--out", type=Path, required=True, metavar="DIR", help="the model repository, new or with other models")
    add("--name", default="likeness", help="of the model in the repository")
    add("--on", choices=("cpu", "cuda", "tensorrt", "openvino"), default="cuda", help="what Triton runs it with")
    add("--max-batch", type=count, default=8, metavar="N", help="requests in one run of the model")


if __name__ == "__main__":
    sys.exit(main())
