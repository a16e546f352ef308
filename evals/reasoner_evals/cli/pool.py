"""`reasoner pool`: makes a pool file of recorded replies."""

from pathlib import Path

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.cli.options import PATH
from reasoner.cli.terminal import Terminal
from reasoner.system.printing import counted


@click.command("pool")
@click.argument("records", type=PATH, metavar="RECORDS")
@click.option("-o", "--out", type=PATH, required=True, metavar="FILE", help="The pool file.")
@guarded
def command(records: Path, out: Path) -> int:
    """Make a pool of recorded replies, to try strategies on them.

    RECORDS is a JSONL file with a line for each reply, in any order: `question_id`, `gold` (the reference answer),
    `tokens` (its length), `answer` (text or null). Where the model was asked for its answer on the way, `probes` are
    these answers, one at `every` so many tokens (500). A line may also hold all replies to a question as
    search-and-learn publishes them (`unique_id`, `answer`, `completions`, `completion_tokens`), DeepConf
    (`question_id`, `ground_truth`, `all_traces`), or lm-evaluation-harness logs them (`samples_*.jsonl`). A log of
    inspect_ai (`.eval`, `.json`) has the verdicts of its first scorer.

    The pool is both the questions and the engine: `reasoner eval pool:FILE -e pool:FILE`.
    """
    from reasoner_evals.tasks.recordings import write_pool

    written = write_pool(records, out)
    replies = (
        f"{counted(written.replies, 'chain')} with probes" if written.probed else counted(written.replies, "answer")
    )
    Terminal().say(f"{counted(written.questions, 'question')}, {replies} in {out}")
    return ANSWERED
