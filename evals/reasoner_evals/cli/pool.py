"""`reasoner pool`: makes a pool file of recorded replies."""

from pathlib import Path

import click

from reasoner.cli.commands import Command
from reasoner.cli.options import PATH
from reasoner.cli.terminal import ANSWERED, Terminal, guarded
from reasoner.system.printing import counted


@click.command("pool", cls=Command, heading="Set up")
@click.argument("records", type=PATH, metavar="RECORDS")
@click.option(
    "-o", "--out", type=PATH, required=True, metavar="FILE", help="Pool to write."
)
@guarded
def command(records: Path, out: Path) -> int:
    """Turn recorded replies into a pool, to try strategies on them.

    RECORDS is a JSONL file with one line per reply, in any order. Its fields are `question_id`, `gold` (the reference
    answer), `tokens` (the reply's length) and `answer` (text or null). `text` may hold the reply, for verifiers that
    read it, and `prompt_tokens` the length of the prompt. `probes` may hold the answers of probes, one after each
    `every` tokens (500).

    A line may also hold all replies to a question. search-and-learn publishes `unique_id`, `answer`, `completions` and
    `completion_tokens`; DeepConf publishes `question_id`, `ground_truth` and `all_traces`. lm-evaluation-harness logs
    `samples_*.jsonl`. A log of inspect_ai (`.eval`, `.json`) keeps its first scorer's verdicts.

    The pool is both the questions and the engine: `reasoner eval pool:FILE -e pool:FILE`. With the same ids, it is an
    engine for the questions of a benchmark too, and then needs no `gold`: `reasoner eval humaneval -e pool:FILE`.
    """
    from reasoner_evals.tasks.recordings import write_pool

    written = write_pool(records, out)
    replies = (
        f"{counted(written.replies, 'chain')} with probes"
        if written.probed
        else counted(written.replies, "answer")
    )
    Terminal().say(f"{counted(written.questions, 'question')}, {replies} in {out}")
    return ANSWERED
