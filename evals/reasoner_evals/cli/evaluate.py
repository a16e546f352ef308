"""`reasoner eval`: tasks x strategies x budgets x seeds, into a folder that can be resumed and reported."""

from pathlib import Path
from typing import Any

import click

from reasoner.cli.exits import guarded
from reasoner.cli.look import Command, option
from reasoner.cli.options import PATH, QUIET, json_option
from reasoner.cli.settings import SETTINGS, settled
from reasoner.cli.terminal import Terminal
from reasoner.errors import UsageError
from reasoner_evals.cli.options import RunOptions, command_line, default_folder, run_options


@click.command("eval", cls=Command)
@run_options(strategies="single and self_consistency:n=16")
@SETTINGS
@option("--totals", metavar="AMOUNT,...", section="Strategy",
        help="Budgets that all questions of a task share, one run each, as in 200k; it goes to those where it "
             "helps most.")  # fmt: skip
@option("--equal", metavar="AMOUNT", section="Strategy",
        help="Compare strategies at equal cost: each in the size at which a question costs so many tokens, as in 4k "
             "or sequential=2k. Sizes are found on up to 12 other questions of the task. Without -s, all strategies "
             "that apply.")  # fmt: skip
@option("--effort", metavar="low|medium|high", section="Strategy",
        help="Leave the part of --totals unspent that raises the accuracy too little.  [default: between medium and "
             "high]")  # fmt: skip
@option("--shard", metavar="I/N", section="Data",
        help="Only part I of N, from 1, as in 2/8: every N-th question from number I. Several processes share a run in "
             "this way; `reasoner merge` makes one run of theirs.")  # fmt: skip
@option("--out", type=PATH, metavar="DIR",
        help="The run's folder, new or empty.  [default: runs/DATE-TIME-TASK]")  # fmt: skip
@option("--resume", type=PATH, metavar="RUN",
        help="Continue the run in this folder: keep finished questions, try failed ones again.")  # fmt: skip
@json_option("the results")
@QUIET
@guarded
def command(
    out: Path | None, resume: Path | None, settings: Path | None, as_json: bool, quiet: bool, **given: Any
) -> int:
    """Measure strategies on TASKs, as in `reasoner eval arithmetic`.

    A FILE of questions with their answers is a task, too, as in `reasoner eval mine.csv`.

    Runs every task with every strategy, budget and seed. Strategies that select from independent samples
    (self_consistency, best_of_n) run once per seed as a pool of samples; the results for fewer samples are computed
    from it. All others run at every budget. Standard output gets one line per combination, standard error the progress,
    and the run's folder everything else.

    An interrupted run continues with --resume RUN alone; other options may be given but must not change the run.
    With --shard, each part gets an N-th of --totals; --budgets and seeds are those of the whole run.

    Exit codes: 0 all questions have a result, 1 output could not be written, 2 usage, 4 engine failure or questions
    that ended in an error, 130 interrupted.
    """
    from reasoner_evals.cli.progress import EvalProgress
    from reasoner_evals.cli.session import EvalRun
    from reasoner_evals.cli.setup import locked_run
    from reasoner_evals.runs.records import RunFolder

    options = RunOptions(**settled(settings, given))
    if options.equal is not None and resume is not None:
        raise UsageError(f"--equal {options.equal} has no effect with --resume: the run has its sizes; omit it")
    if resume is not None and out is not None:
        raise UsageError(f"--out {out} has no effect with --resume: a run continues in its own folder; omit it")
    if resume is None and not options.tasks:
        raise UsageError(
            "no task is given: name one or a file of questions, as in `reasoner eval arithmetic`, or --resume a run"
        )
    folder = RunFolder(resume or out or default_folder("", options.tasks[0], options.shard))
    with locked_run(options, folder, resume=resume is not None) as (setup, manifest):
        return EvalRun(
            engine=setup.engine,
            display=EvalProgress(Terminal(), quiet=quiet),
            folder=folder,
            setup=setup,
            frozen=manifest,
            command=command_line(),
            as_json=as_json,
        ).run()
