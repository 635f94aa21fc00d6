"""Batch inference: pairs in, pictures out."""

import json
from pathlib import Path
from typing import Any

from deploy.batch import folder
from deploy.batch.bad_inputs import BadInputs
from deploy.batch.outputs import Files, Output, Tars
from deploy.batch.pairs import Pairs, slice_ending
from deploy.batch.summary import describe
from deploy.batch.synthesis import synthesize_pairs
from deploy.chain import Chain
from likeness import atomic
from likeness.checksums import sha256_of


def run(
    chain: Chain,
    pairs: Pairs,
    out: Path,
    batch: int = 1,
    output: Output = Output(),  # noqa: B008
    max_bad: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Makes the pictures of `pairs` that are not yet in `out`, and returns what `summary.json` holds.

    An existing `out` is continued when an earlier run of the same chain, pairs and output began it. Slices of one run
    may write to one `out` at the same time, from several machines; their summaries are `summary-0-of-4.json` and so on.
    output: as `pairs` was opened with. max_bad: so many pairs with broken inputs are skipped and listed in `bad.csv`
    (`bad-0-of-4.csv`); the next run tries them again. seed: of style codes and features that no pair gives.
    Raises BadInput when `out` is anything else, another process is writing the same slice, or too many are broken.
    """
    session = chain.session
    digest = sha256_of(session.path)
    drawn = {"seed": seed, "styles": pairs.styles} if chain.optional else {}
    facts: dict[str, Any] = {"model_sha256": digest, **drawn}
    if len(chain.steps) > 1:
        facts["steps"] = [step.identity for step in chain.steps]
    with folder.opened(out, facts, session.schema, pairs, output):
        ending = slice_ending(pairs.part)
        bad = BadInputs(out, f"bad{ending}", max_bad, pairs.mark)
        sink = (
            Tars(out, output, pairs.ours, {"model_sha256": digest, "method": session.method})
            if output.per_shard
            else Files(out, output)
        )
        try:
            with sink:
                summary = synthesize_pairs(chain, pairs, sink, bad, batch, output, seed)
        finally:
            bad.save()
        if isinstance(sink, Tars):
            sink.write_index(pairs.part)
        described = {**describe(session, pairs, batch, summary), **drawn}
        file = out / f"summary{ending}.json"
        if summary.pictures or summary.bad or not file.exists():
            atomic.write_text(file, json.dumps(described, indent=1) + "\n")
    return described
