"""`python -m trainer.study`: which of two methods' pictures are closer to the exemplar's style, as people see it."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from likeness.arguments import count, whole
from likeness.command import run_command
from likeness.loopback import port
from trainer.study.answers import read_choices, results_of, table, to_json
from trainer.study.page import serve
from trainer.study.trials import trials_of

HELP = """\
A human study (two-alternative forced choice): raters see an exemplar and two pictures that were painted after it, one
by each method, and say which is closer to the exemplar's style. Order and sides are random, another one for every
rater, each method as often on the left as on the right; time is unlimited, "undecided" is no answer. Nobody sees which
picture is whose. Raters open the page, under a name each, at the same time if you like; every answer is on disk before
the next pair shows, and a study that was stopped goes on with the same command.

A picture is named by its pair's key, as `python -m deploy batch --out DIR` writes it: DIR/00000012.png, .jpg or .webp.
Give both methods' pictures in one format: compression can be seen.

The results: the share of all answers that prefer A, with two 95% intervals.
  bootstrap  draws raters and pairs anew, with replacement, and takes all answers of a rater or on a pair along: it says
             what other raters and other pairs would give. This is the one to report: the answers of one rater hang
             together. With fewer than about ten raters it is too narrow, and it has no width where all answers agree.
  Wilson     what the interval would be if each answer were an independent toss. It is too narrow for most studies.
Then the answers of each rater (who always chooses one side did not look), and how far raters agree: the share of equal
answers, and Fleiss' kappa, which is 0 where they agree as often as by chance.
"""

EXAMPLES = """\
examples:
  python -m trainer.study --a pictures/ours --b pictures/pix2pixHD --pairs data/face/test --out answers.csv --count 50
  python -m trainer.study --results answers.csv --names ours pix2pixHD
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.study",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--a", type=Path, metavar="DIR", help="pictures of the method whose share is reported")
    add("--b", type=Path, metavar="DIR", help="pictures of the method that it is compared with")
    add("--pairs", type=Path, metavar="DIR", help="the shards that the pictures were painted from; exemplars lie there")
    add("--out", type=Path, metavar="CSV", help="one row per answer; an existing file is gone on with")
    add("--count", type=count, metavar="N", help="so many pairs, drawn at random; all by default")
    add("--seed", type=whole, default=0, metavar="K", help="which pairs, their order and sides (default: 0)")
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1); any other lets others in")
    add("--port", type=port, default=8766, metavar="N", help="port to listen on, 0 for any free one (default: 8766)")
    add("--results", type=Path, metavar="CSV", help="print the results of these answers, and do nothing else")
    add("--names", nargs=2, default=["A", "B"], metavar=("A", "B"), help="the methods' names, for the results only")
    add("--json", action="store_true", help="print the results as JSON")
    return parser


def _command(arguments: Sequence[str] | None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    study = {f"--{name}": getattr(options, name) for name in ("a", "b", "pairs", "out")}
    if options.results is not None:
        if extra := [name for name, value in study.items() if value is not None]:
            parser.error(f"--results prints what was answered; {', '.join(extra)} would begin a study")
        choices = read_choices(options.results)
    else:
        if missing := [name for name, value in study.items() if value is None]:
            parser.error(f"a study needs {', '.join(missing)}; or print those of one with --results CSV")
        trials, schema = trials_of(options.a, options.b, options.pairs, options.count, options.seed)
        choices = serve(trials, schema, options.out, options.seed, options.host, options.port)
        if not choices:
            return
    results, names = results_of(choices), (options.names[0], options.names[1])
    print(json.dumps(to_json(results, names), indent=1) if options.json else table(results, names))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run_command(lambda: _command(arguments))


if __name__ == "__main__":
    sys.exit(main())
