"""`reasoner tune`: which strategy to run on these questions, for this model and budget, and what it will give."""

from pathlib import Path
from typing import Any

import click

from reasoner.cli.commands import Command
from reasoner.cli.options import (
    COLUMNS,
    PATH,
    QUIET,
    SEED,
    SPEC,
    UNSANDBOXED,
    VERIFIER,
    engine_options,
    json_option,
    option,
    sampling_options,
    thinking_option,
)
from reasoner.cli.terminal import Terminal, guarded
from reasoner_evals.cli.options import command_line


@click.command("tune", cls=Command, heading="Measure")
@click.argument("task", metavar="TASK[:OPTION=VALUE,...]|FILE")
@option(
    "-b",
    "--budget",
    metavar="AMOUNT",
    section="Strategy",
    help="Tokens that a question may cost on average, as in 4k.  [default: no limit, for strategies with a "
    "size]",
)
@option(
    "-s",
    "--strategy",
    "strategies",
    multiple=True,
    metavar=SPEC,
    section="Strategy",
    help="Candidate; repeat for several. One sample and a plain vote always race.  [default: all "
    "strategies that apply]",
)
@sampling_options
@thinking_option(several=True)
@VERIFIER
@UNSANDBOXED
@option(
    "--total",
    metavar="AMOUNT",
    section="Strategy",
    help="Maximum tokens in all, as in 2m. No round starts that would exceed it.  [default: a third of "
    "what all candidates on all questions would cost]",
)
@option(
    "--judge-on",
    metavar="TASK|FILE",
    section="Data",
    help="Other questions that judge; then all those of TASK race.  [default: a third of TASK]",
)
@option(
    "--limit",
    type=int,
    metavar="N",
    section="Data",
    help="First N questions of TASK only.  [default: all]",
)
@option(
    "--bins",
    default="none",
    metavar="SIGNAL[:COUNT]",
    section="Data",
    help="Bins of easy and hard questions in the profile, as in split:3. Signals: prompt (length) or split (first "
    "four votes).  [default: none]",
)
@COLUMNS
@engine_options
@SEED
@option(
    "-o",
    "--out",
    type=PATH,
    required=True,
    metavar="FILE",
    help="Settings file to write, for --settings of other commands. Beside it lie a page, a profile, and the folder of "
    "the race, which an interrupted race continues.",
)
@json_option("the verdict, the forecast and the candidates")
@QUIET
@guarded
def command(
    task: str,
    budget: str | None,
    judge_on: str | None,
    total: str | None,
    bins: str,
    out: Path,
    as_json: bool,
    quiet: bool,
    seed: int,
    **given: Any,
) -> int:
    """Choose the strategy for your questions, model and budget.

    TASK may be a FILE of questions with answers, as in `reasoner tune mine.jsonl -b 4k`.

    All candidates race on two thirds of the questions, in rounds. A candidate leaves when another one is shown to be
    more accurate, or as accurate for less. The other third judges the chosen one, against one sample and a plain vote
    of the same cost. The result is a file of settings, a page, a forecast, and a profile for the strategy auto.

    Without --budget none leaves: the strategies that you name, each with a size, answer all questions.
    The profile then rests on all of them.

    The same command continues a race that was interrupted, without asking anything twice.

    Exit codes: 0 the settings are written; 1 output could not be written; 2 usage; 4 engine failure or no candidate has
    a result; 130 interrupted.
    """
    from reasoner.cli.given import with_own_files
    from reasoner_evals.cli.setup import RunOptions
    from reasoner_evals.cli.tuning import TuneRun, locked_race, prepared
    from reasoner_evals.cli.tuning_progress import TuneProgress

    options = RunOptions(**with_own_files({"tasks": (task,), **given}))
    setup = prepared(
        options,
        budget=budget,
        judge_on=judge_on,
        total=total,
        bins=bins,
        seed=seed,
        out=out,
    )
    with locked_race(setup) as sizes:
        return TuneRun(
            engine=setup.engine,
            display=TuneProgress(Terminal(), quiet=quiet),
            setup=setup,
            sizes=sizes,
            command=command_line(),
            as_json=as_json,
        ).run()
