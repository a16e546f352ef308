"""`reasoner pool`: makes a pool file of recorded replies."""

from pathlib import Path

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.cli.options import PATH
from reasoner.cli.terminal import Terminal


@click.command("pool")
@click.argument("records", type=PATH, metavar="RECORDS")
@click.option("-o", "--out", type=PATH, required=True, metavar="FILE", help="The pool file.")
@guarded
def command(records: Path, out: Path) -> int:
    r"""Make a pool of recorded replies, to evaluate strategies on them without a model.

    RECORDS is a JSONL file with a line for each reply, in any order: `question_id`, `gold` (the reference answer),
    `tokens` (its length), `answer` (text or null). Where the model was asked for its answer on the way, `probes` are
    these answers, one at `every` so many tokens (500). A line may also hold all replies to a question as
    search-and-learn publishes them (`unique_id`, `answer`, `completions`, `completion_tokens`), DeepConf
    (`question_id`, `ground_truth`, `all_traces`), or lm-evaluation-harness logs them (`samples_*.jsonl`).

    \b
    The pool is both the questions and the engine:
        reasoner eval pool:FILE -e pool:FILE -s "self_consistency(n=64)"
    """
    from reasoner_evals.tasks.recordings import write_pool

    written = write_pool(records, out)
    kind = "chains with probes" if written.probed else "answers"
    Terminal().say(f"{written.questions:,} questions, {written.replies:,} {kind} in {out}")
    return ANSWERED
