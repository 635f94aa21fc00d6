"""`python -m deploy serve`: its options, and the service until it is told to end."""

import argparse

from deploy.model_arguments import add_model_arguments, open_session
from likeness.arguments import Help, count
from likeness.command import BadInput
from likeness.loopback import listen, port

DESCRIPTION = """\
Answers POST /synthesize: multipart/form-data with one file for each of the model's inputs, as in the CSV of `batch`
(see `python -m deploy batch --help`), and a PNG back. Features and style codes may be left out; the part `seed`, a
whole number, then decides what is drawn. GET / says in JSON what this model takes; GET /healthz, /readyz and /metrics
(Prometheus) are for who watches over the service.

Requests that wait run together, up to --max-batch; one that comes alone runs at once. Refusals are JSON, {"error": …}:
400 and 415 no multipart or no picture, 413 too large, 422 not what the model takes (the message says what), 503 with
Retry-After when the queue is full or the service ends, 408 and 504 out of time, 500 the model failed.

SIGTERM and Ctrl-C end it: what was accepted is answered within --drain seconds, the rest gets 503.

It listens on this machine only. To let others in, set the environment variable LIKENESS_TOKEN, which clients then
send as `Authorization: Bearer …` (all but /healthz, /readyz and /metrics ask for it), and put a proxy that speaks TLS
in front.
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "serve", help="paint pictures for whoever asks over HTTP", description=DESCRIPTION, formatter_class=Help
    )
    parser.set_defaults(command=serve)
    add_model_arguments(parser)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; any but this machine's own needs a token")
    add("--port", type=port, default=8000, metavar="N", help="0 takes any that is free")
    add("--max-batch", type=count, default=8, metavar="N", help="requests in one run of the model")
    add("--max-queue", type=count, default=64, metavar="N", help="requests that may wait for it; more get 503")
    add("--timeout", type=count, default=30, metavar="SECONDS", help="for a body to come, and again for its answer")
    add("--drain", type=count, default=25, metavar="SECONDS", help="for accepted requests to be answered at the end")


def serve(options: argparse.Namespace) -> None:
    """Runs the command. Raises BadInput for what a person can mend."""
    from deploy.chain import Chain

    try:
        from deploy.service.app import Limits
        from deploy.service.serve import run, token_of
    except ImportError as error:
        raise BadInput(
            f"the service needs a package that is not here ({error}); pip install 'likeness[deploy]'"
        ) from error

    limits = Limits(options.max_batch, options.max_queue, options.timeout, options.drain)
    # Before the model is loaded, which may take minutes: whether the service may, and can, listen there.
    token_of(options.host)
    listen(options.host, options.port).close()
    run(Chain.of(open_session(options)), options.host, options.port, limits)
