"""`reasoner eval`: tasks x strategies x budgets x seeds, into a folder that can be resumed and reported."""

from pathlib import Path
from typing import Any

import click

from reasoner.cli.commands import Command
from reasoner.cli.options import PATH, QUIET, SETTINGS, json_option, option
from reasoner.cli.terminal import Terminal, guarded
from reasoner.errors import UsageError
from reasoner_evals.cli.options import command_line, default_folder, run_options


@click.command("eval", cls=Command, heading="Measure")
@run_options(strategies="single and self_consistency:n=16")
@SETTINGS
@option(
    "--shard",
    metavar="I/N",
    section="Data",
    help="Part I of N, as in 2/8, so that several processes share a run. `reasoner report` joins the "
    "parts.",
)
@option(
    "--reuse",
    type=PATH,
    metavar="RUN",
    section="Data",
    help="Run of the same model whose samples are used where a strategy would draw the same. The model generates the "
    "rest; each strategy is charged as if it had drawn all.",
)
@option(
    "-o",
    "--out",
    type=PATH,
    metavar="DIR",
    help="Folder of the run, new or empty.  [default: runs/DATE-TIME-TASK]",
)
@option(
    "--resume",
    type=PATH,
    metavar="RUN",
    help="Run to continue. Keeps finished questions, retries failed ones.",
)
@json_option("the results")
@QUIET
@guarded
def command(
    out: Path | None,
    resume: Path | None,
    settings: Path | None,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Measure strategies on TASKs, as in `reasoner eval arithmetic`.

    A FILE of questions with their answers is a task, too, as in `reasoner eval mine.csv`.

    Runs every task with every strategy, budget and seed. Strategies that choose among independent samples
    (self_consistency, best_of_n) draw one pool of samples per seed; smaller sizes are computed from it. All others run
    at every budget. Standard output has one line per combination, standard error the progress, and the run's folder
    everything else.

    --resume RUN alone continues an interrupted run; other options must not change it. With --shard, each part gets an
    N-th of --total; --budget and seeds are those of the whole run.

    Exit codes: 0 all questions have a result; 1 output could not be written; 2 usage; 4 engine failure or questions
    that ended in an error; 130 interrupted.
    """
    from reasoner.cli.given import settled, with_own_files
    from reasoner_evals.cli.progress import EvalProgress
    from reasoner_evals.cli.session import EvalRun
    from reasoner_evals.cli.setup import RunOptions, locked_run
    from reasoner_evals.runs.records import RunFolder

    options = RunOptions(
        # A run that continues has its own settings.
        **(
            settled(settings, given)
            if settings or not resume
            else with_own_files(given)
        )
    )
    fixed = (
        ("--out", out, "a run continues in its own folder"),
        ("--reuse", options.reuse, "the run has its samples"),
    )
    for name, value, why in fixed:
        if resume is not None and value is not None:
            raise UsageError(
                f"{name} {value} has no effect with --resume: {why}; omit it"
            )
    if resume is None and not options.tasks:
        raise UsageError(
            "no task is given: name one or a file of questions, as in `reasoner eval arithmetic`, or --resume a run"
        )
    folder = RunFolder(
        resume or out or default_folder("", options.tasks[0], options.shard)
    )
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
